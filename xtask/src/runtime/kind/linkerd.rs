//! Linkerd: what its own CLI says to install, applied in the right order, with trust made for this cluster.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{ApiServer, Key};
use super::cluster::Cluster;
use super::objects::{MANAGED, pruned};
use super::trust::{Renewal, Trust};
use super::{namespaces, ready};
use crate::error::Fault;
use crate::plan::lookup::name;
use crate::process::cargo;
use crate::report::step::Step;
use crate::report::{Events, counted};
use crate::tools;
use crate::tools::pins::{Tool, Versions};

/// Where the control plane is.
/// Where its control plane is.
pub const NAMESPACE: &str = "linkerd";

/// The CLI reads its charts from itself: it takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// A definition is served within this after it was accepted.
const ESTABLISHED: Duration = Duration::from_secs(30);

/// On pods that trust an anchor: which. So they start anew when it changes.
pub const ANCHOR: &str = "xtask.dev/trust-anchor";

/// The id of the anchor that a cluster's proxies trust; none without a Linkerd of ours.
pub async fn anchor(server: &ApiServer) -> Result<Option<String>, Fault> {
    Ok(Installed::read(server).await?.map(|installed| installed.trust.id()))
}

/// An injector that is ready is reached within this.
const INJECTS: Duration = Duration::from_secs(60);

/// What was installed, kept in the cluster beside the system's own, as a Secret: it has the anchor's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Installed {
    /// The version pinned then.
    version: String,
    trust: Trust,
    /// Everything that was applied, in its order.
    objects: Vec<Key>,
    /// All of it was; false while it is being applied.
    whole: bool,
}

fn record_key() -> Key {
    Key {
        api_version: "v1".to_owned(),
        kind: "Secret".to_owned(),
        namespace: Some("kube-system".to_owned()),
        name: "xtask-linkerd".to_owned(),
    }
}

