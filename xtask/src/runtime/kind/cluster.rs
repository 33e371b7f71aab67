//! The cluster: found or made, and only touched if this command made it or it was named on purpose.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::config::Kubeconfig;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api::{ApiServer, Key};
use super::config::{ClusterConfig, FILE, LABEL};
use super::objects::MANAGED;
use super::{engine, load};
use crate::command::Checkout;
use crate::error::Fault;
use crate::process::cargo;
use crate::report::Events;
use crate::report::step::Step;
use crate::tools;
use crate::tools::pins::{Image, Tool, Versions};

/// Making a cluster takes this long at most, without its image.
const MAKING: Duration = Duration::from_secs(600);

/// Which cluster, kept in the checkout's state for the commands that come after `up`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// The kind cluster of this name, which this command made.
    Kind(String),
    /// A context of the user's kubeconfig, named on purpose.
    Context(String),
}

/// A cluster that answers.
#[derive(Clone)]
pub struct Cluster {
    pub which: Which,
    pub server: ApiServer,
    /// The names of kind's nodes, into which images are loaded.
    pub nodes: Vec<String>,
    /// How other programs are told of it: flags of kubectl's kind.
    pub access: Vec<String>,
}

/// What is kept of the cluster in a checkout.
#[derive(Clone, Debug)]
pub struct Kept {
    directory: PathBuf,
    /// The workspace's, which pins kind.
    root: PathBuf,
}

impl Kept {
    /// In a checkout.
    pub fn of(checkout: &Checkout) -> Self {
        Self { directory: checkout.state.kind(), root: checkout.root.clone() }
    }

    /// The kubeconfig of the kind cluster: the user's own is not touched.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    fn access(&self) -> Vec<String> {
        vec!["--kubeconfig".to_owned(), self.kubeconfig().to_string_lossy().into_owned()]
    }

    /// Which cluster was brought up last; none if none was.
    pub fn which(&self) -> Option<Which> {
        serde_json::from_slice(&std::fs::read(self.directory.join("cluster.json")).ok()?).ok()
    }

    /// Keeps which cluster it is.
    pub fn keep(&self, which: &Which) -> Result<(), Fault> {
        let text = serde_json::to_vec(which).map_err(|error| Fault::failed(error.to_string()))?;
        self.write(&self.directory.join("cluster.json"), &text)
    }

    /// Forgets it.
    pub fn forget(&self) {
        for name in ["cluster.json", "kubeconfig", "making", "config.yaml"] {
            let _ = std::fs::remove_file(self.directory.join(name));
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        let written = std::fs::create_dir_all(&self.directory).and_then(|()| std::fs::write(path, bytes));
        written.map_err(|error| Fault::environment(format!("cannot write to {}: {error}", path.display())))
    }

    /// There while a cluster is being made, with its name: one that was interrupted is made again from nothing.
    fn making(&self) -> PathBuf {
        self.directory.join("making")
    }
}

impl Cluster {
    /// The kind cluster of a configuration: as it is, started again when it was stopped, or made. Errors: no engine, no
    /// kind, a cluster of the name that is somebody else's or was made from another configuration.
    pub async fn up(config: &ClusterConfig, kept: &Kept, events: &Events) -> Result<Self, Fault> {
        let mut nodes = engine::nodes(&config.name).await?;
        let interrupted = std::fs::read(kept.making()).is_ok_and(|name| name == config.name.as_bytes());
        if interrupted && !nodes.is_empty() {
            events.warn("the making of the cluster was interrupted: making it again", None);
            delete(&config.name, kept, events).await?;
            nodes.clear();
        }
        if nodes.is_empty() {
            make(config, kept, events).await?;
            nodes = engine::nodes(&config.name).await?;
        }
        for node in nodes.iter().filter(|node| !node.running) {
            events.warn(format!("the node {} was stopped: starting it", node.name), None);
            engine::start(node).await?;
        }
        let names: Vec<String> = nodes.into_iter().map(|node| node.name).collect();
        let which = Which::Kind(config.name.clone());
        let server = match Kubeconfig::read_from(kept.kubeconfig()) {
            Ok(kubeconfig) => ApiServer::of(kubeconfig, None, events).await?,
            Err(_) => fetched(&config.name, kept, events).await?,
        };
        let cluster = match Self::adopt(config, &server, &names, kept).await {
            Ok(cluster) => cluster,
            // A cluster that was made anew behind our back has other certificates.
            Err(_) => Self::adopt(config, &fetched(&config.name, kept, events).await?, &names, kept).await?,
        };
        kept.keep(&which)?;
        Ok(cluster)
    }

