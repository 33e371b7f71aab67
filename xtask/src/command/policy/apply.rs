//! `policy apply`: policies on the running environment, all or nothing, and what they change.

use policy::cluster::ClusterInfo;
use serde::Serialize;

use super::{Live, from_root};
use crate::args::Output;
use crate::args::policy::PolicyApply;
use crate::command::Checkout;
use crate::error::{Exit, Fault};
use crate::policies::effect::{self, Effect, effects};
use crate::policies::{given, shipped};
use crate::report::line_out;
use crate::runtime::policy::{Change, Changed, PolicyRequest, PolicyState};
use crate::workspace::policies::Policies;

/// Applies them. One mistake in any file and nothing is applied: exit code 2.
pub async fn run(args: &PolicyApply, checkout: &Checkout) -> anyhow::Result<Exit> {
    let live = Live::attach(checkout).await?;
    let paths = if args.paths.is_empty() {
        vec![shipped(live.status.grpc)]
    } else {
        from_root(&args.paths, &checkout.root)?
    };
    let policies = Policies::read(&checkout.root, &paths).map_err(Fault::from)?;
    let request = PolicyRequest::Apply { objects: given(&policies), paths };
    let state = live.session.policy(request).await?;
    tell(&live, &state, args.output)
}

/// What a change of policies did, as scripts read it.
#[derive(Serialize)]
struct Told<'a> {
    changes: &'a [Change],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    conditions: &'a [String],
    effects: &'a [Effect],
}

/// Prints what became of each object, and then of each call that the services make.
pub(super) fn tell(live: &Live, state: &PolicyState, output: Output) -> anyhow::Result<Exit> {
    let cluster = ClusterInfo::default();
    let effects = effects(&live.plan, &cluster, &live.objects(&live.state), &live.objects(state));
    if output == Output::Json {
        line_out(&serde_json::to_string(&Told {
            changes: &state.changes,
            conditions: &state.conditions,
            effects: &effects,
        })?);
        return Ok(Exit::Ok);
    }
    state.changes.iter().for_each(|change| line_out(&change.to_string()));
    state.conditions.iter().for_each(|condition| line_out(&format!("linkerd: {condition}")));
    let same = |change: &Change| matches!(change.change, Changed::Unchanged | Changed::NotFound);
    if state.changes.iter().all(same) {
        line_out("nothing changed");
    } else if effects.is_empty() {
        line_out("no call of the services is decided by a policy");
    } else {
        line_out(&format!("\n{}", effect::text(&effects).trim_end()));
    }
    Ok(Exit::Ok)
}
