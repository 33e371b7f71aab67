//! What a program says of its version, and whether that fits what is pinned. Pure.

use super::pins::{Tool, Wanted};

/// Whether a version fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The pinned one, or newer.
    Fits,
    /// Older than the pinned one.
    Old,
    /// It cannot be compared: a build of somebody's own.
    Unknown,
}

/// How a program is asked for its version, without touching any cluster.
pub fn question(tool: Tool) -> &'static [&'static str] {
    match tool {
        Tool::Kind => &["version"],
        Tool::Linkerd => &["version", "--client", "--short"],
    }
}

/// The version in the answer: `kind v0.32.0 go1.25.4 linux/amd64` says `0.32.0`, `edge-26.6.3` itself. None
/// when it has none.
pub fn said(tool: Tool, answer: &str) -> Option<String> {
    let line = answer.lines().next()?;
    let version = match tool {
        Tool::Kind => line.strip_prefix("kind v")?.split(' ').next()?,
        Tool::Linkerd => line,
    };
    let version = version.trim();
    (!version.is_empty() && !version.contains(' ')).then(|| version.to_owned())
}

/// Whether a program of version `said` can stand for what is wanted.
///
/// kind: the same minor release or a newer one. linkerd: the edge release or a newer one; of the releases
/// that are numbered (`stable-2.20.1`, `enterprise-2.20.0`, `version-2.20`), the series or a newer one.
pub fn fit(wanted: &Wanted, said: &str) -> Fit {
    let (channel, number) = split(said);
    let (pinned_channel, pinned) = split(&wanted.version);
    let digits = match (channel == pinned_channel, channel, &wanted.series) {
        // A calendar's version: year, month, number in the month.
        (true, "edge", _) => (numbers(number), numbers(pinned), 3),
        (true, "", None) => (numbers(number), numbers(pinned), 2),
        (_, "stable" | "enterprise" | "version" | "", Some(series)) => (numbers(number), numbers(series), 2),
        _ => return Fit::Unknown,
    };
    let (Some(found), Some(needed), count) = digits else { return Fit::Unknown };
    let first = |mut numbers: Vec<u64>| {
        numbers.resize(count, 0);
        numbers
    };
    if first(found) >= first(needed) { Fit::Fits } else { Fit::Old }
}

/// `edge-26.6.3` as `edge` and `26.6.3`; a bare number has no channel.
fn split(version: &str) -> (&str, &str) {
    let bare = version.strip_prefix('v').unwrap_or(version);
    if bare.starts_with(|c: char| c.is_ascii_digit()) {
        return ("", bare);
    }
    version.split_once('-').unwrap_or((version, ""))
}

/// `0.32.0-alpha+1` as `[0, 32, 0]`; none without a number.
fn numbers(version: &str) -> Option<Vec<u64>> {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    plain.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::pins::Platform;
    use super::*;

    fn wanted(tool: Tool, version: &str, series: Option<&str>) -> Wanted {
        Wanted {
            tool,
            version: version.to_owned(),
            series: series.map(str::to_owned),
            platform: Platform::here(),
            url: None,
            sha256: None,
        }
    }

    #[test]
    fn the_version_is_found_in_what_programs_answer() {
        assert_eq!(said(Tool::Kind, "kind v0.32.0 go1.25.4 linux/amd64\n").as_deref(), Some("0.32.0"));
        assert_eq!(said(Tool::Kind, "kind (@) v0.32.0 go1.25.4"), None);
        assert_eq!(said(Tool::Linkerd, "edge-26.6.3\n").as_deref(), Some("edge-26.6.3"));
        assert_eq!(said(Tool::Linkerd, "Client version: edge-26.6.3\n"), None);
        assert_eq!(said(Tool::Linkerd, ""), None);
    }

    #[test]
    fn kind_fits_from_the_pinned_minor_release_on() {
        let fits = |said| fit(&wanted(Tool::Kind, "0.32.1", None), said);
        for newer in ["0.32.0", "0.32.1", "0.33.0-alpha+4a1b", "0.100.0", "1.0.0"] {
            assert_eq!(fits(newer), Fit::Fits, "{newer}");
        }
        assert_eq!(fits("0.31.9"), Fit::Old);
        assert_eq!(fits("0.9.0"), Fit::Old);
        assert_eq!(fits("main"), Fit::Unknown);
        assert_eq!(fits("0.x"), Fit::Unknown);
    }

    #[test]
    fn linkerd_fits_by_its_channel() {
        let fits = |said| fit(&wanted(Tool::Linkerd, "edge-26.6.3", Some("2.20")), said);
        for newer in ["edge-26.6.3", "edge-26.6.4", "edge-26.10.1", "edge-27.1.1"] {
            assert_eq!(fits(newer), Fit::Fits, "{newer}");
        }
        for series in ["stable-2.20.0", "enterprise-2.20.1-0", "version-2.20", "2.20.0", "v2.21.0"] {
            assert_eq!(fits(series), Fit::Fits, "{series}");
        }
        for older in ["edge-26.6.2", "edge-25.12.4", "stable-2.14.10", "enterprise-2.19.3", "version-2.9"] {
            assert_eq!(fits(older), Fit::Old, "{older}");
        }
        for own in ["dev-undefined", "git-4a1b2c3d", "edge", "edge-", "unavailable"] {
            assert_eq!(fits(own), Fit::Unknown, "{own}");
        }
    }
}
