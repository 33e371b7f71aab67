//! Looks at what is there: what was named, `PATH`, the cache.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Options;
use super::cache;
use super::pins::{Tool, Wanted};
use super::resolve::{Cached, Observed, Seen};
use super::version::{question, said};
use crate::process::cargo;

/// Looks. Programs are asked for their versions; nothing is changed.
pub async fn observe(wanted: &Wanted, options: &Options) -> Observed {
    let tool = wanted.tool;
    if let Some(path) = options.named(tool) {
        return Observed { named: Some(ask(tool, path).await), on_path: None, cached: Cached::None };
    }
    let on_path = match on_path(tool.name(), options.path.as_deref()) {
        Some(path) => Some(ask(tool, path).await),
        None => None,
    };
    Observed { named: None, on_path, cached: cached(wanted, options).await }
}

/// The cache's file for what is wanted, held against the pinned sum.
pub async fn cached(wanted: &Wanted, options: &Options) -> Cached {
    let path = options.cache.join(wanted.file_name());
    if !path.is_file() {
        return Cached::None;
    }
    let Some(pinned) = &wanted.sha256 else { return Cached::NoSum(path) };
    match cache::sum(&path).await {
        Ok(sum) if sum == *pinned => Cached::Whole(path),
        Ok(sum) => Cached::Wrong(path, sum),
        Err(error) => Cached::Wrong(path, format!("unknown ({error})")),
    }
}

/// The first program of this name, as a shell finds it.
fn on_path(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?).map(|directory| directory.join(name)).find(|file| is_program(file))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

async fn ask(tool: Tool, path: PathBuf) -> Seen {
    const PATIENCE: Duration = Duration::from_secs(10);
    let version = match cargo::output(path.as_os_str(), question(tool), Path::new("/"), PATIENCE).await {
        Ok(output) if output.status.success() => said(tool, &String::from_utf8_lossy(&output.stdout))
            .ok_or("it does not tell its version".to_owned()),
        Ok(output) => {
            Err(format!("`{} {}` failed: {}", tool.name(), question(tool).join(" "), output.status))
        }
        Err(error) => Err(format!("it cannot be run: {error}")),
    };
    Seen { path, version }
}
