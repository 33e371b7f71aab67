//! File events -> services to rebuild, manifests to apply.
//!
//! Plain notify and a pause awaited here, not its debouncer: that wakes up hundreds of times a second
//! while nothing happens, and an idle `up` is to cost nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, Event as FileEvent, EventKind, ModifyKind};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::report::{Event, Events};

mod burst;
pub mod redeploy;
mod relevant;
mod seen;
#[cfg(test)]
mod tests;

use burst::Burst;
use relevant::Relevant;
use seen::Seen;

/// A burst that does not end (a large checkout) is told in parts this long.
const LONGEST: Duration = Duration::from_millis(250);

/// Files that changed together; paths are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Made, written with another content, or removed; sorted.
    pub files: Vec<PathBuf>,
    /// Saved without a change: reason enough only to try again what failed.
    pub same: Vec<PathBuf>,
}

impl Change {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.same.is_empty()
    }
}

/// A running watch; ends when dropped.
#[derive(Debug)]
pub struct Watch {
    changes: mpsc::UnboundedReceiver<Change>,
    task: Option<AbortHandle>,
}

impl Watch {
    /// The next change. Pends for ever when nothing can be watched, which was told as an event.
    pub async fn next(&mut self) -> Change {
        match self.changes.recv().await {
            Some(change) => change,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Watches the workspace's directories, but for build output and what git ignores. From when this returns,
/// no change is lost: call it before the first build. What cannot be watched is told as an event and left
/// out; the rest goes on.
pub fn watch(root: &Path, target: &Path, events: &Events) -> Watch {
    let (sender, changes) = mpsc::unbounded_channel();
    let (notifier, noticed) = mpsc::unbounded_channel();
    let watcher = notify::recommended_watcher(move |event: notify::Result<FileEvent>| {
        if event.as_ref().map_or(true, is_of_content) {
            let _ = notifier.send(event);
        }
    });
    let watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            events.emit(failure(&error));
            return Watch { changes, task: None };
        }
    };
    let mut tree = Tree {
        root: root.to_owned(),
        seen: Seen::new(Relevant::new(root, target)),
        directories: Directories { watcher, events: events.clone(), told: false },
    };
    tree.seen.walk(root, &mut |directory| tree.directories.add(directory));
    let task = tokio::spawn(tree.follow(noticed, sender)).abort_handle();
    Watch { changes, task: Some(task) }
}

/// Whether the event can be one of content: not of permissions and times, not of reading.
fn is_of_content(event: &FileEvent) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Metadata(_)) => false,
        _ => true,
    }
}

/// The directories that are watched, each on its own: a recursive watch would take in what git ignores.
struct Directories {
    watcher: RecommendedWatcher,
    events: Events,
    /// That not all can be watched is told once.
    told: bool,
}

impl Directories {
    fn add(&mut self, directory: &Path) {
        if let Err(error) = self.watcher.watch(directory, RecursiveMode::NonRecursive) {
            // Removed again before we came to it: its parent tells.
            let gone = matches!(error.kind, ErrorKind::PathNotFound) || !directory.exists();
            if !gone && !self.told {
                self.told = true;
                self.events.emit(failure(&error));
            }
        }
    }
}

struct Tree {
    root: PathBuf,
    seen: Seen,
    directories: Directories,
}

impl Tree {
    async fn follow(
        mut self,
        mut notified: mpsc::UnboundedReceiver<notify::Result<FileEvent>>,
        changes: mpsc::UnboundedSender<Change>,
    ) {
        while let Some(first) = notified.recv().await {
            let mut burst = Burst::default();
            burst.take(first, &self.seen);
            if burst.is_empty() {
                continue;
            }
            let latest = Instant::now() + LONGEST;
            let mut last = Instant::now();
            loop {
                let silence = (last + burst.silence()).min(latest);
                let Ok(Some(event)) = tokio::time::timeout_at(silence, notified.recv()).await else { break };
                if burst.take(event, &self.seen) {
                    last = Instant::now();
                }
            }
            let change = self.settle(&burst);
            if !change.is_empty() && changes.send(change).is_err() {
                return;
            }
        }
    }

    fn settle(&mut self, burst: &Burst) -> Change {
        let found = &mut |directory: &Path| self.directories.add(directory);
        if burst.everything {
            return self.seen.again(&self.root, found);
        }
        let change = self.seen.settle(&burst.paths, found);
        if change.files.iter().any(|file| file.ends_with(".gitignore")) {
            // What it lets in now is known from here on, and was not changed by that.
            self.seen.again(&self.root, found);
        }
        change
    }
}

/// Why not everything is watched, and what to do about it.
fn failure(error: &notify::Error) -> Event {
    let (message, hint) = match &error.kind {
        ErrorKind::MaxFilesWatch => (
            "cannot watch all files: the limit of inotify watches is reached".to_owned(),
            Some("sudo sysctl fs.inotify.max_user_watches=524288".to_owned()),
        ),
        // EMFILE: of the process or of the user, inotify says the same.
        ErrorKind::Io(io) if io.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => (
            "cannot watch files: the limit of inotify instances or of open files is reached".to_owned(),
            Some("sudo sysctl fs.inotify.max_user_instances=512; ulimit -n 4096".to_owned()),
        ),
        _ => (format!("cannot watch all files: {error}"), None),
    };
    Event::Error { message: format!("{message}; changes may go unnoticed"), hint }
}
