//! `image`: what the user can say.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::Output;

/// Container images of the services, without a Dockerfile and without an engine.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:\n  cargo xtask image build --release\n  \
    cargo xtask image ls\n  \
    cargo xtask image save --release -f images.tar\n  \
    cargo xtask image push --release localhost:5000/demo baz")]
pub struct Image {
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with them.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Build them: what each is called, its digest and size
    Build(Build),
    /// Those that the cluster's nodes have, and how many pods run each
    Ls(Ls),
    /// Build them into one archive, which `docker load`, `ctr images import`, `skopeo` and `crane` read
    Save(Save),
    /// Build them and push them to a registry, each with its bill of materials
    Push(Push),
}

/// Those in the cluster.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Example:\n  cargo xtask image ls -o json")]
pub struct Ls {
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// Which images, and how they are built.
#[derive(Clone, Debug, ClapArgs)]
pub struct Build {
    /// Only these services; all by default
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// What they run on
    #[arg(long, value_name = "PLATFORM", value_parser = ["linux/amd64", "linux/arm64"])]
    pub platform: Option<String>,
    /// Build with optimisations
    #[arg(long)]
    pub release: bool,
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// Into an archive.
#[derive(Clone, Debug, ClapArgs)]
pub struct Save {
    /// The archive to write
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub build: Build,
}

/// To a registry.
#[derive(Clone, Debug, ClapArgs)]
pub struct Push {
    /// The registry, and what comes before the services' names there: `ghcr.io/me/demo`
    #[arg(value_name = "REGISTRY[/PATH]")]
    pub registry: String,
    /// Another name for them beside their content's
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    #[command(flatten)]
    pub build: Build,
}
