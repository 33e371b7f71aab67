//! How the values of `retry.linkerd.io/*`, `timeout.linkerd.io/*` and `balancer.linkerd.io/*` are written. Source:
//! `outbound/index.rs`, `http.rs` and `grpc.rs` of Linkerd's policy controller.

use std::collections::BTreeMap;
use std::time::Duration;

use super::settings::{FailureAccrual, GrpcCondition, Retry, RetryOn, SettingsError, StatusRange, Timeouts};

pub(super) const HTTP_RETRY: &str = "retry.linkerd.io/http";
pub(super) const GRPC_RETRY: &str = "retry.linkerd.io/grpc";
const RETRY_LIMIT: &str = "retry.linkerd.io/limit";
const RETRY_TIMEOUT: &str = "retry.linkerd.io/timeout";
pub(super) const REQUEST_TIMEOUT: &str = "timeout.linkerd.io/request";
const RESPONSE_TIMEOUT: &str = "timeout.linkerd.io/response";
const IDLE_TIMEOUT: &str = "timeout.linkerd.io/idle";
const ACCRUAL: &str = "balancer.linkerd.io/failure-accrual";
const ACCRUAL_MAX_FAILURES: &str = "balancer.linkerd.io/failure-accrual-consecutive-max-failures";
const ACCRUAL_MIN_PENALTY: &str = "balancer.linkerd.io/failure-accrual-consecutive-min-penalty";
const ACCRUAL_MAX_PENALTY: &str = "balancer.linkerd.io/failure-accrual-consecutive-max-penalty";
const ACCRUAL_JITTER: &str = "balancer.linkerd.io/failure-accrual-consecutive-jitter-ratio";

const DURATION: &str = "a duration: a whole number and a unit (ms, s, m, h, d), e.g. 500ms";

/// Reads annotations.
#[derive(Clone, Copy)]
pub(super) struct Annotations<'a>(pub &'a BTreeMap<String, String>);

impl Annotations<'_> {
    /// The value parsed, none if there is no such annotation.
    fn get<T>(
        self,
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

    fn duration(self, annotation: &str) -> Result<Option<Duration>, SettingsError> {
        self.get(annotation, DURATION, parse_duration)
    }

    /// `timeout.linkerd.io/*`. A timeout of 0 is one: it has run out when it begins.
    pub(super) fn timeouts(self) -> Result<Timeouts, SettingsError> {
        Ok(Timeouts {
            request: self.duration(REQUEST_TIMEOUT)?,
            response: self.duration(RESPONSE_TIMEOUT)?,
            idle: self.duration(IDLE_TIMEOUT)?,
        })
    }

    /// The retries of an `HTTPRoute` or of the default route.
    pub(super) fn http_retry(self) -> Result<Option<Retry>, SettingsError> {
        let list = |value: &str| value.split(',').map(parse_status).collect::<Option<Vec<_>>>();
        let statuses = self.get(
            HTTP_RETRY,
            "a comma-separated list of 5xx, gateway-error, status codes and ranges (e.g. 500-504)",
            list,
        )?;
        self.retry(statuses.map(RetryOn::Http), RetryOn::Http(Vec::new()))
    }

    /// The retries of a `GRPCRoute`.
    pub(super) fn grpc_retry(self) -> Result<Option<Retry>, SettingsError> {
        let list = |value: &str| value.split(',').map(parse_grpc).collect::<Option<Vec<_>>>();
        let codes = self.get(
            GRPC_RETRY,
            "a comma-separated list of cancelled, deadline-exceeded, internal, resource-exhausted, unavailable",
            list,
        )?;
        self.retry(codes.map(RetryOn::Grpc), RetryOn::Grpc(Vec::new()))
    }

    /// A limit or a timeout without a condition is a retry too: of attempts that took too long or found nobody.
    fn retry(self, on: Option<RetryOn>, nothing: RetryOn) -> Result<Option<Retry>, SettingsError> {
        let limit = self.get(RETRY_LIMIT, "a whole number from 0 to 65535", |v| v.parse::<u16>().ok())?;
        let limit = limit.filter(|limit| *limit != 0);
        let timeout = self.duration(RETRY_TIMEOUT)?.filter(|timeout| !timeout.is_zero());
        if limit.is_none() && timeout.is_none() && on.is_none() {
            return Ok(None);
        }
        Ok(Some(Retry { on: on.unwrap_or(nothing), limit: limit.unwrap_or(1), timeout }))
    }

    /// `balancer.linkerd.io/failure-accrual*`.
    pub(super) fn failure_accrual(self) -> Result<Option<FailureAccrual>, SettingsError> {
        let mode = self.get(ACCRUAL, "consecutive (the only mode of the local mesh)", |v| {
            (v == "consecutive").then_some(())
        })?;
        if mode.is_none() {
            return Ok(None);
        }
        let default = FailureAccrual::default();
        let max_failures = self.get(ACCRUAL_MAX_FAILURES, "a whole number", |v| v.trim().parse().ok())?;
        let min_penalty = self.duration(ACCRUAL_MIN_PENALTY)?.unwrap_or(default.min_penalty);
        let max_penalty = self.duration(ACCRUAL_MAX_PENALTY)?.unwrap_or(default.max_penalty);
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
            v.trim().parse().ok().filter(|ratio: &f64| (0.0..=100.0).contains(ratio))
        })?;
        Ok(Some(FailureAccrual {
            max_failures: max_failures.unwrap_or(default.max_failures),
            min_penalty,
            max_penalty,
            jitter: jitter.unwrap_or(default.jitter),
        }))
    }
}

