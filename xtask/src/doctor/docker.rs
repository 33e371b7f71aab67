//! The Docker engine, which the kind runtime needs.

use std::path::Path;
use std::time::Duration;

use super::Finding;
use crate::process::cargo;

/// What was seen.
#[derive(Clone, Debug)]
pub enum Facts {
    /// An engine of this version answers.
    Engine(String),
    /// The command is there, the engine does not answer: why.
    Silent(String),
    /// There is no `docker` command.
    None,
}

impl Facts {
    /// Looks.
    pub async fn gather(root: &Path) -> Self {
        let args = ["version", "--format", "{{.Server.Version}}"];
        match cargo::output("docker".as_ref(), args, root, Duration::from_secs(3)).await {
            Ok(output) if output.status.success() => {
                Self::Engine(String::from_utf8_lossy(&output.stdout).trim().to_owned())
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                Self::Silent(said.lines().next().unwrap_or("it failed").to_owned())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::None,
            Err(error) => Self::Silent(error.to_string()),
        }
    }

    /// Judges: nothing about Docker is a fault where the local runtime is enough.
    pub fn judge(&self) -> Finding {
        let who = "needed by --runtime kind alone";
        Finding::ok(
            "docker",
            match self {
                Self::Engine(version) => format!("engine {version}, {who}"),
                Self::Silent(why) => format!("no engine answers ({why}), {who}"),
                Self::None => format!("none, {who}"),
            },
        )
    }
}
