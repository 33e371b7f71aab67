//! `policy check`: what is wrong or odd in policies. Needs nothing running, and no cargo.

use anyhow::Context as _;
use policy::check::Severity;

use super::from_root;
use crate::args::Output;
use crate::args::policy::PolicyCheck;
use crate::error::{Exit, Fault};
use crate::policies::check::{Report, judge};
use crate::policies::shipped;
use crate::report::line_out;
use crate::workspace::Workspace;
use crate::workspace::manifests::Manifests;

/// Checks, and prints what was found.
pub fn run(args: &PolicyCheck, colour: bool) -> anyhow::Result<Exit> {
    let here = std::env::current_dir().context("the current directory is gone")?;
    let root = Workspace::root_of(&here).ok_or_else(|| {
        Fault::usage(format!("{} is in no workspace with manifests/", here.display()))
            .hint("run it inside the workspace")
    })?;
    let manifests = Manifests::read(&root).map_err(Fault::from)?;
    let report = if args.paths.is_empty() {
        let http = judge(&root, &manifests, false, &[shipped(false)]).map_err(Fault::from)?;
        http.and(judge(&root, &manifests, true, &[shipped(true)]).map_err(Fault::from)?)
    } else {
        let paths = from_root(&args.paths, &root)?;
        // The mode changes nothing that a policy could depend on but which protocol is used.
        let grpc = paths.iter().all(|path| path.starts_with(shipped(true)));
        judge(&root, &manifests, grpc, &paths).map_err(Fault::from)?
    };
    match args.output {
        Output::Text => line_out(report.text(colour).trim_end()),
        Output::Json => line_out(&json(&report)?),
    }
    Ok(match () {
        () if report.is_invalid() => Exit::Usage,
        () if report.count(Severity::Error) > 0 => Exit::Failed,
        () => Exit::Ok,
    })
}

fn json(report: &Report) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(report)?;
    if let Some(map) = value.as_object_mut() {
        map.insert("errors".to_owned(), report.count(Severity::Error).into());
        map.insert("warnings".to_owned(), report.count(Severity::Warning).into());
    }
    serde_json::to_string(&value)
}
