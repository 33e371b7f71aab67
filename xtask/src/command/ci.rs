//! Everything CI runs, in CI and on a developer's machine alike.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::args;
use crate::error::{Exit, Fault};
use crate::process::cargo;

/// Longer than any step takes; CI's own limit is shorter.
const LIMIT: Duration = Duration::from_secs(3600);

/// A step: its name and the program with its arguments.
struct Step {
    name: &'static str,
    program: OsString,
    args: Vec<OsString>,
}

/// Runs the steps, one line each, until one fails; then shows what that one wrote. Cargo's advisories
/// need its tool: without it that step is skipped, and says so.
pub async fn run(args: args::Ci, colour: bool) -> anyhow::Result<Exit> {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = xtask.parent().unwrap_or(xtask);
    let begin = Instant::now();
    let mut tests = Tests::default();
    for step in steps(args.bench)? {
        if step.name == "deny" && !has_deny(root).await {
            println!(
                "{:<8} {:<7} cargo-deny is not installed: cargo install cargo-deny --locked",
                "skipped", step.name
            );
            continue;
        }
        let start = Instant::now();
        announce(step.name);
        let output = cargo::output(&step.program, &step.args, root, LIMIT)
            .await
            .map_err(|error| Fault::environment(format!("cannot run {}: {error}", step.program.display())))?;
        let well = output.status.success();
        println!("{} {:<7} {:>6.1} s", verdict(well, colour), step.name, start.elapsed().as_secs_f64());
        if step.name == "test" {
            tests = Tests::of(&String::from_utf8_lossy(&output.stdout));
        }
        if !well {
            show(&output);
            let command = [&step.program].into_iter().chain(&step.args).map(|word| word.to_string_lossy());
            let command = command.collect::<Vec<_>>().join(" ");
            return Err(Fault::failed(format!("ci: {} failed ({})", step.name, output.status))
                .hint(format!("alone: {command}"))
                .into());
        }
    }
    println!("\n{} passed, {} failed, {} skipped", tests.passed, tests.failed, tests.skipped);
    println!("All passed in {:.0} s.", begin.elapsed().as_secs_f64());
    Ok(Exit::Ok)
}

/// What the test binaries counted, all together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tests {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Tests {
    /// Adds up the lines `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn of(output: &str) -> Self {
        let mut all = Self::default();
        for line in output.lines().filter(|line| line.starts_with("test result:")) {
            let count = |what: &str| -> u32 {
                let before = line.split(what).next().unwrap_or_default();
                before.trim_end().rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
            };
            all.passed += count("passed");
            all.failed += count("failed");
            all.skipped += count("ignored");
        }
        all
    }
}

fn steps(bench: bool) -> anyhow::Result<Vec<Step>> {
    let cargo = |name, line: &str| Step {
        name,
        program: cargo::program(),
        args: line.split(' ').map(OsString::from).collect(),
    };
    let ourselves = |name, line: &str| -> anyhow::Result<Step> {
        Ok(Step {
            name,
            program: std::env::current_exe()?.into(),
            args: line.split(' ').map(OsString::from).collect(),
        })
    };
    let mut steps = vec![
        cargo("format", "fmt --all --check"),
        cargo("lint", "clippy --workspace --all-targets --locked -- -D warnings"),
        cargo("deny", "deny --offline check bans licenses sources"),
        cargo("test", "test --workspace --locked"),
        ourselves("smoke", "smoke --matrix --runtime local")?,
    ];
    if bench {
        steps.push(ourselves("bench", "bench")?);
    }
    Ok(steps)
}

async fn has_deny(root: &Path) -> bool {
    let asked = cargo::output(&cargo::program(), ["deny", "--version"], root, Duration::from_secs(10)).await;
    asked.is_ok_and(|output| output.status.success())
}

/// Says on a terminal what is under way; the step's line then takes its place.
fn announce(step: &str) {
    if std::io::stdout().is_terminal() {
        print!("{:<8} {step}\r", "running");
        let _ = std::io::stdout().flush();
    }
}

fn verdict(well: bool, colour: bool) -> String {
    let (word, paint) = if well { ("ok", "\x1b[32m") } else { ("failed", "\x1b[1;31m") };
    if colour { format!("{paint}{word:<8}\x1b[0m") } else { format!("{word:<8}") }
}

fn show(output: &Output) {
    println!();
    let _ = std::io::stdout().write_all(&output.stdout);
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().write_all(&output.stderr);
}

#[cfg(test)]
mod tests {
    use super::Tests;

    #[test]
    fn the_counts_of_all_test_binaries_are_added_up() {
        let output = "running 4 tests\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
            test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(Tests::of(output), Tests { passed: 13, failed: 2, skipped: 1 });
    }
}
