//! Values of environment variables that name a Service: which part names it, and how to name an
//! address in its place. Pure text; whether the Service exists is the plan's to know.

use std::net::SocketAddr;
use std::ops::Range;

/// The name and the namespace of the Service that ingress-nginx installs, and its port for HTTP.
const INGRESS: (&str, &str, u16) = ("ingress-nginx-controller", "ingress-nginx", 80);

/// A Service's address within a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Of a URL, in lower case.
    pub scheme: Option<String>,
    /// In lower case, as DNS takes it.
    pub service: String,
    /// None when the host is the Service's name alone.
    pub namespace: Option<String>,
    /// The port as written.
    pub port: Option<u16>,
    /// `HOST` or `HOST:PORT`, exactly as written.
    pub authority: String,
    /// Where the authority is in the value, in bytes.
    pub span: Range<usize>,
    /// With `.svc` after the namespace: no name outside of a cluster looks so.
    pub qualified: bool,
}

/// A URL whose host may be a Service, with a port that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a port")]
pub struct BadPort(pub String);

impl Reference {
    /// The Service that a value names: a URL, or `HOST:PORT`, whose host is `SERVICE`,
    /// `SERVICE.NAMESPACE`, `SERVICE.NAMESPACE.svc` or `SERVICE.NAMESPACE.svc.cluster.local`.
    /// Addresses, `localhost`, `*.localhost`, longer names and plain words are none.
    pub fn parse(value: &str) -> Result<Option<Self>, BadPort> {
        let (scheme, start) = match value.split_once("://") {
            Some((scheme, _)) if is_remote(scheme) => (Some(scheme.to_ascii_lowercase()), scheme.len() + 3),
            Some(_) => return Ok(None),
            None => (None, 0),
        };
        let rest = &value[start..];
        let full = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        // A URL's user and password are no part of the address.
        let user = full.rfind('@').filter(|_| scheme.is_some()).map_or(0, |at| at + 1);
        let (start, authority) = (start + user, &full[user..]);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let Some((service, namespace, qualified)) = split(&host.to_ascii_lowercase()) else {
            return Ok(None);
        };
        let port = match port.filter(|port| !port.is_empty()) {
            None => None,
            Some(port) => {
                match port.parse().ok().filter(|&number: &u16| number > 0 && !port.starts_with('+')) {
                    Some(number) => Some(number),
                    None if scheme.is_some() => return Err(BadPort(port.to_owned())),
                    None => return Ok(None),
                }
            }
        };
        if scheme.is_none() && port.is_none() {
            return Ok(None);
        }
        let span = start..start + authority.len();
        Ok(Some(Self { scheme, service, namespace, port, authority: authority.to_owned(), span, qualified }))
    }

    /// The port as written, else the scheme's own: 80 of `http`, 443 of `https`.
    pub fn port_or_default(&self) -> Option<u16> {
        self.port.or(match self.scheme.as_deref() {
            Some("http" | "ws") => Some(80),
            Some("https" | "wss") => Some(443),
            _ => None,
        })
    }

    /// Whether this is the Service of ingress-nginx, at any port.
    pub fn is_ingress_service(&self) -> bool {
        self.service == INGRESS.0 && self.namespace.as_deref() == Some(INGRESS.1)
    }

    /// Whether this is the ingress's well-known address:
    /// `ingress-nginx-controller.ingress-nginx[.svc[.cluster.local]]` port 80.
    pub fn is_ingress(&self) -> bool {
        self.is_ingress_service() && self.port_or_default() == Some(INGRESS.2)
    }
}

/// The value with an address in place of what names the Service; scheme, user and path stay.
/// `reference` must have been parsed from `value`.
pub fn rewrite(value: &str, reference: &Reference, address: SocketAddr) -> String {
    format!("{}{address}{}", &value[..reference.span.start], &value[reference.span.end..])
}

/// A URL scheme (RFC 3986) of something that is reached through a network.
fn is_remote(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && !["file", "unix", "data"].iter().any(|local| scheme.eq_ignore_ascii_case(local))
}

/// Service, namespace, and whether `.svc` follows.
fn split(host: &str) -> Option<(String, Option<String>, bool)> {
    // The dot at the end says that a name is complete.
    let labels: Vec<_> = match host.strip_suffix('.') {
        Some(complete) if complete.ends_with(".svc.cluster.local") => complete.split('.').collect(),
        _ => host.split('.').collect(),
    };
    let (service, namespace, qualified) = match labels[..] {
        [service] => (service, None, false),
        [service, namespace] => (service, Some(namespace), false),
        [service, namespace, "svc"] | [service, namespace, "svc", "cluster", "local"] => {
            (service, Some(namespace), true)
        }
        _ => return None,
    };
    let local = service == "localhost" || namespace == Some("localhost");
    let named = service.starts_with(|first: char| first.is_ascii_lowercase()) && is_label(service);
    (named && !local && namespace.is_none_or(is_label))
        .then(|| (service.to_owned(), namespace.map(ToOwned::to_owned), qualified))
}

