//! A client of the environment for one call: with an identity, behind a sidecar of its own; or without.

use std::net::Ipv4Addr;
use std::sync::Arc;

use mesh::{SidecarSpec, Workload};

use super::address::cluster_address;
use super::call::{self, Reach};
use super::node::{Node, inbound};
use crate::error::Fault;
use crate::plan::Plan;
use crate::plan::lookup::{name, ports};
use crate::runtime::{CallAnswer, CallRequest};

/// Sends what was asked for as its client. Errors for a Service, port or `ServiceAccount` that is not there.
pub async fn call(node: &Node, plan: &Plan, asked: &CallRequest) -> anyhow::Result<CallAnswer> {
    let service = plan.service(&asked.service).ok_or_else(|| {
        let known: Vec<&str> = plan.services.iter().map(|service| name(&service.object)).collect();
        Fault::usage(format!("no Service `{}` (known: {})", asked.service, known.join(", ")))
    })?;
    let port = plan.service_port(&asked.service, &asked.port).ok_or_else(|| {
        let known: Vec<String> = ports(&service.object)
            .iter()
            .map(|port| {
                format!("{} {}", port.port, port.name.as_deref().unwrap_or_default()).trim().to_owned()
            })
            .collect();
        Fault::usage(format!(
            "Service {} has no port `{}` (known: {})",
            asked.service,
            asked.port,
            known.join(", ")
        ))
    })?;
    let number = u16::try_from(port.port)?;
    let namespace = &plan.namespace;
    let authority = format!("{}.{namespace}.svc.cluster.local:{number}", asked.service);
    if let Some(account) = &asked.service_account {
        let known = plan.service_account_names();
        if !known.contains(&account.as_str()) {
            let message = format!("no ServiceAccount `{account}` (known: {})", known.join(", "));
            return Err(Fault::usage(message).into());
        }
    }
    let grpc = call::is_grpc(port, &asked.path);
    // Without the mesh nobody has an identity, as on a cluster.
    let Some(account) = asked.service_account.as_ref().filter(|_| plan.mode.linkerd) else {
        let address = node
            .service_address(&asked.service, namespace, number)
            .ok_or_else(|| Fault::failed(format!("Service {} is not served", asked.service)))?;
        return call::call(asked, &Reach { address, authority, grpc }, None).await;
    };
    let none_left = || Fault::environment("no loopback address is left for a client");
    let (pod, app) = (node.block.pod().ok_or_else(none_left)?, node.block.hidden().ok_or_else(none_left)?);
    let target = node
        .target(&asked.service, namespace, number, authority.clone())
        .ok_or_else(|| Fault::failed(format!("Service {} is not served", asked.service)))?;
    let spec = SidecarSpec {
        workload: client(account, namespace, pod.ip()),
        pod_ip: pod.ip(),
        app_ip: app.ip(),
        inbound: Vec::new(),
        targets: Vec::new(),
        metrics_port: None,
        client_address: cluster_address,
    };
    let nothing = inbound(&policy::model::Workload::default());
    let sidecar = mesh::Sidecar::start(spec, &node.issuer, nothing).await?;
    let address = sidecar.add_target(target).await?;
    call::call(asked, &Reach { address, authority, grpc }, None).await
}

/// Who the client is to others: a pod of its own with the asked `ServiceAccount`.
fn client(account: &str, namespace: &str, ip: Ipv4Addr) -> Arc<Workload> {
    let [.., third, fourth] = ip.octets();
    Arc::new(Workload {
        pod: format!("call-{account}-{third}-{fourth}"),
        namespace: namespace.to_owned(),
        service_account: account.to_owned(),
        deployment: "call".to_owned(),
        pod_template_hash: String::new(),
    })
}
