//! The admin port, which no policy covers: `/livez`, `/readyz`, `/metrics`, and `grpc.health.v1` beside
//! them, all without TLS and over HTTP/1.1 or HTTP/2.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio_util::sync::CancellationToken;
use tonic::{server::NamedService, service::Routes};
use tonic_health::{
    ServingStatus,
    server::{HealthReporter, health_reporter},
};

/// Says whether the process serves. `livez` holds until it ends; `readyz` and gRPC health hold until it
/// drains, unless it hands over.
pub(crate) struct Health {
    /// Cancelled once the process drains.
    draining: CancellationToken,
    reporter: HealthReporter,
    /// The gRPC services whose health clients may ask for; the empty name is the process as a whole.
    services: Vec<&'static str>,
}

impl Health {
    /// From now on.
    pub(crate) async fn not_ready(&self) {
        self.draining.cancel();
        self.report(ServingStatus::NotServing).await;
    }

    async fn report(&self, status: ServingStatus) {
        for service in &self.services {
            self.reporter.set_service_status(*service, status).await;
        }
    }
}

/// The routes of the admin port, and the health that they tell: serving.
pub(crate) async fn router(registry: Registry, grpc_services: &[&'static str]) -> (Router, Health) {
    let (reporter, server) = health_reporter();
    let services = [&[""], grpc_services].concat();
    let health = Health { draining: CancellationToken::new(), reporter, services };
    health.report(ServingStatus::Serving).await;
    let router = Router::new()
        .route("/livez", get("ok\n"))
        .route("/readyz", get(readyz).with_state(health.draining.clone()))
        .route("/metrics", get(metrics).with_state(Arc::new(registry)));
    (router.merge(grpc_routes(server)), health)
}

/// Without tonic's own answer to unknown paths, which would stand before this port's 404.
fn grpc_routes<S>(server: S) -> Router
where
    S: tower::Service<http::Request<tonic::body::Body>, Error = std::convert::Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    Routes::new(server).into_axum_router().reset_fallback()
}

async fn readyz(State(draining): State<CancellationToken>) -> (StatusCode, &'static str) {
    if draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode: {error}\n")).into_response()
        }
    }
}
