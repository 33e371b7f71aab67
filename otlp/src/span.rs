//! What a span says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::Context;

/// Something that took time on behalf of a request.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its trace and its own id.
    pub context: Context,
    /// What it is part of; none: it is the trace's first.
    pub parent: Option<u64>,
    /// Who it is of.
    pub resource: Arc<Resource>,
    /// `GET /foo/bar`, `demo.Baz/GetInfo`.
    pub name: String,
    /// Which side of the request it is.
    pub kind: Kind,
    /// When it began.
    pub start: SystemTime,
    /// Until its end.
    pub took: Duration,
    /// More, by the names of OpenTelemetry's semantic conventions.
    pub attributes: Vec<(&'static str, Value)>,
    /// It did not end well.
    pub failed: bool,
}

/// Which side of a request a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who was asked.
    Server,
    /// Who asks.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
}

/// Who spans are of: `service.name` and more, by the names of OpenTelemetry's semantic conventions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource(pub Vec<(&'static str, String)>);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}
