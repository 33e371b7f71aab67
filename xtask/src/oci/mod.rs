//! Container images, made without a Dockerfile and without an engine: a base layer with certificates and a user, and a
//! layer with one static program. The same program gives the same digest, on any machine.
//! Source: the OCI image specification, 1.1.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

pub mod archive;
mod blob;
mod layer;
pub mod push;
pub mod sbom;

pub use blob::{Blob, Digest};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What an image runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform {
    /// In Go's words, as the specification has it: `amd64`, `arm64`.
    pub architecture: &'static str,
}

/// An image: its manifest and what that names.
#[derive(Clone, Debug)]
pub struct Image {
    /// The service's name.
    pub name: String,
    pub manifest: Blob,
    pub config: Blob,
    pub layers: Vec<Blob>,
}

impl Image {
    /// The image of a program. `labels`: what is known of it, by OCI's annotation keys. Errors when the program cannot
    /// be read.
    pub fn of_program(
        name: &str,
        program: &Path,
        platform: Platform,
        labels: &BTreeMap<String, String>,
    ) -> io::Result<Self> {
        let layers = vec![
            Blob::of_bytes(layer::MEDIA_TYPE, layer::base()?),
            Blob::of_program(name, program.to_owned())?,
        ];
        let config = Blob::of_bytes(CONFIG, document(&config(name, platform, labels, &layers)));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
            "annotations": labels,
        });
        let manifest = Blob::of_bytes(MANIFEST, document(&manifest));
        Ok(Self { name: name.to_owned(), manifest, config, layers })
    }

    /// Its digest, which is its manifest's.
    pub fn digest(&self) -> &Digest {
        &self.manifest.digest
    }

    /// Everything that it is made of, the manifest last: a registry wants what it names before it.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.layers.iter().chain([&self.config, &self.manifest])
    }

    /// Bytes of its layers, which is what a node unpacks.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }

    /// The manifest of a document that says something about this image: a referrer, in the specification's words.
    pub fn referrer(&self, artifact_type: &'static str, document_blob: &Blob) -> Blob {
        // The specification's own empty document, for artifacts without a configuration.
        let empty = Self::empty();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": artifact_type,
            "config": empty.descriptor(),
            "layers": [document_blob.descriptor()],
            "subject": self.manifest.descriptor(),
        });
        Blob::of_bytes(MANIFEST, document(&manifest))
    }

    /// The document `{}`, the configuration of what has none.
    pub fn empty() -> Blob {
        Blob::of_bytes("application/vnd.oci.empty.v1+json", b"{}".to_vec())
    }
}

fn config(name: &str, platform: Platform, labels: &BTreeMap<String, String>, layers: &[Blob]) -> Value {
    let user = layer::USER;
    json!({
        "architecture": platform.architecture,
        "os": "linux",
        // Times would make another image of the same content.
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": format!("{user}:{user}"),
            "Env": ["PATH=/", format!("SSL_CERT_FILE={}", layer::CERTIFICATES)],
            "Entrypoint": [format!("/{name}")],
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": {
            "type": "layers",
            // They are not compressed, so the digests of what they unpack to are their own.
            "diff_ids": layers.iter().map(|layer| layer.digest.as_str()).collect::<Vec<_>>(),
        },
        "history": [
            { "created_by": "cargo xtask: certificates, passwd" },
            { "created_by": format!("cargo xtask: /{name}") },
        ],
    })
}

/// A document's bytes. Keys are in the order of the alphabet, so the same document is the same bytes.
fn document(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests;
