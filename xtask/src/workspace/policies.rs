//! Policies as typed objects, read as strictly as the API server does with Linkerd's CRDs and
//! `--validate=strict`, every mistake in every file told at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::policy::model::{
    AuthorizationPolicy, GRPCRoute, HTTPLocalRateLimitPolicy, HTTPRoute, MeshTLSAuthentication, Named as _,
    NetworkAuthentication, Objects, Server,
};
use k8s_openapi::api::core::v1::Namespace;
use serde::de::DeserializeOwned;

use super::document::{Document, Spot};
use super::problem::{Problem, Problems};
use super::schema;
use super::source::{Documents, Source, Sourced};
use super::validation::{Report, policy, route};
use super::yaml::{At, Node};
use super::{files, typed};

mod crd;
pub(super) mod forms;
mod kind;

use crd::Crd;
use kind::{KnownKind, Unread};

/// Every policy of some files, in the order of file names and lines.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_field_names, reason = "each is the plural of a kind")]
pub struct Policies {
    pub namespaces: Vec<Sourced<Namespace>>,
    pub servers: Vec<Sourced<Server>>,
    pub authorization_policies: Vec<Sourced<AuthorizationPolicy>>,
    pub mesh_tls_authentications: Vec<Sourced<MeshTLSAuthentication>>,
    pub network_authentications: Vec<Sourced<NetworkAuthentication>>,
    pub rate_limits: Vec<Sourced<HTTPLocalRateLimitPolicy>>,
    /// Of both groups.
    pub http_routes: Vec<Sourced<HTTPRoute>>,
    pub grpc_routes: Vec<Sourced<GRPCRoute>>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// What is wrong with objects that are here all the same: they are written for an older Linkerd.
    pub outdated: Vec<Problem>,
    /// To find the line of a field.
    pub documents: Documents,
}

