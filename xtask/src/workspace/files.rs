//! Files of objects: which are read, how large they may be, and the documents in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::Problem;
use super::yaml::{self, Node};

/// The largest file that is read, in bytes: an API server takes no object larger than 1.5 MiB.
const MAX_BYTES: u64 = 1 << 20;

/// Whether a file holds objects, by its name; hidden files are editors'.
pub fn is_meant(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// The files of a directory to read, sorted, relative to the root.
pub fn list(root: &Path, directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.join(directory))? {
        let path = directory.join(entry?.file_name());
        if is_meant(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads files (relative to the root); those that cannot be read are told.
pub fn contents(root: &Path, files: Vec<PathBuf>, problems: &mut Vec<Problem>) -> Vec<(PathBuf, Vec<u8>)> {
    let mut contents = Vec::new();
    for file in files {
        match content(&root.join(&file)) {
            Ok(bytes) => contents.push((file, bytes)),
            Err(cause) => problems.push(Problem::of_file(&file, cause)),
        }
    }
    contents
}

/// A file's bytes, or why they are not read.
fn content(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot read it: {error}");
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() {
        return Err("not a regular file; remove it, or give it another ending".to_owned());
    }
    if metadata.len() > MAX_BYTES {
        let (size, limit) = (metadata.len() >> 10, MAX_BYTES >> 10);
        return Err(format!("{size} KiB is more than a manifest may have ({limit} KiB); split it"));
    }
    std::fs::read(path).map_err(cannot)
}

/// A file's text; where it ends to be text, and what it is instead.
fn text(bytes: &[u8]) -> Result<&str, (usize, &'static str)> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err((0, "UTF-16 text"));
    }
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return Err((at, "not text, or UTF-16: it has a NUL byte"));
    }
    std::str::from_utf8(bytes).map_err(|error| (error.valid_up_to(), "not UTF-8 text"))
}

/// The roots of a file's documents. What is wrong in it is told.
pub fn documents(file: &Path, bytes: &[u8], problems: &mut Vec<Problem>) -> Vec<Arc<Node>> {
    let text = match text(bytes) {
        Ok(text) => text,
        Err((end, what)) => {
            let line = bytes[..end].split(|&byte| byte == b'\n').count();
            let message = format!("{what}; save the file as UTF-8");
            problems.push(Problem { file: file.to_owned(), line, column: 0, message });
            return Vec::new();
        }
    };
    let (roots, mistakes) = yaml::documents(file, text);
    if roots.is_empty() && mistakes.is_empty() {
        problems.push(Problem::of_file(file, "holds no object; write one, or remove the file"));
    }
    problems.extend(mistakes);
    roots
}