    /// The cluster of a context of the user's kubeconfig.
    pub async fn of_context(context: &str, kept: &Kept, events: &Events) -> Result<Self, Fault> {
        let kubeconfig =
            Kubeconfig::read().map_err(|error| Fault::environment(format!("kubeconfig: {error}")))?;
        if !kubeconfig.contexts.iter().any(|known| known.name == context) {
            let known: Vec<&str> = kubeconfig.contexts.iter().map(|known| known.name.as_str()).collect();
            return Err(Fault::usage(format!("no context `{context}` (known: {})", known.join(", "))));
        }
        let server = ApiServer::of(kubeconfig, Some(context.to_owned()), events).await?;
        let which = Which::Context(context.to_owned());
        kept.keep(&which)?;
        let access = vec!["--context".to_owned(), context.to_owned()];
        Ok(Self { which, server, nodes: Vec::new(), access })
    }

    /// The architecture of its nodes, in Go's words. Errors where they differ: an image is built for one.
    pub async fn architecture(&self) -> Result<String, Fault> {
        let nodes: Vec<Node> = self.server.list(None, "").await?;
        let info = nodes.iter().filter_map(|node| node.status.as_ref()?.node_info.as_ref());
        let all: std::collections::BTreeSet<&str> = info.map(|info| info.architecture.as_str()).collect();
        let all: Vec<&str> = all.into_iter().collect();
        if let [one] = all[..] {
            return Ok(one.to_owned());
        }
        Err(Fault::environment(format!("its nodes are not of one architecture: {}", all.join(", "))))
    }

    /// The cluster that was brought up last, as it is; none if there is none any more.
    pub async fn find(kept: &Kept, events: &Events) -> Result<Option<Self>, Fault> {
        match kept.which() {
            None => Ok(None),
            Some(Which::Context(context)) => Self::of_context(&context, kept, events).await.map(Some),
            Some(Which::Kind(name)) => {
                let nodes = engine::nodes(&name).await?;
                if nodes.is_empty() {
                    return Ok(None);
                }
                if let Some(node) = nodes.iter().find(|node| !node.running) {
                    return Err(Fault::environment(format!(
                        "the node {} of the cluster is stopped",
                        node.name
                    ))
                    .hint(format!("docker start {}, or `cargo xtask up --runtime kind`", node.name)));
                }
                let server = match Kubeconfig::read_from(kept.kubeconfig()) {
                    Ok(kubeconfig) => ApiServer::of(kubeconfig, None, events).await?,
                    Err(_) => fetched(&name, kept, events).await?,
                };
                Ok(Some(Self {
                    which: Which::Kind(name),
                    server,
                    nodes: nodes.into_iter().map(|node| node.name).collect(),
                    access: kept.access(),
                }))
            }
        }
    }

    /// Takes a cluster for ours if its nodes say so.
    async fn adopt(
        config: &ClusterConfig,
        server: &ApiServer,
        names: &[String],
        kept: &Kept,
    ) -> Result<Self, Fault> {
        let name = &config.name;
        let nodes: Vec<Node> = server.list(None, "").await?;
        let marks =
            nodes.iter().map(|node| node.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL)));
        for mark in marks {
            match mark {
                Some(id) if *id == config.id => {}
                Some(_) => {
                    let had = made_from(server).await?;
                    let difference = had.map(|had| config.difference(&had)).filter(|text| !text.is_empty());
                    let difference = difference.map(|text| format!(":\n{text}")).unwrap_or_default();
                    return Err(Fault::usage(format!(
                        "the cluster {name} was made from another configuration than {FILE} with these options{difference}"
                    ))
                    .hint("`cargo xtask down --all`, then the same command again; or take the change back"));
                }
                None => {
                    return Err(Fault::environment(format!("the kind cluster {name} was not made by cargo xtask"))
                        .hint(format!(
                            "--context kind-{name} uses it on purpose; another `name` in {FILE} makes one beside it"
                        )));
                }
            }
        }
        if made_from(server).await?.is_none() {
            record(config, server).await?;
        }
        let which = Which::Kind(name.clone());
        Ok(Self { which, server: server.clone(), nodes: names.to_vec(), access: kept.access() })
    }
}

/// Deletes a kind cluster.
pub async fn delete(name: &str, kept: &Kept, events: &Events) -> Result<(), Fault> {
    let kubeconfig = kept.kubeconfig();
    let kubeconfig = kubeconfig.to_string_lossy();
    kind(&["delete", "cluster", "--name", name, "--kubeconfig", &kubeconfig], kept, events).await?;
    kept.forget();
    Ok(())
}

