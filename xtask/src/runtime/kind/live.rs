//! New programs into containers that run: the quick first answer to an edit. The rollout that follows makes it last, so
//! what runs is never for long another thing than what the cluster was told.
//!
//! It needs a program that executes its own file anew on SIGUSR2 without losing a request, as `services/shared` makes
//! them, and kind's nodes, where containers' files can be reached. Where either is missing the rollout is all there is.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;

use super::api::ApiServer;
use super::engine;
use crate::error::Fault;

/// Replaces the program of containers, one first, the others once that one executes it. Takes the program on its standard
/// input, its name, and containers' ids.
const SCRIPT: &str = r#"
name=$1; shift
new=$(mktemp); trap 'rm -f "$new"' EXIT
cat > "$new"
tasks=/run/containerd/io.containerd.runtime.v2.task/k8s.io
# SIGUSR2, the twelfth, among the signals that it catches.
catches() {
    caught=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null)
    [ -n "$caught" ] && [ $((0x$caught & 0x800)) -ne 0 ]
}
put() {
    pid=$(cat "$tasks/$1/init.pid" 2>/dev/null) || { echo "its container is gone" >&2; exit 1; }
    catches "$pid" || { echo "$name does not catch SIGUSR2" >&2; exit 1; }
    file=$tasks/$1/rootfs/$name
    cp "$new" "$file.new" && chmod 755 "$file.new" && mv -f "$file.new" "$file" || exit 1
    kill -USR2 "$pid"
}
executes() {
    pid=$(cat "$tasks/$1/init.pid" 2>/dev/null)
    for look in $(seq 350); do
        case $(readlink "/proc/$pid/exe" 2>/dev/null) in
            "") echo "the new $name ended" >&2; exit 1 ;;
            *"(deleted)") ;;
            *) catches "$pid" && return ;;
        esac
        sleep 0.02
    done
    echo "$name does not hand over" >&2; exit 1
}
put "$1"; executes "$1"; shift
for id; do put "$id"; done
for id; do executes "$id"; done
"#;

/// A service whose program changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub service: String,
    /// The new program.
    pub program: PathBuf,
    /// What the image that runs is called.
    pub before: String,
}

/// Replaces a service's program in all its pods on these nodes; how many there were. Errors with why it was not; some may
/// have it then.
pub async fn replace(
    server: &ApiServer,
    namespace: &str,
    nodes: &[String],
    change: &Change,
) -> Result<usize, Fault> {
    let pods: Vec<Pod> = server.list(Some(namespace), "").await?;
    let mut count = 0;
    for node in nodes {
        let containers = containers(&pods, node, &change.before);
        if containers.is_empty() {
            continue;
        }
        count += containers.len();
        let mut command = vec!["sh", "-c", SCRIPT, "live", change.service.as_str()];
        command.extend(containers.iter().map(String::as_str));
        let program = change.program.clone();
        engine::feed(node, &command, move |out| io::copy(&mut File::open(program)?, out)).await?;
    }
    Ok(count)
}

/// Pure: the ids of a node's running containers of an image.
fn containers(pods: &[Pod], node: &str, image: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let Some((spec, status)) = pod.spec.as_ref().zip(pod.status.as_ref()) else { continue };
        if spec.node_name.as_deref() != Some(node) {
            continue;
        }
        let of_image = |name: &str| {
            spec.containers.iter().any(|own| own.name == name && own.image.as_deref() == Some(image))
        };
        let running = status.container_statuses.iter().flatten().filter(|container| {
            let running = container.state.as_ref().is_some_and(|state| state.running.is_some());
            running && of_image(&container.name)
        });
        let id = |id: &String| id.strip_prefix("containerd://").map(str::to_owned);
        ids.extend(running.filter_map(|container| container.container_id.as_ref().and_then(id)));
    }
    ids
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn running_containers_of_the_image_on_the_node_are_replaced() {
        let pod = |node: &str, image: &str, state: serde_json::Value| -> Pod {
            serde_json::from_value(json!({
                "metadata": { "name": "baz-1" },
                "spec": {
                    "nodeName": node,
                    "containers": [{ "name": "baz", "image": image }, { "name": "linkerd-proxy", "image": "proxy" }],
                },
                "status": { "containerStatuses": [
                    { "name": "baz", "image": image, "imageID": "", "ready": true, "restartCount": 0,
                      "containerID": format!("containerd://{node}-{image}"), "state": state },
                    { "name": "linkerd-proxy", "image": "proxy", "imageID": "", "ready": true, "restartCount": 0,
                      "containerID": "containerd://proxy", "state": { "running": {} } },
                ] },
            }))
            .unwrap_or_default()
        };
        let running = || json!({ "running": {} });
        let mut ending = pod("one", "baz:1", running());
        ending.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        let pods = [
            pod("one", "baz:1", running()),
            pod("one", "baz:2", running()),
            pod("two", "baz:1", running()),
            pod("one", "baz:1", json!({ "waiting": {} })),
            ending,
        ];
        assert_eq!(containers(&pods, "one", "baz:1"), ["one-baz:1"]);
    }
}
