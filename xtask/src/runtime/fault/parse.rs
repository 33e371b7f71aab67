//! Faults as people write them.

use std::str::FromStr;

use super::{Delay, GrpcStatus, Percent, Status};
use crate::workspace::problem::suggest;

/// No request is to wait longer.
const LONGEST_MS: f64 = 3_600_000.0;

/// `10%`, `0.5%`.
impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
        let percent = number.ok_or_else(|| format!("`{text}` is not like 10% or 0.5%"))?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(format!("`{text}` is not from 0% to 100%"));
        }
        Ok(Self(percent))
    }
}

/// `10ms`, `10ms±5ms`, `10ms+-5ms@20%`.
impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (span, percent) = shared(text)?;
        let (mean, jitter) = match span.split_once('±').or_else(|| span.split_once("+-")) {
            Some((mean, jitter)) => (millis(mean)?, millis(jitter)?),
            None => (millis(span)?, 0.0),
        };
        if jitter > mean {
            return Err(format!("`{span}` would be less than nothing at times"));
        }
        if mean + jitter > LONGEST_MS {
            return Err(format!("`{span}` is more than an hour"));
        }
        Ok(Self { mean_ms: mean, jitter_ms: jitter, percent })
    }
}

/// `500`, `500@10%`.
impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (status, percent) = shared(text)?;
        let number = status.parse().ok().filter(|number| (200..=599).contains(number));
        let status = number.ok_or_else(|| {
            format!("`{status}` is no HTTP status that ends a request: one is from 200 to 599")
        })?;
        Ok(Self { status, percent })
    }
}

/// `unavailable`, `UNAVAILABLE@5%`, `14@5%`.
impl FromStr for GrpcStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (status, percent) = shared(text)?;
        let names: Vec<(u8, String)> =
            (1..=16).map(|code| (code, client::code_name(code.into()).to_lowercase())).collect();
        let wanted = status.to_lowercase().replace('-', "_");
        let found = names.iter().find(|(code, name)| *name == wanted || code.to_string() == wanted);
        let (grpc_status, _) = found.ok_or_else(|| match wanted.as_str() {
            "0" | "ok" => format!("`{status}` is no fault"),
            number if number.parse::<i64>().is_ok() => {
                format!("`{status}` is no gRPC status: one is from 1 to 16")
            }
            name => {
                let near = suggest(name, names.iter().map(|(_, name)| name.as_str()));
                format!("`{status}` is no gRPC status{near}")
            }
        })?;
        Ok(Self { grpc_status: *grpc_status, percent })
    }
}

/// What is before `@`, and the share behind it; all without one.
fn shared(text: &str) -> Result<(&str, f64), String> {
    match text.split_once('@') {
        Some((what, share)) => Ok((what, share.parse::<Percent>()?.0)),
        None => Ok((text, 100.0)),
    }
}

