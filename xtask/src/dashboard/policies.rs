//! Who may call whom, by the policies in force, and what is odd in those that are shipped.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use policy::cluster::ClusterInfo;
use serde::{Deserialize, Serialize};

use super::actions::refused;
use super::{Current, Served};
use crate::plan::objects;
use crate::policies::check::{Report, judge};
use crate::policies::matrix::{Cell, cells, explained};
use crate::policies::{World, shipped};
use crate::runtime::Runtime;
use crate::runtime::policy::{PolicyObject, PolicyRequest};
use crate::workspace::manifests::Manifests;

/// What a page is told.
#[derive(Serialize)]
pub struct Told {
    /// How many objects are applied.
    objects: usize,
    /// Every client and every port.
    cells: Vec<Cell>,
    /// What `policy check` finds in the shipped policies of the mode; none where they cannot be read.
    check: Option<Report>,
}

/// The policies in force; none where nothing enforces any.
pub async fn in_force(runtime: &dyn Runtime) -> anyhow::Result<Vec<PolicyObject>> {
    runtime.policy(PolicyRequest::Show).await.map(|state| state.objects)
}

/// What policies mean for the services. Reads the manifests.
pub fn told(current: &Current, applied: &[PolicyObject]) -> Told {
    let (workspace, plan) = current();
    let paths = [shipped(plan.mode.grpc)];
    let manifests = Manifests::read(&workspace.root).ok();
    let check = manifests.and_then(|own| judge(&workspace.root, &own, plan.mode.grpc, &paths).ok());
    Told { objects: applied.len(), cells: cells(&world(current, applied)), check }
}

fn world(current: &Current, applied: &[PolicyObject]) -> World {
    let (_, plan) = current();
    let mut objects = objects(&plan);
    for object in applied {
        object.add_to(&mut objects);
    }
    World { plan: (*plan).clone(), objects, cluster: ClusterInfo::default() }
}

/// Which pair is asked about.
#[derive(Deserialize)]
pub struct Pair {
    client: String,
    to: String,
}

/// Why each request of a client to a port ends as it does: what `policy explain` tells.
pub async fn explain(State(served): State<Arc<Served>>, Query(pair): Query<Pair>) -> Response {
    match in_force(&*served.runtime).await {
        Ok(applied) => {
            let current = Arc::clone(&served.current);
            let told = move || explained(&world(&current, &applied), &pair.client, &pair.to);
            match tokio::task::spawn_blocking(told).await {
                Ok(told) => Json(told).into_response(),
                Err(error) => refused(&error.into()),
            }
        }
        Err(error) => refused(&error),
    }
}
