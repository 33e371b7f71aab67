//! What this machine has and lacks, and what to do about it.

use std::path::{Path, PathBuf};

use crate::args::{self, Output};
use crate::doctor::{self, Facts, Finding, Level};
use crate::error::Exit;
use crate::report::line_out;
use crate::workspace::Workspace;

/// Looks and tells; [`Exit::Failed`] when `up` would fail here.
pub async fn run(args: args::Doctor, colour: bool) -> anyhow::Result<Exit> {
    // Found without asking cargo, which may be what is missing: this program is built in its own checkout.
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = std::env::current_dir().ok().and_then(|here| Workspace::root_of(&here));
    let root = here.unwrap_or_else(|| xtask.parent().unwrap_or(xtask).to_owned());
    let program = std::env::current_exe()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.or_else(|| Some(program.ancestors().nth(2)?.to_owned()));
    let findings =
        Facts::gather(&root, &target.unwrap_or_else(|| root.join("target")), &program).await.judge();
    match args.output {
        Output::Text => line_out(doctor::text(&findings, colour).trim_end()),
        Output::Json => line_out(&json(&findings).to_string()),
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
