//! The services and xtask share one build of what both depend on.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Every dependency that a build of these packages compiles, with each set of features that it has there.
fn features(packages: &[String]) -> BTreeMap<String, BTreeSet<String>> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--edges=normal,build", "--prefix=none", "--format={p}|{f}"]);
    tree.args(packages.iter().map(|package| format!("--package={package}")));
    let output = tree.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut features: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let listed = String::from_utf8(output.stdout).unwrap();
    // Without the empty lines between the packages.
    for (package, set) in listed.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|')) {
        features.entry(package.to_owned()).or_default().insert(set.to_owned());
    }
    features
}

/// The packages under `services/`, by an id that no dependency shares.
fn services() -> Vec<String> {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("services");
    let directories = services.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let packages = directories.filter(|directory| directory.join("Cargo.toml").is_file());
    packages.map(|directory| format!("path+file://{}", directory.display())).collect()
}

#[test]
fn no_dependency_is_compiled_a_second_time_for_the_services_features() {
    let services = services();
    let mine = format!("path+file://{}", env!("CARGO_MANIFEST_DIR"));
    let together = features(&[&services[..], &[mine]].concat());
    let different: Vec<String> = features(&services)
        .iter()
        .filter_map(|(package, alone)| {
            let new: Vec<_> = alone.difference(&together[package]).cloned().collect();
            let beside = together[package].iter().cloned().collect::<Vec<_>>().join("] and [");
            (!new.is_empty()).then(|| format!("{package}: [{}], with xtask [{beside}]", new.join("] and [")))
        })
        .collect();
    assert!(
        different.is_empty(),
        "services alone are built with other features than with xtask; ask for those that are missing in the root \
         Cargo.toml, and for the crate in services/shared/Cargo.toml:\n{}",
        different.join("\n")
    );
}
