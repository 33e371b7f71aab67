//! Events as lines for people: what goes on above, and a spinner with the time below on a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::event::{Event, PodState};
use super::{error_text, line_out, readable};

/// Prints events for people.
pub struct Text {
    colour: bool,
    /// Spinners of the steps under way; none when standard error is no terminal.
    screen: Option<MultiProgress>,
    steps: BTreeMap<String, ProgressBar>,
}

impl Text {
    /// Prints on standard output; spinners go to standard error, on a terminal only.
    pub fn new(colour: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
        Self { colour, screen: terminal.then(MultiProgress::new), steps: BTreeMap::new() }
    }

    /// Prints one event.
    pub fn print(&mut self, event: &Event) {
        self.progress(event);
        // A spinner shows a beginning already.
        let shown = self.screen.is_some() && matches!(event, Event::StepStarted { .. });
        if let Some(text) = (!shown).then(|| render(event, self.colour)).flatten() {
            let lines = text.trim_end_matches('\n');
            match &self.screen {
                Some(screen) => screen.suspend(|| line_out(lines)),
                None => line_out(lines),
            }
        }
    }

    /// Takes the spinners away.
    pub fn end(&mut self) {
        for (_, bar) in std::mem::take(&mut self.steps) {
            bar.finish_and_clear();
        }
    }

    fn progress(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step } => {
                let Some(screen) = &self.screen else { return };
                let bar = screen.add(ProgressBar::new_spinner());
                if let Ok(style) =
                    ProgressStyle::with_template("{spinner} {prefix:<9} {elapsed:>4} {wide_msg}")
                {
                    bar.set_style(style);
                }
                bar.set_prefix(step.clone());
                bar.enable_steady_tick(Duration::from_millis(100));
                self.steps.insert(step.clone(), bar);
            }
            Event::BuildProgress { done, current } => {
                if let Some(bar) = self.steps.get("build") {
                    bar.set_message(format!("{done} crates, {current}"));
                }
            }
            Event::Transfer { step, bytes: sent, total, .. } => {
                if let Some(bar) = self.steps.get(step) {
                    let of = total.map_or_else(String::new, |total| format!(" of {}", bytes(total)));
                    bar.set_message(format!("{}{of}", bytes(*sent)));
                }
            }
            Event::StepFinished { step, .. } | Event::StepFailed { step, .. } => {
                if let Some(bar) = self.steps.remove(step) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }
}

