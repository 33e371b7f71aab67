//! The machine itself: system, memory, disk, and whether the checkout can be written to.

use std::path::Path;

use super::{Finding, GIB, MIB, size};

/// A debug build of this workspace with its dependencies, and as much again for the next one.
const BUILD_NEEDS: u64 = 4 * GIB;

/// Below this even a rebuild of one service can fail.
const REBUILD_NEEDS: u64 = 512 * MIB;

/// What the compiler takes at its largest crate, beside what runs.
const MEMORY: u64 = GIB;

/// The kernel of the oldest distribution that is still looked after widely (Debian 11).
const OLDEST: [u64; 3] = [5, 10, 0];

/// What was seen.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `linux`, as Rust names systems.
    pub os: String,
    /// `Linux 6.8.0 x86_64`.
    pub kernel: String,
    pub cpus: usize,
    /// Bytes that new processes can use; none when unknown.
    pub memory: Option<u64>,
    /// Bytes free where cargo builds; none when unknown.
    pub disk: Option<u64>,
    /// Where cargo builds.
    pub target: String,
    /// Why it cannot be written to.
    pub unwritable: Option<String>,
}

impl Facts {
    /// Looks.
    pub fn gather(target: &Path) -> Self {
        let uname = rustix::system::uname();
        let part = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        Self {
            os: std::env::consts::OS.to_owned(),
            kernel: [uname.sysname(), uname.release(), uname.machine()].map(part).join(" "),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text)),
            disk: rustix::fs::statvfs(target).ok().map(|disk| disk.f_bavail * disk.f_frsize),
            target: target.display().to_string(),
            unwritable: write(target).err().map(|error| error.to_string()),
        }
    }

    /// Judges.
    pub fn judge(&self) -> Vec<Finding> {
        vec![self.system(), self.memory(), self.disk(), self.checkout()]
    }

    fn system(&self) -> Finding {
        let found = format!("{}, {} CPUs", self.kernel, self.cpus);
        if self.os == "linux" {
            // `Linux 6.8.0-45-generic x86_64`.
            let release = self.kernel.split(' ').nth(1).unwrap_or_default();
            if super::toolchain::numbers(release) < OLDEST.to_vec() {
                let found = format!("{found}: older than what this is made for, {}.{}", OLDEST[0], OLDEST[1]);
                return Finding::warning("system", found, "a newer release of your distribution");
            }
            return Finding::ok("system", found);
        }
        Finding::problem(
            "system",
            format!("{found}: the local runtime needs Linux"),
            "run it in a Linux virtual machine",
        )
    }

    fn memory(&self) -> Finding {
        match self.memory {
            Some(bytes) if bytes < MEMORY => Finding::warning(
                "memory",
                format!("{} available: compiling may be killed", size(bytes)),
                "close something, or build with fewer jobs: export CARGO_BUILD_JOBS=1",
            ),
            Some(bytes) => Finding::ok("memory", format!("{} available", size(bytes))),
            None => Finding::ok("memory", "unknown"),
        }
    }

    fn disk(&self) -> Finding {
        let remedy = "cargo clean; or build elsewhere: export CARGO_TARGET_DIR=DIRECTORY";
        match self.disk {
            Some(bytes) if bytes < REBUILD_NEEDS => {
                Finding::problem("disk", format!("{} free in {}", size(bytes), self.target), remedy)
            }
            Some(bytes) if bytes < BUILD_NEEDS => Finding::warning(
                "disk",
                format!("{} free in {}: a build from nothing may not fit", size(bytes), self.target),
                remedy,
            ),
            Some(bytes) => Finding::ok("disk", format!("{} free in {}", size(bytes), self.target)),
            None => Finding::ok("disk", format!("unknown for {}", self.target)),
        }
    }

    fn checkout(&self) -> Finding {
        match &self.unwritable {
            None => Finding::ok("checkout", "writable"),
            Some(why) => Finding::problem(
                "checkout",
                format!("cannot write to {}: {why}", self.target),
                "make it writable, or build elsewhere: export CARGO_TARGET_DIR=DIRECTORY",
            ),
        }
    }
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn write(target: &Path) -> std::io::Result<()> {
    let directory = target.join("xtask");
    std::fs::create_dir_all(&directory)?;
    let file = directory.join(format!("doctor.{}", std::process::id()));
    std::fs::write(&file, "")?;
    std::fs::remove_file(file)
}

#[cfg(test)]
mod tests {
    #[test]
    fn available_memory_is_read_in_bytes() {
        let text = "MemTotal:       24689472 kB\nMemFree: 1 kB\nMemAvailable:   20000 kB\n";
        assert_eq!(super::available(text), Some(20_480_000));
        assert_eq!(super::available("MemTotal: 1 kB\n"), None);
    }
}
