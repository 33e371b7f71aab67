//! `policy check` beside a real API server: for each file of `policy-variants/`, whether it is taken or refused.
//!
//! Each file's first line says by whom and why. Its own side runs always. The server's runs where a cluster with the
//! CRDs of `linkerd install --crds --set installGatewayAPI=true` is named by `XTASK_TEST_CONTEXT`, or is kubectl's
//! current context and one of kind's; it is only asked what it would do (`--dry-run=server`). Linkerd's webhook is no
//! part of that: what it refuses, the API server by itself takes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Who refuses a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stated {
    Accepted,
    ApiServer,
    Webhook,
    CheckOnly,
}

struct Variant {
    /// Relative to the workspace's root.
    file: PathBuf,
    stated: Stated,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn variants() -> Vec<Variant> {
    let directory = Path::new("xtask/tests/policy-variants");
    let names = std::fs::read_dir(root().join(directory)).unwrap().map(|entry| entry.unwrap().file_name());
    let mut variants: Vec<_> = names
        .map(|name| {
            let file = directory.join(name);
            let text = std::fs::read_to_string(root().join(&file)).unwrap();
            let first = text.lines().next().unwrap_or_default();
            let stated = match first.split_once(": ").map(|(stated, _)| stated) {
                Some("# accepted") => Stated::Accepted,
                Some("# refused by the API server") => Stated::ApiServer,
                Some("# refused by the webhook") => Stated::Webhook,
                Some("# refused by check only") => Stated::CheckOnly,
                _ => panic!("{}: `{first}` does not say who takes it", file.display()),
            };
            Variant { file, stated }
        })
        .collect();
    variants.sort_by(|a, b| a.file.cmp(&b.file));
    variants
}

/// The files that `policy check` says cannot be applied.
fn refused_by_check(variants: &[Variant]) -> BTreeSet<PathBuf> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.current_dir(root()).args(["policy", "check", "-o", "json"]);
    let output = command.args(variants.iter().map(|variant| &variant.file)).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let invalid = findings.filter(|found| found["rule"] == "invalid");
    invalid.map(|found| PathBuf::from(found["file"].as_str().unwrap())).collect()
}

#[test]
fn check_takes_and_refuses_what_each_variant_says() {
    let variants = variants();
    let broken = variants.iter().filter(|variant| variant.stated != Stated::Accepted).count();
    assert!(broken >= 60, "{broken}");
    let refused = refused_by_check(&variants);
    let wrong = variants
        .iter()
        .filter(|variant| refused.contains(&variant.file) != (variant.stated != Stated::Accepted))
        .map(|variant| format!("{}: {:?}", variant.file.display(), variant.stated));
    assert_eq!(wrong.collect::<Vec<_>>(), [""; 0]);
}

/// The context to ask, or why there is none.
fn context() -> Result<String, String> {
    let kubectl = |args: &[&str]| {
        let output =
            Command::new("kubectl").args(args).output().map_err(|error| format!("kubectl: {error}"))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    };
    let context = if let Ok(context) = std::env::var("XTASK_TEST_CONTEXT") {
        context
    } else {
        let current = kubectl(&["config", "current-context"])?;
        if !current.starts_with("kind-") {
            return Err(format!("XTASK_TEST_CONTEXT is not set, and {current} is none of kind's"));
        }
        current
    };
    let crds =
        ["get", "crd", "servers.policy.linkerd.io", "grpcroutes.gateway.networking.k8s.io", "-o", "name"];
    kubectl(&[&["--context", &context, "--request-timeout=5s"], &crds[..]].concat())?;
    Ok(context)
}

#[test]
fn the_api_server_takes_and_refuses_what_each_variant_says() {
    let context = match context() {
        Ok(context) => context,
        Err(why) => {
            eprintln!("skipped: no cluster with Linkerd's CRDs to ask: {why}");
            return;
        }
    };
    let variants = variants();
    let ask = |variant: &Variant| -> Output {
        let mut command = Command::new("kubectl");
        command.args(["--context", &context, "apply", "--server-side", "--dry-run=server"]);
        command.args(["--validate=strict", "-f"]).arg(root().join(&variant.file)).output().unwrap()
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let parts = variants.chunks(variants.len().div_ceil(4)).map(|part| {
            scope.spawn(move || {
                let differs = part.iter().filter_map(|variant| {
                    let output = ask(variant);
                    let taken = output.status.success();
                    (taken == (variant.stated == Stated::ApiServer)).then(|| {
                        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                        format!("{}: {:?}: {words}", variant.file.display(), variant.stated)
                    })
                });
                differs.collect::<Vec<_>>()
            })
        });
        let parts: Vec<_> = parts.collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    let count = |stated| variants.iter().filter(|variant| variant.stated == stated).count();
    eprintln!(
        "asked {context} of {} variants: {} taken by both; {} refused by both; refused by check for the webhook {}, and alone {}",
        variants.len(),
        count(Stated::Accepted),
        count(Stated::ApiServer),
        count(Stated::Webhook),
        count(Stated::CheckOnly),
    );
    assert_eq!(wrong, [""; 0]);
}
