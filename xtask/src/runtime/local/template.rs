//! Pure: a Deployment as this runtime runs it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStrategy};
use k8s_openapi::api::core::v1::{self, Container};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::address::{fnv1a, random};
use super::probe::{Check, Probe, Probes};
use super::rollout::{Desired, Strategy};
use crate::runtime::Images;

/// Opaque by default in Linkerd (`config.linkerd.io/opaque-ports`).
const OPAQUE_PORTS: [u16; 8] = [25, 587, 3306, 4444, 5432, 6379, 9300, 11211];

/// The label that tells revisions apart.
const HASH: &str = "pod-template-hash";

/// Kubernetes' characters for generated names: no vowels, so no words.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// What every pod of one revision of a Deployment is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTemplate {
    /// The Deployment's name.
    pub deployment: String,
    /// Its namespace.
    pub namespace: String,
    /// Names this content, the image's included: the label `pod-template-hash`.
    pub hash: String,
    /// The pods' labels.
    pub labels: BTreeMap<String, String>,
    /// The pods' annotations.
    pub annotations: BTreeMap<String, String>,
    /// The `ServiceAccount`; `default` when none is said.
    pub service_account: String,
    /// The program.
    pub binary: PathBuf,
    /// The image's id.
    pub image_id: String,
    /// Its arguments, `$(NAME)` not yet replaced.
    pub args: Vec<String>,
    /// Its variables in order, `$(NAME)` not yet replaced.
    pub env: Vec<(String, EnvValue)>,
    /// The container ports.
    pub ports: Vec<Port>,
    /// The probes, named ports resolved.
    pub probes: Probes,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// With a sidecar (`linkerd.io/inject: enabled`).
    pub meshed: bool,
    /// Ports whose bytes the sidecar does not look at.
    pub opaque_ports: Vec<u16>,
}

/// A container port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: Option<String>,
}

/// The value of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// As written.
    Text(String),
    /// A field of the pod.
    Field(Field),
}

/// A field of a pod that a variable can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `metadata.name`
    Name,
    /// `metadata.namespace`
    Namespace,
    /// `status.podIP`
    PodIp,
    /// `spec.serviceAccountName`
    ServiceAccount,
    /// `metadata.labels['KEY']`
    Label(String),
    /// `metadata.annotations['KEY']`
    Annotation(String),
}

/// What is wanted of a Deployment beside its template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How many pods, and how they are replaced.
    pub desired: Desired,
    /// How long a pod must have been ready to count as available.
    pub min_ready: Duration,
    /// Without any progress for this long the rollout has failed.
    pub progress_deadline: Duration,
}

impl PodTemplate {
    /// Reads a Deployment. Errors are reasons to show, as many as there are.
    pub fn of(
        deployment: &Deployment,
        namespace: &str,
        images: &Images,
    ) -> Result<(Self, Rules), Vec<String>> {
        let mut wrong = Vec::new();
        let name = deployment.metadata.name.clone().unwrap_or_default();
        let spec = deployment.spec.clone().unwrap_or_default();
        let rules = rules(&spec).unwrap_or_else(|why| {
            wrong.push(why);
            Rules {
                desired: Desired { replicas: 0, strategy: Strategy::Recreate },
                min_ready: Duration::ZERO,
                progress_deadline: Duration::ZERO,
            }
        });
        let metadata = spec.template.metadata.unwrap_or_default();
        let pod = spec.template.spec.unwrap_or_default();
        let [container] = pod.containers.as_slice() else {
            let names: Vec<_> = pod.containers.iter().map(|c| format!("{:?}", c.name)).collect();
            let which = if names.is_empty() { "none".into() } else { names.join(", ") };
            wrong.push(format!("a pod has one container in the local runtime, this has: {which}"));
            return Err(wrong);
        };
        let namespace = deployment.metadata.namespace.clone().unwrap_or_else(|| namespace.to_owned());
        let annotations = metadata.annotations.unwrap_or_default();
        let image = image_name(container.image.as_deref().unwrap_or_default());
        let found = images.get(image);
        if found.is_none() {
            wrong.push(format!("image {image:?} is not built by this workspace"));
        }
        let args = args(container, image, &mut wrong);
        let ports = ports(container, &mut wrong);
        let probes = Probes {
            startup: probe("startupProbe", container.startup_probe.as_ref(), &ports, &mut wrong),
            readiness: probe("readinessProbe", container.readiness_probe.as_ref(), &ports, &mut wrong),
            liveness: probe("livenessProbe", container.liveness_probe.as_ref(), &ports, &mut wrong),
        };
        let opaque_ports = opaque_ports(&annotations, &mut wrong);
        let mut template = Self {
            deployment: name,
            namespace,
            hash: String::new(),
            labels: metadata.labels.unwrap_or_default(),
            service_account: pod.service_account_name.unwrap_or_else(|| "default".into()),
            binary: found.map(|image| image.binary.clone()).unwrap_or_default(),
            image_id: found.map(|image| image.id.clone()).unwrap_or_default(),
            args,
            env: env(container, &mut wrong),
            ports,
            probes,
            grace: seconds(pod.termination_grace_period_seconds.unwrap_or(30)),
            meshed: annotations.get("linkerd.io/inject").is_some_and(|value| value == "enabled"),
            opaque_ports,
            annotations,
        };
        template.name_content();
        if wrong.is_empty() { Ok((template, rules)) } else { Err(wrong) }
    }

