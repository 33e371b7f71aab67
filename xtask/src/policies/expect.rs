//! Declared expectations: who may call what.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use policy::explain::{Call, Outcome};
use policy::route::Protocol;
use serde::Deserialize;

use crate::error::Fault;

/// Where the shipped expectations are, relative to the workspace's root.
pub const FILE: &str = "manifests/policy/expect.toml";

/// A file of expectations, for each protocol between the services.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    http: Vec<Entry>,
    #[serde(default)]
    grpc: Vec<Entry>,
}

/// A call, and which clients must get which verdict.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    call: toml::Spanned<String>,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    why: String,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    audit: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
    #[serde(default)]
    no_route: Vec<String>,
    #[serde(default)]
    rate_limited: Vec<String>,
}

/// One expectation.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The services speak gRPC with each other.
    pub grpc: bool,
    /// Who calls.
    pub client: String,
    /// What is called.
    pub call: Call,
    /// What must become of it.
    pub verdict: Outcome,
    /// Why it is to be so.
    pub why: String,
    /// Where it is declared, from 1.
    pub line: usize,
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call { service, port, method, path, query, protocol, .. } = &self.call;
        write!(f, "{} -> {service}:{}", self.client, port.as_deref().unwrap_or_default())?;
        if *protocol == Protocol::Grpc {
            return write!(f, " {}", path.trim_start_matches('/'));
        }
        let method = if *method == Method::GET { String::new() } else { format!("{method} ") };
        let query = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        write!(f, " {method}{path}{query}")
    }
}

/// Reads expectations. `speaks_grpc` says of a Service's port whether it speaks gRPC. Errors say where and what.
pub fn parse(
    file: &Path,
    text: &str,
    namespace: &str,
    speaks_grpc: impl Fn(&str, &str) -> bool,
) -> Result<Vec<Expectation>, Fault> {
    let line = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let wrong = |line: usize, why: &str| Fault::usage(format!("{}:{line}: {why}", file.display()));
    let File { http, grpc } = toml::from_str(text).map_err(|error| {
        wrong(error.span().map_or(1, |span| line(span.start)), error.message())
            .hint(format!("{FILE} shows the form"))
    })?;
    let entries = http.into_iter().map(|entry| (false, entry));
    let mut all = Vec::new();
    for (is_grpc, entry) in entries.chain(grpc.into_iter().map(|entry| (true, entry))) {
        let line = line(entry.call.span().start);
        let call = entry.call(namespace, &speaks_grpc).map_err(|why| wrong(line, &why))?;
        let Entry { allow, audit, deny, no_route, rate_limited, why, .. } = entry;
        let groups = [
            (Outcome::Allow, allow),
            (Outcome::Audit, audit),
            (Outcome::Deny, deny),
            (Outcome::NoRoute, no_route),
            (Outcome::RateLimited, rate_limited),
        ];
        let mut said = BTreeMap::new();
        for (verdict, client) in groups
            .into_iter()
            .flat_map(|(verdict, clients)| clients.into_iter().map(move |own| (verdict, own)))
        {
            if let Some(other) = said.insert(client.clone(), verdict) {
                return Err(wrong(line, &format!("{client} is under {other} and under {verdict}")));
            }
            let (call, why) = (call.clone(), why.clone());
            all.push(Expectation { grpc: is_grpc, client, call, verdict, why, line });
        }
        if said.is_empty() {
            return Err(wrong(line, "no client is named: add one under allow, deny, no-route, ..."));
        }
    }
    Ok(all)
}

impl Entry {
    fn call(&self, namespace: &str, speaks_grpc: &impl Fn(&str, &str) -> bool) -> Result<Call, String> {
        let text = self.call.get_ref();
        let form = || format!("`{text}` is not SERVICE:PORT/PATH, for example baz:grpc/demo.Baz/GetInfo");
        let (authority, path) = text.split_at(text.find('/').ok_or_else(form)?);
        let (service, port) = authority.split_once(':').ok_or_else(form)?;
        let mut call = if speaks_grpc(service, port) {
            Call::grpc(service, namespace, Some(port), path)
        } else {
            Call::http(service, namespace, Some(port), path)
        };
        if let Some(method) = &self.method {
            call.method =
                Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is no HTTP method"))?;
        }
        call.headers = headers(self.headers.iter())?;
        Ok(call)
    }
}

/// Headers of their texts.
pub fn headers<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let parsed: HeaderName = name.parse().map_err(|_| format!("`{name}` is no header name"))?;
        let value: HeaderValue = value.parse().map_err(|_| format!("`{value}` is no header value"))?;
        headers.append(parsed, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let parsed = parse(Path::new("expect.toml"), text, "default", |_, port| port == "grpc");
        let told = |own: &Expectation| format!("{}: {own}: {}", own.line, own.verdict);
        parsed.map(|all| all.iter().map(told).collect()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn an_entry_is_an_expectation_for_each_client() {
        let text = r#"
[[http]]
call = "baz:http/foo?a=b"
method = "POST"
headers = { x-who = "me" }
allow = ["foo"]
no-route = ["unmeshed"]

[[grpc]]
call = "baz:grpc/demo.Baz/GetInfo"
deny = ["bar"]
"#;
        insta::assert_snapshot!(read(text).unwrap().join("\n"), @r"
        3: foo -> baz:http POST /foo?a=b: allow
        3: unmeshed -> baz:http POST /foo?a=b: no-route
        10: bar -> baz:grpc demo.Baz/GetInfo: deny
        ");
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let wrong: Vec<_> = [
            "[[http]]\ncall = \"baz\"\nallow = [\"foo\"]",
            "[[http]]\ncall = \"baz:http/\"\nallow = [\"foo\"]\ndeny = [\"foo\"]",
            "[[http]]\ncall = \"baz:http/\"",
            "[[http]]\ncall = \"baz:http/\"\nalow = [\"foo\"]",
            "[[http]]\ncall = \"baz:http/\"\nmethod = \"A B\"\nallow = [\"foo\"]",
            "[[http]]\ncall = ",
        ]
        .map(|text| read(text).unwrap_err())
        .into();
        insta::assert_snapshot!(wrong.join("\n"), @"
        expect.toml:2: `baz` is not SERVICE:PORT/PATH, for example baz:grpc/demo.Baz/GetInfo
        expect.toml:2: foo is under allow and under deny
        expect.toml:2: no client is named: add one under allow, deny, no-route, ...
        expect.toml:3: unknown field `alow`, expected one of `call`, `method`, `headers`, `why`, `allow`, `audit`, `deny`, `no-route`, `rate-limited`
        expect.toml:2: `A B` is no HTTP method
        expect.toml:2: string values must be quoted, expected literal string
        ");
    }
}
