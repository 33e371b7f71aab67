//! Pure: a plan -> the objects to apply, and the order in which they are.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::api::Key;
use crate::plan::Plan;

/// On every object that this command applies.
pub const MANAGED: (&str, &str) = ("app.kubernetes.io/managed-by", "xtask");

/// The plan's objects as they are applied: in their namespace, labelled, with the images' names in a registry or a node.
/// `references`: a service's name -> what its image is called. `annotations` are added to every pod.
pub fn of(plan: &Plan, references: &BTreeMap<String, String>, annotations: &[(&str, String)]) -> Vec<Value> {
    let mut objects = Vec::new();
    if plan.namespace != "default" {
        objects
            .push(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": plan.namespace } }));
    }
    objects.extend(plan.service_accounts.iter().map(|own| value(&own.object)));
    objects.extend(plan.services.iter().map(|own| value(&own.object)));
    objects.extend(plan.deployments.iter().map(|own| {
        let mut deployment = value(&own.object);
        for (name, value) in annotations {
            deployment["spec"]["template"]["metadata"]["annotations"][*name] = json!(value);
        }
        for field in ["initContainers", "containers"] {
            let containers = deployment["spec"]["template"]["spec"][field].as_array_mut();
            for container in containers.into_iter().flatten() {
                if let Some(reference) = container["image"].as_str().and_then(|name| references.get(name)) {
                    container["image"] = json!(reference);
                }
            }
        }
        deployment
    }));
    objects.extend(plan.ingresses.iter().map(|own| value(&own.object)));
    for object in &mut objects {
        place(object, &plan.namespace);
    }
    objects
}

/// Puts an object into its namespace, and marks it as ours.
pub fn place(object: &mut Value, namespace: &str) {
    if object["kind"] != "Namespace" && object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object["metadata"]["labels"][MANAGED.0] = json!(MANAGED.1);
}

/// What was applied before and is not among the objects now: to be deleted, in the opposite order.
pub fn pruned(before: &[Key], objects: &[Value]) -> Vec<Key> {
    let now: Vec<Key> = objects.iter().filter_map(Key::of).collect();
    before.iter().rev().filter(|key| !now.contains(key)).cloned().collect()
}

fn value(object: &impl Serialize) -> Value {
    // Kubernetes' types have no maps with keys other than strings: this cannot fail.
    serde_json::to_value(object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str, name: &str) -> Key {
        Key {
            api_version: "v1".into(),
            kind: kind.into(),
            namespace: Some("default".into()),
            name: name.into(),
        }
    }

    #[test]
    fn what_is_not_wanted_any_more_goes_in_the_opposite_order() {
        let object = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "bar", "namespace": "default" },
        });
        let before = [key("ServiceAccount", "foo"), key("Service", "bar"), key("Service", "foo")];
        assert_eq!(pruned(&before, &[object]), [key("Service", "foo"), key("ServiceAccount", "foo")]);
    }

    #[test]
    fn an_object_is_placed_and_marked() {
        let mut object =
            json!({ "kind": "Service", "metadata": { "name": "bar", "labels": { "app": "bar" } } });
        place(&mut object, "default");
        let labels = json!({ "app": "bar", "app.kubernetes.io/managed-by": "xtask" });
        assert_eq!(object["metadata"], json!({ "name": "bar", "namespace": "default", "labels": labels }));
    }
}