    /// The same, made anew at this time, so that it is another revision: what `kubectl rollout restart` changes.
    #[must_use]
    pub fn restarted(&self, at: &str) -> Self {
        let mut template = self.clone();
        template.annotations.insert("kubectl.kubernetes.io/restartedAt".into(), at.to_owned());
        template.hash.clear();
        template.labels.remove(HASH);
        template.name_content();
        template
    }

    fn name_content(&mut self) {
        self.hash = hash(self);
        self.labels.insert(HASH.into(), self.hash.clone());
    }

    /// The pods of this template, as policies see them.
    pub fn workload(&self) -> policy::model::Workload {
        let port = |port: &Port| policy::model::Port { number: port.number, name: port.name.clone() };
        policy::model::Workload {
            name: self.deployment.clone(),
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            service_account: self.service_account.clone(),
            ports: self.ports.iter().map(port).collect(),
            ..policy::model::Workload::default()
        }
    }

    /// A new pod's name: `DEPLOYMENT-HASH-xxxxx`, as Kubernetes makes it.
    pub fn pod_name(&self) -> String {
        format!("{}-{}-{}", self.deployment, self.hash, safe(random(), 5))
    }

    /// The variables of one pod: fields filled in and `$(NAME)` replaced.
    pub fn env_of(&self, pod: &str, ip: &str) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = Vec::new();
        for (name, value) in &self.env {
            let value = match value {
                EnvValue::Text(text) => expand(text, &env),
                EnvValue::Field(Field::Name) => pod.to_owned(),
                EnvValue::Field(Field::Namespace) => self.namespace.clone(),
                EnvValue::Field(Field::PodIp) => ip.to_owned(),
                EnvValue::Field(Field::ServiceAccount) => self.service_account.clone(),
                EnvValue::Field(Field::Label(key)) => self.labels.get(key).cloned().unwrap_or_default(),
                EnvValue::Field(Field::Annotation(key)) => {
                    self.annotations.get(key).cloned().unwrap_or_default()
                }
            };
            env.push((name.clone(), value));
        }
        env
    }
}

/// The image's name in [`Images`]: without registry, tag and digest.
pub fn image_name(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default()
}

/// Replaces `$(NAME)` by variables defined before; `$$` is one `$`; what is unknown stays, as in Kubernetes
/// (`third_party/forked/golang/expansion`).
pub fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("$(").and_then(|inner| inner.split_once(')')) {
            match env.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => out.push_str(value),
                None => out.push_str(&rest[..name.len() + 3]),
            }
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out + rest
}

fn hash(template: &PodTemplate) -> String {
    // The debug form has every field; only its being the same for the same content matters.
    safe(fnv1a(format!("{template:?}").as_bytes()), 10)
}

fn safe(mut number: u64, length: usize) -> String {
    let base = SAFE.len() as u64;
    let mut next = || {
        let digit = usize::try_from(number % base).unwrap_or(0);
        number /= base;
        char::from(SAFE[digit])
    };
    (0..length).map(|_| next()).collect()
}

