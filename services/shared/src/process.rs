//! A process of the workspace from its start to its end: environment, logs, signals.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    process::ExitCode,
};

use anyhow::Context;
use otlp::Endpoint;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
};
use tracing::{error, info};

use crate::{
    env::Env,
    log,
    serve::{Ending, Listeners, Servers},
    trace::Tracer,
};

/// What every process reads from its environment.
#[derive(Clone, Debug)]
pub struct Common {
    /// Where all ports are bound (`BIND_ADDRESS`, by default all interfaces).
    pub bind_address: IpAddr,
    /// Probes and metrics (`ADMIN_PORT`, by default 8090).
    pub admin_port: u16,
    /// Who answers (`HOSTNAME`, which is the pod's name; by default the kernel's).
    pub hostname: String,
    /// Where spans go (`OTEL_EXPORTER_OTLP_ENDPOINT`, by default nowhere).
    pub collector: Option<Endpoint>,
}

impl Common {
    /// Reads it from `env`; `None` if there was a mistake.
    pub fn read(env: &mut Env<'_>) -> Option<Self> {
        let bind_address = env.ip("BIND_ADDRESS", Ipv4Addr::UNSPECIFIED.into());
        let admin_port = env.port("ADMIN_PORT", 8090);
        let hostname = env.optional("HOSTNAME", "a host name", |value| Some(value.to_owned()));
        let collector = env.collector();
        Some(Self {
            collector: collector?,
            bind_address: bind_address?,
            admin_port: admin_port?,
            hostname: hostname.unwrap_or_else(kernel_hostname),
        })
    }
}

fn kernel_hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Runs a process: `read`s its environment, then `run`s it until it returns, which it should soon after
/// the future that it is given, SIGTERM or SIGINT, is done.
///
/// The exit code is 0, or 1 if `run` failed, or 2 if the environment is wrong: then stderr has every
/// mistake in it, and nothing has been started.
pub fn main<C, Run>(name: &'static str, read: impl FnOnce(&mut Env<'_>) -> Option<C>, run: Run) -> ExitCode
where
    Run: AsyncFnOnce(C, Shutdown) -> anyhow::Result<()>,
{
    let mut env = Env::of_process();
    let filter = log::filter(&mut env);
    let config = read(&mut env);
    let (config, filter) = match (config, filter, env.finish()) {
        (Some(config), Some(filter), Ok(())) => (config, filter),
        (_, _, outcome) => {
            let mistakes =
                outcome.map_or_else(|mistakes| mistakes.to_string(), |()| "no reason given".to_owned());
            eprintln!("{name} cannot start: {mistakes}");
            return ExitCode::from(2);
        }
    };
    log::init(filter);
    match start(name, config, run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{name} failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start<C, Run>(name: &'static str, config: C, run: Run) -> anyhow::Result<()>
where
    Run: AsyncFnOnce(C, Shutdown) -> anyhow::Result<()>,
{
    // Two threads: the containers' CPU limits are below one core, and one stuck poll should not stop probes.
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(async {
        // Before any port is bound: who sees a port may send a signal.
        let shutdown = on_signal().context("cannot trap signals")?;
        info!(service = name, version = env!("CARGO_PKG_VERSION"), "starting");
        run(config, shutdown).await
    });
    // What has not drained in time shall not hold the process.
    runtime.shutdown_background();
    outcome
}

/// Done at SIGTERM or SIGINT.
pub type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

fn on_signal() -> io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(Box::pin(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "asked to end");
    }))
}

/// Binds a port.
///
/// # Errors
/// If it is taken or the address is not this machine's; the message names both and the `purpose`.
pub async fn listen(ip: IpAddr, port: u16, purpose: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind((ip, port))
        .await
        .with_context(|| format!("cannot listen on {}:{port} for {purpose}", bracketed(ip)))
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Serves the admin port of a process that answers no requests, until `shutdown`.
pub async fn serve_admin(admin: TcpListener, registry: Registry, shutdown: impl Future<Output = ()>) {
    let listeners = Listeners { http: None, grpc: None, admin };
    Servers::new(registry, Tracer::none()).run(listeners, Ending::stop_after(shutdown)).await;
}
