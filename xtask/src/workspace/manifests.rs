//! Manifests as typed objects, read as strictly as the API server does with
//! `--validate=strict`, every mistake in every file told at once.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use serde::de::DeserializeOwned;

use super::document::{Document, Spot};
use super::problem::{Problem, Problems, suggest};
use super::scalar::Scalar;
use super::yaml::{self, Kind, Node};
use super::{typed, validation};

/// The directories that are read, relative to the workspace's root; the first must exist.
pub const DIRECTORIES: [&str; 2] = ["manifests/base", "manifests/ingress"];

/// The largest file that is read, in bytes: an API server takes no object larger than 1.5 MiB.
const MAX_BYTES: u64 = 1 << 20;

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

/// Every object of the manifests, in the order of file names and lines.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    pub service_accounts: Vec<Sourced<ServiceAccount>>,
    pub services: Vec<Sourced<Service>>,
    pub deployments: Vec<Sourced<Deployment>>,
    pub ingresses: Vec<Sourced<Ingress>>,
    /// What the objects were read from, to find the line of a field.
    documents: BTreeMap<Source, Document>,
}

impl Manifests {
    /// Reads every `*.yaml` and `*.yml` of [`DIRECTORIES`]; hidden files are editors' and not read.
    /// Errors with every mistake in all of them.
    pub fn read(root: &Path) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut files = Vec::new();
        for directory in DIRECTORIES {
            let directory = Path::new(directory);
            match list(root, directory) {
                Ok(names) => files.extend(names),
                Err(error)
                    if error.kind() == ErrorKind::NotFound && directory != Path::new(DIRECTORIES[0]) => {}
                Err(error) => problems.push(Problem::of_file(directory, format!("cannot read it: {error}"))),
            }
        }
        let mut contents = Vec::new();
        for file in files {
            match content(&root.join(&file)) {
                Ok(bytes) => contents.push((file, bytes)),
                Err(cause) => problems.push(Problem::of_file(&file, cause)),
            }
        }
        let manifests = Self::parse(contents, &mut problems);
        Problems::check(problems).map(|()| manifests)
    }

    /// The objects of these files (path relative to the workspace's root, content). Mistakes are
    /// added to `problems`; an object with one is left out.
    pub fn parse(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>, problems: &mut Vec<Problem>) -> Self {
        let mut manifests = Self::default();
        let mut files: Vec<_> = files.into_iter().collect();
        files.sort();
        for (file, bytes) in files {
            let text = match std::str::from_utf8(&bytes) {
                Ok(text) => text,
                Err(error) => {
                    let line = bytes[..error.valid_up_to()].split(|&byte| byte == b'\n').count();
                    let message = "not UTF-8 text; save the file as UTF-8".to_owned();
                    problems.push(Problem { file, line, column: 0, message });
                    continue;
                }
            };
            let (roots, mistakes) = yaml::documents(&file, text);
            if roots.is_empty() && mistakes.is_empty() {
                problems.push(Problem::of_file(&file, "holds no object; write one, or remove the file"));
            }
            problems.extend(mistakes);
            for root in roots {
                manifests.add(&file, root, problems);
            }
        }
        manifests
    }

    /// Where a field of an object is written: line and column, from 1. Of a field that is not
    /// there, the place of the innermost thing around it that is.
    pub fn locate(&self, source: &Source, spot: &Spot) -> (usize, usize) {
        self.documents.get(source).map_or((source.line, 0), |document| document.locate(spot))
    }

    /// A mistake at a field of an object.
    pub fn problem(&self, source: &Source, spot: &Spot, message: impl Into<String>) -> Problem {
        let (line, column) = self.locate(source, spot);
        Problem { file: source.file.clone(), line, column, message: message.into() }
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
        self.documents.insert(source, document);
    }
}

/// The files of a directory to read, sorted, relative to the root.
fn list(root: &Path, directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.join(directory))? {
        let path = directory.join(entry?.file_name());
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A file's bytes, or why they are not read.
fn content(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot read it: {error}");
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() {
        return Err("not a regular file; remove it, or give it another ending".to_owned());
    }
    if metadata.len() > MAX_BYTES {
        let (size, limit) = (metadata.len() >> 10, MAX_BYTES >> 10);
        return Err(format!("{size} KiB is more than a manifest may have ({limit} KiB); split it"));
    }
    std::fs::read(path).map_err(cannot)
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
    let Kind::Mapping(mapping) = &document.root().kind else {
        return Err(
            document.problem(&Spot::root(), "not an object: a manifest has apiVersion, kind, metadata")
        );
    };
    let text =
        |field: &str| match mapping.get(field).map(|entry| &entry.value.kind) {
            Some(Kind::Scalar(Scalar::Text(text))) => Ok(text.as_str()),
            Some(Kind::Scalar(Scalar::Null)) | None => {
                Err(document.problem(&Spot::root(), format!("missing field \"{field}\"; add it")))
            }
            Some(_) => Err(document
                .problem(&Spot::root().key(field), format!("wrong type in {field}: expected a string"))),
        };
    let (kind, version) = (text("kind")?, text("apiVersion")?);
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