/// Kubernetes' own validation refuses negative times; here they are zero.
fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// An image of this workspace is its program, so a command can only name that.
fn args(container: &Container, image: &str, wrong: &mut Vec<String>) -> Vec<String> {
    let mut command = container.command.iter().flatten();
    if let Some(program) = command.next()
        && program.rsplit('/').next() != Some(image)
    {
        wrong.push(format!("command {program:?} is not in image {image:?}, whose only program is {image}"));
    }
    command.chain(container.args.iter().flatten()).cloned().collect()
}

fn ports(container: &Container, wrong: &mut Vec<String>) -> Vec<Port> {
    let mut ports = Vec::new();
    for port in container.ports.iter().flatten() {
        match u16::try_from(port.container_port) {
            Ok(number) if number >= 1024 => ports.push(Port { number, name: port.name.clone() }),
            Ok(number) if number > 0 => wrong.push(format!(
                "containerPort {number}: a port below 1024 is not for ordinary users to listen on; use one above"
            )),
            _ => wrong.push(format!("containerPort {} is not a port", port.container_port)),
        }
    }
    ports
}

fn env(container: &Container, wrong: &mut Vec<String>) -> Vec<(String, EnvValue)> {
    let mut env = Vec::new();
    for variable in container.env.iter().flatten() {
        let source = variable.value_from.as_ref().and_then(|source| source.field_ref.as_ref());
        let field = source.map(|source| field_of(&source.field_path).ok_or(&source.field_path));
        let value = match field {
            None => EnvValue::Text(variable.value.clone().unwrap_or_default()),
            Some(Ok(field)) => EnvValue::Field(field),
            Some(Err(path)) => {
                let name = &variable.name;
                wrong.push(format!("env {name}: field {path:?} is not modelled by the local runtime"));
                continue;
            }
        };
        env.push((variable.name.clone(), value));
    }
    env
}

fn field_of(path: &str) -> Option<Field> {
    let key = |prefix: &str| Some(path.strip_prefix(prefix)?.strip_suffix("']")?.to_owned());
    match path {
        "metadata.name" => Some(Field::Name),
        "metadata.namespace" => Some(Field::Namespace),
        "status.podIP" | "status.podIPs" => Some(Field::PodIp),
        "spec.serviceAccountName" => Some(Field::ServiceAccount),
        _ => key("metadata.labels['")
            .map(Field::Label)
            .or_else(|| key("metadata.annotations['").map(Field::Annotation)),
    }
}

fn opaque_ports(annotations: &BTreeMap<String, String>, wrong: &mut Vec<String>) -> Vec<u16> {
    const KEY: &str = "config.linkerd.io/opaque-ports";
    let Some(text) = annotations.get(KEY) else { return OPAQUE_PORTS.to_vec() };
    let mut ports = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if first <= last => ports.extend(first..=last),
            _ => wrong.push(format!("annotation {KEY}: {part:?} is not a port or a range of ports")),
        }
    }
    ports
}

fn probe(what: &str, probe: Option<&v1::Probe>, ports: &[Port], wrong: &mut Vec<String>) -> Option<Probe> {
    let probe = probe?;
    let mut port = |port: &IntOrString| {
        let number = match port {
            IntOrString::Int(number) => u16::try_from(*number).ok().filter(|number| *number > 0),
            IntOrString::String(name) => {
                ports.iter().find(|port| port.name.as_ref() == Some(name)).map(|port| port.number)
            }
        };
        if number.is_none() {
            let shown = match port {
                IntOrString::Int(number) => number.to_string(),
                IntOrString::String(name) => format!("{name:?}"),
            };
            wrong.push(format!("{what}: the container has no port {shown}"));
        }
        number
    };
    let check = if let Some(http) = &probe.http_get {
        let path = http.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into());
        Check::Http {
            port: port(&http.port)?,
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            headers: http.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
        }
    } else if let Some(tcp) = &probe.tcp_socket {
        Check::Tcp { port: port(&tcp.port)? }
    } else if let Some(grpc) = &probe.grpc {
        let number = port(&IntOrString::Int(grpc.port))?;
        Check::Grpc { port: number, service: grpc.service.clone().unwrap_or_default() }
    } else {
        wrong.push(format!("{what}: says nothing to ask (httpGet, tcpSocket, grpc)"));
        return None;
    };
    let positive = |value: Option<i32>, default: u32| {
        value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
    };
    Some(Probe {
        check,
        initial_delay: seconds(probe.initial_delay_seconds.unwrap_or(0).into()),
        period: seconds(positive(probe.period_seconds, 10).into()),
        timeout: seconds(positive(probe.timeout_seconds, 1).into()),
        success_threshold: positive(probe.success_threshold, 1),
        failure_threshold: positive(probe.failure_threshold, 3),
        grace: probe.termination_grace_period_seconds.map(seconds),
    })
}

