//! `call` in a cluster: the request is sent by a pod with the asked `ServiceAccount`, through its own sidecar where
//! there is one. What it is to send reaches it through the API server.

use std::time::{Duration, Instant};

use http::Request;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use serde_json::{Value, json};

use super::api::{self, ApiServer, Key};
use super::inventory::Inventory;
use super::objects::{self, MANAGED};
use super::progress::state;
use crate::error::Fault;
use crate::plan::INGRESS_ACCOUNT;
use crate::plan::lookup::{name, ports};
use crate::report::event::PodState;
use crate::runtime::{CallAnswer, CallRequest};

/// The program that the pods run.
pub const PROGRAM: &str = "xtask-client";

/// On every pod that sends calls.
const LABEL: &str = "xtask.dev/client";

/// Where it is told what to send; no traffic of the mesh.
const PORT: u16 = 8099;

/// A client pod is ready within this, or it will not be.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who sends.
struct Sender {
    namespace: String,
    /// None: the namespace's default one, outside of the mesh.
    account: Option<String>,
}

/// Sends what was asked for as its client. `image`: what the client's image is called, where this process loaded it;
/// else what an earlier client ran is used again. Errors for a Service, port or `ServiceAccount` that is not there.
pub async fn call(
    server: &ApiServer,
    namespace: &str,
    image: Option<String>,
    asked: &CallRequest,
) -> anyhow::Result<CallAnswer> {
    let inventory = Inventory::read(server, namespace).await?;
    let inventory = inventory.ok_or_else(|| Fault::environment("nothing is up").hint("cargo xtask up"))?;
    let services: Vec<Service> = server.list(Some(namespace), "").await?;
    let ours = |name: &str| inventory.objects.iter().any(|key| key.kind == "Service" && key.name == name);
    let Some(service) = services.iter().find(|service| name(*service) == asked.service) else {
        let known: Vec<&str> = services.iter().map(name).filter(|name| ours(name)).collect();
        return Err(
            Fault::usage(format!("no Service `{}` (known: {})", asked.service, known.join(", "))).into()
        );
    };
    let number = asked.port.parse::<i32>().ok();
    let is = |port: &&k8s_openapi::api::core::v1::ServicePort| {
        Some(port.port) == number || port.name.as_deref() == Some(&asked.port)
    };
    let Some(port) = ports(service).iter().find(is) else {
        let known = ports(service).iter().map(|port| {
            format!("{} {}", port.port, port.name.as_deref().unwrap_or_default()).trim().to_owned()
        });
        let known: Vec<String> = known.collect();
        let (service, port, known) = (&asked.service, &asked.port, known.join(", "));
        return Err(Fault::usage(format!("Service {service} has no port `{port}` (known: {known})")).into());
    };
    let sender = sender(server, namespace, asked.service_account.as_deref(), inventory.ingress).await?;
    let image = image.or(inventory.client.clone()).ok_or_else(|| {
        Fault::environment("no client was loaded into this cluster").hint("cargo xtask up loads it")
    })?;
    let pod = ready(server, &sender, &image, inventory.linkerd).await?;
    let body = json!({
        "request": asked,
        "authority": format!("{}.{namespace}.svc.cluster.local:{}", asked.service, port.port),
        "grpc": client::is_grpc(port.name.as_deref(), port.app_protocol.as_deref(), &asked.path),
    });
    let body = serde_json::to_vec(&body)?;
    let uri = format!("/api/v1/namespaces/{}/pods/{pod}:{PORT}/proxy/call", sender.namespace);
    // Not asked again when it fails: the request may have been sent.
    let request = Request::post(uri).header("content-type", "application/json").body(body)?;
    let answer = server.client.request::<CallAnswer>(request).await;
    answer.map_err(|error| match &error {
        kube::Error::Api(status) if status.code == 400 => Fault::usage(status.message.clone()).into(),
        kube::Error::Api(status) if status.code == 422 => Fault::failed(status.message.clone()).into(),
        _ => api::fault(&format!("the client {pod} does not answer"), &error).into(),
    })
}

