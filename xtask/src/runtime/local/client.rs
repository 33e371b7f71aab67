//! A client of the environment for one call: with an identity, behind a sidecar of its own; or without.

use std::net::Ipv4Addr;
use std::sync::Arc;

use client::Reach;
use mesh::{SidecarSpec, Workload};
use policy::outbound::ServicePort;

use super::address::cluster_address;
use super::node::Node;
use crate::error::Fault;
use crate::plan::lookup::{name, ports};
use crate::plan::{INGRESS_ACCOUNT, Plan};
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
    let account = asked.service_account.as_deref().map(|account| known(plan, account)).transpose()?;
    let grpc = client::is_grpc(port.name.as_deref(), port.app_protocol.as_deref(), &asked.path);
    let reflection = node.services.application(&asked.service, namespace, number);
    // Without the mesh nobody has an identity, as on a cluster.
    let Some((account, of)) = account.filter(|_| plan.mode.linkerd) else {
        let address = node
            .service_address(&asked.service, namespace, number)
            .ok_or_else(|| Fault::failed(format!("Service {} is not served", asked.service)))?;
        return Ok(client::call(asked, &Reach { address, authority, grpc, reflection }, None)
            .await
            .map_err(Fault::from)?);
    };
    let none_left = || Fault::environment("no loopback address is left for a client");
    let (pod, app) = (node.block.pod().ok_or_else(none_left)?, node.block.hidden().ok_or_else(none_left)?);
    let target = node
        .target(namespace, ServicePort::new(namespace, &asked.service, number), authority.clone())
        .ok_or_else(|| Fault::failed(format!("Service {} is not served", asked.service)))?;
    let spec = SidecarSpec {
        workload: workload(&account, &of, pod.ip()),
        pod_ip: pod.ip(),
        app_ip: app.ip(),
        inbound: Vec::new(),
        targets: Vec::new(),
        metrics_port: None,
        faults: mesh::fault::Faults::default(),
        traces: node.traces.clone(),
        client_address: cluster_address,
    };
    let nothing = node.policies.inbound(policy::model::Workload::default());
    let sidecar = mesh::Sidecar::start(spec, &node.issuer, nothing).await?;
    let address = sidecar.add_target(target).await?;
    Ok(client::call(asked, &Reach { address, authority, grpc, reflection }, None)
        .await
        .map_err(Fault::from)?)
}

/// The `ServiceAccount` and the namespace that a name means: `bar`, `bar.default`, `ingress`. Errors with what is known.
pub fn known(plan: &Plan, asked: &str) -> Result<(String, String), Fault> {
    let (ingress, of_ingress) = INGRESS_ACCOUNT;
    let (account, namespace) = asked.split_once('.').unwrap_or((asked, &plan.namespace));
    if plan.ingress && (asked == "ingress" || (account, namespace) == INGRESS_ACCOUNT) {
        return Ok((ingress.to_owned(), of_ingress.to_owned()));
    }
    let mut known = plan.service_account_names();
    if namespace == plan.namespace && known.contains(&account) {
        return Ok((account.to_owned(), namespace.to_owned()));
    }
    known.extend(plan.ingress.then_some("ingress"));
    Err(Fault::usage(format!("no ServiceAccount `{asked}` (known: {})", known.join(", "))))
}

/// Who the client is to others: a pod of its own with the asked `ServiceAccount`.
fn workload(account: &str, namespace: &str, ip: Ipv4Addr) -> Arc<Workload> {
    let [.., third, fourth] = ip.octets();
    Arc::new(Workload {
        pod: format!("call-{account}-{third}-{fourth}"),
        namespace: namespace.to_owned(),
        service_account: account.to_owned(),
        deployment: "call".to_owned(),
        pod_template_hash: String::new(),
    })
}
