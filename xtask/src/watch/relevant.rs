//! Which files are worth a look when they change. Pure, but for reading ignore files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Directories of version control and editors: what is in them is never part of the workspace.
const TOOLS: [&str; 10] =
    [".git", ".hg", ".jj", ".svn", ".idea", ".vscode", ".vs", ".fleet", ".zed", ".direnv"];

/// The rules of one workspace: its ignore files, and the names that are noise everywhere.
#[derive(Debug)]
pub struct Relevant {
    root: PathBuf,
    /// Cargo's build output, which nothing needs to ignore by name.
    target: PathBuf,
    /// `.git/info/exclude`.
    exclude: Gitignore,
    /// The `.gitignore` of each directory that has one.
    ignores: BTreeMap<PathBuf, Gitignore>,
}

impl Relevant {
    /// No ignore file but `.git/info/exclude` read yet: see [`Self::read`].
    pub fn new(root: &Path, target: &Path) -> Self {
        // A broken line is git's to complain about; the others hold.
        let mut exclude = GitignoreBuilder::new(root);
        exclude.add(root.join(".git/info/exclude"));
        let exclude = exclude.build().unwrap_or_else(|_| Gitignore::empty());
        Self { root: root.to_owned(), target: target.to_owned(), exclude, ignores: BTreeMap::new() }
    }

    /// Reads the `.gitignore` of a directory (again), if it has one.
    pub fn read(&mut self, directory: &Path) {
        let file = directory.join(".gitignore");
        if file.is_file() {
            self.ignores.insert(directory.to_owned(), Gitignore::new(file).0);
        } else {
            self.ignores.remove(directory);
        }
    }

    /// Whether a change of this file, or what is in this directory, can matter. `path` is absolute.
    pub fn is_relevant(&self, path: &Path, is_directory: bool) -> bool {
        let Ok(relative) = path.strip_prefix(&self.root) else { return false };
        if path.starts_with(&self.target) {
            return false;
        }
        let mut components = relative.components().map(|part| part.as_os_str().to_string_lossy());
        let tools = components.any(|part| TOOLS.contains(&&*part));
        let noise = !is_directory && path.file_name().is_some_and(|name| is_noise(&name.to_string_lossy()));
        !tools && !noise && !self.is_ignored(path, is_directory)
    }

    /// By git's rules: the deepest ignore file that says something decides, and what is in an ignored
    /// directory is ignored whatever is said of it.
    fn is_ignored(&self, path: &Path, is_directory: bool) -> bool {
        let mut of_parents = path.ancestors().skip(1).take_while(|parent| parent.starts_with(&self.root));
        self.is_named(path, is_directory) || of_parents.any(|parent| self.is_named(parent, true))
    }

    fn is_named(&self, path: &Path, is_directory: bool) -> bool {
        let directories = path.ancestors().skip(1).take_while(|parent| parent.starts_with(&self.root));
        let files = directories.filter_map(|directory| self.ignores.get(directory)).chain([&self.exclude]);
        files
            .map(|ignore| ignore.matched(path, is_directory))
            .find(|said| !said.is_none())
            .is_some_and(|said| said.is_ignore())
    }
}

/// Names of files that editors and desktops make beside the real ones.
fn is_noise(name: &str) -> bool {
    let vim = || {
        // `.main.rs.swp`, `.swo`, `.swpx`; and 4913 and its successors, with which it tries a directory.
        let swap = name.starts_with('.')
            && name.rsplit_once(".sw").is_some_and(|(_, end)| (1..=2).contains(&end.len()));
        swap || (name.len() >= 4 && name.parse::<u32>().is_ok_and(|n| n >= 4913 && (n - 4913) % 123 == 0))
    };
    let emacs = || name.starts_with(".#") || (name.starts_with('#') && name.ends_with('#'));
    name.ends_with('~')
        || vim()
        || emacs()
        || name.ends_with("___jb_tmp___")
        || name.ends_with("___jb_old___")
        || name.ends_with(".kate-swp")
        || name.starts_with(".goutputstream-")
        || matches!(name, ".DS_Store" | "Thumbs.db")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(files: &[(&str, &str)]) -> (tempfile::TempDir, Relevant) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (path, content) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let mut relevant = Relevant::new(root, &root.join("target"));
        for (path, _) in files {
            relevant.read(root.join(path).parent().unwrap());
        }
        (directory, relevant)
    }

    fn is_relevant(relevant: &Relevant, path: &str) -> bool {
        relevant.is_relevant(&relevant.root.join(path.trim_end_matches('/')), path.ends_with('/'))
    }

    #[test]
    fn sources_and_manifests_are_relevant() {
        let (_directory, relevant) = workspace(&[]);
        for path in [
            "services/baz/src/main.rs",
            "services/baz/.sqlx/query.json",
            "manifests/base/baz.yaml",
            "proto/services.proto",
            "Cargo.toml",
            "Cargo.lock",
            ".cargo/config.toml",
            "rust-toolchain.toml",
            "services/new/",
            "services/baz/src/sw.rs",
            "services/baz/testdata/1234",
        ] {
            assert!(is_relevant(&relevant, path), "{path}");
        }
    }

    #[test]
    fn what_editors_and_desktops_leave_is_not() {
        let (_directory, relevant) = workspace(&[]);
        for name in [
            ".main.rs.swp",
            ".main.rs.swo",
            ".main.rs.swx",
            ".main.rs.swpx",
            "4913",
            "5036",
            "main.rs~",
            "#main.rs#",
            ".#main.rs",
            "main.rs___jb_tmp___",
            "main.rs___jb_old___",
            ".main.rs.kate-swp",
            ".goutputstream-AB12CD",
            ".DS_Store",
        ] {
            assert!(!is_relevant(&relevant, &format!("services/baz/src/{name}")), "{name}");
        }
    }

    #[test]
    fn build_output_and_tools_directories_are_not() {
        let (_directory, relevant) = workspace(&[]);
        for path in ["target/", "target/debug/baz", ".git/", ".git/HEAD", "services/.idea/workspace.xml"] {
            assert!(!is_relevant(&relevant, path), "{path}");
        }
    }

    #[test]
    fn what_git_ignores_on_any_level_is_not() {
        let (_directory, relevant) = workspace(&[
            (".gitignore", "*.log\n/generated/\n"),
            ("services/baz/.gitignore", "fixtures\n!important.log\n"),
            (".git/info/exclude", "mine.rs\n"),
        ]);
        for (path, expected) in [
            ("services/foo/trace.log", false),
            ("generated/", false),
            ("generated/deep/inside.rs", false),
            ("services/generated/a.rs", true),
            ("services/baz/fixtures/data.json", false),
            ("services/baz/important.log", true),
            ("services/foo/fixtures/data.json", true),
            ("services/foo/src/mine.rs", false),
        ] {
            assert_eq!(is_relevant(&relevant, path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_outside_the_workspace_is_not() {
        let (_directory, relevant) = workspace(&[]);
        assert!(!relevant.is_relevant(Path::new("/elsewhere/main.rs"), false));
    }
}
