//! Checks of routes: the rules over several fields of the Gateway API's CRDs (`x-kubernetes-validations` of 1.1.1), and
//! what the webhook of Linkerd's policy controller 2.20 refuses.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use policy::model::{
    GRPCMethodMatch, GRPCRoute, GRPCRouteMatch, HTTPPathMatch, HTTPRoute, HTTPRouteMatch, LINKERD, ParentRef,
    Timeouts, ValueMatch,
};
use policy::outbound::{self, Retry, SettingsError};
use regex::Regex;

use super::policy::metadata;
use super::{Report, Spot};
use crate::workspace::names;
use crate::workspace::policies::forms::{
    gateway_duration, go_duration, is_grpc_method, is_grpc_service, is_header_name, is_header_value, is_path,
};

mod filter;

use filter::{backends, filters};

/// Which CRD a route is of: they do not have the same rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crd {
    GatewayHttp,
    LinkerdHttp,
    Grpc,
}

/// Checks an `HTTPRoute` of either group.
pub fn http_route(object: &HTTPRoute, report: &mut Report<'_>) {
    let crd = if object.group() == LINKERD { Crd::LinkerdHttp } else { Crd::GatewayHttp };
    metadata(&object.metadata, &names::SUBDOMAIN, report);
    parents(crd, &object.parents(), report);
    annotations(&object.metadata, &object.parents(), Retry::http, report);
    for (index, rule) in object.spec.rules.iter().flatten().enumerate() {
        let spot = Spot::root().keys(&["spec", "rules"]).index(index);
        for (index, own) in rule.matches.iter().flatten().enumerate() {
            http_match(crd, &spot.key("matches").index(index), own, report);
        }
        filters(crd, &spot.key("filters"), rule.filters.as_deref(), report);
        backends(crd, &spot.key("backendRefs"), rule.backend_refs.as_deref(), report);
        if crd == Crd::GatewayHttp {
            filter::of_rule(&spot, rule, report);
            session(&spot.key("sessionPersistence"), report);
        }
        if let Some(own) = &rule.timeouts {
            timeouts(crd, &spot.key("timeouts"), own, report);
        }
    }
}

/// Checks a `GRPCRoute`.
pub fn grpc_route(object: &GRPCRoute, report: &mut Report<'_>) {
    metadata(&object.metadata, &names::SUBDOMAIN, report);
    parents(Crd::Grpc, &object.parents(), report);
    annotations(&object.metadata, &object.parents(), Retry::grpc, report);
    for (index, rule) in object.spec.rules.iter().flatten().enumerate() {
        let spot = Spot::root().keys(&["spec", "rules"]).index(index);
        for (index, own) in rule.matches.iter().flatten().enumerate() {
            grpc_match(&spot.key("matches").index(index), own, report);
        }
        filters(Crd::Grpc, &spot.key("filters"), rule.filters.as_deref(), report);
        backends(Crd::Grpc, &spot.key("backendRefs"), rule.backend_refs.as_deref(), report);
        session(&spot.key("sessionPersistence"), report);
    }
}

/// A parent that is given twice must be told apart by section or port.
fn parents(crd: Crd, parents: &[ParentRef], report: &mut Report<'_>) {
    let spot = Spot::root().keys(&["spec", "parentRefs"]);
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    for (index, parent) in parents.iter().enumerate() {
        let at = spot.index(index);
        if parent.is(LINKERD, "EgressNetwork") && parent.port.is_none() {
            report.tell(&at, "an EgressNetwork as parent needs a port; add it");
        }
        if crd == Crd::LinkerdHttp {
            continue;
        }
        for other in &parents[..index] {
            let same = (&parent.group, &parent.kind, &parent.name, given(&parent.namespace))
                == (&other.group, &other.kind, &other.name, given(&other.namespace));
            let sections = (given(&parent.section_name), given(&other.section_name));
            if !same {
                continue;
            }
            if sections.0.is_some() != sections.1.is_some() || parent.port.is_some() != other.port.is_some() {
                let message = format!(
                    "{} is a parent twice, and only one says which sectionName or port; say it for both",
                    parent.name
                );
                report.tell(&at, &message);
            } else if sections.0 == sections.1 && parent.port == other.port {
                let message =
                    format!("{} is a parent twice; remove one, or give each a port of its own", parent.name);
                report.tell(&at, &message);
            }
        }
    }
}

/// How the retries of a kind of route are read from its annotations.
type ReadRetry = fn(&BTreeMap<String, String>) -> Result<Option<Retry>, SettingsError>;

/// The annotations of a route whose parent is a Service.
fn annotations(metadata: &ObjectMeta, parents: &[ParentRef], retry: ReadRetry, report: &mut Report<'_>) {
    let is_outbound = |parent: &ParentRef| parent.is("", "Service") || parent.is(LINKERD, "EgressNetwork");
    let Some(annotations) = metadata.annotations.as_ref().filter(|_| parents.iter().any(is_outbound)) else {
        return;
    };
    let wrong = [retry(annotations).err(), outbound::Timeouts::from_annotations(annotations).err()];
    for error in wrong.into_iter().flatten() {
        let spot = Spot::root().keys(&["metadata", "annotations", &error.annotation]);
        report.tell(&spot, &format!("\"{}\" is not {}", error.value, error.expected));
    }
}

