//! Tools that run and end: cargo first of all. Each in a process group of its own, so that stopping it
//! stops what it started (rustc, linkers, build scripts) too.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use crate::error::Fault;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// How long a tool that was told to stop may take before it is killed.
const GRACE: Duration = Duration::from_secs(1);

/// The cargo that runs us, else the one on `PATH`: past rustup's proxy, which costs tens of milliseconds.
pub fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Where cargo keeps what it downloads.
pub fn home() -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_default().join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// Starts cargo in `root`, its output piped. Errors when there is no cargo.
pub fn cargo<I: AsRef<OsStr>>(
    root: &Path,
    args: impl IntoIterator<Item = I>,
    variable: Option<(&str, String)>,
) -> io::Result<Tool> {
    Tool::spawn(&program(), args, root, variable)
}

/// What cargo says of the workspace around a directory: `cargo metadata --no-deps`, as JSON. Errors with
/// cargo's own words, outside of a workspace or when a `Cargo.toml` is wrong.
pub async fn metadata(directory: &Path) -> Result<String, Fault> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let args = ["metadata", "--no-deps", "--format-version=1", "--color=never"];
    let output = output(&program(), args, directory, PATIENCE).await.map_err(|error| {
        Fault::environment(format!("cannot run cargo: {error}")).hint("install Rust: rustup.rs")
    })?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let words = words.trim().trim_start_matches("error: ");
        return Err(Fault::usage(format!("cargo cannot read this workspace: {words}")));
    }
    String::from_utf8(output.stdout).map_err(|_| Fault::usage("cargo metadata is not UTF-8"))
}

/// What cargo says of a workspace with all that it depends on for a target. Errors with cargo's own words.
pub async fn resolved(root: &Path, triple: &str) -> Result<cargo_metadata::Metadata, Fault> {
    let platform = format!("--filter-platform={triple}");
    let args = ["metadata", "--format-version=1", "--color=never", &platform];
    let output = output(&program(), args, root, Duration::from_secs(120)).await;
    let output = output.map_err(|error| Fault::environment(format!("cannot run cargo: {error}")))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Fault::usage(format!("cargo cannot resolve this workspace: {}", words.trim())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    cargo_metadata::MetadataCommand::parse(text)
        .map_err(|error| Fault::failed(format!("cannot read the output of cargo metadata: {error}")))
}

/// Runs cargo in `root`, building into `target`, to its end.
pub async fn build_into(
    root: &Path,
    target: &Path,
    args: &[&str],
    variable: Option<(&str, String)>,
) -> io::Result<Output> {
    const PATIENCE: Duration = Duration::from_secs(1800);
    let mut args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    args.extend([OsStr::new("--target-dir"), target.as_os_str()]);
    ended(Tool::spawn(&program(), args, root, variable)?, PATIENCE).await
}

/// rustc's version: `1.95.0`.
pub async fn rustc_version() -> Option<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = output(&rustc, ["--version"], Path::new("."), Duration::from_secs(10)).await.ok()?;
    String::from_utf8(output.stdout).ok()?.split(' ').nth(1).map(str::to_owned)
}

/// Runs a program to its end and returns what it wrote. `TimedOut` (and the program is killed) when it
/// takes longer than `timeout`.
pub async fn output<I: AsRef<OsStr>>(
    program: &OsStr,
    args: impl IntoIterator<Item = I>,
    directory: &Path,
    timeout: Duration,
) -> io::Result<Output> {
    ended(Tool::spawn(program, args, directory, None)?, timeout).await
}

async fn ended(mut tool: Tool, timeout: Duration) -> io::Result<Output> {
    let read = async {
        use tokio::io::AsyncReadExt as _;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (mut out, mut err) = (tool.stdout(), tool.stderr());
        tokio::try_join!(
            async { if let Some(out) = &mut out { out.read_to_end(&mut stdout).await } else { Ok(0) } },
            async { if let Some(err) = &mut err { err.read_to_end(&mut stderr).await } else { Ok(0) } },
        )?;
        Ok(Output { status: tool.wait().await?, stdout, stderr })
    };
    tokio::time::timeout(timeout, read).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Runs a program to its end, writing to its standard input. What `write` gave, and what the program wrote: one that
/// ends early makes `write` fail, and its own words say why. It is killed with us.
pub async fn fed<T: Send + 'static>(
    program: &OsStr,
    args: impl IntoIterator<Item = String>,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<T> + Send + 'static,
) -> io::Result<(io::Result<T>, Output)> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.process_group(0);
    die_with_us(&mut command);
    let mut child = command.spawn()?;
    let stdin = child.stdin.take().map(ChildStdin::into_owned_fd).transpose()?;
    let writing = tokio::task::spawn_blocking(move || {
        let Some(stdin) = stdin else { return Err(io::ErrorKind::BrokenPipe.into()) };
        // Tokio's pipes do not block; this thread may.
        rustix::io::ioctl_fionbio(&stdin, false)?;
        let mut out = io::BufWriter::with_capacity(1 << 18, std::fs::File::from(stdin));
        let given = write(&mut out)?;
        io::Write::flush(&mut out)?;
        Ok(given)
    });
    let output = child.wait_with_output().await?;
    let written = writing.await.map_err(io::Error::other)?;
    Ok((written, output))
}

/// A running tool. Dropped before it ended, its whole process group is killed.
#[derive(Debug)]
pub struct Tool {
    child: Child,
    /// The group that it leads; none once it was waited for.
    group: Option<Pid>,
}

impl Tool {
    fn spawn<I: AsRef<OsStr>>(
        program: &OsStr,
        args: impl IntoIterator<Item = I>,
        directory: &Path,
        variable: Option<(&str, String)>,
    ) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(args).current_dir(directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in std::env::vars_os().map(|(name, _)| name).filter(|name| of_our_own_package(name)) {
            command.env_remove(name);
        }
        command.envs(variable);
        // A Ctrl-C in the terminal reaches us alone; we decide what ends when.
        command.process_group(0);
        die_with_us(&mut command);
        let child = command.spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, group })
    }

    /// What it writes; once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// What it writes on its standard error; once.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.group = None;
        Ok(status)
    }

    /// Ends it and everything that it started, and returns when all of it is gone: the next cargo must
    /// not find a rustc of this one still writing.
    pub async fn stop(mut self) {
        let Some(group) = self.group else { return };
        let _ = rustix::process::kill_process_group(group, Signal::TERM);
        let _ = tokio::time::timeout(GRACE, self.child.wait()).await;
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
        let gone = async {
            while rustix::process::test_kill_process_group(group).is_ok() {
                let _ = self.child.try_wait();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        // Bounded: where nobody reaps orphans, a zombie keeps its group for ever.
        let _ = tokio::time::timeout(GRACE, gone).await;
        self.group = None;
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

/// What `cargo run` sets for the program it runs: about the package xtask, and wrong for whatever we
/// start. A build script that watches one of these would run again at each change between us and a shell.
fn of_our_own_package(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
        .iter()
        .any(|start| name.starts_with(start))
        || matches!(&*name, "CARGO_PRIMARY_PACKAGE" | "OUT_DIR" | "RUST_RECURSION_COUNT")
}

/// Asks the kernel to kill the program when we die without a chance to do it ourselves (`kill -9`). Its
/// own children outlive that by the crate they are compiling: their next line goes to a closed pipe.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn die_with_us(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; prctl(2) is one system call
    // and allocates nothing. The signal comes when the thread that forks ends: tokio's workers live as
    // long as the runtime, and that as long as we do.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_us(_: &mut Command) {}
