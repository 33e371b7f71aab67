//! Waiting until the ingress routes: its pods are ready before it has read every Ingress and knows who is behind it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use client::{CallAnswer, CallRequest, Reach};
use k8s_openapi::api::networking::v1::HTTPIngressPath;

use crate::error::Fault;
use crate::plan::Plan;
use crate::report::Events;
use crate::report::step::Step;

/// Every route answers within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request may take this long.
const ONE: Duration = Duration::from_secs(5);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Pure: a path of each host that leads to pods, by host. Hosts with wildcards are nobody's in particular, and what a
/// path with a pattern takes is not known here.
pub fn routes(plan: &Plan) -> BTreeMap<String, String> {
    let mut routes: BTreeMap<String, String> = BTreeMap::new();
    let specs = plan.ingresses.iter().filter_map(|ingress| ingress.object.spec.as_ref());
    for rule in specs.flat_map(|spec| spec.rules.iter().flatten()) {
        let Some(host) = rule.host.as_ref().filter(|host| !host.starts_with('*')) else { continue };
        for route in rule.http.iter().flat_map(|http| &http.paths).filter(|route| has_pods(plan, route)) {
            let path = route.path.as_deref().unwrap_or("/");
            let literal = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
            if path.starts_with('/') && path.bytes().all(literal) {
                routes.entry(host.clone()).or_insert_with(|| path.to_owned());
            }
        }
    }
    routes
}

fn has_pods(plan: &Plan, route: &HTTPIngressPath) -> bool {
    let service = route.backend.service.as_ref();
    service.is_some_and(|service| plan.selected(&service.name).iter().any(|own| plan.replicas(own) > 0))
}

/// Waits until every route answers at the ingress. Errors with what came instead.
pub async fn wait(
    ingress: SocketAddr,
    routes: BTreeMap<String, String>,
    events: &Events,
) -> Result<(), Fault> {
    if routes.is_empty() {
        return Ok(());
    }
    let (start, step) = (Instant::now(), Step::start(events, "ingress"));
    let hosts: Vec<String> = routes.keys().cloned().collect();
    for (host, path) in routes {
        while let Err(got) = answers(ingress, &host, &path).await {
            if start.elapsed() > PATIENCE {
                step.fail();
                return Err(Fault::failed(format!(
                    "the ingress does not route http://{host}:{}{path} after {PATIENCE:?}: {got}",
                    ingress.port()
                ))
                .hint(
                    "cargo xtask status shows what is behind it; the ingress's own words: \
                     kubectl -n ingress-nginx logs deployment/ingress-nginx-controller",
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    step.finish(format!("{} answered", hosts.join(", ")));
    Ok(())
}

/// Whether what is behind a route answers; what came instead if not.
async fn answers(ingress: SocketAddr, host: &str, path: &str) -> Result<(), String> {
    let request = CallRequest {
        path: path.to_owned(),
        timeout_ms: u64::try_from(ONE.as_millis()).unwrap_or(u64::MAX),
        ..CallRequest::default()
    };
    let reach = Reach { address: ingress, authority: host.to_owned(), grpc: false, reflection: None };
    match client::call(&request, &reach, None).await {
        Ok(answer) => judged(&answer),
        Err(error) => Err(error.to_string()),
    }
}

/// Pure: whether an answer came from behind the ingress. nginx's own pages end with its name, and Linkerd's proxy says
/// in a header when an answer is its own (linkerd2-proxy, `l5d-proxy-error`).
fn judged(answer: &CallAnswer) -> Result<(), String> {
    let Some(status) = answer.status else {
        return Err(answer.error.clone().unwrap_or_else(|| "no answer".to_owned()));
    };
    if !matches!(status, 404 | 502..=504) {
        return Ok(());
    }
    let said = answer.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("l5d-proxy-error"));
    match said {
        Some((_, why)) => Err(format!("{status} from its sidecar: {why}")),
        None if answer.body.contains("<center>nginx") => Err(format!("{status} from nginx itself")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::plan::Mode;
    use crate::workspace::manifests::Manifests;

    /// What runs, with how many pods behind each Service, and Ingresses as `HOST PATH SERVICE`.
    fn plan(services: &[(&str, u32)], ingresses: &[(&str, &str, &str)]) -> Plan {
        let mut text = String::new();
        for (name, replicas) in services {
            let _ = write!(
                text,
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
                 spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}\n\
                 ---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\n\
                 spec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: {name}}}}}\n  \
                 template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: a, image: a}}]}}}}\n"
            );
        }
        for (index, (host, path, service)) in ingresses.iter().enumerate() {
            let _ = write!(
                text,
                "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: i{index}}}\n\
                 spec: {{rules: [{{host: \"{host}\", http: {{paths: [{{path: \"{path}\", pathType: Prefix, \
                 backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}]}}}}]}}\n"
            );
        }
        let mut problems = Vec::new();
        let all = Manifests::parse([("all.yaml".into(), text.into_bytes())], &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        Plan {
            mode: Mode::default(),
            ingress: true,
            namespace: "default".into(),
            service_accounts: all.service_accounts,
            services: all.services,
            deployments: all.deployments,
            ingresses: all.ingresses,
            images: Vec::new(),
            labels: BTreeMap::new(),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn a_route_is_asked_for_where_a_request_can_be_answered() {
        let plan = plan(
            &[("foo", 1), ("idle", 0)],
            &[
                ("foo.localhost", "/api", "foo"),
                ("foo.localhost", "/other", "foo"),
                ("*.localhost", "/", "foo"),
                ("idle.localhost", "/", "idle"),
                ("pattern.localhost", "/a|b", "foo"),
            ],
        );
        assert_eq!(routes(&plan), BTreeMap::from([("foo.localhost".to_owned(), "/api".to_owned())]));
    }

    fn got(status: u16, body: &str, headers: &[(&str, &str)]) -> CallAnswer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        CallAnswer { status: Some(status), body: body.to_owned(), headers, ..CallAnswer::default() }
    }

    #[test]
    fn what_the_ingress_says_itself_is_no_answer() {
        let page = "<center><h1>404 Not Found</h1></center>\n<hr><center>nginx</center>";
        assert_eq!(judged(&got(404, page, &[])), Err("404 from nginx itself".to_owned()));
        assert_eq!(judged(&got(503, page, &[])), Err("503 from nginx itself".to_owned()));
        let by_proxy = got(502, "", &[("l5d-proxy-error", "connection refused")]);
        assert_eq!(judged(&by_proxy), Err("502 from its sidecar: connection refused".to_owned()));
        let nothing = CallAnswer { error: Some("connection refused".into()), ..CallAnswer::default() };
        assert_eq!(judged(&nothing), Err("connection refused".to_owned()));
    }

    #[test]
    fn what_a_service_says_is_one_whatever_it_is() {
        for (status, body) in [(200, "{}"), (404, "no such page"), (503, "busy"), (500, ""), (308, "")] {
            assert_eq!(judged(&got(status, body, &[])), Ok(()), "{status}");
        }
    }
}
