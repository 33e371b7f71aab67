//! `new`: a service's crate and manifests, all of them or none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::args;
use crate::error::{Exit, Fault};

/// What a service consists of, by its path with `NAME` for its name, in the order in which it appears: a
/// running `up` must not see an Ingress to a Service that is not there yet, nor an image without a crate.
const FILES: [(&str, &str); 6] = [
    ("services/NAME/Cargo.toml", include_str!("new/Cargo.toml.txt")),
    ("services/NAME/src/main.rs", include_str!("new/main.rs.txt")),
    // Before what they protect, so that it is never there without them. What comes from outside is HTTP in each mode.
    ("manifests/policy/http/NAME.yaml", include_str!("new/policy.yaml")),
    ("manifests/policy/grpc/NAME.yaml", include_str!("new/policy.yaml")),
    ("manifests/base/NAME.yaml", include_str!("new/base.yaml")),
    ("manifests/ingress/NAME.yaml", include_str!("new/ingress.yaml")),
];

/// Crates and words that a service cannot be called: the first are this workspace's or the standard library's.
const TAKEN: [&str; 9] = ["shared", "proto", "mesh", "policy", "xtask", "std", "core", "alloc", "test"];
/// Keywords of Rust (edition 2024), also those that are only reserved.
const KEYWORDS: [&str; 52] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield", "union",
];

/// Writes the service to the workspace at `root` and says what to do with it. Errors leave nothing behind.
pub fn run(args: &args::New, root: &Path) -> anyhow::Result<Exit> {
    print!("{}", create(&args.name, root)?);
    Ok(Exit::Ok)
}

/// Writes everything; what to tell.
fn create(name: &str, root: &Path) -> anyhow::Result<String> {
    check_name(name).and_then(|()| check_crate(name, root)).map_err(|why| {
        Fault::usage(format!("`{name}` cannot be a service's name: {why}")).hint("for example `orders`")
    })?;
    let crate_ = root.join("services").join(name);
    let manifests = ["policy/http", "policy/grpc", "base", "ingress"];
    let manifests = manifests.map(|part| root.join("manifests").join(part));
    for directory in [root.join("services")].iter().chain(&manifests) {
        if !directory.is_dir() {
            return Err(Fault::usage(format!("there is no directory {}", directory.display()))
                .hint("run it in a checkout of the workspace")
                .into());
        }
    }
    let manifests = manifests.map(|directory| directory.join(format!("{name}.yaml")));
    let places: Vec<_> = [&crate_].into_iter().chain(&manifests).collect();
    if let Some(there) = places.iter().find(|path| path.symlink_metadata().is_ok()) {
        let there = there.strip_prefix(root).unwrap_or(there.as_path()).display();
        let fault = Fault::usage(format!("`{name}` is taken: {there} is there already"));
        return Err(fault.hint("choose another name, or remove it first").into());
    }
    write_all(name, root, &places)?;

    let files: Vec<_> = FILES.iter().map(|(path, _)| format!("  {}\n", path.replace("NAME", name))).collect();
    Ok(format!(
        "wrote\n{}\nA running `cargo xtask up` builds, starts and routes to it by itself; else start one. Then:\n  \
         curl http://{name}.localhost:8080/\n  cargo xtask call {name}:80/\n",
        files.concat(),
    ))
}

