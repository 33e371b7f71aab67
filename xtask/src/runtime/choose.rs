//! Which runtime, and why: decided once.

use crate::args::RuntimeChoice;
use crate::error::Fault;

/// The runtime that was chosen and the reason, for the line printed first.
#[derive(Debug, PartialEq, Eq)]
pub struct Chosen {
    /// `local`; `kind` is refused until it is built.
    pub runtime: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// Decides. Errors for what cannot run here.
pub fn choose(choice: RuntimeChoice) -> Result<Chosen, Fault> {
    if !cfg!(target_os = "linux") {
        return Err(Fault::environment(
            "the local runtime needs Linux, and the kind runtime is not built yet",
        )
        .hint("run it in a Linux virtual machine"));
    }
    match choice {
        RuntimeChoice::Kind => Err(Fault::usage("the kind runtime is not built yet").hint("--runtime local")),
        RuntimeChoice::Local => Ok(Chosen { runtime: "local", reason: "as asked" }),
        RuntimeChoice::Auto => Ok(Chosen { runtime: "local", reason: "the kind runtime is not built yet" }),
    }
}
