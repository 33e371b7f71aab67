//! How programs are built so that they run in an image with nothing beside them: static, for the nodes' architecture.

use std::path::Path;
use std::time::Duration;

use crate::error::Fault;
use crate::oci::Platform;
use crate::process::cargo;

/// What cargo is told so that it builds static programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticTarget {
    /// Rust's name of it: `x86_64-unknown-linux-gnu`.
    pub triple: String,
    /// What the image says it runs on.
    pub platform: Platform,
    /// Through `cargo zigbuild`, which links for other machines than this one.
    pub zig: bool,
    /// rustc's flags, beside the user's.
    pub flags: Vec<String>,
}

/// What this machine can build with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    /// rustc's own target: `x86_64-unknown-linux-gnu`.
    host: String,
    /// The C library's archive is there, so that programs for the host can be static.
    static_libc: bool,
    /// rustc has the standard library of `ARCHITECTURE-unknown-linux-musl`.
    musl: bool,
    /// `cargo zigbuild` is there.
    zig: bool,
}

/// This machine's architecture, in Go's words.
pub const HERE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

impl StaticTarget {
    /// The way to build for nodes of an architecture, in Go's words (`amd64`). `root` is the workspace's. Errors with
    /// what to install.
    pub async fn find(architecture: &str, root: &Path) -> Result<Self, Fault> {
        let machine = machine(architecture)?;
        let musl = format!("{machine}-unknown-linux-musl");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let (verbose, libdir, libc) =
            (["-vV"], ["--print", "target-libdir", "--target", &musl], ["-print-file-name=libc.a"]);
        let run = async |program: &std::ffi::OsStr, args: &[&str]| {
            let output = cargo::output(program, args, root, Duration::from_secs(10)).await.ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let (version, library, libc) =
            tokio::join!(run(&rustc, &verbose), run(&rustc, &libdir), run("cc".as_ref(), &libc),);
        let host =
            version.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("host: ")));
        let mut facts = Facts {
            host: host.unwrap_or_default().to_owned(),
            // A compiler that does not find the file says its bare name.
            static_libc: libc.is_some_and(|path| Path::new(path.trim()).is_absolute()),
            musl: library.is_some_and(|path| Path::new(path.trim()).is_dir()),
            zig: false,
        };
        if !facts.host.starts_with(&format!("{machine}-unknown-linux")) {
            facts.zig = run(&cargo::program(), &["zigbuild", "--help"]).await.is_some();
        }
        Self::choose(architecture, &facts, root)
    }

    fn choose(architecture: &str, facts: &Facts, root: &Path) -> Result<Self, Fault> {
        let machine = machine(architecture)?;
        let musl = format!("{machine}-unknown-linux-musl");
        let native = facts.host.starts_with(&format!("{machine}-unknown-linux"));
        let (triple, zig) = if native && (facts.host.ends_with("-musl") || facts.static_libc) {
            (facts.host.clone(), false)
        } else if native && facts.musl {
            (musl, false)
        } else if native {
            return Err(Fault::environment("cannot link static programs: this machine has no libc.a").hint(
                format!("rustup target add {musl}, or install your system's static C library (glibc-static)"),
            ));
        } else if facts.zig && facts.musl {
            (musl, true)
        } else {
            let host = &facts.host;
            return Err(Fault::environment(format!("cannot build for linux/{architecture} on {host}")).hint(
                format!("rustup target add {musl} && cargo install cargo-zigbuild (which needs zig)"),
            ));
        };
        let flags = vec![
            "-Ctarget-feature=+crt-static".to_owned(),
            // An image is sent at each change: what only debuggers read stays here.
            "-Cstrip=debuginfo".to_owned(),
            // The same programs wherever the checkout and cargo's downloads are.
            format!("--remap-path-prefix={}=/workspace", root.display()),
            format!("--remap-path-prefix={}=/cargo", cargo::home().display()),
        ];
        let architecture = if machine == "x86_64" { "amd64" } else { "arm64" };
        Ok(Self { triple, platform: Platform { architecture }, zig, flags })
    }

    /// The arguments and variables for cargo. Flags of the user's in `RUSTFLAGS` hold as well: cargo takes them from
    /// one place only.
    pub fn arguments(&self) -> (Vec<String>, Option<(&'static str, String)>) {
        const SEPARATOR: &str = "\u{1f}";
        let mut arguments = vec![format!("--target={}", self.triple)];
        let encoded = std::env::var("CARGO_ENCODED_RUSTFLAGS").ok();
        let plain = || {
            let flags = std::env::var("RUSTFLAGS").ok()?;
            Some(flags.split_whitespace().collect::<Vec<_>>().join(SEPARATOR))
        };
        if let Some(theirs) = encoded.or_else(plain).filter(|flags| !flags.is_empty()) {
            let flags = format!("{theirs}{SEPARATOR}{}", self.flags.join(SEPARATOR));
            return (arguments, Some(("CARGO_ENCODED_RUSTFLAGS", flags)));
        }
        let flags: Vec<String> = self.flags.iter().map(|flag| toml_string(flag)).collect();
        arguments.push(format!("--config=target.{}.rustflags=[{}]", self.triple, flags.join(",")));
        (arguments, None)
    }
}

/// Rust's name of an architecture that Go names.
fn machine(architecture: &str) -> Result<&'static str, Fault> {
    match architecture {
        "amd64" | "x86_64" => Ok("x86_64"),
        "arm64" | "aarch64" => Ok("aarch64"),
        other => {
            Err(Fault::usage(format!("images are built for linux/amd64 and linux/arm64, not for `{other}`")))
        }
    }
}

fn toml_string(text: &str) -> String {
    // TOML's basic strings escape as JSON's do.
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(architecture: &str, facts: &Facts) -> Result<(String, bool), String> {
        let target = StaticTarget::choose(architecture, facts, Path::new("/src"));
        target.map(|target| (target.triple, target.zig)).map_err(|fault| fault.to_string())
    }

    fn linux() -> Facts {
        Facts { host: "x86_64-unknown-linux-gnu".into(), ..Facts::default() }
    }

    #[test]
    fn this_machines_own_linker_is_used_where_it_can_link_static_programs() {
        let glibc = Facts { static_libc: true, musl: true, ..linux() };
        assert_eq!(choose("amd64", &glibc), Ok(("x86_64-unknown-linux-gnu".into(), false)));
        let musl = Facts { musl: true, ..linux() };
        assert_eq!(choose("amd64", &musl), Ok(("x86_64-unknown-linux-musl".into(), false)));
        insta::assert_snapshot!(
            choose("amd64", &linux()).unwrap_err(),
            @"cannot link static programs: this machine has no libc.a"
        );
    }

    #[test]
    fn other_machines_need_zig() {
        let zig = Facts { musl: true, zig: true, ..linux() };
        assert_eq!(choose("arm64", &zig), Ok(("aarch64-unknown-linux-musl".into(), true)));
        let mac = Facts { host: "aarch64-apple-darwin".into(), ..Facts::default() };
        insta::assert_snapshot!(
            choose("arm64", &mac).unwrap_err(),
            @"cannot build for linux/arm64 on aarch64-apple-darwin"
        );
        insta::assert_snapshot!(
            choose("riscv64", &mac).unwrap_err(),
            @"images are built for linux/amd64 and linux/arm64, not for `riscv64`"
        );
    }
}
