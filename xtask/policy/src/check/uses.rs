//! The calls that the services make, held against the policies.

use super::routes::server_ref;
use super::{Check, Field, ObjectRef, Severity};
use crate::explain::{Call, Caller, Explanation, Outcome, destination, explain};
use crate::model::{Named, Objects};
use crate::sample::samples;

/// A call that a client is known to make.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// `ServiceAccount` and namespace of the client; none: it has no sidecar.
    pub account: Option<(String, String)>,
    /// The Service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// Its port, by name or number.
    pub port: String,
    /// How that is known: `BAR_HTTP_URL of Deployment foo`, `Ingress foo`.
    pub because: String,
    /// The call itself, where it was observed; none: any that a route tells apart.
    pub call: Option<Box<SeenCall>>,
}

/// A call that was observed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenCall {
    /// Whether it is gRPC.
    pub grpc: bool,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
}

impl Check<'_> {
    pub(super) fn uses(&mut self, uses: &[Use]) {
        for own in uses {
            self.use_of(own);
        }
    }

    fn use_of(&mut self, own: &Use) {
        let caller = match &own.account {
            Some((name, namespace)) => Caller::meshed(name, namespace),
            None => Caller::unmeshed(),
        };
        let asked = match &own.call {
            Some(seen) => vec![seen_call(own, seen)],
            None => {
                match samples(self.objects, self.cluster, &own.service, &own.namespace, &own.port) {
                    Ok(samples) => samples.into_iter().map(|sample| sample.call).collect(),
                    // That a Service or its port is not there is told of the manifests.
                    Err(_) => return,
                }
            }
        };
        let mut refused = Vec::new();
        for call in &asked {
            let Ok(explanation) = explain(self.objects, self.cluster, &caller, call) else { return };
            if matches!(explanation.verdict, Outcome::Allow | Outcome::Audit | Outcome::RateLimited) {
                return;
            }
            refused.push(explanation);
        }
        let Some(first) = refused.first() else { return };
        let who = match &own.account {
            Some((name, namespace)) => format!("{name}.{namespace}"),
            None => "a client without a sidecar".to_owned(),
        };
        let what = match &own.call {
            Some(seen) if seen.grpc => format!(" {}", seen.path.trim_start_matches('/')),
            Some(seen) => format!(" {} {}", seen.method, seen.path),
            None => String::new(),
        };
        let leaves = first.server.is_some();
        let not_found = refused.iter().all(|explanation| explanation.verdict == Outcome::NoRoute);
        let effect = match (leaves, not_found) {
            (false, _) => "the client's own sidecar does not pass it on",
            (true, true) => "no route takes it",
            (true, false) => "nothing authorizes it",
        };
        let cause = format!(
            "refuses a call that is needed: {who} calls {}:{}{what} (by {}), and {effect}: {}",
            own.service,
            own.port,
            own.because,
            status(first)
        );
        let remedy = match &own.account {
            _ if !leaves => "correct the routes whose parent is this Service".to_owned(),
            _ if not_found => "write a route that takes it".to_owned(),
            Some((name, namespace)) => format!(
                "write an AuthorizationPolicy for it that requires ServiceAccount {name} of namespace {namespace}"
            ),
            None => "give the client a sidecar, or authorize its network".to_owned(),
        };
        let at = if leaves { self.blamed(own) } else { (service_ref(self.objects, own), Field::root()) };
        self.tell("unauthorized-use", Severity::Error, at, cause, remedy);
    }

    /// The object that a refusal is told at: the Server, else the workload, else the Service.
    fn blamed(&self, own: &Use) -> (ObjectRef, Field) {
        let call = Call::http(&own.service, &own.namespace, Some(&own.port), "/");
        let Ok(to) = destination(self.objects, &call) else {
            return (service_ref(self.objects, own), Field::root());
        };
        let inbound = self.inbound.iter().find(|(workload, _)| std::ptr::eq(*workload, to.workload));
        let server = inbound.map(|(_, inbound)| &inbound.port(to.container_port).server);
        let (namespace, name) = (&to.workload.namespace, &to.workload.name);
        match server {
            Some(server) if !server.is_default() => {
                (server_ref(namespace, &server.name), Field::keys(&["metadata", "name"]))
            }
            // A Server whose routes no proxy takes is not named by its policy.
            Some(_) => match self.broken_server(to.workload, to.container_port) {
                Some(server) => (server_ref(namespace, server), Field::keys(&["metadata", "name"])),
                None => (ObjectRef::new("apps", "Deployment", namespace, name), Field::root()),
            },
            None => (service_ref(self.objects, own), Field::root()),
        }
    }

    /// The Server of a port whose policy does not name it, since no proxy takes its routes.
    pub(super) fn broken_server(&self, workload: &crate::model::Workload, port: u16) -> Option<&str> {
        let mut servers = self.objects.servers.iter();
        servers
            .find(|server| {
                self.selected(server).iter().any(|own| std::ptr::eq(*own, workload))
                    && workload.select(&server.spec.port).contains(&port)
            })
            .map(Named::name)
    }
}

/// What the client sees.
fn status(explanation: &Explanation) -> String {
    match (explanation.grpc_status, explanation.http_status) {
        (Some(status), _) => format!("gRPC status {status}"),
        (None, Some(status)) => format!("HTTP {status}"),
        (None, None) => "no answer".to_owned(),
    }
}

fn seen_call(own: &Use, seen: &SeenCall) -> Call {
    let port = Some(own.port.as_str());
    let mut call = if seen.grpc {
        Call::grpc(&own.service, &own.namespace, port, &seen.path)
    } else {
        Call::http(&own.service, &own.namespace, port, &seen.path)
    };
    if !seen.grpc
        && let Ok(method) = seen.method.parse()
    {
        call.method = method;
    }
    call
}

fn service_ref(objects: &Objects, own: &Use) -> ObjectRef {
    let found = objects
        .services
        .iter()
        .find(|service| service.name() == own.service && service.namespace() == own.namespace);
    match found {
        Some(service) => ObjectRef::core("Service", service),
        None => ObjectRef::new("", "Service", &own.namespace, &own.service),
    }
}
