//! synthetic: steady load on one URL, so that there is always something to see.

mod config;
mod load;
mod tally;

use std::process::ExitCode;

use prometheus_client::registry::Registry;
use shared::{DRAIN_TIMEOUT, process};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

fn main() -> ExitCode {
    process::main("synthetic", config::Config::read, async |config, shutdown| {
        let admin = process::listen(config.common.bind_address, config.common.admin_port, "admin").await?;
        let mut registry = Registry::default();
        let stop = CancellationToken::new();
        info!(target_url = %config.load.url, rate = config.load.rate, "load begins");
        let load = tokio::spawn(load::run(config.load, tally::Tally::register(&mut registry), stop.clone()));
        process::serve_admin(admin, registry, shutdown).await;
        stop.cancel();
        let _ = timeout(DRAIN_TIMEOUT, load).await;
        Ok(())
    })
}
