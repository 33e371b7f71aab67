//! Holds a tree against a table.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Field, List, Object, Schema, Text, Unique};
use crate::workspace::problem::{nearest, suggest};
use crate::workspace::scalar::Scalar;
use crate::workspace::typed::{self, MAX_MISTAKES, Trail};
use crate::workspace::yaml::{At, Kind, Mapping, Node};

/// Every mistake of an object, at most as many as anyone reads at once. `name` is what paths begin with.
pub fn check(name: &str, root: &Node, schema: &'static Object) -> Vec<(At, String)> {
    let mut check = Check { mistakes: Vec::new() };
    check.mistakes.extend(typed::duplicates_of(name, root));
    check.object(root, &Trail::Root(name), schema);
    check.mistakes.truncate(MAX_MISTAKES);
    check.mistakes
}

struct Check {
    mistakes: Vec<(At, String)>,
}

impl Check {
    fn tell(&mut self, at: At, message: String) {
        if !self.is_full() {
            self.mistakes.push((at, message));
        }
    }

    fn is_full(&self) -> bool {
        self.mistakes.len() >= MAX_MISTAKES
    }

    fn wrong(&mut self, node: &Node, trail: &Trail<'_>, expected: &str, remedy: &str) {
        let found = match &node.kind {
            Kind::Scalar(scalar) => scalar.to_string(),
            Kind::Sequence(_) => "a list".to_owned(),
            Kind::Mapping(_) => "a mapping".to_owned(),
        };
        self.tell(node.at, format!("wrong type in {trail}: expected {expected}, found {found}{remedy}"));
    }

    fn value(&mut self, node: &Node, trail: &Trail<'_>, schema: Schema) {
        match schema {
            Schema::Object(object) => self.object(node, trail, object),
            Schema::List(list) => self.list(node, trail, list),
            Schema::Text(text) => self.text(node, trail, text),
            Schema::OneOf(known) => {
                if let Some(text) = self.string(node, trail)
                    && !known.contains(&text)
                {
                    let remedy = suggest(text, known.iter().copied());
                    self.tell(node.at, format!("unknown value \"{text}\" in {trail}{remedy}"));
                }
            }
            Schema::Integer(least, most) => {
                if let Some(number) = self.integer(node, trail)
                    && !(least..=most).contains(&number)
                {
                    let message =
                        format!("{number} is out of range in {trail}; it must be {}", range(least, most));
                    self.tell(node.at, message);
                }
            }
            Schema::Code(known) => {
                if let Some(number) = self.integer(node, trail)
                    && !known.contains(&number)
                {
                    let known: Vec<_> = known.iter().map(ToString::to_string).collect();
                    let message = format!("unknown value {number} in {trail}; known: {}", known.join(", "));
                    self.tell(node.at, message);
                }
            }
            Schema::IntOrText => match &node.kind {
                Kind::Scalar(Scalar::Text(_)) => {}
                Kind::Scalar(scalar) if scalar.whole().is_some() => {}
                _ => self.wrong(node, trail, "a port number or a port name", ""),
            },
            Schema::Texts => {
                let Kind::Mapping(mapping) = &node.kind else {
                    return self.wrong(node, trail, "a mapping", "");
                };
                for entry in &mapping.entries {
                    self.string(&entry.value, &Trail::Key(trail, &entry.key));
                }
            }
            Schema::Metadata => {
                if let Err(mistakes) = typed::read_part::<ObjectMeta>(trail, node) {
                    for (at, message) in mistakes {
                        self.tell(at, message);
                    }
                }
            }
        }
    }

    fn object(&mut self, node: &Node, trail: &Trail<'_>, object: &'static Object) {
        let Kind::Mapping(mapping) = &node.kind else { return self.wrong(node, trail, "a mapping", "") };
        let known = || object.fields.iter().map(|field| field.name);
        // A required field that is there with a slip of the pen is not missing as well.
        let mut meant = Vec::new();
        for entry in &mapping.entries {
            let key = entry.key.as_str();
            if self.is_full() {
                return;
            }
            match object.fields.iter().find(|field| field.name == key) {
                None => {
                    meant.extend(nearest(key, known()));
                    let remedy = suggest(key, known());
                    self.tell(entry.at, format!("unknown field \"{key}\" in {trail}{remedy}"));
                }
                Some(Field { has_default: true, .. })
                    if matches!(entry.value.kind, Kind::Scalar(Scalar::Null)) => {}
                Some(field) => self.value(&entry.value, &Trail::Key(trail, key), field.schema),
            }
        }
        for field in object.required {
            if mapping.get(field).is_none() && !meant.contains(field) {
                self.tell(node.at, format!("missing field \"{field}\" in {trail}; add it"));
            }
        }
        self.one_of(node, mapping, trail, object.one_of, &meant);
    }

