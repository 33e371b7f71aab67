//! Cold build: `cargo build -p xtask` with nothing compiled yet (downloads are not counted).

use std::time::Instant;

use super::figures::{Figure, Target};
use super::scratch::Scratch;
use crate::error::Fault;
use crate::process::cargo;

/// Measures it, in a build directory that is made and removed for each run.
pub async fn measure(scratch: &Scratch, runs: u32) -> anyhow::Result<Vec<Figure>> {
    let target = scratch.root.with_file_name("cold");
    let mut samples = Vec::new();
    for _ in 0..runs {
        let _ = std::fs::remove_dir_all(&target);
        let start = Instant::now();
        let output =
            cargo::build_into(&scratch.root, &target, &["build", "--quiet", "--package", "xtask"], None)
                .await?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(Fault::failed(format!("the cold build failed: {told}")).into());
        }
        samples.push(start.elapsed().as_secs_f64());
    }
    let _ = std::fs::remove_dir_all(&target);
    let what = "cold build: `cargo build -p xtask`";
    Ok(vec![Figure::of("cold", what, "s", &samples).target(Target::Below(120.0))])
}
