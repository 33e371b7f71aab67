//! The limits of this user: open files, inotify.

use std::path::Path;

use rustix::fs::inotify::{self, WatchFlags};
use rustix::process::Resource;

use super::Finding;

/// What the environment with its sidecars opens under load, with room.
const FILES: u64 = 1024;

/// Too few for nine pods with sidecars and their log files.
const TOO_FEW_FILES: u64 = 256;

/// Threads of compilers and pods, beside what this user runs anyway.
const PROCESSES: u64 = 1024;

/// Too few for the pods' threads alone.
const TOO_FEW_PROCESSES: u64 = 256;

/// Directories of a large workspace, and an editor beside.
const WATCHES: u64 = 8192;

/// What was seen.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Open files allowed, and what that can be raised to without root; none is no limit.
    pub files: (Option<u64>, Option<u64>),
    /// Processes and threads that this user may have; none is no limit.
    pub processes: (Option<u64>, Option<u64>),
    /// `fs.inotify.max_user_watches`; none when unknown.
    pub watches: Option<u64>,
    /// Why an inotify instance cannot be had.
    pub no_inotify: Option<String>,
    /// Why a directory cannot be watched with one.
    pub no_watch: Option<String>,
}

impl Facts {
    /// Looks; `directory` is one as `up` watches them.
    pub fn gather(directory: &Path) -> Self {
        let limit = rustix::process::getrlimit;
        let (files, processes) = (limit(Resource::Nofile), limit(Resource::Nproc));
        let instance = inotify::init(inotify::CreateFlags::CLOEXEC);
        let watch = instance.as_ref().ok().map(|own| inotify::add_watch(own, directory, WatchFlags::CREATE));
        let watches = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
        Self {
            files: (files.current, files.maximum),
            watches: watches.ok().and_then(|text| text.trim().parse().ok()),
            processes: (processes.current, processes.maximum),
            no_inotify: instance.err().map(|error| error.to_string()),
            no_watch: watch.and_then(Result::err).map(|error| error.to_string()),
        }
    }

    /// Judges.
    pub fn judge(&self) -> Vec<Finding> {
        vec![self.files(), self.processes(), self.inotify()]
    }

    fn files(&self) -> Finding {
        let (Some(current), maximum) = self.files else { return Finding::ok("nofile", "unlimited") };
        if current >= FILES {
            return Finding::ok("nofile", format!("{current} open files"));
        }
        let remedy = raise("nofile", "n", maximum, FILES);
        if current <= TOO_FEW_FILES {
            return Finding::problem(
                "nofile",
                format!("only {current} open files: too few for the pods"),
                remedy,
            );
        }
        Finding::warning("nofile", format!("only {current} open files: too few under load"), remedy)
    }

    fn processes(&self) -> Finding {
        let (Some(current), maximum) = self.processes else { return Finding::ok("nproc", "unlimited") };
        if current >= PROCESSES {
            return Finding::ok("nproc", format!("{current} processes and threads"));
        }
        let (remedy, found) =
            (raise("nproc", "u", maximum, PROCESSES), format!("only {current} processes and threads"));
        if current <= TOO_FEW_PROCESSES {
            return Finding::problem("nproc", format!("{found}: too few for compilers and pods"), remedy);
        }
        Finding::warning("nproc", format!("{found}: too few if this user runs much else"), remedy)
    }

    fn inotify(&self) -> Finding {
        if let Some(why) = &self.no_inotify {
            let remedy = "sudo sysctl fs.inotify.max_user_instances=512";
            let found = format!("no instance to be had ({why}): changes would not be noticed");
            return Finding::warning("inotify", found, remedy);
        }
        if let Some(why) = &self.no_watch {
            let remedy = "sudo sysctl fs.inotify.max_user_watches=524288";
            let found = format!("no watch is left ({why}): changes would not be noticed");
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

/// How this user raises a limit: by itself as far as that goes.
fn raise(limit: &str, option: &str, maximum: Option<u64>, needed: u64) -> String {
    match maximum {
        Some(maximum) if maximum < needed => format!(
            "add `{} hard {limit} 65536` to /etc/security/limits.conf and log in again",
            std::env::var("USER").unwrap_or_else(|_| "*".to_owned())
        ),
        _ => format!("ulimit -{option} {}", maximum.unwrap_or(65536).min(65536)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    fn none() -> Facts {
        let none = (None, None);
        Facts { files: none, processes: none, watches: None, no_inotify: None, no_watch: None }
    }

    fn files(current: u64, maximum: u64) -> Finding {
        Facts { files: (Some(current), Some(maximum)), ..none() }.files()
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
    fn few_processes_are_told_as_few_files_are() {
        let of = |current, maximum| Facts { processes: (Some(current), Some(maximum)), ..none() }.processes();
        assert_eq!(of(4096, 4096).level, Level::Ok);
        assert_eq!(of(300, 96_000).remedy.unwrap(), "ulimit -u 65536");
        assert_eq!(of(64, 64).level, Level::Problem);
        assert!(of(64, 64).remedy.unwrap().contains("hard nproc"));
    }

    #[test]
    fn exhausted_instances_and_few_watches_are_told_apart() {
        let facts = |watches, no_inotify: Option<&str>| Facts {
            watches,
            no_inotify: no_inotify.map(str::to_owned),
            ..none()
        };
        let full = Facts { no_watch: Some("ENOSPC".to_owned()), ..facts(Some(524_288), None) };
        assert!(full.inotify().remedy.unwrap().contains("watches"));
        assert!(facts(Some(524_288), Some("EMFILE")).inotify().remedy.unwrap().contains("instances"));
        assert!(facts(Some(100), None).inotify().remedy.unwrap().contains("watches"));
        assert_eq!(facts(Some(524_288), None).inotify().level, Level::Ok);
    }
}
