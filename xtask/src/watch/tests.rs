//! Real files, real inotify. What must not be told is shown by a marker saved after it, which must be.

use std::collections::BTreeSet;
use std::fs;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

struct Workspace {
    directory: tempfile::TempDir,
    watch: Watch,
    events: Events,
}

impl Workspace {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (file, content) in [
            ("Cargo.toml", "[workspace]\n"),
            (".gitignore", "/ignored/\n"),
            ("services/baz/src/main.rs", "fn main() {}\n"),
            ("manifests/base/baz.yaml", "kind: Service\n"),
            ("ignored/a.rs", ""),
            ("target/debug/baz", ""),
            ("marker", "0"),
        ] {
            write(directory.path(), file, content);
        }
        let events = Events::default();
        let watch = watch(directory.path(), &directory.path().join("target"), &events);
        Self { directory, watch, events }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn write(&self, file: &str, content: &str) {
        write(self.directory.path(), file, content);
    }

    async fn next(&mut self) -> Change {
        tokio::time::timeout(DEADLINE, self.watch.next()).await.expect("no change was told")
    }

    /// Everything that was told of what happened before this call: changed, and saved again.
    async fn told(&mut self) -> (BTreeSet<String>, BTreeSet<String>) {
        let marker = self.path("marker");
        let before = fs::read_to_string(&marker).unwrap();
        fs::write(&marker, format!("{before}0")).unwrap();
        let (mut files, mut same) = (BTreeSet::new(), BTreeSet::new());
        let root = self.directory.path().to_owned();
        let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
        while !files.contains("marker") {
            let change = self.next().await;
            files.extend(change.files.iter().map(name));
            same.extend(change.same.iter().map(name));
        }
        files.remove("marker");
        (files, same)
    }

    async fn changed(&mut self) -> Vec<String> {
        self.told().await.0.into_iter().collect()
    }
}

fn write(root: &Path, file: &str, content: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[tokio::test]
async fn a_save_is_told_once() {
    let mut workspace = Workspace::new();
    workspace.write("services/baz/src/main.rs", "fn main() { }\n");
    let change = workspace.next().await;
    assert_eq!(change.files, [workspace.path("services/baz/src/main.rs")]);
    assert_eq!(workspace.changed().await, [""; 0]);
}

#[tokio::test]
async fn a_save_by_renaming_over_is_told_and_the_temporary_file_is_not() {
    let mut workspace = Workspace::new();
    workspace.write("services/baz/src/main.rs.Xy12Za", "fn main() { }\n");
    fs::rename(workspace.path("services/baz/src/main.rs.Xy12Za"), workspace.path("services/baz/src/main.rs"))
        .unwrap();
    assert_eq!(workspace.changed().await, ["services/baz/src/main.rs"]);
}

#[tokio::test]
async fn a_save_as_vim_does_it_is_told_alone() {
    let mut workspace = Workspace::new();
    let src = workspace.path("services/baz/src");
    fs::write(src.join(".main.rs.swp"), "swap").unwrap();
    fs::write(src.join("4913"), "").unwrap();
    fs::remove_file(src.join("4913")).unwrap();
    fs::rename(src.join("main.rs"), src.join("main.rs~")).unwrap();
    fs::write(src.join("main.rs"), "fn main() { }\n").unwrap();
    fs::remove_file(src.join("main.rs~")).unwrap();
    assert_eq!(workspace.changed().await, ["services/baz/src/main.rs"]);
}

#[tokio::test]
async fn build_output_ignored_files_permissions_and_reading_are_not_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut workspace = Workspace::new();
    workspace.write("target/debug/baz", "new");
    workspace.write("ignored/a.rs", "new");
    workspace.write(".git/index", "new");
    let main = workspace.path("services/baz/src/main.rs");
    fs::read(&main).unwrap();
    fs::set_permissions(&main, fs::Permissions::from_mode(0o600)).unwrap();
    let now = std::time::SystemTime::now();
    fs::File::open(&main)
        .unwrap()
        .set_times(fs::FileTimes::new().set_accessed(now).set_modified(now))
        .unwrap();
    let (files, same) = workspace.told().await;
    assert!(files.is_empty() && same.is_empty(), "{files:?} {same:?}");
}

#[tokio::test]
async fn the_same_bytes_saved_are_no_change_but_told_as_saved() {
    let mut workspace = Workspace::new();
    workspace.write("manifests/base/baz.yaml", "kind: Service\n");
    let (files, same) = workspace.told().await;
    assert!(files.is_empty(), "{files:?}");
    assert_eq!(same.into_iter().collect::<Vec<_>>(), ["manifests/base/baz.yaml"]);
}

#[tokio::test]
async fn a_new_service_is_told_with_all_its_files_and_then_watched() {
    let mut workspace = Workspace::new();
    workspace.write("services/qux/Cargo.toml", "[package]\n");
    workspace.write("services/qux/src/deep/main.rs", "fn main() {}\n");
    assert_eq!(workspace.changed().await, ["services/qux/Cargo.toml", "services/qux/src/deep/main.rs"]);
    workspace.write("services/qux/src/deep/main.rs", "fn main() { }\n");
    assert_eq!(workspace.changed().await, ["services/qux/src/deep/main.rs"]);
}

#[tokio::test]
async fn what_is_removed_is_told_whether_file_or_directory() {
    let mut workspace = Workspace::new();
    fs::remove_file(workspace.path("manifests/base/baz.yaml")).unwrap();
    assert_eq!(workspace.changed().await, ["manifests/base/baz.yaml"]);
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(workspace.path("services/baz"), elsewhere.path().join("baz")).unwrap();
    assert_eq!(workspace.changed().await, ["services/baz/src/main.rs"]);
}

#[tokio::test]
async fn a_directory_that_moved_is_told_at_both_places_and_watched_at_the_new_one() {
    let mut workspace = Workspace::new();
    fs::rename(workspace.path("services/baz"), workspace.path("services/qux")).unwrap();
    assert_eq!(workspace.changed().await, ["services/baz/src/main.rs", "services/qux/src/main.rs"]);
    workspace.write("services/qux/src/main.rs", "fn main() { }\n");
    assert_eq!(workspace.changed().await, ["services/qux/src/main.rs"]);
}

#[tokio::test]
async fn an_edited_gitignore_counts_from_then_on() {
    let mut workspace = Workspace::new();
    workspace.write(".gitignore", "*.log\n");
    assert_eq!(workspace.changed().await, [".gitignore"]);
    workspace.write("services/baz/trace.log", "noise");
    workspace.write("ignored/a.rs", "fn main() {}\n");
    assert_eq!(workspace.changed().await, ["ignored/a.rs"]);
}

#[tokio::test]
async fn many_files_at_once_come_together() {
    let mut workspace = Workspace::new();
    for n in 0..200 {
        workspace.write(&format!("proto/src/file{n}.rs"), "");
    }
    assert_eq!(workspace.changed().await.len(), 200);
}

#[tokio::test]
async fn nothing_is_told_as_failed_when_all_can_be_watched() {
    let workspace = Workspace::new();
    assert!(workspace.events.subscribe().0.is_empty());
}

#[test]
fn a_reached_limit_is_told_with_its_remedy() {
    let Event::Error { message, hint } = failure(&notify::Error::new(ErrorKind::MaxFilesWatch)) else {
        panic!()
    };
    insta::assert_snapshot!(message, @"cannot watch all files: the limit of inotify watches is reached; changes may go unnoticed");
    insta::assert_snapshot!(hint.unwrap(), @"sudo sysctl fs.inotify.max_user_watches=524288");
}
