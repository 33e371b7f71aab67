//! Who is let in: identities and networks.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::label::ResourceLabel;

/// A network less some parts of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkMatch {
    /// The network.
    pub net: IpNet,
    /// Not in it.
    pub except: Vec<IpNet>,
}

impl NetworkMatch {
    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.net.contains(&address) && !self.except.iter().any(|except| except.contains(&address))
    }

    /// All addresses: of IPv4 and of IPv6.
    pub fn everywhere() -> Vec<Self> {
        let nets = [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())];
        nets.into_iter().map(Self::from).collect()
    }
}

impl From<IpNet> for NetworkMatch {
    fn from(net: IpNet) -> Self {
        Self { net, except: Vec::new() }
    }
}

/// `ADDRESS/BITS` or `ADDRESS`, as Linkerd reads them. None for other texts.
pub fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// What a client must prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Nothing.
    None,
    /// An identity, by mutual TLS: one of these, or one that ends with one of the suffixes.
    Identity {
        /// In full.
        identities: BTreeSet<String>,
        /// `.SUFFIX`; empty for any identity.
        suffixes: Vec<String>,
    },
}

impl Authentication {
    /// The identities of patterns: in full, `*` for any, `*.SUFFIX`. A `*` elsewhere is itself
    /// (`IdentityMatch::from_str` of the policy controller).
    pub fn of_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut identities, mut suffixes) = (BTreeSet::new(), Vec::new());
        for pattern in patterns {
            match pattern.strip_prefix('*') {
                Some("") => suffixes.push(String::new()),
                Some(suffix) if suffix.starts_with('.') => suffixes.push(suffix.to_owned()),
                _ => drop(identities.insert(pattern.to_owned())),
            }
        }
        Self::Identity { identities, suffixes }
    }

    /// Whether a client with this identity, or without one, has proved enough.
    pub fn permits(&self, identity: Option<&str>) -> bool {
        match self {
            Self::None => true,
            Self::Identity { identities, suffixes } => identity.is_some_and(|identity| {
                identities.contains(identity)
                    // A SPIFFE identity is compared in full only.
                    || (!identity.starts_with("spiffe://")
                        && suffixes.iter().any(|suffix| identity.ends_with(suffix.as_str())))
            }),
        }
    }
}

/// One reason to let a client in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// The `AuthorizationPolicy`, or the default.
    pub label: ResourceLabel,
    /// Whence; any of them.
    pub networks: Vec<NetworkMatch>,
    /// And what it must prove.
    pub authentication: Authentication,
}

impl Authorization {
    /// Whether it lets a client in.
    pub fn permits(&self, client: &Client<'_>) -> bool {
        self.lacks(client).is_none()
    }

    /// What a client lacks for it; none if it lets the client in.
    pub fn lacks(&self, client: &Client<'_>) -> Option<Lack> {
        if !self.networks.iter().any(|network| network.contains(client.address)) {
            return Some(Lack::Network);
        }
        if self.authentication.permits(client.identity) {
            return None;
        }
        Some(if client.identity.is_none() { Lack::AnyIdentity } else { Lack::Identity })
    }
}

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// Whence.
    pub address: IpAddr,
    /// The identity that its certificate proves; none for a client without a sidecar.
    pub identity: Option<&'a str>,
}

/// What a client lacks for an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It comes from elsewhere.
    Network,
    /// It has none of the identities.
    Identity,
    /// It has no identity at all.
    AnyIdentity,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_matches_what_ends_with_it_and_a_star_matches_any() {
        let suffix = Authentication::of_patterns(["*.default.serviceaccount.identity.linkerd.cluster.local"]);
        assert!(suffix.permits(Some("foo.default.serviceaccount.identity.linkerd.cluster.local")));
        assert!(!suffix.permits(Some("foo.other.serviceaccount.identity.linkerd.cluster.local")));
        assert!(!suffix.permits(None));
        let any = Authentication::of_patterns(["*"]);
        assert!(any.permits(Some("anyone")));
        assert!(!any.permits(None));
    }

    #[test]
    fn a_star_in_the_middle_is_no_pattern() {
        let odd = Authentication::of_patterns(["foo.*.bar", "*foo"]);
        assert!(!odd.permits(Some("foo.x.bar")));
        assert!(odd.permits(Some("foo.*.bar")));
        assert!(odd.permits(Some("*foo")));
        assert!(!odd.permits(Some("xfoo")));
    }

    #[test]
    fn an_exception_takes_its_part_out_of_a_network() {
        let network =
            NetworkMatch { net: "10.0.0.0/8".parse().unwrap(), except: vec!["10.1.0.0/16".parse().unwrap()] };
        assert!(network.contains("10.2.0.1".parse().unwrap()));
        assert!(!network.contains("10.1.0.1".parse().unwrap()));
        assert!(!network.contains("192.168.0.1".parse().unwrap()));
    }
}
