//! `doctor` on a machine that is broken on purpose: each condition is made for real, and must be named with its remedy.
//! Where this machine does not let a test make it, the test says so.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsStr;
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use serde_json::Value;

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// What `doctor` found.
struct Findings(Value);

impl Findings {
    fn of(output: &Output) -> Self {
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {} {}", output.status, String::from_utf8_lossy(&output.stderr))
        });
        let problems = found["problems"].as_u64().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(problems > 0)), "{found:#}");
        Self(found)
    }

    /// A check must be told so, with all these words in what was found, and this in its remedy.
    #[track_caller]
    fn tell(&self, check: &str, level: &str, words: &[&str], remedy: &str) {
        let findings = self.0["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["check"] == check).unwrap();
        let found = finding["found"].as_str().unwrap();
        assert_eq!(finding["level"], level, "{finding:#}");
        assert!(words.iter().all(|word| found.contains(word)), "{finding:#}");
        assert!(finding["remedy"].as_str().unwrap().contains(remedy), "{finding:#}");
    }
}

/// `program ARGS`, as in a terminal that cargo did not open.
fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for variable in ["CARGO", "RUSTC", "CARGO_TARGET_DIR", "DOCKER_HOST"] {
        command.env_remove(variable);
    }
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    command
}

/// `doctor`, with more said of how it is run.
fn doctor(change: impl FnOnce(&mut Command)) -> Findings {
    let mut command = command(XTASK);
    change(command.args(["doctor", "-o", "json"]));
    Findings::of(&command.output().unwrap())
}

/// `doctor` at the end of a script that breaks something first. In namespaces of its own, if any are named, where it
/// is root: none, with the reason told, where they cannot be had or the script cannot break it.
fn broken_by(namespaces: &str, script: &str, directory: &Path) -> Option<Findings> {
    let script = format!("set -e\n{script}\necho is broken >&2\nexec \"$0\" doctor -o json");
    let mut command = if namespaces.is_empty() {
        command("bash")
    } else {
        let mut unshare = command("unshare");
        unshare.args([namespaces, "bash"]);
        unshare
    };
    match command.args(["-c", &script, XTASK]).arg(directory).output() {
        Ok(output) => match String::from_utf8_lossy(&output.stderr) {
            told if told.contains("is broken") => Some(Findings::of(&output)),
            told => skipped(&told),
        },
        Err(error) => skipped(&format!("unshare: {error}")),
    }
}

/// Says that a condition cannot be made here.
fn skipped<T>(why: &str) -> Option<T> {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    println!("skipped: {test}: {}", why.trim());
    None
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// `doctor` of a user who may not do everything: this one, or nobody where this one is root.
fn doctor_of_a_user(variables: &[(&str, &str)]) -> Option<Findings> {
    let mut command = command(if is_root() { "setpriv" } else { "env" });
    if is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.args([XTASK, "doctor", "-o", "json"]).envs(variables.iter().copied());
    match command.output() {
        Ok(output) if output.stdout.is_empty() => skipped(&String::from_utf8_lossy(&output.stderr)),
        Ok(output) => Some(Findings::of(&output)),
        Err(error) => skipped(&format!("setpriv: {error}")),
    }
}

/// An empty directory that everybody may look into.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    directory
}

fn no_access(path: &Path) {
    std::fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
}

/// Where the toolchain has its programs: rustc and cargo, and no linker.
fn toolchain() -> PathBuf {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    Path::new(String::from_utf8(sysroot.stdout).unwrap().trim()).join("bin")
}

#[test]
fn few_open_files() {
    if let Some(told) = broken_by("", "ulimit -n 200", directory().path()) {
        told.tell("nofile", "problem", &["only 200 open files"], "limits.conf");
    }
    if let Some(told) = broken_by("", "ulimit -S -n 600", directory().path()) {
        told.tell("nofile", "warning", &["only 600 open files"], "ulimit -n");
    }
}

#[test]
fn few_processes() {
    if let Some(told) = broken_by("", "ulimit -S -u 1000", directory().path()) {
        told.tell("nproc", "warning", &["only 1000 processes"], "ulimit -u");
    }
}

#[test]
fn a_taken_port() {
    // Somebody else has it already: so be it, as long as it is no `up`, which is not told as a problem.
    let held = TcpListener::bind("127.0.0.1:8080");
    let told = doctor(|_| ());
    if held.is_ok() {
        let pid = std::process::id().to_string();
        told.tell("port", "problem", &["8080 is taken", &pid], &format!("kill {pid}; or another port"));
    } else if told.0.to_string().contains("held by a running") {
        skipped::<()>("8080 is held by an environment that is up");
    } else {
        told.tell("port", "problem", &["8080 is taken"], "up --port 8081");
    }
}

#[test]
fn no_engine() {
    let directory = directory();
    let socket = directory.path().join("docker.sock");
    // Nobody listens there any more.
    drop(UnixListener::bind(&socket).unwrap());
    let told = doctor(|command| {
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    });
    if Command::new("docker").arg("--version").output().is_err() {
        return skipped("no docker command").unwrap_or_default();
    }
    told.tell("docker", "warning", &["no engine answers", "Connection refused"], "unset DOCKER_HOST");
}

#[test]
fn no_permission_on_the_engines_socket() {
    let directory = directory();
    let socket = directory.path().join("docker.sock");
    let _listens = UnixListener::bind(&socket).unwrap();
    no_access(&socket);
    if Command::new("docker").arg("--version").output().is_err() {
        return skipped("no docker command").unwrap_or_default();
    }
    if let Some(told) = doctor_of_a_user(&[("DOCKER_HOST", &format!("unix://{}", socket.display()))]) {
        told.tell("docker", "warning", &["docker.sock: permission denied"], "usermod -aG docker");
    }
}

