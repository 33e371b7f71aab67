//! Checks of an Ingress (`pkg/apis/networking/validation`).

use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};

use super::{Report, Spot};
use crate::workspace::names;

/// Checks an Ingress.
pub fn ingress(object: &Ingress, report: &mut Report<'_>) {
    report.named(&object.metadata, &names::SUBDOMAIN);
    let spot = Spot::root().key("spec");
    let Some(spec) = &object.spec else { return };
    if let Some(default) = &spec.default_backend {
        backend(&spot.key("defaultBackend"), default, report);
    } else if spec.rules.as_ref().is_none_or(Vec::is_empty) {
        report.tell(&spot, "routes nothing; add rules or defaultBackend");
    }
    for (index, rule) in spec.rules.iter().flatten().enumerate() {
        let at = spot.key("rules").index(index);
        if let Some(host) = rule.host.as_deref().filter(|host| !host.is_empty()) {
            self::host(&at.key("host"), host, report);
        }
        let Some(http) = &rule.http else { continue };
        if http.paths.is_empty() {
            report.tell(&at.keys(&["http", "paths"]), "empty; add a path");
        }
        for (index, path) in http.paths.iter().enumerate() {
            let at = at.keys(&["http", "paths"]).index(index);
            self::path(&at, path, report);
            backend(&at.key("backend"), &path.backend, report);
        }
    }
}

fn host(spot: &Spot, host: &str, report: &mut Report<'_>) {
    if host.parse::<IpAddr>().is_ok() {
        report.tell(spot, &format!("\"{host}\" is an address; write a DNS name"));
    } else {
        report.obeys(spot, host.strip_prefix("*.").unwrap_or(host), &names::SUBDOMAIN);
    }
}

fn path(spot: &Spot, path: &HTTPIngressPath, report: &mut Report<'_>) {
    let kinds = ["Exact", "Prefix", "ImplementationSpecific"];
    report.one_of(&spot.key("pathType"), Some(&path.path_type), &kinds);
    if path.path_type == "ImplementationSpecific" {
        return;
    }
    let given = path.path.as_deref().unwrap_or_default();
    if !given.starts_with('/') {
        report.tell(&spot.key("path"), &format!("\"{given}\" does not begin with /; write /{given}"));
    } else if ["//", "/./", "/../", "%2f", "%2F"].iter().any(|bad| given.contains(bad))
        || given.ends_with("/.")
        || given.ends_with("/..")
    {
        report.tell(&spot.key("path"), &format!("\"{given}\" is not in its simplest form; simplify it"));
    }
}

fn backend(spot: &Spot, backend: &IngressBackend, report: &mut Report<'_>) {
    let Some(service) = &backend.service else {
        report.tell(spot, "has no service; add it");
        return;
    };
    let at = spot.key("service");
    report.obeys(&at.key("name"), &service.name, &names::SERVICE_NAME);
    match service.port.as_ref().map(|port| (port.number, &port.name)) {
        Some((Some(number), None)) => report.port(&at.keys(&["port", "number"]), number),
        Some((None, Some(name))) => report.obeys(&at.keys(&["port", "name"]), name, &names::PORT_NAME),
        Some((Some(_), Some(_))) => report.tell(&at.key("port"), "has both name and number; keep one"),
        Some((None, None)) | None => report.tell(&at, "has no port; add port.name or port.number"),
    }
}
