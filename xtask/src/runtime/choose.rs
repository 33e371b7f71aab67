//! Which runtime, and why: decided once.

use std::fmt;

use crate::args::RuntimeChoice;
use crate::error::Fault;

/// Where the pods run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// A Kubernetes cluster.
    Kind,
    /// This machine's own processes.
    Local,
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "kind",
            Self::Local => "local",
        })
    }
}

/// The runtime that was chosen and the reason, for the line printed first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub runtime: Where,
    /// Why.
    pub reason: String,
}

/// Decides. `context`: a cluster was named. Errors for what cannot run here.
pub fn choose(choice: RuntimeChoice, context: Option<&str>) -> Result<Chosen, Fault> {
    let chosen = |runtime, reason: &str| Ok(Chosen { runtime, reason: reason.to_owned() });
    match (choice, context) {
        (RuntimeChoice::Local, Some(_)) => {
            Err(Fault::usage("--context names a cluster, --runtime local has none"))
        }
        (_, Some(context)) => Ok(Chosen { runtime: Where::Kind, reason: format!("--context {context}") }),
        (RuntimeChoice::Kind, None) => chosen(Where::Kind, "as asked"),
        (_, None) if !cfg!(target_os = "linux") => {
            Err(Fault::environment("the local runtime needs Linux").hint("--runtime kind, with Docker"))
        }
        (RuntimeChoice::Local, None) => chosen(Where::Local, "as asked"),
        (RuntimeChoice::Auto, None) => chosen(Where::Local, "--runtime kind takes a cluster"),
    }
}
