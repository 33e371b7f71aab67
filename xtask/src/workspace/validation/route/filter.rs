//! Checks of what a route does to requests: filters and backends.

use policy::model::{BackendRef, HTTPRouteMatch, HTTPRouteRule, HeaderModifier, PathModifier, RouteFilter};
use serde_json::Value;

use super::{Crd, Report, Spot, is_header_name, is_header_value, is_service};

/// A filter's fields: the name of each, the type that it belongs to, and whether it is there.
fn fields(filter: &RouteFilter) -> [(&'static str, &'static str, bool); 6] {
    [
        ("requestHeaderModifier", "RequestHeaderModifier", filter.request_header_modifier.is_some()),
        ("responseHeaderModifier", "ResponseHeaderModifier", filter.response_header_modifier.is_some()),
        ("requestMirror", "RequestMirror", filter.request_mirror.is_some()),
        ("requestRedirect", "RequestRedirect", filter.request_redirect.is_some()),
        ("urlRewrite", "URLRewrite", filter.url_rewrite.is_some()),
        ("extensionRef", "ExtensionRef", filter.extension_ref.is_some()),
    ]
}

/// Checks the filters of a rule.
pub(super) fn filters(crd: Crd, spot: &Spot, filters: Option<&[RouteFilter]>, report: &mut Report<'_>) {
    shape(crd, spot, filters, report);
    for (index, filter) in filters.unwrap_or_default().iter().enumerate() {
        let at = spot.index(index);
        if let Some(headers) = &filter.request_header_modifier {
            header_modifier(&at.key("requestHeaderModifier"), headers, report);
        }
        if let Some(headers) = &filter.response_header_modifier {
            header_modifier(&at.key("responseHeaderModifier"), headers, report);
        }
        if let Some(path) = filter.request_redirect.as_ref().and_then(|redirect| redirect.path.as_ref()) {
            absolute(&at.keys(&["requestRedirect", "path"]), path, report);
        }
    }
}

/// Checks the backends of a rule.
pub(super) fn backends(crd: Crd, spot: &Spot, backends: Option<&[BackendRef]>, report: &mut Report<'_>) {
    for (index, backend) in backends.unwrap_or_default().iter().enumerate() {
        let at = spot.index(index);
        let is_service = is_service(backend.group.as_deref(), backend.kind.as_deref());
        if crd != Crd::LinkerdHttp && is_service && backend.port.is_none() {
            report.tell(&at, &format!("the Service {} needs a port; add it", backend.name));
        }
        shape(crd, &at.key("filters"), backend.filters.as_deref(), report);
    }
}

/// The filters' types fit their fields, and none is repeated.
fn shape(crd: Crd, spot: &Spot, filters: Option<&[RouteFilter]>, report: &mut Report<'_>) {
    let filters = filters.unwrap_or_default();
    for (index, filter) in filters.iter().enumerate() {
        let at = spot.index(index);
        for (field, kind, is_there) in fields(filter) {
            if filter.kind == kind && !is_there {
                report.tell(&at, &format!("type {kind} needs the field {field}; add it"));
            } else if filter.kind != kind && is_there && crd != Crd::LinkerdHttp {
                let message = format!(
                    "not with type {}; remove it, or make a filter of its own with type {kind}",
                    filter.kind
                );
                report.tell(&at.key(field), &message);
            }
        }
        if crd == Crd::LinkerdHttp {
            continue;
        }
        let once = matches!(
            filter.kind.as_str(),
            "RequestHeaderModifier" | "ResponseHeaderModifier" | "RequestRedirect" | "URLRewrite"
        );
        let before = &filters[..index];
        if once && before.iter().any(|other| other.kind == filter.kind) {
            report.tell(&at, &format!("a second {}; put both into one filter", filter.kind));
        }
        let excludes =
            |kind: &str, other: &str| filter.kind == kind && before.iter().any(|before| before.kind == other);
        if excludes("RequestRedirect", "URLRewrite") || excludes("URLRewrite", "RequestRedirect") {
            report.tell(&at, "RequestRedirect and URLRewrite exclude each other; remove one");
        }
        if let Some(path) = filter.request_redirect.as_ref().and_then(|redirect| redirect.path.as_ref()) {
            new_path(&at.keys(&["requestRedirect", "path"]), path, report);
        }
        if let Some(path) = filter.url_rewrite.as_ref().and_then(|rewrite| rewrite.get("path")) {
            let path: PathModifier = serde_json::from_value(path.clone()).unwrap_or_default();
            new_path(&at.keys(&["urlRewrite", "path"]), &path, report);
        }
        if let Some(backend) = filter.request_mirror.as_ref().and_then(|mirror| mirror.get("backendRef")) {
            let text = |field: &str| backend.get(field).and_then(Value::as_str);
            if is_service(text("group"), text("kind")) && backend.get("port").is_none() {
                let at = at.keys(&["requestMirror", "backendRef"]);
                report.tell(&at, "a Service needs a port; add it");
            }
        }
    }
}

