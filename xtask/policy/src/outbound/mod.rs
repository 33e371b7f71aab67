//! What becomes of a request before it leaves a client's proxy: the routes whose parent is a Service, compiled once
//! from the objects, then decided request by request.
//!
//! The rules are those of Linkerd's policy controller (`policy-controller/k8s/index/src/outbound`, `k8s/status`,
//! `grpc/src/outbound`) and of its proxy (`linkerd/proxy/client-policy`, `linkerd/distribute`).

mod annotation;
mod attach;
mod backend;
mod compile;
mod decide;
mod settings;
mod trace;

use std::fmt;

pub use annotation::go_unit;
pub use backend::{Backend, Backends, Failure, Target};
pub use decide::{Matched, Verdict, redirection};
pub use settings::{
    FailureAccrual, GrpcCondition, OutboundSettings, Retry, RetryOn, SettingsError, StatusRange, Timeouts,
};
pub use trace::{Step, Trace};

use crate::inbound::{Ignored, ProxyProtocol};
use crate::route::{GrpcMatch, HttpMatch, Route};

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServicePort {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// Everything that a client's proxy knows of a Service's port. What it says of one client namespace holds for all
/// clients of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePolicy {
    /// Whose it is.
    pub service: ServicePort,
    /// How connections to it are served.
    pub protocol: ProxyProtocol,
    /// What is done with which request. Without an accepted route: the default one, to the Service itself.
    pub routes: Routes,
    /// How failing endpoints are kept out, of this Service and of every backend of its routes.
    pub failure_accrual: Option<FailureAccrual>,
    /// Why no request gets anywhere, where a proxy cannot use the routes.
    pub broken: Option<Broken>,
    /// Objects that were meant for it and have no effect.
    pub ignored: Vec<Ignored>,
}

/// A Service's routes, best first among equals.
#[derive(Clone, Debug, PartialEq)]
pub enum Routes {
    /// `HTTPRoute`s, or the default.
    Http(Vec<Route<HttpMatch, RouteTraffic>>),
    /// `GRPCRoute`s. There is no default beside them.
    Grpc(Vec<Route<GrpcMatch, RouteTraffic>>),
}

/// What is done with the requests of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteTraffic {
    /// The route.
    pub route: RouteRef,
    /// For each of its rules, in order.
    pub rules: Vec<RuleTraffic>,
}

/// What is done with the requests of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleTraffic {
    /// Where they go.
    pub backends: Backends,
    /// How long they may take.
    pub timeouts: Timeouts,
    /// Which answers are not taken for an answer; none: all are.
    pub retry: Option<Retry>,
}

/// A route, as errors and metrics name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteRef {
    /// The API group; empty for the default.
    pub group: String,
    /// `HTTPRoute`, `GRPCRoute`, or `default`.
    pub kind: String,
    /// Its namespace; empty for the default.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Routes that no proxy can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It cannot read them: every request gets HTTP 500, gRPC 13, `unexpected error`.
    Unreadable(String),
    /// It fails over them: connections are closed without an answer.
    Fatal(String),
}

impl ServicePort {
    /// A port of a Service.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, port: u16) -> Self {
        Self { namespace: namespace.into(), name: name.into(), port }
    }

    /// `NAME.NAMESPACE.svc.DOMAIN:PORT`
    pub fn authority(&self, dns_domain: &str) -> String {
        let Self { namespace, name, port } = self;
        format!("{name}.{namespace}.svc.{dns_domain}:{port}")
    }
}

impl fmt::Display for ServicePort {
    /// As Linkerd's errors name it: `Service.NAMESPACE.NAME:PORT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, port } = self;
        write!(f, "Service.{namespace}.{name}:{port}")
    }
}

impl RouteRef {
    /// The route of a Service without routes.
    pub fn default_route() -> Self {
        Self {
            group: String::new(),
            kind: "default".to_owned(),
            namespace: String::new(),
            name: "http".to_owned(),
        }
    }

    /// Whether it stands for no object.
    pub fn is_default(&self) -> bool {
        self.group.is_empty()
    }
}

impl fmt::Display for RouteRef {
    /// As Linkerd's errors name it: `HTTPRoute.NAMESPACE.NAME`, `default.http`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name, .. } = self;
        if self.is_default() { write!(f, "{kind}.{name}") } else { write!(f, "{kind}.{namespace}.{name}") }
    }
}
