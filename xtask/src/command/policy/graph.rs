//! `policy graph`: who may call whom.

use super::from_root;
use crate::args::Output;
use crate::args::policy::{GraphFormat, PolicyGraph};
use crate::command::Checkout;
use crate::error::{Exit, Fault};
use crate::policies::graph::{self, allowed};
use crate::policies::{World, shipped};
use crate::report::line_out;

/// Draws the policies as they are written.
pub fn run(args: &PolicyGraph, checkout: &Checkout) -> anyhow::Result<Exit> {
    let paths = if args.policies.paths.is_empty() {
        vec![shipped(args.policies.grpc)]
    } else {
        from_root(&args.policies.paths, &checkout.root)?
    };
    let world = World::read(&checkout.workspace, args.policies.grpc, &paths).map_err(Fault::from)?;
    let all = allowed(&world);
    let drawn = match (args.output, args.format) {
        (Output::Json, _) => serde_json::to_string(&all)?,
        (Output::Text, GraphFormat::Text) => graph::text(&all),
        (Output::Text, GraphFormat::Dot) => graph::dot(&all),
        (Output::Text, GraphFormat::Svg) => graph::svg(&all),
    };
    line_out(drawn.trim_end());
    Ok(Exit::Ok)
}
