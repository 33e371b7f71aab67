use std::fmt;

use serde::Serialize;

use crate::model::{GRPCRoute, HTTPRoute, Named};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does not do what it says, or breaks what the services need.
    Error,
    /// It works, with something to know.
    Warning,
}

/// An object, by what names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectRef {
    pub(super) fn new(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        let [group, kind, namespace, name] = [group, kind, namespace, name].map(str::to_owned);
        Self { group, kind, namespace, name }
    }

    /// Of an object of Linkerd's own kinds.
    pub(super) fn linkerd(kind: &str, object: &impl Named) -> Self {
        Self::new(crate::model::LINKERD, kind, object.namespace(), object.name())
    }

    /// Of an object of the core group.
    pub(super) fn core(kind: &str, object: &impl Named) -> Self {
        Self::new("", kind, object.namespace(), object.name())
    }

    pub(super) fn http_route(route: &HTTPRoute) -> Self {
        Self::new(route.group(), "HTTPRoute", route.namespace(), route.name())
    }

    pub(super) fn grpc_route(route: &GRPCRoute) -> Self {
        Self::new(crate::model::GATEWAY, "GRPCRoute", route.namespace(), route.name())
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A field of an object: keys and indices from its root on.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field(pub Vec<Step>);

/// One step to a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

impl Field {
    /// The object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Fields one in the other.
    pub fn keys(names: &[&str]) -> Self {
        names.iter().fold(Self::root(), |field, name| field.key(name))
    }

    /// The field of this name in it.
    #[must_use]
    pub fn key(&self, name: &str) -> Self {
        self.with(Step::Key(name.to_owned()))
    }

    /// The item of this index in it.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Field {
    /// `spec.rules[0].matches`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if index == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Something wrong or odd: where, why, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The object.
    pub object: ObjectRef,
    /// The field; it may not be there.
    pub field: Field,
    /// How bad it is.
    pub severity: Severity,
    /// What was looked for, in a word or two; stable, for scripts.
    pub rule: &'static str,
    /// What is the case, and what follows from it. Begins with a verb; its subject is the object.
    pub cause: String,
    /// What to write instead.
    pub remedy: String,
}