/// A whole number and its unit; `0` needs none.
pub(super) fn parse_duration(value: &str) -> Option<Duration> {
    let value = value.trim();
    let last_digit = value.rfind(|c: char| c.is_ascii_digit())?;
    let (number, unit) = value.split_at(last_digit + 1);
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

/// The seconds of a unit of Go's durations (`time.ParseDuration`); none if it is not one.
#[must_use]
pub fn go_unit(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

/// A Kubernetes duration, as Go writes it: `1h30m`, `1.5s`, `100us`. A sign does not count. Source: `duration.rs`
/// of the policy controller's `k8s/api`.
pub(super) fn parse_go_duration(value: &str) -> Option<Duration> {
    let mut rest = value.trim_start_matches('+').trim_start_matches('-');
    let mut total = Duration::ZERO;
    while !rest.is_empty() && rest != "0" {
        let (number, tail) = rest.split_at(rest.find(char::is_alphabetic)?);
        let end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let seconds = go_unit(unit)?;
        let part = Duration::try_from_secs_f64(seconds * number.parse::<f64>().ok()?).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    Some(total)
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
        ("resource-exhausted", GrpcCondition::ResourceExhausted),
        ("internal", GrpcCondition::Internal),
        ("unavailable", GrpcCondition::Unavailable),
    ]
    .into_iter()
    .find_map(|(name, condition)| value.eq_ignore_ascii_case(name).then_some(condition))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::OutboundSettings;
    use super::*;

    fn settings(annotations: &[(&str, &str)]) -> Result<OutboundSettings, SettingsError> {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        OutboundSettings::from_annotations(&annotations)
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
            (ACCRUAL_MAX_FAILURES, " 3 "),
        ])
        .unwrap();
        let (http, grpc) = (read.http_retry.unwrap(), read.grpc_retry.unwrap());
        for retry in [&http, &grpc] {
            assert_eq!((retry.limit, retry.timeout), (2, Some(Duration::from_millis(500))));
        }
        assert!([500, 599, 404, 400, 403].iter().all(|status| http.wants(*status, None)));
        assert!(![200, 405, 499].iter().any(|status| http.wants(*status, Some(13))));
        assert!(grpc.wants(200, Some(13)) && grpc.wants(200, Some(14)));
        assert!(!grpc.wants(200, Some(7)) && !grpc.wants(500, None));
        assert_eq!(read.timeouts.request, Some(Duration::from_secs(3)));
        assert_eq!(read.timeouts.idle, Some(Duration::from_secs(60)));
        assert_eq!(
            read.failure_accrual,
            Some(FailureAccrual { max_failures: 3, ..FailureAccrual::default() })
        );
    }

    #[test]
    fn a_condition_for_one_kind_of_route_is_none_for_the_other() {
        let read = settings(&[(GRPC_RETRY, "unavailable")]).unwrap();
        assert_eq!((read.http_retry, read.grpc_retry.map(|retry| retry.limit)), (None, Some(1)));
        let read = settings(&[(RETRY_LIMIT, "3")]).unwrap();
        assert_eq!(read.http_retry.map(|retry| retry.on), Some(RetryOn::Http(Vec::new())));
        assert_eq!(settings(&[(RETRY_LIMIT, "0")]).unwrap().http_retry, None);
    }

    #[test]
    fn what_can_be_read_counts_beside_what_cannot() {
        let annotations = [(REQUEST_TIMEOUT, "soon"), (HTTP_RETRY, "5xx")];
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (read, wrong) = OutboundSettings::read(&annotations);
        assert_eq!((read.timeouts, read.http_retry.is_some()), (Timeouts::default(), true));
        assert_eq!(wrong.len(), 1);
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

    #[test]
    fn a_rules_timeout_is_written_as_go_writes_durations() {
        for (text, millis) in [("1h30m", 5_400_000), ("1.5s", 1_500), ("0", 0), ("0s", 0), ("250ms", 250)] {
            assert_eq!(parse_go_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["5", "1d", "s", "1x"] {
            assert_eq!(parse_go_duration(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_whole_number_of_a_unit_is_a_duration(n in 0u32.., unit in "(ms|s|m|h|d)") {
            let text = format!("{n}{unit}");
            prop_assert!(parse_duration(&text).is_some());
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".*") {
            let _ = (parse_duration(&text), parse_status(&text), parse_grpc(&text), parse_go_duration(&text));
        }
    }
}
