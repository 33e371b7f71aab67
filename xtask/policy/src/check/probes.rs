//! The kubelet's probes and the ports of metrics: clients without an identity, which a Server may lock out.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, Method};

use super::routes::server_ref;
use super::{Check, Field, ObjectRef, Severity};
use crate::authz::Client;
use crate::explain::mismatch;
use crate::inbound::settings::DEFAULT_INBOUND_POLICY;
use crate::inbound::{PortPolicy, Verdict};
use crate::model::Workload;
use crate::route::{Protocol, Request};

/// A node of kind's network: whence a kubelet asks.
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 18, 0, 2));

/// A pod: whence Prometheus asks.
const POD: IpAddr = crate::explain::Caller::POD;

/// The method of grpc.health.v1 that a kubelet calls.
const HEALTH: &str = "/grpc.health.v1.Health/Check";

impl Check<'_> {
    pub(super) fn probes(&mut self) {
        let mut blocked = Vec::new();
        for (workload, inbound) in &self.inbound {
            if !workload.is_meshed() {
                continue;
            }
            for (port, paths) in &workload.probes {
                let policy = inbound.port(*port);
                for path in paths {
                    if let Some(why) = refusal(policy, NODE, Protocol::Http1, path) {
                        blocked.push((*workload, *port, policy.clone(), format!("GET {path}"), why, true));
                    }
                }
            }
            for port in &workload.grpc_probes {
                let policy = inbound.port(*port);
                if let Some(why) = refusal(policy, NODE, Protocol::Grpc, HEALTH) {
                    blocked.push((*workload, *port, policy.clone(), "grpc".to_owned(), why, true));
                }
            }
            for (port, path) in metrics(workload) {
                let policy = inbound.port(port);
                if let Some(why) = refusal(policy, POD, Protocol::Http1, &path) {
                    blocked.push((*workload, port, policy.clone(), format!("GET {path}"), why, false));
                }
            }
        }
        for (workload, port, policy, what, why, is_probe) in blocked {
            let name = &workload.name;
            let server = Some(policy.server.name.as_str()).filter(|_| !policy.server.is_default());
            let (object, field) = match server.or_else(|| self.broken_server(workload, port)) {
                Some(server) => (server_ref(&workload.namespace, server), Field::keys(&["spec", "port"])),
                None => (
                    ObjectRef::new("apps", "Deployment", &workload.namespace, name),
                    Field::keys(&["spec", "template", "metadata", "annotations", DEFAULT_INBOUND_POLICY]),
                ),
            };
            let (cause, remedy) = if is_probe {
                (
                    format!(
                        "blocks the kubelet's probe of {name} ({what} on port {port}), {why}: its pods never get ready, or are restarted"
                    ),
                    "give health a port of its own that no Server selects, or authorize the kubelet's network for it with a NetworkAuthentication",
                )
            } else {
                (
                    format!(
                        "blocks the metrics of {name} ({what} on port {port}), {why}: a Prometheus without a sidecar gets nothing"
                    ),
                    "give metrics a port of their own that no Server selects, or authorize who reads them",
                )
            };
            let severity = if is_probe { Severity::Error } else { Severity::Warning };
            self.tell("probe-blocked", severity, (object, field), cause, remedy);
        }
    }
}

/// Why a client without a sidecar does not get through; none if it does.
fn refusal(policy: &PortPolicy, address: IpAddr, protocol: Protocol, path: &str) -> Option<String> {
    if let Some(reason) = mismatch(policy.protocol, protocol) {
        return Some(format!("which gets {reason}"));
    }
    let (headers, method) =
        (HeaderMap::new(), if protocol == Protocol::Grpc { Method::POST } else { Method::GET });
    let request =
        Request { protocol, method: &method, authority: Some("pod"), path, query: None, headers: &headers };
    let client = Client { address, identity: None };
    match policy.decide(&client, &request).verdict {
        Verdict::Allow | Verdict::Audit => None,
        Verdict::Deny => Some("which has no identity and is refused".to_owned()),
        Verdict::NoRoute => Some("which no route takes".to_owned()),
    }
}

/// The ports and paths of a workload's metrics: by Prometheus' annotations, and by the names of ports.
fn metrics(workload: &Workload) -> BTreeSet<(u16, String)> {
    let annotation = |name: &str| workload.annotations.get(&format!("prometheus.io/{name}"));
    let path = annotation("path").cloned().unwrap_or_else(|| "/metrics".to_owned());
    let scraped = annotation("scrape").is_none_or(|scrape| scrape == "true");
    let annotated = annotation("port").filter(|_| scraped).and_then(|port| port.parse().ok());
    let is_named =
        |name: &str| matches!(name, "admin" | "metrics" | "prometheus") || name.ends_with("-metrics");
    let named = workload.ports.iter().filter(|port| port.name.as_deref().is_some_and(is_named));
    annotated.into_iter().chain(named.map(|port| port.number)).map(|port| (port, path.clone())).collect()
}
