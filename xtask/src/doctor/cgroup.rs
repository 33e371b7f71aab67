//! The control group that this runs in: what a container or a session allows.

use std::path::{Path, PathBuf};

use super::{Finding, size};

/// Compilers, nine pods with their threads, and this.
const PROCESSES: u64 = 256;

/// What the compiler takes at its largest crate, and what runs.
const MEMORY: u64 = 2 << 30;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// 1 or 2; none where none is mounted.
    pub version: Option<u8>,
    /// So many more processes and threads may be started.
    pub processes: Option<u64>,
    /// Bytes that all processes in it may use.
    pub memory: Option<u64>,
}

impl Facts {
    /// Looks.
    pub fn gather() -> Self {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::gather_in(Path::new("/sys/fs/cgroup"), &own)
    }

    /// `own` is as `/proc/self/cgroup` has it: `0::/a/b` of version 2, `4:pids:/a/b` of version 1.
    fn gather_in(mounted: &Path, own: &str) -> Self {
        let is_second = mounted.join("cgroup.controllers").is_file();
        if !is_second && !mounted.join("memory").is_dir() {
            return Self::default();
        }
        let of = |controller: &str| {
            let mounted = if is_second { mounted.to_owned() } else { mounted.join(controller) };
            let named = |line: &&str| line.split(':').nth(1) == Some(if is_second { "" } else { controller });
            let own = own.lines().find(named).and_then(|line| line.splitn(3, ':').nth(2)).unwrap_or_default();
            groups(&mounted, own.trim_start_matches('/'))
        };
        let left = |group: &PathBuf| {
            read(group, "pids.max").map(|most| most.saturating_sub(read(group, "pids.current").unwrap_or(0)))
        };
        let memory = if is_second { "memory.max" } else { "memory.limit_in_bytes" };
        Self {
            version: Some(if is_second { 2 } else { 1 }),
            processes: of("pids").iter().filter_map(left).min(),
            memory: of("memory").iter().filter_map(|group| read(group, memory)).min(),
        }
    }

    /// Judges.
    pub fn judge(&self) -> Finding {
        let start = "start the container or session with more";
        match self {
            Self { processes: Some(processes @ ..PROCESSES), .. } => Finding::problem(
                "cgroup",
                format!("only {processes} more processes and threads may be started"),
                format!("{start}: docker run --pids-limit 4096, or systemd-run -p TasksMax=4096"),
            ),
            Self { memory: Some(memory @ ..MEMORY), .. } => Finding::warning(
                "cgroup",
                format!("only {} of memory may be used: compiling may be killed", size(*memory)),
                format!("{start}: docker run --memory 4g, or systemd-run -p MemoryMax=4G"),
            ),
            Self { version: Some(1), .. } => Finding::warning(
                "cgroup",
                "version 1: Kubernetes from 1.35 on does not start on it, which concerns --runtime kind alone",
                "add systemd.unified_cgroup_hierarchy=1 to the kernel's command line",
            ),
            Self { version: Some(version), .. } => Finding::ok("cgroup", format!("version {version}")),
            Self { version: None, .. } => Finding::ok("cgroup", "none, needed by --runtime kind alone"),
        }
    }
}

/// A group and all above it: each has what it allows itself, and all above it allow.
fn groups(mounted: &Path, own: &str) -> Vec<PathBuf> {
    let own = mounted.join(own);
    own.ancestors().take_while(|group| group.starts_with(mounted)).map(Path::to_owned).collect()
}

/// A number; none where there is no limit.
fn read(group: &Path, file: &str) -> Option<u64> {
    std::fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_groups_limits_are_the_least_of_its_own_and_those_above() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("a/b");
        std::fs::create_dir_all(&group).unwrap();
        assert_eq!(Facts::gather_in(root.path(), "0::/a/b\n").version, None);
        let write = |file: &str, text: &str| std::fs::write(root.path().join(file), text).unwrap();
        write("cgroup.controllers", "cpu memory pids\n");
        write("a/pids.max", "300\n");
        write("a/pids.current", "100\n");
        write("a/b/pids.max", "max\n");
        write("a/b/memory.max", "1073741824\n");
        let facts = Facts::gather_in(root.path(), "0::/a/b\n");
        assert_eq!((facts.version, facts.processes, facts.memory), (Some(2), Some(200), Some(1 << 30)));
        assert_eq!(facts.judge().level, Level::Problem);
        write("a/pids.max", "max\n");
        assert_eq!(Facts::gather_in(root.path(), "0::/a/b\n").judge().level, Level::Warning);
        assert_eq!(Facts::gather_in(root.path(), "0::/\n").judge().level, Level::Ok);
    }

    #[test]
    fn version_1_has_a_tree_for_each_controller() {
        let root = tempfile::tempdir().unwrap();
        let write = |group: &str, file: &str, text: &str| {
            std::fs::create_dir_all(root.path().join(group)).unwrap();
            std::fs::write(root.path().join(group).join(file), text).unwrap();
        };
        write("memory", "memory.limit_in_bytes", "9223372036854771712\n");
        write("pids/a", "pids.max", "100\n");
        let facts = |own| Facts::gather_in(root.path(), own);
        let within = facts("5:memory:/a\n4:pids:/a\n0::/\n");
        assert_eq!(
            (within.version, within.processes, within.memory),
            (Some(1), Some(100), Some((1 << 63) - 4096))
        );
        // In a container the path is that of outside, and what is mounted is the container's own.
        assert_eq!(facts("4:pids:/docker/a/b\n").processes, None);
        assert_eq!(facts("").judge().level, Level::Warning);
    }
}
