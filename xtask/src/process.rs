//! The only file that starts programs.
//!
//! Longer than most because the promise is one: whatever happens to this process, nothing that it started
//! outlives it. Three things keep it. Each program gets `PR_SET_PDEATHSIG`, so the kernel kills it when this
//! process is gone, `kill -9` included. That does not reach the program's own children, so each program leads
//! a process group, and a small [guardian](guardian_main) in a session of its own kills the groups that are
//! left when its pipe closes. And a program that ends takes its group with it, as a container's first process
//! takes the container.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::oneshot;

pub mod cargo;
mod own;
mod signals;

pub use own::{background, own, shell};
pub use signals::{is_alive, kill, terminate, told_to_stop};

/// The first argument that makes this program the guardian: see [`guardian_main`].
pub const GUARDIAN: &str = "__guardian";

/// A command that runs to its end and is waited for: killed when dropped, nothing on its standard input.
pub fn command(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

// ---- long-lived programs: what pods run -------------------------------------------------------------------

/// A program to start: the whole of its environment, nothing inherited.
#[derive(Clone, Debug)]
pub struct Program {
    /// An absolute path: `PATH` is not searched.
    pub path: PathBuf,
    /// Without the program's name.
    pub args: Vec<OsString>,
    /// All variables that it gets.
    pub env: Vec<(String, String)>,
    /// Where it starts.
    pub directory: PathBuf,
}

/// Starts programs and lets none outlive this process. Clones share one thread and one guardian; when the
/// last is dropped, whatever still runs is killed.
#[derive(Clone, Debug)]
pub struct Spawner(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    requests: mpsc::Sender<Request>,
    guardian: Guardian,
}

struct Request {
    program: Program,
    answer: oneshot::Sender<std::io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread and the guardian. Must be called inside a tokio runtime. Errors when this program
    /// cannot start itself again or no thread can be had.
    pub fn start() -> std::io::Result<Self> {
        let mut guardian = std::process::Command::new("/proc/self/exe");
        guardian.arg(GUARDIAN);
        Self::with_guardian(guardian)
    }

    fn with_guardian(command: std::process::Command) -> std::io::Result<Self> {
        let guardian = Guardian::start(command)?;
        let (requests, inbox) = mpsc::channel::<Request>();
        let runtime = tokio::runtime::Handle::current();
        // PDEATHSIG fires when the *thread* that forked ends, so one that lives as long as this does it.
        std::thread::Builder::new().name("spawner".into()).spawn(move || {
            let _entered = runtime.enter();
            for Request { program, answer } in inbox {
                // A caller that is gone drops the child, which kills it.
                let _ = answer.send(spawn(&program));
            }
        })?;
        Ok(Self(Arc::new(Shared { requests, guardian })))
    }

    /// Starts a program in a process group of its own. Errors as `execve` does (`NotFound`,
    /// `PermissionDenied`, ...).
    pub async fn spawn(&self, program: Program) -> std::io::Result<Process> {
        let (answer, answered) = oneshot::channel();
        let gone = || std::io::Error::other("the thread that starts programs has ended");
        self.0.requests.send(Request { program, answer }).map_err(|_| gone())?;
        let child = answered.await.map_err(|_| gone())??;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| std::io::Error::other("a started program has no process id"))?;
        self.0.guardian.watch(pid);
        Ok(Process { child, pid, shared: Arc::clone(&self.0) })
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "killed by signal {signal}"),
            (None, None) => f.write_str("ended"),
        }
    }
}

/// A running program and its process group. Dropped, it is killed with all its children.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    shared: Arc<Shared>,
}

impl Process {
    /// Its process id, which is also that of its group.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Its standard output and standard error; each can be taken once.
    pub fn take_output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Asks it to end: SIGTERM to the program alone, as a kubelet signals a container's first process.
    pub fn terminate(&self) {
        // It may have ended already; `wait` tells.
        let _ = rustix::process::kill_process(self.pid, Signal::TERM);
    }

    /// SIGKILL to the program and every child in its group.
    pub fn kill(&self) {
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
    }

