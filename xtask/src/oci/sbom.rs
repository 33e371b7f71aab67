//! What a program was built from, as `CycloneDX` 1.6: every crate with its version, licence and checksum, and which uses
//! which. Source: <https://cyclonedx.org/docs/1.6/json/>.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};
use serde_json::{Value, json};

use super::{Blob, document};

/// What the document is, to whoever lists an image's referrers.
pub const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json";

/// The document of the program `name` of a package. `lock` is the text of Cargo.lock, which has the checksums. None when
/// the metadata does not know the package or was read without its dependencies.
pub fn of(name: &str, package: &str, metadata: &Metadata, lock: &str) -> Option<Blob> {
    let packages: BTreeMap<&PackageId, &Package> = metadata.packages.iter().map(|p| (&p.id, p)).collect();
    let root = packages.values().find(|known| known.id.repr == package)?;
    let uses = used(metadata, &root.id)?;
    let checksums = checksums(lock);
    let crates = uses.keys().filter(|id| **id != &root.id).filter_map(|id| packages.get(*id));
    let mut components: Vec<Value> = crates.map(|package| component(package, &checksums)).collect();
    components.sort_by_key(|component| component["bom-ref"].to_string());
    let mut dependencies: Vec<Value> = uses
        .iter()
        .filter_map(|(id, uses)| {
            let mut uses: Vec<_> =
                uses.iter().filter_map(|id| packages.get(id)).map(|used| purl(used)).collect();
            uses.sort();
            Some(json!({ "ref": purl(packages.get(*id)?), "dependsOn": uses }))
        })
        .collect();
    dependencies.sort_by_key(|dependency| dependency["ref"].to_string());
    let mut subject = component(root, &checksums);
    subject["type"] = json!("application");
    subject["name"] = json!(name);
    let bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        // Without a serial number and a time, which would make another document of the same content.
        "metadata": { "component": subject },
        "components": components,
        "dependencies": dependencies,
    });
    Some(Blob::of_bytes(MEDIA_TYPE, document(&bom)))
}

/// What a package is built from, itself included: crates that its program has code of, not those of build scripts and
/// tests.
fn used<'a>(
    metadata: &'a Metadata,
    root: &'a PackageId,
) -> Option<BTreeMap<&'a PackageId, BTreeSet<&'a PackageId>>> {
    let nodes: BTreeMap<_, _> =
        metadata.resolve.as_ref()?.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut found: BTreeMap<&PackageId, BTreeSet<&PackageId>> = BTreeMap::new();
    let mut left = vec![root];
    while let Some(id) = left.pop() {
        if found.contains_key(id) {
            continue;
        }
        let normal = |dependency: &&cargo_metadata::NodeDep| {
            dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        };
        let uses: BTreeSet<_> = nodes.get(id)?.deps.iter().filter(normal).map(|d| &d.pkg).collect();
        left.extend(&uses);
        found.insert(id, uses);
    }
    Some(found)
}

fn component(package: &Package, checksums: &BTreeMap<(String, String), String>) -> Value {
    let purl = purl(package);
    let mut component = json!({
        "type": "library",
        "bom-ref": purl,
        "name": package.name.as_str(),
        "version": package.version.to_string(),
    });
    // Crates of this workspace are on no registry.
    if package.source.is_some() {
        component["purl"] = json!(purl);
    }
    if let Some(license) = &package.license {
        // Before SPDX expressions, cargo took a slash for `OR`.
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    if let Some(checksum) = checksums.get(&(package.name.to_string(), package.version.to_string())) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

/// The checksums in a Cargo.lock, by name and version. One that cannot be read has none.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    #[derive(serde::Deserialize)]
    struct Lock {
        #[serde(default)]
        package: Vec<Locked>,
    }
    #[derive(serde::Deserialize)]
    struct Locked {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let lock: Lock = toml::from_str(lock).unwrap_or(Lock { package: Vec::new() });
    lock.package.into_iter().filter_map(|p| Some(((p.name, p.version), p.checksum?))).collect()
}
