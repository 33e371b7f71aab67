//! Pure: who may read from the dashboard, and who may act through it.
//!
//! It listens on loopback alone, so what can reach it is this machine's own, browsers included; and a browser has pages
//! of others open. Such a page must neither read nor act. A name of its own that it lets point here (DNS rebinding) is a
//! foreign `Host`. What it sends from itself has its `Origin`, or says so in `Sec-Fetch-Site`. And what acts needs a
//! token besides, that only a page which may read can know.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method};

/// The header that carries the token of a run.
pub const TOKEN: &str = "x-dashboard-token";

/// The host under which the ingress shows it.
pub const INGRESS_HOST: &str = "dashboard.localhost";

/// The names of this machine's loopback address, by which nobody else can be meant.
const NAMES: [&str; 4] = ["127.0.0.1", "localhost", "[::1]", INGRESS_HOST];

/// What a request has to show.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Of this run.
    pub token: String,
    /// Its own port, and the ingress's.
    pub ports: Vec<u16>,
}

/// Why a request is refused: HTTP 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request has no `Host`, or that of another place.
    #[error("the Host is not this dashboard's")]
    Host,
    /// A page of another origin sent it.
    #[error("a page of another origin may not read or act here")]
    Origin,
    /// It would act, and has not the token of this run.
    #[error("what acts needs this run's token: load the page anew")]
    Token,
}

impl Guard {
    /// Judges a request. `navigates` says that it is for the page itself, which a link elsewhere may lead to.
    pub fn check(&self, method: &Method, headers: &HeaderMap, navigates: bool) -> Result<(), Refused> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let host = text(HOST.as_str()).filter(|host| self.is_own(host)).ok_or(Refused::Host)?;
        if text(ORIGIN.as_str()).is_some_and(|origin| origin.strip_prefix("http://") != Some(host)) {
            return Err(Refused::Origin);
        }
        let from_here = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
        let is_link = navigates && text("sec-fetch-mode") == Some("navigate");
        if !from_here && !is_link {
            return Err(Refused::Origin);
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if !reads && text(TOKEN) != Some(&*self.token) {
            return Err(Refused::Token);
        }
        Ok(())
    }

    fn is_own(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
            _ => (host, Some(80)),
        };
        let known = NAMES.iter().any(|own| own.eq_ignore_ascii_case(name));
        known && port.is_some_and(|port: u16| self.ports.contains(&port))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(method: &Method, headers: &[(&'static str, &str)], navigates: bool) -> Result<(), Refused> {
        let guard = Guard { token: "secret".to_owned(), ports: vec![8081, 8080] };
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        let headers = headers.iter().map(|(name, text)| (name.parse().unwrap(), value(text))).collect();
        guard.check(method, &headers, navigates)
    }

    #[test]
    fn only_the_names_of_loopback_at_its_own_ports_are_its_host() {
        let host = |host: &str| check(&Method::GET, &[("host", host)], false);
        for own in
            ["127.0.0.1:8081", "localhost:8081", "LOCALHOST:8080", "[::1]:8080", "dashboard.localhost:8080"]
        {
            assert_eq!(host(own), Ok(()), "{own}");
        }
        let foreign = [
            "evil.example:8081",
            "127.0.0.1",
            "127.0.0.1:9",
            "localhost.evil.example:8081",
            "dashboard.localhost.:8080",
            "127.0.0.1:8081:8081",
            "",
            ":8081",
            "foo.localhost:8080",
            "[::1]",
            "127.0.0.1:08081x",
        ];
        for foreign in foreign {
            assert_eq!(host(foreign), Err(Refused::Host), "{foreign}");
        }
        assert_eq!(check(&Method::GET, &[], true), Err(Refused::Host));
    }

    #[test]
    fn pages_of_other_origins_neither_read_nor_act() {
        let own = ("host", "127.0.0.1:8081");
        let token = (TOKEN, "secret");
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:8081",
            "https://127.0.0.1:8081",
            "http://127.0.0.1:3000",
        ] {
            let foreign = [own, ("origin", origin), token];
            assert_eq!(check(&Method::GET, &foreign, false), Err(Refused::Origin), "{origin}");
            assert_eq!(check(&Method::POST, &foreign, false), Err(Refused::Origin), "{origin}");
        }
        assert_eq!(check(&Method::POST, &[own, ("origin", "http://127.0.0.1:8081"), token], false), Ok(()));
        for site in ["cross-site", "same-site"] {
            assert_eq!(check(&Method::GET, &[own, ("sec-fetch-site", site)], false), Err(Refused::Origin));
        }
        let link = [own, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(check(&Method::GET, &link, true), Ok(()), "a link to the page");
        assert_eq!(check(&Method::GET, &link, false), Err(Refused::Origin), "but to nothing else");
    }

    #[test]
    fn what_acts_needs_the_token() {
        let own = ("host", "127.0.0.1:8081");
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
            assert_eq!(check(&method, &[own], false), Err(Refused::Token));
            assert_eq!(check(&method, &[own, (TOKEN, "guess")], false), Err(Refused::Token));
            assert_eq!(check(&method, &[own, (TOKEN, "secret")], false), Ok(()));
        }
    }
}
