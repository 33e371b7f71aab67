//! What an Ingress sends requests to, and how: its backends and the annotations that change them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::networking::v1::IngressBackend;

/// Where the requests that a rule takes go, and how they get there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backend {
    /// The Service's name, in the Ingress's namespace.
    pub service: String,
    /// The Service's port.
    pub port: BackendPort,
    /// What the Ingress's annotations say.
    pub options: Options,
}

impl Backend {
    /// One that no Ingress names, and that is no Service.
    pub fn own(name: &str) -> Self {
        Self { service: name.to_owned(), port: BackendPort::Number(0), options: Options::default() }
    }
}

/// A Service's port, as an Ingress names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BackendPort {
    /// By its number.
    Number(u16),
    /// By its name.
    Name(String),
}

impl fmt::Display for BackendPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// The annotations of ingress-nginx that are modelled, with its defaults (v1.15.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// `service-upstream`: send to the Service's address, not to endpoints picked here.
    pub service_upstream: bool,
    /// `backend-protocol: GRPC`: HTTP/2 to the backend, whatever the client speaks.
    pub grpc: bool,
    /// `proxy-body-size` in bytes; none for no limit.
    pub body_size: Option<u64>,
    /// `proxy-connect-timeout`.
    pub connect_timeout: Duration,
    /// `proxy-read-timeout`: how long the backend may stay silent before an answer or within one.
    pub read_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            service_upstream: false,
            grpc: false,
            body_size: Some(1 << 20),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(60),
        }
    }
}

const PREFIX: &str = "nginx.ingress.kubernetes.io/";
const MODELLED: &str = "service-upstream, backend-protocol, proxy-body-size, proxy-connect-timeout, \
    proxy-read-timeout, ssl-redirect: \"false\"";

impl Options {
    /// Reads ingress-nginx's annotations and leaves those of others alone. Errors name each that is not
    /// modelled here or has a value that is not.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Self, Vec<String>> {
        let mut options = Self::default();
        let mut wrong = Vec::new();
        for (key, value) in annotations {
            if key == "kubernetes.io/ingress.class" && value != "nginx" {
                wrong.push(format!("annotation {key}: class `{value}` is not served here, only `nginx`"));
            }
            if let Some(name) = key.strip_prefix(PREFIX)
                && let Err(error) = options.set(name, value)
            {
                wrong.push(format!("annotation {key}: {error}"));
            }
        }
        if wrong.is_empty() { Ok(options) } else { Err(wrong) }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "service-upstream" => self.service_upstream = boolean(value)?,
            "backend-protocol" => {
                self.grpc = match value.to_ascii_uppercase().as_str() {
                    "GRPC" => true,
                    "HTTP" => false,
                    _ => return Err(format!("`{value}` is not modelled; HTTP and GRPC are")),
                }
            }
            "proxy-body-size" => self.body_size = size(value)?,
            "proxy-connect-timeout" => self.connect_timeout = seconds(value)?,
            "proxy-read-timeout" => self.read_timeout = seconds(value)?,
            // There is no TLS at this ingress, so `false` says what is.
            "ssl-redirect" | "force-ssl-redirect" if !boolean(value)? => {}
            _ => return Err(format!("not modelled by the local runtime; modelled are {MODELLED}")),
        }
        Ok(())
    }
}

fn boolean(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("`{value}` is neither true nor false"))
}

fn seconds(value: &str) -> Result<Duration, String> {
    match value.parse() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("`{value}` is not a number of seconds")),
    }
}

/// A size as nginx writes it: bytes, or with k, m or g; 0 for no limit.
fn size(value: &str) -> Result<Option<u64>, String> {
    let wrong = || format!("`{value}` is not a size like 512k, 8m or 0");
    let lower = value.to_ascii_lowercase();
    let (digits, shift) = match lower.strip_suffix(['k', 'm', 'g']) {
        Some(digits) if lower.ends_with('k') => (digits, 10),
        Some(digits) if lower.ends_with('m') => (digits, 20),
        Some(digits) => (digits, 30),
        None => (lower.as_str(), 0),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).ok_or_else(wrong)?;
    Ok((bytes > 0).then_some(bytes))
}

impl Backend {
    /// Reads a backend of an Ingress whose annotations said `options`. Errors: a resource in place of a
    /// Service, no port, both kinds of port.
    pub fn of(backend: &IngressBackend, options: &Options) -> Result<Self, String> {
        if backend.resource.is_some() {
            return Err("a resource as backend is not modelled; name a Service".to_owned());
        }
        let service = backend.service.as_ref().ok_or("a backend names no Service")?;
        let port = service.port.as_ref();
        let name = port.and_then(|p| p.name.as_deref()).filter(|name| !name.is_empty());
        let port = match (name, port.and_then(|p| p.number).filter(|number| *number != 0)) {
            (Some(name), None) => BackendPort::Name(name.to_owned()),
            (None, Some(number)) => BackendPort::Number(
                u16::try_from(number).map_err(|_| format!("backend {}: no port {number}", service.name))?,
            ),
            (None, None) => return Err(format!("backend {}: names no port", service.name)),
            (Some(_), Some(_)) => {
                return Err(format!("backend {}: a port has a name or a number, not both", service.name));
            }
        };
        Ok(Self { service: service.name.clone(), port, options: options.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(annotations: &[(&str, &str)]) -> Result<Options, Vec<String>> {
        Options::of(&annotations.iter().map(|(k, v)| (format!("{PREFIX}{k}"), (*v).to_owned())).collect())
    }

    #[test]
    fn modelled_annotations_are_read() {
        let read = options(&[
            ("service-upstream", "true"),
            ("backend-protocol", "GRPC"),
            ("proxy-body-size", "8m"),
            ("proxy-read-timeout", "5"),
            ("ssl-redirect", "false"),
        ]);
        let expected = Options {
            service_upstream: true,
            grpc: true,
            body_size: Some(8 << 20),
            read_timeout: Duration::from_secs(5),
            ..Options::default()
        };
        assert_eq!(read, Ok(expected));
        assert_eq!(options(&[("proxy-body-size", "0")]).map(|o| o.body_size), Ok(None));
    }

    #[test]
    fn an_annotation_that_is_not_modelled_is_refused_by_name() {
        insta::assert_snapshot!(
            options(&[("rewrite-target", "/"), ("proxy-body-size", "big"), ("ssl-redirect", "true")])
                .unwrap_err()
                .join("\n"),
            @r#"
        annotation nginx.ingress.kubernetes.io/proxy-body-size: `big` is not a size like 512k, 8m or 0
        annotation nginx.ingress.kubernetes.io/rewrite-target: not modelled by the local runtime; modelled are service-upstream, backend-protocol, proxy-body-size, proxy-connect-timeout, proxy-read-timeout, ssl-redirect: "false"
        annotation nginx.ingress.kubernetes.io/ssl-redirect: not modelled by the local runtime; modelled are service-upstream, backend-protocol, proxy-body-size, proxy-connect-timeout, proxy-read-timeout, ssl-redirect: "false"
        "#
        );
    }

    #[test]
    fn annotations_of_others_are_left_alone() {
        let annotations = BTreeMap::from([("linkerd.io/inject".to_owned(), "enabled".to_owned())]);
        assert_eq!(Options::of(&annotations), Ok(Options::default()));
    }
}
