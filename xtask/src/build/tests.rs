//! Real cargo, on small workspaces made for each test.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::*;

struct Workspace {
    directory: tempfile::TempDir,
    events: Events,
}

impl Workspace {
    /// Two services, `one` and `two`, which need the crate `common`.
    fn new() -> Self {
        let workspace = Self { directory: tempfile::tempdir().unwrap(), events: Events::default() };
        workspace.write(
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"*/\"]\nexclude = [\"target\"]\n",
        );
        workspace.write(
            "common/Cargo.toml",
            "[package]\nname = \"common\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        );
        workspace.write("common/src/lib.rs", "pub const NAME: &str = \"common\";\n");
        for service in ["one", "two"] {
            workspace.write(
                &format!("{service}/Cargo.toml"),
                &format!(
                    "[package]\nname = \"{service}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
                     [dependencies]\ncommon = {{ path = \"../common\" }}\n"
                ),
            );
            workspace.write(&format!("{service}/src/main.rs"), &main("println!(\"{}\", common::NAME);"));
        }
        workspace.builder().state.create().unwrap();
        workspace
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn builder(&self) -> Builder {
        Builder {
            root: self.directory.path().to_owned(),
            state: StateDir::of(self.directory.path(), &self.directory.path().join("target")),
            release: false,
            colour: false,
        }
    }

    async fn build(&self, services: &[&str]) -> Result<Images, BuildFailure> {
        let services: Vec<String> = services.iter().map(|&service| service.to_owned()).collect();
        self.builder().build(&self.packages(), &services, None, &self.events, &CancellationToken::new()).await
    }

    fn packages(&self) -> BTreeSet<String> {
        let id = |package: &str| format!("path+file://{}/{package}", self.directory.path().display());
        ["one", "two"].map(id).into()
    }

    /// What the compiler said so far: errors or warnings.
    fn compiler(&self, errors: bool) -> Vec<String> {
        let (recent, _) = self.events.subscribe();
        recent
            .iter()
            .filter_map(|event| match &**event {
                Event::Compiler { rendered, error } if *error == errors => Some(rendered.clone()),
                _ => None,
            })
            .collect()
    }
}

fn main(body: &str) -> String {
    format!("fn main() {{\n    {body}\n}}\n")
}

fn run(image: &crate::runtime::Image) -> String {
    let output = std::process::Command::new(&image.binary).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn what_is_built_is_what_was_asked_for_and_runs() {
    let workspace = Workspace::new();
    let images = workspace.build(&["one"]).await.unwrap();
    assert_eq!(images.keys().collect::<Vec<_>>(), ["one"]);
    assert_eq!(run(&images["one"]), "common\n");
    assert!(!workspace.directory.path().join("target/debug/two").exists());
}

#[tokio::test]
async fn cargo_never_writes_into_a_revision() {
    let workspace = Workspace::new();
    let old = workspace.build(&["one"]).await.unwrap().remove("one").unwrap();
    let inode = fs::metadata(&old.binary).unwrap().ino();
    let content = fs::read(&old.binary).unwrap();
    workspace.write("common/src/lib.rs", "pub const NAME: &str = \"changed\";\n");
    let new = workspace.build(&["one"]).await.unwrap().remove("one").unwrap();
    assert_ne!(new.id, old.id);
    assert_eq!(run(&new), "changed\n");
    assert_eq!(run(&old), "common\n");
    assert_eq!(fs::metadata(&old.binary).unwrap().ino(), inode);
    assert_eq!(fs::read(&old.binary).unwrap(), content);
}

#[tokio::test]
async fn a_change_without_effect_gives_the_same_revision() {
    let workspace = Workspace::new();
    let old = workspace.build(&["one", "two"]).await.unwrap();
    workspace.write("one/src/main.rs", &main("println!(\"{}\", common::NAME);"));
    assert_eq!(workspace.build(&["one", "two"]).await.unwrap(), old);
}

#[tokio::test]
async fn every_error_of_every_service_is_told_with_file_and_line() {
    let workspace = Workspace::new();
    workspace.write("one/src/main.rs", &main("missing();"));
    workspace.write("two/src/main.rs", &main("absent();\n    gone();"));
    let failure = workspace.build(&["one", "two"]).await.unwrap_err();
    assert_eq!(failure.to_string(), "one, two do not compile: 3 errors");
    let errors = workspace.compiler(true);
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("one/src/main.rs:2:5")), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("two/src/main.rs:3:5")), "{errors:?}");
}

#[tokio::test]
async fn a_warning_is_told_when_its_crate_is_compiled_and_not_again() {
    let workspace = Workspace::new();
    workspace.write("one/src/main.rs", &main("let unused = 1;"));
    workspace.build(&["one"]).await.unwrap();
    let warnings = workspace.compiler(false);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("one/src/main.rs:2:9"), "{warnings:?}");
    workspace.write("two/src/main.rs", &main("println!();"));
    workspace.build(&["one", "two"]).await.unwrap();
    assert_eq!(workspace.compiler(false).len(), 1);
}

#[tokio::test]
async fn what_a_build_script_wrote_before_it_failed_is_told() {
    let workspace = Workspace::new();
    workspace.write(
        "common/build.rs",
        "fn main() {\n    eprintln!(\"demo.proto:3:1: oh\");\n    std::process::exit(1);\n}\n",
    );
    let failure = workspace.build(&["one"]).await.unwrap_err();
    assert!(failure.to_string().contains("failed to run custom build command for `common"), "{failure}");
    assert!(workspace.compiler(true)[0].contains("demo.proto:3:1: oh"));
}

#[tokio::test]
async fn a_broken_cargo_toml_is_told_with_its_place() {
    let workspace = Workspace::new();
    workspace.write("one/Cargo.toml", "[package\n");
    let failure = workspace.build(&["one"]).await.unwrap_err();
    assert!(matches!(failure, BuildFailure::Cargo(_)), "{failure:?}");
    assert!(workspace.compiler(true)[0].contains("one/Cargo.toml:1:9"), "{:?}", workspace.compiler(true));
}

#[tokio::test]
async fn a_service_without_a_program_is_named() {
    let workspace = Workspace::new();
    let failure = workspace.build(&["one", "three"]).await.unwrap_err();
    assert!(failure.to_string().contains("three"), "{failure}");
}

#[tokio::test]
async fn nothing_of_a_cancelled_build_goes_on() {
    let workspace = Workspace::new();
    let pid_file = workspace.directory.path().join("pid");
    workspace.write(
        "common/build.rs",
        &format!(
            "fn main() {{\n    std::fs::write({pid_file:?}, std::process::id().to_string()).unwrap();\n    \
             loop {{ std::thread::park() }}\n}}\n"
        ),
    );
    let cancel = CancellationToken::new();
    let (builder, packages) = (workspace.builder(), workspace.packages());
    let (events, token) = (workspace.events.clone(), cancel.clone());
    let build =
        tokio::spawn(
            async move { builder.build(&packages, &["one".to_owned()], None, &events, &token).await },
        );
    let pid = loop {
        let pid = fs::read_to_string(&pid_file).ok().and_then(|pid| pid.parse::<i32>().ok());
        if let Some(pid) = pid {
            break rustix::process::Pid::from_raw(pid).unwrap();
        }
        assert!(!build.is_finished());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    cancel.cancel();
    assert!(matches!(build.await.unwrap(), Err(BuildFailure::Cancelled)));
    // Gone, or a zombie where nobody reaps orphans.
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}
