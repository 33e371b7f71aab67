//! What the user can say, and nothing else.

use std::time::Duration;

pub mod fault;
pub mod image;
pub mod policy;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// The workspace's whole dev environment as one command.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100,
    after_help = "Start here:\n  cargo xtask up --grpc --linkerd\n\n\
        Exit codes: 0 ok, 1 a check failed, 2 usage, 3 environment (missing tool, port taken)."
)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, ClapArgs)]
pub struct Global {
    /// Colour the output
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: When,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum When {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build and run everything, watch and redeploy
    Up(Up),
    /// Stop and remove what `up` started
    Down(Down),
    /// What runs, where, and why something does not
    Status(Status),
    /// What the services wrote
    Logs(Logs),
    /// One real request from a client with a given identity
    Call(Call),
    /// Who may call what: apply, explain, test policies
    Policy(policy::Policy),
    /// Live calls between pods: how many, how long, how many well, how many refused
    Top(Top),
    /// Make requests slow or fail on purpose
    Fault(fault::Fault),
    /// Success rate, requests a second, latencies and TLS share of services and of the edges between them
    Stat(Stat),
    /// Who talks to whom, with which identities, secured or not
    Edges(Edges),
    /// What runs, what goes on and who may call whom, in a browser: where it is
    Dashboard(Dashboard),
    /// Build, save and push the services' container images
    Image(image::Image),
    /// Prove that the environment does what it should
    Smoke(Smoke),
    /// What this machine has and lacks
    Doctor(Doctor),
    /// The pinned programs of the kind runtime: which, from where; fetch them
    Tools(Tools),
    /// Add a service: crate, manifests, Ingress, policies
    New(New),
    /// This project's own figures, measured here
    Bench(Bench),
    /// Everything CI runs: format, lint, tests, smoke
    Ci(Ci),
}

/// Where the pods run.
#[derive(Clone, Copy, Debug, Default, ValueEnum, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// local; a context means kind
    #[default]
    Auto,
    /// A kind cluster
    Kind,
    /// Processes on this machine: no Docker, no cluster, no root
    Local,
}

/// What the output is for.
#[derive(Clone, Copy, Debug, Default, ValueEnum, PartialEq, Eq)]
pub enum Output {
    /// People
    #[default]
    Text,
    /// Scripts
    Json,
}

/// The four modes: two switches.
#[derive(Clone, Copy, Debug, Default, ClapArgs)]
pub struct ModeArgs {
    /// gRPC between the services, in place of HTTP with JSON
    #[arg(long)]
    pub grpc: bool,
    /// Every pod with a sidecar: mutual TLS, per-request balancing
    #[arg(long)]
    pub linkerd: bool,
}

/// Build and run everything, watch and redeploy.
#[derive(Clone, Debug, ClapArgs)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
#[command(after_help = "Examples:\n  cargo xtask up --grpc --linkerd\n  \
    cargo xtask up --grpc --linkerd --policy\n  \
    cargo xtask up --detach --no-watch && cargo test && cargo xtask down\n  \
    cargo xtask up --grpc --runtime kind")]
