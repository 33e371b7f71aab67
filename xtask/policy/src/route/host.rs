use std::cmp::Ordering;

/// A host name of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// The whole name.
    Exact(String),
    /// `*.SUFFIX`: the labels of the suffix from the last to the first.
    Suffix(Vec<String>),
}

/// How a host matched: exact before suffix, longer before shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSummary {
    /// The length of the name.
    Exact(usize),
    /// The length of the suffix, with its dots.
    Suffix(usize),
}

impl HostMatch {
    /// Reads a route's `hostnames` entry.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("*.") {
            Some(suffix) => Self::Suffix(suffix.split('.').rev().map(str::to_owned).collect()),
            None => Self::Exact(text.to_owned()),
        }
    }

    /// How a host matches; none if it does not. Upper and lower case differ, as in the proxy: routes' names are in
    /// lower case, so a host with a capital matches none. A dot at its end does not count unless the route's has
    /// one too.
    pub fn summarize(&self, host: &str) -> Option<HostSummary> {
        let relative = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::Exact(own) => {
                let host = if own.ends_with('.') { host } else { relative };
                (own == host).then_some(HostSummary::Exact(own.len()))
            }
            Self::Suffix(labels) => {
                let is_absolute = labels.first().is_some_and(String::is_empty);
                let mut host = if is_absolute { host } else { relative };
                let mut length = 0;
                for label in labels {
                    host = host.strip_suffix(label.as_str())?.strip_suffix('.')?;
                    length += label.len() + 1;
                }
                Some(HostSummary::Suffix(length))
            }
        }
    }
}

impl PartialOrd for HostSummary {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HostSummary {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Exact(own), Self::Exact(other)) | (Self::Suffix(own), Self::Suffix(other)) => {
                own.cmp(other)
            }
            (Self::Exact(_), Self::Suffix(_)) => Ordering::Greater,
            (Self::Suffix(_), Self::Exact(_)) => Ordering::Less,
        }
    }
}

/// An authority without its port; an IPv6 address keeps its brackets.
pub(super) fn without_port(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(own: &str, host: &str) -> Option<HostSummary> {
        HostMatch::parse(own).summarize(host)
    }

    #[test]
    fn a_name_matches_in_its_own_case_and_with_a_dot_at_its_end() {
        assert_eq!(matches("baz.example", "baz.example"), Some(HostSummary::Exact(11)));
        assert_eq!(matches("baz.example", "BAZ.example"), None);
        assert_eq!(matches("baz.example", "baz.example."), Some(HostSummary::Exact(11)));
        assert_eq!(matches("baz.example.", "baz.example"), None);
        assert_eq!(matches("baz.example", "bar.example"), None);
    }

    #[test]
    fn a_suffix_needs_a_label_before_it() {
        assert_eq!(matches("*.example.com", "a.example.com"), Some(HostSummary::Suffix(12)));
        assert_eq!(matches("*.example.com", "a.b.example.com"), Some(HostSummary::Suffix(12)));
        assert_eq!(matches("*.example.com", "example.com"), None);
        assert_eq!(matches("*.example.com", "anexample.com"), None);
        assert_eq!(matches("*.example.com", "a.Example.com"), None);
    }

    #[test]
    fn a_port_is_not_part_of_the_host() {
        assert_eq!(without_port("baz:80"), "baz");
        assert_eq!(without_port("[::1]:80"), "[::1]");
        assert_eq!(without_port("[::1]"), "[::1]");
        assert_eq!(without_port("baz"), "baz");
    }
}