impl Policies {
    /// Reads files, and every `*.yaml` and `*.yml` of directories (not of directories within them); hidden
    /// files are editors' and not read. Paths are relative to the root, or absolute. Errors with every
    /// mistake in all of them, a path that is not there or has nothing to read included.
    pub fn read(root: &Path, paths: &[PathBuf]) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let policies = Self::gather(root, paths, &mut problems);
        Problems::check(problems).map(|()| policies)
    }

    /// As [`Policies::read`], with what could be read all the same.
    pub fn gather(root: &Path, paths: &[PathBuf], problems: &mut Vec<Problem>) -> Self {
        let mut meant = Vec::new();
        for path in paths {
            if !root.join(path).is_dir() {
                meant.push(path.clone());
                continue;
            }
            match files::list(root, path) {
                Ok(found) if found.is_empty() => {
                    problems.push(Problem::of_file(path, nothing_in(&root.join(path))));
                }
                Ok(found) => meant.extend(found),
                Err(error) => problems.push(Problem::of_file(path, format!("cannot read it: {error}"))),
            }
        }
        meant.sort();
        meant.dedup();
        let contents = files::contents(root, meant, problems);
        Self::parse(contents, problems)
    }

    /// How many objects there are.
    pub fn count(&self) -> usize {
        self.namespaces.len()
            + self.servers.len()
            + self.authorization_policies.len()
            + self.mesh_tls_authentications.len()
            + self.network_authentications.len()
            + self.rate_limits.len()
            + self.http_routes.len()
            + self.grpc_routes.len()
    }

    /// The objects of these files (path, content). Mistakes are added to `problems`; an object with one is
    /// left out.
    pub fn parse(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>, problems: &mut Vec<Problem>) -> Self {
        let mut policies = Self::default();
        let mut contents: Vec<_> = files.into_iter().collect();
        contents.sort();
        for (file, bytes) in contents {
            for root in files::documents(&file, &bytes, problems) {
                policies.add(&file, root, problems);
            }
            policies.files.push(file);
        }
        policies.repeated(problems);
        policies
    }

    /// Adds them to what is there.
    pub fn add_to(&self, objects: &mut Objects) {
        fn add<T: Clone>(from: &[Sourced<T>], to: &mut Vec<T>) {
            to.extend(from.iter().map(|sourced| sourced.object.clone()));
        }
        add(&self.namespaces, &mut objects.namespaces);
        add(&self.servers, &mut objects.servers);
        add(&self.authorization_policies, &mut objects.authorization_policies);
        add(&self.mesh_tls_authentications, &mut objects.mesh_tls_authentications);
        add(&self.network_authentications, &mut objects.network_authentications);
        add(&self.rate_limits, &mut objects.rate_limits);
        add(&self.http_routes, &mut objects.http_routes);
        add(&self.grpc_routes, &mut objects.grpc_routes);
    }

    /// No two objects of a kind have one name: the last would be in force, by the order of files.
    fn repeated(&self, problems: &mut Vec<Problem>) {
        let mut first: BTreeMap<(String, String, String), &Source> = BTreeMap::new();
        macro_rules! each {
            ($($list:ident: $kind:expr),+ $(,)?) => {
                $(for Sourced { object, source } in &self.$list {
                    let kind: String = $kind(object);
                    let name = object.name().to_owned();
                    let key = (kind, object.namespace().to_owned(), name);
                    if let Some(Source { file, line }) = first.get(&key) {
                        let place = format!("{}:{line}", file.display());
                        let (kind, _, name) = &key;
                        let kind = kind.split('.').next().unwrap_or_default();
                        let message = format!(
                            "duplicate {kind} \"{name}\", the other is at {place}; rename or remove one"
                        );
                        let spot = Spot::root().keys(&["metadata", "name"]);
                        problems.push(self.documents.problem(source, &spot, message));
                    } else {
                        first.insert(key, source);
                    }
                })+
            };
        }
        each!(
            namespaces: |_: &Namespace| "Namespace".to_owned(),
            servers: |own: &Server| own.kind.clone(),
            authorization_policies: |own: &AuthorizationPolicy| own.kind.clone(),
            mesh_tls_authentications: |own: &MeshTLSAuthentication| own.kind.clone(),
            network_authentications: |own: &NetworkAuthentication| own.kind.clone(),
            rate_limits: |own: &HTTPLocalRateLimitPolicy| own.kind.clone(),
            http_routes: |own: &HTTPRoute| format!("HTTPRoute.{}", own.group()),
            grpc_routes: |own: &GRPCRoute| own.kind.clone(),
        );
    }

    fn add(&mut self, file: &Path, root: Arc<Node>, problems: &mut Vec<Problem>) {
        let source = Source { file: file.to_owned(), line: root.at.line };
        let document = Document::new(file, root);
        let known = match kind::of(&document) {
            Ok(known) => known,
            Err(Unread::Outdated(known, problem)) => {
                self.outdated.push(problem.clone());
                problems.push(problem);
                known
            }
            Err(Unread::Unknown(problem)) => {
                problems.push(problem);
                return;
            }
        };
        let mut reading = Reading { document: &document, source: &source, problems };
        match known {
            KnownKind::Namespace => {
                reading.take(&mut self.namespaces, &crd::NAMESPACE_OBJECT, policy::namespace);
            }
            KnownKind::Server => reading.take(&mut self.servers, &crd::SERVER, policy::server),
            KnownKind::AuthorizationPolicy => {
                let check = policy::authorization_policy;
                reading.take(&mut self.authorization_policies, &crd::AUTHORIZATION_POLICY, check);
            }
            KnownKind::MeshTLSAuthentication => {
                let check = policy::mesh_tls_authentication;
                reading.take(&mut self.mesh_tls_authentications, &crd::MESH_TLS_AUTHENTICATION, check);
            }
            KnownKind::NetworkAuthentication => {
                let check = policy::network_authentication;
                reading.take(&mut self.network_authentications, &crd::NETWORK_AUTHENTICATION, check);
            }
            KnownKind::HTTPLocalRateLimitPolicy => {
                reading.take(&mut self.rate_limits, &crd::RATE_LIMIT, policy::rate_limit);
            }
            KnownKind::GatewayHTTPRoute => {
                reading.take(&mut self.http_routes, &crd::GATEWAY_HTTP_ROUTE, route::http_route);
            }
            KnownKind::LinkerdHTTPRoute => {
                reading.take(&mut self.http_routes, &crd::LINKERD_HTTP_ROUTE, route::http_route);
            }
            KnownKind::GRPCRoute => {
                reading.take(&mut self.grpc_routes, &crd::GRPC_ROUTE, route::grpc_route);
            }
        }
        self.documents.keep(source, document);
    }
}

/// That a directory has no file to read, and what it has instead.
fn nothing_in(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> =
        directories.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    if names.is_empty() {
        "has no *.yaml; write one, or name another directory".to_owned()
    } else {
        format!("has no *.yaml, and directories in it are not looked into; name one: {}", names.join(", "))
    }
}

/// One document on its way to an object.
struct Reading<'a> {
    document: &'a Document,
    source: &'a Source,
    problems: &'a mut Vec<Problem>,
}

impl Reading<'_> {
    /// Adds the object unless something is wrong with it, which is told.
    fn take<T: DeserializeOwned>(
        &mut self,
        into: &mut Vec<Sourced<T>>,
        crd: &'static Crd,
        check: fn(&T, &mut Report<'_>),
    ) {
        let (document, kind) = (self.document, crd.kind);
        let problem = |(at, message): (At, String)| document.problem_at(at, message);
        let mistakes = schema::check(kind, document.root(), &crd.object);
        if !mistakes.is_empty() {
            self.problems.extend(mistakes.into_iter().map(problem));
            return;
        }
        match typed::read_checked::<T>(kind, document.root()) {
            Ok(object) => {
                let mut report = Report::new(kind, document);
                check(&object, &mut report);
                let found = report.into_problems();
                if found.is_empty() {
                    into.push(Sourced { object, source: self.source.clone() });
                }
                self.problems.extend(found);
            }
            Err(mistakes) => self.problems.extend(mistakes.into_iter().map(problem)),
        }
    }
}

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod tests;
