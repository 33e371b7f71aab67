//! Policies in a cluster: applied server-side, strictly, all or nothing; what was applied is kept in the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api::{ApiServer, Applied, Key};
use super::objects::{MANAGED, place};
use crate::error::Fault;
use crate::runtime::policy::{Change, Changed, Given, ObjectKey, PolicyObject, PolicyState};

/// The `ConfigMap` that lists what was applied, in the namespace of the workloads.
const NAME: &str = "xtask-policies";

/// Linkerd's policy controller says within this what it thinks of a route.
const ACCEPTED: Duration = Duration::from_secs(3);

fn record_key(namespace: &str) -> Key {
    Key {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: NAME.to_owned(),
    }
}

/// The keys of what was applied, in no order.
async fn record(server: &ApiServer, namespace: &str) -> Result<BTreeSet<Key>, Fault> {
    let found = server.get(&record_key(namespace)).await?;
    let keys = found.and_then(|map| serde_json::from_str(map.data["data"]["policies"].as_str()?).ok());
    Ok(keys.unwrap_or_default())
}

async fn keep(server: &ApiServer, namespace: &str, keys: &BTreeSet<Key>) -> Result<(), Fault> {
    let text = serde_json::to_string(keys).map_err(|error| Fault::failed(error.to_string()))?;
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": NAME, "namespace": namespace, "labels": { MANAGED.0: MANAGED.1 } },
        "data": { "policies": text },
    });
    server.apply(&map, true).await.map(drop)
}

/// Errors where no definition of Linkerd's is served: nothing would enforce a policy.
async fn enforced(server: &ApiServer) -> Result<(), Fault> {
    let key = Key {
        api_version: "apiextensions.k8s.io/v1".to_owned(),
        kind: "CustomResourceDefinition".to_owned(),
        namespace: None,
        name: "servers.policy.linkerd.io".to_owned(),
    };
    match server.get(&key).await? {
        Some(_) => Ok(()),
        None => Err(Fault::usage("nothing enforces policies without sidecars")
            .hint("cargo xtask up --linkerd with its other options")),
    }
}

/// What is in force of what was applied.
pub async fn show(server: &ApiServer, namespace: &str) -> Result<PolicyState, Fault> {
    let mut objects = Vec::new();
    for key in record(server, namespace).await? {
        if let Some(found) = server.get(&key).await? {
            let mut value = serde_json::to_value(&found).unwrap_or_default();
            value["metadata"]["managedFields"].take();
            let read = serde_json::from_value(json!({ "type": key.kind, "object": value }));
            objects.push(read.map_err(|error| Fault::failed(format!("cannot read {key}: {error}")))?);
        }
    }
    objects.sort_by_key(PolicyObject::key);
    Ok(PolicyState { objects, ..PolicyState::default() })
}

/// Applies objects; the API server is asked about every one of them before the first is changed.
pub async fn apply(
    server: &ApiServer,
    namespace: &str,
    objects: &[Given],
    force: bool,
) -> Result<PolicyState, Fault> {
    enforced(server).await?;
    let given: Vec<(ObjectKey, Value)> =
        objects.iter().map(|given| (given.object.key(), manifest(&given.object, namespace))).collect();
    for (_, object) in &given {
        server.try_apply(object, force).await?;
    }
    let mut keys = record(server, namespace).await?;
    keys.extend(given.iter().filter_map(|(_, object)| Key::of(object)));
    keep(server, namespace, &keys).await?;
    let mut changes = Vec::new();
    for (key, object) in &given {
        let change = match server.apply(object, force).await? {
            Applied::Created => Changed::Created,
            Applied::Configured => Changed::Configured,
            Applied::Unchanged => Changed::Unchanged,
        };
        changes.push(Change { object: key.clone(), change });
    }
    let conditions = conditions(server, &given).await?;
    Ok(PolicyState { changes, conditions, ..show(server, namespace).await? })
}

