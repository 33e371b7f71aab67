//! Checks of a pod template (`pkg/apis/core/validation`).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, Probe, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Report, Spot};
use crate::workspace::names;
use crate::workspace::problem::suggest;

/// Checks a pod's spec at `spot`.
pub fn pod(spot: &Spot, pod: &PodSpec, report: &mut Report<'_>) {
    if pod.containers.is_empty() {
        report.tell(&spot.key("containers"), "empty; add a container");
    }
    // A Deployment's pods are always restarted.
    report.one_of(&spot.key("restartPolicy"), pod.restart_policy.as_deref(), &["Always"]);
    report.one_of(
        &spot.key("dnsPolicy"),
        pod.dns_policy.as_deref(),
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
    );
    let grace = pod.termination_grace_period_seconds;
    report.within(&spot.key("terminationGracePeriodSeconds"), grace, 0..=i64::MAX);
    let groups =
        [("initContainers", pod.init_containers.as_deref()), ("containers", Some(&pod.containers[..]))];
    let containers = groups.iter().flat_map(|(field, containers)| {
        let at = spot.key(field);
        containers.unwrap_or_default().iter().enumerate().map(move |(index, c)| (at.index(index), c))
    });
    let containers: Vec<_> = containers.collect();
    report.unique("container name", containers.iter().map(|(at, c)| (at.key("name"), Some(&c.name))), quoted);
    let volumes = pod.volumes.as_deref().unwrap_or_default();
    let named = volumes
        .iter()
        .enumerate()
        .map(|(index, volume)| (spot.key("volumes").index(index).key("name"), Some(&volume.name)));
    report.unique("volume name", named, quoted);
    for (at, container) in containers {
        self::container(&at, container, report);
        for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
            if !volumes.iter().any(|volume| volume.name == mount.name) {
                let remedy = suggest(&mount.name, volumes.iter().map(|volume| volume.name.as_str()));
                let at = at.key("volumeMounts").index(index).key("name");
                report.tell(&at, &format!("unknown volume \"{}\"{remedy}", mount.name));
            }
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "`unique` shows references to its items")]
fn quoted(text: &&String) -> String {
    format!("\"{text}\"")
}

