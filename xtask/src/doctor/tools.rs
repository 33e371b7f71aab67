//! The pinned programs, which the kind runtime will need.

use std::path::Path;

use super::Finding;
use crate::report;
use crate::tools::pins::{Platform, Tool, Versions, Wanted};
use crate::tools::resolve::Answer;
use crate::tools::{self, Options};

/// What was seen.
#[derive(Clone, Debug)]
pub enum Facts {
    /// What is wanted, and what there is of it.
    Seen(Vec<(Wanted, Answer)>),
    /// What is wanted cannot be known: why.
    Unknown(String),
}

impl Facts {
    /// Looks, and fetches nothing.
    pub async fn gather(root: &Path) -> Self {
        match Self::look(root).await {
            Ok(seen) => Self::Seen(seen),
            Err(error) => Self::Unknown(report::message(&error)),
        }
    }

    async fn look(root: &Path) -> anyhow::Result<Vec<(Wanted, Answer)>> {
        let (versions, options) = (Versions::read(root)?, Options::from_env()?);
        let mut seen = Vec::new();
        for tool in Tool::ALL {
            let wanted = versions.wanted(tool, Platform::here());
            let answer = tools::look(&wanted, &options).await;
            seen.push((wanted, answer));
        }
        Ok(seen)
    }

    /// Judges: what is not there is fetched when it is needed.
    pub fn judge(&self) -> Vec<Finding> {
        match self {
            Self::Seen(seen) => seen.iter().map(|(wanted, answer)| judge(wanted, answer)).collect(),
            Self::Unknown(why) => vec![Finding::warning("tools", why, "cargo xtask tools says more")],
        }
    }
}

fn judge(wanted: &Wanted, answer: &Answer) -> Finding {
    let name = wanted.tool.name();
    if let Some(path) = &answer.path {
        let version = answer.version.as_deref().unwrap_or("of unknown version");
        return Finding::ok(name, format!("{version} ({})", path.display()));
    }
    let notes = answer.notes();
    if wanted.url.is_some() && wanted.sha256.is_some() {
        return Finding::ok(
            name,
            format!("{} is fetched when the kind runtime needs it{notes}", wanted.version),
        );
    }
    let remedy = format!("put {wanted} or newer on PATH before using the kind runtime");
    Finding::warning(name, format!("none{notes}"), remedy)
}
