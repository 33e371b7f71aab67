//! Images into kind's nodes: only those that are not there, and of these only the layers that are missing.

use std::collections::BTreeSet;

use super::engine;
use crate::error::Fault;
use crate::oci::archive::{self, Named};
use crate::oci::{Blob, Digest};

/// containerd's command for what the kubelet sees.
const CTR: [&str; 3] = ["ctr", "--namespace", "k8s.io"];

/// Loads images into a node; the bytes that were sent. One that is there under its name is not sent: names are by
/// content.
pub async fn load(node: &str, images: &[Named]) -> Result<u64, Fault> {
    let list = "ctr -n k8s.io images ls -q; echo --; ctr -n k8s.io content ls -q";
    let listed = engine::run_in(node, &["sh", "-c", list]).await?;
    let (names, digests) = listed.split_once("--\n").unwrap_or((&listed, ""));
    let names: BTreeSet<&str> = names.lines().collect();
    let missing: Vec<Named> =
        images.iter().filter(|image| !names.contains(image.reference.as_str())).cloned().collect();
    if missing.is_empty() {
        return Ok(0);
    }
    let there: BTreeSet<&str> = digests.lines().collect();
    let present = |blob: &&Blob| there.contains(blob.digest.as_str());
    let layers = missing.iter().flat_map(|named| &named.image.layers);
    let present: BTreeSet<Digest> = layers.filter(present).map(|layer| layer.digest.clone()).collect();
    let command = [&CTR[..], &["images", "import", "--digests", "--snapshotter", "overlayfs", "-"]].concat();
    engine::feed(node, &command, move |out| archive::write(&missing, &present, out)).await
}
