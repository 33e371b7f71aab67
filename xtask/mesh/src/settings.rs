use std::{collections::BTreeMap, time::Duration};

const HTTP_RETRY: &str = "retry.linkerd.io/http";
const GRPC_RETRY: &str = "retry.linkerd.io/grpc";
const RETRY_LIMIT: &str = "retry.linkerd.io/limit";
const RETRY_TIMEOUT: &str = "retry.linkerd.io/timeout";
const REQUEST_TIMEOUT: &str = "timeout.linkerd.io/request";
const RESPONSE_TIMEOUT: &str = "timeout.linkerd.io/response";
const IDLE_TIMEOUT: &str = "timeout.linkerd.io/idle";
const ACCRUAL: &str = "balancer.linkerd.io/failure-accrual";
const ACCRUAL_MAX_FAILURES: &str = "balancer.linkerd.io/failure-accrual-consecutive-max-failures";
const ACCRUAL_MIN_PENALTY: &str = "balancer.linkerd.io/failure-accrual-consecutive-min-penalty";
const ACCRUAL_MAX_PENALTY: &str = "balancer.linkerd.io/failure-accrual-consecutive-max-penalty";
const ACCRUAL_JITTER: &str = "balancer.linkerd.io/failure-accrual-consecutive-jitter-ratio";

const DURATION: &str = "a duration: a whole number and a unit (ms, s, m, h, d), e.g. 500ms";

/// How requests to one Service are timed out, retried and kept from failing endpoints. The default is
/// Linkerd's: no timeouts, no retries, no failure accrual.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundSettings {
    /// Limits on each request.
    pub timeouts: Timeouts,
    /// Retries; None: none.
    pub retry: Option<Retry>,
    /// Failure accrual; None: off.
    pub failure_accrual: Option<FailureAccrual>,
}

/// Limits on each request, None: no limit.
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
    /// HTTP statuses that are tried again.
    pub http: Vec<StatusRange>,
    /// gRPC statuses that are tried again.
    pub grpc: Vec<GrpcCondition>,
    /// How many times at most, beyond the first attempt (Linkerd's default: 1).
    pub limit: u16,
    /// How long each attempt but the last may wait for the response's headers.
    pub timeout: Option<Duration>,
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
    /// Reads a Service's (or route's) annotations `retry.linkerd.io/*`, `timeout.linkerd.io/*` and
    /// `balancer.linkerd.io/failure-accrual*`, by the rules of Linkerd's policy controller. Others are ignored.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Self, SettingsError> {
        let read = Annotations(annotations);
        Ok(Self {
            timeouts: Timeouts {
                request: read.duration(REQUEST_TIMEOUT)?,
                response: read.duration(RESPONSE_TIMEOUT)?,
                idle: read.duration(IDLE_TIMEOUT)?,
            },
            retry: read.retry()?,
            failure_accrual: read.failure_accrual()?,
        })
    }
}

impl Retry {
    /// Whether an answer with this status is tried again.
    pub(crate) fn wants(&self, status: u16, grpc_status: Option<i32>) -> bool {
        self.http.iter().any(|range| (range.min..=range.max).contains(&status))
            || grpc_status.is_some_and(|code| self.grpc.iter().any(|condition| *condition as i32 == code))
    }
}

struct Annotations<'a>(&'a BTreeMap<String, String>);

impl Annotations<'_> {
    /// The value parsed, None if there is no such annotation.
    fn get<T>(
        &self,
        annotation: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingsError> {
        let Some(value) = self.0.get(annotation) else { return Ok(None) };
        parse(value).map(Some).ok_or_else(|| SettingsError {
            annotation: annotation.to_owned(),
            value: value.clone(),
            expected: expected.to_owned(),
        })
    }

    fn duration(&self, annotation: &str) -> Result<Option<Duration>, SettingsError> {
        self.get(annotation, DURATION, parse_duration)
    }

    fn retry(&self) -> Result<Option<Retry>, SettingsError> {
        let limit = self
            .get(RETRY_LIMIT, "a whole number from 0 to 65535", |v| v.parse::<u16>().ok())?
            .filter(|limit| *limit != 0);
        let timeout = self.duration(RETRY_TIMEOUT)?.filter(|timeout| !timeout.is_zero());
        let http = self.get(
            HTTP_RETRY,
            "a comma-separated list of 5xx, gateway-error, status codes and ranges (e.g. 500-504)",
            |v| v.split(',').map(parse_status).collect::<Option<Vec<_>>>(),
        )?;
        let grpc = self.get(
            GRPC_RETRY,
            "a comma-separated list of cancelled, deadline-exceeded, internal, resource-exhausted, unavailable",
            |v| v.split(',').map(parse_grpc).collect::<Option<Vec<_>>>(),
        )?;
        if limit.is_none() && timeout.is_none() && http.is_none() && grpc.is_none() {
            return Ok(None);
        }
        Ok(Some(Retry {
            http: http.unwrap_or_default(),
            grpc: grpc.unwrap_or_default(),
            limit: limit.unwrap_or(1),
            timeout,
        }))
    }

    fn failure_accrual(&self) -> Result<Option<FailureAccrual>, SettingsError> {
        let mode = self.get(ACCRUAL, "consecutive (the only mode of the local mesh)", |v| {
            (v == "consecutive").then_some(())
        })?;
        if mode.is_none() {
            return Ok(None);
        }
        let default = FailureAccrual::default();
        let max_failures = self.get(ACCRUAL_MAX_FAILURES, "a whole number", |v| v.parse().ok())?;
        let min_penalty = self.duration(ACCRUAL_MIN_PENALTY)?.unwrap_or(default.min_penalty);
        let max_penalty = self.get(ACCRUAL_MAX_PENALTY, DURATION, parse_duration)?;
        let max_penalty = max_penalty.unwrap_or(default.max_penalty);
        if max_penalty.is_zero() || min_penalty > max_penalty {
            let annotation = if self.0.contains_key(ACCRUAL_MAX_PENALTY) {
                ACCRUAL_MAX_PENALTY
            } else {
                ACCRUAL_MIN_PENALTY
            };
            return Err(SettingsError {
                annotation: annotation.to_owned(),
                value: self.0.get(annotation).cloned().unwrap_or_default(),
                expected: "a minimum penalty that is at most the maximum, which is more than 0".to_owned(),
            });
        }
        let jitter = self.get(ACCRUAL_JITTER, "a number from 0 to 100", |v| {
            v.parse().ok().filter(|ratio: &f64| (0.0..=100.0).contains(ratio))
        })?;
        Ok(Some(FailureAccrual {
            max_failures: max_failures.unwrap_or(default.max_failures),
            min_penalty,
            max_penalty,
            jitter: jitter.unwrap_or(default.jitter),
        }))
    }
}