/// Deletes those of the objects that were applied.
pub async fn delete(
    server: &ApiServer,
    namespace: &str,
    objects: &[ObjectKey],
) -> Result<PolicyState, Fault> {
    let mut keys = record(server, namespace).await?;
    let mut changes = Vec::new();
    for object in objects {
        let of = |key: &&Key| {
            let group = key.api_version.split_once('/').map_or("", |(group, _)| group);
            let place = key.namespace.as_deref().unwrap_or_default();
            (key.kind.as_str(), group, place, key.name.as_str())
                == (
                    object.kind.as_str(),
                    object.group.as_str(),
                    object.namespace.as_str(),
                    object.name.as_str(),
                )
        };
        let key = keys.iter().find(of).cloned();
        let there = match &key {
            Some(key) => server.delete(key).await?,
            None => false,
        };
        if let Some(key) = &key {
            keys.remove(key);
        }
        let change = if there { Changed::Deleted } else { Changed::NotFound };
        changes.push(Change { object: object.clone(), change });
    }
    keep(server, namespace, &keys).await?;
    Ok(PolicyState { changes, ..show(server, namespace).await? })
}

/// Deletes all that was applied, and the list of it.
pub async fn remove(server: &ApiServer, namespace: &str) -> Result<(), Fault> {
    for key in record(server, namespace).await? {
        server.delete(&key).await?;
    }
    server.delete(&record_key(namespace)).await.map(drop)
}

/// An object as its file has it: without what was not said.
fn manifest(object: &PolicyObject, namespace: &str) -> Value {
    // The types have no maps with keys other than strings: this cannot fail.
    let mut manifest = serde_json::to_value(object).unwrap_or_default()["object"].take();
    tidy(&mut manifest);
    place(&mut manifest, namespace);
    manifest
}

/// Takes out what is null, and lists that are empty but for the one that says something by it.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, field| {
                tidy(field);
                let empty =
                    field.as_array().is_some_and(Vec::is_empty) && name != "requiredAuthenticationRefs";
                !field.is_null() && !empty
            });
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// What Linkerd's policy controller says of the routes: `GRPCRoute baz: accepted`, or why not. Nothing of those that it
/// says nothing of in time.
async fn conditions(server: &ApiServer, given: &[(ObjectKey, Value)]) -> Result<Vec<String>, Fault> {
    let start = Instant::now();
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    let routes = given.iter().filter(|(key, _)| key.kind.ends_with("Route"));
    for (shown, object) in routes {
        let Some(key) = Key::of(object) else { continue };
        loop {
            let found = server.get(&key).await?;
            let generation = found.as_ref().and_then(|found| found.metadata.generation);
            let parents = found.and_then(|found| found.data["status"]["parents"].as_array().cloned());
            let all: Vec<Value> = parents
                .into_iter()
                .flatten()
                .flat_map(|parent| parent["conditions"].as_array().cloned().unwrap_or_default())
                .filter(|condition| {
                    let seen = condition["observedGeneration"].as_i64();
                    seen.is_none() || seen >= generation
                })
                .collect();
            let bad = all.iter().find(|condition| condition["status"] == "False");
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let told = match bad {
                Some(bad) => {
                    let (what, why) = (text(&bad["type"]), text(&bad["reason"]));
                    Some(format!("not {}: {why} {}", what.to_lowercase(), text(&bad["message"])))
                }
                None => (!all.is_empty()).then(|| "accepted".to_owned()),
            };
            if let Some(told) = told {
                said.insert(shown.to_string(), told.trim_end().to_owned());
                break;
            }
            if start.elapsed() > ACCEPTED {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(said.into_iter().map(|(route, told)| format!("{route}: {told}")).collect())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::policies::given;
    use crate::workspace::policies::Policies;

    #[test]
    fn what_is_applied_is_what_the_files_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for directory in ["manifests/policy/grpc", "manifests/policy/http", "manifests/walkthrough/grpc"] {
            let policies = Policies::read(root, &[PathBuf::from(directory)]).unwrap();
            let mut applied: Vec<Value> =
                given(&policies).iter().map(|given| manifest(&given.object, "default")).collect();
            let mut written = Vec::new();
            for file in std::fs::read_dir(root.join(directory)).unwrap() {
                let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
                for part in text.split("\n---\n") {
                    let mut object: Value = serde_saphyr::from_str(part).unwrap();
                    place(&mut object, "default");
                    written.push(object);
                }
            }
            let order = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
            applied.sort_by_key(order);
            written.sort_by_key(order);
            assert_eq!(applied, written, "{directory}");
        }
    }
}
