//! Where objects were read, and where their fields are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::document::{Document, Spot};
use super::problem::Problem;

/// Where an object was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Relative to the workspace's root.
    pub file: PathBuf,
    /// Where the object begins, from 1.
    pub line: usize,
}

/// An object and where it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Sourced<T> {
    pub object: T,
    pub source: Source,
}

/// What objects were read from, to find the line of a field.
#[derive(Clone, Debug, Default)]
pub struct Documents(BTreeMap<Source, Document>);

impl Documents {
    /// Keeps what an object was read from.
    pub fn keep(&mut self, source: Source, document: Document) {
        self.0.insert(source, document);
    }

    /// Where a field of an object is written: line and column, from 1. Of a field that is not
    /// there, the place of the innermost thing around it that is.
    pub fn locate(&self, source: &Source, spot: &Spot) -> (usize, usize) {
        self.0.get(source).map_or((source.line, 0), |document| document.locate(spot))
    }

    /// A mistake at a field of an object.
    pub fn problem(&self, source: &Source, spot: &Spot, message: impl Into<String>) -> Problem {
        let (line, column) = self.locate(source, spot);
        Problem { file: source.file.clone(), line, column, message: message.into() }
    }
}
