//! The engine: decisions a second on one core, with few Servers and with many.

use std::time::{Duration, Instant};

use policy::measure::World;

use super::figures::{Figure, Target};

/// How long decisions are made for one sample.
const SPAN: Duration = Duration::from_millis(500);
/// Decisions between two looks at the clock.
const BATCH: u32 = 10_000;

/// Measures both in turn, `runs` times. What does not concern a request must not cost it: every decision is on
/// the one Server that does, whatever else there is.
pub fn measure(runs: u32) -> Vec<Figure> {
    let worlds = [World::new(5), World::new(500)];
    let mut samples: [Vec<f64>; 2] = Default::default();
    for _ in 0..runs {
        for (world, samples) in worlds.iter().zip(&mut samples) {
            samples.push(rate(world));
        }
    }
    let [few, many] = &samples;
    let target = Target::Above(1_000_000.0);
    vec![
        Figure::of("policy.rate.5", "policy decisions on one core, 5 Servers", "/s", few).target(target),
        Figure::of("policy.rate.500", "policy decisions on one core, 500 Servers", "/s", many).target(target),
    ]
}

fn rate(world: &World) -> f64 {
    let start = Instant::now();
    let mut decisions = 0_u64;
    while start.elapsed() < SPAN {
        std::hint::black_box(world.decide(BATCH));
        decisions += u64::from(BATCH);
    }
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let decisions = decisions as f64;
    decisions / start.elapsed().as_secs_f64()
}
