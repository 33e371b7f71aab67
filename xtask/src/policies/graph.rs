//! Who may call whom, drawn.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use policy::explain::{Outcome, explain, speaks_grpc};
use policy::model::Named as _;
use policy::sample::samples;
use serde::Serialize;

use super::World;
use super::client::{caller, names};
use crate::report::columns;

/// A call that is let in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Allowed {
    /// The client.
    pub client: String,
    /// The Service and its port.
    pub to: String,
    /// `/foo/bar`, `demo.Baz/GetInfo`, `any path`.
    pub request: String,
    /// It is only noted: no authorization lets it in.
    pub audit: bool,
}

/// Everything that any client may ask of any port which a Server guards, sorted; ports without one let in
/// everybody and are left out.
pub fn allowed(world: &World) -> Vec<Allowed> {
    let namespace = &world.plan.namespace;
    let mut all = BTreeSet::new();
    for service in &world.objects.services {
        for port in service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
            let shown = port.name.clone().unwrap_or_else(|| port.port.to_string());
            let of_port = samples(&world.objects, &world.cluster, service.name(), namespace, &shown);
            for sample in of_port.into_iter().flatten() {
                debug_assert_eq!(speaks_grpc(port), sample.call.protocol == policy::route::Protocol::Grpc);
                for client in names(&world.objects, namespace) {
                    let Ok(from) = caller(&world.objects, &client, namespace) else { continue };
                    let Ok(told) = explain(&world.objects, &world.cluster, &from, &sample.call) else {
                        continue;
                    };
                    let is_guarded =
                        told.chain.iter().any(|link| link.step == "server" && link.object.is_some());
                    if is_guarded && matches!(told.verdict, Outcome::Allow | Outcome::Audit) {
                        all.insert(Allowed {
                            client,
                            to: format!("{}:{shown}", service.name()),
                            request: sample.name.clone(),
                            audit: told.verdict == Outcome::Audit,
                        });
                    }
                }
            }
        }
    }
    all.into_iter().collect()
}

/// As lines.
pub fn text(all: &[Allowed]) -> String {
    let row = |one: &Allowed| {
        let audit = if one.audit { "(audit)" } else { "" };
        vec![format!("{} -> {}", one.client, one.to), one.request.clone(), audit.to_owned()]
    };
    columns(&all.iter().map(row).collect::<Vec<_>>())
}

/// For Graphviz.
pub fn dot(all: &[Allowed]) -> String {
    let mut text = "digraph policies {\n  rankdir=LR;\n  node [shape=box, fontname=sans];\n".to_owned();
    for Allowed { client, to, request, audit } in all {
        let style = if *audit { ", style=dashed" } else { "" };
        let _ = writeln!(text, "  {client:?} -> {to:?} [label={request:?}{style}];");
    }
    text + "}\n"
}

const ROW: usize = 36;
const LEFT: usize = 150;
const RIGHT: usize = 520;

/// As a picture: clients on the left, ports on the right, and a line for each that may call.
pub fn svg(all: &[Allowed]) -> String {
    let distinct = |of: fn(&Allowed) -> &String| {
        let set: BTreeSet<&String> = all.iter().map(of).collect();
        set.into_iter().cloned().collect::<Vec<_>>()
    };
    let (clients, ports) = (distinct(|one| &one.client), distinct(|one| &one.to));
    let height = (clients.len().max(ports.len()) + 1) * ROW;
    let y = |names: &[String], name: &str| {
        let at = names.iter().position(|own| own == name).unwrap_or_default();
        ROW + at * ROW
    };
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 680 {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<title>Who may call whom</title>\n"
    );
    let mut pairs: Vec<(&String, &String)> = all.iter().map(|one| (&one.client, &one.to)).collect();
    pairs.dedup();
    for (client, to) in pairs {
        let of_pair = all.iter().filter(|one| one.client == *client && one.to == *to);
        let requests: Vec<_> = of_pair.clone().map(|one| escaped(&one.request)).collect();
        let dash = if of_pair.clone().all(|one| one.audit) { " stroke-dasharray=\"4\"" } else { "" };
        let (from, at) = (y(&clients, client), y(&ports, to));
        let label = (3 * at + from) / 4;
        let _ = writeln!(
            text,
            "<line x1=\"{}\" y1=\"{from}\" x2=\"{}\" y2=\"{at}\" stroke=\"#888\"{dash}/>\n\
             <text x=\"{}\" y=\"{}\" fill=\"#555\" font-size=\"10\" text-anchor=\"end\">{}</text>",
            LEFT + 8,
            RIGHT - 8,
            RIGHT - 90,
            label.saturating_sub(3),
            requests.join(", ")
        );
    }
    for (names, x, anchor) in [(&clients, LEFT, "end"), (&ports, RIGHT, "start")] {
        for name in names {
            let at = y(names, name) + 4;
            let _ = writeln!(
                text,
                "<text x=\"{x}\" y=\"{at}\" text-anchor=\"{anchor}\">{}</text>",
                escaped(name)
            );
        }
    }
    text + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
