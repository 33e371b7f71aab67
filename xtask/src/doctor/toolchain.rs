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
    /// Why a program that does nothing cannot be compiled and linked.
    pub unlinkable: Option<String>,
}

impl Facts {
    /// Looks.
    pub async fn gather(root: &Path, target: &Path) -> Self {
        let program_of_rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let program = cargo::program();
        let (rustc, cargo, linker) = tokio::join!(
            version(&program_of_rustc, root),
            version(&program, root),
            version("cc".as_ref(), root)
        );
        let unlinkable = match (&rustc, &linker) {
            (Some(_), Some(_)) => link(&program_of_rustc, target).await,
            _ => None,
        };
        Self { rustc, cargo, linker, unlinkable }
    }

    /// Judges.
    pub fn judge(&self) -> Vec<Finding> {
        vec![tool("rustc", self.rustc.as_deref()), tool("cargo", self.cargo.as_deref()), self.linker()]
    }

    fn linker(&self) -> Finding {
        let remedy = "sudo apt-get install build-essential (Debian, Ubuntu), sudo dnf install gcc (Fedora)";
        match (&self.linker, &self.unlinkable) {
            (None, _) => Finding::problem("linker", "no cc on PATH: Rust programs cannot be linked", remedy),
            (Some(_), Some(why)) => Finding::problem(
                "linker",
                format!("a program that does nothing does not link: {why}"),
                remedy,
            ),
            (Some(linker), None) => Finding::ok("linker", linker),
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
pub fn numbers(version: &str) -> Vec<u64> {
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

/// Compiles and links a program that does nothing; why that fails. None where there is no place for it either, which
/// is another finding.
async fn link(rustc: &OsStr, target: &Path) -> Option<String> {
    let out = target.join("xtask").join(format!("doctor-link.{}", std::process::id()));
    std::fs::write(&out, "").ok()?;
    let args = ["--edition=2021", "--crate-name=doctor", "-Cdebuginfo=0", "-"].map(str::to_owned);
    let args = args.into_iter().chain(["-o".to_owned(), out.display().to_string()]);
    let linking = cargo::fed(rustc, args, |stdin| stdin.write_all(b"fn main() {}\n"));
    let ended = tokio::time::timeout(Duration::from_secs(20), linking).await;
    let _ = std::fs::remove_file(&out);
    let output = match ended {
        Err(_) => return Some("it takes more than 20 s".to_owned()),
        Ok(Err(error)) => return Some(error.to_string()),
        Ok(Ok((_, output))) => output,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().find(|line| line.starts_with("error")).or(said.lines().next());
    (!output.status.success()).then(|| first.unwrap_or("rustc failed").to_owned())
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
