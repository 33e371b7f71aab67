//! Images into kind's nodes: only those that are not there, and of these only the layers that are missing.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;

use super::cluster::Cluster;
use super::engine;
use crate::error::Fault;
use crate::oci::Digest;
use crate::oci::archive::{self, Named};
use crate::tools::pins::Image;

/// What a node has of our images, as far as it was asked or given.
#[derive(Clone, Debug, Default)]
pub struct Had {
    references: BTreeSet<String>,
    blobs: BTreeSet<String>,
}

impl Had {
    /// Asks containerd, by the namespace that the kubelet sees.
    async fn ask(node: &str) -> Result<Self, Fault> {
        let list = "ctr -n k8s.io images ls -q; echo --; ctr -n k8s.io content ls -q";
        let listed = engine::run_in(node, &["sh", "-c", list]).await?;
        let (names, digests) = listed.split_once("--\n").unwrap_or((&listed, ""));
        let set = |lines: &str| lines.lines().map(str::to_owned).collect();
        Ok(Self { references: set(names), blobs: set(digests) })
    }
}

/// The images of a node that its kubelet sees, as containerd's `ctr` lists them.
pub async fn listed(node: &str) -> Result<String, Fault> {
    engine::run_in(node, &["ctr", "--namespace", "k8s.io", "images", "ls"]).await
}

/// Loads images into a node; the bytes that were sent. One that is there under its name is not sent: names are by
/// content. `had`: what is known of the node; none is asked for.
pub async fn load(node: &str, images: &[Named], had: &mut Option<Had>) -> Result<u64, Fault> {
    if had.is_none() {
        *had = Some(Had::ask(node).await?);
    }
    let known = had.get_or_insert_default();
    let missing: Vec<Named> =
        images.iter().filter(|image| !known.references.contains(&image.reference)).cloned().collect();
    if missing.is_empty() {
        return Ok(0);
    }
    let layers = || missing.iter().flat_map(|named| &named.image.layers).map(|layer| &layer.digest);
    let present: BTreeSet<Digest> =
        layers().filter(|digest| known.blobs.contains(digest.as_str())).cloned().collect();
    let new: Vec<String> = layers().map(ToString::to_string).collect();
    let references: Vec<String> = missing.iter().map(|named| named.reference.clone()).collect();
    let command = ["ctr", "--namespace", "k8s.io", "images", "import", "--snapshotter", "overlayfs", "-"];
    let sent = engine::feed(node, &command, move |out| archive::write(&missing, &present, out)).await;
    match sent {
        Ok(sent) => {
            known.blobs.extend(new);
            known.references.extend(references);
            Ok(sent)
        }
        Err(fault) => {
            // Whatever it has now: it is asked again.
            *had = None;
            Err(fault)
        }
    }
}

/// What a pinned image of somebody else's is to be called: by its tag where every node has that, as `kind load` leaves
/// it; else by its digest, so that what a registry gives is what was pinned.
pub async fn reference(cluster: &Cluster, pin: &Image) -> Result<String, Fault> {
    let has_tag = if cluster.nodes.is_empty() {
        // Nodes of a context are known by what they say.
        let nodes: Vec<Node> = cluster.server.list(None, "").await?;
        nodes.iter().all(|node| {
            let images = node.status.iter().flat_map(|status| status.images.iter().flatten());
            images.flat_map(|image| image.names.iter().flatten()).any(|name| *name == pin.image)
        })
    } else {
        have(&cluster.nodes, &pin.image).await?
    };
    Ok(if has_tag { pin.image.clone() } else { pin.to_string() })
}

/// Whether every node has an image.
pub async fn have(nodes: &[String], image: &str) -> Result<bool, Fault> {
    let filter = format!("name=={}", stored(image));
    for node in nodes {
        let list = ["ctr", "--namespace", "k8s.io", "images", "ls", "--quiet", &filter];
        if engine::run_in(node, &list).await?.trim().is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Pure: what containerd calls an image that was pulled by this name: of tag and digest only the digest counts.
fn stored(image: &str) -> String {
    let Some((tagged, digest)) = image.split_once('@') else { return image.to_owned() };
    // A colon before the last slash is a port's.
    let slash = tagged.rfind('/').unwrap_or(0);
    let name = tagged[slash..].find(':').map_or(tagged, |colon| &tagged[..slash + colon]);
    format!("{name}@{digest}")
}

#[cfg(test)]
mod tests {
    use super::stored;

    #[test]
    fn a_digest_counts_more_than_a_tag() {
        for (image, name) in [
            ("r.io/a/b:1", "r.io/a/b:1"),
            ("r.io/a/b:1@sha256:00", "r.io/a/b@sha256:00"),
            ("localhost:5000/a@sha256:00", "localhost:5000/a@sha256:00"),
        ] {
            assert_eq!(stored(image), name);
        }
    }
}
