//! The Docker engine that kind's nodes run in, through the command that kind itself needs.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use crate::error::Fault;
use crate::process::cargo;

/// An engine answers within this, or it is taken not to run.
const PATIENCE: Duration = Duration::from_secs(20);

/// A container that is a kind node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The container's name, which is the node's.
    pub name: String,
    pub running: bool,
    /// Stopped by `docker pause`: it goes on where it was.
    pub paused: bool,
}

/// The architecture of the engine's machine, in Go's words. Errors when no engine can be used.
pub async fn architecture() -> Result<String, Fault> {
    let output = docker(&["version", "--format", "{{.Server.Arch}}"]).await?;
    Ok(output.trim().to_owned())
}

/// The nodes of a cluster, whether they run or not; none when there is no such cluster.
pub async fn nodes(cluster: &str) -> Result<Vec<Node>, Fault> {
    let filter = format!("label=io.x-k8s.kind.cluster={cluster}");
    let output = docker(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}} {{.State}}"]).await?;
    let mut nodes: Vec<Node> = output
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, state)| Node {
            name: name.to_owned(),
            running: state == "running",
            paused: state == "paused",
        })
        .collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

/// Starts a node that does not run.
pub async fn start(node: &Node) -> Result<(), Fault> {
    let how = if node.paused { "unpause" } else { "start" };
    docker(&[how, &node.name]).await.map(drop)
}

/// Whether the engine has an image.
pub async fn has_image(image: &str) -> Result<bool, Fault> {
    let output = output(&["image", "inspect", "--format", "{{.Id}}", image]).await?;
    Ok(output.status.success())
}

/// Runs a command in a node; what it wrote. Errors with its own words.
pub async fn run_in(node: &str, command: &[&str]) -> Result<String, Fault> {
    docker(&[&["exec", "--privileged", node], command].concat()).await
}

/// Runs a command in a node and writes to its standard input. Returns what `write` did.
pub async fn feed<T: Send + 'static>(
    node: &str,
    command: &[&str],
    write: impl FnOnce(&mut dyn Write) -> io::Result<T> + Send + 'static,
) -> Result<T, Fault> {
    let args: Vec<String> =
        ["exec", "--privileged", "-i", node].iter().chain(command).map(|arg| (*arg).to_owned()).collect();
    let (written, output) =
        cargo::fed("docker".as_ref(), args, write).await.map_err(|error| cannot_run(&error))?;
    if !output.status.success() {
        return Err(refused(&output));
    }
    written.map_err(|error| Fault::failed(format!("cannot write to {node}: {error}")))
}

/// Runs docker; what it wrote.
async fn docker(args: &[&str]) -> Result<String, Fault> {
    let output = output(args).await?;
    if !output.status.success() {
        return Err(refused(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn output(args: &[&str]) -> Result<Output, Fault> {
    let program: &OsStr = "docker".as_ref();
    let output = cargo::output(program, args, Path::new("."), PATIENCE).await;
    output.map_err(|error| cannot_run(&error))
}

fn cannot_run(error: &io::Error) -> Fault {
    let instead = "or `--runtime local`, which needs no Docker";
    match error.kind() {
        io::ErrorKind::NotFound => {
            Fault::environment("the kind runtime needs Docker: there is no `docker` on PATH")
                .hint(format!("install Docker: https://docs.docker.com/engine/install, {instead}"))
        }
        io::ErrorKind::TimedOut => {
            Fault::environment(format!("the Docker engine does not answer within {PATIENCE:?}"))
                .hint(format!("restart it: `systemctl restart docker`, {instead}"))
        }
        _ => Fault::environment(format!("cannot run docker: {error}")),
    }
}

/// What docker said when it failed, with the remedy where it is a known one.
fn refused(output: &Output) -> Fault {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let instead = "or use `--runtime local`, which needs no Docker";
    if said.contains("permission denied") && said.contains("connect to the Docker") {
        return Fault::environment(
            "this user may not use the Docker engine: its socket refuses the connection",
        )
        .hint(format!("sudo usermod -aG docker $USER, then log in again; {instead}"));
    }
    if said.contains("Cannot connect to the Docker daemon")
        || said.contains("failed to connect to the docker")
    {
        return Fault::environment("no Docker engine is running")
            .hint(format!("start it: `systemctl start docker`, or Docker Desktop; {instead}"));
    }
    if said.contains("no space left on device") {
        return Fault::environment(format!("the node's disk is full: {said}"))
            .hint("free space: `docker system prune`, then the same command again");
    }
    match said {
        "" => Fault::failed(format!("docker ended with {} and said nothing", output.status)),
        said => Fault::failed(format!("docker: {said}")),
    }
}
