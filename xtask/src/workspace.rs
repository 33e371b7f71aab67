//! The services of this workspace, and its manifests as typed objects.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::error::Fault;

mod document;
mod files;
pub mod manifests;
pub mod names;
pub mod policies;
pub mod problem;
mod required;
mod scalar;
mod schema;
pub mod selector;
pub mod source;
mod typed;
mod validation;
mod yaml;

pub use document::Spot;

/// The directory of the services, in the workspace's root.
const SERVICES: &str = "services";

/// The directory of this command, in the workspace's root.
const XTASK: &str = "xtask";

/// Files and directories of the root that every build depends on.
const EVERY_BUILD: [&str; 5] =
    ["Cargo.toml", "Cargo.lock", ".cargo", "rust-toolchain", "rust-toolchain.toml"];

/// What cargo says of this workspace.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// Where the root `Cargo.toml` is; absolute.
    pub root: PathBuf,
    /// Where cargo builds; absolute.
    pub target_directory: PathBuf,
    /// Sorted by name.
    pub services: Vec<Service>,
    /// The directory of every member, and the directories of the members that it builds from.
    members: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

/// A service: a binary of a package under `services/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The binary's, which is the image's.
    pub name: String,
    /// Its package's name.
    pub package: String,
    /// Its package's id, by which cargo tells it from a dependency of the same name.
    pub id: String,
    /// The package's directory; absolute.
    pub dir: PathBuf,
    /// What its image says of itself, by OCI's annotation keys.
    pub labels: BTreeMap<String, String>,
}

/// What follows from a changed file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// The services to rebuild, by name.
    pub services: BTreeSet<String>,
    /// The manifests are to be read again.
    pub manifests: bool,
    /// This command itself changed: it goes on as it was built.
    pub xtask: bool,
    /// Members or their dependencies may have changed: ask cargo again before building.
    pub members: bool,
}

impl Affected {
    /// Adds what follows from another file.
    pub fn add(&mut self, other: Self) {
        self.services.extend(other.services);
        self.manifests |= other.manifests;
        self.xtask |= other.xtask;
        self.members |= other.members;
    }
}

impl Workspace {
    /// Reads what `cargo metadata --no-deps --format-version 1` wrote. Errors when it is not that, or
    /// when two services have one name.
    pub fn load(metadata_json: &str) -> Result<Self, Fault> {
        let metadata: Metadata = MetadataCommand::parse(metadata_json)
            .map_err(|error| Fault::failed(format!("cannot read the output of cargo metadata: {error}")))?;
        let root = metadata.workspace_root.into_std_path_buf();
        let members: BTreeMap<_, _> =
            metadata.packages.iter().map(|package| (directory(package), builds_from(package))).collect();
        let mut services: Vec<_> = metadata
            .packages
            .iter()
            .filter(|package| directory(package).starts_with(root.join(SERVICES)))
            .flat_map(|package| {
                package.targets.iter().filter(|target| target.is_bin()).map(|target| Service {
                    name: target.name.clone(),
                    package: package.name.to_string(),
                    id: package.id.repr.clone(),
                    dir: directory(package),
                    labels: labels(&target.name, package),
                })
            })
            .collect();
        services.sort_by(|a, b| (&a.name, &a.package).cmp(&(&b.name, &b.package)));
        if let Some([a, b]) = services.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let (name, first, second) = (&a.name, &a.package, &b.package);
            return Err(Fault::usage(format!(
                "two services have the name {name}: the packages {first} and {second} both build a binary of it"
            ))
            .hint(format!("rename the binary of {first} or {second}")));
        }
        Ok(Self { root, target_directory: metadata.target_directory.into_std_path_buf(), services, members })
    }

    /// The workspace around a directory, without asking cargo: it is taken to build every image that is named.
    /// For commands that build and run nothing and have no time to wait.
    pub fn assumed(root: PathBuf, images: BTreeSet<String>) -> Self {
        let service = |name: String| Service {
            package: name.clone(),
            id: String::new(),
            dir: root.join(SERVICES),
            labels: BTreeMap::new(),
            name,
        };
        let services = images.into_iter().map(service).collect();
        Self { target_directory: root.join("target"), services, members: BTreeMap::new(), root }
    }

    /// The root of the workspace around a directory, without asking cargo; none if there is none.
    pub fn root_of(directory: &Path) -> Option<PathBuf> {
        let is_root = |path: &&Path| path.join("manifests").is_dir() && path.join("Cargo.toml").is_file();
        directory.ancestors().find(is_root).map(Path::to_owned)
    }

    /// The ids of the packages that the services are built from.
    pub fn packages(&self) -> BTreeSet<String> {
        self.services.iter().map(|service| service.id.clone()).collect()
    }

    /// The service of this name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// What follows from a change of this file (absolute, or relative to the root): the services that
    /// build from the package that it is in, by path dependencies of any kind but dev-dependencies.
    pub fn affected(&self, changed: &Path) -> Affected {
        let changed = self.root.join(changed);
        let mut affected = Affected::default();
        let Ok(inside) = changed.strip_prefix(&self.root) else { return affected };
        if changed.starts_with(&self.target_directory) {
            return affected;
        }
        affected.members = inside.file_name().is_some_and(|name| name == "Cargo.toml");
        affected.manifests = inside.starts_with("manifests");
        affected.xtask = inside.starts_with(XTASK);
        if EVERY_BUILD.iter().any(|every| inside.starts_with(every)) {
            affected.services = self.services.iter().map(|service| service.name.clone()).collect();
            affected.xtask = true;
        } else if !affected.xtask {
            match changed.ancestors().find(|directory| self.members.contains_key(*directory)) {
                Some(member) => affected.services = self.users(member),
                None => affected.members |= inside.starts_with(SERVICES),
            }
        }
        affected
    }

    /// The services that build from this member.
    fn users(&self, member: &Path) -> BTreeSet<String> {
        let uses = |service: &&Service| self.reach(&service.dir).contains(member);
        self.services.iter().filter(uses).map(|service| service.name.clone()).collect()
    }

    /// The members that this one builds from, itself included.
    fn reach<'a>(&'a self, member: &'a Path) -> BTreeSet<&'a Path> {
        let mut reached = BTreeSet::new();
        let mut open = vec![member];
        while let Some(next) = open.pop() {
            if reached.insert(next) {
                open.extend(self.members.get(next).into_iter().flatten().map(PathBuf::as_path));
            }
        }
        reached
    }
}

/// What is known of a program by its package.
/// Source: OCI image specification, annotations.md, "Pre-Defined Annotation Keys".
fn labels(name: &str, package: &Package) -> BTreeMap<String, String> {
    let about = [
        ("title", Some(name.to_owned())),
        ("version", Some(package.version.to_string())),
        ("description", package.description.clone()),
        ("licenses", package.license.clone()),
        ("source", package.repository.clone()),
    ];
    let known = about.into_iter().filter_map(|(key, value)| Some((key, value?)));
    known.map(|(key, value)| (format!("org.opencontainers.image.{key}"), value)).collect()
}

fn directory(package: &Package) -> PathBuf {
    let manifest = package.manifest_path.as_std_path();
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// The directories of a package's path dependencies that reach its binaries.
fn builds_from(package: &Package) -> BTreeSet<PathBuf> {
    let built =
        package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
    built
        .filter_map(|dependency| dependency.path.as_ref())
        .map(|path| path.as_std_path().to_owned())
        .collect()
}

#[cfg(test)]
mod tests;
