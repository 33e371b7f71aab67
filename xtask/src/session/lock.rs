//! One `up` a checkout: a file lock, which the kernel releases however its holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::plan::Mode;
use crate::state::StateDir;

/// Held for as long as an environment is up.
#[derive(Debug)]
pub struct Lock(File);

/// Who holds the lock: what a second `up` is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// As on the command line: `--grpc --linkerd`.
    pub mode: String,
}

impl Holder {
    /// This process, with the mode it brings up.
    pub fn of_this_process(mode: Mode) -> Self {
        Self { pid: std::process::id(), mode: mode.to_string() }
    }
}

impl Lock {
    /// Takes the lock of a checkout. Errors when another `up` has it, or the file cannot be written.
    pub fn take(state: &StateDir, holder: &Holder) -> Result<Self, Fault> {
        let path = state.lock();
        let cannot = |error: std::io::Error| {
            Fault::environment(format!("cannot write to {}: {error}", path.display()))
                .hint("make the checkout writable, or set CARGO_TARGET_DIR to a directory that is")
        };
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
            Err(TryLockError::WouldBlock) => return Err(taken(&mut file)),
        }
        let text = serde_json::to_vec(holder).map_err(std::io::Error::from).map_err(cannot)?;
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&text)).map_err(cannot)?;
        Ok(Self(file))
    }

    /// Who holds the lock at this moment; none when nobody does.
    pub fn holder(state: &StateDir) -> Option<Holder> {
        let mut file = File::open(state.lock()).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => read(&mut file),
            _ => None,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.set_len(0);
    }
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn taken(file: &mut File) -> Fault {
    let who = read(file)
        .map_or_else(String::new, |h| format!(" (pid {}: `{}`)", h.pid, format!("up {}", h.mode).trim()));
    Fault::environment(format!("an environment of this checkout is up already{who}"))
        .hint("end it with `cargo xtask down`, or look at it with `cargo xtask status`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder { pid: 7, mode: "--grpc".into() }
    }

    #[test]
    fn a_second_holder_is_refused_and_told_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::of(directory.path(), directory.path());
        state.create().unwrap();
        let first = Lock::take(&state, &holder()).unwrap();
        let refused = Lock::take(&state, &holder()).unwrap_err();
        insta::assert_snapshot!(refused, @"an environment of this checkout is up already (pid 7: `up --grpc`)");
        assert_eq!(Lock::holder(&state), Some(holder()));
        drop(first);
        assert_eq!(Lock::holder(&state), None);
        Lock::take(&state, &holder()).unwrap();
    }
}
