//! What can be said of policies.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::Output;

/// Who may call what: Linkerd's policies on the running environment, and what they would do.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask up --grpc --linkerd --policy\n  \
    cargo xtask policy explain bar baz:grpc demo.Baz/GetInfo\n  \
    cargo xtask policy apply manifests/policy/grpc/baz.yaml")]
pub struct Policy {
    #[command(subcommand)]
    pub command: PolicyCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Apply policies to the running environment
    Apply(PolicyApply),
    /// Take policies away from the running environment
    Delete(PolicyDelete),
    /// What is wrong or odd in policies, with place, cause and remedy; needs nothing running
    Check(PolicyCheck),
    /// What becomes of one call, and why; needs nothing running
    Explain(PolicyExplain),
    /// Hold the declared expectations against the policies, or against what runs
    Test(PolicyTest),
    /// Audit first: who would be refused, and what to add; then enforce
    Ramp(PolicyRamp),
    /// Who may call whom, as text, DOT or SVG
    Graph(PolicyGraph),
}

/// Apply policies to the running environment, all or nothing, and show what that changes on each edge.
///
/// The files are read as strictly as the API server reads them; one mistake in any of them and nothing is
/// applied. What is in force changes for the next request, also on open connections; requests in flight end
/// as they began. Edits of files that are applied are applied by the running `up` as they are saved.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask policy apply\n  \
    cargo xtask policy apply manifests/policy/grpc/baz.yaml -o json")]
pub struct PolicyApply {
    /// Files, or directories with them; the shipped policies of the running mode by default
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// Take policies away from the running environment, and show what that changes on each edge.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask policy delete\n  \
    cargo xtask policy delete manifests/policy/grpc/baz.yaml\n  cargo xtask policy delete --all")]
pub struct PolicyDelete {
    /// Files, or directories with them: their objects are deleted; the shipped ones of the running mode by default
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Everything that is applied, whatever is in files
    #[arg(long, conflicts_with = "paths")]
    pub all: bool,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// What is wrong or odd in policies, each with its place, its cause and what to write instead. Needs nothing running.
///
/// The files are read as strictly as the API server with Linkerd's CRDs and its webhook reads them, and what they
/// mean is held against the workloads, Services and Ingresses of manifests/: references to nothing, routes that no
/// request meets, identities of nobody, probes that are locked out, calls of the services that nothing authorizes.
/// By default the shipped policies of both protocols are checked, each by itself. Exit code 0 when nothing is
/// wrong, 1 when something is, 2 when the files cannot be read as policies.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask policy check\n  \
    cargo xtask policy check manifests/policy/grpc/baz.yaml my-policies/\n  \
    cargo xtask policy check -o json | jq '.findings[] | select(.severity == \"error\")'")]
pub struct PolicyCheck {
    /// Files, or directories with them, checked together; the shipped policies by default
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// What becomes of one call under the policies, and the chain of objects that leads to it. Needs nothing running.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask policy explain bar baz:grpc demo.Baz/GetInfo\n  \
    cargo xtask policy explain synthetic baz:http /foo/bar\n  \
    cargo xtask policy explain --unmeshed baz:http /foo/bar -X POST -H 'x-who: me'\n  \
    cargo xtask policy explain bar baz:grpc demo.Baz/GetInfo --policy my.yaml -o json")]
pub struct PolicyExplain {
    /// CLIENT: a `ServiceAccount` (bar, bar.default), `ingress` or `unmeshed`. DEST[:PORT]: a Service and its port,
    /// by name or number. METHOD: PACKAGE.SERVICE/METHOD of gRPC. PATH: of HTTP, / by default
    #[arg(value_name = "CLIENT DEST[:PORT] [METHOD|PATH]", num_args = 1..=3, required = true)]
    pub call: Vec<String>,
    /// The HTTP method; GET by default
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub method: Option<String>,
    /// A header, as 'name: value'; may be given again
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// The client has no sidecar, thus no identity; CLIENT may be left out
    #[arg(long)]
    pub unmeshed: bool,
    /// The client's address; an address of kind's pod network by default
    #[arg(long, value_name = "IP")]
    pub from: Option<IpAddr>,
    #[command(flatten)]
    pub policies: PolicyFiles,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// Which policies are looked at.
#[derive(Clone, Debug, ClapArgs)]
pub struct PolicyFiles {
    /// These files or directories in place of the shipped policies; may be given again
    #[arg(long = "policy", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The shipped policies for services that speak gRPC
    #[arg(long)]
    pub grpc: bool,
}

/// Hold the declared expectations (manifests/policy/expect.toml) against the policies, or against what runs.
///
/// By itself it needs nothing running: the engine decides on the manifests. With --live each expectation is one
/// real request through the running environment, as `call` sends it. Exit code 1 when one is not met.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask policy test\n  cargo xtask policy test --live -o json")]
pub struct PolicyTest {
    /// Ask the running environment
    #[arg(long)]
    pub live: bool,
    /// Another file of expectations
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// Who may call whom.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask policy graph --grpc\n  \
    cargo xtask policy graph --format svg > policies.svg\n  \
    cargo xtask policy graph --format dot | dot -Tpng > policies.png")]
pub struct PolicyGraph {
    /// As what
    #[arg(long, value_enum, default_value = "text")]
    pub format: GraphFormat,
    #[command(flatten)]
    pub policies: PolicyFiles,
    /// json in place of --format
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// What a graph is written as.
#[derive(Clone, Copy, Debug, Default, ValueEnum, PartialEq, Eq)]
pub enum GraphFormat {
    /// Lines
    #[default]
    Text,
    /// Graphviz
    Dot,
    /// A picture
    Svg,
}

/// Audit first: let everything in for a while, see who only that lets in, then enforce.
///
/// The Servers that are applied with `accessPolicy: deny` are switched to `audit`. Every client and route that would
/// have been refused is listed, with the object to add. When there is none, the Servers deny again; else they stay in
/// audit, and the exit code is 1, unless --force enforces all the same. An interrupted ramp puts back what was.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask policy ramp --for 30s\n  \
    cargo xtask policy ramp --requests 1000 --stay\n  cargo xtask policy ramp --for 5s --force")]
pub struct PolicyRamp {
    /// Watch for this long
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = super::duration)]
    pub span: std::time::Duration,
    /// Watch until policies have decided on so many requests, in place of a time
    #[arg(long, value_name = "N", conflicts_with = "span")]
    pub requests: Option<u64>,
    /// Stay in audit, whatever was found
    #[arg(long)]
    pub stay: bool,
    /// Enforce, whatever was found
    #[arg(long, conflicts_with = "stay")]
    pub force: bool,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}