pub struct Up {
    #[command(flatten)]
    pub mode: ModeArgs,
    /// Start with the policies of manifests/policy/ applied, and apply their edits as they are saved
    #[arg(long, requires = "linkerd")]
    pub policy: bool,
    /// Leave the ingress out, and the workloads that call through it
    #[arg(long)]
    pub no_ingress: bool,
    /// Where the pods run
    #[arg(long, value_name = "RUNTIME", default_value = "auto")]
    pub runtime: RuntimeChoice,
    /// A cluster of your kubeconfig, by its context, in place of the kind cluster
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Push images there, and let the cluster's nodes pull them (with --context)
    #[arg(long, value_name = "HOST[/PATH]", requires = "context")]
    pub registry: Option<String>,
    /// Take over what somebody else changed in the cluster
    #[arg(long)]
    pub force_conflicts: bool,
    /// Replace changed programs in running containers before the rollout (the default; kind)
    #[arg(long, overrides_with = "no_live")]
    pub live: bool,
    /// Bring changed programs by rollouts alone (kind)
    #[arg(long)]
    pub no_live: bool,
    /// The ingress's port on 127.0.0.1 (8080 by default); 0 takes a free one (local)
    #[arg(long)]
    pub port: Option<u16>,
    /// The dashboard's port on 127.0.0.1 (8081 by default, or a free one); 0 takes a free one (local)
    #[arg(long, value_name = "PORT")]
    pub dashboard_port: Option<u16>,
    /// Return when everything is ready; it runs on until `cargo xtask down`
    #[arg(short, long)]
    pub detach: bool,
    /// Do not rebuild or redeploy on changes
    #[arg(long)]
    pub no_watch: bool,
    /// Build the services with optimisations
    #[arg(long)]
    pub release: bool,
    /// When it does not get ready, keep the evidence in one archive: objects, events, logs, metrics, no Secrets
    #[arg(long)]
    pub bundle: bool,
    /// Give up when not everything is ready after this long
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub timeout: Duration,
    /// text for people, json for one event a line
    #[arg(short, long, default_value = "text")]
    pub output: Output,
    /// This process is the background half of `--detach`
    #[arg(long, hide = true)]
    pub background: bool,
}