    /// Waits for its end, then kills what is left of its group. Safe to cancel and call again.
    pub async fn wait(&mut self) -> Ended {
        let status = self.child.wait().await;
        // The group's id stays taken while children are in it. With none left this finds nobody: ids are
        // given out in turn, so this one is not reused within the microseconds since.
        self.kill();
        status.map_or(Ended { code: None, signal: None }, |s| Ended { code: s.code(), signal: s.signal() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once waited for, the id may be somebody else's.
        if self.child.id().is_some() {
            self.kill();
        }
        self.shared.guardian.forget(self.pid);
    }
}

fn spawn(program: &Program) -> std::io::Result<Child> {
    let mut command = std::process::Command::new(&program.path);
    command
        .args(&program.args)
        .env_clear()
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&program.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    before_exec(&mut command, Tie::DieWithParent);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    // A file just written is "busy" for as long as a child forked meanwhile has not yet closed its copy of the
    // descriptor: a few milliseconds.
    let mut tries = 0;
    loop {
        match command.spawn() {
            Err(error) if error.raw_os_error() == Some(Errno::TXTBSY.raw_os_error()) && tries < 50 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            outcome => return outcome,
        }
    }
}

/// What ties a child to this process.
#[derive(Clone, Copy)]
enum Tie {
    /// The kernel kills it when the thread that forked it ends.
    DieWithParent,
    /// A session of its own: no signal of this terminal reaches it.
    OwnSession,
}

#[allow(unsafe_code)]
fn before_exec(command: &mut std::process::Command, tie: Tie) {
    let parent = rustix::process::getpid();
    let tie = move || {
        match tie {
            Tie::OwnSession => {
                rustix::process::setsid()?;
            }
            Tie::DieWithParent => {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                // The parent may have died before the line above took effect.
                if rustix::process::getppid() != Some(parent) {
                    return Err(Errno::SRCH.into());
                }
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes system calls
    // (setsid, prctl, getppid) without a libc wrapper that locks, allocates nothing, and an errno becomes an
    // `io::Error` without allocating.
    unsafe { command.pre_exec(tie) };
}

// ---- the guardian -----------------------------------------------------------------------------------------

/// This side of the guardian: tells it which process groups exist.
#[derive(Debug)]
struct Guardian(Mutex<std::process::Child>);

impl Guardian {
    fn start(mut command: std::process::Command) -> std::io::Result<Self> {
        command.env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        before_exec(&mut command, Tie::OwnSession);
        command.spawn().map(|child| Self(Mutex::new(child)))
    }

    fn watch(&self, group: Pid) {
        self.tell('+', group);
    }

    fn forget(&self, group: Pid) {
        self.tell('-', group);
    }

    /// A guardian that was killed is no reason to stop: the kernel's PDEATHSIG still holds.
    fn tell(&self, sign: char, group: Pid) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = child.stdin.as_mut() {
            let _ = pipe.write_all(format!("{sign}{}\n", group.as_raw_pid()).as_bytes());
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let child = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(child.stdin.take());
        let _ = child.wait();
    }
}

/// The guardian's whole life: reads `+GROUP` and `-GROUP` lines on standard input until its pipe closes,
/// which it does when the process at the other end is gone for whatever reason, then kills the groups that
/// are left. `main` calls it, before anything else, when the first argument is [`GUARDIAN`].
pub fn guardian_main() -> ExitCode {
    let mut groups = BTreeSet::new();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Some((sign, group)) = line.split_at_checked(1) else { continue };
        let Some(group) = group.parse::<i32>().ok().filter(|id| *id > 1) else { continue };
        if sign == "+" {
            groups.insert(group)
        } else {
            groups.remove(&group)
        };
    }
    for group in groups.into_iter().filter_map(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    ExitCode::SUCCESS
}

// ---- limits -----------------------------------------------------------------------------------------------

/// Raises the number of files that may be open as far as allowed; returns the limit that then holds (none:
/// unlimited). Each connection through a sidecar takes four.
pub fn raise_open_files() -> Option<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

#[cfg(test)]
pub mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncBufReadExt as _, BufReader};

    use super::*;

    /// A spawner whose guardian is this test binary, running [`guardian_entry`].
    pub fn spawner() -> Spawner {
        let mut command = std::process::Command::new("/proc/self/exe");
        command.args(["--ignored", "--exact", "process::tests::guardian_entry", "--nocapture"]);
        Spawner::with_guardian(command).unwrap()
    }

    /// A shell script as a program.
    pub fn sh(script: &str) -> Program {
        Program {
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            directory: "/".into(),
        }
    }

    #[test]
    #[ignore = "not a test: the guardian of the tests, which reads its standard input"]
    fn guardian_entry() {
        guardian_main();
    }

    fn alive(pid: i32) -> bool {
        // A zombie nobody reaps is as good as gone.
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
    }

    fn wait_gone(pid: i32) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while alive(pid) {
            assert!(Instant::now() < deadline, "{pid} still runs");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    async fn first_line(process: &mut Process) -> String {
        let (stdout, _) = process.take_output();
        BufReader::new(stdout.unwrap()).lines().next_line().await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn the_end_of_a_program_is_told() {
        let mut process = spawner().spawn(sh("exit 3")).await.unwrap();
        assert_eq!(process.wait().await, Ended { code: Some(3), signal: None });
        let mut process = spawner().spawn(sh("kill -9 $$")).await.unwrap();
        assert_eq!(process.wait().await.to_string(), "killed by signal 9");
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error() {
        let program = Program { path: "/nonexistent".into(), ..sh("") };
        assert_eq!(spawner().spawn(program).await.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn nothing_of_this_environment_reaches_a_program() {
        let mut process = spawner().spawn(sh("echo \"[$CARGO_MANIFEST_DIR$HOME]\"")).await.unwrap();
        assert_eq!(first_line(&mut process).await, "[]");
    }

    #[tokio::test]
    async fn a_program_that_ends_takes_its_children_with_it() {
        let mut process = spawner().spawn(sh("sleep 1000 & echo $!")).await.unwrap();
        let grandchild = first_line(&mut process).await.parse().unwrap();
        process.wait().await;
        wait_gone(grandchild);
    }

    #[tokio::test]
    async fn a_dropped_program_is_killed_with_its_children() {
        let mut process = spawner().spawn(sh("sleep 1000 & echo $!; wait")).await.unwrap();
        let grandchild = first_line(&mut process).await.parse().unwrap();
        drop(process);
        wait_gone(grandchild);
    }

    #[tokio::test]
    async fn when_its_pipe_closes_the_guardian_kills_what_is_left() {
        let spawner = spawner();
        let mut process = spawner.spawn(sh("sleep 1000 & echo $!; wait")).await.unwrap();
        let grandchild = first_line(&mut process).await.parse().unwrap();
        // What the end of this process does: only the pipe closes.
        drop(spawner.0.guardian.0.lock().unwrap().stdin.take());
        wait_gone(grandchild);
        assert_eq!(process.wait().await.signal, Some(9));
    }
}
