//! One object as it was written: where each of its fields is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::Problem;
use super::scalar::Scalar;
use super::yaml::{At, Kind, Node};

/// A field within an object: keys and indices from its root on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spot(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Spot {
    /// The object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// The field of this name in it.
    #[must_use]
    pub fn key(&self, name: &str) -> Self {
        self.with(Step::Key(name.to_owned()))
    }

    /// The fields of these names, one in the other.
    #[must_use]
    pub fn keys(&self, names: &[&str]) -> Self {
        names.iter().fold(self.clone(), |spot, name| spot.key(name))
    }

    /// The item of this index (from 0) in it.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

/// As in messages, with what it begins with before: `.spec.containers[0]`.
impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| match step {
            Step::Key(key) => write!(f, ".{key}"),
            Step::Index(index) => write!(f, "[{index}]"),
        })
    }
}

/// What an object says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type<'a> {
    /// `apiVersion`.
    pub version: &'a str,
    /// `kind`.
    pub kind: &'a str,
}

/// One object's tree and its file.
#[derive(Clone, Debug)]
pub struct Document {
    file: PathBuf,
    root: Arc<Node>,
}

impl Document {
    /// `file` is relative to the workspace's root.
    pub fn new(file: &Path, root: Arc<Node>) -> Self {
        Self { file: file.to_owned(), root }
    }

    /// The whole object.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// What the object says that it is. Errors when it does not say, or is no object.
    pub fn type_of(&self) -> Result<Type<'_>, Problem> {
        let Kind::Mapping(mapping) = &self.root.kind else {
            let message = "not an object: a manifest has apiVersion, kind, metadata";
            return Err(self.problem(&Spot::root(), message));
        };
        let text = |field: &str| match mapping.get(field).map(|entry| &entry.value.kind) {
            Some(Kind::Scalar(Scalar::Text(text))) => Ok(text.as_str()),
            Some(Kind::Scalar(Scalar::Null)) | None => {
                Err(self.problem(&Spot::root(), format!("missing field \"{field}\"; add it")))
            }
            Some(_) => {
                let message = format!("wrong type in {field}: expected a string");
                Err(self.problem(&Spot::root().key(field), message))
            }
        };
        let kind = text("kind")?;
        Ok(Type { version: text("apiVersion")?, kind })
    }

    /// Line and column, from 1, of the key of a field or of an item; of what is not there, those of
    /// the innermost thing around it that is.
    pub fn locate(&self, spot: &Spot) -> (usize, usize) {
        let (mut node, mut at) = (&self.root, self.root.at);
        for step in &spot.0 {
            match (step, &node.kind) {
                (Step::Key(key), Kind::Mapping(mapping)) => {
                    let Some(entry) = mapping.get(key) else { break };
                    // A field that is one word is best shown where the word is.
                    at = if matches!(entry.value.kind, Kind::Scalar(_)) { entry.value.at } else { entry.at };
                    node = &entry.value;
                }
                (Step::Index(index), Kind::Sequence(items)) => {
                    let Some(item) = items.get(*index) else { break };
                    (node, at) = (item, item.at);
                }
                _ => break,
            }
        }
        (at.line, at.column)
    }

    /// What is at a field; none where nothing is written.
    pub fn find(&self, spot: &Spot) -> Option<&Node> {
        spot.0.iter().try_fold(&*self.root, |node, step| match (step, &node.kind) {
            (Step::Key(key), Kind::Mapping(mapping)) => mapping.get(key).map(|entry| &*entry.value),
            (Step::Index(index), Kind::Sequence(items)) => items.get(*index).map(|item| &**item),
            _ => None,
        })
    }

    /// A mistake at a field.
    pub fn problem(&self, spot: &Spot, message: impl Into<String>) -> Problem {
        let (line, column) = self.locate(spot);
        self.problem_at(At { line, column }, message)
    }

    /// A mistake at a place of the file.
    pub fn problem_at(&self, at: At, message: impl Into<String>) -> Problem {
        Problem { file: self.file.clone(), line: at.line, column: at.column, message: message.into() }
    }
}