fn header_modifier(spot: &Spot, headers: &HeaderModifier, report: &mut Report<'_>) {
    for (field, changes) in [("set", &headers.set), ("add", &headers.add)] {
        for (index, change) in changes.iter().flatten().enumerate() {
            let at = spot.key(field).index(index);
            if !is_header_name(&change.name) {
                report.tell(&at.key("name"), &format!("\"{}\" is no header's name", change.name));
            }
            if !is_header_value(&change.value) {
                let message =
                    "no header's value: it has a control character, such as a line break; write one line";
                report.tell(&at.key("value"), message);
            }
        }
    }
    for (index, name) in headers.remove.iter().flatten().enumerate() {
        if !is_header_name(name) {
            report.tell(&spot.key("remove").index(index), &format!("\"{name}\" is no header's name"));
        }
    }
}

/// The type of a path fits its fields.
fn new_path(spot: &Spot, path: &PathModifier, report: &mut Report<'_>) {
    for (field, kind, is_there) in [
        ("replaceFullPath", "ReplaceFullPath", path.replace_full_path.is_some()),
        ("replacePrefixMatch", "ReplacePrefixMatch", path.replace_prefix_match.is_some()),
    ] {
        if (path.kind == kind) != is_there {
            let message = if is_there {
                format!("not with type {}; write type: {kind}, or remove it", path.kind)
            } else {
                format!("type {kind} needs the field {field}; add it")
            };
            report.tell(&if is_there { spot.key(field) } else { spot.clone() }, &message);
        }
    }
}

/// A redirect's path begins with `/`.
fn absolute(spot: &Spot, path: &PathModifier, report: &mut Report<'_>) {
    let (field, value) = match (&path.replace_full_path, &path.replace_prefix_match) {
        (Some(full), _) => ("replaceFullPath", full),
        (None, Some(prefix)) => ("replacePrefixMatch", prefix),
        (None, None) => {
            return report.tell(spot, "replaces nothing; add replaceFullPath or replacePrefixMatch");
        }
    };
    if !value.starts_with('/') {
        report.tell(&spot.key(field), &format!("\"{value}\" does not begin with /; write /{value}"));
    }
}

/// The Gateway API's rules between the filters, the backends and the matches of an HTTP rule.
pub(super) fn of_rule(spot: &Spot, rule: &HTTPRouteRule, report: &mut Report<'_>) {
    let filters = rule.filters.as_deref().unwrap_or_default();
    let backends = rule.backend_refs.as_deref().unwrap_or_default();
    if !backends.is_empty()
        && let Some(index) = filters.iter().position(|filter| filter.request_redirect.is_some())
    {
        let message = "a redirect goes to no backend; remove it, or the backendRefs";
        report.tell(&spot.key("filters").index(index), message);
    }
    if is_one_prefix(rule.matches.as_deref()) {
        return;
    }
    for (replaces, what) in
        [(redirects_prefix as fn(&RouteFilter) -> bool, "RequestRedirect"), (rewrites_prefix, "URLRewrite")]
    {
        let message = format!(
            "{what} with replacePrefixMatch takes exactly one match, of type PathPrefix; write one, or use replaceFullPath"
        );
        let one = |filters: &[RouteFilter]| filters.iter().filter(|filter| replaces(filter)).count() == 1;
        if one(filters) {
            report.tell(&spot.key("filters"), &message);
        }
        let own: Vec<_> =
            backends.iter().filter(|backend| one(backend.filters.as_deref().unwrap_or_default())).collect();
        if own.len() == 1 {
            report.tell(&spot.key("backendRefs"), &message);
        }
    }
}

/// Whether a rule has one match, by a prefix: also what the CRD puts where nothing is written.
fn is_one_prefix(matches: Option<&[HTTPRouteMatch]>) -> bool {
    match matches {
        None => true,
        Some([only]) => {
            only.path.as_ref().is_none_or(|path| path.kind.as_deref().unwrap_or("PathPrefix") == "PathPrefix")
        }
        Some(_) => false,
    }
}

fn redirects_prefix(filter: &RouteFilter) -> bool {
    let path = filter.request_redirect.as_ref().and_then(|redirect| redirect.path.as_ref());
    path.is_some_and(|path| path.kind == "ReplacePrefixMatch" && path.replace_prefix_match.is_some())
}

fn rewrites_prefix(filter: &RouteFilter) -> bool {
    let path = filter.url_rewrite.as_ref().and_then(|rewrite| rewrite.get("path"));
    path.is_some_and(|path| {
        path.get("type").and_then(Value::as_str) == Some("ReplacePrefixMatch")
            && path.get("replacePrefixMatch").is_some()
    })
}
