//! This very program as a child: the background half of `up --detach`, the runs that `bench` and `ci`
//! measure and make; and commands of the user's.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::process::{Child, Command};

use super::command;

/// Runs this program with `args` in a workspace to its end, building into `target`.
pub async fn own(args: &[&str], root: &Path, target: &Path) -> io::Result<Output> {
    command(std::env::current_exe()?, args).current_dir(root).env("CARGO_TARGET_DIR", target).output().await
}

/// Starts this program with `args` in a session of its own, so that neither Ctrl-C nor a closed terminal
/// reaches it. Its standard output is piped; its standard error goes to `log`.
pub fn background(args: &[String], root: &Path, log: &Path) -> io::Result<Child> {
    let log = std::fs::File::create(log)?;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(args).current_dir(root).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    // SAFETY: setsid is async-signal-safe and touches nothing of this process.
    #[allow(unsafe_code, reason = "a session of its own can only be made between fork and exec")]
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
    }
    Command::from(command).spawn()
}

/// Runs a command line of the user's in a shell, to its end.
pub async fn shell(line: &str, directory: &Path, variables: &[(&str, &str)]) -> io::Result<Output> {
    command("/bin/sh", ["-c", line]).current_dir(directory).envs(variables.iter().copied()).output().await
}
