//! Policies as typed objects, read as strictly as the API server does with Linkerd's CRDs and
//! `--validate=strict`, every mistake in every file told at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use policy::model::{
    AuthorizationPolicy, GATEWAY, GRPCRoute, HTTPLocalRateLimitPolicy, HTTPRoute, LINKERD,
    MeshTLSAuthentication, NetworkAuthentication, Objects, Server,
};
use serde::de::DeserializeOwned;

use super::document::{Document, Spot, Type};
use super::problem::{Problem, Problems, suggest};
use super::source::{Documents, Source, Sourced};
use super::yaml::{self, Node};
use super::{files, typed};

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
    /// To find the line of a field.
    pub documents: Documents,
}

impl Policies {
    /// Reads files, and every `*.yaml` and `*.yml` of directories (not of directories within them); hidden
    /// files are editors' and not read. Paths are relative to the root, or absolute. Errors with every
    /// mistake in all of them, a path that is not there or has nothing to read included.
    pub fn read(root: &Path, paths: &[PathBuf]) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut meant = Vec::new();
        for path in paths {
            if !root.join(path).is_dir() {
                meant.push(path.clone());
                continue;
            }
            match files::list(root, path) {
                Ok(found) if found.is_empty() => {
                    let message = "has no *.yaml; write one, or name another directory";
                    problems.push(Problem::of_file(path, message));
                }
                Ok(found) => meant.extend(found),
                Err(error) => problems.push(Problem::of_file(path, format!("cannot read it: {error}"))),
            }
        }
        meant.sort();
        meant.dedup();
        let contents = files::contents(root, meant, &mut problems);
        let policies = Self::parse(contents, &mut problems);
        Problems::check(problems).map(|()| policies)
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
        }
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

    fn add(&mut self, file: &Path, root: Arc<Node>, problems: &mut Vec<Problem>) {
        let source = Source { file: file.to_owned(), line: root.at.line };
        let document = Document::new(file, root);
        match kind(&document) {
            Ok(KnownKind::Namespace) => read(&document, &source, &mut self.namespaces, problems),
            Ok(KnownKind::Server) => read(&document, &source, &mut self.servers, problems),
            Ok(KnownKind::AuthorizationPolicy) => {
                read(&document, &source, &mut self.authorization_policies, problems);
            }
            Ok(KnownKind::MeshTLSAuthentication) => {
                read(&document, &source, &mut self.mesh_tls_authentications, problems);
            }
            Ok(KnownKind::NetworkAuthentication) => {
                read(&document, &source, &mut self.network_authentications, problems);
            }
            Ok(KnownKind::HTTPLocalRateLimitPolicy) => {
                read(&document, &source, &mut self.rate_limits, problems);
            }
            Ok(KnownKind::HTTPRoute) => read(&document, &source, &mut self.http_routes, problems),
            Ok(KnownKind::GRPCRoute) => read(&document, &source, &mut self.grpc_routes, problems),
            Err(problem) => problems.push(problem),
        }
        self.documents.keep(source, document);
    }
}

#[derive(Clone, Copy)]
enum KnownKind {
    Namespace,
    Server,
    AuthorizationPolicy,
    MeshTLSAuthentication,
    NetworkAuthentication,
    HTTPLocalRateLimitPolicy,
    HTTPRoute,
    GRPCRoute,
}

/// Kinds, with the group and version of today's Linkerd.
const KNOWN: [(&str, &str, &str, KnownKind); 9] = [
    ("Namespace", "", "v1", KnownKind::Namespace),
    ("Server", LINKERD, "v1beta3", KnownKind::Server),
    ("AuthorizationPolicy", LINKERD, "v1alpha1", KnownKind::AuthorizationPolicy),
    ("MeshTLSAuthentication", LINKERD, "v1alpha1", KnownKind::MeshTLSAuthentication),
    ("NetworkAuthentication", LINKERD, "v1alpha1", KnownKind::NetworkAuthentication),
    ("HTTPLocalRateLimitPolicy", LINKERD, "v1alpha1", KnownKind::HTTPLocalRateLimitPolicy),
    ("HTTPRoute", GATEWAY, "v1", KnownKind::HTTPRoute),
    ("HTTPRoute", LINKERD, "v1beta3", KnownKind::HTTPRoute),
    ("GRPCRoute", GATEWAY, "v1", KnownKind::GRPCRoute),
];

/// Which type a document is of. Errors with what is known.
fn kind(document: &Document) -> Result<KnownKind, Problem> {
    let Type { version, kind } = document.type_of()?;
    let (group, version_only) = version.split_once('/').unwrap_or(("", version));
    let of_kind = || KNOWN.into_iter().filter(|known| known.0 == kind);
    if of_kind().next().is_none() {
        let remedy = suggest(kind, KNOWN.map(|known| known.0));
        return Err(document.problem(&Spot::root().key("kind"), format!("unknown kind \"{kind}\"{remedy}")));
    }
    if let Some(known) = of_kind().find(|known| (known.1, known.2) == (group, version_only)) {
        return Ok(known.3);
    }
    let today = |known: &(&str, &str, &str, _)| match known.1 {
        "" => known.2.to_owned(),
        group => format!("{group}/{}", known.2),
    };
    let mut meant: Vec<_> = of_kind().filter(|known| known.1 == group).collect();
    if meant.is_empty() {
        meant = of_kind().collect();
    }
    let remedy = meant.iter().map(today).collect::<Vec<_>>().join(" or ");
    let message = format!("unknown apiVersion \"{version}\" of {kind}; write {remedy}");
    Err(document.problem(&Spot::root().key("apiVersion"), message))
}

fn read<T: DeserializeOwned>(
    document: &Document,
    source: &Source,
    into: &mut Vec<Sourced<T>>,
    problems: &mut Vec<Problem>,
) {
    let name = document.type_of().map_or("object", |own| own.kind);
    match typed::read::<T>(name, document.root()) {
        Ok(object) => into.push(Sourced { object, source: source.clone() }),
        Err(mistakes) => {
            let problem = |(at, message): (yaml::At, String)| document.problem_at(at, message);
            problems.extend(mistakes.into_iter().map(problem));
        }
    }
}

#[cfg(test)]
mod tests;
