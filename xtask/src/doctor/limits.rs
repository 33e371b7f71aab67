//! The limits of this user: open files, inotify.

use rustix::fs::inotify;
use rustix::process::Resource;

use super::Finding;

/// What the environment with its sidecars opens under load, with room.
const FILES: u64 = 1024;

/// Too few for nine pods with sidecars and their log files.
const TOO_FEW_FILES: u64 = 256;

/// Directories of a large workspace, and an editor beside.
const WATCHES: u64 = 8192;

/// What was seen.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Open files allowed, and what that can be raised to without root; none is no limit.
    pub files: (Option<u64>, Option<u64>),
    /// `fs.inotify.max_user_watches`; none when unknown.
    pub watches: Option<u64>,
    /// Why an inotify instance cannot be had.
    pub no_inotify: Option<String>,
}

impl Facts {
    /// Looks.
    pub fn gather() -> Self {
        let files = rustix::process::getrlimit(Resource::Nofile);
        let watches = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
        Self {
            files: (files.current, files.maximum),
            watches: watches.ok().and_then(|text| text.trim().parse().ok()),
            no_inotify: inotify::init(inotify::CreateFlags::CLOEXEC).err().map(|error| error.to_string()),
        }
    }

    /// Judges.
    pub fn judge(&self) -> Vec<Finding> {
        vec![self.files(), self.inotify()]
    }

    fn files(&self) -> Finding {
        let (Some(current), maximum) = self.files else { return Finding::ok("nofile", "unlimited") };
        if current >= FILES {
            return Finding::ok("nofile", format!("{current} open files"));
        }
        let remedy = match maximum {
            Some(maximum) if maximum < FILES => format!(
                "add `{} hard nofile 65536` to /etc/security/limits.conf and log in again",
                std::env::var("USER").unwrap_or_else(|_| "*".to_owned())
            ),
            _ => format!("ulimit -n {}", maximum.unwrap_or(65536).min(65536)),
        };
        if current <= TOO_FEW_FILES {
            return Finding::problem(
                "nofile",
                format!("only {current} open files: too few for the pods"),
                remedy,
            );
        }
        Finding::warning("nofile", format!("only {current} open files: too few under load"), remedy)
    }

    fn inotify(&self) -> Finding {
        if let Some(why) = &self.no_inotify {
            let remedy = "sudo sysctl fs.inotify.max_user_instances=512";
            let found = format!("no instance to be had ({why}): changes would not be noticed");
            return Finding::warning("inotify", found, remedy);
        }
        match self.watches {
            Some(watches) if watches < WATCHES => Finding::warning(
                "inotify",
                format!("only {watches} watches: changes may go unnoticed"),
                "sudo sysctl fs.inotify.max_user_watches=524288",
            ),
            Some(watches) => Finding::ok("inotify", format!("{watches} watches")),
            None => Finding::ok("inotify", "no limit known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    fn files(current: u64, maximum: u64) -> Finding {
        Facts { files: (Some(current), Some(maximum)), watches: None, no_inotify: None }.files()
    }

    #[test]
    fn the_remedy_for_few_files_is_one_that_this_user_can_carry_out() {
        assert_eq!(files(4096, 4096).level, Level::Ok);
        assert_eq!(files(256, 1_048_576).level, Level::Problem);
        assert_eq!(files(512, 4096).level, Level::Warning);
        assert_eq!(files(512, 4096).remedy.unwrap(), "ulimit -n 4096");
        assert!(files(256, 256).remedy.unwrap().contains("limits.conf"));
    }

    #[test]
    fn exhausted_instances_and_few_watches_are_told_apart() {
        let facts = |watches, no_inotify: Option<&str>| Facts {
            files: (None, None),
            watches,
            no_inotify: no_inotify.map(str::to_owned),
        };
        assert!(facts(Some(524_288), Some("EMFILE")).inotify().remedy.unwrap().contains("instances"));
        assert!(facts(Some(100), None).inotify().remedy.unwrap().contains("watches"));
        assert_eq!(facts(Some(524_288), None).inotify().level, Level::Ok);
    }
}