fn is_label(text: &str) -> bool {
    (crate::workspace::names::LABEL.holds)(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(value: &str) -> Option<Reference> {
        Reference::parse(value).unwrap()
    }

    #[test]
    fn values_that_name_a_service_are_told_apart() {
        let show = |value: &str| {
            parsed(value).map(|r| {
                let port = r.port_or_default().map_or("-".to_owned(), |port| port.to_string());
                format!("{} {} {port} {}", r.service, r.namespace.as_deref().unwrap_or("-"), r.authority)
            })
        };
        for (value, expected) in [
            ("http://bar", "bar - 80 bar"),
            ("http://bar/path", "bar - 80 bar"),
            ("https://bar?x=1", "bar - 443 bar"),
            ("HTTP://Bar:/", "bar - 80 Bar:"),
            ("bar:9090", "bar - 9090 bar:9090"),
            ("bar:9090/demo.Baz/GetInfo", "bar - 9090 bar:9090"),
            ("grpc://bar:9090", "bar - 9090 bar:9090"),
            ("grpc://bar", "bar - - bar"),
            ("http://bar.default:9090/x", "bar default 9090 bar.default:9090"),
            ("bar.default.svc:1", "bar default 1 bar.default.svc:1"),
            ("bar.default.svc.cluster.local:9090", "bar default 9090 bar.default.svc.cluster.local:9090"),
            ("http://bar.default.svc.cluster.local./", "bar default 80 bar.default.svc.cluster.local."),
            ("postgres://me:pa:ss@db:5432/x@y", "db - 5432 db:5432"),
        ] {
            assert_eq!(show(value).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn other_values_name_none() {
        for value in [
            "",
            "bar",
            "true",
            "bar.default.svc.cluster.local",
            "127.0.0.1:80",
            "http://127.0.0.1/",
            "http://[::1]:80",
            "[::1]:80",
            "localhost:80",
            "http://localhost",
            "http://foo.localhost:8080/",
            "http://www.example.com",
            "http://bar.",
            "info:mesh=debug",
            "12:30",
            "a:b",
            "bar:0",
            "bar:+80",
            "bar:65536",
            "file://bar/x",
            "unix://bar",
            "http://",
            "://bar",
            "http://-bar",
            "http://$(HOST):80",
            "me@bar:80",
            "xtask=debug,http://x",
        ] {
            assert_eq!(parsed(value), None, "{value}");
        }
    }

    #[test]
    fn a_url_with_a_bad_port_is_a_mistake() {
        for value in ["http://bar:90900", "http://bar:http/x", "http://bar:0"] {
            assert!(Reference::parse(value).is_err(), "{value}");
        }
    }

    #[test]
    fn the_ingress_has_a_well_known_address() {
        for (value, is) in [
            ("http://ingress-nginx-controller.ingress-nginx", true),
            ("http://ingress-nginx-controller.ingress-nginx.svc.cluster.local/x", true),
            ("ingress-nginx-controller.ingress-nginx.svc:80", true),
            ("http://ingress-nginx-controller.ingress-nginx:8080", false),
            ("http://ingress-nginx-controller", false),
            ("http://bar.ingress-nginx", false),
        ] {
            assert_eq!(parsed(value).unwrap().is_ingress(), is, "{value}");
        }
    }

    fn reference() -> impl Strategy<Value = String> {
        (
            prop::option::of("(http|https|grpc)"),
            prop::option::of("[a-z]{1,5}(:[a-z0-9]{1,5})?"),
            "[a-z][a-z0-9]{0,6}",
            prop::option::of(("[a-z][a-z0-9]{0,6}", "(|\\.svc|\\.svc\\.cluster\\.local)")),
            1..=u16::MAX,
            "(|[/?#][ -~]{0,20})",
        )
            .prop_map(|(scheme, user, service, namespace, port, rest)| {
                let user = user.filter(|_| scheme.is_some()).map_or(String::new(), |user| format!("{user}@"));
                let scheme = scheme.map_or(String::new(), |scheme| format!("{scheme}://"));
                let namespace = namespace.map_or(String::new(), |(name, rest)| format!(".{name}{rest}"));
                format!("{scheme}{user}{service}{namespace}:{port}{rest}")
            })
            .prop_filter("names this machine", |value| !value.contains("localhost"))
    }

    proptest! {
        #[test]
        fn a_rewritten_value_keeps_all_but_the_authority(value in reference(), ip: [u8; 4], port: u16) {
            // Without a scheme of its own, `://` further on is taken for one.
            prop_assume!(value.matches("://").count() == usize::from(value.find("://").is_some_and(|at| at < 6)));
            let reference = parsed(&value).unwrap();
            prop_assert_eq!(&value[reference.span.clone()], &reference.authority);
            let address = SocketAddr::from((ip, port));
            let rewritten = rewrite(&value, &reference, address);
            let expected = value.replacen(&reference.authority, &address.to_string(), 1);
            if !value[..reference.span.start].contains(&reference.authority) {
                prop_assert_eq!(&rewritten, &expected);
            }
            prop_assert!(rewritten.starts_with(&value[..reference.span.start]));
            prop_assert!(rewritten.ends_with(&value[reference.span.end..]));
            prop_assert_eq!(parsed(&rewritten), None, "an address names no Service");
        }

        #[test]
        fn rewriting_again_replaces_the_address(value in reference(), ip: [u8; 4], port: u16) {
            if let Ok(Some(reference)) = Reference::parse(&value) {
                let address = SocketAddr::from((ip, port));
                let once = rewrite(&value, &reference, address);
                let end = reference.span.start + address.to_string().len();
                let there = Reference { span: reference.span.start..end, ..reference.clone() };
                let other = SocketAddr::from(([127, 1, 2, 3], 9));
                prop_assert_eq!(rewrite(&once, &there, other), rewrite(&value, &reference, other));
            }
        }

        #[test]
        fn any_text_is_parsed_or_not_but_never_panics(value in "\\PC{0,40}|[a-z:/@.\\[\\]?#0-9]{0,40}") {
            if let Ok(Some(reference)) = Reference::parse(&value) {
                prop_assert_eq!(&value[reference.span.clone()], &reference.authority);
                let address = SocketAddr::from(([127, 0, 0, 1], 1));
                prop_assert!(rewrite(&value, &reference, address).contains("127.0.0.1:1"));
            }
        }
    }
}
