use serde::{Deserialize, Serialize};

/// A reference to an object of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalTargetRef {
    /// The API group; none and the empty one are the core group.
    pub group: Option<String>,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
}

/// A reference to an object of any namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespacedTargetRef {
    /// The API group; none and the empty one are the core group.
    pub group: Option<String>,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The namespace; none: that of the object that refers.
    pub namespace: Option<String>,
}

/// What a route is attached to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// The API group; none: `gateway.networking.k8s.io`.
    pub group: Option<String>,
    /// The kind; none: `Gateway`, which Linkerd does not serve.
    pub kind: Option<String>,
    /// The name.
    pub name: String,
    /// The namespace; none: the route's.
    pub namespace: Option<String>,
    /// A part of the parent. Linkerd takes none.
    pub section_name: Option<String>,
    /// A port of the parent: of a Service; a Server takes none.
    pub port: Option<i32>,
}

/// Whether a group and a kind name a type. As in Linkerd (`targets_kind` of its `k8s/api`), upper and lower case
/// are the same, and the core group is the empty one or `core`.
pub(crate) fn is_kind(group: Option<&str>, kind: &str, wanted_group: &str, wanted_kind: &str) -> bool {
    let group = match group {
        None => "",
        Some(group) if group.eq_ignore_ascii_case("core") => "",
        Some(group) => group,
    };
    group.eq_ignore_ascii_case(wanted_group) && kind.eq_ignore_ascii_case(wanted_kind)
}

impl LocalTargetRef {
    /// Whether it names an object of this type.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        is_kind(self.group.as_deref(), &self.kind, group, kind)
    }
}

impl NamespacedTargetRef {
    /// Whether it names an object of this type.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        is_kind(self.group.as_deref(), &self.kind, group, kind)
    }

    /// Its namespace, as seen from an object in `from`.
    pub fn namespace<'a>(&'a self, from: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(from)
    }
}

impl ParentRef {
    /// Whether it names an object of this type. One without a kind names a Gateway, thus none of Linkerd's.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.kind.as_deref().is_some_and(|own| is_kind(self.group.as_deref(), own, group, kind))
    }

    /// Its namespace, as seen from a route in `from`.
    pub fn namespace<'a>(&'a self, from: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(from)
    }
}
