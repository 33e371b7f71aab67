//! What can be said of faults on purpose.

use clap::{ArgGroup, Args as ClapArgs, Subcommand};

use super::Output;
use crate::runtime::fault::{Delay, GrpcStatus, Percent, Status};

/// Make requests slow or fail on purpose, to see what retries, timeouts and callers make of it.
///
/// A fault is in the sidecars of a Service's pods: after their policies, before the application, which is not asked
/// where the fault answers. It stays until it is removed or `up` ends, also in pods that are new.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask fault add baz --status 500@10%\n  \
    cargo xtask fault list\n  cargo xtask fault rm --all")]
pub struct Fault {
    #[command(subcommand)]
    pub command: FaultCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum FaultCommand {
    /// Add a fault to a Service
    Add(FaultAdd),
    /// The faults that are there, and how many requests each has hit
    #[command(visible_alias = "ls")]
    List(FaultList),
    /// Remove faults
    Rm(FaultRm),
}

/// Add a fault to the pods of a Service.
///
/// Of one request at most one of --status, --grpc-status and --abort comes to pass, each with its share; a delay comes
/// before it. Responses have the header `x-injected-fault` with the fault's id. The kubelet's probes are spared, and
/// so are connections that are no HTTP.
#[derive(Clone, Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  cargo xtask fault add baz --status 500@10%\n  \
    cargo xtask fault add baz --port grpc --grpc-status unavailable@5% --delay 10ms±5ms\n  \
    cargo xtask fault add baz --route /foo/bar --from bar --abort 1%\n  \
    cargo xtask fault add baz --delay 2s@20%",
    group = ArgGroup::new("effect").args(["delay", "status", "grpc_status", "abort"]).required(true).multiple(true)
)]
pub struct FaultAdd {
    /// The Service whose pods answer
    pub service: String,
    /// Wait so long first: 10ms, 10ms±5ms (or 10ms+-5ms), 2s@20%
    #[arg(long, value_name = "SPAN[±SPAN][@SHARE]")]
    pub delay: Option<Delay>,
    /// Answer with this HTTP status, in place of the application; may be given again. A gRPC call gets it without a
    /// gRPC status, as from a proxy that knows nothing of gRPC
    #[arg(long, value_name = "STATUS[@SHARE]")]
    pub status: Vec<Status>,
    /// Answer gRPC calls with this gRPC status, by name or number; may be given again
    #[arg(long, value_name = "STATUS[@SHARE]")]
    pub grpc_status: Vec<GrpcStatus>,
    /// Break off without an answer
    #[arg(long, value_name = "SHARE")]
    pub abort: Option<Percent>,
    /// Only on this port of the Service, by number or name; all by default
    #[arg(long)]
    pub port: Option<String>,
    /// Only this path (`/foo/bar`, `demo.Baz/GetInfo`, `/foo/*`), or what this route of the policies takes
    #[arg(long, value_name = "PATH|NAME")]
    pub route: Option<String>,
    /// Only requests of this client, a `ServiceAccount`; `ingress` is one
    #[arg(long, value_name = "CLIENT")]
    pub from: Option<String>,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// The faults that are there, and how many requests each has hit.
#[derive(Clone, Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  cargo xtask fault list\n  cargo xtask fault list -o json | jq '.faults[].hit'"
)]
pub struct FaultList {
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// Remove faults: those with these ids, or all.
#[derive(Clone, Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  cargo xtask fault rm 1 3\n  cargo xtask fault rm --all",
    group = ArgGroup::new("which").args(["ids", "all"]).required(true)
)]
pub struct FaultRm {
    /// What `fault list` calls them
    #[arg(value_name = "ID")]
    pub ids: Vec<u32>,
    /// All of them
    #[arg(long)]
    pub all: bool,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}
