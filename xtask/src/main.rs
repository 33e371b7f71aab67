//! `cargo xtask`: the workspace's whole dev environment as one command.
//!
//! One way through it: args -> plan -> runtime, and events back -> report.

use std::process::ExitCode;

use clap::Parser as _;

mod args;
mod bench;
mod build;
mod bundle;
mod command;
mod dashboard;
mod doctor;
mod environment;
mod error;
mod oci;
mod plan;
mod policies;
mod process;
mod report;
mod runtime;
mod session;
mod smoke;
mod state;
mod tools;
mod watch;
mod workspace;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == process::GUARDIAN) {
        return process::guardian_main();
    }
    let args = args::Args::parse();
    let colour = report::colour(args.global.color);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let outcome = runtime.block_on(command::run(args));
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            report::print_error(&error, colour);
            error::Exit::of(&error).into()
        }
    }
}