fn container(spot: &Spot, container: &Container, report: &mut Report<'_>) {
    report.obeys(&spot.key("name"), &container.name, &names::LABEL);
    if container.image.as_deref() == Some("") {
        report.tell(&spot.key("image"), "empty; write the image's name");
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    report.one_of(&spot.key("imagePullPolicy"), container.image_pull_policy.as_deref(), &policies);
    ports(spot, container, report);
    for (index, variable) in container.env.iter().flatten().enumerate() {
        env(&spot.key("env").index(index), variable, report);
    }
    let variables = container
        .env
        .iter()
        .flatten()
        .enumerate()
        .map(|(index, variable)| (spot.key("env").index(index).key("name"), Some(&variable.name)));
    report.unique("environment variable", variables, quoted);
    if let Some(given) = &container.resources {
        resources(&spot.key("resources"), given, report);
    }
    for (name, probe, successes) in [
        ("startupProbe", &container.startup_probe, 1..=1),
        ("livenessProbe", &container.liveness_probe, 1..=1),
        ("readinessProbe", &container.readiness_probe, 1..=i64::MAX),
    ] {
        if let Some(probe) = probe {
            let at = spot.key(name);
            report.within(&at.key("successThreshold"), probe.success_threshold.map(Into::into), successes);
            self::probe(&at, probe, container, report);
        }
    }
}

fn ports(spot: &Spot, container: &Container, report: &mut Report<'_>) {
    let ports = container.ports.as_deref().unwrap_or_default();
    let at = |index: usize, field: &str| spot.key("ports").index(index).key(field);
    for (index, port) in ports.iter().enumerate() {
        report.port(&at(index, "containerPort"), port.container_port);
        if let Some(name) = &port.name {
            report.obeys(&at(index, "name"), name, &names::PORT_NAME);
        }
        report.one_of(&at(index, "protocol"), port.protocol.as_deref(), &["TCP", "UDP", "SCTP"]);
    }
    let names = ports.iter().enumerate().map(|(index, port)| (at(index, "name"), port.name.as_ref()));
    report.unique("port name", names, quoted);
    let numbers = ports.iter().enumerate().map(|(index, port)| {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        (at(index, "containerPort"), Some((port.container_port, protocol)))
    });
    report.unique("port", numbers, |(number, protocol)| format!("{number}/{protocol}"));
}

fn env(spot: &Spot, variable: &EnvVar, report: &mut Report<'_>) {
    report.obeys(&spot.key("name"), &variable.name, &names::ENV_NAME);
    let Some(from) = &variable.value_from else { return };
    if variable.value.as_deref().is_some_and(|value| !value.is_empty()) {
        report.tell(spot, "has both value and valueFrom; remove one");
    }
    let sources = [
        from.config_map_key_ref.is_some(),
        from.field_ref.is_some(),
        from.file_key_ref.is_some(),
        from.resource_field_ref.is_some(),
        from.secret_key_ref.is_some(),
    ];
    if sources.into_iter().filter(|&given| given).count() != 1 {
        report.tell(&spot.key("valueFrom"), "must have exactly one source, such as fieldRef");
    }
}

fn resources(spot: &Spot, resources: &ResourceRequirements, report: &mut Report<'_>) {
    let limits = resources.limits.iter().flatten();
    let requests = resources.requests.iter().flatten();
    for (field, (name, quantity)) in
        limits.map(|pair| ("limits", pair)).chain(requests.map(|pair| ("requests", pair)))
    {
        let at = spot.key(field).key(name);
        let known = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if !known && !name.starts_with("hugepages-") && !name.contains('/') {
            let remedy = suggest(name, ["cpu", "memory", "ephemeral-storage"]);
            report.tell(&at, &format!("unknown resource \"{name}\"{remedy}"));
        }
        let Some(amount) = names::quantity(&quantity.0) else {
            report.tell(&at, &format!("\"{}\" is not a quantity; write such as 500m or 64Mi", quantity.0));
            continue;
        };
        if amount < 0.0 {
            report.tell(&at, &format!("\"{}\" is negative; write 0 or more", quantity.0));
        }
        let limit = resources.limits.as_ref().and_then(|limits| limits.get(name));
        if let Some((limit, most)) = limit.and_then(|limit| Some((limit, names::quantity(&limit.0)?)))
            && field == "requests"
            && amount > most
        {
            report.tell(
                &at,
                &format!(
                    "\"{}\" is more than its limit {}; lower it, or raise the limit",
                    quantity.0, limit.0
                ),
            );
        }
    }
}

fn probe(spot: &Spot, probe: &Probe, container: &Container, report: &mut Report<'_>) {
    for (field, number, least) in [
        ("initialDelaySeconds", probe.initial_delay_seconds, 0),
        ("timeoutSeconds", probe.timeout_seconds, 1),
        ("periodSeconds", probe.period_seconds, 1),
        ("failureThreshold", probe.failure_threshold, 1),
    ] {
        report.within(&spot.key(field), number.map(Into::into), least..=i64::MAX);
    }
    let mut handlers = BTreeSet::new();
    if let Some(action) = &probe.http_get {
        handlers.insert("httpGet");
        let at = spot.key("httpGet");
        report.one_of(&at.key("scheme"), action.scheme.as_deref(), &["HTTP", "HTTPS"]);
        probe_port(&at.key("port"), &action.port, container, report);
    }
    if let Some(action) = &probe.tcp_socket {
        handlers.insert("tcpSocket");
        probe_port(&spot.keys(&["tcpSocket", "port"]), &action.port, container, report);
    }
    if let Some(action) = &probe.grpc {
        handlers.insert("grpc");
        report.port(&spot.keys(&["grpc", "port"]), action.port);
    }
    if let Some(action) = &probe.exec {
        handlers.insert("exec");
        if action.command.as_ref().is_none_or(Vec::is_empty) {
            report.tell(&spot.key("exec"), "has no command; add it");
        }
    }
    match handlers.len() {
        0 => report.tell(spot, "probes nothing; add one of httpGet, grpc, tcpSocket, exec"),
        1 => {}
        _ => {
            let given = handlers.into_iter().collect::<Vec<_>>().join(", ");
            report.tell(spot, &format!("has more than one of {given}; keep one"));
        }
    }
}

fn probe_port(spot: &Spot, port: &IntOrString, container: &Container, report: &mut Report<'_>) {
    match port {
        IntOrString::Int(number) => report.port(spot, *number),
        IntOrString::String(name) => {
            let names = container.ports.iter().flatten().filter_map(|port| port.name.as_deref());
            if !names.clone().any(|known| known == name) {
                let remedy = suggest(name, names);
                report.tell(spot, &format!("the container has no port \"{name}\"{remedy}"));
            }
        }
    }
}