/// Brings an image that the engine has into every node of a kind cluster that lacks it. What the engine does not have is
/// left to the nodes to pull.
pub async fn load(cluster: &Cluster, image: &str, kept: &Kept, events: &Events) -> Result<(), Fault> {
    let Which::Kind(name) = &cluster.which else { return Ok(()) };
    if load::have(&cluster.nodes, image).await? || !engine::has_image(image).await? {
        return Ok(());
    }
    let step = Step::start(events, "load");
    if let Err(fault) = kind(&["load", "docker-image", "--name", name, image], kept, events).await {
        step.fail();
        events.warn(format!("the nodes have to pull {image}: {fault}"), None);
        return Ok(());
    }
    step.finish(format!("{image}, which the engine has"));
    Ok(())
}

async fn make(config: &ClusterConfig, kept: &Kept, events: &Events) -> Result<(), Fault> {
    for port in &config.ports {
        if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, *port)) {
            return Err(Fault::environment(format!("127.0.0.1:{port}, for the cluster's ingress: {error}"))
                .hint(format!("end whatever listens there, or take another port: --port, {FILE}")));
        }
    }
    let step = Step::start(events, "cluster");
    let file = kept.directory.join("config.yaml");
    kept.write(&file, config.labelled.as_bytes())?;
    let (file, kubeconfig) = (file.to_string_lossy(), kept.kubeconfig());
    let (name, kubeconfig) = (config.name.as_str(), kubeconfig.to_string_lossy());
    let mut args = vec!["create", "cluster", "--name", name, "--config", &file, "--kubeconfig", &kubeconfig];
    let image = pinned(config, kept).await?;
    args.extend(image.iter().flat_map(|image| ["--image", image]));
    // It says which: another cluster's end is not to be taken for this one's.
    kept.write(&kept.making(), config.name.as_bytes())?;
    let made = kind(&args, kept, events).await;
    // Kind takes away what it could not finish.
    let _ = std::fs::remove_file(kept.making());
    if let Err(fault) = made {
        step.fail();
        return Err(fault);
    }
    step.finish(format!("{name} made"));
    Ok(())
}

/// The node's image by its pinned digest, where the engine does not have it yet; none where it does, or where the
/// configuration names another.
async fn pinned(config: &ClusterConfig, kept: &Kept) -> Result<Option<String>, Fault> {
    let Image { image, digest } = Versions::read(&kept.root)?.node;
    let other = config.images.iter().any(|named| *named != image);
    if other || engine::has_image(&image).await? {
        return Ok(None);
    }
    Ok(Some(format!("{image}@{digest}")))
}

/// The server of a cluster, by the kubeconfig that kind gives now.
async fn fetched(name: &str, kept: &Kept, events: &Events) -> Result<ApiServer, Fault> {
    let text = kind(&["get", "kubeconfig", "--name", name], kept, events).await?;
    kept.write(&kept.kubeconfig(), text.as_bytes())?;
    let kubeconfig =
        Kubeconfig::from_yaml(&text).map_err(|error| Fault::failed(format!("kubeconfig: {error}")))?;
    ApiServer::of(kubeconfig, None, events).await
}

/// Runs kind; what it wrote on its standard output.
async fn kind(args: &[&str], kept: &Kept, events: &Events) -> Result<String, Fault> {
    let program = tools::find(&kept.root, Tool::Kind, events).await?;
    let output = cargo::output(program.as_os_str(), args, Path::new("."), MAKING).await.map_err(|error| {
        Fault::environment(format!("cannot run kind: {error}")).hint("install it: https://kind.sigs.k8s.io")
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<&str> =
        said.lines().filter(|line| line.contains("ERROR") || line.contains("rror:")).collect();
    let told = if errors.is_empty() { said.trim().to_owned() } else { errors.join("\n") };
    Err(Fault::environment(format!("kind {}: {told}", args.join(" "))).hint("cargo xtask doctor"))
}

fn record_key() -> Key {
    Key {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        namespace: Some("kube-system".to_owned()),
        name: "xtask-cluster".to_owned(),
    }
}

/// The configuration that a cluster was made from; none when it does not say.
async fn made_from(server: &ApiServer) -> Result<Option<String>, Fault> {
    let found = server.get(&record_key()).await?;
    Ok(found.and_then(|object| Some(object.data["data"]["config"].as_str()?.to_owned())))
}

async fn record(config: &ClusterConfig, server: &ApiServer) -> Result<(), Fault> {
    let key = record_key();
    let record = json!({
        "apiVersion": key.api_version,
        "kind": key.kind,
        "metadata": { "name": key.name, "namespace": key.namespace, "labels": { MANAGED.0: MANAGED.1 } },
        "data": { "config": config.text },
    });
    server.apply(&record, true).await.map(drop)
}
