//! What was applied, kept in the cluster itself, so that whatever is taken out of the manifests is removed, by whichever
//! `up` comes next, also after one that was killed.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{ApiServer, Key};
use super::objects::MANAGED;
use crate::error::Fault;

/// The `ConfigMap`'s name, in the namespace of the workloads.
const NAME: &str = "xtask-inventory";

/// What this command applied, and as what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// In the order in which they were applied.
    pub objects: Vec<Key>,
    pub grpc: bool,
    pub linkerd: bool,
    pub ingress: bool,
    /// The hosts that the ingress routes.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The checkout that was applied.
    pub checkout: String,
    /// What the image of the clients of `call` is called in the nodes.
    #[serde(default)]
    pub client: Option<String>,
}

fn key(namespace: &str) -> Key {
    Key {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: NAME.to_owned(),
    }
}

impl Inventory {
    /// The cluster's; none when nothing was ever applied. One that cannot be read counts as none.
    pub async fn read(server: &ApiServer, namespace: &str) -> Result<Option<Self>, Fault> {
        let found = server.get(&key(namespace)).await?;
        Ok(found.and_then(|object| serde_json::from_str(object.data["data"]["inventory"].as_str()?).ok()))
    }

    /// Keeps it in the cluster.
    pub async fn write(&self, server: &ApiServer, namespace: &str) -> Result<(), Fault> {
        let text = serde_json::to_string(self).map_err(|error| Fault::failed(error.to_string()))?;
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": NAME, "namespace": namespace, "labels": { MANAGED.0: MANAGED.1 } },
            "data": { "inventory": text },
        });
        server.apply(&map, true).await.map(drop)
    }

    /// Removes it, last of all.
    pub async fn remove(server: &ApiServer, namespace: &str) -> Result<(), Fault> {
        server.delete(&key(namespace)).await.map(drop)
    }

    /// What is to be there beside what is wanted until all of it is applied: one that is killed halfway leaves nothing
    /// that no inventory knows.
    pub fn with(&self, wanted: &[Value]) -> Self {
        let mut both = self.clone();
        both.objects.extend(wanted.iter().filter_map(Key::of));
        let mut seen = std::collections::BTreeSet::new();
        both.objects.retain(|key| seen.insert(key.clone()));
        both
    }
}
