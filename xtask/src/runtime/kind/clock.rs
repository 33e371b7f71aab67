//! Whether this machine's clock and the cluster's agree: certificates that are made by one and read by the other are
//! valid from a moment on.

use http::Request;
use jiff::{SignedDuration, Timestamp};

use super::api::ApiServer;
use crate::error::Fault;

/// Clocks that differ by less agree: certificates made here begin an hour ago.
const TOLERATED: SignedDuration = SignedDuration::from_mins(30);

/// Errors when the clocks do not agree. An API server that does not say the time is believed.
pub async fn check(server: &ApiServer) -> Result<(), Fault> {
    let Ok(request) = Request::get("/version").body(kube::client::Body::empty()) else { return Ok(()) };
    let Ok(answer) = server.client.send(request).await else { return Ok(()) };
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
    match date.and_then(|date| skew(date, Timestamp::now())) {
        Some(skew) => Err(Fault::environment(format!("this machine's clock is {skew} the cluster's")).hint(
            "set it right (timedatectl set-ntp true): certificates would not be valid yet, or any more",
        )),
        None => Ok(()),
    }
}

/// Pure: how far `now` is from a `Date` header's time, in words; none when they agree or there is no telling.
fn skew(date: &str, now: Timestamp) -> Option<String> {
    let there = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let ahead = now.duration_since(there);
    let side = if ahead.is_negative() { "behind" } else { "ahead of" };
    (ahead.abs() > TOLERATED).then(|| format!("{} minutes {side}", ahead.abs().as_mins()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_by_much_are_told() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(skew("Fri, 02 Jan 2026 03:24:05 GMT", now), None);
        assert_eq!(skew("no date", now), None);
        assert_eq!(skew("Fri, 02 Jan 2026 02:04:05 GMT", now).as_deref(), Some("60 minutes ahead of"));
        assert_eq!(skew("Sat, 03 Jan 2026 03:04:05 GMT", now).as_deref(), Some("1440 minutes behind"));
    }
}
