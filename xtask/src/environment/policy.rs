//! The policies of an environment: those that it starts with, and the edits of the files that are applied.

use super::Environment;
use crate::error::Fault;
use crate::policies::{given, shipped};
use crate::runtime::policy::PolicyRequest;
use crate::workspace::Workspace;
use crate::workspace::policies::Policies;

/// Reads the shipped policies of a mode, before anything runs. Errors with every mistake in them.
pub(super) fn can_start_with(workspace: &Workspace, grpc: bool) -> Result<(), Fault> {
    Policies::read(&workspace.root, &[shipped(grpc)]).map(drop).map_err(Fault::from)
}

impl Environment {
    /// Puts the shipped policies of the mode in force.
    pub(super) async fn start_with_policies(&self) -> anyhow::Result<()> {
        let paths = vec![shipped(self.options.mode.grpc)];
        let policies = Policies::read(&self.checkout.root, &paths).map_err(Fault::from)?;
        self.runtime.policy(PolicyRequest::Apply { objects: given(&policies), paths }).await?;
        Ok(())
    }

    /// Makes what is in force equal to what the applied files have now. Errors with every mistake in them; what is
    /// in force then stays.
    pub(super) async fn follow_policies(&self) -> anyhow::Result<()> {
        let followed = self.runtime.followed_policies();
        // A file that was deleted has no objects any more.
        let paths: Vec<_> =
            followed.into_iter().filter(|path| self.checkout.root.join(path).exists()).collect();
        let policies =
            if paths.is_empty() { Policies::default() } else { Policies::read(&self.checkout.root, &paths)? };
        self.runtime.follow_policies(given(&policies)).await
    }
}
