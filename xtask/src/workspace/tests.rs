use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A member: directory, binaries, and (directory, kind) of its path dependencies.
type Member<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, Option<&'a str>)]);

fn metadata(members: &[Member<'_>]) -> String {
    let packages: Vec<Value> = members
        .iter()
        .map(|(dir, binaries, dependencies)| {
            let name = dir.rsplit('/').next().unwrap();
            let target = |kind: &str, name: &str| {
                json!({"name": name, "kind": [kind], "crate_types": [kind], "src_path": format!("/w/{dir}/src/x.rs"), "edition": "2024"})
            };
            let targets: Vec<_> =
                binaries.iter().map(|binary| target("bin", binary)).chain([target("lib", name)]).collect();
            let dependencies: Vec<_> = dependencies
                .iter()
                .map(|(dir, kind)| {
                    json!({"name": dir.rsplit('/').next().unwrap(), "req": "*", "kind": kind, "optional": false,
                        "uses_default_features": true, "features": [], "path": format!("/w/{dir}")})
                })
                .collect();
            json!({"name": name, "version": "0.1.0", "id": format!("path+file:///w/{dir}#{name}@0.1.0"),
                "dependencies": dependencies, "targets": targets, "features": {},
                "manifest_path": format!("/w/{dir}/Cargo.toml")})
        })
        .collect();
    json!({"packages": packages, "workspace_members": [], "resolve": null, "workspace_root": "/w",
        "target_directory": "/w/target", "version": 1, "metadata": null})
    .to_string()
}

fn workspace() -> Workspace {
    Workspace::load(&metadata(&[
        ("proto", &[], &[]),
        ("services/shared", &[], &[("proto", None)]),
        ("services/foo", &["foo"], &[("services/shared", None)]),
        ("services/bar", &["bar"], &[("proto", Some("build")), ("services/shared", Some("dev"))]),
        ("xtask", &["xtask"], &[("proto", Some("dev")), ("xtask/mesh", None)]),
        ("xtask/mesh", &[], &[]),
    ]))
    .unwrap()
}

fn names(services: &[&str]) -> BTreeSet<String> {
    services.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn services_are_the_binaries_under_services() {
    let names: Vec<_> =
        workspace().services.into_iter().map(|service| (service.name, service.package)).collect();
    assert_eq!(names, [("bar".to_owned(), "bar".to_owned()), ("foo".to_owned(), "foo".to_owned())]);
}

#[test]
fn two_services_of_one_name_are_refused() {
    let metadata = metadata(&[("services/a", &["foo"], &[]), ("services/b", &["foo"], &[])]);
    let error = Workspace::load(&metadata).unwrap_err();
    insta::assert_snapshot!(error, @"two services have the name foo: the packages a and b both build a binary of it");
}

#[test]
fn output_that_is_not_metadata_is_refused() {
    let error = Workspace::load("{}").unwrap_err();
    assert!(error.to_string().starts_with("cannot read the output of cargo metadata: "), "{error}");
}

#[test]
fn a_change_affects_what_builds_from_it() {
    let workspace = workspace();
    let services = |file: &str| workspace.affected(Path::new(file)).services;
    assert_eq!(services("services/foo/src/main.rs"), names(&["foo"]));
    assert_eq!(services("/w/services/foo/src/main.rs"), names(&["foo"]));
    assert_eq!(services("services/shared/src/lib.rs"), names(&["foo"]), "a dev-dependency does not count");
    assert_eq!(services("proto/services.proto"), names(&["bar", "foo"]), "a build-dependency does");
    for file in ["Cargo.toml", "Cargo.lock", ".cargo/config.toml", "rust-toolchain.toml"] {
        assert_eq!(services(file), names(&["bar", "foo"]), "{file}");
    }
    for file in ["README.md", "target/debug/foo", "/elsewhere/services/foo/x.rs", "manifests/base/foo.yaml"] {
        assert_eq!(services(file), names(&[]), "{file}");
    }
}

#[test]
fn what_else_follows_from_a_change() {
    let workspace = workspace();
    let affected = |file: &str| workspace.affected(Path::new(file));
    assert_eq!(affected("xtask/mesh/src/lib.rs"), Affected { xtask: true, ..Affected::default() });
    assert_eq!(affected("manifests/base/foo.yaml"), Affected { manifests: true, ..Affected::default() });
    assert_eq!(affected("services/new/src/main.rs"), Affected { members: true, ..Affected::default() });
    assert!(affected("services/foo/Cargo.toml").members);
    assert_eq!(affected("README.md"), Affected::default());
}

proptest! {
    #[test]
    fn a_service_is_affected_exactly_by_what_it_reaches(
        edges in prop::collection::vec((0..8usize, 0..8usize, 0..3usize), 0..24),
        changed in 0..8usize,
    ) {
        let kinds = [None, Some("build"), Some("dev")];
        let dirs: Vec<_> = (0..8).map(|index| format!("services/s{index}")).collect();
        let names: Vec<_> = (0..8).map(|index| format!("s{index}")).collect();
        let binaries: Vec<_> = names.iter().map(|name| [name.as_str()]).collect();
        let dependencies: Vec<Vec<_>> = (0..8)
            .map(|from| edges.iter().filter(|edge| edge.0 == from).map(|edge| (dirs[edge.1].as_str(), kinds[edge.2])).collect())
            .collect();
        let members: Vec<Member<'_>> =
            (0..8).map(|index| (dirs[index].as_str(), &binaries[index][..], &dependencies[index][..])).collect();
        let workspace = Workspace::load(&metadata(&members)).unwrap();

        // Warshall's closure, as an independent definition of "reaches".
        let mut reaches = [[false; 8]; 8];
        for (index, row) in reaches.iter_mut().enumerate() {
            row[index] = true;
        }
        for &(from, to, kind) in &edges {
            reaches[from][to] |= kind < 2;
        }
        for via in 0..8 {
            for from in 0..8 {
                for to in 0..8 {
                    reaches[from][to] |= reaches[from][via] && reaches[via][to];
                }
            }
        }
        let expected: BTreeSet<_> = (0..8).filter(|&from| reaches[from][changed]).map(|from| names[from].clone()).collect();
        let file = format!("services/s{changed}/src/main.rs");
        prop_assert_eq!(workspace.affected(Path::new(&file)).services, expected);
    }
}
