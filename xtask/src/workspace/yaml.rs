//! YAML as a tree that knows where everything was written, bounded in depth and size.
//!
//! Built on the parser of serde-saphyr, in place of its deserializer, because a strict check that
//! reports every mistake (and later checks that point to a line) needs the places of keys and
//! values after the syntax is gone.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::problem::Problem;
use super::scalar::Scalar;

/// Deeper than any Kubernetes object; bounds every recursion over a tree.
const MAX_DEPTH: usize = 64;

/// Nodes of a file with every alias written out: a bound on alias bombs.
const MAX_NODES: usize = 200_000;

/// A place in a file: line and column from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    pub line: usize,
    pub column: usize,
}

/// A node of a document; an alias shares the node of its anchor.
#[derive(Debug)]
pub struct Node {
    /// Different for every node of a file.
    pub id: usize,
    pub at: At,
    pub kind: Kind,
    /// Nodes from here on, aliases written out.
    weight: usize,
}

#[derive(Debug)]
pub enum Kind {
    Scalar(Scalar),
    Sequence(Vec<Arc<Node>>),
    Mapping(Mapping),
}

/// The entries as written, each key once: the first.
#[derive(Debug, Default)]
pub struct Mapping {
    pub entries: Vec<Entry>,
    /// Keys given again: the key, where, and where it was first.
    pub duplicates: Vec<(String, At, At)>,
    /// Where each key is in the entries.
    index: HashMap<String, usize>,
}

#[derive(Debug)]
pub struct Entry {
    pub key: String,
    /// Of the key.
    pub at: At,
    pub value: Arc<Node>,
}

impl Mapping {
    /// The entry with this key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.index.get(key).and_then(|&index| self.entries.get(index))
    }

    fn push(&mut self, entry: Entry) {
        self.index.insert(entry.key.clone(), self.entries.len());
        self.entries.push(entry);
    }
}

/// The roots of the documents that are not empty, and what is wrong. With broken syntax, those before it.
pub fn documents(file: &Path, text: &str) -> (Vec<Arc<Node>>, Vec<Problem>) {
    let mut composer = Composer::default();
    for event in Parser::new_from_str(text) {
        let outcome = match event {
            Ok((event, span)) => composer.take(event, span),
            Err(error) => {
                // The parser has a limit of its own, which is no less than ours.
                let message = match error.info().as_str() {
                    "recursion limit exceeded" => too_deep(),
                    info => format!("broken YAML: {info}"),
                };
                Err((at(error.marker().line(), error.marker().col()), message))
            }
        };
        if let Err((at, message)) = outcome {
            composer.problems.push((at, message));
            break;
        }
    }
    let problem = |(at, message): (At, String)| Problem {
        file: file.to_owned(),
        line: at.line,
        column: at.column,
        message,
    };
    (composer.roots, composer.problems.into_iter().map(problem).collect())
}

fn at(line: usize, column: usize) -> At {
    At { line: line.max(1), column: column + 1 }
}

type Failure = (At, String);

/// Turns the parser's events into nodes; its own stack, so that no input can exhaust the thread's.
#[derive(Default)]
struct Composer {
    roots: Vec<Arc<Node>>,
    open: Vec<Open>,
    anchors: HashMap<usize, Arc<Node>>,
    nodes: usize,
    expanded: usize,
    problems: Vec<Failure>,
}

/// A collection whose end is yet to come.
struct Open {
    at: At,
    anchor: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Arc<Node>>),
    /// With the key whose value is yet to come, and mappings to merge (`<<`).
    Mapping(Mapping, Option<(String, At)>, Vec<Arc<Node>>),
}

/// The key of YAML 1.1's merge, which kubectl's parser supports.
const MERGE: &str = "<<";

