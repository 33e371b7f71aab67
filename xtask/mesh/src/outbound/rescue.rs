use std::{sync::Arc, time::Instant};

use http::{Response, Version};
use policy::outbound::RouteRef;

use crate::{
    body::{BoxError, ResponseBody},
    metrics::Outcome,
    outbound::{Outbound, TimedOut, backend::Backend, balance::Unready, endpoint::EndpointState},
    record::{Draft, grpc_status},
    respond::{Shape, Synthetic},
};

/// Why a request got no answer from an endpoint.
pub(crate) enum Failure {
    /// No endpoint became ready in time.
    FailFast(Arc<Backend>),
    /// That has happened to others before, to each backend.
    Shed,
    /// The only servers there are do not listen.
    Refused(Arc<Backend>),
    TimedOut(TimedOut),
    /// The endpoint took it, and its answer broke off.
    Broken(Arc<Backend>, Arc<EndpointState>, BoxError),
    /// No connection for an upgrade.
    Unconnected(String),
    /// No rule takes it.
    NoRoute,
    /// What the route has it answered with.
    Answered(Box<Synthetic>),
    /// The connection is closed without an answer.
    Closed(String),
}

/// Why a request got no answer, and on which route. None: the default one.
pub(crate) struct Failed {
    pub route: Option<Box<RouteRef>>,
    pub failure: Failure,
}

impl Failed {
    pub(crate) fn on(route: &RouteRef, failure: Failure) -> Self {
        Self { route: Some(Box::new(route.clone())), failure }
    }
}

impl Failure {
    pub(crate) fn answered(answer: Synthetic) -> Self {
        Self::Answered(Box::new(answer))
    }

    pub(crate) fn unready(unready: Unready, backend: &Arc<Backend>) -> Self {
        match unready {
            Unready::FailFast => Self::FailFast(backend.clone()),
            Unready::Shed => Self::Shed,
        }
    }
}

impl Outbound {
    /// The answer when there is none, as Linkerd's outbound `ServerRescue` gives it. A broken HTTP/2 stream stays
    /// one for an HTTP/2 client.
    pub(crate) fn rescue(
        &self,
        failed: Failed,
        shape: Shape,
        mut draft: Option<Box<Draft>>,
        start: Instant,
    ) -> Result<Response<ResponseBody>, BoxError> {
        if let (Failure::Broken(_, endpoint, _), Some(draft)) = (&failed.failure, &mut draft) {
            draft.reached(&endpoint.info);
        }
        let broken: BoxError = match failed.failure {
            Failure::Broken(_, _, error) if shape.version == Version::HTTP_2 => error,
            Failure::Closed(reason) => reason.into(),
            failure => {
                let response = self.synthetic(failed.route.as_deref(), failure).response(shape, true);
                if let Some(draft) = draft {
                    let status = Some(response.status().as_u16());
                    let outcome = Outcome { status, grpc_status: grpc_status(response.headers()), error: "" };
                    draft.publish(outcome, start.elapsed());
                }
                return Ok(response);
            }
        };
        if let Some(draft) = draft {
            let outcome = Outcome { status: None, grpc_status: None, error: "unexpected" };
            draft.publish(outcome, start.elapsed());
        }
        Err(broken)
    }

    /// Its message begins with the way to where it failed, as Linkerd's errors do.
    fn synthetic(&self, route: Option<&RouteRef>, failure: Failure) -> Synthetic {
        let service = format!("logical service {}", self.addr);
        let route = || route.map_or_else(|| RouteRef::default_route().to_string(), ToString::to_string);
        let at = || format!("{service}: route {}", route());
        match failure {
            Failure::FailFast(backend) => Synthetic::gateway_timeout(format!(
                "{}: backend {backend}: {backend}: service in fail-fast",
                at()
            )),
            Failure::Shed => Synthetic::unavailable(format!("{}: service unavailable", at())),
            Failure::Refused(backend) => {
                Synthetic::bad_gateway(format!("{}: backend {backend}: connection refused", at()))
            }
            Failure::TimedOut(timed_out) => Synthetic::gateway_timeout_nonfatal(format!(
                "{}: timed out waiting for response headers: {timed_out}",
                at()
            )),
            Failure::Broken(backend, _, error) => {
                Synthetic::bad_gateway(format!("{}: backend {backend}: {error}", at()))
            }
            Failure::Unconnected(reason) => Synthetic::bad_gateway(format!("{}: {reason}", at())),
            Failure::NoRoute => Synthetic::not_found(format!("{service}: no route")),
            Failure::Answered(synthetic) => *synthetic,
            Failure::Closed(reason) => Synthetic::bad_gateway(reason),
        }
    }
}
