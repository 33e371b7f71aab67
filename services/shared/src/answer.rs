//! What a service answers: who answered, what was asked, and what its callees said. Over HTTP it is the
//! body, over gRPC the `message` of the response.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use serde::{Deserialize, Serialize};

/// One service's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The service that answered.
    pub service: String,
    /// The pod that answered.
    pub hostname: String,
    /// What the server saw: `HTTP/1.1`, `HTTP/2` (no gRPC) or `gRPC`.
    pub protocol: String,
    /// The request's method; `POST` for gRPC.
    pub method: String,
    /// The request's path with its query; `/demo.Baz/GetInfo` for gRPC.
    pub path: String,
    /// The request's headers by lower-case name, readable values only; several of one name are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// One entry a callee, in the order in which the service lists them.
    pub callees: Vec<CalleeReport>,
    /// Which callees failed and how; absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How one call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalleeReport {
    /// The service called.
    pub callee: String,
    /// `http` or `grpc`.
    pub protocol: String,
    /// The HTTP status. For a gRPC failure, and where nobody answered, the one that says the same.
    pub status: u16,
    /// The gRPC status, of a failed gRPC call only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<i32>,
    /// What the callee answered, if the call succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Box<Document>>,
    /// Why the call failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Document {
    /// The document as JSON.
    pub fn to_json(&self) -> String {
        // Only strings, numbers, lists and string-keyed maps: nothing here that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn write(&self, out: &mut impl Write, depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        let Self { service, hostname, protocol, method, path, headers, callees, error } = self;
        writeln!(out, "{indent}{service} on {hostname} was asked {method} {path} over {protocol}")?;
        for (name, value) in headers {
            writeln!(out, "{indent}  {name}: {value}")?;
        }
        for report in callees {
            let CalleeReport { callee, protocol, status, answer, error, .. } = report;
            match error {
                Some(error) => writeln!(out, "{indent}  {callee} failed over {protocol}: {error}")?,
                None => writeln!(out, "{indent}  {callee} answered {status} over {protocol}:")?,
            }
            if let Some(answer) = answer {
                answer.write(out, depth + 2)?;
            }
        }
        match error {
            Some(error) => writeln!(out, "{indent}  error: {error}"),
            None => Ok(()),
        }
    }
}

/// The readable text of the same.
impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(service: &str, callees: Vec<CalleeReport>, error: Option<&str>) -> Document {
        Document {
            service: service.to_owned(),
            hostname: format!("{service}-0"),
            protocol: "HTTP/1.1".to_owned(),
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: BTreeMap::from([("host".to_owned(), service.to_owned())]),
            callees,
            error: error.map(str::to_owned),
        }
    }

    fn foo() -> Document {
        let answered = CalleeReport {
            callee: "bar".to_owned(),
            protocol: "http".to_owned(),
            status: 200,
            grpc_status: None,
            answer: Some(Box::new(document("bar", vec![], None))),
            error: None,
        };
        let failed = CalleeReport {
            callee: "baz".to_owned(),
            protocol: "grpc".to_owned(),
            status: 403,
            grpc_status: Some(7),
            answer: None,
            error: Some("grpc 7 PERMISSION_DENIED: unauthorized".to_owned()),
        };
        document("foo", vec![answered, failed], Some("baz: grpc 7 PERMISSION_DENIED: unauthorized"))
    }

    #[test]
    fn the_text_says_what_the_json_says() {
        insta::assert_snapshot!(foo(), @r"
        foo on foo-0 was asked GET / over HTTP/1.1
          host: foo
          bar answered 200 over http:
            bar on bar-0 was asked GET / over HTTP/1.1
              host: bar
          baz failed over grpc: grpc 7 PERMISSION_DENIED: unauthorized
          error: baz: grpc 7 PERMISSION_DENIED: unauthorized
        ");
    }

    #[test]
    fn the_json_has_the_fields_that_checks_rely_on() {
        insta::assert_snapshot!(document("baz", vec![], None).to_json(), @r#"{"service":"baz","hostname":"baz-0","protocol":"HTTP/1.1","method":"GET","path":"/","headers":{"host":"baz"},"callees":[]}"#);
        insta::assert_snapshot!(serde_json::to_string(&foo().callees[1]).unwrap(), @r#"{"callee":"baz","protocol":"grpc","status":403,"grpc_status":7,"error":"grpc 7 PERMISSION_DENIED: unauthorized"}"#);
    }

    #[test]
    fn the_json_can_be_read_back() {
        assert_eq!(serde_json::from_str::<Document>(&foo().to_json()).unwrap(), foo());
    }
}
