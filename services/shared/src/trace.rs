//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): each request is a span of the trace that `traceparent`
//! names, or of a new one, and each call passes it on under a span of its own; `tracestate` goes along unchanged. With a
//! collector named in the environment, the spans are exported.

use std::{sync::Arc, time::SystemTime};

use http::{HeaderMap, HeaderValue};
use otlp::{Context, Endpoint, Exporter, Kind, Resource, Span, Value};
use tokio::time::Instant;
use tracing::warn;

/// The header that carries trace and span.
pub const TRACEPARENT: &str = "traceparent";
/// The header that carries what tracing systems add.
pub const TRACESTATE: &str = "tracestate";

/// One span of one trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// 32 lower-case hexadecimal digits, the same for all that one request brings about.
    pub id: String,
    context: Context,
    parent: Option<u64>,
    state: Option<HeaderValue>,
    start: SystemTime,
    started: Instant,
}

impl Trace {
    /// The request's own span, of the trace that it belongs to; of a new, sampled one if it names none or a malformed one.
    pub fn of(headers: &HeaderMap) -> Self {
        let given = Context::of(headers);
        let state = given.and_then(|_| headers.get(TRACESTATE).cloned());
        Self::new(given.map_or_else(Context::start, Context::child), given.map(|given| given.span), state)
    }

    /// A new span of the same trace, a part of this one: for one call.
    #[must_use]
    pub fn child(&self) -> Self {
        Self::new(self.context.child(), Some(self.context.span), self.state.clone())
    }

    fn new(context: Context, parent: Option<u64>, state: Option<HeaderValue>) -> Self {
        let id = format!("{:032x}", context.trace);
        Self { id, context, parent, state, start: SystemTime::now(), started: Instant::now() }
    }

    /// The headers that pass it on.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, HeaderValue)> {
        let state = self.state.clone().map(|value| (TRACESTATE, value));
        std::iter::once((TRACEPARENT, self.context.header())).chain(state)
    }
}

/// Exports the spans of this process, if its environment names a collector.
#[derive(Clone, Debug)]
pub struct Tracer(Option<(Exporter, Arc<Resource>)>);

/// What a span says beside its place in the trace.
pub(crate) struct Ended<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) failed: bool,
    pub(crate) trace: &'a Trace,
}

impl Tracer {
    /// Of the service `name`, in the pod `hostname`. Must be called in a runtime.
    pub(crate) fn start(endpoint: Option<Endpoint>, name: &str, hostname: &str) -> Self {
        let attributes = vec![("service.name", name.to_owned()), ("k8s.pod.name", hostname.to_owned())];
        let export = |endpoint| {
            let lost = |why: &str| warn!(why, "spans are lost");
            (Exporter::start(endpoint, lost), Arc::new(Resource(attributes)))
        };
        Self(endpoint.map(export))
    }

    /// Of a process that has no spans.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Exports a span that has ended; nothing without a collector, or if the trace is not sampled.
    pub(crate) fn end<'a>(&self, ended: impl FnOnce() -> Ended<'a>) {
        let Some((exporter, resource)) = &self.0 else { return };
        let Ended { kind, name, attributes, failed, trace } = ended();
        let Trace { context, parent, start, .. } = *trace;
        if context.is_sampled() {
            let (took, resource) = (trace.started.elapsed(), Arc::clone(resource));
            exporter.export(Span { context, parent, resource, name, kind, start, took, attributes, failed });
        }
    }

    /// Waits until what has ended is exported, a second at most.
    pub(crate) async fn flush(&self) {
        if let Some((exporter, _)) = &self.0 {
            exporter.flush().await;
        }
    }
}

/// The status of a span's response, by the protocol that it is of.
pub(crate) fn status_attribute(protocol: &str, status: i32) -> (&'static str, Value) {
    let name = if protocol == "grpc" { "rpc.grpc.status_code" } else { "http.response.status_code" };
    (name, status.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(TRACEPARENT.parse().unwrap(), value.parse().unwrap())])
    }

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn a_trace_is_taken_over_and_each_call_is_a_span_of_its_own() {
        let given = Context::parse(GIVEN).unwrap();
        let trace = Trace::of(&headers(GIVEN));
        assert_eq!((trace.context.trace, trace.parent), (given.trace, Some(given.span)));
        let (one, two) = (trace.child(), trace.child());
        assert_eq!((&one.id, one.context.flags), (&trace.id, given.flags));
        assert_eq!([one.parent, two.parent], [Some(trace.context.span); 2]);
        assert_ne!(one.context.span, two.context.span);
    }

    #[test]
    fn a_trace_is_started_where_there_is_none() {
        let (one, two) = (Trace::of(&HeaderMap::new()), Trace::of(&HeaderMap::new()));
        assert_eq!((one.parent, one.context.is_sampled()), (None, true));
        assert_ne!(one.id, two.id);
    }

    #[test]
    fn a_malformed_trace_is_not_passed_on() {
        assert_eq!(Trace::of(&headers("00-4bf92f3577b34da6a3ce929d0e0e4736-1-01")).parent, None);
    }

    #[test]
    fn tracestate_goes_along() {
        let mut given = headers(GIVEN);
        given.insert(TRACESTATE, "vendor=1".parse().unwrap());
        let passed: Vec<_> = Trace::of(&given).child().headers().collect();
        assert_eq!(passed[1], (TRACESTATE, "vendor=1".parse().unwrap()));
    }
}
