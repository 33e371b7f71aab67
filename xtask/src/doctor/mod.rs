//! What this machine has and lacks. Each check's file gathers facts and judges them apart, so that the
//! judgement can be tested with any facts.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::report::counted;

pub mod cgroup;
pub mod clock;
pub mod docker;
pub mod limits;
pub mod machine;
pub mod network;
pub mod places;
pub mod toolchain;
pub mod tools;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, with something to know.
    Warning,
    /// `up` would fail.
    Problem,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check: one word.
    pub check: &'static str,
    /// How it is to be taken.
    pub level: Level,
    /// What is the case.
    pub found: String,
    /// What to do about it: best a command to paste. None when all is well.
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), remedy: None }
    }

    /// It works, with something to know.
    pub fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// `up` would fail.
    pub fn problem(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Problem, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Everything that is looked at.
#[derive(Clone, Debug)]
pub struct Facts {
    pub machine: machine::Facts,
    pub cgroup: cgroup::Facts,
    pub clock: clock::Facts,
    pub places: places::Facts,
    pub toolchain: toolchain::Facts,
    pub limits: limits::Facts,
    pub network: network::Facts,
    pub docker: docker::Facts,
    pub tools: tools::Facts,
}

impl Facts {
    /// Looks at this machine, this program and the checkout at `root`, which builds in `target`.
    pub async fn gather(root: &Path, target: &Path, program: &Path) -> Self {
        let (toolchain, network, docker, tools) = tokio::join!(
            toolchain::Facts::gather(root, target),
            network::Facts::gather(),
            docker::Facts::gather(root),
            tools::Facts::gather(root)
        );
        Self {
            machine: machine::Facts::gather(target),
            cgroup: cgroup::Facts::gather(),
            clock: clock::Facts::gather(program, root),
            places: places::Facts::gather(),
            toolchain,
            limits: limits::Facts::gather(root),
            network,
            docker,
            tools,
        }
    }

    /// What is to be said of it.
    pub fn judge(&self) -> Vec<Finding> {
        let mut findings = self.machine.judge();
        findings.push(self.cgroup.judge());
        findings.push(self.clock.judge());
        findings.extend(self.places.judge());
        findings.extend(self.toolchain.judge());
        findings.extend(self.limits.judge());
        findings.extend(self.network.judge());
        findings.push(self.docker.judge());
        findings.extend(self.tools.judge());
        findings
    }
}

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// `3.2 GiB`; of less than one, `512 MiB`; of less than one of those, `12 KiB`.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn size(bytes: u64) -> String {
    match bytes {
        ..MIB => format!("{} KiB", bytes / 1024),
        MIB..GIB => format!("{} MiB", bytes / MIB),
        _ => format!("{:.1} GiB", bytes as f64 / GIB as f64),
    }
}

/// The findings for people.
pub fn text(findings: &[Finding], colour: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let (word, paint) = match finding.level {
            Level::Ok => ("ok", "\x1b[32m"),
            Level::Warning => ("warning", "\x1b[33m"),
            Level::Problem => ("problem", "\x1b[1;31m"),
        };
        let (paint, cyan, reset) = if colour { (paint, "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
        let _ = writeln!(text, "{paint}{word:<8}{reset} {:<10} {}", finding.check, finding.found);
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(text, "{:20}{cyan}hint:{reset} {remedy}", "");
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let _ = match (count(Level::Problem), count(Level::Warning)) {
        (0, 0) => writeln!(text, "\nAll is well."),
        (problems, warnings) => {
            writeln!(text, "\n{}, {}.", counted(problems, "problem"), counted(warnings, "warning"))
        }
    };
    text
}

#[cfg(test)]
mod tests;
