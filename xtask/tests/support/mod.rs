//! A checkout of its own for an end-to-end test, and `xtask` run in it as a user does.
#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses its part, and a test may panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up: a cold build of the services is within it.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// A copy of the workspace that a test may edit and run.
pub struct Checkout {
    pub root: PathBuf,
    target: PathBuf,
}

impl Checkout {
    /// A fresh copy whose sources the test does not change: such copies share a build directory.
    pub fn new(name: &str) -> Self {
        Self::with_target(name, "target")
    }

    /// A fresh copy whose sources the test may change. Cargo tells copies of one workspace apart by their
    /// files' times only, so this one has a build directory of its own.
    pub fn to_edit(name: &str) -> Self {
        Self::with_target(name, &format!("target-{name}"))
    }

    /// The path stays the same from run to run, so that only what differs is compiled again.
    fn with_target(name: &str, target: &str) -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        let e2e = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e");
        let root = e2e.join(name);
        let checkout = Self { root, target: e2e.join(target) };
        if checkout.root.exists() {
            // Left by a run that was killed: nothing of it may be up.
            let _ = checkout.xtask(&["down"]).output();
        }
        sync(&workspace, &checkout.root);
        checkout
    }

    /// `xtask ARGS` in this checkout.
    pub fn xtask(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(args).current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target).stdin(Stdio::null());
        command
    }

    /// Runs `xtask ARGS` to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = self.xtask(args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let (done, ended) = std::sync::mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if ended.recv_timeout(DEADLINE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                kill("KILL", pid);
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(done);
        watchdog.join().unwrap();
        output
    }

    /// Runs `xtask ARGS`, which must succeed, and gives its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "xtask {args:?}: {}\n{}", output.status, text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `xtask ARGS -o json` and reads its output.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("xtask {args:?}: {e}\n{}", text(&output)))
    }

    /// Starts `xtask up ARGS` on a free ingress port, in the foreground.
    pub fn up(&self, args: &[&str]) -> Up {
        self.up_with(args, &[])
    }

    /// The same, with these variables.
    pub fn up_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Up {
        let args = [&["up", "--runtime", "local", "-o", "json", "--port", "0"], args].concat();
        let mut command = self.xtask(&args);
        command.envs(variables.iter().copied());
        Up::start(command)
    }

    /// The text of a file of this checkout.
    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.root.join(file)).unwrap()
    }

    /// Saves a file as an editor does: a new file put in its place.
    pub fn save(&self, file: &str, text: &str) {
        let path = self.root.join(file);
        let new = path.with_extension("save~");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
    }

    /// Replaces `from`, which must be there, in a file.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "{file} has no `{from}`");
        self.save(file, &text.replacen(from, to, 1));
    }
}

/// Standard output and error, for a failed assertion.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Makes `to` equal to the workspace at `from`, touching only what differs so that cargo's mtimes hold.
fn sync(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let skip = |name: &str| matches!(name, "target" | ".git" | "tests" | "examples");
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).filter(|name| !skip(name)).collect()
    };
    let wanted = names(from);
    for name in names(to).iter().filter(|name| !wanted.contains(name)) {
        let gone = to.join(name);
        if gone.is_dir() { std::fs::remove_dir_all(gone) } else { std::fs::remove_file(gone) }.unwrap();
    }
    for name in wanted {
        let (source, copy) = (from.join(&name), to.join(&name));
        if source.is_dir() {
            sync(&source, &copy);
        } else if std::fs::read(&copy).ok() != std::fs::read(&source).ok() {
            std::fs::write(&copy, std::fs::read(&source).unwrap()).unwrap();
            // As old as the original: cargo goes by it.
            let modified = std::fs::metadata(&source).unwrap().modified().unwrap();
            std::fs::File::options().write(true).open(&copy).unwrap().set_modified(modified).unwrap();
        }
    }
}

/// A running `xtask up`, and every event that it told.
pub struct Up {
    pub child: Child,
    events: Arc<(Mutex<Seen>, Condvar)>,
}

#[derive(Default)]
struct Seen {
    events: Vec<Value>,
    ended: bool,
}

