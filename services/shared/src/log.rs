//! Structured logs on stdout: JSON for machines, text for a terminal. `RUST_LOG` filters.

use std::io::{IsTerminal, stdout};

use tracing_subscriber::{EnvFilter, fmt};

use crate::env::Env;

/// Reads `RUST_LOG`: tracing-subscriber's directives, by default `info`.
pub(crate) fn filter(env: &mut Env<'_>) -> Option<EnvFilter> {
    env.or_default(
        "RUST_LOG",
        EnvFilter::new("info"),
        "filter directives like info or warn,shared=debug",
        |value| EnvFilter::try_new(value).ok(),
    )
}

/// Starts logging for the whole process. A second call does nothing.
pub(crate) fn init(filter: EnvFilter) {
    let builder = fmt().with_env_filter(filter).with_writer(stdout);
    // The error is that a logger is there already.
    let _ = if stdout().is_terminal() {
        builder.compact().try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
}
