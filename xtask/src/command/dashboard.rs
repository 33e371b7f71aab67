//! `dashboard`: where it is; opens it, or takes pictures of it.

use anyhow::Context as _;
use serde::Serialize;

use super::on;
use crate::args::{self, Output};
use crate::command::Checkout;
use crate::error::{Exit, Fault};
use crate::process;
use crate::report::line_out;
use crate::runtime::choose::Where;

mod screenshot;

/// What opens a page in the browser of a desktop.
const OPENER: &str = "xdg-open";

#[derive(Serialize)]
struct Told<'a> {
    url: &'a str,
}

/// Says where it is. Exit code 3 when nothing serves it.
pub async fn run(args: args::Dashboard) -> anyhow::Result<Exit> {
    let checkout = Checkout::open().await?;
    let status = super::running(&checkout).await?.status().await?;
    if on(&status) == Where::Kind {
        return Err(Fault::usage("there is no dashboard of a cluster yet").hint("--runtime local").into());
    }
    let url = status.dashboard.ok_or_else(|| Fault::environment("what is up serves no dashboard"))?;
    if let Some(directory) = &args.screenshot {
        for file in screenshot::take(&url, directory).await? {
            line_out(&file.display().to_string());
        }
        return Ok(Exit::Ok);
    }
    line_out(&match args.output {
        Output::Text => url.clone(),
        Output::Json => serde_json::to_string(&Told { url: &url })?,
    });
    if args.open {
        let opened = process::command(OPENER, [&url]).output().await;
        let opened = opened.map_err(|error| no_browser(&error.to_string(), &url))?;
        if !opened.status.success() {
            let why = String::from_utf8_lossy(&opened.stderr);
            return Err(no_browser(why.trim(), &url)).context("the page was not opened");
        }
    }
    Ok(Exit::Ok)
}

fn no_browser(why: &str, url: &str) -> Fault {
    Fault::environment(format!("{OPENER} opens nothing here: {why}")).hint(format!("open {url} yourself"))
}