/// Stop and remove what `up` started.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Example:\n  cargo xtask down")]
pub struct Down {
    /// Also delete the kind cluster, and what is kept between runs: logs, built revisions
    #[arg(long)]
    pub all: bool,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// What runs, where, and why something does not.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask status\n  cargo xtask status -o json | jq '.pods[].state'")]
pub struct Status {
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// What the services wrote.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask logs baz -f\n  cargo xtask logs --since 5m -o json")]
pub struct Logs {
    /// Only these services or pods; all by default
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Only lines younger than this
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<Duration>,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// One real request from a client with a given identity, through its own sidecar.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask call --as bar baz:9090/demo.Baz/GetInfo\n  \
    cargo xtask call --unmeshed -X POST -H 'x-who: me' -d '{}' baz:80/foo/bar\n  \
    cargo xtask call --as bar --count 300 -o json baz:grpc/demo.Baz/GetInfo")]
pub struct Call {
    /// SERVICE:PORT/PATH; the port by number or name, the path of a gRPC call is PACKAGE.SERVICE/METHOD
    #[arg(value_name = "SERVICE:PORT/PATH")]
    pub target: String,
    /// The client's identity: a `ServiceAccount` of the environment
    #[arg(long = "as", value_name = "SERVICEACCOUNT", conflicts_with = "unmeshed")]
    pub service_account: Option<String>,
    /// A client without a sidecar
    #[arg(long)]
    pub unmeshed: bool,
    /// The HTTP method; GET, or POST with data
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub method: Option<String>,
    /// A header, as 'name: value'; may be given again
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// The body; for gRPC the request message as JSON
    #[arg(short = 'd', long, value_name = "BODY")]
    pub data: Option<String>,
    /// Send it this often and count who answered
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// How many at once, with --count
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub concurrency: u32,
    /// How long one request may take
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub timeout: Duration,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// What `smoke` prints.
#[derive(Clone, Copy, Debug, Default, ValueEnum, PartialEq, Eq)]
pub enum SmokeOutput {
    /// People
    #[default]
    Text,
    /// Scripts
    Json,
    /// CI systems: `JUnit` XML
    Junit,
}

/// Prove that the environment does what it should: modes, spread, identities, shutdown.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask smoke --matrix --runtime local\n  \
    cargo xtask smoke --grpc --linkerd -o junit > smoke.xml\n  \
    cargo xtask smoke --grpc --exec 'curl -sf http://foo.localhost:8080/'")]
pub struct Smoke {
    #[command(flatten)]
    pub mode: ModeArgs,
    /// All four modes, one after the other
    #[arg(long, conflicts_with_all = ["grpc", "linkerd"])]
    pub matrix: bool,
    #[arg(long, value_name = "RUNTIME", default_value = "auto")]
    pub runtime: RuntimeChoice,
    /// Without an ingress: requests are sent by clients beside the services
    #[arg(long)]
    pub no_ingress: bool,
    /// The ingress's port on 127.0.0.1 (local: a free one by default; kind: what manifests/kind.yaml says)
    #[arg(long)]
    pub port: Option<u16>,
    /// Requests a spread is measured over
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(300..=100_000))]
    pub requests: u32,
    /// Run this in a shell against the environment (its URL is in `XTASK_URL`) as one more check
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,
    /// Build the services with optimisations
    #[arg(long)]
    pub release: bool,
    #[arg(short, long, default_value = "text")]
    pub output: SmokeOutput,
}

/// What this machine has and lacks, and what to do about it.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Example:\n  cargo xtask doctor -o json")]
pub struct Doctor {
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// The pinned programs of the kind runtime: which, from where, whether they fit; fetch them.
///
/// manifests/versions.toml pins them. A program on PATH is used when its version fits, then one that was
/// fetched before (in `$XDG_CACHE_HOME` or ~/.cache, xtask/tools); else it is fetched and its sha256 checked.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask tools\n  cargo xtask tools fetch kind\n  \
    XTASK_TOOLS_MIRROR=/srv/mirror cargo xtask tools fetch\n\n\
    Environment:\n  \
    XTASK_TOOLS_MIRROR   a URL or a directory, in place of scheme and host of what is fetched\n  \
    XTASK_TOOLS_TIMEOUT  give up when nothing comes for this long (default 30s)\n  \
    XTASK_TOOL_KIND, XTASK_TOOL_LINKERD\n                       \
    use this program, whatever its version\n  \
    XTASK_OFFLINE        fetch nothing\n  \
    HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE\n                       \
    as other programs understand them")]
pub struct Tools {
    #[command(subcommand)]
    pub command: Option<ToolsCommand>,
    #[arg(short, long, default_value = "text", global = true)]
    pub output: Output,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ToolsCommand {
    /// What is pinned, where each comes from, whether it fits (the default)
    Ls,
    /// Fetch what is not there; says what is used
    Fetch(ToolsFetch),
}

/// Fetch what is not on PATH or in the cache, and say what is used.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask tools fetch\n  cargo xtask tools fetch linkerd -o json")]
pub struct ToolsFetch {
    /// Only these; all by default
    #[arg(value_enum, value_name = "NAME")]
    pub names: Vec<ToolName>,
    /// Fetch nothing: fail, and say which file to put where
    #[arg(long)]
    pub offline: bool,
}

/// A pinned program.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum ToolName {
    /// Makes clusters
    Kind,
    /// Installs Linkerd
    Linkerd,
}

/// Add a service: a crate under services/, its manifests, its Ingress, its policies.
#[derive(Clone, Debug, ClapArgs)]
#[command(
    after_help = "Example:\n  cargo xtask new qux\n\nA running `up` builds, starts and routes to it at once."
)]
pub struct New {
    /// Its name: a DNS label, and a crate name
    pub name: String,
}

/// This project's own figures, measured on this machine.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench mesh idle -o json\n  \
    cargo xtask bench --runtime kind start edit --runs 5")]
pub struct Bench {
    /// Only these; by default all of the runtime
    #[arg(value_enum, value_name = "FIGURE")]
    pub figures: Vec<Figure>,
    /// What runs on which is measured; a kind cluster is made for it, and deleted
    #[arg(long, value_name = "RUNTIME", default_value = "local")]
    pub runtime: BenchRuntime,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// What `bench` measures on.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum BenchRuntime {
    Local,
    Kind,
}

/// One of `bench`'s figures.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum Figure {
    /// Warm `up --grpc --linkerd --detach` to all ready; on kind: a new cluster to all ready, and with nothing changed
    Start,
    /// A saved change to the first answer by new code, beside the bare build
    Edit,
    /// The same gRPC call direct, through a Service, through two sidecars
    Mesh,
    /// Policy decisions a second, and what enforcing them adds to a meshed call
    Policy,
    /// CPU and memory of an idle environment
    Idle,
    /// `cargo build -p xtask` from nothing
    Cold,
    /// An image of a service: how long it takes, how large it is (kind)
    Image,
    /// Redeploys in a row under load: requests that failed (kind)
    Redeploys,
}