/// The lines that tell of an event; none for what people need not see.
fn render(event: &Event, colour: bool) -> Option<String> {
    let paint = |code: &str, text: &str| {
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let label = |text: &str| paint("1;32", &format!("{text:>9}"));
    Some(match event {
        Event::Runtime { runtime, reason } => format!("{} {runtime} ({reason})", label("runtime")),
        Event::StepStarted { step } => format!("{} ...", label(step)),
        Event::StepFinished { step, ms, detail } => {
            let detail = if detail.is_empty() { String::new() } else { format!("{detail}, ") };
            format!("{} {detail}{}", label(step), span(*ms))
        }
        Event::StepFailed { step, ms } => {
            format!("{} failed after {}", paint("1;31", &format!("{step:>9}")), span(*ms))
        }
        Event::Compiler { rendered, .. } => rendered.clone(),
        Event::Pod { pod, state: PodState::CrashLoopBackOff, reason, .. } => {
            format!("{} {pod}: CrashLoopBackOff: {reason}", paint("1;31", &format!("{:>9}", "pod")))
        }
        Event::Pod { pod, state: PodState::NotReady, reason, .. } => {
            format!("{} {pod}: not ready: {reason}", paint("1;33", &format!("{:>9}", "pod")))
        }
        // None wanted: it is being taken down, which is told as such.
        Event::Rollout { deployment, desired: desired @ 1.., done: true, ms, .. } => {
            format!("{} {deployment}: {desired} of {desired} ready, {}", label("rollout"), span(*ms))
        }
        Event::Log { pod, deployment, line } => {
            format!("{} {}", paint(tint(deployment), &format!("{pod} |")), readable(line))
        }
        Event::Link { name, url } => format!("{} {name}: {}", label("link"), paint("4", url)),
        Event::Ready { ms } => format!("{} after {}", label("ready"), span(*ms)),
        Event::Changed { files, services, manifests } => {
            changed(&label("change"), files, services, *manifests)
        }
        Event::Bundle { path } => format!("{} {path}", label("evidence")),
        Event::Policies { changes } => policies(&label("policy"), changes),
        Event::Faults { changes } => policies(&label("fault"), changes),
        Event::Warning { message, hint } => {
            let mut text = format!("{}: {message}", paint("1;33", "warning"));
            if let Some(hint) = hint {
                let _ = write!(text, "\n{}: {hint}", paint("36", "hint"));
            }
            text
        }
        Event::Error { message, hint } => error_text(message, hint.as_deref(), colour),
        Event::Stopping { reason } => format!("{} {reason}", label("stopping")),
        Event::Left { runtime, how } => format!("{} the {runtime} environment runs on; {how}", label("left")),
        Event::Stopped { pods } => {
            let killed: Vec<&str> = pods.iter().filter(|p| p.killed).map(|p| p.pod.as_str()).collect();
            let mut text = format!("{} {} pods", label("stopped"), pods.len());
            if !killed.is_empty() {
                let _ = write!(text, "; killed after their grace period: {}", killed.join(", "));
            }
            text
        }
        Event::Tool { name, version, path } => {
            format!("{} {name} {}: {path}", label("tool"), version.as_deref().unwrap_or("of unknown version"))
        }
        Event::BuildProgress { .. } | Event::Transfer { .. } | Event::Pod { .. } | Event::Rollout { .. } => {
            return None;
        }
    })
}

/// What became of the policies: each, or how many.
fn policies(label: &str, changes: &[String]) -> String {
    match changes {
        [one] => format!("{label} {one}"),
        [first, others @ ..] => format!("{label} {first} and {} more", others.len()),
        [] => label.to_owned(),
    }
}

fn changed(label: &str, files: &[String], services: &[String], manifests: bool) -> String {
    let files = match files {
        [] => "files".to_owned(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    };
    let effect = match (services, manifests) {
        ([], true) => "manifests".to_owned(),
        ([], false) => "nothing to do".to_owned(),
        (services, true) => format!("{}, manifests", services.join(", ")),
        (services, false) => services.join(", "),
    };
    format!("{label} {files}: {effect}")
}

/// So many of something: `1 file`, `2 files`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// An amount of data as people read it: `312 B`, `4.5 KB`, `15.6 MB`.
pub fn bytes(count: u64) -> String {
    match count {
        0..1000 => format!("{count} B"),
        1000..1_000_000 => format!("{}.{} KB", count / 1000, count % 1000 / 100),
        _ => format!("{}.{} MB", count / 1_000_000, count % 1_000_000 / 100_000),
    }
}

/// A span in whole milliseconds.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A span as people read it: `85ms`, `1.2s`, `2m05s`.
pub fn span(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        _ => format!("{}m{:02}s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// A colour that stays the same for a Deployment.
fn tint(deployment: &str) -> &'static str {
    const TINTS: [&str; 6] = ["34", "35", "36", "32", "33", "94"];
    let sum: usize = deployment.bytes().map(usize::from).sum();
    TINTS[sum % TINTS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::event::Exited;

    fn lines(events: &[Event]) -> String {
        events.iter().filter_map(|event| render(event, false)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_start_reads_as_a_list_of_steps() {
        let events = [
            Event::Runtime { runtime: "local".into(), reason: "as asked".into() },
            Event::StepFinished { step: "build".into(), ms: 1234, detail: "4 services".into() },
            Event::Link { name: "foo".into(), url: "http://foo.localhost:8080/".into() },
            Event::Ready { ms: 420 },
            Event::Log { pod: "baz-1-a".into(), deployment: "baz".into(), line: "hello".into() },
        ];
        insta::assert_snapshot!(lines(&events), @r"
          runtime local (as asked)
            build 4 services, 1.2s
             link foo: http://foo.localhost:8080/
            ready after 420ms
        baz-1-a | hello
        ");
    }

    #[test]
    fn a_change_says_what_follows_from_it() {
        let change = |files: &[&str], services: &[&str], manifests| Event::Changed {
            files: files.iter().map(ToString::to_string).collect(),
            services: services.iter().map(ToString::to_string).collect(),
            manifests,
        };
        let events = [
            change(&["services/baz/src/main.rs"], &["baz"], false),
            change(&["a", "b", "c"], &[], true),
            change(&["xtask/src/main.rs"], &[], false),
        ];
        insta::assert_snapshot!(lines(&events), @r"
        change services/baz/src/main.rs: baz
        change a and 2 more: manifests
        change xtask/src/main.rs: nothing to do
        ");
    }

    #[test]
    fn trouble_carries_its_reason_and_a_hint() {
        let events = [
            Event::Pod {
                pod: "baz-1-a".into(),
                deployment: "baz".into(),
                state: PodState::CrashLoopBackOff,
                reason: "exit code 1".into(),
            },
            Event::Error { message: "it broke".into(), hint: Some("mend it".into()) },
            Event::Stopped { pods: vec![Exited { pod: "baz-1-a".into(), code: None, killed: true }] },
        ];
        insta::assert_snapshot!(lines(&events), @r"
              pod baz-1-a: CrashLoopBackOff: exit code 1
        error: it broke
        hint: mend it

          stopped 1 pods; killed after their grace period: baz-1-a
        ");
    }
}
