//! What compiles: rustc, cargo, a linker.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use super::Finding;
use crate::process::cargo;

/// What this workspace needs (`rust-version` of its Cargo.toml).
const NEEDED: &str = env!("CARGO_PKG_RUST_VERSION");

/// What was seen.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What `rustc --version` says; none without one.
    pub rustc: Option<String>,
    /// What `cargo --version` says; none without one.
    pub cargo: Option<String>,
    /// The first line of `cc --version`; none without one.
    pub linker: Option<String>,
}

impl Facts {
    /// Looks.
    pub async fn gather(root: &Path) -> Self {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let program = cargo::program();
        let (rustc, cargo, linker) =
            tokio::join!(version(&rustc, root), version(&program, root), version("cc".as_ref(), root));
        Self { rustc, cargo, linker }
    }

    /// Judges.
    pub fn judge(&self) -> Vec<Finding> {
        vec![tool("rustc", self.rustc.as_deref()), tool("cargo", self.cargo.as_deref()), self.linker()]
    }

    fn linker(&self) -> Finding {
        match &self.linker {
            Some(linker) => Finding::ok("linker", linker),
            None => Finding::problem(
                "linker",
                "no cc on PATH: Rust programs cannot be linked",
                "sudo apt-get install build-essential (Debian, Ubuntu), sudo dnf install gcc (Fedora)",
            ),
        }
    }
}

fn tool(check: &'static str, version: Option<&str>) -> Finding {
    let Some(version) = version else {
        return Finding::problem(check, format!("no {check} on PATH"), "install Rust: https://rustup.rs");
    };
    let number = version.split(' ').nth(1).unwrap_or_default();
    if numbers(number) < numbers(NEEDED) {
        return Finding::problem(check, format!("{version}: {NEEDED} or newer is needed"), "rustup update");
    }
    Finding::ok(check, version)
}

/// `1.88.0-nightly` as `[1, 88, 0]`, to be compared.
fn numbers(version: &str) -> Vec<u64> {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers: Vec<u64> = plain.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    numbers.resize(3, 0);
    numbers
}

async fn version(program: &OsStr, root: &Path) -> Option<String> {
    let output = cargo::output(program, ["--version"], root, Duration::from_secs(10)).await.ok()?;
    let line = String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned();
    output.status.success().then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("1.100.0") > numbers("1.88"));
        assert_eq!(numbers("1.88"), numbers("1.88.0-nightly"));
    }

    #[test]
    fn an_old_rustc_is_a_problem_and_a_new_one_is_not() {
        assert_eq!(tool("rustc", Some("rustc 1.70.0 (90c541806 2023-05-31)")).level, Level::Problem);
        assert_eq!(tool("rustc", Some("rustc 1.99.0-nightly (0 2026-01-01)")).level, Level::Ok);
        assert_eq!(tool("rustc", None).level, Level::Problem);
    }
}
