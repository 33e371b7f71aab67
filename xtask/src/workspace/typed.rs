//! A tree as a typed Kubernetes object, as strictly as the API server: every unknown field, wrong
//! type, repeated key and missing field is told, with its place.
//!
//! A [`serde::Deserializer`] over [`Node`]s. k8s-openapi's types name their fields when they ask for
//! a struct, and the check is made there. What cannot be read is told, set aside, and the object is
//! read again without it, so that one mistake hides no other.
//!
//! Longer than other files: the trait has a method for each type that can be asked for.
//!
//! Long because a `Deserializer` is one `impl` with a method a type, and the rest only serves it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor, value};
use serde::forward_to_deserialize_any;

use super::problem::{nearest, suggest};
use super::required::required;
use super::scalar::Scalar;
use super::yaml::{At, Entry, Kind, Mapping, Node};

/// Mistakes that are told of one object: more than anyone reads at once, and a bound on reading it again.
pub const MAX_MISTAKES: usize = 64;

/// The object, or as many mistakes as could be found, in no order. `name` is what paths begin with.
pub fn read<T: DeserializeOwned>(name: &str, root: &Node) -> Result<T, Vec<(At, String)>> {
    let reader = Reader::default();
    let trail = Trail::Root(name);
    duplicates(root, &trail, &reader);
    read_with(reader, &trail, root)
}

/// A part of an object as [`read`], without a look for repeated keys.
pub fn read_part<T: DeserializeOwned>(trail: &Trail<'_>, node: &Node) -> Result<T, Vec<(At, String)>> {
    read_with(Reader::default(), trail, node)
}

/// An object that was held against its schema: fields that the type does not have are passed over.
pub fn read_checked<T: DeserializeOwned>(name: &str, root: &Node) -> Result<T, Vec<(At, String)>> {
    read_with(Reader { checked: true, ..Reader::default() }, &Trail::Root(name), root)
}

/// The repeated keys of an object.
pub fn duplicates_of(name: &str, root: &Node) -> BTreeSet<(At, String)> {
    let reader = Reader::default();
    duplicates(root, &Trail::Root(name), &reader);
    reader.mistakes.into_inner()
}

fn read_with<T: DeserializeOwned>(
    reader: Reader,
    trail: &Trail<'_>,
    root: &Node,
) -> Result<T, Vec<(At, String)>> {
    let value = Value { node: root, trail, reader: &reader };
    let mut object = None;
    for _ in 0..MAX_MISTAKES {
        let aside = reader.aside.borrow().len();
        match T::deserialize(value) {
            Ok(read) => {
                object = Some(read);
                break;
            }
            Err(failure) => {
                let Told = failure.told(value);
                // Nothing more to set aside: the rest cannot be read.
                if reader.aside.borrow().len() == aside {
                    break;
                }
            }
        }
    }
    let mistakes = reader.mistakes.into_inner();
    match object {
        Some(object) if mistakes.is_empty() => Ok(object),
        _ => Err(mistakes.into_iter().collect()),
    }
}

/// What is found while reading.
#[derive(Default)]
struct Reader {
    mistakes: RefCell<BTreeSet<(At, String)>>,
    /// The ids of nodes that were told of and are skipped from then on.
    aside: RefCell<HashSet<usize>>,
    /// Unknown and missing fields are no matter.
    checked: bool,
}

impl Reader {
    fn tell(&self, at: At, message: String) {
        if !self.is_full() {
            self.mistakes.borrow_mut().insert((at, message));
        }
    }

    fn is_full(&self) -> bool {
        self.mistakes.borrow().len() >= MAX_MISTAKES
    }
}

/// Where in the object a value is, for messages.
#[derive(Clone, Copy)]
pub enum Trail<'a> {
    Root(&'a str),
    Key(&'a Trail<'a>, &'a str),
    Index(&'a Trail<'a>, usize),
}

impl fmt::Display for Trail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => f.write_str(name),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

fn duplicates(node: &Node, trail: &Trail<'_>, reader: &Reader) {
    match &node.kind {
        Kind::Scalar(_) => {}
        Kind::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                duplicates(item, &Trail::Index(trail, index), reader);
            }
        }
        Kind::Mapping(mapping) => {
            for (key, at, first) in &mapping.duplicates {
                let line = first.line;
                reader.tell(
                    *at,
                    format!("duplicate key \"{key}\" in {trail}, first on line {line}; remove one"),
                );
            }
            for entry in &mapping.entries {
                duplicates(&entry.value, &Trail::Key(trail, &entry.key), reader);
            }
        }
    }
}