/// The `ServiceAccount` and the namespace that a name means: `bar`, `bar.default`, `ingress`.
async fn sender(
    server: &ApiServer,
    namespace: &str,
    asked: Option<&str>,
    ingress: bool,
) -> Result<Sender, Fault> {
    let Some(asked) = asked else { return Ok(Sender { namespace: namespace.to_owned(), account: None }) };
    let (account, of) = if asked == "ingress" && ingress {
        INGRESS_ACCOUNT
    } else {
        asked.split_once('.').unwrap_or((asked, namespace))
    };
    let accounts: Vec<ServiceAccount> = server.list(Some(of), "").await?;
    if accounts.iter().any(|known| name(known) == account) {
        return Ok(Sender { namespace: of.to_owned(), account: Some(account.to_owned()) });
    }
    let mut known: Vec<&str> = accounts.iter().map(name).collect();
    known.extend(ingress.then_some("ingress"));
    Err(Fault::usage(format!("no ServiceAccount `{asked}` (known: {})", known.join(", "))))
}

/// The name of a client pod that is ready; made when there is none, made again when it is of another image or mesh.
async fn ready(server: &ApiServer, sender: &Sender, image: &str, linkerd: bool) -> anyhow::Result<String> {
    let wanted = pod(sender, image, linkerd && sender.account.is_some());
    let key = Key::of(&wanted).ok_or_else(|| Fault::failed("a pod without a name"))?;
    let mark = &wanted["metadata"]["annotations"];
    if let Some(there) = server.get(&key).await? {
        let same = there.metadata.annotations.as_ref().and_then(|had| had.get(LABEL)).map(String::as_str)
            == mark[LABEL].as_str();
        if !same || there.metadata.deletion_timestamp.is_some() {
            server.delete(&key).await?;
            server.gone(&key).await?;
        }
    }
    server.apply(&wanted, true).await?;
    let start = Instant::now();
    loop {
        let pods: Vec<Pod> = server.list(Some(&sender.namespace), LABEL).await?;
        let states = pods.iter().find(|pod| name(*pod) == key.name).map(state);
        match states {
            Some((PodState::Ready, _)) => return Ok(key.name),
            Some((_, why)) if start.elapsed() > PATIENCE => {
                return Err(Fault::failed(format!("the client {} is not ready: {why}", key.name)).into());
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn pod(sender: &Sender, image: &str, meshed: bool) -> Value {
    let inject = if meshed { "enabled" } else { "disabled" };
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": sender.account.as_ref().map_or("xtask-call".to_owned(), |account| format!("xtask-call-{account}")),
            "namespace": sender.namespace,
            "labels": { LABEL: "true" },
            "annotations": {
                // What it was made for: another is made in its place when this changes.
                LABEL: format!("{image} {inject}"),
                "linkerd.io/inject": inject,
                // The API server has no identity, and what it tells is no call.
                "config.linkerd.io/skip-inbound-ports": PORT.to_string(),
            },
        },
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "client",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "env": [{ "name": "CONTROL_PORT", "value": PORT.to_string() }],
                "ports": [{ "name": "control", "containerPort": PORT }],
                "readinessProbe": { "httpGet": { "path": "/ready", "port": PORT }, "periodSeconds": 1 },
                "resources": { "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "128Mi" } },
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    });
    if let Some(account) = &sender.account {
        pod["spec"]["serviceAccountName"] = json!(account);
    }
    objects::place(&mut pod, &sender.namespace);
    pod
}

/// Deletes every client pod.
pub async fn remove(server: &ApiServer) -> Result<(), Fault> {
    let selector = format!("{LABEL},{}={}", MANAGED.0, MANAGED.1);
    let pods: Vec<Pod> = server.list(None, &selector).await?;
    for pod in pods {
        let key = Key {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: pod.metadata.namespace.clone(),
            name: name(&pod).to_owned(),
        };
        server.delete(&key).await?;
    }
    Ok(())
}
