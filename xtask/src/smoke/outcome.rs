//! The result of `smoke`: one report a mode, one outcome a check.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::plan::Mode;

/// What `smoke` found, over all the modes it was asked for.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct Report {
    /// No check failed.
    pub passed: bool,
    pub runtime: String,
    pub modes: Vec<ModeReport>,
}

/// What `smoke` found in one mode.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct ModeReport {
    /// As on the command line: `--grpc --linkerd`; `plain` without either.
    pub mode: String,
    pub grpc: bool,
    pub linkerd: bool,
    pub passed: bool,
    pub ms: u64,
    pub checks: Vec<Check>,
    /// Who answered whom, how often.
    pub spread: Vec<Spread>,
}

/// One check.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Check {
    pub name: &'static str,
    pub outcome: Outcome,
    /// What was seen, in a few words.
    pub detail: String,
    /// What failed, as it came: answers, output, log lines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    pub ms: u64,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    Failed,
    /// It could not be made; the detail says why.
    Skipped,
}

/// How often each pod of a service answered one client.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Spread {
    /// The calling pod's service.
    pub client: String,
    pub service: String,
    pub requests: u32,
    pub pods: BTreeMap<String, u32>,
}

impl Check {
    /// A check that holds when nothing speaks against it.
    pub fn of(name: &'static str, detail: impl Into<String>, evidence: Vec<String>) -> Self {
        let outcome = if evidence.is_empty() { Outcome::Passed } else { Outcome::Failed };
        Self { name, outcome, detail: detail.into(), evidence, ms: 0 }
    }

    /// A check that could not be made.
    pub fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Skipped, detail: why.into(), evidence: Vec::new(), ms: 0 }
    }

    /// With the time that it took.
    #[must_use]
    pub fn timed(mut self, start: std::time::Instant) -> Self {
        self.ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self
    }
}

/// A mode as it is typed; `plain` when nothing is.
pub fn mode_name(mode: Mode) -> String {
    if mode == Mode::default() { "plain".to_owned() } else { mode.to_string() }
}

impl ModeReport {
    /// The report for people.
    pub fn text(&self) -> String {
        let verdict = if self.passed { "passed" } else { "FAILED" };
        let mut text = format!("{}: {verdict} in {}\n", self.mode, crate::report::span(self.ms));
        for check in &self.checks {
            let mark = match check.outcome {
                Outcome::Passed => "ok",
                Outcome::Failed => "FAILED",
                Outcome::Skipped => "skipped",
            };
            let _ = writeln!(text, "  {mark:<8} {:<12} {}", check.name, check.detail);
            for line in check.evidence.iter().flat_map(|e| e.lines()) {
                let _ = writeln!(text, "           {line}");
            }
        }
        for spread in &self.spread {
            let pods: Vec<String> = spread
                .pods
                .iter()
                .map(|(pod, n)| format!("{pod} {n} ({}%)", n * 100 / spread.requests.max(1)))
                .collect();
            let _ = writeln!(text, "  {} -> {}: {}", spread.client, spread.service, pods.join(", "));
        }
        text
    }
}
