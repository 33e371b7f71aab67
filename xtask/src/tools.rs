//! The programs that the kind runtime needs beside cargo: pinned in `manifests/versions.toml`, found on
//! `PATH` or in the cache, else fetched and held against their sums.
//!
//! `pins`, `version` and `resolve` are pure: what is wanted and what was seen -> which program. `look` sees;
//! `download` and what is below it fetch.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::error::Fault;
use crate::report::{Event, Events, millis};

mod cache;
mod download;
mod look;
mod part;
pub mod pins;
pub mod resolve;
mod version;
mod web;

use download::{Download, Failure};
use part::Part;
use pins::{Platform, Tool, Versions, Wanted};
use resolve::{Answer, Cached, From};
pub use web::cause;

/// What the environment says about finding and fetching.
#[derive(Clone, Debug)]
pub struct Options {
    /// `PATH`.
    pub path: Option<OsString>,
    /// Where fetched programs are kept.
    pub cache: PathBuf,
    /// Stands for the scheme and host of every URL: `XTASK_TOOLS_MIRROR`, a URL or an absolute path.
    pub mirror: Option<String>,
    /// Fetch nothing: `XTASK_OFFLINE`.
    pub offline: bool,
    /// Give up when nothing comes for this long: `XTASK_TOOLS_TIMEOUT`, 30 s by default.
    pub stall: Duration,
    named: Vec<(Tool, PathBuf)>,
}

impl Options {
    /// Reads the environment. Errors when there is no place for a cache or a value makes no sense.
    pub fn from_env() -> Result<Self, Fault> {
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let stall = match text("XTASK_TOOLS_TIMEOUT") {
            None => Duration::from_secs(30),
            Some(value) => crate::args::duration(&value)
                .map_err(|why| Fault::usage(format!("XTASK_TOOLS_TIMEOUT: {why}")))?,
        };
        let cache = cache::directory().ok_or_else(|| {
            Fault::environment(
                "there is no place for fetched programs: neither HOME nor XDG_CACHE_HOME is set",
            )
            .hint("set XDG_CACHE_HOME to a directory")
        })?;
        let named = |tool: Tool| Some((tool, PathBuf::from(std::env::var_os(variable(tool))?)));
        Ok(Self {
            path: std::env::var_os("PATH"),
            cache,
            mirror: text("XTASK_TOOLS_MIRROR"),
            offline: text("XTASK_OFFLINE").is_some(),
            stall,
            named: Tool::ALL.into_iter().filter_map(named).collect(),
        })
    }

    /// The program that `XTASK_TOOL_KIND` or `XTASK_TOOL_LINKERD` names: used whatever its version.
    pub fn named(&self, tool: Tool) -> Option<PathBuf> {
        self.named.iter().find(|(named, _)| *named == tool).map(|(_, path)| path.clone())
    }
}

fn variable(tool: Tool) -> String {
    format!("XTASK_TOOL_{}", tool.name().to_uppercase())
}

/// For the kind runtime: finds a program that fits, and fetches it when there is none: the file to run.
pub async fn find(root: &Path, tool: Tool, events: &Events) -> Result<PathBuf, Fault> {
    let options = Options::from_env()?;
    let wanted = Versions::read(root)?.wanted(tool, Platform::here());
    let answer = get(&wanted, &options, events).await?;
    answer.path.ok_or_else(|| Fault::environment(format!("{wanted} is nowhere")))
}

/// Looks for what is wanted; fetches nothing.
pub async fn look(wanted: &Wanted, options: &Options) -> Answer {
    resolve::resolve(wanted, &look::observe(wanted, options).await)
}

/// Looks for what is wanted, and fetches it when nothing there fits. The answer has a path.
pub async fn get(wanted: &Wanted, options: &Options, events: &Events) -> Result<Answer, Fault> {
    let answer = look(wanted, options).await;
    match answer.from {
        From::Named | From::Path => Ok(answer),
        From::Cache => {
            // Put there by hand, it may be no program yet.
            if let Some(path) = &answer.path {
                cache::make_program(path).map_err(|error| {
                    Fault::environment(format!("cannot make {} a program: {error}", path.display()))
                })?;
            }
            Ok(answer)
        }
        From::Nowhere => Err(nowhere(wanted, &answer)),
        From::Fetch => {
            let path = fetch(wanted, &answer, options, events).await?;
            Ok(Answer { path: Some(path), version: Some(wanted.version.clone()), ..answer })
        }
    }
}

