//! Spans of requests on their way through a sidecar. As Linkerd's proxy, it joins the traces of requests that carry
//! `traceparent`, and starts none.

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;
use otlp::{Context, Exporter, Kind, Resource, Span, TRACEPARENT, Value};

use crate::{Direction, Protocol, Record, Workload};

/// Who joins traces: one sidecar.
#[derive(Clone, Debug)]
pub(crate) struct Tracer {
    exporter: Exporter,
    resource: Arc<Resource>,
}

/// A request's span that has not ended.
pub(crate) struct Joined {
    tracer: Tracer,
    context: Context,
    parent: u64,
    start: SystemTime,
}

impl Tracer {
    pub(crate) fn new(exporter: Exporter, workload: &Workload) -> Self {
        let attributes = vec![
            ("service.name", "linkerd-proxy".to_owned()),
            ("k8s.namespace.name", workload.namespace.clone()),
            ("k8s.deployment.name", workload.deployment.clone()),
            ("k8s.pod.name", workload.pod.clone()),
        ];
        Self { exporter, resource: Arc::new(Resource(attributes)) }
    }

    /// A span of the trace that the request belongs to, if that is sampled; what is sent on is part of it.
    pub(crate) fn join(&self, headers: &mut HeaderMap) -> Option<Box<Joined>> {
        let given = Context::of(headers).filter(|given| given.is_sampled())?;
        let context = given.child();
        headers.insert(TRACEPARENT, context.header());
        let (tracer, start) = (self.clone(), SystemTime::now());
        Some(Box::new(Joined { tracer, context, parent: given.span, start }))
    }
}

impl Joined {
    /// Exports it, with what is known of the request at its end.
    pub(crate) fn end(self, record: &Record) {
        let Self { tracer, context, parent, start } = self;
        let (name, attributes) = described(record);
        tracer.exporter.export(Span {
            context,
            parent: Some(parent),
            resource: tracer.resource,
            name,
            kind: match record.direction {
                Direction::Inbound => Kind::Server,
                Direction::Outbound => Kind::Client,
            },
            start,
            took: record.latency,
            attributes,
            failed: !record.is_success(),
        });
    }
}

/// The span's name and attributes, by OpenTelemetry's semantic conventions for HTTP and RPC.
fn described(record: &Record) -> (String, Vec<(&'static str, Value)>) {
    let path = record.path.as_str();
    let mut attributes: Vec<(&str, Value)> = vec![
        ("http.request.method", record.method.as_str().into()),
        ("url.path", path.into()),
        ("server.address", record.authority.as_ref().into()),
    ];
    attributes.extend(record.status.map(|status| ("http.response.status_code", status.into())));
    attributes.extend(record.grpc_status.map(|status| ("rpc.grpc.status_code", status.into())));
    if let Some(peer) = record.peer {
        attributes.push(("network.peer.address", Value::Text(peer.ip().to_string())));
    }
    if let Some(identity) = &record.peer_identity {
        attributes.push(("tls.peer.identity", identity.as_str().into()));
    }
    if let Some(workload) = &record.peer_workload {
        attributes.push(("k8s.peer.pod.name", workload.pod.as_str().into()));
    }
    if let Some(decision) = &record.decision {
        attributes.push(("linkerd.verdict", Value::Text(format!("{:?}", decision.verdict).to_lowercase())));
    }
    if record.protocol == Protocol::Grpc {
        attributes.push(("rpc.system", "grpc".into()));
        return (path.trim_start_matches('/').to_owned(), attributes);
    }
    (format!("{} {path}", record.method), attributes)
}
