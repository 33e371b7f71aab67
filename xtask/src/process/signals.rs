//! Signals to this process and to others.

use rustix::process::{Pid, Signal};
use tokio::signal::unix::{SignalKind, signal};

/// Waits until someone asks this process to end: Ctrl-C, `kill`, a terminal that closes.
pub async fn told_to_stop() {
    let mut signals: Vec<_> = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .filter_map(|kind| signal(kind).ok())
        .collect();
    let waits = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures_util::future::select_all(waits).await;
}

/// Asks a process to end.
pub fn terminate(pid: u32) {
    send(pid, Signal::TERM);
}

/// Kills a process that does not end when asked.
pub fn kill(pid: u32) {
    send(pid, Signal::KILL);
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended already.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether a process lives; one that ended and was not waited for yet (a zombie) does not.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The state is the first field behind the name, which is in parentheses and may hold anything.
    !matches!(stat.rsplit(')').next().map(str::trim_start), Some(rest) if rest.starts_with(['Z', 'X']))
}
