//! Servers: what they select, and whether it is what they say.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::nearest::suggest;
use super::{Check, Field, ObjectRef, Severity};
use crate::explain::speaks_grpc;
use crate::model::{Named, Server, Workload};

impl Check<'_> {
    pub(super) fn servers(&mut self) {
        let objects = self.objects;
        for server in &objects.servers {
            let object = ObjectRef::linkerd("Server", server);
            if server.spec.pod_selector.is_none() {
                self.tell(
                    "not-modelled",
                    Severity::Warning,
                    (object, Field::keys(&["spec", "externalWorkloadSelector"])),
                    "selects workloads outside of the cluster, which are not modelled here",
                    "check it on the cluster",
                );
                continue;
            }
            let selected = self.selected(server);
            if selected.is_empty() {
                let (cause, remedy) = self.selects_nothing(server);
                let field = Field::keys(&["spec", "podSelector"]);
                self.tell("selects-nothing", Severity::Error, (object, field), cause, remedy);
                continue;
            }
            self.port(server, &selected);
            self.protocol(server, &selected);
            let bare: Vec<_> = selected.iter().filter(|own| !own.is_meshed()).map(|own| &*own.name).collect();
            if !bare.is_empty() {
                let cause =
                    format!("selects pods without a sidecar, which enforce nothing: {}", bare.join(", "));
                let remedy = "give the pod template the annotation linkerd.io/inject: enabled, and restart the pods: it is looked at when a pod is made";
                let at = (object, Field::keys(&["spec", "podSelector"]));
                self.tell("no-sidecar", Severity::Warning, at, cause, remedy);
            }
        }
        self.overlaps();
    }

    /// Why a selector has no pods.
    fn selects_nothing(&self, server: &Server) -> (String, String) {
        let own = self.objects.workloads.iter().filter(|own| own.namespace == server.namespace());
        let pods: Vec<_> = own.map(|own| text(&own.labels)).collect();
        let selector = server.spec.pod_selector.clone().unwrap_or_default();
        let wanted = selector.match_labels.clone().unwrap_or_default();
        let cause = format!("selects no pods ({})", selector_text(&selector));
        let remedy = if pods.is_empty() {
            format!("no workload is in namespace {}: write the namespace of the pods", server.namespace())
        } else {
            suggest(&text(&wanted), pods.iter().map(String::as_str))
        };
        (cause, remedy)
    }

    fn port(&mut self, server: &Server, selected: &[&Workload]) {
        let object = ObjectRef::linkerd("Server", server);
        let at = (object, Field::keys(&["spec", "port"]));
        let known = || {
            let ports = selected.iter().flat_map(|workload| &workload.ports);
            ports.filter_map(|port| port.name.as_deref())
        };
        match &server.spec.port {
            IntOrString::String(name)
                if !selected.iter().any(|own| !own.select(&server.spec.port).is_empty()) =>
            {
                let is_number = name.parse::<u16>().is_ok();
                let cause =
                    format!("selects no port: no container of these pods has a port named \"{name}\"");
                let remedy = if is_number {
                    format!("for the number, write {name} without quotes")
                } else {
                    suggest(name, known())
                };
                self.tell("unknown-port", Severity::Error, at, cause, remedy);
            }
            IntOrString::Int(number) => {
                let declares =
                    |own: &&&Workload| own.numbers.iter().any(|declared| i32::from(*declared) == *number);
                if !selected.iter().any(|own| declares(&own)) {
                    let numbers = selected.iter().flat_map(|own| &own.ports).map(|port| match &port.name {
                        Some(name) => format!("{} ({name})", port.number),
                        None => port.number.to_string(),
                    });
                    let numbers = numbers.collect::<Vec<_>>().join(", ");
                    let cause = format!("selects port {number}, which no container of these pods declares");
                    let remedy = format!(
                        "it is the pods' port, not the Service's; they have {}",
                        if numbers.is_empty() { "none" } else { &numbers }
                    );
                    self.tell("unknown-port", Severity::Error, at, cause, remedy);
                }
            }
            IntOrString::String(_) => {}
        }
    }

    /// Whether the protocol is that of the Service ports that lead there.
    fn protocol(&mut self, server: &Server, selected: &[&Workload]) {
        let Some(protocol) = server.spec.proxy_protocol.as_deref() else { return };
        let leads = self.service_ports(server, selected);
        let Some((service, port, grpc)) = leads.first().cloned() else { return };
        let others_agree = leads.iter().all(|(_, _, other)| *other == grpc);
        let (cause, remedy) = match (protocol, grpc) {
            ("HTTP/1", true) if others_agree => (
                format!(
                    "says HTTP/1, and the port {port} of Service {service} is for gRPC: a client without a sidecar gets no answer, and GRPCRoutes do nothing"
                ),
                "write proxyProtocol: gRPC",
            ),
            ("gRPC", false) if others_agree => (
                format!(
                    "says gRPC, and by its name the port {port} of Service {service} is not for gRPC: HTTPRoutes do nothing, and what is no gRPC gets 404"
                ),
                "write proxyProtocol: HTTP/1, or name the Service's port grpc",
            ),
            _ => return,
        };
        let at = (ObjectRef::linkerd("Server", server), Field::keys(&["spec", "proxyProtocol"]));
        self.tell("protocol", Severity::Warning, at, cause, remedy);
    }

    /// The Service ports that lead to a Server's ports: the Service, its port, and whether that speaks gRPC.
    pub(super) fn service_ports(
        &self,
        server: &Server,
        selected: &[&Workload],
    ) -> Vec<(String, String, bool)> {
        let mut leads = Vec::new();
        for service in &self.objects.services {
            let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
            for port in ports {
                let name = port.name.clone().unwrap_or_else(|| port.port.to_string());
                let meant = crate::explain::Call::http(service.name(), service.namespace(), Some(&name), "/");
                let Ok(to) = crate::explain::destination(self.objects, &meant) else { continue };
                let is_here = selected.contains(&to.workload)
                    && to.workload.select(&server.spec.port).contains(&to.container_port);
                if is_here {
                    leads.push((service.name().to_owned(), name, speaks_grpc(port)));
                }
            }
        }
        leads
    }

    /// Two Servers on one port: the older one is in force.
    fn overlaps(&mut self) {
        let mut told = BTreeMap::new();
        for (workload, inbound) in &self.inbound {
            for (port, (first, others)) in &inbound.conflicts {
                for other in others {
                    let key = (workload.namespace.clone(), other.clone());
                    told.entry(key).or_insert_with(|| (first.clone(), *port, workload.name.clone()));
                }
            }
        }
        for ((namespace, name), (first, port, workload)) in told {
            let object = ObjectRef::new(crate::model::LINKERD, "Server", &namespace, &name);
            let cause = format!(
                "has no effect on port {port} of {workload}: Server {first} selects it already, and the older of both is in force, or the first by name where they are of one age"
            );
            let remedy = format!("remove one, or put both into {first}");
            let at = (object, Field::keys(&["spec", "port"]));
            self.tell("two-servers", Severity::Error, at, cause, remedy);
        }
    }
}

/// Labels as kubectl writes them.
fn text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn selector_text(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|own| {
        let values = own.values.as_ref().map_or(String::new(), |values| format!(" ({})", values.join(", ")));
        format!("{} {}{values}", own.key, own.operator)
    });
    labels.chain(expressions).collect::<Vec<_>>().join(", ")
}