fn nowhere(wanted: &Wanted, answer: &Answer) -> Fault {
    let Wanted { tool, platform, .. } = wanted;
    Fault::environment(format!("{} cannot be had: {}", tool.name(), answer.notes.join("; ")))
        .hint(format!("put {wanted} or newer on PATH, or add its sha256 for {platform} to {}", pins::FILE))
}

/// Fetches what is wanted into the cache.
async fn fetch(
    wanted: &Wanted,
    answer: &Answer,
    options: &Options,
    events: &Events,
) -> Result<PathBuf, Fault> {
    let (Some(url), Some(sha256)) = (&wanted.url, &wanted.sha256) else {
        return Err(nowhere(wanted, answer));
    };
    let path = options.cache.join(wanted.file_name());
    let source = pins::source(url, options.mirror.as_deref())
        .map_err(|why| Fault::usage(format!("XTASK_TOOLS_MIRROR: {why}")))?;
    let by_hand = format!(
        "save {url} (sha256 {sha256}) as {}, or set XTASK_TOOLS_MIRROR to a URL or directory that has it",
        path.display()
    );
    if options.offline {
        let notes = answer.notes();
        let message = format!("{wanted} is needed and not here, and nothing is fetched offline{notes}");
        return Err(Fault::environment(message).hint(by_hand));
    }
    for note in &answer.notes {
        events.warn(format!("{note}: {wanted} is fetched"), None);
    }
    let step = format!("fetch {}", wanted.tool.name());
    let start = Instant::now();
    events.emit(Event::StepStarted { step: step.clone() });
    let told = Told { events, step: &step, start, last: Mutex::default() };
    match into_cache(wanted, options, sha256, &source, &path, &told).await {
        Ok(()) => {
            let detail = format!("{} from {source}", wanted.version);
            events.emit(Event::StepFinished { step, ms: millis(start.elapsed()), detail });
            Ok(path)
        }
        Err(failure) => {
            events.emit(Event::StepFailed { step, ms: millis(start.elapsed()) });
            Err(Fault::environment(format!("cannot fetch {wanted} from {source}: {failure}")).hint(by_hand))
        }
    }
}

async fn into_cache(
    wanted: &Wanted,
    options: &Options,
    sha256: &str,
    source: &pins::Source,
    path: &Path,
    told: &Told<'_>,
) -> Result<(), Failure> {
    tokio::fs::create_dir_all(&options.cache).await?;
    let waiting = || told.events.warn(format!("another xtask fetches {wanted}: waiting for it"), None);
    let _lock = cache::Lock::take(path, waiting).await?;
    // Whoever had the lock may have fetched it.
    if matches!(look::cached(wanted, options).await, Cached::Whole(_)) {
        return Ok(());
    }
    let download = Download {
        source,
        sha256,
        stall: options.stall,
        progress: &|bytes, total| told.progress(bytes, total),
        again: &|failure| told.events.warn(format!("{wanted}: {failure}: trying again"), None),
    };
    let part = download.run(Part::open(&cache::beside(path, "part")).await?).await?;
    Ok(part.finish(path)?)
}

/// Tells how a fetch goes.
struct Told<'a> {
    events: &'a Events,
    step: &'a str,
    start: Instant,
    last: Mutex<Option<Instant>>,
}

impl Told<'_> {
    /// Ten times a second at most, and when it is all there.
    fn progress(&self, bytes: u64, total: Option<u64>) {
        const OFTEN: Duration = Duration::from_millis(100);
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if total != Some(bytes) && last.is_some_and(|last| last.elapsed() < OFTEN) {
            return;
        }
        *last = Some(Instant::now());
        let ms = millis(self.start.elapsed());
        self.events.emit(Event::Transfer { step: self.step.to_owned(), bytes, total, ms });
    }
}
