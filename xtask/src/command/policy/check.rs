//! `policy check`: what is wrong or odd in policies. Needs nothing running, and no cargo.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use policy::check::Severity;

use super::from_root;
use crate::args::Output;
use crate::args::policy::PolicyCheck;
use crate::error::{Exit, Fault};
use crate::plan::{Mode, Options, Plan, lookup};
use crate::policies::check::Report;
use crate::policies::shipped;
use crate::report::line_out;
use crate::workspace::Workspace;
use crate::workspace::manifests::Manifests;
use crate::workspace::policies::Policies;

/// Checks, and prints what was found.
pub fn run(args: &PolicyCheck, colour: bool) -> anyhow::Result<Exit> {
    let here = std::env::current_dir().context("the current directory is gone")?;
    let root = Workspace::root_of(&here).ok_or_else(|| {
        Fault::usage(format!("{} is in no workspace with manifests/", here.display()))
            .hint("run it inside the workspace")
    })?;
    let manifests = Manifests::read(&root).map_err(Fault::from)?;
    let report = if args.paths.is_empty() {
        let http = judge(&root, &manifests, false, &[shipped(false)])?;
        http.and(judge(&root, &manifests, true, &[shipped(true)])?)
    } else {
        let paths = from_root(&args.paths, &root)?;
        // The mode changes nothing that a policy could depend on but which protocol is used.
        let grpc = paths.iter().all(|path| path.starts_with(shipped(true)));
        judge(&root, &manifests, grpc, &paths)?
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

fn judge(root: &Path, manifests: &Manifests, grpc: bool, paths: &[PathBuf]) -> Result<Report, Fault> {
    let deployments = manifests.deployments.iter().map(|own| &own.object);
    let images: BTreeSet<_> = deployments
        .flat_map(lookup::containers)
        .filter_map(|(_, container)| container.image.clone())
        .collect();
    let workspace = Workspace::assumed(root.to_owned(), images);
    let options = Options { mode: Mode { grpc, linkerd: true }, ingress: true };
    let plan = Plan::new(&workspace, manifests, options).map_err(Fault::from)?;
    let mut problems = Vec::new();
    let policies = Policies::gather(root, paths, &mut problems);
    problems.sort();
    Ok(Report::of(&plan, manifests, &policies, &problems))
}

fn json(report: &Report) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(report)?;
    if let Some(map) = value.as_object_mut() {
        map.insert("errors".to_owned(), report.count(Severity::Error).into());
        map.insert("warnings".to_owned(), report.count(Severity::Warning).into());
    }
    serde_json::to_string(&value)
}
