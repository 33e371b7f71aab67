//! Which program is used: what was seen -> the answer. Pure.

use std::path::PathBuf;

use serde::Serialize;

use super::pins::Wanted;
use super::version::{Fit, fit};

/// A program that is there, and what it says of its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it is.
    pub path: PathBuf,
    /// Its version; an error says why it is not known.
    pub version: Result<String, String>,
}

/// The cache's file for what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cached {
    /// There is none.
    None,
    /// It has the pinned sum.
    Whole(PathBuf),
    /// It has another sum: this one.
    Wrong(PathBuf, String),
    /// It is there, and no sum is pinned to hold it against.
    NoSum(PathBuf),
}

/// All that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What was named on purpose; see [`super::Options::named`].
    pub named: Option<Seen>,
    /// The first of its name on `PATH`.
    pub on_path: Option<Seen>,
    /// The cache.
    pub cached: Cached,
}

/// Where a program comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// Named on purpose.
    Named,
    /// `PATH`.
    Path,
    /// The cache of fetched programs.
    Cache,
    /// Nowhere yet: it is to be fetched.
    Fetch,
    /// Nowhere, and it cannot be fetched.
    Nowhere,
}

/// Which program is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where it comes from.
    pub from: From,
    /// The program, when it is there.
    pub path: Option<PathBuf>,
    /// Its version, where it is known.
    pub version: Option<String>,
    /// Why not something that is there, or why nothing can be fetched.
    pub notes: Vec<String>,
}

impl Answer {
    /// The notes, to be added to a sentence: each after `; `.
    pub fn notes(&self) -> String {
        self.notes.iter().flat_map(|note| ["; ", note]).collect()
    }
}

/// What was named on purpose, whatever its version; else what is on `PATH` if it fits; else the cache's if it
/// is what is pinned; else it is to be fetched, if there is something to hold it against.
pub fn resolve(wanted: &Wanted, observed: &Observed) -> Answer {
    let mut notes = Vec::new();
    if let Some(Seen { path, version }) = &observed.named {
        let version = version.clone().inspect_err(|why| notes.push(why.clone())).ok();
        return Answer { from: From::Named, path: Some(path.clone()), version, notes };
    }
    if let Some(seen) = &observed.on_path {
        match judge(wanted, seen) {
            Ok(version) => {
                return Answer {
                    from: From::Path,
                    path: Some(seen.path.clone()),
                    version: Some(version),
                    notes,
                };
            }
            Err(why) => notes.push(why),
        }
    }
    match &observed.cached {
        Cached::Whole(path) => {
            let version = Some(wanted.version.clone());
            return Answer { from: From::Cache, path: Some(path.clone()), version, notes };
        }
        Cached::Wrong(path, sum) => notes.push(format!(
            "{} is not {wanted}: its sha256 is {sum}, pinned is {}",
            path.display(),
            wanted.sha256.as_deref().unwrap_or("none")
        )),
        Cached::NoSum(path) => notes.push(format!("{} is not used: no sum is pinned", path.display())),
        Cached::None => {}
    }
    let from = match (&wanted.url, &wanted.sha256) {
        (Some(_), Some(_)) => From::Fetch,
        (Some(_), None) => {
            notes.push(format!("no sha256 of {wanted} for {} is pinned", wanted.platform));
            From::Nowhere
        }
        (None, _) => {
            notes.push(format!("{wanted} is not pinned for {}", wanted.platform));
            From::Nowhere
        }
    };
    Answer { from, path: None, version: None, notes }
}

/// The version of a program that fits, or why it does not.
fn judge(wanted: &Wanted, seen: &Seen) -> Result<String, String> {
    let path = seen.path.display();
    let version = seen.version.as_ref().map_err(|why| format!("{path} is not used: {why}"))?;
    match fit(wanted, version) {
        Fit::Fits => Ok(version.clone()),
        Fit::Old => Err(format!("{path} is too old: {version}")),
        Fit::Unknown => Err(format!("{path} is not used: its version `{version}` cannot be compared")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pins::{Platform, Tool};
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            tool: Tool::Kind,
            version: "0.32.0".to_owned(),
            series: None,
            platform: Platform::here(),
            url: Some("https://example.com/kind".to_owned()),
            sha256: Some("ab".to_owned()),
        }
    }

    fn seen(version: Result<&str, &str>) -> Seen {
        let version = version.map(str::to_owned).map_err(str::to_owned);
        Seen { path: "/usr/bin/kind".into(), version }
    }

    fn nothing() -> Observed {
        Observed { named: None, on_path: None, cached: Cached::None }
    }

    fn told(observed: &Observed) -> String {
        let Answer { from, path, version, notes } = resolve(&wanted(), observed);
        format!("{from:?} {path:?} {version:?} {notes:?}")
    }

    #[test]
    fn what_fits_on_path_comes_before_the_cache_and_the_cache_before_fetching() {
        let cached = Cached::Whole("/cache/kind-0.32.0".into());
        let all = [
            Observed { on_path: Some(seen(Ok("0.32.0"))), cached: cached.clone(), ..nothing() },
            Observed { on_path: Some(seen(Ok("0.20.0"))), cached, ..nothing() },
            Observed { on_path: Some(seen(Err("it ended with code 1"))), ..nothing() },
            Observed { cached: Cached::Wrong("/cache/kind-0.32.0".into(), "cd".into()), ..nothing() },
            nothing(),
        ];
        insta::assert_snapshot!(all.each_ref().map(told).join("\n"), @r#"
        Path Some("/usr/bin/kind") Some("0.32.0") []
        Cache Some("/cache/kind-0.32.0") Some("0.32.0") ["/usr/bin/kind is too old: 0.20.0"]
        Fetch None None ["/usr/bin/kind is not used: it ended with code 1"]
        Fetch None None ["/cache/kind-0.32.0 is not kind 0.32.0: its sha256 is cd, pinned is ab"]
        Fetch None None []
        "#);
    }

    #[test]
    fn what_is_named_is_used_whatever_it_says() {
        let observed =
            Observed { named: Some(seen(Ok("0.1.0"))), on_path: Some(seen(Ok("0.32.0"))), ..nothing() };
        let answer = resolve(&wanted(), &observed);
        assert_eq!((answer.from, answer.version.as_deref()), (From::Named, Some("0.1.0")));
    }

    #[test]
    fn without_a_sum_nothing_is_fetched_nor_taken_from_the_cache() {
        let wanted = Wanted { sha256: None, ..wanted() };
        let observed = Observed { cached: Cached::NoSum("/cache/kind-0.32.0".into()), ..nothing() };
        let answer = resolve(&wanted, &observed);
        assert_eq!((answer.from, answer.path), (From::Nowhere, None));
        assert_eq!(answer.notes.len(), 2, "{:?}", answer.notes);
        let nowhere = resolve(&Wanted { url: None, ..wanted }, &nothing());
        assert!(nowhere.notes[0].contains("is not pinned for"), "{:?}", nowhere.notes);
    }
}
