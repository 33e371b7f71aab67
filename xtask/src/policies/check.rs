//! What is wrong or odd in the policies of some files, with the place of each.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use policy::check::{Field, Finding, ObjectRef, Severity, Step, Use, check};
use policy::cluster::ClusterInfo;
use policy::model::Named;
use serde::Serialize;

use super::edges::known_calls;
use crate::plan::lookup::name;
use crate::plan::{self, Mode, Options, Plan, lookup};
use crate::report::counted;
use crate::workspace::Spot;
use crate::workspace::Workspace;
use crate::workspace::manifests::{Manifests, Sourced};
use crate::workspace::policies::Policies;
use crate::workspace::problem::{Problem, Problems};
use crate::workspace::source::Source;

/// The rule of what the API server or Linkerd's webhook would refuse.
const INVALID: &str = "invalid";

/// Something wrong or odd, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Told {
    /// Relative to the workspace's root.
    pub file: PathBuf,
    /// From 1; 0 when the whole file is meant.
    pub line: usize,
    /// From 1, in characters; 0 when the whole line is meant.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// What was looked for, in a word or two.
    pub rule: &'static str,
    /// The object; none for what is no object yet.
    pub object: Option<ObjectRef>,
    /// The field in it.
    pub field: Option<String>,
    /// What is the case.
    pub cause: String,
    /// What to do about it, where that is not said by the cause.
    pub remedy: Option<String>,
}

/// What was found in some files.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// By place.
    pub findings: Vec<Told>,
    /// How many files were read.
    pub files: usize,
    /// How many objects they hold.
    pub objects: usize,
    /// Whether what the objects mean together was looked at: not where one of them cannot be read.
    pub complete: bool,
}

impl Report {
    /// Judges policies: what was wrong in reading them, and, if nothing is missing by that, what they mean together
    /// with the plan.
    pub fn of(plan: &Plan, manifests: &Manifests, policies: &Policies, problems: &[Problem]) -> Self {
        let mut findings: Vec<_> = problems.iter().map(Told::invalid).collect();
        let complete = problems.iter().all(|problem| policies.outdated.contains(problem));
        if complete {
            let mut objects = plan::objects(plan);
            policies.add_to(&mut objects);
            let found = check(&objects, &ClusterInfo::default(), &uses(plan));
            let places = Places { plan, manifests, policies };
            findings.extend(found.into_iter().map(|found| places.told(found)));
        }
        findings.sort();
        findings.dedup();
        let files = policies.files.len();
        Self { findings, files, objects: policies.count(), complete }
    }

    /// Puts two together.
    pub fn and(mut self, other: Self) -> Self {
        self.findings.extend(other.findings);
        self.findings.sort();
        self.findings.dedup();
        self.files += other.files;
        self.objects += other.objects;
        self.complete &= other.complete;
        self
    }

    /// How many findings are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|told| told.severity == severity).count()
    }

    /// Whether something would not be taken by the API server or Linkerd's webhook.
    pub fn is_invalid(&self) -> bool {
        self.findings.iter().any(|told| told.rule == INVALID)
    }

    /// For people: a paragraph each, and a line that sums up.
    pub fn text(&self, colour: bool) -> String {
        let mut text = String::new();
        for told in &self.findings {
            let _ = write!(text, "{}:", told.file.display());
            for number in [told.line, told.column].into_iter().take_while(|&number| number > 0) {
                let _ = write!(text, "{number}:");
            }
            let (name, code) = match told.severity {
                Severity::Error => ("error", "\x1b[1;31m"),
                Severity::Warning => ("warning", "\x1b[1;33m"),
            };
            let severity = if colour { format!("{code}{name}\x1b[0m") } else { name.to_owned() };
            let _ = write!(text, " {severity}: ");
            if let Some(object) = &told.object {
                let _ = write!(text, "{object} ");
            }
            let _ = writeln!(text, "{}", told.cause);
            if let Some(remedy) = &told.remedy {
                let _ = writeln!(text, "    {remedy}");
            }
        }
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let found = match (errors, warnings) {
            (0, 0) => "nothing found".to_owned(),
            _ => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
        };
        let (files, objects) = (counted(self.files, "file"), counted(self.objects, "object"));
        let _ = writeln!(text, "policy check: {found} in {objects} of {files}");
        if !self.complete {
            text.push_str("what the objects mean together was not looked at: correct these first\n");
        }
        text
    }
}

/// Reads policies and judges them with the manifests of a mode. Errors when these make no plan.
pub fn judge(root: &Path, manifests: &Manifests, grpc: bool, paths: &[PathBuf]) -> Result<Report, Problems> {
    let deployments = manifests.deployments.iter().map(|own| &own.object);
    let images: BTreeSet<_> = deployments
        .flat_map(lookup::containers)
        .filter_map(|(_, container)| container.image.clone())
        .collect();
    let workspace = Workspace::assumed(root.to_owned(), images);
    let options = Options { mode: Mode { grpc, linkerd: true }, ingress: true };
    let plan = Plan::new(&workspace, manifests, options)?;
    let mut problems = Vec::new();
    let policies = Policies::gather(root, paths, &mut problems);
    problems.sort();
    Ok(Report::of(&plan, manifests, &policies, &problems))
}

