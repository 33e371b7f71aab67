//! `image`: the services' images, for use on their own.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write as _};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::args::Output;
use crate::args::image::{Action, Build, Image as Args, Ls};
use crate::build::{Builder, HERE, StaticTarget};
use crate::command::Checkout;
use crate::error::{Exit, Fault};
use crate::oci::archive::{self, Named};
use crate::oci::{Image, push, sbom};
use crate::process::{self, cargo};
use crate::report::{Events, Reporter, bytes, columns, line_out};
use crate::runtime::kind::{Held, Kind};

/// Builds images and says what they are; saves or pushes them where that was asked for.
pub async fn run(args: Args, colour: bool) -> anyhow::Result<Exit> {
    let (build, registry) = match &args.action {
        Action::Ls(args) => return ls(args).await,
        Action::Build(build) => (build, "localhost"),
        Action::Save(save) => (&save.build, "localhost"),
        Action::Push(push) => (&push.build, push.registry.trim_end_matches('/')),
    };
    let checkout = Checkout::open().await?;
    let events = Events::default();
    // What scripts read is the list below.
    let reporter = (build.output == Output::Text).then(|| Reporter::start(&events, Output::Text, colour));
    let made = tokio::select! {
        made = make(&checkout, build, registry, colour, &events) => made,
        () = process::told_to_stop() => Err(Fault::failed("interrupted").into()),
    };
    if let Some(reporter) = reporter {
        reporter.finish().await;
    }
    let mut made = made?;
    match &args.action {
        Action::Build(_) | Action::Ls(_) => {}
        Action::Save(save) => {
            let (file, named): (_, Vec<Named>) =
                (save.file.clone(), made.iter().map(|made| made.named.clone()).collect());
            let write = move || {
                let mut out = BufWriter::with_capacity(1 << 18, File::create(&file)?);
                archive::write(&named, &BTreeSet::new(), &mut out)?;
                out.flush()
            };
            let written = tokio::task::spawn_blocking(write).await?;
            written.map_err(|error| {
                Fault::environment(format!("cannot write {}: {error}", save.file.display()))
            })?;
        }
        Action::Push(wanted) => {
            for made in &mut made {
                let tags = [Some(made.named.image.digest().short().to_owned()), wanted.tag.clone()];
                let tags: Vec<String> = tags.into_iter().flatten().collect();
                made.sent = Some(push::push(&made.named, &tags).await?);
            }
        }
    }
    line_out(&match build.output {
        Output::Json => serde_json::to_string_pretty(&made.iter().map(Made::shown).collect::<Vec<_>>())?,
        Output::Text => table(&made),
    });
    Ok(Exit::Ok)
}

/// What the cluster of this checkout has.
async fn ls(args: &Ls) -> anyhow::Result<Exit> {
    let kind = Kind::attach(&Checkout::open().await?).await?.ok_or_else(|| {
        Fault::environment("no cluster runs this checkout").hint("cargo xtask up --runtime kind")
    })?;
    let held = kind.images().await?;
    line_out(&match args.output {
        Output::Json => serde_json::to_string_pretty(&held)?,
        Output::Text => held_table(&held),
    });
    Ok(Exit::Ok)
}

fn held_table(held: &[Held]) -> String {
    let mut rows = vec![["IMAGE", "SIZE", "NODES", "PODS"].map(str::to_owned).to_vec()];
    for one in held {
        rows.push(vec![
            one.reference.clone(),
            one.size.clone(),
            one.nodes.len().to_string(),
            one.pods.len().to_string(),
        ]);
    }
    columns(&rows).trim_end().to_owned()
}

/// An image that was built.
struct Made {
    named: Named,
    /// Bytes of the program that is in it.
    program: u64,
    platform: String,
    /// Bytes that the registry did not have.
    sent: Option<u64>,
}

/// An image, for scripts.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    reference: &'a str,
    digest: &'a str,
    platform: &'a str,
    size: u64,
    program_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<u64>,
}

impl Made {
    fn shown(&self) -> Shown<'_> {
        Shown {
            name: &self.named.image.name,
            reference: &self.named.reference,
            digest: self.named.image.digest().as_str(),
            platform: &self.platform,
            size: self.named.image.size(),
            program_size: self.program,
            sent: self.sent,
        }
    }
}

async fn make(
    checkout: &Checkout,
    args: &Build,
    registry: &str,
    colour: bool,
    events: &Events,
) -> anyhow::Result<Vec<Made>> {
    let workspace = &checkout.workspace;
    if let Some(unknown) = args.services.iter().find(|name| workspace.service(name).is_none()) {
        let known: Vec<&str> = workspace.services.iter().map(|service| service.name.as_str()).collect();
        return Err(Fault::usage(format!("no service `{unknown}` (known: {})", known.join(", "))).into());
    }
    let all = || workspace.services.iter().map(|service| service.name.clone()).collect();
    let services: Vec<String> = if args.services.is_empty() { all() } else { args.services.clone() };
    let here = format!("linux/{HERE}");
    let platform = args.platform.as_deref().unwrap_or(&here);
    let architecture = platform.trim_start_matches("linux/");
    let target = StaticTarget::find(architecture, &checkout.root).await?;
    checkout.state.create()?;
    let builder =
        Builder { root: checkout.root.clone(), state: checkout.state.clone(), release: args.release, colour };
    let images = builder
        .build(&workspace.packages(), &services, Some(&target), events, &CancellationToken::new())
        .await
        .map_err(Fault::from)?;
    let metadata = cargo::resolved(&checkout.root, &target.triple).await?;
    let lock = std::fs::read_to_string(checkout.root.join("Cargo.lock")).unwrap_or_default();
    let mut made = Vec::new();
    for (name, built) in images {
        let Some(service) = workspace.service(&name) else { continue };
        let unreadable =
            |error| Fault::environment(format!("cannot read {}: {error}", built.binary.display()));
        let program = built.binary.metadata().map_err(unreadable)?.len();
        let image =
            Image::of_program(&name, &built.binary, target.platform, &service.labels).map_err(unreadable)?;
        let materials = sbom::of(&name, &service.id, &metadata, &lock);
        let referrers =
            materials.map(|bill| (image.referrer(sbom::MEDIA_TYPE, &bill), bill)).into_iter().collect();
        let reference = format!("{registry}/{name}:{}", image.digest().short());
        let named = Named { reference, image, referrers };
        made.push(Made { named, program, platform: platform.to_owned(), sent: None });
    }
    Ok(made)
}

fn table(made: &[Made]) -> String {
    let mut rows = vec![["IMAGE", "PLATFORM", "SIZE", "PROGRAM", "DIGEST"].map(str::to_owned).to_vec()];
    let sent = made.iter().any(|made| made.sent.is_some());
    if sent {
        rows[0].push("SENT".to_owned());
    }
    for one in made {
        let shown = one.shown();
        rows.push(vec![
            shown.reference.to_owned(),
            shown.platform.to_owned(),
            bytes(shown.size),
            bytes(shown.program_size),
            shown.digest.to_owned(),
        ]);
        if let (Some(sent), Some(row)) = (one.sent, rows.last_mut()) {
            row.push(bytes(sent));
        }
    }
    columns(&rows).trim_end().to_owned()
}
