//! Directories beside the checkout that compilers and cargo need: for temporary files, and cargo's own.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::{Finding, size};

const MIB: u64 = 1 << 20;

/// Below this, linking one service can fail.
const TEMP_NEEDS: u64 = 64 * MIB;

/// What was seen.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where temporary files go.
    pub temp: PathBuf,
    /// Bytes free there, or why nothing can be written there.
    pub temp_free: Result<u64, String>,
    /// Where cargo keeps what it fetched; none without a home directory.
    pub cargo_home: Option<PathBuf>,
    /// Why it cannot be read.
    pub unreadable: Option<String>,
    /// Why it cannot be written to.
    pub unwritable: Option<String>,
}

impl Facts {
    /// Looks.
    pub fn gather() -> Self {
        let temp = std::env::temp_dir();
        let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cargo_home = of("CARGO_HOME").or_else(|| Some(of("HOME")?.join(".cargo")));
        let why = |wanted| cargo_home.as_deref().and_then(|home| refused(home, wanted).err());
        Self {
            temp_free: free(&temp).map_err(|error| error.to_string()),
            temp,
            unreadable: why(Access::READ_OK | Access::EXEC_OK).map(|error| error.to_string()),
            unwritable: why(Access::WRITE_OK).map(|error| error.to_string()),
            cargo_home,
        }
    }

    /// Judges.
    pub fn judge(&self) -> Vec<Finding> {
        vec![self.temp(), self.home()]
    }

    fn temp(&self) -> Finding {
        let (temp, remedy) =
            (self.temp.display(), "free some of it, or use another: export TMPDIR=DIRECTORY");
        match &self.temp_free {
            Err(why) => Finding::problem("temp", format!("cannot write to {temp}: {why}"), remedy),
            Ok(bytes @ ..TEMP_NEEDS) => {
                Finding::warning("temp", format!("{} free in {temp}: linking may fail", size(*bytes)), remedy)
            }
            Ok(bytes) => Finding::ok("temp", format!("{} free in {temp}", size(*bytes))),
        }
    }

    fn home(&self) -> Finding {
        let Some(home) = &self.cargo_home else {
            let remedy = "export HOME=DIRECTORY, or export CARGO_HOME=DIRECTORY";
            return Finding::problem("home", "neither HOME nor CARGO_HOME is set: cargo needs one", remedy);
        };
        let home = home.display();
        let remedy = format!("sudo chown -R \"$(id -un)\" {home}, or another: export CARGO_HOME=DIRECTORY");
        match (&self.unreadable, &self.unwritable) {
            (Some(why), _) => Finding::problem("home", format!("cargo cannot read {home}: {why}"), remedy),
            (None, Some(why)) => Finding::warning(
                "home",
                format!("cargo cannot write to {home}: {why}; it works while nothing is to be fetched"),
                remedy,
            ),
            (None, None) => Finding::ok("home", format!("cargo's is {home}")),
        }
    }
}

/// Bytes free in a directory, to which a page is written for a test.
fn free(directory: &Path) -> io::Result<u64> {
    let file = directory.join(format!("xtask-doctor.{}", std::process::id()));
    let written = std::fs::write(&file, [0; 4096]);
    let _ = std::fs::remove_file(&file);
    written?;
    let disk = rustix::fs::statvfs(directory)?;
    Ok(disk.f_bavail * disk.f_frsize)
}

/// Whether a directory can be used so; one that is not there, whether it can be made.
fn refused(directory: &Path, wanted: Access) -> io::Result<()> {
    match access(directory, wanted) {
        Err(rustix::io::Errno::NOENT) => match directory.parent() {
            Some(parent) if parent != Path::new("") => refused(parent, Access::WRITE_OK | Access::EXEC_OK),
            _ => Err(io::ErrorKind::NotFound.into()),
        },
        answer => Ok(answer?),
    }
}
