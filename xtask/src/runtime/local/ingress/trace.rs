//! Spans of the ingress: where traces begin, unless the client began one. ingress-nginx does so with its option
//! `enable-opentelemetry`.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::HOST;
use http::{Request, StatusCode};
use otlp::{Context, Exporter, Kind, Resource, Span, TRACEPARENT, Value};

/// Begins spans.
#[derive(Debug)]
pub struct Tracer {
    exporter: Exporter,
    resource: Arc<Resource>,
}

/// A request's span that has not ended.
#[derive(Debug)]
pub struct Begun {
    span: Span,
    exporter: Exporter,
    start: Instant,
}

impl Tracer {
    /// Exports there.
    pub fn new(exporter: Exporter) -> Self {
        let attributes = vec![("service.name", "ingress-nginx".to_owned())];
        Self { exporter, resource: Arc::new(Resource(attributes)) }
    }

    /// The request's span, unless its client wants none; what is sent on is part of it.
    pub fn begin<B>(&self, request: &mut Request<B>) -> Option<Begun> {
        let given = Context::of(request.headers());
        let context = given.map_or_else(Context::start, Context::child);
        if !context.is_sampled() {
            return None;
        }
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or(request.uri().host()).unwrap_or_default().to_owned();
        let (method, path) = (request.method().as_str(), request.uri().path());
        let span = Span {
            context,
            parent: given.map(|given| given.span),
            resource: Arc::clone(&self.resource),
            name: format!("{method} {host}"),
            kind: Kind::Server,
            start: SystemTime::now(),
            took: std::time::Duration::ZERO,
            attributes: vec![
                ("http.request.method", method.into()),
                ("url.path", path.into()),
                ("server.address", Value::Text(host)),
            ],
            failed: false,
        };
        request.headers_mut().insert(TRACEPARENT, context.header());
        Some(Begun { span, exporter: self.exporter.clone(), start: Instant::now() })
    }
}

impl Begun {
    /// The response begins: its span ends here, whatever its body takes.
    pub fn end(self, status: StatusCode) {
        let Self { mut span, exporter, start } = self;
        span.took = start.elapsed();
        span.failed = status.is_server_error();
        span.attributes.push(("http.response.status_code", status.as_u16().into()));
        exporter.export(span);
    }
}
