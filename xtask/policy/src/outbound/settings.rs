//! What the annotations of a Service or a route ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::annotation::Annotations;

/// How requests to one Service are timed out, retried and kept from failing endpoints. The default is
/// Linkerd's: no timeouts, no retries, no failure accrual.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundSettings {
    /// Limits on each request.
    pub timeouts: Timeouts,
    /// Retries on `HTTPRoute`s and on the default route, also of gRPC calls; none: none.
    pub http_retry: Option<Retry>,
    /// Retries on `GRPCRoute`s; none: none.
    pub grpc_retry: Option<Retry>,
    /// Failure accrual; none: off.
    pub failure_accrual: Option<FailureAccrual>,
}

/// Limits on each request, none: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's headers to the end of the response, over all attempts.
    pub request: Option<Duration>,
    /// From the end of the request to the end of the response.
    pub response: Option<Duration>,
    /// Longest time without any byte of the stream.
    pub idle: Option<Duration>,
}

/// When and how often a request is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The answers that are tried again.
    pub on: RetryOn,
    /// How many times at most, beyond the first attempt (Linkerd's default: 1).
    pub limit: u16,
    /// How long each attempt but the last may wait for the response's headers.
    pub timeout: Option<Duration>,
}

/// The answers that are tried again. Those of one kind of route are never looked for on the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// HTTP statuses.
    Http(Vec<StatusRange>),
    /// gRPC statuses.
    Grpc(Vec<GrpcCondition>),
}

/// A range of HTTP statuses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The lowest.
    pub min: u16,
    /// The highest.
    pub max: u16,
}

/// A gRPC status that Linkerd can retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum GrpcCondition {
    /// `cancelled` (1)
    Cancelled = 1,
    /// `deadline-exceeded` (4)
    DeadlineExceeded = 4,
    /// `resource-exhausted` (8)
    ResourceExhausted = 8,
    /// `internal` (13)
    Internal = 13,
    /// `unavailable` (14)
    Unavailable = 14,
}

/// Keeps traffic from an endpoint after consecutive failures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureAccrual {
    /// So many failures in a row shut an endpoint out (default 7).
    pub max_failures: u32,
    /// How long at first (default 1 s); it doubles with each probe that fails.
    pub min_penalty: Duration,
    /// How long at most (default 60 s).
    pub max_penalty: Duration,
    /// Up to this share of the penalty is added at random (default 0.5).
    pub jitter: f64,
}

impl Default for FailureAccrual {
    fn default() -> Self {
        Self {
            max_failures: 7,
            min_penalty: Duration::from_secs(1),
            max_penalty: Duration::from_secs(60),
            jitter: 0.5,
        }
    }
}

/// An annotation that Linkerd's policy controller would not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {annotation}: {value:?} is not {expected}")]
pub struct SettingsError {
    /// Its name.
    pub annotation: String,
    /// Its value.
    pub value: String,
    /// What would be right.
    pub expected: String,
}

impl OutboundSettings {
    /// Reads a Service's annotations `retry.linkerd.io/*`, `timeout.linkerd.io/*` and
    /// `balancer.linkerd.io/failure-accrual*`, by the rules of Linkerd's policy controller. Others are ignored.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Self, SettingsError> {
        let (settings, wrong) = Self::read(annotations);
        match wrong.into_iter().next() {
            None => Ok(settings),
            Some(wrong) => Err(wrong),
        }
    }

    /// As [`OutboundSettings::from_annotations`], with what is wrong beside what is not: as the controller, which
    /// leaves out the timeouts, the retries or the failure accrual that it cannot read.
    pub fn read(annotations: &BTreeMap<String, String>) -> (Self, Vec<SettingsError>) {
        let mut wrong = Vec::new();
        let mut settings = Self::default();
        let read = Annotations(annotations);
        read.timeouts().map_or_else(|error| wrong.push(error), |own| settings.timeouts = own);
        read.http_retry().map_or_else(|error| wrong.push(error), |own| settings.http_retry = own);
        read.grpc_retry().map_or_else(|error| wrong.push(error), |own| settings.grpc_retry = own);
        read.failure_accrual().map_or_else(|error| wrong.push(error), |own| settings.failure_accrual = own);
        wrong.dedup();
        (settings, wrong)
    }
}

impl Timeouts {
    /// Reads `timeout.linkerd.io/*`.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Self, SettingsError> {
        Annotations(annotations).timeouts()
    }
}

impl Retry {
    /// Reads `retry.linkerd.io/*` as for an `HTTPRoute`.
    pub fn http(annotations: &BTreeMap<String, String>) -> Result<Option<Self>, SettingsError> {
        Annotations(annotations).http_retry()
    }

    /// Reads `retry.linkerd.io/*` as for a `GRPCRoute`.
    pub fn grpc(annotations: &BTreeMap<String, String>) -> Result<Option<Self>, SettingsError> {
        Annotations(annotations).grpc_retry()
    }

    /// Whether an answer with this status is tried again.
    pub fn wants(&self, status: u16, grpc_status: Option<i32>) -> bool {
        match &self.on {
            RetryOn::Http(ranges) => ranges.iter().any(|range| (range.min..=range.max).contains(&status)),
            RetryOn::Grpc(codes) => {
                grpc_status.is_some_and(|status| codes.iter().any(|code| *code as i32 == status))
            }
        }
    }
}