#[test]
fn no_tools_on_path() {
    let empty = directory();
    let told = doctor(|command| {
        command.env("PATH", empty.path());
    });
    told.tell("rustc", "problem", &["no rustc on PATH"], "https://rustup.rs");
    told.tell("cargo", "problem", &["no cargo on PATH"], "https://rustup.rs");
    told.tell("linker", "problem", &["no cc on PATH"], "build-essential");
}

#[test]
fn no_linker() {
    let path = toolchain();
    let told = doctor(|command| {
        command.env("PATH", &path);
    });
    told.tell("linker", "problem", &["no cc on PATH"], "build-essential");
}

#[test]
fn a_linker_that_fails() {
    let stubs = directory();
    stub(
        stubs.path(),
        "cc",
        "case $1 in --version) echo cc 1.0;; *) echo cannot find crt1.o >&2; exit 1;; esac",
    );
    let path = [stubs.path().to_owned(), toolchain(), "/usr/bin".into(), "/bin".into()];
    let told = doctor(|command| {
        command.env("PATH", std::env::join_paths(path).unwrap());
    });
    told.tell("linker", "problem", &["does not link", "linking with `cc` failed"], "build-essential");
}

#[test]
fn an_old_rustc() {
    let stubs = directory();
    stub(stubs.path(), "rustc", "echo 'rustc 1.70.0 (90c541806 2023-05-31)'");
    let path = std::env::var_os("PATH").unwrap();
    let path = std::iter::once(stubs.path().to_owned()).chain(std::env::split_paths(&path));
    let told = doctor(|command| {
        command.env("PATH", std::env::join_paths(path).unwrap());
    });
    told.tell("rustc", "problem", &["rustc 1.70.0", "or newer is needed"], "rustup update");
}

fn stub(directory: &Path, name: &str, script: &str) {
    let file = directory.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn full_directories() {
    let full = directory();
    let script = "mount -t tmpfs -o size=64k none \"$1\"\n\
        mkdir \"$1/xtask\"\n\
        dd if=/dev/zero of=\"$1/full\" bs=4k 2>/dev/null || true\n\
        export TMPDIR=\"$1\" CARGO_TARGET_DIR=\"$1\"";
    if let Some(told) = broken_by("-rm", script, full.path()) {
        told.tell("temp", "problem", &["cannot write to", "No space left on device"], "export TMPDIR");
        told.tell("disk", "problem", &["0 KiB free"], "CARGO_TARGET_DIR");
    }
}

#[test]
fn a_target_directory_that_cannot_be_written_to() {
    let target = directory();
    let script = "mount -t tmpfs -o ro none \"$1\"\nexport CARGO_TARGET_DIR=\"$1\"";
    if let Some(told) = broken_by("-rm", script, target.path()) {
        told.tell("checkout", "problem", &["cannot write to", "Read-only file system"], "CARGO_TARGET_DIR");
    }
}

#[test]
fn a_home_that_cannot_be_read() {
    let home = directory();
    let cargo = home.path().join(".cargo");
    std::fs::create_dir(&cargo).unwrap();
    no_access(&cargo);
    let home = home.path().display().to_string();
    if let Some(told) = doctor_of_a_user(&[("HOME", &home), ("CARGO_HOME", "")]) {
        told.tell("home", "problem", &["cannot read", "Permission denied"], "CARGO_HOME=DIRECTORY");
    }
    let told = doctor(|command| {
        command.env_remove("HOME").env_remove("CARGO_HOME");
    });
    told.tell("home", "problem", &["neither HOME nor CARGO_HOME"], "export HOME");
}

#[test]
fn no_inotify_watch_and_no_instance_left() {
    for (limit, words) in [("watches", "no watch is left"), ("instances", "no instance to be had")] {
        let script = format!("echo 0 > /proc/sys/user/max_inotify_{limit}");
        if let Some(told) = broken_by("-r", &script, directory().path()) {
            told.tell("inotify", "warning", &[words], &format!("sysctl fs.inotify.max_user_{limit}"));
        }
    }
}

#[test]
fn no_loopback() {
    if let Some(told) = broken_by("-rn", "true", directory().path()) {
        told.tell("loopback", "problem", &["127.77.1.1 cannot be used"], "ip link set lo up");
    }
}

#[test]
fn a_proxy_in_between() {
    let told = doctor(|command| {
        for name in ["NO_PROXY", "no_proxy"] {
            command.env_remove(name);
        }
        command.env("http_proxy", "http://me:secret@proxy:3128");
    });
    told.tell("proxy", "warning", &["http_proxy=http://proxy:3128"], "export NO_PROXY");
}

#[test]
fn a_file_from_the_future() {
    let workspace = directory();
    std::fs::create_dir(workspace.path().join("manifests")).unwrap();
    std::fs::write(workspace.path().join("Cargo.toml"), "[workspace]\n").unwrap();
    let file = std::fs::File::create(workspace.path().join("manifests/baz.yaml")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(7200)).unwrap();
    let told = doctor(|command| {
        command.current_dir(workspace.path());
    });
    told.tell(
        "clock",
        "warning",
        &["manifests/baz.yaml was saved", "in the future"],
        "touch manifests/baz.yaml",
    );
}