/// Writes beside the places first, so that all that can fail does so before anything is seen; then
/// renames. On a failure everything is removed.
fn write_all(name: &str, root: &Path, places: &[&PathBuf]) -> anyhow::Result<()> {
    // Outside of the globs of cargo's members and of the manifests, on the same file system.
    let staging = root.join(format!(".new-{name}"));
    let mut made = vec![staging.clone()];
    let done =
        stage(name, &staging).with_context(|| format!("cannot write to {}", root.display())).and_then(|()| {
            for place in places {
                let path = place.strip_prefix(root).context("a file outside of the workspace")?;
                fs::rename(staging.join(path), place)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                made.push((*place).clone());
            }
            Ok(())
        });
    let leftovers = if done.is_ok() { &made[..1] } else { &made[..] };
    for path in leftovers {
        // What cannot be removed was not written either, or the error of writing says enough.
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
    done
}

fn stage(name: &str, staging: &Path) -> io::Result<()> {
    match fs::remove_dir_all(staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // Left by one that was killed.
        _ => {}
    }
    for (path, template) in FILES {
        let file = staging.join(path.replace("NAME", name));
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(file, template.replace("NAME", name))?;
    }
    Ok(())
}

/// A DNS label of RFC 1035, which a Service's name must be, and a name that cargo and rustc take.
fn check_name(name: &str) -> Result<(), String> {
    let label = name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if name.is_empty() || !label {
        return Err("it needs lower-case letters, digits and `-`, a letter first and no `-` last".to_owned());
    }
    // A pod's name, with what is added to a Deployment's, is a label too.
    if name.len() > 40 {
        return Err("it has more than 40 characters, and a pod's name adds to it".to_owned());
    }
    if KEYWORDS.contains(&name) {
        return Err("it is a keyword of Rust".to_owned());
    }
    if TAKEN.contains(&name) {
        return Err("a crate of that name is there already".to_owned());
    }
    Ok(())
}

/// `cargo build -p NAME` must mean one crate only.
fn check_crate(name: &str, root: &Path) -> Result<(), String> {
    // Without a lock file nothing was built yet, and cargo will say it.
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
    let named = format!("name = \"{name}\"\n");
    // Members have no source.
    if lock.split("[[package]]").any(|package| package.contains(&named) && package.contains("\nsource = ")) {
        return Err("the workspace depends on a crate of that name".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn workspace() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for directory in [
            "services/baz",
            "manifests/base",
            "manifests/ingress",
            "manifests/policy/http",
            "manifests/policy/grpc",
        ] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        root
    }

    /// Every file below, with what is in it.
    fn files(root: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    directories.push(entry);
                } else {
                    let name = entry.strip_prefix(root).unwrap().display().to_string();
                    found.insert(name, fs::read_to_string(entry).unwrap());
                }
            }
        }
        found
    }

    #[test]
    fn a_new_service_is_a_crate_and_its_manifests() {
        let root = workspace();
        insta::assert_snapshot!(create("qux", root.path()).unwrap(), @r"
        wrote
          services/qux/Cargo.toml
          services/qux/src/main.rs
          manifests/policy/http/qux.yaml
          manifests/policy/grpc/qux.yaml
          manifests/base/qux.yaml
          manifests/ingress/qux.yaml

        A running `cargo xtask up` builds, starts and routes to it by itself; else start one. Then:
          curl http://qux.localhost:8080/
          cargo xtask call qux:80/
        ");
        let files = files(root.path());
        assert_eq!(files.len(), 6, "{:?}", files.keys());
        assert!(files.values().all(|text| text.contains("qux") && !text.contains("NAME")));
        assert!(!root.path().join(".new-qux").exists());
    }

    #[test]
    fn its_manifests_are_objects_of_kubernetes_that_belong_together() {
        use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service, networking::v1::Ingress};

        let root = workspace();
        create("qux", root.path()).unwrap();
        let files = files(root.path());
        let documents: Vec<_> = files["manifests/base/qux.yaml"].split("\n---\n").collect();
        let service: Service = serde_saphyr::from_str(documents[1]).unwrap();
        let deployment: Deployment = serde_saphyr::from_str(documents[2]).unwrap();
        let ingress: Ingress = serde_saphyr::from_str(&files["manifests/ingress/qux.yaml"]).unwrap();
        let template = deployment.spec.unwrap().template;
        assert_eq!(service.spec.unwrap().selector, template.metadata.unwrap().labels);
        let pod = template.spec.unwrap();
        assert_eq!(
            (pod.service_account_name.as_deref(), pod.containers[0].image.as_deref()),
            (Some("qux"), Some("qux"))
        );
        assert_eq!(ingress.spec.unwrap().rules.unwrap()[0].host.as_deref(), Some("qux.localhost"));
    }

    #[test]
    fn its_policies_let_the_ingress_in_and_nobody_else() {
        use crate::workspace::policies::Policies;
        use policy::authz::Client;
        use policy::cluster::ClusterInfo;
        use policy::inbound::{Inbound, Verdict};
        use policy::model::{Objects, Workload};
        use policy::route::{Protocol, Request};

        let root = workspace();
        create("qux", root.path()).unwrap();
        let files = files(root.path());
        let deployment = files["manifests/base/qux.yaml"].split("\n---\n").nth(2).unwrap();
        let workload = Workload::of(&serde_saphyr::from_str(deployment).unwrap());
        let (cluster, headers) = (ClusterInfo::default(), http::HeaderMap::new());
        let request = Request {
            protocol: Protocol::Http1,
            method: &http::Method::GET,
            authority: Some("qux"),
            path: "/",
            query: None,
            headers: &headers,
        };
        for mode in ["http", "grpc"] {
            let path = PathBuf::from("manifests/policy").join(mode);
            let mut objects = Objects::default();
            Policies::read(root.path(), &[path]).unwrap().add_to(&mut objects);
            let inbound = Inbound::new(&workload, &objects, &cluster);
            let verdict = |account: &str, namespace: &str| {
                let identity = cluster.identity(account, namespace);
                let client = Client { address: "10.244.0.10".parse().unwrap(), identity: Some(&identity) };
                inbound.port(8080).decide(&client, &request).verdict
            };
            assert_eq!(verdict("ingress-nginx", "ingress-nginx"), Verdict::Allow, "{mode}");
            assert_eq!(verdict("foo", "default"), Verdict::Deny, "{mode}");
            assert_eq!(inbound.ignored, [], "{mode}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_refused_before_anything_is_touched() {
        let root = workspace();
        let wrong: Vec<_> =
            ["", "Qux", "1qux", "qux-", "qu_x", "../x", "match", "shared", "baz", &"q".repeat(41)]
                .iter()
                .map(|name| create(name, root.path()).unwrap_err().to_string())
                .collect();
        insta::assert_snapshot!(wrong.join("\n"), @r"
        `` cannot be a service's name: it needs lower-case letters, digits and `-`, a letter first and no `-` last
        `Qux` cannot be a service's name: it needs lower-case letters, digits and `-`, a letter first and no `-` last
        `1qux` cannot be a service's name: it needs lower-case letters, digits and `-`, a letter first and no `-` last
        `qux-` cannot be a service's name: it needs lower-case letters, digits and `-`, a letter first and no `-` last
        `qu_x` cannot be a service's name: it needs lower-case letters, digits and `-`, a letter first and no `-` last
        `../x` cannot be a service's name: it needs lower-case letters, digits and `-`, a letter first and no `-` last
        `match` cannot be a service's name: it is a keyword of Rust
        `shared` cannot be a service's name: a crate of that name is there already
        `baz` is taken: services/baz is there already
        `qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq` cannot be a service's name: it has more than 40 characters, and a pod's name adds to it
        ");
        assert!(files(root.path()).is_empty());
    }

    #[test]
    fn a_failure_halfway_leaves_nothing() {
        let root = workspace();
        let places = ["services/qux", "manifests/base/qux.yaml", "manifests/gone/qux.yaml"];
        let places = places.map(|place| root.path().join(place));
        let error = write_all("qux", root.path(), &places.each_ref()).unwrap_err();
        insta::assert_snapshot!(error, @"cannot write manifests/gone/qux.yaml");
        assert!(files(root.path()).is_empty());
        assert!(!root.path().join("services/qux").exists() && !root.path().join(".new-qux").exists());
    }

    #[test]
    fn the_name_of_a_crate_that_the_workspace_uses_is_refused() {
        let root = workspace();
        let lock = "[[package]]\nname = \"qux\"\nversion = \"1.0.0\"\nsource = \"registry\"\n\n\
            [[package]]\nname = \"gone\"\nversion = \"0.1.0\"\n";
        fs::write(root.path().join("Cargo.lock"), lock).unwrap();
        insta::assert_snapshot!(
            create("qux", root.path()).unwrap_err(),
            @"`qux` cannot be a service's name: the workspace depends on a crate of that name"
        );
        assert!(create("gone", root.path()).is_ok(), "once a member, not any more");
    }
}
