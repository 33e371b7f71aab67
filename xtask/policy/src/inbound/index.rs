//! Which Server is whose: from all objects to the ports of a workload.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::PortPolicy;
use super::compile::{Compiler, Ignored};
use super::routes;
use super::settings::Settings;
use crate::cluster::ClusterInfo;
use crate::model::{Named as _, Objects, Server, Workload};

/// The inbound policies of a workload's pods, port by port.
#[derive(Clone, Debug)]
pub struct Inbound {
    ports: BTreeMap<u16, Arc<PortPolicy>>,
    other: Others,
    /// Objects that were meant for these pods and have no effect.
    pub ignored: Vec<Ignored>,
    /// Servers that select a port which another Server has, by port: the one in force and the ones that are not.
    pub conflicts: BTreeMap<u16, (String, Vec<String>)>,
}

/// Ports that neither the workload declares nor a Server selects.
#[derive(Clone, Debug)]
struct Others {
    detected: Arc<PortPolicy>,
    with_identity: Arc<PortPolicy>,
    settings: Settings,
    opaque: [Arc<PortPolicy>; 2],
}

impl Inbound {
    /// Compiles what concerns a workload. Cost: once for each change of the objects, not for each request.
    pub fn new(workload: &Workload, objects: &Objects, cluster: &ClusterInfo) -> Self {
        let namespace = objects.namespaces.iter().find(|own| own.name() == workload.namespace);
        let annotations = namespace.and_then(|namespace| namespace.metadata.annotations.as_ref());
        let settings = Settings::of(workload, annotations, cluster);
        let mut compiler = Compiler { objects, cluster, ignored: Vec::new() };
        let (mut ports, mut conflicts) = (BTreeMap::new(), BTreeMap::<u16, (String, Vec<String>)>::new());
        for server in selecting(workload, objects, cluster) {
            for port in workload.select(&server.spec.port) {
                if let Some((_, others)) = conflicts.get_mut(&port) {
                    others.push(server.name().to_owned());
                    continue;
                }
                conflicts.insert(port, (server.name().to_owned(), Vec::new()));
                ports.insert(port, Arc::new(compiler.server(server, &probes(workload, port))));
            }
        }
        conflicts.retain(|_, (_, others)| !others.is_empty());
        let declared: BTreeSet<u16> =
            workload.ports.iter().map(|port| port.number).chain(workload.probes.keys().copied()).collect();
        for port in declared {
            ports.entry(port).or_insert_with(|| {
                let (access, opaque) = (settings.policy(port), settings.is_opaque(port));
                Arc::new(compiler.default(access, opaque, &probes(workload, port)))
            });
        }
        let mut of = |access, opaque| Arc::new(compiler.default(access, opaque, &[]));
        let plain = settings.default_policy;
        let strict = match plain {
            crate::access::AccessPolicy::Allow { cluster, .. } => {
                crate::access::AccessPolicy::Allow { authenticated: true, cluster }
            }
            policy => policy,
        };
        let other = Others {
            detected: of(plain, false),
            with_identity: of(strict, false),
            opaque: [of(plain, true), of(strict, true)],
            settings,
        };
        let mut ignored = compiler.ignored;
        ignored.sort();
        ignored.dedup();
        Self { ports, other, ignored, conflicts }
    }

    /// The policy of a port, declared or not.
    pub fn port(&self, port: u16) -> &Arc<PortPolicy> {
        self.ports.get(&port).unwrap_or_else(|| {
            let Others { detected, with_identity, settings, opaque } = &self.other;
            let strict = settings.policy(port) != settings.default_policy;
            match (settings.is_opaque(port), strict) {
                (false, false) => detected,
                (false, true) => with_identity,
                (true, strict) => &opaque[usize::from(strict)],
            }
        })
    }

    /// The ports that are declared or selected, with their policies.
    pub fn ports(&self) -> impl Iterator<Item = (u16, &Arc<PortPolicy>)> {
        self.ports.iter().map(|(port, policy)| (*port, policy))
    }
}

fn probes(workload: &Workload, port: u16) -> Vec<&str> {
    workload.probes.get(&port).into_iter().flatten().map(String::as_str).collect()
}

/// The Servers that select a workload's pods: the oldest first (one without a timestamp before all), then by name.
fn selecting<'a>(workload: &Workload, objects: &'a Objects, cluster: &ClusterInfo) -> Vec<&'a Server> {
    let labels = workload.pod_labels(&cluster.control_plane_namespace);
    let selects = |server: &&Server| {
        server.namespace() == workload.namespace
            && server.spec.pod_selector.as_ref().is_some_and(|own| selects(own, &labels))
    };
    let mut servers: Vec<_> = objects.servers.iter().filter(selects).collect();
    servers.sort_by(|a, b| {
        let by_time = routes::created(&a.metadata).cmp(&routes::created(&b.metadata));
        by_time.then_with(|| a.name().cmp(b.name()))
    });
    servers
}

/// Whether a selector takes these labels. An expression that makes no sense takes none.
pub fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let by_label = |(key, value): (&String, &String)| labels.get(key) == Some(value);
    selector.match_labels.iter().flatten().all(by_label)
        && selector.match_expressions.iter().flatten().all(|expression| {
            let own = labels.get(&expression.key);
            match (expression.operator.as_str(), expression.values.as_ref()) {
                ("In", Some(values)) => own.is_some_and(|own| values.contains(own)),
                ("NotIn", Some(values)) => own.is_none_or(|own| !values.contains(own)),
                ("Exists", None) => own.is_some(),
                ("DoesNotExist", None) => own.is_none(),
                _ => false,
            }
        })
}