impl Installed {
    async fn read(server: &ApiServer) -> Result<Option<Self>, Fault> {
        let Some(secret) = server.get(&record_key()).await? else { return Ok(None) };
        let text = secret.data["data"]["installed"].as_str().and_then(base64);
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    async fn write(&self, server: &ApiServer) -> Result<(), Fault> {
        let key = record_key();
        let text = serde_json::to_string(self).map_err(|error| Fault::failed(error.to_string()))?;
        let secret = json!({
            "apiVersion": key.api_version,
            "kind": key.kind,
            "metadata": { "name": key.name, "namespace": key.namespace, "labels": { MANAGED.0: MANAGED.1 } },
            "stringData": { "installed": text },
        });
        server.apply(&secret, true).await.map(drop)
    }
}

/// Installs Linkerd, or makes what is installed as the pins say. Nothing is touched when it is so already, or when
/// somebody else installed one. Does not wait until it runs: see [`wait`].
pub async fn install(cluster: &Cluster, root: &Path, events: &Events) -> Result<(), Fault> {
    let server = &cluster.server;
    let pin = Versions::read(root)?.wanted(Tool::Linkerd, tools::pins::Platform::here());
    let before = Installed::read(server).await?;
    if before.is_none()
        && let Some(theirs) = theirs(server).await?
    {
        events.warn(
            format!("the cluster has Linkerd {theirs}, installed by somebody else: it is used as it is"),
            None,
        );
        return Ok(());
    }
    let now = Timestamp::now().as_second();
    let (trust, renewal) = match &before {
        Some(before) => before.trust.renewed(now)?,
        None => (Trust::generate(now)?, Renewal::None),
    };
    if before.as_ref().is_some_and(|had| had.whole && had.version == pin.version && renewal == Renewal::None)
    {
        return Ok(());
    }
    match renewal {
        Renewal::None => {}
        Renewal::Issuer => events.warn("the identity issuer expires soon: made anew", None),
        Renewal::Anchor => {
            events.warn("the trust anchor has expired, or will soon: made anew; every pod restarts", None);
        }
    }
    let step = Step::start(events, "linkerd");
    let installing = apply(cluster, root, &pin.version, trust, before, events).await;
    match installing {
        Ok(count) => {
            step.finish(format!("{} of {}", counted(count, "object"), pin.version));
            Ok(())
        }
        Err(fault) => {
            step.fail();
            Err(fault)
        }
    }
}

async fn apply(
    cluster: &Cluster,
    root: &Path,
    version: &str,
    trust: Trust,
    before: Option<Installed>,
    events: &Events,
) -> Result<usize, Fault> {
    let server = &cluster.server;
    let definitions = cli(
        cluster,
        root,
        &["install", "--crds", "--ignore-cluster", "--set", "installGatewayAPI=true"],
        events,
    )
    .await?;
    let files = files(&trust)?;
    let path = |name: &str| files.path().join(name).to_string_lossy().into_owned();
    let (anchor, issuer, key) = (path("anchor.crt"), path("issuer.crt"), path("issuer.key"));
    let args = [
        "install",
        "--ignore-cluster",
        "--identity-trust-anchors-file",
        &anchor,
        "--identity-issuer-certificate-file",
        &issuer,
        "--identity-issuer-key-file",
        &key,
    ];
    let mut control_plane = cli(cluster, root, &args, events).await?;
    drop(files);
    for object in control_plane.iter_mut().filter(|object| object["kind"] == "Deployment") {
        // With another anchor it is another pod.
        object["spec"]["template"]["metadata"]["annotations"][ANCHOR] = json!(trust.id());
    }
    let all: Vec<Value> = definitions.iter().chain(&control_plane).cloned().collect();
    let keys: Vec<Key> = all.iter().filter_map(Key::of).collect();
    let gone = before.map(|before| pruned(&before.objects, &all)).unwrap_or_default();
    namespaces::settled(server, NAMESPACE, events).await?;
    let mut installed = Installed { version: version.to_owned(), trust, objects: keys, whole: false };
    installed.write(server).await?;
    apply_all(server, &definitions).await?;
    established(server, &definitions).await?;
    // What is in a namespace comes after it; of the rest the order does not matter.
    let (first, then): (Vec<&Value>, Vec<&Value>) =
        control_plane.iter().partition(|object| object["kind"] == "Namespace");
    for object in first {
        server.apply(object, true).await?;
    }
    apply_all(server, then).await?;
    for key in gone {
        server.delete(&key).await?;
    }
    installed.whole = true;
    installed.write(server).await?;
    Ok(all.len())
}

async fn apply_all(server: &ApiServer, objects: impl IntoIterator<Item = &Value>) -> Result<(), Fault> {
    let applying = objects.into_iter().map(|object| server.apply(object, true));
    futures_util::future::join_all(applying).await.into_iter().try_for_each(|applied| applied.map(drop))
}

/// Waits until what was defined is served.
async fn established(server: &ApiServer, definitions: &[Value]) -> Result<(), Fault> {
    let start = Instant::now();
    for key in definitions.iter().filter_map(Key::of).filter(|key| key.kind == "CustomResourceDefinition") {
        loop {
            let found = server.get(&key).await?;
            let conditions = found.and_then(|object| object.data["status"]["conditions"].as_array().cloned());
            let established = conditions
                .into_iter()
                .flatten()
                .any(|condition| condition["type"] == "Established" && condition["status"] == "True");
            if established {
                break;
            }
            if start.elapsed() > ESTABLISHED {
                return Err(Fault::failed(format!("{key} is not served after {ESTABLISHED:?}")));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// Waits until the control plane is ready. Errors with the cause, and with what `linkerd check` finds. `then`: the images
/// of what comes after it.
pub async fn wait(cluster: &Cluster, root: &Path, then: &[String], events: &Events) -> anyhow::Result<()> {
    let server = &cluster.server;
    let deployments: Vec<Deployment> = server.list(Some(NAMESPACE), "linkerd.io/control-plane-ns").await?;
    let wanted: BTreeSet<String> = deployments.iter().map(|deployment| name(deployment).to_owned()).collect();
    if wanted.is_empty() {
        return Err(
            Fault::failed("the cluster has no control plane of Linkerd in the namespace linkerd").into()
        );
    }
    let (step, count) = (Step::start(events, "control plane"), wanted.len());
    match ready::wait(cluster, &[(NAMESPACE.to_owned(), wanted)].into(), then, events).await {
        Ok(()) => {
            injects(server).await?;
            step.finish(counted(count, "deployment"));
            Ok(())
        }
        Err(error) => {
            step.fail();
            for problem in problems(cluster, root, events).await {
                events.warn(format!("linkerd check: {problem}"), None);
            }
            Err(error)
        }
    }
}

/// Waits until the API server reaches the injector: what is made before gets no proxy, and nobody says so (the webhook's
/// failures are ignored). Asked with a pod that is not made.
async fn injects(server: &ApiServer) -> Result<(), Fault> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "xtask-injected", "annotations": { "linkerd.io/inject": "enabled" } },
        "spec": { "containers": [{ "name": "none", "image": "none" }] },
    }))
    .map_err(|error| Fault::failed(error.to_string()))?;
    let pods: Api<Pod> = Api::namespaced(server.client.clone(), "default");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let start = Instant::now();
    loop {
        // Without its ServiceAccount, which comes a moment after a new cluster, a pod is refused: not an answer yet.
        if let Ok(made) = pods.create(&dry_run, &pod).await
            && is_meshed(&made)
        {
            return Ok(());
        }
        if start.elapsed() > INJECTS {
            return Err(Fault::failed(format!(
                "the proxy injector is ready, and injects nothing after {INJECTS:?}"
            ))
            .hint("kubectl -n linkerd logs deploy/linkerd-proxy-injector proxy-injector"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether a pod has a proxy: as a container, or as one that runs first and goes on.
pub fn is_meshed(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let containers =
        spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    containers.into_iter().any(|container| container.name == "linkerd-proxy")
}

/// Takes away what this command installed, once no pod has a proxy any more; true when there was something.
pub async fn remove(server: &ApiServer, events: &Events) -> Result<bool, Fault> {
    let Some(installed) = Installed::read(server).await? else { return Ok(false) };
    let step = Step::start(events, "linkerd");
    // The namespace and the definitions take what is in them along.
    for key in installed.objects.iter().rev() {
        server.delete(key).await?;
    }
    // An object of a kind that is on its way out would go with it. The namespace is waited for when it is wanted again.
    let definitions = installed.objects.iter().filter(|key| key.kind == "CustomResourceDefinition");
    let gone = futures_util::future::try_join_all(definitions.map(|key| server.gone(key)));
    // One that stays longer is no reason to fail.
    if let Ok(outcome) = tokio::time::timeout(PATIENCE, gone).await {
        outcome?;
    }
    server.delete(&record_key()).await?;
    step.finish(format!("{} removed", counted(installed.objects.len(), "object")));
    Ok(true)
}

/// The version of a Linkerd that somebody installed.
async fn theirs(server: &ApiServer) -> Result<Option<String>, Fault> {
    let key = Key {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        namespace: Some(NAMESPACE.to_owned()),
        name: "linkerd-config".to_owned(),
    };
    let found = server.get(&key).await?;
    let version = |object: kube::api::DynamicObject| {
        let values = object.data["data"]["values"].as_str()?.to_owned();
        let version = values.lines().find_map(|line| line.strip_prefix("linkerdVersion: "))?;
        Some(version.trim_matches('"').to_owned())
    };
    Ok(found.map(|object| version(object).unwrap_or_else(|| "of an unknown version".to_owned())))
}

/// What `linkerd check` finds wrong.
async fn problems(cluster: &Cluster, root: &Path, events: &Events) -> Vec<String> {
    let Ok(program) = tools::find(root, Tool::Linkerd, events).await else { return Vec::new() };
    let access = cluster.access.iter().map(String::as_str);
    let args = ["check", "--wait", "1s", "--output", "json"].into_iter().chain(access);
    let Ok(output) = cargo::output(program.as_os_str(), args, root, PATIENCE).await else {
        return Vec::new();
    };
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let checks = found["categories"].as_array().into_iter().flatten().flat_map(|category| {
        category["checks"].as_array().into_iter().flatten().map(move |check| (category, check))
    });
    checks
        .filter(|(_, check)| check["result"] == "error")
        .map(|(category, check)| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (what, error) = (text(&check["description"]), text(&check["error"]));
            format!("{}: {what}: {error}", text(&category["categoryName"])).trim_end_matches(": ").to_owned()
        })
        .collect()
}

/// Runs the CLI; the objects that it wrote.
async fn cli(cluster: &Cluster, root: &Path, args: &[&str], events: &Events) -> Result<Vec<Value>, Fault> {
    let program = tools::find(root, Tool::Linkerd, events).await?;
    let args: Vec<&str> = args.iter().copied().chain(cluster.access.iter().map(String::as_str)).collect();
    let output = cargo::output(program.as_os_str(), &args, root, PATIENCE).await;
    let output = output.map_err(|error| Fault::environment(format!("cannot run linkerd: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Fault::failed(format!("linkerd {}: {}", args.join(" "), said.trim())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    documents(&text).map_err(|error| Fault::failed(format!("linkerd {}: {error}", args.join(" "))))
}

/// The objects of several YAML documents.
fn documents(text: &str) -> Result<Vec<Value>, String> {
    let parts = text.split("\n---").map(|part| part.trim_start_matches("---"));
    let mut objects = Vec::new();
    for part in parts.filter(|part| part.lines().any(|line| !line.is_empty() && !line.starts_with('#'))) {
        // A tool of ours wrote it: its definitions are large.
        let options = serde_saphyr::options! { budget: None };
        let object: Value =
            serde_saphyr::from_str_with_options(part, options).map_err(|error| error.to_string())?;
        if object["kind"].is_string() {
            objects.push(object);
        }
    }
    Ok(objects)
}

/// The trust as files for the CLI, for this user's eyes only; gone when dropped.
fn files(trust: &Trust) -> Result<Files, Fault> {
    let cannot = |error: std::io::Error| {
        Fault::environment(format!("cannot write to the temporary directory: {error}"))
    };
    let files = Files::make().map_err(cannot)?;
    let given =
        [("anchor.crt", &trust.anchor), ("issuer.crt", &trust.issuer), ("issuer.key", &trust.issuer_key)];
    for (name, text) in given {
        files.write(name, text).map_err(cannot)?;
    }
    Ok(files)
}

struct Files(std::path::PathBuf);

impl Files {
    fn make() -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let unique = format!("xtask-{}-{}", std::process::id(), Timestamp::now().as_nanosecond());
        let directory = std::env::temp_dir().join(unique);
        std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
        Ok(Self(directory))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, name: &str, text: &str) -> std::io::Result<()> {
        std::fs::File::create_new(self.0.join(name))?.write_all(text.as_bytes())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Standard base64, as Secrets have it.
fn base64(text: &str) -> Option<Vec<u8>> {
    let wrapped = format!("-----BEGIN S-----\n{text}\n-----END S-----\n");
    Some(pem::parse(wrapped).ok()?.into_contents())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart_and_comments_are_none() {
        let text = "---\n# a comment\n---\nkind: Namespace\nmetadata:\n  name: linkerd\n---\n# Source: x\nkind: Secret\n";
        let kinds: Vec<_> = documents(text).unwrap().iter().map(|object| object["kind"].clone()).collect();
        assert_eq!(kinds, ["Namespace", "Secret"]);
    }

    #[test]
    fn a_secrets_text_is_read() {
        assert_eq!(base64("aGVsbG8=").as_deref(), Some(&b"hello"[..]));
    }
}
