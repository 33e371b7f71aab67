//! Pictures of the dashboard, as the README has them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::dashboard::browser::{Browser, CHROMIUM, Size, command_line, find};
use crate::error::Fault;
use crate::process;

/// A picture.
struct Shot {
    name: &'static str,
    view: &'static str,
    size: Size,
}

const WIDE: Size = Size { width: 1280, height: 920, scale: 1.0, dark: false };
const NARROW: Size = Size { width: 390, height: 844, scale: 1.5, dark: true };

/// How long the browser may take to end.
const END: Duration = Duration::from_secs(5);

/// What the README shows.
const SHOTS: [Shot; 2] = [
    Shot { name: "dashboard.png", view: "overview", size: WIDE },
    Shot { name: "dashboard-phone.png", view: "overview", size: NARROW },
];

/// There are calls on the page, or it says why there are none.
const READY: &str = "document.getElementById('state-text').textContent === 'live' && (performance.now() > 12000 \
    && document.querySelectorAll('#tiles canvas:not([hidden])').length > 0 \
    || !document.getElementById('blind').hidden)";

/// Takes them into a directory; the files that were written.
pub async fn take(url: &str, directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let chromium = find().ok_or_else(|| {
        Fault::environment("there is no Chromium to look at the page with")
            .hint(format!("install chromium, or name it in {CHROMIUM}"))
    })?;
    tokio::fs::create_dir_all(directory).await.with_context(|| directory.display().to_string())?;
    let own = std::env::temp_dir().join(format!("xtask-browser-{}", std::process::id()));
    std::fs::create_dir(&own).with_context(|| own.display().to_string())?;
    let browser = Browser::open(&own)?;
    // Killed when this is done with it.
    let child = process::command("/bin/sh", command_line(&chromium, &own)).spawn();
    let (url, to) = (url.to_owned(), directory.to_owned());
    let taken = match child {
        Ok(mut child) => {
            let taken = tokio::task::spawn_blocking(move || shoot(browser, &url, &to)).await?;
            // It writes until it ends, which it was asked to.
            if tokio::time::timeout(END, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
            taken
        }
        Err(error) => Err(error.into()),
    };
    let _ = std::fs::remove_dir_all(&own);
    taken
}

fn shoot(mut browser: Browser, url: &str, directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    browser.page(WIDE).context("the browser does not start")?;
    browser.go(url)?;
    browser.until(READY)?;
    let mut files = Vec::new();
    for Shot { name, view, size } in SHOTS {
        browser.resize(size)?;
        browser.eval(&format!("location.hash = '{view}'"))?;
        // What was drawn for the window before is drawn anew within two frames.
        browser.eval("new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(then, 700))))")?;
        let file = directory.join(name);
        std::fs::write(&file, browser.screenshot()?).with_context(|| file.display().to_string())?;
        files.push(file);
    }
    browser.close()?;
    Ok(files)
}
