//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): `traceparent` is taken over or started,
//! and each call passes it on under a span of its own; `tracestate` goes along unchanged.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderValue};

/// The header that carries trace and span.
pub const TRACEPARENT: &str = "traceparent";
/// The header that carries what tracing systems add.
pub const TRACESTATE: &str = "tracestate";

/// One span of one trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// 32 lower-case hexadecimal digits, the same for all that one request brings about.
    pub id: String,
    span: String,
    flags: String,
    state: Option<HeaderValue>,
}

impl Trace {
    /// The trace that the request belongs to; a new, sampled one if it names none or a malformed one.
    pub fn of(headers: &HeaderMap) -> Self {
        let parent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(parse);
        match parent {
            Some((id, span, flags)) => Self { id, span, flags, state: headers.get(TRACESTATE).cloned() },
            None => Self {
                id: format!("{:016x}{:016x}", random(), random()),
                span: format!("{:016x}", random()),
                flags: "01".to_owned(),
                state: None,
            },
        }
    }

    /// A new span of the same trace, for one call.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: format!("{:016x}", random()), ..self.clone() }
    }

    /// The headers that pass it on.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, HeaderValue)> {
        let parent = HeaderValue::try_from(self.to_string()).ok().map(|value| (TRACEPARENT, value));
        let state = self.state.clone().map(|value| (TRACESTATE, value));
        parent.into_iter().chain(state)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{}", self.id, self.span, self.flags)
    }
}

/// Trace, span and flags. A later version than 00 may have more fields after these.
fn parse(value: &str) -> Option<(String, String, String)> {
    let mut fields = value.split('-');
    let (version, id, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let known_shape = version == "00" && fields.next().is_none() || version != "00" && version != "ff";
    let valid = known_shape
        && is_hex(version, 2)
        && is_hex(id, 32)
        && is_hex(span, 16)
        && is_hex(flags, 2)
        && id.bytes().any(|digit| digit != b'0')
        && span.bytes().any(|digit| digit != b'0');
    valid.then(|| (id.to_owned(), span.to_owned(), flags.to_owned()))
}

fn is_hex(field: &str, length: usize) -> bool {
    field.len() == length && field.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Random enough for an id, which need not be secret: the process's own hash keys over a counter.
fn random() -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEYS.hash_one(COUNT.fetch_add(1, Ordering::Relaxed)).max(1)
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
        let trace = Trace::of(&headers(GIVEN));
        assert_eq!(trace.to_string(), GIVEN);
        let (one, two) = (trace.child(), trace.child());
        assert_eq!((&one.id, &one.flags), (&trace.id, &trace.flags));
        assert_ne!(one.span, two.span);
        assert!(parse(&one.to_string()).is_some());
    }

    #[test]
    fn a_trace_is_started_where_there_is_none() {
        let (one, two) = (Trace::of(&HeaderMap::new()), Trace::of(&HeaderMap::new()));
        assert!(parse(&one.to_string()).is_some());
        assert_ne!(one.id, two.id);
    }

    #[test]
    fn a_malformed_trace_is_not_passed_on() {
        for value in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            assert_ne!(Trace::of(&headers(value)).to_string(), value);
        }
    }

    #[test]
    fn tracestate_goes_along() {
        let mut given = headers(GIVEN);
        given.insert(TRACESTATE, "vendor=1".parse().unwrap());
        let passed: Vec<_> = Trace::of(&given).child().headers().collect();
        assert_eq!(passed[1], (TRACESTATE, "vendor=1".parse().unwrap()));
    }
}
