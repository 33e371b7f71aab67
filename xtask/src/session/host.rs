//! The side of a session that a running `up` serves: status, calls, events and the request to stop.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_stream::wrappers::BroadcastStream;

use super::short_path;
use crate::error::Fault;
use crate::report::event::Exited;
use crate::report::{Event, Events};
use crate::runtime::fault::FaultRequest;
use crate::runtime::policy::PolicyRequest;
use crate::runtime::top::TopRequest;
use crate::runtime::{CallRequest, Runtime};
use crate::state::StateDir;

/// Serves the control socket until dropped.
#[derive(Debug)]
pub struct Host {
    task: tokio::task::JoinHandle<()>,
    socket: std::path::PathBuf,
}

/// Requests to stop, from `down`: each is answered with how the pods ended.
pub type StopRequests = mpsc::Receiver<oneshot::Sender<Vec<Exited>>>;

#[derive(Clone)]
struct Served {
    runtime: Arc<dyn Runtime>,
    events: Events,
    stop: mpsc::Sender<oneshot::Sender<Vec<Exited>>>,
}

impl Host {
    /// Listens on the checkout's control socket. The caller holds the [`super::Lock`], so a socket that
    /// is there already was left by a holder that died, and is replaced.
    pub fn start(
        state: &StateDir,
        runtime: Arc<dyn Runtime>,
        events: Events,
    ) -> Result<(Self, StopRequests), Fault> {
        let socket = state.control_socket();
        let _ = std::fs::remove_file(&socket);
        let listener = short_path(&socket)
            .and_then(|(_directory, path)| UnixListener::bind(path))
            .map_err(|error| Fault::environment(format!("cannot listen on {}: {error}", socket.display())))?;
        let (stop, requests) = mpsc::channel(4);
        let router = Router::new()
            .route("/status", get(status))
            .route("/events", get(events_stream))
            .route("/events/new", get(new_events))
            .route("/call", post(call))
            .route("/policy", post(policy))
            .route("/top", post(top))
            .route("/fault", post(fault))
            .route("/stat", post(stat))
            .route("/evidence", get(evidence))
            .route("/stop", post(stop_all))
            // Of this user's own commands; many policies are more than the default of 2 MB.
            .layer(DefaultBodyLimit::disable())
            .with_state(Served { runtime, events, stop });
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok((Self { task, socket }, requests))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn status(State(served): State<Served>) -> Response {
    answer(served.runtime.status().await)
}

async fn evidence(State(served): State<Served>) -> Response {
    answer(served.runtime.evidence().await)
}

async fn call(State(served): State<Served>, Json(request): Json<CallRequest>) -> Response {
    answer(served.runtime.call(request).await)
}

async fn policy(State(served): State<Served>, Json(request): Json<PolicyRequest>) -> Response {
    answer(served.runtime.policy(request).await)
}

async fn fault(State(served): State<Served>, Json(request): Json<FaultRequest>) -> Response {
    answer(served.runtime.fault(request).await)
}

async fn top(State(served): State<Served>, Json(request): Json<TopRequest>) -> Response {
    stream(served.runtime.top(request).await)
}

async fn stat(State(served): State<Served>, Json(request): Json<TopRequest>) -> Response {
    stream(served.runtime.stat(request).await)
}

/// What was counted so far, time after time: one JSON object a line.
fn stream<T: Serialize + 'static>(told: anyhow::Result<BoxStream<'static, anyhow::Result<T>>>) -> Response {
    match told {
        Ok(told) => {
            let lines = told.map(|told| {
                let mut text = serde_json::to_vec(&told?)?;
                text.push(b'\n');
                Ok::<_, anyhow::Error>(Bytes::from(text))
            });
            Body::from_stream(lines.map_err(|error| error.to_string())).into_response()
        }
        Err(error) => answer::<()>(Err(error)),
    }
}

/// What happened lately and from now on: one JSON object a line.
async fn events_stream(State(served): State<Served>) -> Response {
    let (recent, live) = served.events.subscribe();
    events_as_lines(recent, live)
}

/// What happens from now on.
async fn new_events(State(served): State<Served>) -> Response {
    events_as_lines(Vec::new(), served.events.subscribe().1)
}

fn events_as_lines(recent: Vec<Arc<Event>>, live: broadcast::Receiver<Arc<Event>>) -> Response {
    let encode = |event: &Event| {
        let mut text = serde_json::to_vec(event).unwrap_or_default();
        text.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(text))
    };
    let from_now = BroadcastStream::new(live).filter_map(|event| std::future::ready(event.ok()));
    let stream = futures_util::stream::iter(recent).chain(from_now).map(move |event| encode(&event));
    Body::from_stream(stream).into_response()
}

async fn stop_all(State(served): State<Served>) -> Response {
    let (reply, stopped) = oneshot::channel();
    if served.stop.send(reply).await.is_err() {
        return Json(Vec::<Exited>::new()).into_response();
    }
    Json(stopped.await.unwrap_or_default()).into_response()
}

/// An outcome as the client of [`super::attach`] reads it; an error keeps its hint and exit code.
fn answer<T: Serialize>(outcome: anyhow::Result<T>) -> Response {
    match outcome {
        Ok(value) => Json(value).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(super::attach::Refusal::of(&error))).into_response(),
    }
}
