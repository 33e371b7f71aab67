//! What can go wrong, as a person and a script see it: message, hint, exit code.

use std::fmt;
use std::process::ExitCode;

/// How a command ends. Documented in the README; scripts rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well (0).
    Ok,
    /// A check, a build or a request failed (1).
    Failed,
    /// What was typed, or a file of the workspace, is wrong (2).
    Usage,
    /// The machine lacks something or a resource is taken (3).
    Environment,
}

impl Exit {
    /// The code for an error: that of the [`Fault`] in its chain, else [`Exit::Failed`].
    pub fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(|e| e.downcast_ref::<Fault>()).map_or(Self::Failed, |fault| fault.exit)
    }
}

impl Exit {
    /// What another run of this program ended with.
    pub fn from_code(code: Option<i32>) -> Self {
        match code {
            Some(0) => Self::Ok,
            Some(2) => Self::Usage,
            Some(3) => Self::Environment,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Environment => 3,
        })
    }
}

/// An error that a person can act on: what failed and why, and what to do about it.
#[derive(Debug)]
pub struct Fault {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Fault {
    /// What was typed, or a file of the workspace, is wrong: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), hint: None }
    }

    /// The machine lacks something, or a resource is taken: exit code 3.
    pub fn environment(message: impl Into<String>) -> Self {
        Self { exit: Exit::Environment, message: message.into(), hint: None }
    }

    /// A check, a build or a request failed: exit code 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into(), hint: None }
    }

    /// Adds what to do about it; best a command to paste.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The hint, for the report.
    pub fn the_hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl From<client::CallError> for Fault {
    fn from(error: client::CallError) -> Self {
        let message = error.to_string();
        match error {
            client::CallError::Usage(_) => Self::usage(message),
            client::CallError::NoDescriptors(_) => Self::failed(message)
                .hint("without data, an empty message is sent, which needs no reflection"),
        }
    }
}
