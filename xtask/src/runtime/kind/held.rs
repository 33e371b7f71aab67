//! Pure: which of this workspace's images the nodes have, and which pods run them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use super::images::NO_REGISTRY;
use crate::plan::lookup::name;

/// An image in a cluster's nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    pub reference: String,
    pub digest: String,
    /// As the node says it: `15.4 MiB`.
    pub size: String,
    /// The nodes that have it.
    pub nodes: Vec<String>,
    /// The pods that run it, `NAMESPACE/NAME`.
    pub pods: Vec<String>,
}

/// By their references. `nodes`: each with what `ctr images ls` says there, whose columns are the reference, the media
/// type, the digest and the size with its unit.
pub fn held(nodes: &[(String, String)], pods: &[Pod]) -> Vec<Held> {
    let mut all: BTreeMap<&str, Held> = BTreeMap::new();
    for (node, listed) in nodes {
        for line in listed.lines() {
            let [reference, _type, digest, size, unit, ..] = line.split_whitespace().collect::<Vec<_>>()[..]
            else {
                continue;
            };
            if reference.split('/').next() == Some(NO_REGISTRY) {
                let one = all.entry(reference).or_default();
                reference.clone_into(&mut one.reference);
                digest.clone_into(&mut one.digest);
                one.size = format!("{size} {unit}");
                one.nodes.push(node.clone());
            }
        }
    }
    for pod in pods {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        for image in containers.filter_map(|container| container.image.as_ref()) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            if let Some(one) = all.get_mut(image.as_str()) {
                one.pods.push(format!("{namespace}/{}", name(pod)));
            }
        }
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_of_this_workspace_with_their_pods() {
        let listed = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n\
            localhost/baz:1 application/x sha256:01 15.4 MiB linux/amd64 -\n\
            localhost/baz:2 application/x sha256:02 15.5 MiB linux/amd64 -\n\
            registry.k8s.io/pause:3.10 application/x sha256:03 312.0 KiB linux/amd64 -\n";
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "baz-1", "namespace": "default" },
            "spec": { "containers": [{ "name": "baz", "image": "localhost/baz:2" }] },
        }))
        .unwrap();
        let nodes = [("one".to_owned(), listed.to_owned()), ("two".to_owned(), String::new())];
        let held = held(&nodes, &[pod]);
        let told: Vec<_> = held
            .iter()
            .map(|one| (one.reference.as_str(), one.size.as_str(), one.nodes.len(), one.pods.len()))
            .collect();
        assert_eq!(told, [("localhost/baz:1", "15.4 MiB", 1, 0), ("localhost/baz:2", "15.5 MiB", 1, 1)]);
    }
}
