//! The columns: those of `linkerd viz top`, and beside them the protocol, calls a second and the refused ones.

use std::cmp::Ordering;

use crate::runtime::top::{Row, Top};

/// What is told of calls that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Source,
    Destination,
    Protocol,
    Method,
    Path,
    Count,
    Best,
    Worst,
    Last,
    SuccessRate,
    Rps,
    Denied,
}

/// Calls that are counted together, and how many of them there are a second.
#[derive(Clone, Debug, PartialEq)]
pub struct Rated {
    pub row: Row,
    pub rps: f64,
}

impl Column {
    /// From left to right.
    pub const ALL: [Self; 12] = [
        Self::Source,
        Self::Destination,
        Self::Protocol,
        Self::Method,
        Self::Path,
        Self::Count,
        Self::Best,
        Self::Worst,
        Self::Last,
        Self::SuccessRate,
        Self::Rps,
        Self::Denied,
    ];

    /// What stands above it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Source => "SOURCE",
            Self::Destination => "DESTINATION",
            Self::Protocol => "PROTOCOL",
            Self::Method => "METHOD",
            Self::Path => "PATH",
            Self::Count => "COUNT",
            Self::Best => "BEST",
            Self::Worst => "WORST",
            Self::Last => "LAST",
            Self::SuccessRate => "SUCCESS RATE",
            Self::Rps => "RPS",
            Self::Denied => "DENIED",
        }
    }

    /// Whether it is a number: aligned to the right, and the largest first when sorted by.
    pub fn is_number(self) -> bool {
        !matches!(self, Self::Source | Self::Destination | Self::Protocol | Self::Method | Self::Path)
    }

    /// What stands in it.
    pub fn text(self, rated: &Rated) -> String {
        let Rated { row, rps } = rated;
        match self {
            Self::Source => row.call.source.clone(),
            Self::Destination => row.call.destination.clone(),
            Self::Protocol => row.call.protocol.clone(),
            Self::Method => row.call.method.clone(),
            Self::Path => row.call.path.clone(),
            Self::Count => row.count.to_string(),
            Self::Best => latency(row.best_ms),
            Self::Worst => latency(row.worst_ms),
            Self::Last => latency(row.last_ms),
            Self::SuccessRate => percent(row.successes, row.count),
            Self::Rps => format!("{rps:.1}"),
            Self::Denied if row.denied == 0 => "-".to_owned(),
            Self::Denied => row.denied.to_string(),
        }
    }

    /// The order by this column alone.
    pub fn compare(self, one: &Rated, other: &Rated) -> Ordering {
        let (a, b) = (&one.row, &other.row);
        match self {
            Self::Source => a.call.source.cmp(&b.call.source),
            Self::Destination => a.call.destination.cmp(&b.call.destination),
            Self::Protocol => a.call.protocol.cmp(&b.call.protocol),
            Self::Method => a.call.method.cmp(&b.call.method),
            Self::Path => a.call.path.cmp(&b.call.path),
            Self::Count => a.count.cmp(&b.count),
            Self::Best => a.best_ms.total_cmp(&b.best_ms),
            Self::Worst => a.worst_ms.total_cmp(&b.worst_ms),
            Self::Last => a.last_ms.total_cmp(&b.last_ms),
            Self::SuccessRate => share(a.successes, a.count).total_cmp(&share(b.successes, b.count)),
            Self::Rps => one.rps.total_cmp(&other.rps),
            Self::Denied => a.denied.cmp(&b.denied),
        }
    }
}

/// Each row with its calls a second over all the time.
pub fn rated(top: &Top) -> Vec<Rated> {
    let rated = |row: &Row| Rated { row: row.clone(), rps: rate(row.count, top.seconds) };
    top.rows.iter().map(rated).collect()
}

/// A part of a whole, 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^52")]
pub fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// How many a second.
#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^52")]
pub fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// `99.50%`.
pub fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}%", share(part, whole) * 100.0)
}

/// Three digits that mean something.
pub fn latency(ms: f64) -> String {
    match ms {
        // What rounds up is shown by the next unit.
        ms if ms < 0.9995 => format!("{:.0}us", ms * 1000.0),
        ms if ms < 9.995 => format!("{ms:.2}ms"),
        ms if ms < 99.95 => format!("{ms:.1}ms"),
        ms if ms < 999.5 => format!("{ms:.0}ms"),
        ms => format!("{:.1}s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_have_three_digits() {
        let told = [0.0, 0.2714, 0.99951, 2.724, 31.44, 141.4, 999.7, 31_449.9].map(latency);
        assert_eq!(told, ["0us", "271us", "1.00ms", "2.72ms", "31.4ms", "141ms", "1.0s", "31.4s"]);
    }
}
