//! The environment, read once at start: every mistake in it is reported, not only the first.

use std::{fmt, net::IpAddr, str::FromStr};

use http::{Uri, uri::Scheme};
use otlp::Endpoint;
use thiserror::Error;

/// Reads variables and remembers what is wrong with them.
///
/// Read all variables before you look at any: each reader gives `None` when its variable is wrong or
/// missing, and [`Env::finish`] then has the whole list.
pub struct Env<'a> {
    source: Box<Source<'a>>,
    mistakes: Vec<Mistake>,
}

type Source<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// One wrong variable.
#[derive(Debug)]
struct Mistake {
    variable: String,
    value: Option<String>,
    expected: String,
}

/// Every mistake in the environment.
#[derive(Debug, Error)]
pub struct EnvError(Vec<Mistake>);

impl<'a> Env<'a> {
    /// Reads from `source`, which gives a variable's value. A value that is not Unicode should come as it
    /// prints, to be refused like any other.
    pub fn new(source: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self { source: Box::new(source), mistakes: Vec::new() }
    }

    /// Reads this process's environment.
    pub fn of_process() -> Env<'static> {
        Env::new(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// The variable as `parse` understands it, or `None` if it is unset. Empty counts as unset, because
    /// a manifest cannot unset a variable.
    pub fn optional<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = (self.source)(name).filter(|value| !value.is_empty())?;
        let parsed = parse(value.trim());
        if parsed.is_none() {
            self.mistake(name, Some(value), expected);
        }
        parsed
    }

    /// The variable as `parse` understands it, `default` if it is unset, `None` if it is wrong.
    pub fn or_default<T>(
        &mut self,
        name: &str,
        default: T,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let before = self.mistakes.len();
        let value = self.optional(name, expected, parse);
        if self.mistakes.len() > before { None } else { value.or(Some(default)) }
    }

    /// The variable as `parse` understands it; that it is unset is a mistake too.
    pub fn required<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let before = self.mistakes.len();
        let value = self.optional(name, expected, parse);
        if value.is_none() && self.mistakes.len() == before {
            self.mistake(name, None, expected);
        }
        value
    }

    /// An IP address to bind.
    pub fn ip(&mut self, name: &str, default: IpAddr) -> Option<IpAddr> {
        self.or_default(name, default, "an IP address", |value| value.parse().ok())
    }

    /// A TCP port; 0 is any free one.
    pub fn port(&mut self, name: &str, default: u16) -> Option<u16> {
        self.or_default(name, default, "a port from 0 to 65535", |value| value.parse().ok())
    }

    /// `true` or `1`, `false` or `0`.
    pub fn flag(&mut self, name: &str, default: bool) -> Option<bool> {
        self.or_default(name, default, "true, false, 1 or 0", |value| match value {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        })
    }

    /// Where spans go, by OpenTelemetry's variables; the inner `None` is nowhere.
    pub fn collector(&mut self) -> Option<Option<Endpoint>> {
        match Endpoint::read(&self.source) {
            Ok(endpoint) => Some(endpoint),
            Err(error) => {
                self.mistake(error.variable, Some(error.value), "an http:// URL: spans are sent without TLS");
                None
            }
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Every mistake made, in the order of reading.
    pub fn finish(self) -> Result<(), EnvError> {
        if self.mistakes.is_empty() { Ok(()) } else { Err(EnvError(self.mistakes)) }
    }

    fn mistake(&mut self, variable: &str, value: Option<String>, expected: &str) {
        self.mistakes.push(Mistake { variable: variable.to_owned(), value, expected: expected.to_owned() });
    }
}

/// What [`base_url`] takes, for messages.
pub const A_BASE_URL: &str = "a URL like http://name or name:port, without a path";

/// Where another service is: `http://bar`, `http://bar.default.svc.cluster.local:9090`, or the same without
/// the scheme. Only `http`, since encryption between services is the mesh's business.
pub fn base_url(value: &str) -> Option<Uri> {
    let with_scheme = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let uri = Uri::from_str(&with_scheme).ok()?;
    let authority = uri.authority()?;
    let port_is_a_number = match authority.as_str().rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => authority.port_u16().is_some(),
        _ => true,
    };
    let plain = uri.scheme() == Some(&Scheme::HTTP)
        && !authority.host().is_empty()
        && !authority.as_str().contains('@')
        && port_is_a_number
        && uri.path() == "/"
        && uri.query().is_none();
    plain.then_some(uri)
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(f, "the environment has {count} mistake{}:", if count == 1 { "" } else { "s" })?;
        for Mistake { variable, value, expected } in &self.0 {
            match value {
                Some(value) => writeln!(f, "  {variable} is {value:?}; expected {expected}")?,
                None => writeln!(f, "  {variable} is not set; expected {expected}")?,
            }
        }
        write!(f, "hint: set it under `env` of the container in the service's manifest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_at_once_with_variable_value_and_what_is_expected() {
        let mut env = Env::new(|name| match name {
            "HTTP_PORT" => Some("eighty".to_owned()),
            "USE_GRPC" => Some("yes".to_owned()),
            "GRPC_PORT" => Some(String::new()),
            _ => None,
        });
        assert_eq!(env.port("HTTP_PORT", 8080), None);
        assert_eq!(env.port("GRPC_PORT", 9090), Some(9090));
        assert_eq!(env.flag("USE_GRPC", false), None);
        assert_eq!(env.required("BAR_HTTP_URL", A_BASE_URL, base_url), None);
        insta::assert_snapshot!(env.finish().unwrap_err(), @r#"
        the environment has 3 mistakes:
          HTTP_PORT is "eighty"; expected a port from 0 to 65535
          USE_GRPC is "yes"; expected true, false, 1 or 0
          BAR_HTTP_URL is not set; expected a URL like http://name or name:port, without a path
        hint: set it under `env` of the container in the service's manifest
        "#);
    }

    #[test]
    fn a_url_needs_no_scheme() {
        for (value, authority) in [
            ("http://bar", "bar"),
            ("http://bar/", "bar"),
            ("bar", "bar"),
            ("bar:9090", "bar:9090"),
            ("127.1.2.3:80", "127.1.2.3:80"),
            ("[::1]:80", "[::1]:80"),
            ("http://[::1]", "[::1]"),
            ("bar.default.svc.cluster.local:9090", "bar.default.svc.cluster.local:9090"),
        ] {
            let uri = base_url(value).unwrap_or_else(|| panic!("{value} was refused"));
            assert_eq!(uri.authority().unwrap(), authority);
            assert_eq!(uri.scheme_str(), Some("http"));
        }
    }

    #[test]
    fn a_url_that_would_be_misread_is_refused() {
        for value in
            ["https://bar", "http://", "bar/foo", "http://bar?x", "bar:port", "bar:99999", "a b", "me@bar"]
        {
            assert_eq!(base_url(value), None, "{value}");
        }
    }
}
