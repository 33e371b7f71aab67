//! What the local runtime models of a manifest, as one table; the rest is refused by name, not ignored.

use serde::Serialize;
use serde_json::Value;

use crate::plan::lookup::name;
use crate::plan::{Plan, Sourced};
use crate::workspace::manifests::Source;

/// What is done with a field and all below it.
#[derive(Clone, Copy)]
enum Rule {
    /// It behaves as on a cluster.
    Modelled,
    /// It has no effect here, and none that could be missed: why.
    NoEffect(#[allow(dead_code, reason = "for who reads the table")] &'static str),
}
use Rule::{Modelled, NoEffect};

/// Of every object.
const METADATA: &[(&str, Rule)] = &[
    ("apiVersion", Modelled),
    ("kind", Modelled),
    ("metadata.name", Modelled),
    ("metadata.namespace", Modelled),
    ("metadata.labels", Modelled),
    ("metadata.annotations", Modelled),
];

const DEPLOYMENT: &[(&str, Rule)] = &[
    ("spec.replicas", Modelled),
    ("spec.selector", Modelled),
    ("spec.strategy", Modelled),
    ("spec.minReadySeconds", Modelled),
    ("spec.progressDeadlineSeconds", Modelled),
    ("spec.revisionHistoryLimit", NoEffect("there is no rollback to older revisions")),
    ("spec.template.metadata.labels", Modelled),
    ("spec.template.metadata.annotations", Modelled),
    ("spec.template.spec.serviceAccountName", Modelled),
    ("spec.template.spec.terminationGracePeriodSeconds", Modelled),
    ("spec.template.spec.restartPolicy", NoEffect("a Deployment's is Always")),
    (
        "spec.template.spec.automountServiceAccountToken",
        NoEffect("there is no API server to use a token with"),
    ),
    ("spec.template.spec.enableServiceLinks", NoEffect("none are made")),
    ("spec.template.spec.securityContext", NoEffect("processes run as the user who typed `up`")),
    ("spec.template.spec.affinity", NoEffect("there is one node")),
    ("spec.template.spec.tolerations", NoEffect("there is one node")),
    ("spec.template.spec.nodeSelector", NoEffect("there is one node")),
    ("spec.template.spec.topologySpreadConstraints", NoEffect("there is one node")),
    ("spec.template.spec.priorityClassName", NoEffect("nothing is evicted")),
    ("spec.template.spec.containers.name", Modelled),
    ("spec.template.spec.containers.image", Modelled),
    ("spec.template.spec.containers.imagePullPolicy", NoEffect("images are built here, not pulled")),
    ("spec.template.spec.containers.command", Modelled),
    ("spec.template.spec.containers.args", Modelled),
    ("spec.template.spec.containers.env.name", Modelled),
    ("spec.template.spec.containers.env.value", Modelled),
    ("spec.template.spec.containers.env.valueFrom.fieldRef", Modelled),
    ("spec.template.spec.containers.ports.name", Modelled),
    ("spec.template.spec.containers.ports.containerPort", Modelled),
    ("spec.template.spec.containers.ports.protocol", Modelled),
    ("spec.template.spec.containers.resources", NoEffect("processes share the machine")),
    ("spec.template.spec.containers.securityContext", NoEffect("processes run as the user who typed `up`")),
    ("spec.template.spec.containers.terminationMessagePath", NoEffect("log lines say why it ended")),
    ("spec.template.spec.containers.terminationMessagePolicy", NoEffect("log lines say why it ended")),
    (
        "spec.template.spec.containers.lifecycle.preStop.sleep",
        NoEffect("a pod is out of its Services before it is told to stop"),
    ),
];

/// Of each of the three probes.
const PROBE: &[(&str, Rule)] = &[
    ("httpGet.path", Modelled),
    ("httpGet.port", Modelled),
    ("httpGet.httpHeaders", Modelled),
    ("tcpSocket.port", Modelled),
    ("grpc", Modelled),
    ("initialDelaySeconds", Modelled),
    ("periodSeconds", Modelled),
    ("timeoutSeconds", Modelled),
    ("successThreshold", Modelled),
    ("failureThreshold", Modelled),
    ("terminationGracePeriodSeconds", Modelled),
];

const SERVICE: &[(&str, Rule)] = &[
    ("spec.selector", Modelled),
    ("spec.ports.name", Modelled),
    ("spec.ports.port", Modelled),
    ("spec.ports.targetPort", Modelled),
    ("spec.ports.appProtocol", Modelled),
    ("spec.ports.protocol", Modelled),
    ("spec.internalTrafficPolicy", NoEffect("there is one node")),
    ("spec.ipFamilies", NoEffect("addresses are IPv4 loopback ones")),
    ("spec.ipFamilyPolicy", NoEffect("addresses are IPv4 loopback ones")),
];

/// Values that are what the runtime does anyway.
const VALUES: &[(&str, &str)] = &[
    ("spec.type", "ClusterIP"),
    ("spec.sessionAffinity", "None"),
    ("spec.template.spec.dnsPolicy", "ClusterFirst"),
    ("spec.template.spec.schedulerName", "default-scheduler"),
    ("httpGet.scheme", "HTTP"),
];

/// Every field of the plan's objects that this runtime does not model.
pub fn check(plan: &Plan) -> Vec<String> {
    let mut problems = Vec::new();
    for deployment in &plan.deployments {
        let probes = ["startupProbe", "readinessProbe", "livenessProbe"];
        let mut known: Vec<String> = DEPLOYMENT.iter().map(|(path, _)| (*path).to_owned()).collect();
        for probe in probes {
            let field = |(path, _): &(&str, Rule)| format!("spec.template.spec.containers.{probe}.{path}");
            known.extend(PROBE.iter().map(field));
        }
        one("Deployment", name(&deployment.object), deployment, &known, &mut problems);
    }
    for service in &plan.services {
        let known: Vec<String> = SERVICE.iter().map(|(path, _)| (*path).to_owned()).collect();
        one("Service", name(&service.object), service, &known, &mut problems);
    }
    problems
}

fn one<T: Serialize>(
    kind: &str,
    name: &str,
    Sourced { object, source }: &Sourced<T>,
    known: &[String],
    problems: &mut Vec<String>,
) {
    let Ok(value) = serde_json::to_value(object) else { return };
    let known: Vec<&str> =
        METADATA.iter().map(|(path, _)| *path).chain(known.iter().map(String::as_str)).collect();
    let mut found = Vec::new();
    unknown(&value, String::new(), &known, &mut found);
    found.sort();
    found.dedup();
    let Source { file, line } = source;
    for field in found {
        problems.push(format!(
            "{}:{line}: {kind} {name}: {field} is not modelled by the local runtime; leave it out",
            file.display()
        ));
    }
}

/// The outermost fields that lead to nothing in the table.
fn unknown(value: &Value, path: String, known: &[&str], found: &mut Vec<String>) {
    let within = |field: &&str| field.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('.'));
    let leads_on = path.is_empty() || known.iter().any(within);
    match value {
        Value::Null => {}
        _ if known.contains(&path.as_str()) => {}
        Value::String(text) if VALUES.iter().any(|(end, ok)| path.ends_with(end) && text == ok) => {}
        Value::Object(fields) if leads_on => {
            for (key, value) in fields {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                unknown(value, below, known, found);
            }
        }
        Value::Array(items) if leads_on => {
            for item in items {
                unknown(item, path.clone(), known, found);
            }
        }
        Value::Array(items) => found.push(named(&path, items)),
        _ => found.push(path),
    }
}