fn http_match(crd: Crd, spot: &Spot, own: &HTTPRouteMatch, report: &mut Report<'_>) {
    if let Some(path) = &own.path {
        path_match(crd, &spot.key("path"), path, report);
    }
    headers(&spot.key("headers"), own.headers.as_deref(), report);
    for (index, parameter) in own.query_params.iter().flatten().enumerate() {
        if parameter.kind.as_deref() == Some("RegularExpression") {
            expression(&spot.key("queryParams").index(index).key("value"), &parameter.value, report);
        }
    }
}

fn path_match(crd: Crd, spot: &Spot, path: &HTTPPathMatch, report: &mut Report<'_>) {
    let Some(value) = path.value.as_deref() else {
        return;
    };
    let spot = spot.key("value");
    if path.kind.as_deref() == Some("RegularExpression") {
        return expression(&spot, value, report);
    }
    if !value.starts_with('/') {
        return report.tell(&spot, &format!("\"{value}\" does not begin with /; write /{value}"));
    }
    if crd == Crd::LinkerdHttp {
        return;
    }
    let bad = ["//", "/./", "/../", "%2f", "%2F", "#"].into_iter().find(|bad| value.contains(bad));
    let bad = bad.or_else(|| ["/..", "/."].into_iter().find(|bad| value.ends_with(bad)));
    if let Some(bad) = bad {
        report.tell(&spot, &format!("\"{value}\" has {bad}, and no request's path is matched with it; write it in its simplest form"));
    } else if !is_path(value) {
        report.tell(&spot, &format!("\"{value}\" is no path; write other characters as %XX, and no query"));
    }
}

fn headers(spot: &Spot, headers: Option<&[ValueMatch]>, report: &mut Report<'_>) {
    for (index, header) in headers.unwrap_or_default().iter().enumerate() {
        let at = spot.index(index);
        if !is_header_name(&header.name) {
            report.tell(&at.key("name"), &format!("\"{}\" is no header's name", header.name));
        }
        if header.kind.as_deref() == Some("RegularExpression") {
            expression(&at.key("value"), &header.value, report);
        } else if !is_header_value(&header.value) {
            report.tell(
                &at.key("value"),
                "no header's value: it has a control character, such as a line break; write one line",
            );
        }
    }
}

fn expression(spot: &Spot, text: &str, report: &mut Report<'_>) {
    if let Err(error) = Regex::new(text) {
        let error = error.to_string();
        let cause = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        report.tell(spot, &format!("\"{text}\" is no regular expression: {cause}"));
    }
}

fn grpc_match(spot: &Spot, own: &GRPCRouteMatch, report: &mut Report<'_>) {
    if let Some(method) = &own.method {
        grpc_method(&spot.key("method"), method, report);
    }
    headers(&spot.key("headers"), own.headers.as_deref(), report);
}

fn grpc_method(spot: &Spot, own: &GRPCMethodMatch, report: &mut Report<'_>) {
    if own.kind.as_deref() == Some("RegularExpression") {
        let message =
            "Linkerd takes no RegularExpression for a gRPC method; write Exact, with service, method or both";
        return report.tell(&spot.key("type"), message);
    }
    if own.service.is_none() && own.method.is_none() {
        report.tell(spot, "neither service nor method; write one or both");
    }
    if let Some(service) = own.service.as_deref().filter(|service| !is_grpc_service(service)) {
        let message = match service.rsplit_once('/') {
            Some((before, after)) if is_grpc_method(after) => {
                let before = before.trim_start_matches('/');
                format!("\"{service}\" is no gRPC service; write service: {before} and method: {after}")
            }
            _ => format!("\"{service}\" is no gRPC service; write PACKAGE.SERVICE"),
        };
        report.tell(&spot.key("service"), &message);
    }
    if let Some(method) = own.method.as_deref().filter(|method| !is_grpc_method(method)) {
        report.tell(&spot.key("method"), &format!("\"{method}\" is no gRPC method; write its name alone"));
    }
}

fn timeouts(crd: Crd, spot: &Spot, own: &Timeouts, report: &mut Report<'_>) {
    let (Some(request), Some(backend)) = (&own.request, &own.backend_request) else { return };
    let longer = if crd == Crd::LinkerdHttp {
        go_duration(backend) > go_duration(request)
    } else {
        // To the Gateway API, a timeout of zero is none.
        let all = gateway_duration(request).unwrap_or_default();
        all > 0 && gateway_duration(backend).unwrap_or_default() > all
    };
    if longer {
        let message = format!("{backend} is longer than the whole request may take ({request}); lower it");
        report.tell(&spot.key("backendRequest"), &message);
    }
}

/// The one rule on a field that Linkerd does not have.
fn session(spot: &Spot, report: &mut Report<'_>) {
    let is_permanent = report.text(&spot.keys(&["cookieConfig", "lifetimeType"])) == Some("Permanent");
    if is_permanent && report.text(&spot.key("absoluteTimeout")).is_none() {
        report.tell(spot, "a Permanent cookie needs an absoluteTimeout; add it");
    }
}

/// Whether a reference is to a Service, by its defaults.
fn is_service(group: Option<&str>, kind: Option<&str>) -> bool {
    group.unwrap_or_default().is_empty() && kind.unwrap_or("Service") == "Service"
}