fn millis(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let unit = match unit {
        "us" | "µs" => Some(0.001),
        "ms" => Some(1.0),
        "s" => Some(1000.0),
        _ => None,
    };
    let number = number.parse::<f64>().ok();
    number
        .zip(unit)
        .map(|(number, unit)| number * unit)
        .ok_or_else(|| format!("`{text}` is not like 10ms, 10ms±5ms (also written 10ms+-5ms), 1.5s or 100us"))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;
    use crate::runtime::fault::FaultSpec;

    fn wrong<T: FromStr<Err = String>>(text: &str) -> String {
        text.parse::<T>().err().unwrap()
    }

    #[test]
    fn delays_are_written_with_and_without_jitter_and_share() {
        let delay = |text: &str| text.parse::<Delay>().unwrap().to_string();
        assert_eq!(delay("10ms"), "10ms");
        assert_eq!(delay("10ms±5ms"), "10ms±5ms");
        assert_eq!(delay("10ms+-5ms@20%"), "10ms±5ms@20%");
        assert_eq!(delay("1.5s ± 100us"), "1500ms±0.1ms");
        assert_snapshot!(wrong::<Delay>("10"), @"`10` is not like 10ms, 10ms±5ms (also written 10ms+-5ms), 1.5s or 100us");
        assert_snapshot!(wrong::<Delay>("10ms±20ms"), @"`10ms±20ms` would be less than nothing at times");
        assert_snapshot!(wrong::<Delay>("4000s"), @"`4000s` is more than an hour");
        assert_snapshot!(wrong::<Delay>("-10ms"), @"`-10ms` is not like 10ms, 10ms±5ms (also written 10ms+-5ms), 1.5s or 100us");
    }

    #[test]
    fn statuses_and_shares_have_bounds() {
        assert_eq!("500@10%".parse(), Ok(Status { status: 500, percent: 10.0 }));
        assert_eq!("503".parse(), Ok(Status { status: 503, percent: 100.0 }));
        assert_snapshot!(wrong::<Status>("99"), @"`99` is no HTTP status that ends a request: one is from 200 to 599");
        assert_snapshot!(wrong::<Status>("500@101%"), @"`101%` is not from 0% to 100%");
        assert_snapshot!(wrong::<Status>("500@10"), @"`10` is not like 10% or 0.5%");
        assert_snapshot!(wrong::<Percent>("-1%"), @"`-1%` is not from 0% to 100%");
        assert_snapshot!(wrong::<Percent>("NaN%"), @"`NaN%` is not from 0% to 100%");
    }

    #[test]
    fn grpc_statuses_go_by_name_and_number() {
        let unavailable = Ok(GrpcStatus { grpc_status: 14, percent: 5.0 });
        for text in ["unavailable@5%", "UNAVAILABLE@5%", "14@5%"] {
            assert_eq!(text.parse(), unavailable, "{text}");
        }
        assert_eq!("deadline-exceeded".parse(), Ok(GrpcStatus { grpc_status: 4, percent: 100.0 }));
        assert_snapshot!(wrong::<GrpcStatus>("unavailible"), @r#"`unavailible` is no gRPC status; did you mean "unavailable"?"#);
        assert_snapshot!(wrong::<GrpcStatus>("17"), @"`17` is no gRPC status: one is from 1 to 16");
        assert_snapshot!(wrong::<GrpcStatus>("ok"), @"`ok` is no fault");
    }

    #[test]
    fn a_fault_is_told_in_the_words_it_is_written_in() {
        let mut spec = FaultSpec {
            service: "baz".into(),
            port: Some("grpc".into()),
            from: Some("bar".into()),
            delay: "10ms±5ms".parse().ok(),
            statuses: vec!["500@10%".parse().unwrap()],
            grpc_statuses: vec!["unavailable@5%".parse().unwrap()],
            abort_percent: Some(1.0),
            ..FaultSpec::default()
        };
        assert_snapshot!(spec.of(), @"baz:grpc from bar");
        assert_snapshot!(spec.effects(), @"delay 10ms±5ms, status 500@10%, grpc-status UNAVAILABLE@5%, abort 1%");
        spec.check().unwrap();
        spec.abort_percent = Some(85.1);
        assert_snapshot!(spec.check().unwrap_err(), @"100.1 % of the requests are to end in a fault: of one request only one comes to pass, so they add up to 100 % at most");
    }

    proptest! {
        /// What is told can be written again, and means the same.
        #[test]
        fn a_delay_that_is_told_is_the_one_that_was_written(mean in 0_u32..100_000, less in 0_u32..100_000, percent in 0_u32..=100) {
            let (mean_ms, jitter_ms) = (f64::from(mean) / 8.0, f64::from(mean.saturating_sub(less)) / 8.0);
            let delay = Delay { mean_ms, jitter_ms, percent: f64::from(percent) };
            prop_assert_eq!(delay.to_string().parse(), Ok(delay));
        }

        /// Nothing that is typed makes it panic.
        #[test]
        fn anything_can_be_typed(text in "\\PC{0,20}") {
            let _ = (text.parse::<Delay>(), text.parse::<Status>(), text.parse::<GrpcStatus>(), text.parse::<Percent>());
        }
    }
}