impl Figure {
    /// Those that are measured on a runtime.
    pub fn of(runtime: BenchRuntime) -> &'static [Self] {
        match runtime {
            BenchRuntime::Local => {
                &[Self::Start, Self::Edit, Self::Idle, Self::Mesh, Self::Policy, Self::Cold]
            }
            BenchRuntime::Kind => &[Self::Image, Self::Start, Self::Edit, Self::Redeploys],
        }
    }
}

/// Everything CI runs: format, lint, tests, smoke.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Example:\n  cargo xtask ci")]
pub struct Ci {
    /// Also build from nothing and measure
    #[arg(long)]
    pub bench: bool,
}

/// Live calls between pods, those of one pair, method and path together.
///
/// A call is counted by the sidecar of the pod that was asked, and only in environments with sidecars. The columns are
/// those of `linkerd viz top`; a refused call counts as a success there, and has a column of its own here. The
/// kubelet's probes are not counted.
///
/// On a terminal it is a screen, whose last line tells the keys; there RPS is that of the last 5 s. Elsewhere it is a
/// table each second.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask top\n  cargo xtask top baz --once --for 5s\n  \
    cargo xtask top --once -o json | jq '.rows[] | select(.denied > 0)'")]
pub struct Top {
    /// Only calls from or to this service or pod
    pub resource: Option<String>,
    /// Count for a while, print what was counted, and end
    #[arg(long)]
    pub once: bool,
    /// Count for this long, then end; 5s with --once
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub span: Option<Duration>,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// How services do, and the edges between them: success rate, requests a second, latencies, TLS share.
///
/// Counted from now on by the sidecars of the pods that are asked, and only in environments with sidecars. The columns
/// are those of `linkerd viz stat`; a refused call counts as a success there, and has a column of its own here.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask stat\n  cargo xtask stat baz --for 30s\n  \
    cargo xtask stat -o json | jq '.edges[] | select(.success_rate < 1)'")]
pub struct Stat {
    /// Only these services, and the edges from and to them; all by default
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Count for this long
    #[arg(long = "for", value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub span: Duration,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// Who talks to whom, with which identities, secured or not.
///
/// What calls while it looks is shown, with the columns of `linkerd viz edges -o wide`; its JSON has the same fields.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask edges\n  \
    cargo xtask edges --for 30s -o json | jq '.[] | select(.no_tls_reason != \"\")'")]
pub struct Edges {
    /// Look for this long
    #[arg(long = "for", value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub span: Duration,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// What runs, what goes on and who may call whom, in a browser: prints where it is.
///
/// A running `up` serves it on 127.0.0.1, and its ingress at dashboard.localhost: nobody beyond this machine reaches it,
/// and no page of another origin reads from it or acts through it. Calls are shown in environments with sidecars.
#[derive(Clone, Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  cargo xtask up --grpc --linkerd --detach && cargo xtask dashboard --open\n  \
    cargo xtask dashboard -o json"
)]
pub struct Dashboard {
    /// Also open it in this desktop's browser
    #[arg(long)]
    pub open: bool,
    /// Look at it with Chromium and save what is seen, wide and narrow
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "open")]
    pub screenshot: Option<std::path::PathBuf>,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// A span of time as people write it: `500ms`, `30s`, `5m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let count: u64 = digits.parse().map_err(|_| format!("`{text}` is not like 500ms, 30s, 5m or 1h"))?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("`{text}` is not like 500ms, 30s, 5m or 1h")),
    };
    count.checked_mul(unit).map(Duration::from_millis).ok_or_else(|| format!("`{text}` is too long"))
}