impl Up {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let events: Arc<(Mutex<Seen>, Condvar)> = Arc::default();
        let (stdout, told) = (child.stdout.take().unwrap(), Arc::clone(&events));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                told.0.lock().unwrap().events.push(event);
                told.1.notify_all();
            }
            told.0.lock().unwrap().ended = true;
            told.1.notify_all();
        });
        Self { child, events }
    }

    /// How many events came so far: what to wait from.
    pub fn mark(&self) -> usize {
        self.events.0.lock().unwrap().events.len()
    }

    /// Waits for an event, from the `mark`th on.
    pub fn wait(&self, mark: usize, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        let mut seen = self.events.0.lock().unwrap();
        loop {
            if let Some(event) = seen.events.iter().skip(mark).find(|event| wanted(event)) {
                return event.clone();
            }
            let left = DEADLINE.checked_sub(start.elapsed()).filter(|_| !seen.ended);
            let Some(left) = left else {
                let lines: Vec<_> =
                    seen.events.iter().filter(|e| e["event"] != "log").map(Value::to_string).collect();
                panic!("no {what} came; what came:\n{}", lines.join("\n"));
            };
            seen = self.events.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// The events from the `mark`th on.
    pub fn since(&self, mark: usize) -> Vec<Value> {
        self.events.0.lock().unwrap().events[mark..].to_vec()
    }

    /// Waits until everything is ready; gives the ingress's address.
    pub fn ready(&self) -> SocketAddr {
        self.wait(0, "ready", |e| e["event"] == "ready");
        let link = self.wait(0, "link", |e| e["event"] == "link");
        let url = link["url"].as_str().unwrap();
        let port = url.trim_end_matches('/').rsplit(':').next().unwrap();
        SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))
    }

    /// Sends a signal to the `up` process itself.
    pub fn signal(&self, signal: &str) {
        kill(signal, self.child.id());
    }

    /// Waits for the process to end; its exit code.
    pub fn exit_code(&mut self) -> Option<i32> {
        eventually("end of up", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `kill -SIGNAL PID`.
pub fn kill(signal: &str, pid: u32) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Polls until something is there.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "{what} did not happen within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One GET on a connection of its own: status and body.
pub fn get(address: SocketAddr, host: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no HTTP answer: `{answer}`")))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// Processes whose command line or environment shows that they belong to this run of `xtask`.
pub fn alive(pid: u64) -> bool {
    // A zombie is dead: it only waits to be reaped.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with(['Z', 'X']))
}

/// A steady load on the ingress: bounded, stopped by [`Load::stop`] or at its end.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    threads: Vec<std::thread::JoinHandle<Tally>>,
}

/// What a load saw.
#[derive(Debug, Default)]
pub struct Tally {
    pub sent: u32,
    pub failed: Vec<String>,
}

impl Load {
    /// 200 requests a second from eight clients, for two minutes at most.
    pub fn start(ingress: SocketAddr, host: &'static str) -> Self {
        const CLIENTS: u32 = 8;
        const RATE: u32 = 200;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let threads = (0..CLIENTS)
            .map(|_| {
                let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
                std::thread::spawn(move || {
                    let mut tally = Tally::default();
                    let start = Instant::now();
                    while !stop.load(Ordering::Relaxed) && tally.sent < 120 * RATE / CLIENTS {
                        match get(ingress, host, "/") {
                            Ok((200, _)) => {}
                            Ok((status, body)) => {
                                tally.failed.push(format!("{:?}: {status}: {body}", start.elapsed()));
                            }
                            Err(error) => tally.failed.push(format!("{:?}: {error}", start.elapsed())),
                        }
                        tally.sent += 1;
                        sent.fetch_add(1, Ordering::Relaxed);
                        let next = Duration::from_secs(1) * tally.sent * CLIENTS / RATE;
                        std::thread::sleep(next.saturating_sub(start.elapsed()));
                    }
                    tally
                })
            })
            .collect();
        let load = Self { stop, sent, threads };
        load.more(50);
        load
    }

    /// Waits until so many more requests were answered.
    pub fn more(&self, requests: u32) {
        let wanted = self.sent.load(Ordering::Relaxed) + requests;
        eventually("traffic", || (self.sent.load(Ordering::Relaxed) >= wanted).then_some(()));
    }

    /// Ends it a hundred requests later, so that what follows late is seen, and gives what it saw.
    pub fn stop(self) -> Tally {
        self.more(100);
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for thread in self.threads {
            let tally = thread.join().unwrap();
            all.sent += tally.sent;
            all.failed.extend(tally.failed);
        }
        all
    }
}