fn rules(spec: &k8s_openapi::api::apps::v1::DeploymentSpec) -> Result<Rules, String> {
    let replicas = spec.replicas.unwrap_or(1);
    let replicas = u32::try_from(replicas).map_err(|_| format!("replicas {replicas} is less than none"))?;
    Ok(Rules {
        desired: Desired { replicas, strategy: strategy(spec.strategy.as_ref(), replicas)? },
        min_ready: seconds(spec.min_ready_seconds.unwrap_or(0).into()),
        progress_deadline: seconds(spec.progress_deadline_seconds.unwrap_or(600).into()),
    })
}

/// `ResolveFenceposts` in Kubernetes' `deployment_util.go`: surge rounds up, unavailable rounds down, and when
/// both come out as nothing one pod may be unavailable.
fn strategy(strategy: Option<&DeploymentStrategy>, replicas: u32) -> Result<Strategy, String> {
    match strategy.and_then(|s| s.type_.as_deref()) {
        Some("Recreate") => return Ok(Strategy::Recreate),
        None | Some("RollingUpdate") => {}
        Some(other) => return Err(format!("strategy {other:?} is neither RollingUpdate nor Recreate")),
    }
    let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
    let quarter = IntOrString::String("25%".into());
    let surge = rolling.and_then(|r| r.max_surge.as_ref()).unwrap_or(&quarter);
    let unavailable = rolling.and_then(|r| r.max_unavailable.as_ref()).unwrap_or(&quarter);
    let max_surge = share("maxSurge", surge, replicas, true)?;
    let max_unavailable = share("maxUnavailable", unavailable, replicas, false)?;
    let max_unavailable = if max_surge == 0 && max_unavailable == 0 { 1 } else { max_unavailable };
    Ok(Strategy::Rolling { max_surge, max_unavailable: max_unavailable.min(replicas) })
}

