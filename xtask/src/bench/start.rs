//! Warm start: `up --grpc --linkerd --detach` to all ready, nothing to compile.

use std::time::Instant;

use super::figures::{Figure, Target};
use super::scratch::Scratch;

/// Measures it, from the command's start to its return.
pub async fn measure(scratch: &Scratch, runs: u32) -> anyhow::Result<Vec<Figure>> {
    let mut samples = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        scratch.up().await?;
        samples.push(start.elapsed().as_secs_f64() * 1000.0);
        scratch.xtask(&["down"]).await?;
    }
    let what = "warm start: `up --grpc --linkerd --detach` to all ready";
    Ok(vec![Figure::of("start", what, "ms", &samples).target(Target::Below(500.0))])
}
