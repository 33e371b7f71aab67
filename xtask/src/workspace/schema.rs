//! What a CRD says of its objects, as a table that an object's tree is held against: the API server's strict
//! validation, told with places and nearest names. What a table cannot say (rules over several fields) is checked
//! on the typed object.

use super::names::Rule;

mod check;

pub use check::check;

/// What a value must be.
#[derive(Clone, Copy)]
pub enum Schema {
    /// A mapping with these fields.
    Object(&'static Object),
    /// A list.
    List(&'static List),
    /// A string.
    Text(&'static Text),
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// An integer, from least to most.
    Integer(i64, i64),
    /// One of these integers.
    Code(&'static [i64]),
    /// A port: a number, or a name.
    IntOrText,
    /// Strings by any name: labels.
    Texts,
    /// The metadata of any object.
    Metadata,
}

/// A mapping's fields; others are unknown.
pub struct Object {
    pub fields: &'static [Field],
    /// Must be there.
    pub required: &'static [&'static str],
    /// Exactly one of them must be there; empty: no such rule.
    pub one_of: &'static [&'static str],
}

/// A field of an [`Object`].
#[derive(Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    pub schema: Schema,
    /// Whether the CRD has a default for it: then `null` is as good as nothing, and otherwise of the wrong type.
    pub has_default: bool,
}

/// A list's items.
pub struct List {
    pub items: Schema,
    pub least: usize,
    pub most: usize,
    pub unique: Unique,
}

/// Which items of a list may not be the same (`x-kubernetes-list-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unique {
    /// No rule.
    No,
    /// No two items are the same.
    Items,
    /// No two items have the same `name`.
    Names,
}

/// A string's length, in characters, and form.
pub struct Text {
    pub least: usize,
    pub most: usize,
    pub rule: Option<&'static Rule>,
}

/// No limit on a length.
pub const ANY: usize = usize::MAX;

/// A field.
pub const fn field(name: &'static str, schema: Schema) -> Field {
    Field { name, schema, has_default: false }
}

/// A field that the CRD has a default for.
pub const fn defaulted(name: &'static str, schema: Schema) -> Field {
    Field { name, schema, has_default: true }
}

/// Fields of which none must be there.
pub const fn fields(fields: &'static [Field]) -> Object {
    Object { fields, required: &[], one_of: &[] }
}

/// A list of any length.
pub const fn list(items: Schema) -> List {
    List { items, least: 0, most: ANY, unique: Unique::No }
}

/// A list of at most so many items.
pub const fn list_of(most: usize, items: Schema) -> List {
    List { items, least: 0, most, unique: Unique::No }
}

/// Any string.
pub const ANY_TEXT: Schema = Schema::Text(&Text { least: 0, most: ANY, rule: None });

#[cfg(test)]
mod tests;
