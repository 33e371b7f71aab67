//! Policies of a running environment: what is asked of it, and what it says.

use std::fmt;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use policy::model::{
    AuthorizationPolicy, GRPCRoute, HTTPLocalRateLimitPolicy, HTTPRoute, MeshTLSAuthentication, Named as _,
    NetworkAuthentication, Objects, Server,
};
use serde::{Deserialize, Serialize};

/// What is asked of an environment's policies.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyRequest {
    /// What is applied.
    Show,
    /// These objects are to be as given; others stay. All or nothing.
    Apply {
        /// The objects and the files they were read from.
        objects: Vec<Given>,
        /// The files and directories that were named: their edits are followed from now on.
        paths: Vec<PathBuf>,
    },
    /// These Servers are to have this access policy, whatever their files say; edits of the files win.
    Access {
        /// Which.
        servers: Vec<ObjectKey>,
        /// The access policy; none: as written.
        access: Option<String>,
    },
    /// Whether to count what the sidecars decide: true from nothing, false no more, none as it is.
    Observe(Option<bool>),
    /// These objects are not to be there; edits of their files are not followed any more.
    Delete {
        /// Which.
        objects: Vec<ObjectKey>,
        /// The files and directories that were named.
        paths: Vec<PathBuf>,
    },
}

/// What the sidecars decided while they were observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Requests and connections that policies decided on.
    pub requests: u64,
    /// Those that came too fast to be looked at.
    pub missed: u64,
    /// What only the access policy `audit` let in, and how often.
    pub noted: Vec<(Noted, u64)>,
}

/// A kind of request that only the access policy `audit` let in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Noted {
    /// The client's identity; none for a client without a sidecar.
    pub identity: Option<String>,
    /// Whence such a client came, as policies see it.
    pub address: Option<String>,
    /// The namespace of the pods that were asked.
    pub namespace: String,
    /// Their Deployment.
    pub deployment: String,
    /// The Server.
    pub server: String,
    /// Group, kind and name of the route; none for the default one.
    pub route: Option<(String, String, String)>,
    /// It was a gRPC call.
    pub grpc: bool,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
}

/// An object to be applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// The object, as written.
    pub object: PolicyObject,
    /// Where it was read, relative to the workspace's root or absolute.
    pub file: PathBuf,
}

/// What an environment says of its policies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyState {
    /// Every applied object, sorted by [`ObjectKey`].
    pub objects: Vec<PolicyObject>,
    /// What the request did, object by object.
    pub changes: Vec<Change>,
    /// What the sidecars decided while they were observed.
    pub observed: Observed,
    /// What a policy controller says of what was applied, where it is another program: `GRPCRoute baz: accepted`.
    #[serde(default)]
    pub conditions: Vec<String>,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which.
    pub object: ObjectKey,
    /// What.
    pub change: Changed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.object, self.change)
    }
}

/// What became of an object, in kubectl's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Changed {
    /// It was not there.
    Created,
    /// It was other than it is now.
    Configured,
    /// It was so already.
    Unchanged,
    /// It is gone.
    Deleted,
    /// It was not there to be deleted.
    NotFound,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::NotFound => "was not there",
        })
    }
}

/// What changed, without what did not, as people are told.
pub fn changed(changes: &[Change]) -> Vec<String> {
    let same = |change: &&Change| !matches!(change.change, Changed::Unchanged | Changed::NotFound);
    changes.iter().filter(same).map(ToString::to_string).collect()
}

/// Which object of all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: String,
    /// Its API group; empty for the core group.
    pub group: String,
    /// Its namespace; empty for what has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    /// `Server baz-grpc`; with the namespace where it is not the default one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        if !self.namespace.is_empty() && self.namespace != policy::model::DEFAULT_NAMESPACE {
            write!(f, " of namespace {}", self.namespace)?;
        }
        Ok(())
    }
}

macro_rules! policy_objects {
    ($($kind:ident => $list:ident),+ $(,)?) => {
        /// A policy object of any kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type", content = "object")]
        pub enum PolicyObject {
            $(#[doc = concat!("A `", stringify!($kind), "`.")] $kind($kind),)+
        }

        impl PolicyObject {
            /// Its kind.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$kind(_) => stringify!($kind),)+
                }
            }

            /// Its metadata.
            pub fn metadata(&self) -> &ObjectMeta {
                match self {
                    $(Self::$kind(object) => &object.metadata,)+
                }
            }

            /// Its metadata, to be changed.
            pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
                match self {
                    $(Self::$kind(object) => &mut object.metadata,)+
                }
            }

            /// Adds it to what decisions depend on.
            pub fn add_to(&self, objects: &mut Objects) {
                match self {
                    $(Self::$kind(object) => objects.$list.push(object.clone()),)+
                }
            }

            fn named(&self) -> (&str, &str) {
                match self {
                    $(Self::$kind(object) => (object.namespace(), object.name()),)+
                }
            }
        }

        $(impl From<$kind> for PolicyObject {
            fn from(object: $kind) -> Self {
                Self::$kind(object)
            }
        })+
    };
}

policy_objects!(
    Namespace => namespaces,
    Server => servers,
    AuthorizationPolicy => authorization_policies,
    MeshTLSAuthentication => mesh_tls_authentications,
    NetworkAuthentication => network_authentications,
    HTTPLocalRateLimitPolicy => rate_limits,
    HTTPRoute => http_routes,
    GRPCRoute => grpc_routes,
);

impl PolicyObject {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        let (namespace, name) = self.named();
        let (group, namespace) = match self {
            Self::Namespace(_) => ("", ""),
            Self::HTTPRoute(route) => (route.group(), namespace),
            Self::GRPCRoute(_) => (policy::model::GATEWAY, namespace),
            _ => (policy::model::LINKERD, namespace),
        };
        ObjectKey {
            kind: self.kind().to_owned(),
            group: group.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}
