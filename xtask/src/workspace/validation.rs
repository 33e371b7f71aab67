//! What the API server refuses in a well-formed object, as far as users meet it: one check a line,
//! each with the field's place, the cause and the remedy. Across objects: `crate::plan`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::document::{Document, Spot};
use super::names::{self, Rule};
use super::problem::{Problem, suggest};
use super::scalar::Scalar;
use super::yaml::Kind;

mod deployment;
mod ingress;
mod pod;
pub mod policy;
pub mod route;
mod service;

pub use deployment::deployment;
pub use ingress::ingress;
pub use service::service;

/// The largest annotations of an object, all together.
const ANNOTATIONS_BYTES: usize = 256 << 10;

/// Collects the mistakes of one object.
pub struct Report<'a> {
    kind: &'static str,
    document: &'a Document,
    problems: Vec<Problem>,
}

impl<'a> Report<'a> {
    /// `kind` is what paths begin with in messages.
    pub fn new(kind: &'static str, document: &'a Document) -> Self {
        Self { kind, document, problems: Vec::new() }
    }

    /// What was told.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Tells a mistake at a field.
    fn tell(&mut self, spot: &Spot, message: &str) {
        self.problems.push(self.document.problem(spot, format!("{}{spot}: {message}", self.kind)));
    }

    /// The string that is written at a field.
    fn text(&self, spot: &Spot) -> Option<&'a str> {
        match &self.document.find(spot)?.kind {
            Kind::Scalar(Scalar::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The text obeys the rule.
    fn obeys(&mut self, spot: &Spot, text: &str, rule: &Rule) {
        if !(rule.holds)(text) {
            self.tell(spot, &format!("\"{text}\" is not {}; rename it", rule.is));
        }
    }

    /// The text is one of a fixed set.
    fn one_of(&mut self, spot: &Spot, text: Option<&str>, known: &[&str]) {
        if let Some(text) = text.filter(|text| !known.contains(text)) {
            let remedy = suggest(text, known.iter().copied());
            self.tell(spot, &format!("unknown value \"{text}\"{remedy}"));
        }
    }

    /// The number is of the range.
    fn within(&mut self, spot: &Spot, number: Option<i64>, range: std::ops::RangeInclusive<i64>) {
        if let Some(number) = number.filter(|number| !range.contains(number)) {
            let (low, high) = (range.start(), range.end());
            let allowed =
                if *high == i64::MAX { format!("at least {low}") } else { format!("from {low} to {high}") };
            self.tell(spot, &format!("{number} is out of range; it must be {allowed}"));
        }
    }

    /// The number is a port's.
    fn port(&mut self, spot: &Spot, number: i32) {
        self.within(spot, Some(number.into()), 1..=65535);
    }

    /// No two of the items are the same; `none`s are not compared.
    fn unique<T: Ord>(
        &mut self,
        what: &str,
        items: impl IntoIterator<Item = (Spot, Option<T>)>,
        show: impl Fn(&T) -> String,
    ) {
        let mut seen = BTreeMap::new();
        for (spot, item) in items {
            let Some(item) = item else { continue };
            if let Some(first) = seen.get(&item) {
                let line = self.document.locate(first).0;
                let message = format!("duplicate {what} {}, first on line {line}; change one", show(&item));
                self.tell(&spot, &message);
            } else {
                seen.insert(item, spot);
            }
        }
    }

    fn labels(&mut self, spot: &Spot, labels: Option<&BTreeMap<String, String>>) {
        for (key, value) in labels.into_iter().flatten() {
            self.obeys(&spot.key(key), key, &names::KEY);
            self.obeys(&spot.key(key), value, &names::LABEL_VALUE);
        }
    }

    fn metadata(&mut self, spot: &Spot, metadata: &ObjectMeta) {
        self.labels(&spot.key("labels"), metadata.labels.as_ref());
        let mut size = 0;
        for (key, value) in metadata.annotations.iter().flatten() {
            // Here, unlike in labels, capitals are allowed before the slash, too.
            self.obeys(&spot.keys(&["annotations", key]), &key.to_lowercase(), &names::KEY);
            size += key.len() + value.len();
        }
        if size > ANNOTATIONS_BYTES {
            let (size, most) = (size >> 10, ANNOTATIONS_BYTES >> 10);
            self.tell(&spot.key("annotations"), &format!("{size} KiB are too much; at most {most} KiB"));
        }
    }

    /// The metadata of an object, with its name, which every manifest gives.
    fn named(&mut self, metadata: &ObjectMeta, rule: &Rule) {
        let spot = Spot::root().key("metadata");
        match &metadata.name {
            Some(name) => self.obeys(&spot.key("name"), name, rule),
            None => self.tell(&spot, "missing field \"name\"; add it"),
        }
        if let Some(namespace) = &metadata.namespace {
            self.obeys(&spot.key("namespace"), namespace, &names::LABEL);
        }
        self.metadata(&spot, metadata);
    }
}

/// Checks a `ServiceAccount`.
pub fn service_account(object: &ServiceAccount, report: &mut Report<'_>) {
    report.named(&object.metadata, &names::SUBDOMAIN);
}
