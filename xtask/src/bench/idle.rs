//! Idle cost: what an environment takes while nobody asks it for anything.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::figures::{Figure, Target};
use super::scratch::Scratch;
use crate::plan::Plan;

/// How long CPU time is counted for one sample.
const SPAN: Duration = Duration::from_secs(2);

/// The kernel counts CPU time in hundredths of a second (`USER_HZ`, the same on all Linux ports of Rust).
const TICKS_PER_SECOND: f64 = 100.0;

/// Measures `up --grpc --linkerd`, watching, without the workloads that make load of their own: those
/// that call through the ingress.
pub async fn measure(scratch: &Scratch, plan: &Plan, runs: u32) -> anyhow::Result<Vec<Figure>> {
    for source in plan.ingress_callers() {
        std::fs::remove_file(scratch.root.join(source))?;
    }
    scratch.up_with(&["--grpc", "--linkerd"]).await?;
    let status: Value = serde_json::from_str(&scratch.xtask(&["status", "-o", "json"]).await?)?;
    let xtask = status["pid"].as_u64().context("no pid in the status")?;
    let pods: Vec<u64> =
        status["pods"].as_array().into_iter().flatten().filter_map(|pod| pod["pid"].as_u64()).collect();

    // What starting cost is not idling.
    tokio::time::sleep(SPAN).await;
    let (mut cpu, mut all, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let before = (ticks(xtask)?, total(&pods)?);
        tokio::time::sleep(SPAN).await;
        let own = (ticks(xtask)? - before.0) / TICKS_PER_SECOND / SPAN.as_secs_f64() * 100.0;
        let of_pods = (total(&pods)? - before.1) / TICKS_PER_SECOND / SPAN.as_secs_f64() * 100.0;
        cpu.push(own);
        all.push(own + of_pods);
        memory.push(resident_mib(xtask)?);
    }
    scratch.xtask(&["down"]).await?;
    Ok(vec![
        Figure::of("idle.cpu", "idle: CPU of xtask, of one core", "%", &cpu).target(Target::Below(1.0)),
        Figure::of("idle.cpu.all", format!("idle: CPU of xtask and {} pods", pods.len()), "%", &all),
        Figure::of("idle.memory", "idle: resident memory of xtask", "MiB", &memory)
            .target(Target::Below(80.0)),
    ])
}

fn total(pids: &[u64]) -> anyhow::Result<f64> {
    pids.iter().map(|pid| ticks(*pid)).sum()
}

/// CPU time of a process, user and system, in ticks: fields 14 and 15 of proc(5)'s stat.
fn ticks(pid: u64) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok()).context("odd stat");
    Ok(field(11)? + field(12)?)
}

fn resident_mib(pid: u64) -> anyhow::Result<f64> {
    memory_mib(pid, "VmRSS:")
}

/// The most memory that a process had at once.
pub fn peak_mib(pid: u32) -> anyhow::Result<f64> {
    memory_mib(pid.into(), "VmHWM:")
}

fn memory_mib(pid: u64, field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find(|line| line.starts_with(field)).context("no such field")?;
    let kib: f64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
    Ok(kib / 1024.0)
}
