//! An image of a service whose program is built: how long it takes, how large it is.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::Value;

use super::super::figures::{Figure, Target};
use super::super::scratch::Scratch;
use crate::oci::Image;

/// Measures it. The image is made as `up` makes it, of the program that `image build` built.
pub async fn measure(scratch: &Scratch, service: &str, runs: u32) -> anyhow::Result<Vec<Figure>> {
    let told: Value =
        serde_json::from_str(&scratch.xtask(&["image", "build", service, "-o", "json"]).await?)?;
    let told = told.as_array().and_then(|images| images.first()).context("no image was built")?;
    let target = super::target(scratch).await?;
    let program = scratch.target().join(&target.triple).join("debug").join(service);
    let labels = BTreeMap::new();
    let (mut took, mut size) = (Vec::new(), 0);
    for _ in 0..runs {
        let start = Instant::now();
        let image = Image::of_program(service, &program, target.platform, &labels)?;
        took.push(start.elapsed().as_secs_f64() * 1000.0);
        size = image.size();
    }
    let bytes = program.metadata()?.len();
    anyhow::ensure!(told["size"].as_u64() == Some(size), "another image than `image build` made: {told}");
    let (image, bytes) = (mebibytes(size), mebibytes(bytes));
    let took = Figure::of("kind.image", format!("image of {service}, its program built"), "ms", &took);
    Ok(vec![
        took.target(Target::Below(150.0)),
        Figure::of("kind.image.size", format!("image of {service}: size"), "MiB", &[image]),
        Figure::of("kind.image.program", format!("the program of {service}: size"), "MiB", &[bytes]),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