fn share(what: &str, value: &IntOrString, replicas: u32, up: bool) -> Result<u32, String> {
    let wrong = |shown: String| format!("{what} {shown} is neither a number nor a percentage");
    match value {
        IntOrString::Int(number) => u32::try_from(*number).map_err(|_| wrong(number.to_string())),
        IntOrString::String(text) => {
            let percent: u32 = text
                .strip_suffix('%')
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| wrong(format!("{text:?}")))?;
            let hundredths = u64::from(percent) * u64::from(replicas);
            let rounded = if up { hundredths.div_ceil(100) } else { hundredths / 100 };
            u32::try_from(rounded).map_err(|_| wrong(format!("{text:?}")))
        }
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;
    use crate::runtime::Image;

    pub fn images() -> Images {
        Images::from([("baz".into(), Image { id: "1".into(), binary: "/images/baz-1".into() })])
    }

    pub fn deployment(container: &serde_json::Value, spec: &serde_json::Value) -> Deployment {
        let mut value = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "baz"},
            "spec": {
                "selector": {"matchLabels": {"app": "baz"}},
                "template": {
                    "metadata": {"labels": {"app": "baz"}},
                    "spec": {"containers": [{"name": "baz", "image": "baz:dev",
                        "ports": [{"name": "http", "containerPort": 8080}]}]}
                }
            }
        });
        merge(&mut value["spec"], spec);
        merge(&mut value["spec"]["template"]["spec"]["containers"][0], container);
        serde_json::from_value(value).unwrap()
    }

    fn merge(into: &mut serde_json::Value, from: &serde_json::Value) {
        for (key, value) in from.as_object().into_iter().flatten() {
            if into[key].is_object() && value.is_object() {
                merge(&mut into[key], value);
            } else {
                into[key] = value.clone();
            }
        }
    }

    fn template(container: &serde_json::Value) -> Result<PodTemplate, Vec<String>> {
        PodTemplate::of(&deployment(container, &json!({})), "default", &images())
            .map(|(template, _)| template)
    }

    #[test]
    fn another_image_or_variable_is_another_revision_another_replica_count_is_not() {
        let base = template(&json!({})).unwrap();
        assert_eq!(template(&json!({})).unwrap().hash, base.hash);
        assert_ne!(template(&json!({"env": [{"name": "A", "value": "1"}]})).unwrap().hash, base.hash);
        let mut rebuilt = images();
        rebuilt.get_mut("baz").unwrap().id = "2".into();
        let (other, _) = PodTemplate::of(&deployment(&json!({}), &json!({})), "default", &rebuilt).unwrap();
        assert_ne!(other.hash, base.hash);
        let scaled = deployment(&json!({}), &json!({"replicas": 5}));
        let (scaled, rules) = PodTemplate::of(&scaled, "default", &images()).unwrap();
        assert_eq!((scaled.hash, rules.desired.replicas), (base.hash, 5));
    }

    #[test]
    fn a_pods_name_is_deployment_hash_and_five_characters() {
        let template = template(&json!({})).unwrap();
        let name = template.pod_name();
        let parts: Vec<_> = name.split('-').collect();
        assert_eq!((parts[0], parts[1]), ("baz", template.hash.as_str()));
        assert!(parts[2].len() == 5 && parts[2].bytes().all(|byte| SAFE.contains(&byte)));
    }

    #[test]
    fn variables_come_from_fields_and_from_each_other() {
        let template = template(&json!({"env": [
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "SA", "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "ALL", "value": "$(POD)@$(IP) $$(POD) $(NONE) $5"},
        ]}))
        .unwrap();
        let env = template.env_of("baz-1", "127.9.1.1");
        let values: Vec<_> = env.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["baz-1", "127.9.1.1", "default", "baz", "baz-1@127.9.1.1 $(POD) $(NONE) $5"]);
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let container = json!({
            "image": "nginx:1", "command": ["/bin/sh"],
            "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": "admin"}},
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        });
        insta::assert_snapshot!(template(&container).unwrap_err().join("\n"), @r#"
        image "nginx" is not built by this workspace
        command "/bin/sh" is not in image "nginx", whose only program is nginx
        containerPort 80: a port below 1024 is not for ordinary users to listen on; use one above
        readinessProbe: the container has no port "admin"
        env N: field "spec.nodeName" is not modelled by the local runtime
        "#);
    }

    #[test]
    fn percentages_round_as_kubernetes_rounds_them() {
        let rolling = |surge: serde_json::Value, unavailable: serde_json::Value, replicas: u32| {
            let value = json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
            match strategy(Some(&serde_json::from_value(value).unwrap()), replicas).unwrap() {
                Strategy::Rolling { max_surge, max_unavailable } => (max_surge, max_unavailable),
                Strategy::Recreate => unreachable!(),
            }
        };
        assert_eq!(rolling(json!("25%"), json!("25%"), 3), (1, 0));
        assert_eq!(rolling(json!("30%"), json!("30%"), 10), (3, 3));
        assert_eq!(rolling(json!("1%"), json!("99%"), 3), (1, 2));
        assert_eq!(rolling(json!(0), json!(0), 3), (0, 1));
        assert_eq!(rolling(json!(0), json!("10%"), 3), (0, 1));
        assert_eq!(rolling(json!(2), json!(7), 3), (2, 3));
        assert!(strategy(None, 4) == Ok(Strategy::Rolling { max_surge: 1, max_unavailable: 1 }));
    }

    #[test]
    fn image_names_lose_registry_tag_and_digest() {
        assert_eq!(image_name("registry:5000/team/baz:dev@sha256:00"), "baz");
        assert_eq!(image_name("baz"), "baz");
    }
}
