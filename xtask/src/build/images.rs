//! The built revisions of services, named by their content.
//!
//! A revision is a hard link to the program that cargo made, `images/SERVICE-ID`. Neither cargo nor
//! rustc ever writes into that inode again: rustc removes its output before the linker makes it anew, and
//! cargo's own name for it (`target/debug/SERVICE`) is a hard link that it replaces
//! (`cargo_never_writes_into_a_revision` watches that). So a link costs nothing, and pods of an old
//! revision can be restarted while the next one is built.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::content::{self, ID};
use crate::runtime::Image;

/// Revisions kept of each service beside those in use.
const KEPT: usize = 3;

/// The revisions in one directory.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

impl Store {
    /// Those in `directory`, which must exist.
    pub fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Makes the program a revision. One that is a revision already is recognised without reading it,
    /// by being the same file (not so where there are no hard links: then it is read each time).
    pub fn keep(&self, service: &str, program: &Path) -> io::Result<Image> {
        let made = program.metadata()?;
        for (id, binary) in self.revisions(service)? {
            if binary.metadata().is_ok_and(|kept| (kept.dev(), kept.ino()) == (made.dev(), made.ino())) {
                return Ok(Image { id, binary });
            }
        }
        let id = self.id(service, program)?;
        let binary = self.path(service, &id);
        // By a rename, so that a pod that starts meanwhile never finds half a file. The name can exist
        // already: built again with the same content. The link is replaced to be recognised next time.
        let new = self.0.join(format!(".{service}-{id}.{}", std::process::id()));
        let _ = fs::remove_file(&new);
        if fs::hard_link(program, &new).is_err() {
            fs::copy(program, &new)?;
        }
        fs::rename(&new, &binary)?;
        Ok(Image { id, binary })
    }

    /// Removes the revisions of every service but the newest few and those for which `used` holds.
    pub fn prune(&self, services: &[String], used: impl Fn(&Path) -> bool) -> io::Result<()> {
        for service in services {
            let mut revisions = self.revisions(service)?;
            revisions.sort_by_key(|(_, binary)| {
                std::cmp::Reverse(binary.metadata().and_then(|kept| kept.modified()).ok())
            });
            for (_, binary) in revisions.into_iter().skip(KEPT).filter(|(_, binary)| !used(binary)) {
                fs::remove_file(binary)?;
            }
        }
        Ok(())
    }

    /// The linker's name for the content, where it has one and no revision of another content has it.
    fn id(&self, service: &str, program: &Path) -> io::Result<String> {
        if let Some(id) = content::linked(program) {
            let kept = self.path(service, &id);
            if !kept.exists() || content::same(&kept, program)? {
                return Ok(id);
            }
        }
        content::hashed(program)
    }

    fn path(&self, service: &str, id: &str) -> PathBuf {
        self.0.join(format!("{service}-{id}"))
    }

    /// The revisions of a service: id and program, in no order.
    fn revisions(&self, service: &str) -> io::Result<Vec<(String, PathBuf)>> {
        let mut revisions = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_prefix(service)?.strip_prefix('-'));
            if let Some(id) = id.filter(|id| id.len() == ID && id.bytes().all(|b| b.is_ascii_hexdigit())) {
                revisions.push((id.to_owned(), self.0.join(&name)));
            }
        }
        Ok(revisions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let images = directory.path().join("images");
        fs::create_dir(&images).unwrap();
        (directory, Store::new(images))
    }

    /// As a linker does: a new file in place of the old one.
    fn link(path: &Path, content: &str) {
        let _ = fs::remove_file(path);
        fs::write(path, content).unwrap();
    }

    #[test]
    fn same_content_has_the_same_id_and_other_content_another() {
        let (directory, store) = store();
        let program = directory.path().join("baz");
        link(&program, "one");
        let one = store.keep("baz", &program).unwrap();
        assert_eq!(store.keep("baz", &program).unwrap(), one);
        link(&program, "two");
        let two = store.keep("baz", &program).unwrap();
        assert_ne!(two.id, one.id);
        link(&program, "one");
        assert_eq!(store.keep("baz", &program).unwrap(), one);
        assert_eq!(fs::read(&one.binary).unwrap(), b"one");
        assert_eq!(fs::read(&two.binary).unwrap(), b"two");
    }

    #[test]
    fn a_build_id_that_is_no_hash_makes_no_two_programs_one() {
        let (directory, store) = store();
        let program = directory.path().join("baz");
        let built = |content: &[u8]| {
            let _ = fs::remove_file(&program);
            fs::write(&program, content::tests::elf(&[7; 8], content)).unwrap();
            store.keep("baz", &program).unwrap()
        };
        let (one, two) = (built(b"one"), built(b"two"));
        assert_eq!(one.id, "070707070707");
        assert_ne!(two.id, one.id);
        assert_eq!((built(b"one"), built(b"two")), (one, two));
    }

    #[test]
    fn an_unchanged_program_is_not_read_again() {
        let (directory, store) = store();
        let program = directory.path().join("baz");
        link(&program, "one");
        let kept = store.keep("baz", &program).unwrap();
        // Renaming the revision shows where the id comes from the second time.
        fs::rename(&kept.binary, kept.binary.with_file_name("baz-0123456789ab")).unwrap();
        assert_eq!(store.keep("baz", &program).unwrap().id, "0123456789ab");
    }

    #[test]
    fn a_service_whose_name_starts_with_anothers_is_kept_apart() {
        let (directory, store) = store();
        let program = directory.path().join("program");
        link(&program, "one");
        let long = store.keep("baz-0123456789ab", &program).unwrap();
        let short = store.keep("baz", &program).unwrap();
        assert_ne!(long.binary, short.binary);
        assert_eq!(store.revisions("baz").unwrap().len(), 1);
    }

    #[test]
    fn old_revisions_go_but_for_those_in_use() {
        let (directory, store) = store();
        let program = directory.path().join("baz");
        let made: Vec<Image> = (0..6_u64)
            .map(|n| {
                link(&program, &n.to_string());
                let built = std::time::UNIX_EPOCH + std::time::Duration::from_secs(n);
                fs::File::options().write(true).open(&program).unwrap().set_modified(built).unwrap();
                store.keep("baz", &program).unwrap()
            })
            .collect();
        store.prune(&["baz".to_owned()], |binary| binary == made[1].binary).unwrap();
        let left: Vec<bool> = made.iter().map(|image| image.binary.exists()).collect();
        assert_eq!(left, [false, true, false, true, true, true]);
    }
}
