//! Images that no node has: all of them at once, so that one round of loading is enough.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::cluster::{Cluster, Which};
use super::load;
use super::progress::statuses;

/// The images of Deployments as they are applied.
pub fn named(deployments: &[&Value]) -> Vec<String> {
    let mut images = BTreeSet::new();
    for deployment in deployments {
        let pod = &deployment["spec"]["template"]["spec"];
        for field in ["initContainers", "containers"] {
            let containers = pod[field].as_array().into_iter().flatten();
            images.extend(containers.filter_map(|container| container["image"].as_str().map(str::to_owned)));
        }
    }
    images.into_iter().collect()
}

/// The images that pods wait for, and those of `then`, without what is in every node of kind's. Sorted.
pub async fn of(cluster: &Cluster, pods: &[Pod], then: &[String]) -> BTreeSet<String> {
    let mut images = never_started(pods);
    if cluster.nodes.is_empty() {
        // What the nodes have is not known: only what they ask for is.
        return images;
    }
    images.extend(then.iter().cloned());
    let mut missing = BTreeSet::new();
    for image in images {
        // A node that does not answer has nothing to run.
        if !load::have(&cluster.nodes, &image).await.unwrap_or(false) {
            missing.insert(image);
        }
    }
    missing
}

/// The images of pods' containers that were never started: those that are in no node, as far as it shows.
fn never_started(pods: &[Pod]) -> BTreeSet<String> {
    let mut images = BTreeSet::new();
    for pod in pods {
        let Some(spec) = &pod.spec else { continue };
        let started: BTreeSet<&str> = statuses(pod)
            .filter(|status| !status.image_id.is_empty())
            .map(|status| status.name.as_str())
            .collect();
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let left = containers.filter(|container| !started.contains(container.name.as_str()));
        images.extend(left.filter_map(|container| container.image.clone()));
    }
    // One that another container runs is there.
    for status in pods.iter().flat_map(statuses).filter(|status| !status.image_id.is_empty()) {
        images.remove(&status.image);
    }
    images
}

/// What to do about images that no node has and that cannot be had. In a node they are called by their tags, as an
/// engine calls them.
pub fn remedy(images: &BTreeSet<String>, which: &Which) -> String {
    let tagged = |image: &'_ String| image.split('@').next().unwrap_or_default().to_owned();
    let images: Vec<String> = images.iter().map(tagged).collect();
    let images = images.join(" ");
    let load = match which {
        Which::Kind(name) => format!("load them: kind load docker-image --name {name} {images}"),
        Which::Context(_) => format!("bring them into the cluster's nodes: {images}"),
    };
    format!("is the registry reachable from the nodes? else {load}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_container_names_an_image_and_each_is_named_once() {
        let containers = json!([{ "image": "b:1" }, { "image": "a:1" }]);
        let one = json!({ "spec": { "template": { "spec": { "containers": containers } } } });
        let spec = json!({ "initContainers": [{ "image": "c:1" }], "containers": [{ "image": "a:1" }] });
        let other = json!({ "spec": { "template": { "spec": spec } } });
        assert_eq!(named(&[&one, &other]), ["a:1", "b:1", "c:1"]);
    }

    #[test]
    fn what_one_container_runs_is_not_missing_for_another() {
        let pod = |images: &[(&str, &str)]| -> Pod {
            let named = |image: &str| image.split(':').next().unwrap().to_owned();
            let spec: Vec<_> =
                images.iter().map(|(image, _)| json!({ "name": named(image), "image": image })).collect();
            let statuses: Vec<_> = images
                .iter()
                .map(|(image, id)| {
                    json!({ "name": named(image), "image": image, "imageID": id, "ready": false, "restartCount": 0 })
                })
                .collect();
            serde_json::from_value(
                json!({ "spec": { "containers": spec }, "status": { "containerStatuses": statuses } }),
            )
            .unwrap()
        };
        let pods = [pod(&[("a:1", "id"), ("b:1", "")]), pod(&[("a:1", ""), ("c:1", "")])];
        assert_eq!(never_started(&pods).into_iter().collect::<Vec<_>>(), ["b:1", "c:1"]);
    }

    #[test]
    fn missing_images_are_loaded_by_their_tags() {
        let images = ["r.io/a:1@sha256:00", "r.io/b:2"].map(str::to_owned).into();
        let told = |which| remedy(&images, &which);
        insta::assert_snapshot!(told(Which::Kind("xtask".into())), @"is the registry reachable from the nodes? else load them: kind load docker-image --name xtask r.io/a:1 r.io/b:2");
        insta::assert_snapshot!(told(Which::Context("c".into())), @"is the registry reachable from the nodes? else bring them into the cluster's nodes: r.io/a:1 r.io/b:2");
    }
}
