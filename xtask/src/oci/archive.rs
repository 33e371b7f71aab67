//! Images as one archive: an OCI image layout in a tar, which containerd imports, and `docker load`, `skopeo` and
//! `crane` read. Source: OCI image specification, image-layout.md.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::{Blob, Digest, INDEX, Image, document};

/// An image, what it is called, and what is said about it.
#[derive(Clone, Debug)]
pub struct Named {
    /// With registry and tag: `localhost/baz:1f2e3d4c5b6a`.
    pub reference: String,
    pub image: Image,
    /// Manifests that refer to it, each with the document that it is about.
    pub referrers: Vec<(Blob, Blob)>,
}

/// Writes the archive. Blobs in `present` are left out: the receiver has them. Returns the bytes of the blobs written.
pub fn write(images: &[Named], present: &BTreeSet<Digest>, out: &mut dyn Write) -> io::Result<u64> {
    let mut archive = Builder::new(out);
    let mut written: BTreeSet<Digest> = BTreeSet::new();
    let mut bytes = 0;
    small(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    small(&mut archive, "index.json", &document(&index(images)))?;
    small(&mut archive, "manifest.json", &document(&docker(images)))?;
    let empty = Image::empty();
    for named in images {
        let referrers = named.referrers.iter().flat_map(|(manifest, about)| [about, &empty, manifest]);
        for blob in named.image.blobs().chain(referrers) {
            if present.contains(&blob.digest) || !written.insert(blob.digest.clone()) {
                continue;
            }
            append(&mut archive, blob)?;
            bytes += blob.size;
        }
    }
    archive.finish()?;
    Ok(bytes)
}

fn index(images: &[Named]) -> Value {
    let mut manifests = Vec::new();
    for named in images {
        let mut manifest = named.image.manifest.descriptor();
        let tag = named.reference.rsplit(':').next().unwrap_or_default();
        manifest["annotations"] = json!({
            // Whole for containerd, the tag alone for everyone else.
            "io.containerd.image.name": named.reference,
            "org.opencontainers.image.ref.name": tag,
        });
        manifests.push(manifest);
        manifests.extend(named.referrers.iter().map(|(manifest, _)| manifest.descriptor()));
    }
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
}

/// What engines before Docker 25 read in place of the index, as `docker save` writes it.
fn docker(images: &[Named]) -> Value {
    let path = |blob: &Blob| format!("blobs/sha256/{}", blob.digest.hex());
    let images = images.iter().map(|named| {
        json!({
            "Config": path(&named.image.config),
            "RepoTags": [named.reference],
            "Layers": named.image.layers.iter().map(path).collect::<Vec<_>>(),
        })
    });
    images.collect()
}

fn small(archive: &mut Builder<&mut dyn Write>, path: &str, bytes: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(bytes.len() as u64), path, bytes)
}

fn append(archive: &mut Builder<&mut dyn Write>, blob: &Blob) -> io::Result<()> {
    let mut header = header(blob.size);
    header.set_path(format!("blobs/sha256/{}", blob.digest.hex()))?;
    header.set_cksum();
    let out = archive.get_mut();
    out.write_all(header.as_bytes())?;
    blob.write(out)?;
    // A tar's entries are padded to its blocks.
    let padding = usize::try_from(blob.size.next_multiple_of(512) - blob.size).unwrap_or_default();
    out.write_all(&[0; 512][..padding])
}

fn header(size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}
