//! What a page may do. The guard let it through: it has this run's token.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Served;
use crate::error::Fault;
use crate::policies::{given, shipped};
use crate::report::{hint, message};
use crate::runtime::policy::{PolicyObject, PolicyRequest, changed};
use crate::workspace::policies::Policies;

/// More pods of one service than this is a slip of the hand.
const MOST: u32 = 50;

#[derive(Deserialize)]
pub struct Restart {
    service: String,
}

#[derive(Deserialize)]
pub struct Scale {
    service: String,
    replicas: u32,
}

#[derive(Deserialize)]
pub struct Switch {
    on: bool,
}

/// What was done, in words.
#[derive(Serialize)]
struct Done {
    done: String,
}

/// Replaces all pods of a service.
pub async fn restart(State(served): State<Arc<Served>>, Json(asked): Json<Restart>) -> Response {
    let restarted = served.runtime.restart(&asked.service);
    answer(restarted.map(|()| format!("{} restarts", asked.service)))
}

/// Gives a service so many pods.
pub async fn scale(State(served): State<Arc<Served>>, Json(asked): Json<Scale>) -> Response {
    let Scale { service, replicas } = asked;
    let scaled = if replicas > MOST {
        Err(Fault::usage(format!("at most {MOST} pods of a service are made from here")).into())
    } else {
        served.runtime.scale(&service, replicas)
    };
    answer(scaled.map(|()| format!("{service} is to have {replicas}")))
}

/// Puts the shipped policies of the mode in force, or takes all away.
pub async fn policies(State(served): State<Arc<Served>>, Json(asked): Json<Switch>) -> Response {
    answer(switch(&served, asked.on).await)
}

async fn switch(served: &Served, on: bool) -> anyhow::Result<String> {
    let request = if on {
        let (workspace, plan) = (served.current)();
        let paths = vec![shipped(plan.mode.grpc)];
        let policies = Policies::read(&workspace.root, &paths).map_err(Fault::from)?;
        PolicyRequest::Apply { objects: given(&policies), paths }
    } else {
        let applied = served.runtime.policy(PolicyRequest::Show).await?.objects;
        let paths = served.runtime.followed_policies().into_iter().collect();
        PolicyRequest::Delete { objects: applied.iter().map(PolicyObject::key).collect(), paths }
    };
    let changes = changed(&served.runtime.policy(request).await?.changes).len();
    Ok(match (on, changes) {
        (true, 0) => "the policies are in force already".to_owned(),
        (true, changes) => format!("policies are in force: {changes} objects changed"),
        (false, changes) => format!("no policies are in force: {changes} objects deleted"),
    })
}

fn answer(done: anyhow::Result<String>) -> Response {
    match done {
        Ok(done) => Json(Done { done }).into_response(),
        Err(error) => refused(&error),
    }
}

/// Why it was not done.
pub fn refused(error: &anyhow::Error) -> Response {
    #[derive(Serialize)]
    struct Refused {
        error: String,
        hint: Option<String>,
    }
    let body = Refused { error: message(error), hint: hint(error) };
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}
