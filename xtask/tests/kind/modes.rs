//! From mode to mode on a running cluster.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::support::text;

/// Whatever was up before, an `up` ends in what it gives on an empty cluster, object by object; and what both modes have
/// alike is not touched on the way.
pub fn each_is_what_a_fresh_up_gives(cluster: &Cluster) {
    const PLAIN: &[&str] = &[];
    const GRPC: &[&str] = &["--grpc"];
    const MESHED: &[&str] = &["--grpc", "--linkerd"];
    let mut fresh: BTreeMap<&[&str], BTreeMap<String, Value>> = BTreeMap::new();
    for mode in [PLAIN, GRPC, MESHED] {
        cluster.checkout.ok(&["down"]);
        if up(cluster, mode) {
            fresh.insert(mode, objects(cluster));
        } else {
            eprintln!("skipped: comparing what {mode:?} gives: Linkerd's images are not in this cluster");
        }
    }
    let mut before: Option<BTreeMap<String, String>> = None;
    for mode in [GRPC, PLAIN, GRPC, MESHED, GRPC, PLAIN] {
        if !up(cluster, mode) {
            // Half of a mode: what follows it is compared all the same.
            before = None;
            continue;
        }
        let now = objects(cluster);
        for (name, object) in &fresh[mode] {
            assert_eq!(now.get(name), Some(object), "{mode:?}: {name}");
        }
        let more: Vec<&String> = now.keys().filter(|name| !fresh[mode].contains_key(*name)).collect();
        assert!(more.is_empty(), "{mode:?} has left {more:?}");
        let versions = versions(cluster);
        if let Some(before) = before.replace(versions.clone()) {
            assert_eq!(versions, before, "{mode:?}");
        }
    }
}

/// Whether it came up; not so only where images are missing.
fn up(cluster: &Cluster, mode: &[&str]) -> bool {
    let line = ["up", "--no-ingress", "--runtime", "kind", "--detach", "--no-watch"];
    let output = cluster.checkout.run(&[&line, mode].concat());
    let missing = output.status.code() == Some(3) && mode.contains(&"--linkerd");
    assert!(output.status.success() || missing, "{mode:?}: {}", text(&output));
    output.status.success()
}

/// Everything but what Kubernetes itself runs, without what the API server and the clock put into it.
fn objects(cluster: &Cluster) -> BTreeMap<String, Value> {
    let kinds = "deployments,services,serviceaccounts,ingresses,roles,rolebindings,cronjobs,namespaces,\
                 customresourcedefinitions,clusterroles,clusterrolebindings,ingressclasses,\
                 mutatingwebhookconfigurations,validatingwebhookconfigurations";
    let list: Value =
        serde_json::from_str(&cluster.kubectl(&["get", kinds, "--all-namespaces", "-o", "json"])).unwrap();
    let list = list["items"].as_array().unwrap();
    // On their way out, which takes the cluster a while.
    let going = |object: &&Value| object["metadata"].get("deletionTimestamp").is_some();
    let gone: Vec<&Value> = list.iter().filter(going).map(|object| &object["metadata"]["name"]).collect();
    let mut objects = BTreeMap::new();
    for mut object in list.iter().filter(|object| !going(object)).cloned() {
        if gone.contains(&&object["metadata"]["namespace"]) {
            continue;
        }
        let metadata = object["metadata"].as_object_mut().unwrap();
        let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        if namespace.starts_with("kube-") || namespace == "local-path-storage" {
            continue;
        }
        for volatile in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
            metadata.remove(volatile);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("deployment.kubernetes.io/revision");
        }
        let key = format!("{}/{namespace}/{name}", object["kind"].as_str().unwrap());
        without(&mut object);
        objects.insert(key, object);
    }
    objects
}

/// Drops what no manifest says: states, addresses, certificates made for this time.
fn without(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for volatile in ["status", "clusterIP", "clusterIPs", "caBundle", "schedule"] {
                map.remove(volatile);
            }
            // Annotations that name certificates which were made just now.
            let names_one = |key: &str| key.contains("checksum") || key.contains("/trust-");
            map.retain(|key, _| !names_one(key));
            map.values_mut().for_each(without);
        }
        Value::Array(list) => list.iter_mut().for_each(without),
        _ => {}
    }
}

/// The versions of what all modes have alike.
fn versions(cluster: &Cluster) -> BTreeMap<String, String> {
    let path = "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}";
    let lines = cluster.kubectl(&["get", "services,serviceaccounts", "-o", path]);
    lines.lines().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}