/// A list that is not modelled, with the names in it: `spec.template.spec.volumes ("cache")`.
fn named(path: &str, items: &[Value]) -> String {
    let names: Vec<String> =
        items.iter().filter_map(|item| item["name"].as_str()).map(|name| format!("\"{name}\"")).collect();
    if names.is_empty() { path.to_owned() } else { format!("{path} ({})", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(value: &Value, known: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        unknown(value, String::new(), known, &mut found);
        found
    }

    #[test]
    fn what_is_not_in_the_table_is_named_at_its_outermost_field() {
        let value = serde_json::json!({
            "spec": {
                "containers": [{ "name": "baz", "probe": { "path": "/", "exec": { "command": ["x"] } } }],
                "volumes": [{ "name": "cache", "emptyDir": {} }],
                "hostNetwork": true,
                "type": "ClusterIP",
            }
        });
        let known = ["spec.containers.name", "spec.containers.probe.path"];
        let mut found = found(&value, &known);
        found.sort();
        assert_eq!(found, ["spec.containers.probe.exec", "spec.hostNetwork", "spec.volumes (\"cache\")"]);
    }

    #[test]
    fn a_value_that_is_the_only_one_here_is_accepted_and_another_is_not() {
        let known = ["spec.selector"];
        assert!(found(&serde_json::json!({ "spec": { "type": "ClusterIP" } }), &known).is_empty());
        assert_eq!(found(&serde_json::json!({ "spec": { "type": "LoadBalancer" } }), &known), ["spec.type"]);
    }
}