/// A mistake was recorded, and its node set aside.
#[derive(Debug)]
struct Told;

#[derive(Debug)]
enum Failure {
    Told,
    /// From a type's own visitor, which does not know where it is.
    Untold(String),
}

impl Failure {
    /// Records the mistake at this value unless it has been recorded deeper.
    fn told(self, value: Value<'_>) -> Told {
        match self {
            Self::Told => Told,
            Self::Untold(message) => {
                let message = message
                    .replace("IntOrString", "an integer or a string")
                    .replace("expected Quantity", "expected a quantity such as 500m or 64Mi");
                value.tell(format!("wrong value in {}: {message}", value.trail))
            }
        }
    }
}

impl From<Told> for Failure {
    fn from(_: Told) -> Self {
        Self::Told
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Told => "told",
            Self::Untold(message) => message,
        })
    }
}

impl std::error::Error for Failure {}

impl serde::de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Untold(message.to_string())
    }
}

/// A node on its way into a type.
#[derive(Clone, Copy)]
struct Value<'a> {
    node: &'a Node,
    trail: &'a Trail<'a>,
    reader: &'a Reader,
}

impl<'a> Value<'a> {
    fn tell(self, message: String) -> Told {
        self.reader.tell(self.node.at, message);
        self.reader.aside.borrow_mut().insert(self.node.id);
        Told
    }

    fn wrong(self, expected: &str, remedy: &str) -> Failure {
        let found = match &self.node.kind {
            Kind::Scalar(scalar) => scalar.to_string(),
            Kind::Sequence(_) => "a list".to_owned(),
            Kind::Mapping(_) => "a mapping".to_owned(),
        };
        self.tell(format!("wrong type in {}: expected {expected}, found {found}{remedy}", self.trail)).into()
    }

