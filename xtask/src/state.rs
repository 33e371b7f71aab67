//! Where a checkout keeps what outlives a command: `target/xtask/`, so that `cargo clean` removes it.

use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use crate::error::Fault;

/// The directory of a checkout's state and the files in it.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// The state of the workspace at `root`, whose build output is `target_directory`. Where several
    /// checkouts share one build directory, each has a state of its own.
    pub fn of(root: &Path, target_directory: &Path) -> Self {
        if target_directory.starts_with(root) {
            return Self(target_directory.join("xtask"));
        }
        let mut hasher = std::hash::DefaultHasher::new();
        root.hash(&mut hasher);
        Self(target_directory.join(format!("xtask-{:016x}", hasher.finish())))
    }

    /// Creates the directory. Errors when the checkout cannot be written to.
    pub fn create(&self) -> Result<(), Fault> {
        for directory in [self.0.clone(), self.logs(), self.images()] {
            std::fs::create_dir_all(&directory).map_err(|error| {
                Fault::environment(format!("cannot write to {}: {error}", directory.display()))
                    .hint("make the checkout writable, or set CARGO_TARGET_DIR to a directory that is")
            })?;
        }
        Ok(())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Held (flock) by the one `up` of this checkout.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Held (flock) while services are built and kept: one a build directory, whichever checkouts use it.
    pub fn build_lock(&self) -> PathBuf {
        self.0.with_file_name(".xtask-build-lock")
    }

    /// The control socket of a running `up`.
    pub fn control_socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    /// What is known of the cluster of the kind runtime.
    pub fn kind(&self) -> PathBuf {
        self.0.join("kind")
    }

    /// What a detached `up` writes on its standard error.
    pub fn up_log(&self) -> PathBuf {
        self.0.join("up.log")
    }

    /// One log file (and its predecessor) a pod.
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// The built revisions of services that pods run.
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }
}
