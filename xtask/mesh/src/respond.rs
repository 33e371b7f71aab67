use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
};

use crate::{Protocol, body::ResponseBody};

pub(crate) const L5D_PROXY_ERROR: HeaderName = HeaderName::from_static("l5d-proxy-error");
pub(crate) const L5D_PROXY_CONNECTION: HeaderName = HeaderName::from_static("l5d-proxy-connection");
pub(crate) const L5D_ORIG_PROTO: HeaderName = HeaderName::from_static("l5d-orig-proto");
pub(crate) const L5D_CLIENT_ID: HeaderName = HeaderName::from_static("l5d-client-id");
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// How a request is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The version of the application's request, also where the hop was upgraded.
    pub version: Version,
    /// HTTP/2 with content type `application/grpc*`.
    pub grpc: bool,
    /// HTTP/1 that came over HTTP/2.
    pub upgraded_hop: bool,
}

impl Shape {
    /// How `request` is to be answered; `upgraded_hop`: HTTP/1 that came over HTTP/2.
    pub(crate) fn of<B>(request: &Request<B>, upgraded_hop: bool) -> Self {
        let version = request.version();
        let grpc = version == Version::HTTP_2 && !upgraded_hop && says_grpc(request);
        let version = if upgraded_hop { Version::HTTP_11 } else { version };
        Self { version, grpc, upgraded_hop }
    }

    /// The version of the response on its way.
    pub(crate) fn wire_version(self) -> Version {
        if self.upgraded_hop { Version::HTTP_2 } else { self.version }
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self { grpc: true, .. } => Protocol::Grpc,
            Self { version: Version::HTTP_2, .. } => Protocol::Http2,
            _ => Protocol::Http1,
        }
    }
}

/// Whether a request says that it is gRPC, by its content type.
pub(crate) fn says_grpc<B>(request: &Request<B>) -> bool {
    let content = request.headers().get(CONTENT_TYPE);
    content.is_some_and(|content| content.as_bytes().starts_with(b"application/grpc"))
}

/// An answer that the proxy gives itself, in Linkerd's shape (`errors/respond.rs` of linkerd2-proxy).
#[derive(Debug)]
pub(crate) struct Synthetic {
    http: StatusCode,
    grpc: u8,
    close: bool,
    message: String,
    location: Option<HeaderValue>,
}

impl Synthetic {
    fn new(http: StatusCode, grpc: u8, close: bool, message: impl Into<String>) -> Self {
        Self { http, grpc, close, message: message.into(), location: None }
    }

    pub(crate) fn permission_denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, 7, false, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, 5, false, message)
    }

    pub(crate) fn bad_gateway(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, 14, true, message)
    }

    pub(crate) fn gateway_timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, 4, true, message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, 14, true, message)
    }

    /// Linkerd's answer to what it has no other for.
    pub(crate) fn unexpected_error() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, 13, true, "unexpected error")
    }

    /// In place of a backend that does not exist.
    pub(crate) fn failure(failure: &policy::outbound::Failure) -> Self {
        let http = StatusCode::from_u16(failure.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(http, failure.grpc, false, failure.message.clone())
    }

    pub(crate) fn rate_limited(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, 8, false, message)
    }

    /// gRPC clients are told that there is nothing here.
    pub(crate) fn redirect(status: StatusCode, location: &Uri) -> Self {
        let location = HeaderValue::from_str(&location.to_string()).ok();
        Self { location, ..Self::new(status, 5, false, "redirected") }
    }

    /// For timeouts that a route asks for: the connection stays.
    pub(crate) fn gateway_timeout_nonfatal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, 4, false, message)
    }

    /// The response. `explain`: with the message; Linkerd tells it to meshed peers and to its own application.
    pub(crate) fn response(&self, shape: Shape, explain: bool) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::empty());
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let message = || {
            HeaderValue::from_str(&self.message)
                .unwrap_or_else(|_| HeaderValue::from_static("unexpected error"))
        };
        if shape.grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(self.grpc)));
            if explain {
                headers.insert(GRPC_MESSAGE, message());
            }
        } else {
            if self.close && shape.version == Version::HTTP_11 && !shape.upgraded_hop {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            if let Some(location) = &self.location {
                headers.insert(LOCATION, location.clone());
            }
            *response.status_mut() = self.http;
        }
        let headers = response.headers_mut();
        if explain {
            headers.insert(L5D_PROXY_ERROR, message());
            if self.close {
                headers.insert(L5D_PROXY_CONNECTION, HeaderValue::from_static("close"));
            }
        }
        *response.version_mut() = shape.wire_version();
        response
    }
}
