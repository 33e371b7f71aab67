//! What the ingress answers itself, and the body of all that it answers.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::backend::Backend;
use super::pool::{Failed, StreamError, Streamed};

/// An answer of the ingress's own. Its status is nginx's, its text says more.
pub struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    /// With the reason, for people.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// As an answer to the client.
    pub fn into_response(self) -> Response<Reply> {
        let reason = self.status.canonical_reason().unwrap_or_default();
        let text = format!("{} {reason}: {}\n", self.status.as_u16(), self.text);
        let mut response = Response::new(Reply::Text(Full::from(text)));
        *response.status_mut() = self.status;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        response
    }
}

/// 503: nobody can take it now.
pub fn no_endpoint(backend: &Backend) -> Refusal {
    let text = format!("Service {}:{} has no ready endpoint", backend.service, backend.port);
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

/// 413: more than `proxy-body-size`.
pub fn too_large(limit: u64) -> Refusal {
    let text = format!("a body has at most {limit} bytes (nginx.ingress.kubernetes.io/proxy-body-size)");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}

/// 502, or 504 when the connection was not there in time.
pub fn unreachable(backend: &Backend, address: SocketAddr, error: &io::Error) -> Refusal {
    let status = match error.kind() {
        io::ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    Refusal::new(status, format!("Service {}: cannot connect to {address}: {error}", backend.service))
}

/// 502: the last attempt got no answer.
pub fn broke_off(backend: &Backend, address: SocketAddr, failed: &Failed) -> Refusal {
    let text = format!("Service {}: no answer from {address}: {}", backend.service, failed.error);
    Refusal::new(StatusCode::BAD_GATEWAY, text)
}

/// The body of an answer: a backend's, or the ingress's own.
pub enum Reply {
    /// As it comes from the backend.
    Streamed(Streamed),
    /// The ingress's own words.
    Text(Full<Bytes>),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        match &mut *self {
            Self::Streamed(body) => Pin::new(body).poll_frame(cx),
            Self::Text(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streamed(body) => body.is_end_stream(),
            Self::Text(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streamed(body) => body.size_hint(),
            Self::Text(body) => body.size_hint(),
        }
    }
}
