//! What cargo says, line by line, as events. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cargo_metadata::diagnostic::{Diagnostic, DiagnosticLevel};
use cargo_metadata::{Message, PackageId};

use super::failure::Broken;
use crate::report::Event;

/// The words that begin cargo's lines of progress, right-aligned in twelve columns.
const PROGRESS: [&str; 8] =
    ["Compiling", "Updating", "Downloading", "Downloaded", "Locking", "Adding", "Blocking", "Building"];

/// Longer lines of cargo's (the command line of a compiler that crashed) are cut.
const LINE: usize = 400;

/// What one cargo invocation has said so far.
#[derive(Debug, Default)]
pub struct Messages {
    /// Crates compiled.
    done: u64,
    /// Warnings of crates whose compilation has not ended: shown when it turns out that it took place.
    warnings: BTreeMap<PackageId, Vec<String>>,
    /// The programs made, by name.
    programs: BTreeMap<String, PathBuf>,
    broken: BTreeSet<String>,
    errors: usize,
    /// Cargo's own errors, each with its causes.
    said: Vec<Vec<String>>,
    /// Whether the next line may belong to the last of `said`.
    saying: bool,
    succeeded: bool,
}

impl Messages {
    /// A line of standard output: one of cargo's JSON messages.
    pub fn stdout(&mut self, line: &str) -> Vec<Event> {
        match serde_json::from_str(line) {
            Ok(Message::CompilerMessage(told)) => self.diagnostic(told.package_id, told.message),
            Ok(Message::CompilerArtifact(artifact)) => {
                let warnings = self.warnings.remove(&artifact.package_id).unwrap_or_default();
                if let Some(program) = artifact.executable {
                    self.programs.insert(artifact.target.name.clone(), program.into());
                }
                if artifact.fresh {
                    // Cargo repeats the warnings of what it did not compile; they were shown when it did.
                    return Vec::new();
                }
                self.done += 1;
                let mut events = vec![self.progress(artifact.target.name)];
                events
                    .extend(warnings.into_iter().map(|rendered| Event::Compiler { rendered, error: false }));
                events
            }
            Ok(Message::BuildFinished(end)) => {
                self.succeeded = end.success;
                Vec::new()
            }
            // What build scripts emit, and kinds of message that newer cargos may add.
            _ => Vec::new(),
        }
    }

    fn diagnostic(&mut self, package: PackageId, told: Diagnostic) -> Vec<Event> {
        let rendered = told.rendered.unwrap_or_else(|| told.message.clone());
        match told.level {
            // rustc's count at the end; ours is in the failure.
            DiagnosticLevel::Error
                if told.spans.is_empty() && told.message.starts_with("aborting due to") =>
            {
                Vec::new()
            }
            DiagnosticLevel::Error | DiagnosticLevel::Ice => {
                self.errors += 1;
                vec![Event::Compiler { rendered, error: true }]
            }
            DiagnosticLevel::Warning if !told.spans.is_empty() && package.repr.starts_with("path+") => {
                self.warnings.entry(package).or_default().push(rendered);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// A line of standard error: progress and cargo's own errors, as it writes them for people.
    pub fn stderr(&mut self, line: &str) -> Vec<Event> {
        if let Some(name) =
            line.strip_prefix("error: could not compile `").and_then(|rest| rest.split('`').next())
        {
            self.broken.insert(name.to_owned());
        }
        if line.starts_with("error") {
            self.said.push(vec![cut(line)]);
            self.saying = true;
            return Vec::new();
        }
        let words = line.trim_start();
        let progress = PROGRESS
            .iter()
            .find_map(|word| words.strip_prefix(word)?.strip_prefix(' ').map(|rest| (word, rest)));
        if let Some((word, rest)) =
            progress.filter(|_| line.starts_with("  ") || line.starts_with("Blocking"))
        {
            self.saying = false;
            let current = match *word {
                "Compiling" => rest.split(' ').next().unwrap_or_default().to_owned(),
                "Blocking" => "waiting for another cargo to finish".to_owned(),
                _ => words.to_owned(),
            };
            return vec![self.progress(current)];
        }
        if line.starts_with("warning") || words.starts_with("Finished ") {
            self.saying = false;
        } else if let (true, Some(said)) = (self.saying, self.said.last_mut()) {
            said.push(cut(line));
        }
        Vec::new()
    }

    fn progress(&self, current: String) -> Event {
        Event::BuildProgress { done: self.done, current }
    }

    /// Cargo has said that all was built: nothing of it will change any more.
    pub fn succeeded(&self) -> bool {
        self.succeeded
    }

    /// The programs made, by name.
    pub fn programs(&self) -> &BTreeMap<String, PathBuf> {
        &self.programs
    }

    /// The crates that do not compile; none when the failure was another.
    pub fn broken(&self) -> Option<Broken> {
        (!self.broken.is_empty())
            .then(|| Broken { crates: self.broken.iter().cloned().collect(), errors: self.errors })
    }

    /// Cargo's own errors with their causes, without those that only say that rustc's errors were errors.
    pub fn said(&self) -> Vec<String> {
        self.said
            .iter()
            .map(|lines| lines.iter().filter(|line| !line.trim_start().starts_with("cargo:")))
            .map(|lines| lines.map(String::as_str).collect::<Vec<_>>().join("\n").trim_end().to_owned())
            .filter(|text| !text.starts_with("error: could not compile") || text.contains('\n'))
            .collect()
    }
}

/// The line, without its middle when it is too long to be read.
fn cut(line: &str) -> String {
    let length = line.chars().count();
    if length <= LINE {
        return line.to_owned();
    }
    let start: String = line.chars().take(LINE / 2).collect();
    let end: String = line.chars().skip(length - LINE / 2).collect();
    format!("{start} [...] {end}")
}
