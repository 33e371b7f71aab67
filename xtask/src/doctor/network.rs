//! What the local runtime needs of the network: loopback addresses, the ingress's port, names, no proxy
//! in between.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::Finding;
use owner::Owner;

mod owner;

/// The ingress's port unless `--port` says otherwise.
const INGRESS: u16 = 8080;

/// A host as the Ingress objects here have them.
const HOST: &str = "foo.localhost";

/// An address as the local runtime gives to pods.
const POD: Ipv4Addr = Ipv4Addr::new(127, 77, 1, 1);

/// Whether the ingress's port can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    Free,
    /// Who listens there, as far as this user may know.
    Taken(Option<Owner>),
    /// Why it cannot be had.
    Refused(String),
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Facts {
    pub port: Port,
    /// Why a pod's address cannot be bound or reached.
    pub no_loopback: Option<String>,
    /// Whether a host name under `.localhost` resolves to loopback.
    pub localhost: bool,
    /// The proxy variable that programs would heed for the ingress, with its value.
    pub proxy: Option<(String, String)>,
}

impl Facts {
    /// Looks.
    pub async fn gather() -> Self {
        let port = match TcpListener::bind((Ipv4Addr::LOCALHOST, INGRESS)) {
            Ok(_) => Port::Free,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Port::Taken(owner::of(INGRESS)),
            Err(error) => Port::Refused(error.to_string()),
        };
        let addresses = tokio::net::lookup_host((HOST, INGRESS)).await;
        Self {
            port,
            no_loopback: loops_back().err().map(|error| error.to_string()),
            localhost: addresses
                .is_ok_and(|mut found| found.any(|address: SocketAddr| address.ip().is_loopback())),
            proxy: proxy(|name| std::env::var(name).ok()),
        }
    }

    /// Judges.
    pub fn judge(&self) -> Vec<Finding> {
        vec![self.loopback(), self.port(), self.names(), self.proxy()]
    }

    fn loopback(&self) -> Finding {
        match &self.no_loopback {
            None => Finding::ok("loopback", "127.0.0.0/8 can be used"),
            Some(why) => Finding::problem(
                "loopback",
                format!("{POD} cannot be used: {why}"),
                "sudo ip address add 127.0.0.1/8 dev lo; sudo ip link set lo up",
            ),
        }
    }

    fn port(&self) -> Finding {
        let remedy = "another port: cargo xtask up --port 8081";
        match &self.port {
            Port::Free => Finding::ok("port", format!("{INGRESS} is free for the ingress")),
            Port::Taken(Some(owner)) if owner.name == "xtask" => Finding::ok(
                "port",
                format!("{INGRESS} is held by a running `cargo xtask up` (process {})", owner.pid),
            ),
            Port::Taken(Some(owner)) => Finding::problem(
                "port",
                format!("{INGRESS} is taken by {} (process {})", owner.name, owner.pid),
                format!("kill {}; or {remedy}", owner.pid),
            ),
            Port::Taken(None) => Finding::problem(
                "port",
                format!("{INGRESS} is taken by another user's process"),
                format!("sudo ss -ltnp 'sport = {INGRESS}' says by which; {remedy}"),
            ),
            Port::Refused(why) => {
                Finding::problem("port", format!("{INGRESS} cannot be bound: {why}"), remedy)
            }
        }
    }

    fn names(&self) -> Finding {
        if self.localhost {
            return Finding::ok("names", format!("{HOST} resolves to loopback"));
        }
        // RFC 6761 has every name under `localhost` loop back; browsers and curl (from 7.77) see to it.
        Finding::warning(
            "names",
            format!("{HOST} does not resolve here; browsers and curl know it, other programs do not"),
            format!(
                "curl -H 'Host: {HOST}' http://127.0.0.1:{INGRESS}/, or --resolve {HOST}:{INGRESS}:127.0.0.1"
            ),
        )
    }

    fn proxy(&self) -> Finding {
        match &self.proxy {
            None => Finding::ok("proxy", format!("none between a client and {HOST}")),
            Some((name, value)) => Finding::warning(
                "proxy",
                format!("{name}={value}: curl and others would ask it for {HOST}"),
                "export NO_PROXY=localhost,127.0.0.1 no_proxy=localhost,127.0.0.1",
            ),
        }
    }
}

/// Binds a pod's address and connects to it: an interface that is down lets it be bound.
fn loops_back() -> std::io::Result<()> {
    let listener = TcpListener::bind((POD, 0))?;
    TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(1)).map(drop)
}

/// The variable by which programs would reach the ingress through a proxy. By curl's rules: names in
/// small letters go first, `NO_PROXY` has domains that take their subdomains with them, or `*`.
fn proxy(variable: impl Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let excepted = ["no_proxy", "NO_PROXY"].into_iter().find_map(set).unwrap_or_default();
    let domains = excepted.split([',', ' ']).map(|domain| domain.trim().trim_start_matches('.'));
    if domains.into_iter().any(|domain| matches!(domain, "*" | "localhost" | HOST)) {
        return None;
    }
    ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        .into_iter()
        .find_map(|name| set(name).map(|value| (name.to_owned(), without_password(&value))))
}

/// A proxy's URL without user and password, to be shown.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<(String, String)> {
        let find =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        proxy(find)
    }

    #[test]
    fn a_proxy_is_told_unless_localhost_is_excepted() {
        let proxy = ("HTTP_PROXY", "http://proxy:3128");
        assert_eq!(of(&[proxy]).unwrap().0, "HTTP_PROXY");
        assert_eq!(of(&[proxy, ("NO_PROXY", "example.org, .localhost")]), None);
        assert_eq!(of(&[proxy, ("no_proxy", "*")]), None);
        assert!(of(&[proxy, ("NO_PROXY", "127.0.0.1")]).is_some());
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_proxys_password_is_not_shown() {
        assert_eq!(of(&[("http_proxy", "http://me:secret@proxy:3128")]).unwrap().1, "http://proxy:3128");
    }
}
