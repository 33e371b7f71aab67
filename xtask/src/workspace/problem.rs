//! What is wrong in a manifest: where, why, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use policy::nearest::{distance, suggestion};

use crate::error::Fault;

/// One mistake in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Relative to the workspace's root.
    pub file: PathBuf,
    /// From 1; 0 when the whole file or directory is meant.
    pub line: usize,
    /// From 1, in characters; 0 when the whole line is meant.
    pub column: usize,
    /// The cause, and after `; ` the remedy.
    pub message: String,
}

impl Problem {
    /// A mistake of a whole file or directory.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        for number in [self.line, self.column].into_iter().take_while(|&number| number > 0) {
            write!(f, "{number}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// Every mistake that was found, sorted by place, one a line; never empty as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `Err` with all of them, sorted and without repetitions, unless there are none.
    pub fn check(mut problems: Vec<Problem>) -> Result<(), Self> {
        problems.sort();
        problems.dedup();
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }

    /// One by one, by place.
    #[cfg(test)]
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Wrong files of the workspace: exit code 2, one line a problem.
impl From<Problems> for Fault {
    fn from(problems: Problems) -> Self {
        Self::usage(problems.to_string())
    }
}

/// The name that was most likely meant, if one is near: at most a third of the letters differ.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let near = known.into_iter().filter_map(|known| Some((distance(&lower, &known.to_lowercase())?, known)));
    near.min().map(|(_, known)| known)
}

/// `; did you mean "x"?`, or what is known, or that nothing is: the end of a message on an unknown name.
pub fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let told = suggestion(nearest(name, known.clone()), known);
    told.map(|told| format!("; {told}")).unwrap_or_default()
}