    fn one_of(
        &mut self,
        node: &Node,
        mapping: &Mapping,
        trail: &Trail<'_>,
        names: &[&str],
        meant: &[&'static str],
    ) {
        let given = names.iter().filter_map(|name| mapping.get(name)).collect::<Vec<_>>();
        match given[..] {
            [] if !names.is_empty() && !names.iter().any(|name| meant.contains(name)) => {
                let names = names.join("\" or \"");
                self.tell(node.at, format!("missing field \"{names}\" in {trail}; add one of them"));
            }
            [first, second, ..] => {
                let (first, name) = (&first.key, &second.key);
                let message = format!("\"{first}\" and \"{name}\" exclude each other in {trail}; remove one");
                self.tell(second.at, message);
            }
            _ => {}
        }
    }

    fn list(&mut self, node: &Node, trail: &Trail<'_>, list: &'static List) {
        let Kind::Sequence(items) = &node.kind else { return self.wrong(node, trail, "a list", "") };
        let count = items.len();
        if count > list.most {
            self.tell(node.at, format!("{count} items in {trail}; there may be at most {}", list.most));
        }
        if count < list.least {
            self.tell(node.at, format!("{count} items in {trail}; there must be at least {}", list.least));
        }
        let mut first = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            if self.is_full() {
                return;
            }
            let here = Trail::Index(trail, index);
            self.value(item, &here, list.items);
            let Some(identity) = identity(item, list.unique) else { continue };
            match first.get(identity) {
                None => drop(first.insert(identity.to_owned(), item.at.line)),
                Some(line) => {
                    let message =
                        format!("duplicate \"{identity}\" in {trail}, first on line {line}; remove one");
                    self.tell(item.at, message);
                }
            }
        }
    }

    fn text(&mut self, node: &Node, trail: &Trail<'_>, rules: &'static Text) {
        let Some(text) = self.string(node, trail) else { return };
        let length = text.chars().count();
        let short = || text.chars().take(60).collect::<String>();
        if length < rules.least {
            let message = match rules.least {
                1 => format!("empty string in {trail}; write one"),
                least => format!("\"{}\" is too short in {trail}; at least {least} characters", short()),
            };
            self.tell(node.at, message);
        } else if length > rules.most {
            let most = rules.most;
            self.tell(
                node.at,
                format!("\"{}...\" has {length} characters in {trail}; at most {most}", short()),
            );
        } else if let Some(rule) = rules.rule.filter(|rule| !(rule.holds)(text)) {
            self.tell(node.at, format!("\"{}\" in {trail} is not {}", short(), rule.is));
        }
    }

    fn string<'n>(&mut self, node: &'n Node, trail: &Trail<'_>) -> Option<&'n str> {
        match &node.kind {
            Kind::Scalar(Scalar::Text(text)) => return Some(text),
            Kind::Scalar(Scalar::Null) => {
                self.wrong(node, trail, "a string", "; write \"\" if it is to be empty");
            }
            Kind::Scalar(scalar) => {
                self.wrong(node, trail, "a string", &format!("; put it in quotes: \"{}\"", scalar.key()));
            }
            _ => self.wrong(node, trail, "a string", ""),
        }
        None
    }

    fn integer(&mut self, node: &Node, trail: &Trail<'_>) -> Option<i64> {
        match &node.kind {
            Kind::Scalar(Scalar::Text(text)) if text.parse::<i64>().is_ok() => {
                self.wrong(node, trail, "an integer", "; remove the quotes");
                None
            }
            Kind::Scalar(scalar) if scalar.whole().is_some() => scalar.whole(),
            _ => {
                self.wrong(node, trail, "an integer", "");
                None
            }
        }
    }
}

/// What may be in a list once.
fn identity(item: &Node, unique: Unique) -> Option<&str> {
    let node = match (unique, &item.kind) {
        (Unique::Items, _) => item,
        (Unique::Names, Kind::Mapping(mapping)) => &mapping.get("name")?.value,
        _ => return None,
    };
    match &node.kind {
        Kind::Scalar(Scalar::Text(text)) => Some(text),
        _ => None,
    }
}

fn range(least: i64, most: i64) -> String {
    match most {
        i64::MAX => format!("at least {least}"),
        _ => format!("from {least} to {most}"),
    }
}
