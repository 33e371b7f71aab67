//! The failure bundle: what is needed to see from afar why something failed, in one archive. Objects, events, logs of all
//! containers, proxies' metrics, versions, timings; no Secret.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde_json::json;
use tar::{Builder, Header};

use crate::bench::machine::Machine;
use crate::error::Fault;
use crate::report::Events;
use crate::runtime::{Evidence, Running};
use crate::state::StateDir;

/// Writes it into the checkout's state directory; its path. What cannot be had is left out, and `missing.txt` in the
/// archive says why. `why`: what failed.
pub async fn write(
    state: &StateDir,
    runtime: &dyn Running,
    events: &Events,
    why: &str,
) -> Result<PathBuf, Fault> {
    let mut files = vec![Evidence::text("error.txt", format!("{why}\n"))];
    let (told, _) = events.subscribe();
    let lines = told.iter().filter_map(|event| serde_json::to_string(&**event).ok());
    files.push(Evidence::text("events.jsonl", lines.map(|line| line + "\n").collect()));
    let versions = json!({ "xtask": env!("CARGO_PKG_VERSION"), "machine": Machine::describe().await });
    files.push(Evidence::json("versions.json", &versions));
    let mut missing = Vec::new();
    match runtime.status().await {
        Ok(status) => files.push(Evidence::json("status.json", &json!(status))),
        Err(error) => missing.push(format!("status.json: {error:#}")),
    }
    match runtime.evidence().await {
        Ok(evidence) => files.extend(evidence),
        Err(error) => missing.push(format!("objects and logs: {error:#}")),
    }
    if !missing.is_empty() {
        files.push(Evidence::text("missing.txt", missing.join("\n")));
    }
    let name = format!("bundle-{}", Timestamp::now().strftime("%Y%m%d-%H%M%S"));
    let path = state.path().join(format!("{name}.tar.gz"));
    let written = state
        .create()
        .map_err(|error| error.to_string())
        .and_then(|()| archive(&path, &name, &files).map_err(|error| error.to_string()));
    written.map_err(|error| Fault::environment(format!("cannot write {}: {error}", path.display())))?;
    Ok(path)
}

fn archive(path: &Path, directory: &str, files: &[Evidence]) -> std::io::Result<()> {
    let mut archive = Builder::new(GzEncoder::new(std::fs::File::create(path)?, Compression::fast()));
    for Evidence { path, text } in files {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(Timestamp::now().as_second()).unwrap_or_default());
        archive.append_data(&mut header, format!("{directory}/{path}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()?.flush()
}
