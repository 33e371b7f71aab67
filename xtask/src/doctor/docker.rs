//! The Docker engine, which the kind runtime needs.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::Finding;
use crate::process::cargo;

/// Where the engine listens unless `DOCKER_HOST` says otherwise.
const SOCKET: &str = "unix:///var/run/docker.sock";

/// What was seen.
#[derive(Clone, Debug)]
pub enum Facts {
    /// An engine of this version answers.
    Engine(String),
    /// Its socket is there, and this user may not use it.
    Denied { socket: String },
    /// The command is there, the engine does not answer: where, why, and whether `DOCKER_HOST` says where.
    Silent { host: String, why: String, chosen: bool },
    /// There is no `docker` command; whether an engine's socket is there nevertheless.
    NoCommand { engine: bool },
}

impl Facts {
    /// Looks.
    pub async fn gather(root: &Path) -> Self {
        let chosen = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let host = chosen.clone().unwrap_or_else(|| SOCKET.to_owned());
        let connected = host.strip_prefix("unix://").map(|path| (path, UnixStream::connect(path)));
        let silent = |why: String| match &connected {
            Some((path, Err(error))) if error.kind() == io::ErrorKind::PermissionDenied => {
                Self::Denied { socket: (*path).to_owned() }
            }
            Some((_, Err(error))) => {
                Self::Silent { host: host.clone(), why: error.to_string(), chosen: chosen.is_some() }
            }
            _ => Self::Silent { host: host.clone(), why, chosen: chosen.is_some() },
        };
        let args = ["version", "--format", "{{.Server.Version}}"];
        match cargo::output("docker".as_ref(), args, root, Duration::from_secs(3)).await {
            Ok(output) if output.status.success() => {
                Self::Engine(String::from_utf8_lossy(&output.stdout).trim().to_owned())
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                silent(said.lines().next().unwrap_or("it failed").to_owned())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::NoCommand { engine: matches!(connected, Some((_, Ok(_)))) }
            }
            Err(error) => silent(error.to_string()),
        }
    }

    /// Judges: nothing about Docker is a problem, as the local runtime does without.
    pub fn judge(&self) -> Finding {
        let who = "needed by --runtime kind alone";
        match self {
            Self::Engine(version) => Finding::ok("docker", format!("engine {version}, {who}")),
            Self::Denied { socket } => Finding::warning(
                "docker",
                format!("{socket}: permission denied, {who}"),
                "sudo usermod -aG docker \"$(id -un)\", and log in again",
            ),
            Self::Silent { host, why, chosen } => Finding::warning(
                "docker",
                format!("no engine answers at {host} ({why}), {who}"),
                if *chosen {
                    "start the engine that DOCKER_HOST names, or unset DOCKER_HOST"
                } else {
                    "sudo systemctl start docker"
                },
            ),
            Self::NoCommand { engine: true } => Finding::warning(
                "docker",
                format!("an engine, and no docker command on PATH, {who}"),
                "install the command: sudo apt-get install docker-cli (or docker.io)",
            ),
            Self::NoCommand { engine: false } => Finding::ok("docker", format!("none, {who}")),
        }
    }
}
