use regex::Regex;

use super::header::takes_whole;

/// A query parameter that a request must have.
#[derive(Clone, Debug)]
pub enum QueryMatch {
    /// With this value among its values.
    Exact(String, String),
    /// With a value that the expression takes whole.
    Regex(String, Regex),
}

impl QueryMatch {
    /// Whether a query has it, read as a form: `%`-encoded, `+` for a space.
    pub fn matches(&self, query: Option<&str>) -> bool {
        let pairs = query.map(|query| form_urlencoded::parse(query.as_bytes()));
        pairs.into_iter().flatten().any(|(name, value)| match self {
            Self::Exact(own, wanted) => *own == *name && *wanted == *value,
            Self::Regex(own, regex) => *own == *name && takes_whole(regex, &value),
        })
    }
}

impl PartialEq for QueryMatch {
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
