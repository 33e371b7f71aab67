//! A client in a pod: sends what it is told to, as that pod. Its only port is for the API server, which passes
//! `xtask`'s requests on (the `proxy` subresource of a pod): no port-forward, and no request of a user's own.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use client::{CallAnswer, CallError, CallRequest, Reach, call};
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

/// What one call needs beside the request: where it goes.
#[derive(Deserialize)]
struct Asked {
    request: CallRequest,
    /// `baz.default.svc.cluster.local:9090`.
    authority: String,
    grpc: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let port = std::env::var("CONTROL_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8099_u16);
    let listener = match tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let router = Router::new().route("/ready", get(|| async { "ready" })).route("/call", post(send));
    let ended = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    // Nothing is drained: whoever asked is gone when this pod is told to end.
    tokio::select! {
        _ = axum::serve(listener, router) => ExitCode::FAILURE,
        () = ended => ExitCode::SUCCESS,
    }
}

async fn send(Json(asked): Json<Asked>) -> Response {
    let addresses = tokio::net::lookup_host(&asked.authority).await;
    let address = match addresses.map(|mut addresses| addresses.next()) {
        Ok(Some(address)) => address,
        Ok(None) => return failed(format!("{} has no address", asked.authority)),
        Err(error) => return failed(format!("cannot resolve {}: {error}", asked.authority)),
    };
    let reach = Reach { address, authority: asked.authority, grpc: asked.grpc, reflection: None };
    match call(&asked.request, &reach, None).await {
        Ok(answer) => Json(answer).into_response(),
        Err(error @ CallError::Usage(_)) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).into_response(),
    }
}

/// No request could be sent: an answer as any other without one.
fn failed(why: String) -> Response {
    Json(CallAnswer { error: Some(why), ..CallAnswer::default() }).into_response()
}
