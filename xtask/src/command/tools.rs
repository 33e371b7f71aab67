//! `tools`: the pinned programs, where each comes from, and fetching them.

use anyhow::Context as _;
use futures_util::future::join_all;
use serde::Serialize;

use crate::args::{self, Output, ToolName, ToolsCommand, ToolsFetch};
use crate::error::{Exit, Fault};
use crate::report::{self, Event, Events, Reporter, columns, line_out};
use crate::tools::pins::{FILE, Platform, Tool, Versions, Wanted};
use crate::tools::resolve::{Answer, From};
use crate::tools::{self, Options};
use crate::workspace::Workspace;

/// Shows or fetches. No cargo is needed.
pub async fn run(args: args::Tools, colour: bool) -> anyhow::Result<Exit> {
    let here = std::env::current_dir().context("the current directory is gone")?;
    let root = Workspace::root_of(&here).ok_or_else(|| {
        Fault::usage(format!("{} is in no workspace with manifests/", here.display()))
            .hint("run it inside the workspace")
    })?;
    let versions = Versions::read(&root)?;
    let options = Options::from_env()?;
    match args.command {
        None | Some(ToolsCommand::Ls) => ls(&versions, &options, args.output).await,
        Some(ToolsCommand::Fetch(fetching)) => {
            fetch(&versions, options, &fetching, args.output, colour).await
        }
    }
}

async fn ls(versions: &Versions, options: &Options, output: Output) -> anyhow::Result<Exit> {
    let rows = Tool::ALL.map(|tool| async move {
        let wanted = versions.wanted(tool, Platform::here());
        let answer = tools::look(&wanted, options).await;
        (wanted, answer)
    });
    let rows = join_all(rows).await;
    match output {
        Output::Text => line_out(table(versions, &rows).trim_end()),
        Output::Json => line_out(&serde_json::to_string(&listed(versions, options, &rows))?),
    }
    Ok(Exit::Ok)
}

fn table(versions: &Versions, rows: &[(Wanted, Answer)]) -> String {
    let mut lines = vec![["TOOL", "PINNED", "FROM", "VERSION", "WHERE"].map(str::to_owned).to_vec()];
    let mut notes = String::new();
    for (wanted, answer) in rows {
        let (from, place) = match answer.from {
            From::Named => ("named", answer.path.as_ref().map(|path| path.display().to_string())),
            From::Path => ("PATH", answer.path.as_ref().map(|path| path.display().to_string())),
            From::Cache => ("cache", answer.path.as_ref().map(|path| path.display().to_string())),
            From::Fetch => ("to be fetched", wanted.url.clone()),
            From::Nowhere => ("nowhere", None),
        };
        lines.push(vec![
            wanted.tool.name().to_owned(),
            wanted.version.clone(),
            from.to_owned(),
            answer.version.clone().unwrap_or_else(|| "-".to_owned()),
            place.unwrap_or_else(|| "-".to_owned()),
        ]);
        notes.extend(answer.notes.iter().map(|note| format!("note: {note}\n")));
    }
    let pinned = [
        ("node", versions.node.to_string()),
        ("ingress-nginx", versions.ingress_nginx.to_string()),
        ("gateway-api", versions.gateway_api.version.clone()),
    ];
    let pinned = pinned.map(|(name, pin)| vec![name.to_owned(), pin]);
    format!("{}{notes}\nAlso pinned in {FILE}:\n{}", columns(&lines), columns(&pinned))
}

/// `ls` for scripts.
#[derive(Serialize)]
struct Listed<'a> {
    platform: String,
    tools: Vec<ListedTool<'a>>,
    node: String,
    ingress_nginx: String,
    gateway_api: &'a str,
}

#[derive(Serialize)]
struct ListedTool<'a> {
    name: &'static str,
    pinned: &'a str,
    from: From,
    /// There is a program that is used as it is.
    fits: bool,
    version: Option<&'a str>,
    path: Option<String>,
    url: Option<&'a str>,
    sha256: Option<&'a str>,
    /// Where it is kept when it was fetched.
    cache: String,
    notes: &'a [String],
}

fn listed<'a>(versions: &'a Versions, options: &Options, rows: &'a [(Wanted, Answer)]) -> Listed<'a> {
    let tool = |(wanted, answer): &'a (Wanted, Answer)| ListedTool {
        name: wanted.tool.name(),
        pinned: &wanted.version,
        from: answer.from,
        fits: answer.path.is_some(),
        version: answer.version.as_deref(),
        path: answer.path.as_ref().map(|path| path.display().to_string()),
        url: wanted.url.as_deref(),
        sha256: wanted.sha256.as_deref(),
        cache: options.cache.join(wanted.file_name()).display().to_string(),
        notes: &answer.notes,
    };
    Listed {
        platform: Platform::here().to_string(),
        tools: rows.iter().map(tool).collect(),
        node: versions.node.to_string(),
        ingress_nginx: versions.ingress_nginx.to_string(),
        gateway_api: &versions.gateway_api.version,
    }
}

async fn fetch(
    versions: &Versions,
    mut options: Options,
    args: &ToolsFetch,
    output: Output,
    colour: bool,
) -> anyhow::Result<Exit> {
    options.offline |= args.offline;
    let named = |name| match name {
        ToolName::Kind => Tool::Kind,
        ToolName::Linkerd => Tool::Linkerd,
    };
    let chosen: Vec<Tool> = args.names.iter().copied().map(named).collect();
    let chosen = Tool::ALL.into_iter().filter(|tool| chosen.is_empty() || chosen.contains(tool));
    let events = Events::default();
    let reporter = Reporter::start(&events, output, colour);
    let (options, told) = (&options, &events);
    let fetched = join_all(chosen.map(|tool| async move {
        let wanted = versions.wanted(tool, Platform::here());
        let answer = tools::get(&wanted, options, told).await?;
        told.emit(Event::Tool {
            name: tool.name().to_owned(),
            version: answer.version,
            path: answer.path.map(|path| path.display().to_string()).unwrap_or_default(),
        });
        Ok::<(), Fault>(())
    }));
    let mut failed: Vec<anyhow::Error> =
        fetched.await.into_iter().filter_map(Result::err).map(anyhow::Error::from).collect();
    let last = failed.pop();
    for error in &failed {
        events.emit(Event::Error { message: report::message(error), hint: report::hint(error) });
    }
    reporter.finish().await;
    last.map_or(Ok(Exit::Ok), Err)
}
