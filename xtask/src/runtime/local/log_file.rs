//! What pods wrote: a bounded file a pod, kept after the pod is gone, and read back merged by time.
//!
//! A line on disk is `2026-01-02T03:04:05.000000006Z what was written`. One thread writes for all pods, so that a
//! slow or full disk never holds up anything but the log.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::report::Events;

/// Half of what a pod's log may take: when `POD.log` is this long it becomes `POD.log.1`.
const HALF: u64 = 5_000_000;
/// Logs of so many pods a Deployment are kept.
const KEPT: usize = 20;
/// After a failed write the next is tried this much later.
const RETRY: Duration = Duration::from_secs(5);
/// Lines on their way to the disk.
const QUEUE: usize = 4096;

/// Writes the logs of all pods. Clones share one thread, which ends with the last.
#[derive(Clone, Debug)]
pub struct LogBook(mpsc::Sender<Message>);

#[derive(Debug)]
enum Message {
    Line { pod: Arc<str>, at: Timestamp, line: String },
    Close { pod: Arc<str> },
    Flush(oneshot::Sender<()>),
}

impl LogBook {
    /// Starts writing into `directory`. Errors when no thread can be had; a directory that cannot be written
    /// to is told by a warning event.
    pub fn start(directory: PathBuf, events: Events) -> io::Result<Self> {
        let (sender, inbox) = mpsc::channel(QUEUE);
        let writer = Writer { directory, events, files: HashMap::new(), retry: None, warned: false };
        std::thread::Builder::new().name("logs".into()).spawn(move || writer.run(inbox))?;
        Ok(Self(sender))
    }

    /// Appends a line, without its end. Waits while the disk is behind.
    pub async fn line(&self, pod: &Arc<str>, line: String) {
        // The thread only ends with the last clone of this.
        let _ = self.0.send(Message::Line { pod: Arc::clone(pod), at: Timestamp::now(), line }).await;
    }

    /// Says that a pod writes nothing more.
    pub async fn close(&self, pod: &Arc<str>) {
        let _ = self.0.send(Message::Close { pod: Arc::clone(pod) }).await;
    }

    /// Waits until all lines so far are in their files.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.0.send(Message::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }
}

/// The writing thread.
struct Writer {
    directory: PathBuf,
    events: Events,
    files: HashMap<Arc<str>, Option<Open>>,
    /// No write is tried before.
    retry: Option<Instant>,
    warned: bool,
}

struct Open {
    file: File,
    size: u64,
}

impl Writer {
    fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let mut batch = Vec::new();
        while inbox.blocking_recv_many(&mut batch, QUEUE) > 0 {
            let mut texts: BTreeMap<Arc<str>, String> = BTreeMap::new();
            let (mut closed, mut waiting) = (Vec::new(), Vec::new());
            for message in batch.drain(..) {
                match message {
                    Message::Line { pod, at, line } => {
                        let text = texts.entry(pod).or_default();
                        // Writing to a string does not fail.
                        let _ = writeln!(text, "{at:.9} {line}");
                    }
                    Message::Close { pod } => closed.push(pod),
                    Message::Flush(done) => waiting.push(done),
                }
            }
            for (pod, text) in texts {
                self.append(&pod, &text);
            }
            for pod in closed {
                self.files.remove(&pod);
            }
            for done in waiting {
                let _ = done.send(());
            }
        }
    }

    fn append(&mut self, pod: &Arc<str>, text: &str) {
        if self.retry.is_some_and(|at| Instant::now() < at) {
            return;
        }
        if !self.files.contains_key(pod) {
            prune(&self.directory, |kept| self.files.contains_key(kept));
        }
        let open = self.files.entry(Arc::clone(pod)).or_insert(None);
        match write(&self.directory, pod, open, text) {
            Ok(()) => (self.retry, self.warned) = (None, false),
            Err(error) => {
                *open = None;
                self.retry = Some(Instant::now() + RETRY);
                if !std::mem::replace(&mut self.warned, true) {
                    self.events.warn(
                        format!("cannot write logs to {}: {error}", self.directory.display()),
                        Some(
                            "pods run on, what they write is lost meanwhile; make room or make it writable"
                                .into(),
                        ),
                    );
                }
            }
        }
    }
}