impl Composer {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Failure> {
        let at = at(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let scalar =
                    scalar(text.into_owned(), style, tag.as_deref()).map_err(|message| (at, message))?;
                self.close(at, anchor, Kind::Scalar(scalar))
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(at, anchor, tag.as_deref(), Content::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(at, anchor, tag.as_deref(), Content::Mapping(Mapping::default(), None, Vec::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { at, anchor, content: Content::Sequence(items) }) => {
                    self.close(at, anchor, Kind::Sequence(items))
                }
                Some(Open { at, anchor, content: Content::Mapping(mapping, _, merges) }) => {
                    let mapping = merge(mapping, &merges)?;
                    self.close(at, anchor, Kind::Mapping(mapping))
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => self.place(at, Arc::clone(node)),
                None => {
                    Err((at, "an alias inside its own anchor has no end; write the value out".to_owned()))
                }
            },
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, at: At, anchor: usize, tag: Option<&Tag>, content: Content) -> Result<(), Failure> {
        if self.open.len() == MAX_DEPTH {
            return Err((at, too_deep()));
        }
        if let Some(tag) = tag.filter(|tag| !matches!(tag.core_suffix(), Some("map" | "seq"))) {
            return Err((at, unknown_tag(tag)));
        }
        self.open.push(Open { at, anchor, content });
        Ok(())
    }

    fn close(&mut self, at: At, anchor: usize, kind: Kind) -> Result<(), Failure> {
        let weight = match &kind {
            Kind::Scalar(_) => 0,
            Kind::Sequence(items) => items.iter().fold(0, |sum: usize, item| sum.saturating_add(item.weight)),
            Kind::Mapping(mapping) => {
                mapping.entries.iter().fold(0, |sum: usize, entry| sum.saturating_add(entry.value.weight))
            }
        };
        self.nodes += 1;
        let node = Arc::new(Node { id: self.nodes, at, kind, weight: weight.saturating_add(1) });
        if anchor > 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        self.place(at, node)
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, at: At, node: Arc<Node>) -> Result<(), Failure> {
        self.expanded = self.expanded.saturating_add(match node.kind {
            // Its children were counted when they were placed, unless this is an alias.
            Kind::Sequence(_) | Kind::Mapping(_) if node.at == at => 1,
            _ => node.weight,
        });
        if self.expanded > MAX_NODES {
            return Err((at, format!("more than {MAX_NODES} values with its aliases written out")));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => {
                if !matches!(&node.kind, Kind::Scalar(Scalar::Null)) {
                    self.roots.push(node);
                }
            }
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping(mapping, waiting, merges)) => match waiting.take() {
                None => match &node.kind {
                    Kind::Scalar(scalar) => *waiting = Some((scalar.key().to_owned(), at)),
                    _ => return Err((at, "a key must be a word, not a list or a mapping".to_owned())),
                },
                Some((key, _)) if key == MERGE => merges.push(node),
                Some((key, key_at)) => {
                    if let Some(first) = mapping.get(&key).map(|entry| entry.at) {
                        mapping.duplicates.push((key, key_at, first));
                    } else {
                        mapping.push(Entry { key, at: key_at, value: node });
                    }
                }
            },
        }
        Ok(())
    }
}

/// Adds the entries of merged mappings whose keys are not given.
fn merge(mut mapping: Mapping, merges: &[Arc<Node>]) -> Result<Mapping, Failure> {
    for node in merges {
        let sources = match &node.kind {
            Kind::Sequence(items) => items.iter().collect(),
            _ => vec![node],
        };
        for source in sources {
            let Kind::Mapping(from) = &source.kind else {
                return Err((source.at, format!("`{MERGE}` takes a mapping or a list of mappings")));
            };
            for entry in &from.entries {
                if mapping.get(&entry.key).is_none() {
                    let (key, value) = (entry.key.clone(), Arc::clone(&entry.value));
                    mapping.push(Entry { key, at: entry.at, value });
                }
            }
        }
    }
    Ok(mapping)
}

fn scalar(text: String, style: ScalarStyle, tag: Option<&Tag>) -> Result<Scalar, String> {
    let Some(tag) = tag else {
        return Ok(if style == ScalarStyle::Plain { Scalar::plain(text) } else { Scalar::Text(text) });
    };
    match tag.core_suffix() {
        Some("str") => Ok(Scalar::Text(text)),
        Some("int" | "float" | "bool" | "null") => Ok(Scalar::plain(text)),
        _ => Err(unknown_tag(tag)),
    }
}

fn too_deep() -> String {
    format!("nested more than {MAX_DEPTH} deep: this is no Kubernetes object")
}

fn unknown_tag(tag: &Tag) -> String {
    format!("the YAML tag `{}` means nothing in a manifest; remove it", tag.original())
}
