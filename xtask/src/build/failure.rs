//! Why a build gave no images.

use std::ffi::OsString;
use std::fmt;
use std::io;

use crate::error::Fault;

/// Why a build gave no images. What the compiler said of it was emitted as `Event::Compiler` before.
#[derive(Debug, thiserror::Error)]
pub enum BuildFailure {
    /// There is no cargo, or it cannot be started.
    #[error("cannot run {program}: {error}", program = .0.display(), error = .1)]
    NoCargo(OsString, io::Error),
    /// Code does not compile.
    #[error("{0}")]
    Compile(Broken),
    /// Cargo refused before or beside compiling: a broken Cargo.toml, no network, a build script.
    #[error("cargo failed: {0}")]
    Cargo(String),
    /// A signal ended cargo or a compiler.
    #[error("the build was killed by signal {0}")]
    Killed(i32),
    /// It was stopped on purpose; nothing to tell people.
    #[error("the build was cancelled")]
    Cancelled,
    /// Cargo succeeded without making the program: the crate has no binary of its own name.
    #[error("cargo built no program named `{0}`")]
    NoProgram(String),
    /// This machine cannot build for where it is to run.
    #[error(transparent)]
    Target(Fault),
    /// The program was built and could not be kept.
    #[error("cannot keep the built `{0}`: {1}")]
    Keep(String, io::Error),
}

/// The crates that do not compile, and how many errors they have together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// By package name, sorted.
    pub crates: Vec<String>,
    /// All of them together.
    pub errors: usize,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.crates.len() == 1 { "does" } else { "do" };
        write!(f, "{} {verb} not compile", self.crates.join(", "))?;
        match self.errors {
            0 => Ok(()),
            1 => f.write_str(": 1 error"),
            n => write!(f, ": {n} errors"),
        }
    }
}

impl BuildFailure {
    /// What to do about it, where the message does not say it already.
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoCargo(..) => Some("install Rust: https://rustup.rs"),
            Self::Cargo(said) if is_network(said) => {
                Some("run `cargo fetch` while online; behind a proxy, set HTTPS_PROXY")
            }
            Self::Cargo(said) if said.contains("No space left") => {
                Some("free some disk space: `cargo clean`")
            }
            Self::Killed(9) => {
                Some("was it the kernel, out of memory? build with fewer jobs: CARGO_BUILD_JOBS=1")
            }
            Self::NoProgram(_) => Some("give the crate a src/main.rs, or a [[bin]] of that name"),
            _ => None,
        }
    }
}

/// Whether cargo's words are about the network.
fn is_network(said: &str) -> bool {
    [
        "failed to download",
        "Could not resolve host",
        "Couldn't resolve host",
        "network failure",
        "failed to fetch",
    ]
    .iter()
    .any(|sign| said.contains(sign))
}

impl From<BuildFailure> for Fault {
    fn from(failure: BuildFailure) -> Self {
        if let BuildFailure::Target(fault) = failure {
            return fault;
        }
        let fault = match &failure {
            BuildFailure::NoCargo(..) | BuildFailure::Keep(..) => Self::environment(failure.to_string()),
            BuildFailure::NoProgram(_) => Self::usage(failure.to_string()),
            _ => Self::failed(failure.to_string()),
        };
        match failure.hint() {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    }
}
