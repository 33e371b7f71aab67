//! Checks of a Service (`ValidateService` of `pkg/apis/core/validation`).

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Report, Spot};
use crate::workspace::names;

/// Checks a Service.
pub fn service(object: &Service, report: &mut Report<'_>) {
    report.named(&object.metadata, &names::SERVICE_NAME);
    let spot = Spot::root().key("spec");
    let Some(spec) = &object.spec else { return };
    let types = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
    report.one_of(&spot.key("type"), spec.type_.as_deref(), &types);
    report.one_of(&spot.key("sessionAffinity"), spec.session_affinity.as_deref(), &["None", "ClientIP"]);
    report.labels(&spot.key("selector"), spec.selector.as_ref());
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty()
        && spec.type_.as_deref() != Some("ExternalName")
        && spec.cluster_ip.as_deref() != Some("None")
    {
        report.tell(&spot.key("ports"), "a Service needs a port; add one");
    }
    let at = |index: usize, field: &str| spot.key("ports").index(index).key(field);
    for (index, port) in ports.iter().enumerate() {
        report.port(&at(index, "port"), port.port);
        report.one_of(&at(index, "protocol"), port.protocol.as_deref(), &["TCP", "UDP", "SCTP"]);
        match &port.name {
            Some(name) => report.obeys(&at(index, "name"), name, &names::LABEL),
            None if ports.len() > 1 => {
                report.tell(&spot.key("ports").index(index), "has no name, and there are several; name it");
            }
            None => {}
        }
        match &port.target_port {
            Some(IntOrString::Int(number)) => report.port(&at(index, "targetPort"), *number),
            Some(IntOrString::String(name)) => {
                report.obeys(&at(index, "targetPort"), name, &names::PORT_NAME);
            }
            None => {}
        }
    }
    let named = ports.iter().enumerate().map(|(index, port)| (at(index, "name"), port.name.as_ref()));
    report.unique("port name", named, |name| format!("\"{name}\""));
    let numbers = ports.iter().enumerate().map(|(index, port)| {
        (at(index, "port"), Some((port.port, port.protocol.as_deref().unwrap_or("TCP"))))
    });
    report.unique("port", numbers, |(number, protocol)| format!("{number}/{protocol}"));
}
