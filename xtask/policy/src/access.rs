//! Access policies: who is let in where no policy says so.

use std::fmt;
use std::str::FromStr;

/// Who is let in where no policy says so: a Server's `accessPolicy`, or the default inbound policy of a pod, its
/// namespace or the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessPolicy {
    /// Some are let in.
    Allow {
        /// Only clients with an identity.
        authenticated: bool,
        /// Only from the cluster's networks.
        cluster: bool,
    },
    /// Nobody.
    Deny,
    /// Everybody, and what no policy allows is noted.
    Audit,
}

/// The names of all access policies, as they are written.
pub const ACCESS_POLICIES: [&str; 6] = [
    "deny",
    "audit",
    "all-unauthenticated",
    "all-authenticated",
    "cluster-unauthenticated",
    "cluster-authenticated",
];

impl AccessPolicy {
    /// Linkerd's default.
    pub const ALL_UNAUTHENTICATED: Self = Self::Allow { authenticated: false, cluster: false };

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Audit => "audit",
            Self::Allow { authenticated: false, cluster: false } => "all-unauthenticated",
            Self::Allow { authenticated: true, cluster: false } => "all-authenticated",
            Self::Allow { authenticated: false, cluster: true } => "cluster-unauthenticated",
            Self::Allow { authenticated: true, cluster: true } => "cluster-authenticated",
        }
    }
}

impl fmt::Display for AccessPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of no access policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no access policy")]
pub struct UnknownAccessPolicy(String);

impl FromStr for AccessPolicy {
    type Err = UnknownAccessPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "deny" => Self::Deny,
            "audit" => Self::Audit,
            "all-unauthenticated" => Self::Allow { authenticated: false, cluster: false },
            "all-authenticated" => Self::Allow { authenticated: true, cluster: false },
            "cluster-unauthenticated" => Self::Allow { authenticated: false, cluster: true },
            "cluster-authenticated" => Self::Allow { authenticated: true, cluster: true },
            _ => return Err(UnknownAccessPolicy(text.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_what_prints_it() {
        for name in ACCESS_POLICIES {
            assert_eq!(name.parse::<AccessPolicy>().map(AccessPolicy::as_str), Ok(name));
        }
        assert!("all".parse::<AccessPolicy>().is_err());
    }
}