fn write(directory: &Path, pod: &str, open: &mut Option<Open>, text: &str) -> io::Result<()> {
    let path = directory.join(format!("{pod}.log"));
    let added = text.len() as u64;
    if open.as_ref().is_some_and(|open| open.size > 0 && open.size + added > HALF) {
        *open = None;
        fs::rename(&path, directory.join(format!("{pod}.log.1")))?;
    }
    let open = if let Some(open) = open {
        open
    } else {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        open.insert(Open { size: file.metadata()?.len(), file })
    };
    open.file.write_all(text.as_bytes())?;
    open.size += added;
    Ok(())
}

/// Removes the logs of the pods that are gone longest, as many as are too many a Deployment. A log that cannot
/// be removed stays.
fn prune(directory: &Path, live: impl Fn(&str) -> bool) {
    let mut gone: HashMap<String, Vec<(SystemTime, String)>> = HashMap::new();
    for pod in pods(directory).unwrap_or_default() {
        let modified = fs::metadata(directory.join(format!("{pod}.log"))).and_then(|m| m.modified());
        if !live(&pod) {
            let modified = modified.unwrap_or(SystemTime::UNIX_EPOCH);
            gone.entry(deployment_of(&pod).to_owned()).or_default().push((modified, pod));
        }
    }
    for mut pods in gone.into_values() {
        pods.sort();
        let excess = pods.len().saturating_sub(KEPT);
        for (_, pod) in &pods[..excess] {
            for name in [format!("{pod}.log"), format!("{pod}.log.1")] {
                let _ = fs::remove_file(directory.join(name));
            }
        }
    }
}

/// The pods that have a log, sorted.
pub fn pods(directory: &Path) -> io::Result<Vec<String>> {
    let mut pods = Vec::new();
    for entry in fs::read_dir(directory)? {
        if let Some(pod) = entry?.file_name().to_str().and_then(|name| name.strip_suffix(".log")) {
            pods.push(pod.to_owned());
        }
    }
    pods.sort();
    Ok(pods)
}

/// The Deployment in a pod's name, `DEPLOYMENT-HASH-xxxxx`.
pub fn deployment_of(pod: &str) -> &str {
    pod.rsplitn(3, '-').nth(2).unwrap_or(pod)
}

/// A line that a pod wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// Which pod.
    pub pod: Arc<str>,
    /// What, without the line's end.
    pub line: String,
}

/// Reads logs from their files, also while they are written and after everything is down.
#[derive(Debug)]
pub struct LogReader {
    directory: PathBuf,
    names: Vec<String>,
    since: Option<Timestamp>,
    tails: BTreeMap<Arc<str>, Tail>,
}

#[derive(Debug)]
struct Tail {
    reader: BufReader<File>,
    inode: u64,
}

impl LogReader {
    /// Reads the logs in `directory` of the pods and Deployments with these names (all for none), from `since`.
    pub fn new(directory: PathBuf, names: Vec<String>, since: Option<Timestamp>) -> Self {
        Self { directory, names, since, tails: BTreeMap::new() }
    }

    /// All lines since the last call, by time; the first call gives what is there. To follow, call it again
    /// and again, some 100 ms apart. Errors when the directory cannot be read; none there is no lines.
    pub fn read(&mut self) -> io::Result<Vec<LogLine>> {
        let pods = match pods(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            pods => pods?,
        };
        let mut lines = Vec::new();
        for pod in pods {
            let wanted = |name: &String| *name == pod || name == deployment_of(&pod);
            if self.names.is_empty() || self.names.iter().any(wanted) {
                self.read_pod(&Arc::from(pod), &mut lines)?;
            }
        }
        lines.retain(|line| self.since.is_none_or(|since| line.at >= since));
        lines.sort_by_key(|line| line.at);
        Ok(lines)
    }

