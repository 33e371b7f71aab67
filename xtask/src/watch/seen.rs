//! The workspace's files as they were last seen: what tells a change from a save of the same bytes, and a
//! removed file from an editor's temporary one that came and went.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

use super::Change;
use super::relevant::Relevant;

/// Of a larger file only length and time are looked at.
const LARGEST_READ: u64 = 1 << 20;

/// Every relevant file and what was in it.
#[derive(Debug)]
pub struct Seen {
    relevant: Relevant,
    files: BTreeMap<PathBuf, u64>,
}

impl Seen {
    /// Nothing seen yet.
    pub fn new(relevant: Relevant) -> Self {
        Self { relevant, files: BTreeMap::new() }
    }

    /// Whether a change at this path can matter.
    pub fn is_relevant(&self, path: &Path) -> bool {
        self.relevant.is_relevant(path, path.is_dir())
    }

    /// Whether there was a file at this path when it was last looked at.
    pub fn knows(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// Looks at a directory and all that is relevant below it. Gives every directory to `found` before it
    /// reads what is in it, so that a file made meanwhile is either read here or reported by the watch.
    /// Returns the files that are new or changed. Links to directories are not followed.
    pub fn walk(&mut self, directory: &Path, found: &mut impl FnMut(&Path)) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        let mut directories = vec![directory.to_owned()];
        while let Some(directory) = directories.pop() {
            found(&directory);
            self.relevant.read(&directory);
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                let Ok(kind) = entry.file_type() else { continue };
                if !self.relevant.is_relevant(&path, kind.is_dir()) {
                    continue;
                }
                if kind.is_dir() {
                    directories.push(path);
                } else if self.look(&path) {
                    changed.push(path);
                }
            }
        }
        changed
    }

    /// What became of these paths, which saw events.
    pub fn settle(&mut self, paths: &BTreeSet<PathBuf>, found: &mut impl FnMut(&Path)) -> Change {
        let mut change = Change::default();
        for path in paths {
            if path.is_dir() {
                change.files.extend(self.walk(path, found));
            } else if path.is_file() {
                if self.look(path) {
                    change.files.push(path.clone());
                } else {
                    change.same.push(path.clone());
                }
            } else {
                change.files.extend(self.forget(path));
            }
        }
        change.files.sort();
        change.files.dedup();
        change
    }

    /// Everything again: events were lost, or other files are ignored now.
    pub fn again(&mut self, root: &Path, found: &mut impl FnMut(&Path)) -> Change {
        let mut files = self.walk(root, found);
        let gone: Vec<PathBuf> = self.files.keys().filter(|file| !file.is_file()).cloned().collect();
        files.extend(gone.iter().flat_map(|file| self.forget(file)));
        files.sort();
        Change { files, same: Vec::new() }
    }

    /// Whether the file is another than when it was last seen.
    fn look(&mut self, path: &Path) -> bool {
        match state(path) {
            Some(state) => self.files.insert(path.to_owned(), state) != Some(state),
            None => false,
        }
    }

    /// The files that were at or below a path where nothing is any more.
    fn forget(&mut self, path: &Path) -> Vec<PathBuf> {
        let below = self.files.range(path.to_owned()..).map(|(file, _)| file);
        let gone: Vec<PathBuf> = below.take_while(|file| file.starts_with(path)).cloned().collect();
        for file in &gone {
            self.files.remove(file);
        }
        gone
    }
}

/// A number that differs when the file does. None when it cannot be read.
fn state(path: &Path) -> Option<u64> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let mut hash = DefaultHasher::new();
    if metadata.len() > LARGEST_READ {
        hash.write_u64(metadata.len());
        let modified = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        hash.write_u128(modified.as_nanos());
    } else {
        hash.write(&fs::read(path).ok()?);
    }
    Some(hash.finish())
}
