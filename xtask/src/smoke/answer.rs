//! What the services answer, and what can be seen from it: who called whom, how, and as whom.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The document that a service of this workspace answers with, over HTTP as its body and over gRPC as
/// its message: who answered, what it was asked, and what its own callees answered.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Answer {
    pub service: String,
    pub hostname: String,
    /// `HTTP/1.1`, `HTTP/2` or `gRPC`: what the service itself saw.
    pub protocol: String,
    /// What it was asked for, over gRPC too: `/demo.Baz/GetInfo`.
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub callees: Vec<Callee>,
}

/// One call that a service made to answer.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[expect(clippy::struct_field_names, reason = "the names are the document's")]
pub struct Callee {
    pub callee: String,
    #[serde(default)]
    pub status: Option<u16>,
    #[serde(default)]
    pub answer: Option<Answer>,
    #[serde(default)]
    pub error: Option<String>,
}

/// One call between two services, as the callee saw it.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    pub client: &'a str,
    pub answer: &'a Answer,
}

impl Answer {
    /// Every call that was made for this answer, at any depth.
    pub fn hops(&self) -> Vec<Hop<'_>> {
        let mut hops = Vec::new();
        for answer in self.callees.iter().filter_map(|callee| callee.answer.as_ref()) {
            hops.push(Hop { client: &self.service, answer });
            hops.extend(answer.hops());
        }
        hops
    }

    /// This answer and those it was made from.
    pub fn all(&self) -> Vec<&Self> {
        let mut all = vec![self];
        for answer in self.callees.iter().filter_map(|callee| callee.answer.as_ref()) {
            all.extend(answer.all());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;

    #[test]
    fn hops_are_found_at_any_depth() {
        let leaf = r#"{"service":"c","hostname":"c-1","protocol":"gRPC"}"#;
        let middle = format!(
            r#"{{"service":"b","hostname":"b-1","protocol":"gRPC","callees":[{{"callee":"c","status":200,"answer":{leaf}}}]}}"#
        );
        let top = format!(
            r#"{{"service":"a","hostname":"a-1","protocol":"HTTP/1.1","callees":[{{"callee":"b","answer":{middle}}},{{"callee":"c","answer":{leaf}}},{{"callee":"d","error":"no"}}]}}"#
        );
        let answer: Answer = serde_json::from_str(&top).unwrap();
        let hops: Vec<_> =
            answer.hops().iter().map(|h| (h.client.to_owned(), h.answer.service.clone())).collect();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(hops, [pair("a", "b"), pair("b", "c"), pair("a", "c")]);
        assert_eq!(answer.all().len(), 4);
    }
}