fn parse_duration(value: &str) -> Option<Duration> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "" if number == 0 => 0,
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

fn parse_status(value: &str) -> Option<StatusRange> {
    let code = |v: &str| v.parse::<u16>().ok().filter(|code| (100..600).contains(code));
    if value.eq_ignore_ascii_case("5xx") {
        return Some(StatusRange { min: 500, max: 599 });
    }
    if value.eq_ignore_ascii_case("gateway-error") {
        return Some(StatusRange { min: 502, max: 504 });
    }
    if let Some(code) = code(value) {
        return Some(StatusRange { min: code, max: code });
    }
    let (min, max) = value.split_once('-')?;
    let (min, max) = (code(min)?, code(max)?);
    (min <= max).then_some(StatusRange { min, max })
}

fn parse_grpc(value: &str) -> Option<GrpcCondition> {
    [
        ("cancelled", GrpcCondition::Cancelled),
        ("deadline-exceeded", GrpcCondition::DeadlineExceeded),
        ("internal", GrpcCondition::Internal),
        ("resource-exhausted", GrpcCondition::ResourceExhausted),
        ("unavailable", GrpcCondition::Unavailable),
    ]
    .into_iter()
    .find_map(|(name, condition)| value.eq_ignore_ascii_case(name).then_some(condition))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(annotations: &[(&str, &str)]) -> Result<OutboundSettings, String> {
        let map = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        OutboundSettings::from_annotations(&map).map_err(|error| error.to_string())
    }

    #[test]
    fn without_annotations_nothing_is_timed_out_or_retried() {
        assert_eq!(settings(&[("other.io/x", "y")]), Ok(OutboundSettings::default()));
    }

    #[test]
    fn annotations_are_read_as_linkerds_policy_controller_reads_them() {
        let read = settings(&[
            (HTTP_RETRY, "5xx,gateway-error,404,400-403"),
            (GRPC_RETRY, "internal,Unavailable"),
            (RETRY_LIMIT, "2"),
            (RETRY_TIMEOUT, "500ms"),
            (REQUEST_TIMEOUT, "3s"),
            (IDLE_TIMEOUT, "1m"),
            (ACCRUAL, "consecutive"),
            (ACCRUAL_MAX_FAILURES, "3"),
        ])
        .unwrap();
        let retry = read.retry.unwrap();
        assert_eq!((retry.limit, retry.timeout), (2, Some(Duration::from_millis(500))));
        assert!([500, 599, 404, 400, 403].iter().all(|status| retry.wants(*status, None)));
        assert!(![200, 405, 499].iter().any(|status| retry.wants(*status, None)));
        assert!(retry.wants(200, Some(13)) && retry.wants(200, Some(14)) && !retry.wants(200, Some(7)));
        assert_eq!(read.timeouts.request, Some(Duration::from_secs(3)));
        assert_eq!(read.timeouts.idle, Some(Duration::from_secs(60)));
        assert_eq!(
            read.failure_accrual,
            Some(FailureAccrual { max_failures: 3, ..FailureAccrual::default() })
        );
    }

    #[test]
    fn an_annotation_that_is_wrong_is_named_with_its_value_and_what_is_right() {
        insta::assert_snapshot!(
            settings(&[(REQUEST_TIMEOUT, "1.5s")]).unwrap_err(),
            @r#"annotation timeout.linkerd.io/request: "1.5s" is not a duration: a whole number and a unit (ms, s, m, h, d), e.g. 500ms"#
        );
        insta::assert_snapshot!(
            settings(&[(HTTP_RETRY, "6xx")]).unwrap_err(),
            @r#"annotation retry.linkerd.io/http: "6xx" is not a comma-separated list of 5xx, gateway-error, status codes and ranges (e.g. 500-504)"#
        );
        insta::assert_snapshot!(
            settings(&[(ACCRUAL, "unified")]).unwrap_err(),
            @r#"annotation balancer.linkerd.io/failure-accrual: "unified" is not consecutive (the only mode of the local mesh)"#
        );
    }

    proptest! {
        #[test]
        fn every_whole_number_of_a_unit_is_a_duration(n in 0u32.., unit in "(ms|s|m|h|d)") {
            let text = format!("{n}{unit}");
            prop_assert!(parse_duration(&text).is_some());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = (parse_duration(&text), parse_status(&text), parse_grpc(&text));
        }
    }
}
