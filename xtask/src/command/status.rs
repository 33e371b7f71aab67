//! `status`: what runs, on which runtime, why something does not.

use std::fmt::Write as _;

use crate::args::{self, Output};
use crate::command::Checkout;
use crate::error::Exit;
use crate::report::event::PodState;
use crate::report::{columns, line_out};
use crate::runtime::Status;

/// Shows it. Exit code 1 when something is not as it should be, 3 when nothing is up.
pub async fn run(args: args::Status) -> anyhow::Result<Exit> {
    let checkout = Checkout::open().await?;
    let status = super::running(&checkout).await?.status().await?;
    match args.output {
        Output::Json => line_out(&serde_json::to_string(&status)?),
        Output::Text => line_out(table(&status).trim_end()),
    }
    let whole = status.deployments.iter().all(|d| d.ready >= d.desired && d.updated >= d.desired);
    Ok(if whole { Exit::Ok } else { Exit::Failed })
}

fn table(status: &Status) -> String {
    let mut text = String::new();
    let protocol = if status.grpc { "gRPC" } else { "HTTP" };
    let mesh = if status.linkerd { "meshed" } else { "not meshed" };
    let pid = status.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    let up = crate::report::span(status.uptime_seconds * 1000);
    let _ = writeln!(text, "{} runtime, {protocol}, {mesh}, up {up}{pid}", status.runtime);
    if let Some(ingress) = &status.ingress {
        let _ = writeln!(text, "ingress {ingress} ({})", status.hosts.join(", "));
    }
    if let Some(dashboard) = &status.dashboard {
        let _ = writeln!(text, "dashboard {dashboard}");
    }
    let mut rows =
        vec![["SERVICE", "READY", "UP-TO-DATE", "ENDPOINTS", "ADDRESS"].map(str::to_owned).to_vec()];
    for deployment in &status.deployments {
        let service = status.services.iter().find(|service| service.name == deployment.name);
        let ports = service.map(|s| {
            s.ports.iter().map(|(name, address)| format!("{name}={address}")).collect::<Vec<_>>().join(" ")
        });
        rows.push(vec![
            deployment.name.clone(),
            format!("{}/{}", deployment.ready, deployment.desired),
            deployment.updated.to_string(),
            service.map_or("-".to_owned(), |s| s.endpoints.to_string()),
            ports.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    text.push('\n');
    text.push_str(&columns(&rows));
    let mut rows = vec![["POD", "STATE", "RESTARTS", "AGE", "IP", "PID", "WHY"].map(str::to_owned).to_vec()];
    for pod in &status.pods {
        rows.push(vec![
            pod.name.clone(),
            format!("{:?}", pod.state),
            pod.restarts.to_string(),
            crate::report::span(pod.age_seconds * 1000),
            pod.ip.clone(),
            pod.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            if pod.state == PodState::Ready { String::new() } else { pod.reason.clone() },
        ]);
    }
    text.push('\n');
    text.push_str(&columns(&rows));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{DeploymentStatus, PodStatus, ServiceStatus};

    #[test]
    fn a_pod_that_is_not_ready_says_why() {
        let pod = PodStatus {
            name: "baz-5d9-abcde".into(),
            deployment: "baz".into(),
            state: PodState::NotReady,
            reason: "/readyz gave 503".into(),
            restarts: 2,
            ip: "127.20.1.1".into(),
            pid: Some(42),
            image: "baz-1".into(),
            meshed: true,
            age_seconds: 61,
        };
        let status = Status {
            runtime: "local".into(),
            grpc: true,
            linkerd: true,
            pid: Some(7),
            uptime_seconds: 3,
            ingress: Some("127.0.0.1:8080".into()),
            hosts: vec!["foo.localhost".into()],
            deployments: vec![DeploymentStatus { name: "baz".into(), desired: 3, updated: 3, ready: 2 }],
            services: vec![ServiceStatus {
                name: "baz".into(),
                ports: [("grpc".to_owned(), "127.20.0.2:9090".to_owned())].into(),
                endpoints: 2,
            }],
            pods: vec![pod],
            dashboard: Some("http://127.0.0.1:8081/".into()),
        };
        insta::assert_snapshot!(table(&status), @r"
        local runtime, gRPC, meshed, up 3.0s, pid 7
        ingress 127.0.0.1:8080 (foo.localhost)
        dashboard http://127.0.0.1:8081/

        SERVICE  READY  UP-TO-DATE  ENDPOINTS  ADDRESS
        baz      2/3    3           2          grpc=127.20.0.2:9090

        POD            STATE     RESTARTS  AGE    IP          PID  WHY
        baz-5d9-abcde  NotReady  2         1m01s  127.20.1.1  42   /readyz gave 503
        ");
    }
}
