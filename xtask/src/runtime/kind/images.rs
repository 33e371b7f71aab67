//! Programs -> images -> where a cluster's nodes find them: in the nodes themselves, or in a registry that they pull from.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Instant;

use super::cluster::{Cluster, Which};
use super::load;
use crate::error::Fault;
use crate::oci::archive::Named;
use crate::oci::{Image, Platform, push};
use crate::plan::Plan;
use crate::report::{Event, Events, counted, millis};
use crate::runtime::Images;

/// Images that are in no registry: a node that lacks one asks nobody.
pub const NO_REGISTRY: &str = "localhost";

/// What each image is called in the nodes, by its name.
pub type References = BTreeMap<String, String>;

/// The images of this workspace, as far as a cluster was given them.
#[derive(Default)]
pub struct ClusterImages {
    /// With its path: `ghcr.io/me/demo`. None: into the nodes.
    registry: Option<String>,
    /// What was made of which program, by the image's name.
    made: Mutex<BTreeMap<String, (String, Named)>>,
    /// Of what was loaded last.
    references: RwLock<References>,
    /// What each node has of them.
    nodes: tokio::sync::Mutex<BTreeMap<String, Option<load::Had>>>,
}

impl ClusterImages {
    /// Nothing yet.
    pub fn new(registry: Option<String>) -> Self {
        let registry = registry.map(|registry| registry.trim_end_matches('/').to_owned());
        Self { registry, ..Self::default() }
    }

    /// What was loaded last.
    pub fn references(&self) -> References {
        self.references.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes images of programs and brings them where the nodes find them; what each is called there.
    pub async fn load(
        &self,
        cluster: &Cluster,
        plan: &Plan,
        images: &Images,
        platform: Platform,
        events: &Events,
    ) -> Result<References, Fault> {
        let start = Instant::now();
        let named = self.make(plan, images, platform).await?;
        let references: References =
            named.iter().map(|named| (named.image.name.clone(), named.reference.clone())).collect();
        if self.references() == references {
            return Ok(references);
        }
        let (sent, how) = match &self.registry {
            Some(_) => (self.push(&named).await?, "pushed"),
            None if matches!(cluster.which, Which::Context(_)) => {
                return Err(Fault::usage("a cluster of a context gets its images from a registry")
                    .hint("--registry HOST[/PATH]: they are pushed there, and its nodes pull from there"));
            }
            None => (self.fill_nodes(cluster, &named).await?, "sent"),
        };
        let count = counted(named.len(), "image");
        let detail = match sent {
            0 => format!("{count}, all there"),
            sent => format!("{count}, {} {how}", crate::report::bytes(sent)),
        };
        events.emit(Event::StepFinished { step: "load".to_owned(), ms: millis(start.elapsed()), detail });
        self.references.write().unwrap_or_else(PoisonError::into_inner).clone_from(&references);
        Ok(references)
    }

    async fn fill_nodes(&self, cluster: &Cluster, named: &[Named]) -> Result<u64, Fault> {
        let mut sent = 0;
        let mut nodes = self.nodes.lock().await;
        for node in &cluster.nodes {
            sent += load::load(node, named, nodes.entry(node.clone()).or_default()).await?;
        }
        Ok(sent)
    }

    /// Those that are new since the last time.
    async fn push(&self, named: &[Named]) -> Result<u64, Fault> {
        let before = self.references();
        let mut sent = 0;
        for named in named.iter().filter(|named| before.get(&named.image.name) != Some(&named.reference)) {
            sent += push::push(named, &[named.image.digest().short().to_owned()]).await?;
        }
        Ok(sent)
    }

    /// Images of programs; those whose program is the same as the last time are the same. Their labels are the plan's.
    async fn make(&self, plan: &Plan, images: &Images, platform: Platform) -> Result<Vec<Named>, Fault> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let prefix = self.registry.clone().unwrap_or_else(|| NO_REGISTRY.to_owned());
        let programs: Vec<_> = images
            .iter()
            .map(|(name, image)| {
                let labels = plan.labels.get(name).cloned().unwrap_or_default();
                (name.clone(), image.clone(), labels)
            })
            .collect();
        let making = tokio::task::spawn_blocking(move || -> Result<BTreeMap<_, _>, Fault> {
            let mut now = BTreeMap::new();
            for (name, built, labels) in programs {
                let named = match made.get(&name) {
                    Some((id, named)) if *id == built.id => named.clone(),
                    _ => {
                        let unreadable = |error| {
                            Fault::environment(format!("cannot read {}: {error}", built.binary.display()))
                        };
                        let image =
                            Image::of_program(&name, &built.binary, platform, &labels).map_err(unreadable)?;
                        let reference = format!("{prefix}/{name}:{}", image.digest().short());
                        Named { reference, image, referrers: Vec::new() }
                    }
                };
                now.insert(name, (built.id, named));
            }
            Ok(now)
        });
        // It is not aborted and does not panic, so this error can only come as we end.
        let now = making.await.unwrap_or_else(|error| Err(Fault::failed(error.to_string())))?;
        let named = now.values().map(|(_, named)| named.clone()).collect();
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(named)
    }
}
