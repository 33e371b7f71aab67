//! What a cluster says of a failure: objects, events, what every container wrote, what proxies counted. Secrets are never
//! read.

use std::collections::BTreeSet;

use http::Request;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::api::ApiServer;
use crate::plan::lookup::name;
use crate::runtime::Evidence;

/// The lists that are kept of each namespace: group, version and plural.
const LISTS: &[&str] = &[
    "api/v1/pods",
    "api/v1/services",
    "api/v1/serviceaccounts",
    "api/v1/configmaps",
    "api/v1/events",
    "apis/apps/v1/deployments",
    "apis/apps/v1/replicasets",
    "apis/discovery.k8s.io/v1/endpointslices",
    "apis/networking.k8s.io/v1/ingresses",
    "apis/gateway.networking.k8s.io/v1/httproutes",
    "apis/gateway.networking.k8s.io/v1/grpcroutes",
    "apis/policy.linkerd.io/v1beta3/servers",
    "apis/policy.linkerd.io/v1beta3/httproutes",
    "apis/policy.linkerd.io/v1alpha1/authorizationpolicies",
    "apis/policy.linkerd.io/v1alpha1/meshtlsauthentications",
    "apis/policy.linkerd.io/v1alpha1/networkauthentications",
];

/// Of each container's log: its end.
const LOG: &str = "tailLines=5000&limitBytes=4000000";

/// The proxies' port for metrics (Linkerd's reference, "Proxy Metrics").
const PROXY_ADMIN: u16 = 4191;

/// Everything there is of these namespaces. What the cluster does not have is left out.
pub async fn of(server: &ApiServer, namespaces: &BTreeSet<String>) -> Vec<Evidence> {
    let mut evidence = Vec::new();
    for (path, file) in [
        ("/version", "cluster/version.json"),
        ("/api/v1/nodes", "cluster/nodes.json"),
        ("/api/v1/namespaces", "cluster/namespaces.json"),
    ] {
        evidence.extend(get(server, path).await.map(|text| pretty(file, text)));
    }
    for namespace in namespaces {
        for list in LISTS {
            let (group, plural) = list.rsplit_once('/').unwrap_or(("", list));
            let Some(text) = get(server, &format!("/{group}/namespaces/{namespace}/{plural}")).await else {
                continue;
            };
            if serde_json::from_str::<Value>(&text).is_ok_and(|list| list["items"] != serde_json::json!([])) {
                // Two groups have a kind of one name.
                let group = if group.contains("policy.linkerd") { "policy-" } else { "" };
                evidence.push(pretty(&format!("{namespace}/{group}{plural}.json"), text));
            }
        }
        let pods: Vec<Pod> = server.list(Some(namespace), "").await.unwrap_or_default();
        for pod in &pods {
            of_pod(server, namespace, pod, &mut evidence).await;
        }
    }
    evidence
}

async fn of_pod(server: &ApiServer, namespace: &str, pod: &Pod, evidence: &mut Vec<Evidence>) {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{}", name(pod));
    let file = format!("{namespace}/logs/{}", name(pod));
    for (container, restarts) in containers(pod) {
        let log = format!("{path}/log?container={container}&{LOG}");
        evidence.extend(
            get(server, &log).await.map(|text| Evidence::text(format!("{file}.{container}.log"), text)),
        );
        if restarts > 0 {
            let before = get(server, &format!("{log}&previous=true")).await;
            evidence
                .extend(before.map(|text| Evidence::text(format!("{file}.{container}.previous.log"), text)));
        }
        if container == "linkerd-proxy" {
            let metrics = get(server, &format!("{path}:{PROXY_ADMIN}/proxy/metrics")).await;
            let file = format!("{namespace}/metrics/{}.txt", name(pod));
            evidence.extend(metrics.map(|text| Evidence::text(file, text)));
        }
    }
}

/// Every container of a pod, with how often it was started again.
fn containers(pod: &Pod) -> Vec<(String, i32)> {
    let Some(status) = &pod.status else { return Vec::new() };
    let statuses =
        [&status.init_container_statuses, &status.container_statuses].into_iter().flatten().flatten();
    statuses.map(|container| (container.name.clone(), container.restart_count)).collect()
}

async fn get(server: &ApiServer, path: &str) -> Option<String> {
    let request = Request::get(path).body(Vec::new()).ok()?;
    server.client.request_text(request).await.ok()
}

/// JSON, as a server writes it, for people to read.
fn pretty(path: &str, text: String) -> Evidence {
    match serde_json::from_str::<Value>(&text) {
        Ok(value) => Evidence::json(path, &value),
        Err(_) => Evidence::text(path, text),
    }
}