    fn mapping(self) -> Result<&'a Mapping, Failure> {
        match &self.node.kind {
            Kind::Mapping(mapping) => Ok(mapping),
            _ => Err(self.wrong("a mapping", "")),
        }
    }

    fn text(self) -> Result<&'a str, Failure> {
        match &self.node.kind {
            Kind::Scalar(Scalar::Text(text)) => Ok(text),
            Kind::Scalar(Scalar::Null) => Err(self.wrong("a string", "; write \"\" if it is to be empty")),
            Kind::Scalar(scalar) => {
                Err(self.wrong("a string", &format!("; put it in quotes: \"{}\"", scalar.key())))
            }
            _ => Err(self.wrong("a string", "")),
        }
    }

    fn integer(self) -> Result<i64, Failure> {
        match &self.node.kind {
            Kind::Scalar(Scalar::Integer(number, _)) => Ok(*number),
            Kind::Scalar(scalar) if self.reader.checked && scalar.whole().is_some() => {
                Ok(scalar.whole().unwrap_or_default())
            }
            Kind::Scalar(Scalar::Text(text)) if text.parse::<i64>().is_ok() => {
                Err(self.wrong("an integer", "; remove the quotes"))
            }
            _ => Err(self.wrong("an integer", "")),
        }
    }

    fn is_aside(self, node: &Node) -> bool {
        self.reader.aside.borrow().contains(&node.id)
    }

    fn entries(self, mapping: &'a Mapping, fields: Option<&'static [&'static str]>) -> Entries<'a> {
        Entries { of: self, rest: mapping.entries.iter(), fields, current: None }
    }
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.kind {
            Kind::Scalar(Scalar::Null) => visitor.visit_unit(),
            Kind::Scalar(Scalar::Bool(value, _)) => visitor.visit_bool(*value),
            Kind::Scalar(Scalar::Integer(number, _)) => visitor.visit_i64(*number),
            Kind::Scalar(scalar @ Scalar::Float(text)) => match scalar.whole() {
                Some(number) if self.reader.checked => visitor.visit_i64(number),
                _ => visitor.visit_f64(text.parse().unwrap_or(f64::NAN)),
            },
            Kind::Scalar(Scalar::Text(text)) => visitor.visit_str(text),
            Kind::Sequence(_) => self.deserialize_seq(visitor),
            Kind::Mapping(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.kind {
            Kind::Scalar(Scalar::Bool(value, _)) => visitor.visit_bool(*value),
            Kind::Scalar(Scalar::Text(text)) if matches!(text.as_str(), "true" | "false") => {
                Err(self.wrong("a boolean", "; remove the quotes"))
            }
            _ => Err(self.wrong("a boolean", "")),
        }
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match i32::try_from(self.integer()?) {
            Ok(number) => visitor.visit_i32(number),
            Err(_) => Err(self.wrong("an integer of 32 bits", "")),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_i64(self.integer()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.kind {
            Kind::Scalar(Scalar::Integer(_, text) | Scalar::Float(text)) => {
                visitor.visit_f64(text.parse().map_err(|_| self.wrong("a number", ""))?)
            }
            _ => Err(self.wrong("a number", "")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.kind {
            Kind::Scalar(Scalar::Null) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match &self.node.kind {
            // A Quantity may be written as a number.
            Kind::Scalar(Scalar::Integer(_, text) | Scalar::Float(text)) if name == "Quantity" => {
                visitor.visit_newtype_struct(value::StrDeserializer::new(text))
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let Kind::Sequence(items) = &self.node.kind else { return Err(self.wrong("a list", "")) };
        visitor.visit_seq(Items { of: self, rest: items.iter().enumerate() })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_map(self.entries(self.mapping()?, None))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let mapping = self.mapping()?;
        if self.reader.checked {
            return visitor.visit_map(self.entries(mapping, Some(fields)));
        }
        let trail = self.trail;
        // A required field that is there with a slip of the pen is not missing as well.
        let mut meant = Vec::new();
        for Entry { key, at, .. } in &mapping.entries {
            if !fields.contains(&key.as_str()) && !self.reader.is_full() {
                let remedy = suggest(key, fields.iter().copied());
                meant.extend(nearest(key, fields.iter().copied()));
                self.reader.tell(*at, format!("unknown field \"{key}\" in {trail}{remedy}"));
            }
        }
        for field in required(name) {
            let value = mapping.get(field).map(|entry| &entry.value.kind);
            if matches!(value, None | Some(Kind::Scalar(Scalar::Null))) && !meant.contains(field) {
                self.reader.tell(self.node.at, format!("missing field \"{field}\" in {trail}; add it"));
            }
        }
        visitor.visit_map(self.entries(mapping, Some(fields)))
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 char bytes byte_buf unit unit_struct
        tuple tuple_struct enum identifier ignored_any
    }
}

struct Items<'a> {
    of: Value<'a>,
    rest: std::iter::Enumerate<std::slice::Iter<'a, std::sync::Arc<Node>>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let of = self.of;
        let Some((index, node)) = self.rest.find(|(_, node)| !of.is_aside(node)) else { return Ok(None) };
        let trail = Trail::Index(of.trail, index);
        let value = Value { node, trail: &trail, reader: of.reader };
        seed.deserialize(value).map(Some).map_err(|failure| failure.told(value).into())
    }
}

struct Entries<'a> {
    of: Value<'a>,
    rest: std::slice::Iter<'a, Entry>,
    /// Others are skipped: they have been told of.
    fields: Option<&'static [&'static str]>,
    current: Option<&'a Entry>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let (of, fields) = (self.of, self.fields);
        self.current = self.rest.find(|entry| {
            !of.is_aside(&entry.value) && fields.is_none_or(|fields| fields.contains(&entry.key.as_str()))
        });
        match self.current {
            Some(entry) => seed.deserialize(value::StrDeserializer::new(&entry.key)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        let entry = self.current.take().ok_or_else(|| Failure::Untold("a value without a key".to_owned()))?;
        let trail = Trail::Key(self.of.trail, &entry.key);
        let value = Value { node: &entry.value, trail: &trail, reader: self.of.reader };
        seed.deserialize(value).map_err(|failure| failure.told(value).into())
    }
}