    fn read_pod(&mut self, pod: &Arc<str>, lines: &mut Vec<LogLine>) -> io::Result<()> {
        let path = self.directory.join(format!("{pod}.log"));
        let fresh = match File::open(&path) {
            // Between two files, or just pruned.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let inode = fresh.metadata()?.ino();
        match self.tails.get_mut(pod) {
            Some(tail) if tail.inode == inode => return tail.read(pod, lines),
            // It has become the older half: its rest first.
            Some(tail) => tail.read(pod, lines)?,
            None => {
                if let Ok(older) = File::open(self.directory.join(format!("{pod}.log.1"))) {
                    Tail { reader: BufReader::new(older), inode: 0 }.read(pod, lines)?;
                }
            }
        }
        let mut tail = Tail { reader: BufReader::new(fresh), inode };
        tail.read(pod, lines)?;
        self.tails.insert(Arc::clone(pod), tail);
        Ok(())
    }
}

impl Tail {
    /// Whole lines only: what has no end yet is read the next time.
    fn read(&mut self, pod: &Arc<str>, lines: &mut Vec<LogLine>) -> io::Result<()> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let count = self.reader.read_until(b'\n', &mut bytes)?;
            if bytes.last() != Some(&b'\n') {
                // Also makes the reader forget that it saw the end.
                self.reader.seek(SeekFrom::Current(-i64::try_from(count).unwrap_or(0)))?;
                return Ok(());
            }
            let text = String::from_utf8_lossy(&bytes[..count - 1]);
            // A write that a full disk cut short leaves a line without a time.
            if let Some((at, line)) = text.split_once(' ')
                && let Ok(at) = at.parse()
            {
                lines.push(LogLine { at, pod: Arc::clone(pod), line: line.to_owned() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Event;

    fn pod(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn texts(lines: &[LogLine]) -> Vec<String> {
        lines.iter().map(|line| format!("{} {}", line.pod, line.line)).collect()
    }

    #[tokio::test]
    async fn lines_are_read_back_by_time_and_followed() {
        let directory = tempfile::tempdir().unwrap();
        let book = LogBook::start(directory.path().into(), Events::default()).unwrap();
        let (bar, baz) = (pod("bar-1-a"), pod("baz-1-a"));
        for (pod, line) in [(&bar, "one"), (&baz, "two"), (&bar, "three")] {
            book.line(pod, line.into()).await;
        }
        book.flush().await;
        let mut all = LogReader::new(directory.path().into(), vec![], None);
        assert_eq!(texts(&all.read().unwrap()), ["bar-1-a one", "baz-1-a two", "bar-1-a three"]);
        let mut one = LogReader::new(directory.path().into(), vec!["baz".into()], None);
        assert_eq!(texts(&one.read().unwrap()), ["baz-1-a two"]);
        book.line(&baz, "four".into()).await;
        book.flush().await;
        assert_eq!(texts(&all.read().unwrap()), ["baz-1-a four"]);
        let later = Some(Timestamp::now() + Duration::from_secs(1));
        assert_eq!(LogReader::new(directory.path().into(), vec![], later).read().unwrap(), []);
    }

    #[tokio::test]
    async fn a_log_is_bounded_and_a_follower_loses_nothing_when_it_turns() {
        let directory = tempfile::tempdir().unwrap();
        let book = LogBook::start(directory.path().into(), Events::default()).unwrap();
        let pod = pod("baz-1-a");
        let mut follower = LogReader::new(directory.path().into(), vec![], None);
        let mut seen = 0;
        for round in 0..30 {
            for _ in 0..50 {
                book.line(&pod, format!("{round} {}", "x".repeat(16_000))).await;
            }
            book.flush().await;
            seen += follower.read().unwrap().len();
        }
        assert_eq!(seen, 1500);
        let size: u64 =
            fs::read_dir(directory.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
        assert!((5_000_000..=10_000_000).contains(&size), "{size}");
        let last = LogReader::new(directory.path().into(), vec![], None).read().unwrap();
        assert!(last.last().unwrap().line.starts_with("29 "));
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_is_one_warning() {
        let events = Events::default();
        let book = LogBook::start("/proc/nowhere".into(), events.clone()).unwrap();
        for _ in 0..3 {
            book.line(&pod("baz-1-a"), "lost".into()).await;
            book.flush().await;
        }
        let warnings = events.subscribe().0;
        assert_eq!(warnings.iter().filter(|e| matches!(***e, Event::Warning { .. })).count(), 1);
    }

    #[tokio::test]
    async fn only_the_last_pods_logs_of_a_deployment_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let book = LogBook::start(directory.path().into(), Events::default()).unwrap();
        for number in 0..40 {
            let pod = pod(&format!("baz-1-{number}"));
            book.line(&pod, "line".into()).await;
            book.close(&pod).await;
            book.flush().await;
        }
        let kept = pods(directory.path()).unwrap();
        assert!(kept.len() <= KEPT + 1, "{kept:?}");
        assert!(kept.contains(&"baz-1-39".to_owned()));
    }

    #[test]
    fn a_pods_name_has_its_deployments() {
        assert_eq!(deployment_of("my-service-bcdfg12345-x2x4x"), "my-service");
    }
}
