//! Content by its digest: what images are made of.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::layer;

/// `sha256:` and 64 hexadecimal digits (OCI image specification, descriptor.md).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// The digest of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(&Sha256::digest(bytes))
    }

    fn from_hash(hash: &[u8]) -> Self {
        use fmt::Write as _;
        let mut text = String::from("sha256:");
        for byte in hash {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The digits alone.
    pub fn hex(&self) -> &str {
        self.0.trim_start_matches("sha256:")
    }

    /// The first digits: enough to tell the images of a workspace apart, as git's short ids are.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// As it is written in documents.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One piece of an image. A program's layer is not kept: it is written again from the program each time.
#[derive(Clone, Debug)]
pub struct Blob {
    /// What it is (OCI image specification, media-types.md).
    pub media_type: &'static str,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Bytes(Arc<[u8]>),
    /// A layer with this program as `/NAME`.
    Program {
        name: String,
        file: PathBuf,
    },
}

impl Blob {
    /// These bytes.
    pub fn of_bytes(media_type: &'static str, bytes: Vec<u8>) -> Self {
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        Self { media_type, digest, size, content: Content::Bytes(bytes.into()) }
    }

    /// The layer with a program as `/NAME`. Errors when it cannot be read.
    pub fn of_program(name: &str, file: PathBuf) -> io::Result<Self> {
        let content = Content::Program { name: name.to_owned(), file };
        let mut hashing = Hashing { hash: Sha256::new(), size: 0 };
        content.write(&mut hashing)?;
        let digest = Digest::from_hash(&hashing.hash.finalize());
        Ok(Self { media_type: layer::MEDIA_TYPE, digest, size: hashing.size, content })
    }

    /// Writes its bytes.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.content.write(out)
    }

    /// How documents refer to it (OCI image specification, descriptor.md).
    pub fn descriptor(&self) -> serde_json::Value {
        serde_json::json!({ "mediaType": self.media_type, "digest": self.digest.as_str(), "size": self.size })
    }
}

impl Content {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => out.write_all(bytes),
            Self::Program { name, file } => layer::program(name, file, out),
        }
    }
}

struct Hashing {
    hash: Sha256,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
