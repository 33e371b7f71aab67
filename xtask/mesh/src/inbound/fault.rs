//! Faults on purpose, on one request that the policy has let in.

use std::fmt::Write as _;

use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use hyper::body::Incoming;

use crate::{
    Decision,
    body::{BoxError, ResponseBody},
    fault::{Asked, Decided, End, decide},
    inbound::{client::Client, http::Exchange},
    outbound::random,
    respond::{GRPC_MESSAGE, GRPC_STATUS, Shape},
};

/// Says which faults hit a request, and with what: `1; delay=12.3ms, 2; status=500`. On every response that one
/// delayed or gave; a stream that one broke off has no response.
pub const FAULT_HEADER: HeaderName = HeaderName::from_static("x-injected-fault");

impl Client {
    /// What faults do to a request that is let in; None if they do nothing.
    pub(super) fn fault(
        &self,
        request: &Request<Incoming>,
        shape: Shape,
        decision: &Decision,
    ) -> Option<Decided> {
        let rules = self.inbound.sidecar.faults.of(self.addr.ip())?;
        let route = decision.labels.route.as_ref().filter(|route| !route.is_default());
        let asked = Asked {
            port: self.inbound.addr.port(),
            path: request.uri().path(),
            grpc: shape.grpc,
            route: route.map(|route| route.name.as_str()),
            client: self.id(),
        };
        let decided = decide(&rules, &asked, random::fraction);
        decided.count();
        decided.is_any().then_some(decided)
    }

    /// Delays the request, and answers or breaks it off or sends it on.
    pub(super) async fn forward_with_fault(
        &self,
        request: Request<Incoming>,
        exchange: Exchange,
        fault: Decided,
    ) -> Result<Response<ResponseBody>, BoxError> {
        let said = said(&fault);
        tracing::info!(client = %self.addr, path = request.uri().path(), fault = said, "fault injected");
        if !fault.delay.is_zero() {
            tokio::time::sleep(fault.delay).await;
        }
        let mut response = match fault.end {
            None => self.forward_request(request, exchange).await?,
            Some(End::Abort) => {
                return Err(exchange.fail(h2::Error::from(h2::Reason::INTERNAL_ERROR).into()));
            }
            Some(End::Status(status)) => {
                let mut response = answer(exchange.shape);
                *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
                if matches!(status, 204 | 304) {
                    response.headers_mut().remove(CONTENT_LENGTH);
                }
                exchange.track(&mut response);
                response
            }
            Some(End::Grpc(status)) => {
                let mut response = answer(exchange.shape);
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(status)));
                headers.insert(GRPC_MESSAGE, HeaderValue::from_static("injected fault"));
                exchange.track(&mut response);
                response
            }
        };
        if let Ok(said) = HeaderValue::from_str(&said) {
            response.headers_mut().insert(FAULT_HEADER, said);
        }
        Ok(response)
    }
}

/// An empty response, to be made what the fault asks for.
fn answer(shape: Shape) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    *response.version_mut() = shape.wire_version();
    response
}

/// The value of [`FAULT_HEADER`].
fn said(fault: &Decided) -> String {
    let mut said = String::new();
    for by in fault.by.iter().filter(|by| by.delay.is_some() || by.end.is_some()) {
        if !said.is_empty() {
            said.push_str(", ");
        }
        // Writing to a String does not fail.
        let _ = write!(said, "{}", by.rule.id);
        if let Some(delay) = by.delay {
            let _ = write!(said, "; delay={:.1}ms", delay.as_secs_f64() * 1000.0);
        }
        let _ = match by.end {
            None => Ok(()),
            Some(End::Status(status)) => write!(said, "; status={status}"),
            Some(End::Grpc(status)) => write!(said, "; grpc-status={status}"),
            Some(End::Abort) => write!(said, "; abort"),
        };
    }
    said
}
