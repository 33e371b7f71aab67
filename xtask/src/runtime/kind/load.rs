//! Images into kind's nodes: only those that are not there, and of these only the layers that are missing.

use std::collections::BTreeSet;

use super::engine;
use crate::error::Fault;
use crate::oci::Digest;
use crate::oci::archive::{self, Named};

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
