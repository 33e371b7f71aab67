//! Pure: `manifests/kind.yaml` -> the configuration that kind is given, marked as this command's.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::error::Fault;

/// Where it is, in the workspace.
pub const FILE: &str = "manifests/kind.yaml";

/// The label that every node of our clusters has from its first moment: which configuration made it. So a cluster
/// says itself whose it is, also when its making was interrupted.
pub const LABEL: &str = "xtask.dev/config";

/// The ports inside a node that the ingress listens on.
const INGRESS: [u16; 2] = [80, 443];

/// What kind is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The cluster's name.
    pub name: String,
    /// The nodes' images.
    pub images: Vec<String>,
    /// The ports on 127.0.0.1 that lead to the ingress: of HTTP, of HTTPS.
    pub ports: Vec<u16>,
    /// What the label [`LABEL`] says.
    pub id: String,
    /// The configuration without the label: what differs is told from it.
    pub text: String,
    /// The configuration as kind reads it.
    pub labelled: String,
}

impl ClusterConfig {
    /// Reads the file's text. `port`: the ingress's port, when it is to be another than the file says. Errors with what
    /// is wrong in it.
    pub fn read(text: &str, port: Option<u16>) -> Result<Self, Fault> {
        let wrong = |why: String| Fault::usage(format!("{FILE}: {why}"));
        let mut config: Value = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if config["kind"] != "Cluster" {
            return Err(wrong("it is no `kind: Cluster` of kind.x-k8s.io/v1alpha4".to_owned()));
        }
        let name =
            config["name"].as_str().ok_or_else(|| wrong("the cluster has no `name`".to_owned()))?.to_owned();
        let nodes = config["nodes"].as_array_mut().filter(|nodes| !nodes.is_empty());
        let nodes = nodes.ok_or_else(|| wrong("it has no `nodes`".to_owned()))?;
        if let Some(port) = port {
            for mapping in nodes.iter_mut().filter_map(|n| n["extraPortMappings"].as_array_mut()).flatten() {
                if mapping["containerPort"] == INGRESS[0] {
                    mapping["hostPort"] = json!(port);
                }
            }
        }
        let mappings = nodes.iter().filter_map(|node| node["extraPortMappings"].as_array()).flatten();
        let of = |wanted: u16| {
            mappings.clone().find(|mapping| mapping["containerPort"] == wanted)?["hostPort"].as_u64()
        };
        let ports = INGRESS.iter().filter_map(|port| u16::try_from(of(*port)?).ok()).collect();
        let images = nodes.iter().filter_map(|node| Some(node["image"].as_str()?.to_owned())).collect();
        // Keys in the order of the alphabet, so how the file is laid out does not matter.
        let text = serde_json::to_string_pretty(&config).map_err(|error| wrong(error.to_string()))?;
        let id = Sha256::digest(text.as_bytes()).iter().take(8).fold(String::new(), |mut id, byte| {
            // Writing to a String does not fail.
            let _ = write!(id, "{byte:02x}");
            id
        });
        let mut labelled = config;
        for node in labelled["nodes"].as_array_mut().into_iter().flatten() {
            let labels = node.as_object_mut().map(|node| node.entry("labels").or_insert(Value::Null));
            let Some(labels) = labels else { return Err(wrong("a node is no mapping".to_owned())) };
            if labels.is_null() {
                *labels = Value::Object(Map::new());
            }
            labels[LABEL] = json!(id);
        }
        // JSON is YAML.
        Ok(Self { name, images, ports, id, text, labelled: labelled.to_string() })
    }

    /// What a cluster made from `had` would have to change to be as this says: lines with `-` and `+`.
    pub fn difference(&self, had: &str) -> String {
        let (before, after): (Vec<&str>, Vec<&str>) = (had.lines().collect(), self.text.lines().collect());
        let gone =
            before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {}", line.trim()));
        let come =
            after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {}", line.trim()));
        gone.chain(come).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> String {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        std::fs::read_to_string(root.join(FILE)).unwrap()
    }

    #[test]
    fn the_shipped_configuration_leads_loopback_to_the_ingress_and_is_marked() {
        let config = ClusterConfig::read(&shipped(), None).unwrap();
        assert_eq!((config.name.as_str(), &config.ports[..]), ("xtask", &[8080, 8443][..]));
        let labelled: Value = serde_json::from_str(&config.labelled).unwrap();
        assert_eq!(labelled["nodes"][0]["labels"][LABEL], json!(config.id));
    }

    #[test]
    fn another_port_is_another_configuration_and_the_difference_is_told() {
        let (one, other) = (
            ClusterConfig::read(&shipped(), None).unwrap(),
            ClusterConfig::read(&shipped(), Some(9000)).unwrap(),
        );
        assert_eq!(other.ports, [9000, 8443]);
        assert_ne!(one.id, other.id);
        insta::assert_snapshot!(other.difference(&one.text), @r#"
        - "hostPort": 8080,
        + "hostPort": 9000,
        "#);
        let comments = format!("# a comment\n{}", shipped());
        assert_eq!(ClusterConfig::read(&comments, None).unwrap().id, one.id);
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        let refused = |text: &str| ClusterConfig::read(text, None).unwrap_err().to_string();
        insta::assert_snapshot!(refused("kind: Pod"), @"manifests/kind.yaml: it is no `kind: Cluster` of kind.x-k8s.io/v1alpha4");
        insta::assert_snapshot!(refused("kind: Cluster"), @"manifests/kind.yaml: the cluster has no `name`");
        insta::assert_snapshot!(refused("kind: Cluster\nname: a"), @"manifests/kind.yaml: it has no `nodes`");
    }
}
