//! `policy delete`: policies taken away from the running environment.

use super::apply::tell;
use super::{Live, from_root};
use crate::args::policy::PolicyDelete;
use crate::command::Checkout;
use crate::error::{Exit, Fault};
use crate::policies::{given, shipped};
use crate::runtime::policy::{PolicyObject, PolicyRequest};
use crate::workspace::policies::Policies;

/// Deletes the objects of the files that are named; those that are not there are no error.
pub async fn run(args: &PolicyDelete, checkout: &Checkout) -> anyhow::Result<Exit> {
    let live = Live::attach(checkout).await?;
    let (objects, paths) = if args.all {
        (live.state.objects.iter().map(PolicyObject::key).collect(), Vec::new())
    } else {
        let paths = if args.paths.is_empty() {
            vec![shipped(live.status.grpc)]
        } else {
            from_root(&args.paths, &checkout.root)?
        };
        let policies = Policies::read(&checkout.root, &paths).map_err(Fault::from)?;
        (given(&policies).iter().map(|own| own.object.key()).collect(), paths)
    };
    let state = live.session.policy(PolicyRequest::Delete { objects, paths }).await?;
    tell(&live, &state, args.output)
}
