//! What this machine has and lacks, and what to do about it.

use std::path::Path;

use crate::args::{self, Output};
use crate::doctor::{self, Facts, Finding, Level};
use crate::error::Exit;

/// Looks and tells; [`Exit::Failed`] when `up` would fail here.
pub async fn run(args: args::Doctor, colour: bool) -> anyhow::Result<Exit> {
    // Built in its own checkout, so known without asking cargo, which may be what is missing.
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = xtask.parent().unwrap_or(xtask);
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).unwrap_or(root);
    let findings = Facts::gather(root, target).await.judge();
    match args.output {
        Output::Text => print!("{}", doctor::text(&findings, colour)),
        Output::Json => println!("{}", json(&findings)),
    }
    let problem = findings.iter().any(|finding| finding.level == Level::Problem);
    Ok(if problem { Exit::Failed } else { Exit::Ok })
}

fn json(findings: &[Finding]) -> serde_json::Value {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    serde_json::json!({
        "problems": count(Level::Problem),
        "warnings": count(Level::Warning),
        "findings": findings,
    })
}
