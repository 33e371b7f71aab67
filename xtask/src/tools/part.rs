//! A file that is being fetched: what has come so far, hashed as it comes, kept for the next try.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::cache;

/// The file and its hash. Dropped, it stays for the next try.
#[derive(Debug)]
pub struct Part {
    file: File,
    path: PathBuf,
    hash: Sha256,
    len: u64,
}

impl Part {
    /// Opens what an earlier try left, or a new file.
    pub async fn open(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        let open = move || {
            let mut file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let mut hash = Sha256::new();
            let len = cache::read_into(&mut file, &mut hash)?;
            Ok(Self { file, path, hash, len })
        };
        tokio::task::spawn_blocking(open).await.map_err(io::Error::other)?
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The sha256 of what there is.
    pub fn sum(&self) -> String {
        cache::hex(self.hash.clone())
    }

    /// Adds bytes. They go to the page cache, so it is not worth a thread.
    pub fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Begins anew.
    pub fn restart(&mut self) -> io::Result<()> {
        self.set_tag(None)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.hash = Sha256::new();
        self.len = 0;
        Ok(())
    }

    /// The server's tag of the file that this is a part of.
    pub fn tag(&self) -> Option<String> {
        std::fs::read_to_string(self.tag_path()).ok().filter(|tag| !tag.is_empty())
    }

    /// Keeps the server's tag, beside the file.
    pub fn set_tag(&self, tag: Option<&str>) -> io::Result<()> {
        match tag {
            Some(tag) => std::fs::write(self.tag_path(), tag),
            None => gone(std::fs::remove_file(self.tag_path())),
        }
    }

    fn tag_path(&self) -> PathBuf {
        cache::beside(&self.path, "etag")
    }

    /// Removes it.
    pub fn delete(self) -> io::Result<()> {
        self.set_tag(None)?;
        gone(std::fs::remove_file(&self.path))
    }

    /// Puts it in its place as a program.
    pub fn finish(self, path: &Path) -> io::Result<()> {
        self.set_tag(None)?;
        drop(self.file);
        cache::put(&self.path, path)
    }
}

/// What is gone already is as good as removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
