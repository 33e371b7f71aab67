use std::time::Duration;

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The life of a set of listeners and connections: open, then closing (nothing new, what is under way ends),
/// then cut.
#[derive(Clone, Default)]
pub(crate) struct Drain {
    closing: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
}

impl Drain {
    /// Runs a listener until the set closes.
    pub(crate) fn listen(&self, accepting: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        tokio::spawn(async move { closing.run_until_cancelled_owned(accepting).await });
    }

    /// Runs a connection until it ends or is cut.
    pub(crate) fn connection(&self, serving: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        self.connections.spawn(async move {
            cut.run_until_cancelled_owned(serving).await;
        });
    }

    /// Resolves when no new request should be taken.
    pub(crate) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Stops listeners and asks connections to end.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Ends when everything is cut.
    pub(crate) fn life(&self) -> CancellationToken {
        self.cut.child_token()
    }

    /// Closes, waits until `deadline` for what is under way, then cuts the rest.
    pub(crate) async fn finish(&self, deadline: Instant) {
        self.close();
        self.connections.close();
        let ended = tokio::time::timeout_at(deadline, self.connections.wait()).await;
        self.cut.cancel();
        if ended.is_err() {
            // What is cut ends at its next poll.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.connections.wait()).await;
        }
    }

    /// Ends everything at once.
    pub(crate) fn abort(&self) {
        self.close();
        self.cut.cancel();
    }
}
