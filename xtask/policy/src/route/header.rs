use http::{HeaderMap, HeaderName, HeaderValue};
use regex::Regex;

/// A header that a request must have.
#[derive(Clone, Debug)]
pub enum HeaderMatch {
    /// With this value among its values.
    Exact(HeaderName, HeaderValue),
    /// With a value that the expression takes whole.
    Regex(HeaderName, Regex),
}

impl HeaderMatch {
    /// Whether a request's headers have it.
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Exact(name, value) => headers.get_all(name).iter().any(|own| own == value),
            Self::Regex(name, regex) => {
                let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
                texts.into_iter().any(|text| takes_whole(regex, text))
            }
        }
    }
}

impl PartialEq for HeaderMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(name, value), Self::Exact(other, with)) => name == other && value == with,
            (Self::Regex(name, regex), Self::Regex(other, with)) => {
                name == other && regex.as_str() == with.as_str()
            }
            _ => false,
        }
    }
}

/// Whether the expression's first match is the whole text. As in linkerd2-proxy, alternatives are not tried again
/// for a longer one: `a|ab` does not take `ab` whole.
pub(super) fn takes_whole(regex: &Regex, text: &str) -> bool {
    regex.find(text).is_some_and(|found| found.start() == 0 && found.end() == text.len())
}
