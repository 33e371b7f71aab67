//! Manifests as typed objects, read as strictly as the API server does with
//! `--validate=strict`, every mistake in every file told at once.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use serde::de::DeserializeOwned;

use super::document::{Document, Spot, Type};
use super::problem::{Problem, Problems, suggest};
use super::source::Documents;
pub use super::source::{Source, Sourced};
use super::yaml::{self, Node};
use super::{files, typed, validation};

/// The directories that are read, relative to the workspace's root; the first must exist.
pub const DIRECTORIES: [&str; 2] = ["manifests/base", "manifests/ingress"];

/// Every object of the manifests, in the order of file names and lines.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    pub service_accounts: Vec<Sourced<ServiceAccount>>,
    pub services: Vec<Sourced<Service>>,
    pub deployments: Vec<Sourced<Deployment>>,
    pub ingresses: Vec<Sourced<Ingress>>,
    documents: Documents,
}

impl Manifests {
    /// Reads every `*.yaml` and `*.yml` of [`DIRECTORIES`]; hidden files are editors' and not read.
    /// Errors with every mistake in all of them.
    pub fn read(root: &Path) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut files = Vec::new();
        for directory in DIRECTORIES {
            let directory = Path::new(directory);
            match files::list(root, directory) {
                Ok(names) => files.extend(names),
                Err(error)
                    if error.kind() == ErrorKind::NotFound && directory != Path::new(DIRECTORIES[0]) => {}
                Err(error) => problems.push(Problem::of_file(directory, format!("cannot read it: {error}"))),
            }
        }
        let contents = files::contents(root, files, &mut problems);
        let manifests = Self::parse(contents, &mut problems);
        Problems::check(problems).map(|()| manifests)
    }

    /// The objects of these files (path relative to the workspace's root, content). Mistakes are
    /// added to `problems`; an object with one is left out.
    pub fn parse(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>, problems: &mut Vec<Problem>) -> Self {
        let mut manifests = Self::default();
        let mut contents: Vec<_> = files.into_iter().collect();
        contents.sort();
        for (file, bytes) in contents {
            for root in files::documents(&file, &bytes, problems) {
                manifests.add(&file, root, problems);
            }
        }
        manifests
    }

    /// Where a field of an object is written: line and column, from 1. Of a field that is not
    /// there, the place of the innermost thing around it that is.
    pub fn locate(&self, source: &Source, spot: &Spot) -> (usize, usize) {
        self.documents.locate(source, spot)
    }

    /// A mistake at a field of an object.
    pub fn problem(&self, source: &Source, spot: &Spot, message: impl Into<String>) -> Problem {
        self.documents.problem(source, spot, message)
    }

    fn add(&mut self, file: &Path, root: Arc<Node>, problems: &mut Vec<Problem>) {
        let source = Source { file: file.to_owned(), line: root.at.line };
        let document = Document::new(file, root);
        match kind(&document) {
            Ok(KnownKind::Deployment) => {
                read(&document, &source, &mut self.deployments, problems, validation::deployment);
            }
            Ok(KnownKind::Service) => {
                read(&document, &source, &mut self.services, problems, validation::service);
            }
            Ok(KnownKind::ServiceAccount) => {
                read(&document, &source, &mut self.service_accounts, problems, validation::service_account);
            }
            Ok(KnownKind::Ingress) => {
                read(&document, &source, &mut self.ingresses, problems, validation::ingress);
            }
            Err(problem) => problems.push(problem),
        }
        self.documents.keep(source, document);
    }
}

enum KnownKind {
    Deployment,
    Service,
    ServiceAccount,
    Ingress,
}

/// Which type a document is of. Errors with what is known.
fn kind(document: &Document) -> Result<KnownKind, Problem> {
    const KNOWN: [(&str, &str); 4] = [
        (Deployment::API_VERSION, Deployment::KIND),
        (Service::API_VERSION, Service::KIND),
        (ServiceAccount::API_VERSION, ServiceAccount::KIND),
        (Ingress::API_VERSION, Ingress::KIND),
    ];
    let Type { version, kind } = document.type_of()?;
    let Some((known_version, known)) = KNOWN.into_iter().find(|known| known.1 == kind) else {
        let remedy = suggest(kind, KNOWN.map(|known| known.1));
        return Err(document.problem(&Spot::root().key("kind"), format!("unknown kind \"{kind}\"{remedy}")));
    };
    if version != known_version {
        let message = format!("unknown apiVersion \"{version}\" of {kind}; write {known_version}");
        return Err(document.problem(&Spot::root().key("apiVersion"), message));
    }
    Ok(match known {
        Deployment::KIND => KnownKind::Deployment,
        Service::KIND => KnownKind::Service,
        ServiceAccount::KIND => KnownKind::ServiceAccount,
        _ => KnownKind::Ingress,
    })
}

fn read<T: Resource + DeserializeOwned>(
    document: &Document,
    source: &Source,
    into: &mut Vec<Sourced<T>>,
    problems: &mut Vec<Problem>,
    validate: fn(&T, &mut validation::Report<'_>),
) {
    match typed::read::<T>(T::KIND, document.root()) {
        Ok(object) => {
            let mut report = validation::Report::new(T::KIND, document);
            validate(&object, &mut report);
            let found = report.into_problems();
            if found.is_empty() {
                into.push(Sourced { object, source: source.clone() });
            }
            problems.extend(found);
        }
        Err(mistakes) => {
            let problem = |(at, message): (yaml::At, String)| document.problem_at(at, message);
            problems.extend(mistakes.into_iter().map(problem));
        }
    }
}

#[cfg(test)]
mod tests;
