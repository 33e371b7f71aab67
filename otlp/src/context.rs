//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): the header `traceparent`.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries trace and span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// One span of one trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The same for all that one request brings about; never 0.
    pub trace: u128,
    /// Of this span; never 0.
    pub span: u64,
    /// Bit 0: the trace is sampled.
    pub flags: u8,
}

impl Context {
    /// The first span of a new, sampled trace.
    pub fn start() -> Self {
        let trace = (u128::from(random()) << 64) | u128::from(random());
        Self { trace, span: random(), flags: 1 }
    }

    /// That of the request's sender; none if it names none, or a malformed one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get(TRACEPARENT)?.to_str().ok()?)
    }

    /// Reads the header's value. A later version than 00 may have more fields after the known ones.
    pub fn parse(value: &str) -> Option<Self> {
        let mut fields = value.split('-');
        let (version, trace, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let known_shape = version == "00" && fields.next().is_none() || version != "00" && version != "ff";
        let valid =
            known_shape && is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| valid && *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        Some(Self { trace, span, flags: u8::from_str_radix(flags, 16).ok()? })
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span: random(), ..self }
    }

    /// Whether its spans are to be exported.
    pub fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }

    /// The value of [`TRACEPARENT`] that passes it on.
    pub fn header(self) -> HeaderValue {
        // Digits and dashes are a header value.
        HeaderValue::try_from(self.to_string()).unwrap_or(HeaderValue::from_static(""))
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

fn is_hex(field: &str, length: usize) -> bool {
    field.len() == length && field.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Random enough for an id, which need not be secret, and never 0: the process's own hash keys over a counter.
pub fn random() -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEYS.hash_one(COUNT.fetch_add(1, Ordering::Relaxed)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn a_context_is_written_as_it_was_read_and_a_child_has_a_span_of_its_own() {
        let given = Context::parse(GIVEN).unwrap();
        assert_eq!((given.to_string().as_str(), given.is_sampled()), (GIVEN, false));
        let child = given.child();
        assert_eq!((child.trace, child.flags), (given.trace, given.flags));
        assert_ne!(child.span, given.span);
        let started = Context::start();
        assert!(started.is_sampled() && started != Context::start());
        assert_eq!(Context::parse(started.header().to_str().unwrap()), Some(started));
    }

    #[test]
    fn a_malformed_one_is_none() {
        for value in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(Context::parse(value), None, "{value}");
        }
    }
}