impl Told {
    fn invalid(problem: &Problem) -> Self {
        let (cause, remedy) = match problem.message.split_once("; ") {
            Some((cause, remedy)) => (cause.to_owned(), Some(remedy.to_owned())),
            None => (problem.message.clone(), None),
        };
        let Problem { file, line, column, .. } = problem.clone();
        let severity = Severity::Error;
        Self { file, line, column, severity, rule: INVALID, object: None, field: None, cause, remedy }
    }
}

/// The calls that the services make, by their variables and the Ingresses.
fn uses(plan: &Plan) -> Vec<Use> {
    let uses = known_calls(plan).into_iter().map(|(edge, because)| Use {
        account: Some(edge.account),
        service: edge.service,
        namespace: plan.namespace.clone(),
        port: edge.port,
        because,
        call: None,
    });
    uses.collect()
}

/// Finds where objects are written.
struct Places<'a> {
    plan: &'a Plan,
    manifests: &'a Manifests,
    policies: &'a Policies,
}

impl Places<'_> {
    fn told(&self, found: Finding) -> Told {
        let spot = spot(&found.field);
        let place = match self.source(&found.object) {
            Some((source, true)) => {
                let (line, column) = self.policies.documents.locate(source, &spot);
                (source.file.clone(), line, column)
            }
            Some((source, false)) => {
                let (line, column) = self.manifests.locate(source, &spot);
                (source.file.clone(), line, column)
            }
            None => (PathBuf::from("manifests"), 0, 0),
        };
        let (file, line, column) = place;
        let Finding { severity, rule, object, field, cause, remedy } = found;
        let (object, field) = (Some(object), Some(field.to_string()).filter(|field| !field.is_empty()));
        Told { file, line, column, severity, rule, object, field, cause, remedy: Some(remedy) }
    }

    /// Where an object is written, and whether among the policies.
    fn source(&self, object: &ObjectRef) -> Option<(&Source, bool)> {
        fn find<'a, T>(
            list: &'a [Sourced<T>],
            object: &ObjectRef,
            is: impl Fn(&T) -> (&str, &str),
        ) -> Option<&'a Source> {
            let found = list.iter().find(|own| {
                let (namespace, name) = is(&own.object);
                (namespace, name) == (object.namespace.as_str(), object.name.as_str())
            });
            found.map(|own| &own.source)
        }
        fn named<T: Named>(own: &T) -> (&str, &str) {
            (own.namespace(), own.name())
        }
        fn by_name<'a, T: Metadata<Ty = ObjectMeta>>(
            list: &'a [Sourced<T>],
            object: &ObjectRef,
        ) -> Option<&'a Source> {
            list.iter().find(|own| name(&own.object) == object.name).map(|own| &own.source)
        }
        let (policies, plan) = (self.policies, self.plan);
        let of_policies = match object.kind.as_str() {
            "Namespace" => find(&policies.namespaces, object, |own| ("", own.name())),
            "Server" => find(&policies.servers, object, named),
            "AuthorizationPolicy" => find(&policies.authorization_policies, object, named),
            "MeshTLSAuthentication" => find(&policies.mesh_tls_authentications, object, named),
            "NetworkAuthentication" => find(&policies.network_authentications, object, named),
            "HTTPLocalRateLimitPolicy" => find(&policies.rate_limits, object, named),
            "GRPCRoute" => find(&policies.grpc_routes, object, named),
            "HTTPRoute" => {
                let mut routes = policies.http_routes.iter();
                let is_it = |own: &&Sourced<policy::model::HTTPRoute>| {
                    own.object.group() == object.group
                        && named(&own.object) == (object.namespace.as_str(), object.name.as_str())
                };
                routes.find(is_it).map(|own| &own.source)
            }
            _ => None,
        };
        if let Some(source) = of_policies {
            return Some((source, true));
        }
        // The namespace of the plan's objects is the plan's, if they say none.
        let of_plan = match object.kind.as_str() {
            "Deployment" => by_name(&plan.deployments, object),
            "Service" => by_name(&plan.services, object),
            "Ingress" => by_name(&plan.ingresses, object),
            _ => None,
        };
        of_plan.map(|source| (source, false))
    }
}

fn spot(field: &Field) -> Spot {
    field.0.iter().fold(Spot::root(), |spot, step| match step {
        Step::Key(key) => spot.key(key),
        Step::Index(index) => spot.index(*index),
    })
}

#[cfg(test)]
mod tests;
