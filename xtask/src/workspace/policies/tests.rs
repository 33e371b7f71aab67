//! Long because every kind of message is shown as people read it.

use insta::assert_snapshot;

use super::*;

/// One object of each kind, without mistakes; tests break one thing in it.
const GOOD: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: default, annotations: {config.linkerd.io/default-inbound-policy: deny}}
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  port: http
  proxyProtocol: HTTP/1
  accessPolicy: deny
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: web-from-front}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: web}
  requiredAuthenticationRefs:
    - {group: policy.linkerd.io, kind: MeshTLSAuthentication, name: front}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: front}
spec:
  identityRefs: [{kind: ServiceAccount, name: front}]
---
apiVersion: policy.linkerd.io/v1alpha1
kind: NetworkAuthentication
metadata: {name: pods}
spec:
  networks: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]
---
apiVersion: policy.linkerd.io/v1alpha1
kind: HTTPLocalRateLimitPolicy
metadata: {name: web}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: web}
  total: {requestsPerSecond: 100}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web-items}
spec:
  parentRefs: [{group: policy.linkerd.io, kind: Server, name: web}]
  rules:
    - matches: [{path: {type: Exact, value: /items}, method: GET}]
---
apiVersion: policy.linkerd.io/v1beta3
kind: HTTPRoute
metadata: {name: web-other}
spec:
  parentRefs: [{group: policy.linkerd.io, kind: Server, name: web}]
  rules:
    - matches: [{path: {value: /other}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: web-list}
spec:
  parentRefs: [{group: policy.linkerd.io, kind: Server, name: web}]
  rules:
    - matches: [{method: {service: shop.Items, method: List}}]
";

fn parse(text: &str) -> Result<Policies, Problems> {
    let mut problems = Vec::new();
    let policies = Policies::parse([(PathBuf::from("web.yaml"), text.as_bytes().to_vec())], &mut problems);
    Problems::check(problems).map(|()| policies)
}

/// What is said when one thing is replaced in the good objects.
fn broken(good: &str, bad: &str) -> String {
    assert_eq!(GOOD.matches(good).count(), 1, "{good:?} is there once");
    match parse(&GOOD.replace(good, bad)) {
        Err(problems) => problems.to_string(),
        Ok(_) => "nothing".to_owned(),
    }
}

#[test]
fn every_kind_is_read() {
    let mut objects = Objects::default();
    parse(GOOD).unwrap().add_to(&mut objects);
    assert_eq!(objects.namespaces.len(), 1);
    assert_eq!(objects.servers[0].spec.access_policy.as_deref(), Some("deny"));
    assert_eq!(objects.authorization_policies[0].spec.target_ref.name, "web");
    assert_eq!(objects.mesh_tls_authentications.len(), 1);
    assert_eq!(objects.network_authentications[0].spec.networks[0].cidr, "10.0.0.0/8");
    assert_eq!(objects.rate_limits[0].spec.total.as_ref().unwrap().requests_per_second, 100);
    let groups: Vec<_> = objects.http_routes.iter().map(HTTPRoute::group).collect();
    assert_eq!(groups, [GATEWAY, LINKERD]);
    assert_eq!(objects.grpc_routes.len(), 1);
}

#[test]
fn a_field_is_found_again() {
    let policies = parse(GOOD).unwrap();
    let source = &policies.servers[0].source;
    assert_eq!(policies.documents.locate(source, &Spot::root().keys(&["spec", "port"])), (10, 9));
}

#[test]
fn slips_are_told_with_what_was_meant() {
    assert_snapshot!(broken("accessPolicy:", "accesPolicy:"), @r#"web.yaml:12:3: unknown field "accesPolicy" in Server.spec; did you mean "accessPolicy"?"#);
    assert_snapshot!(broken("  port: http\n", ""), @r#"web.yaml:9:3: missing field "port" in Server.spec; add it"#);
    assert_snapshot!(broken("kind: NetworkAuthentication", "kind: NetworkAuthenticaton"), @r#"web.yaml:29:7: unknown kind "NetworkAuthenticaton"; did you mean "NetworkAuthentication"?"#);
    assert_snapshot!(broken("requestsPerSecond: 100", "requestsPerSecond: many"), @r#"web.yaml:39:30: wrong type in HTTPLocalRateLimitPolicy.spec.total.requestsPerSecond: expected an integer, found the string "many""#);
    assert_snapshot!(broken("apiVersion: policy.linkerd.io/v1beta3\nkind: Server", "apiVersion: policy.linkerd.io/v1beta1\nkind: Server"), @r#"web.yaml:5:13: unknown apiVersion "policy.linkerd.io/v1beta1" of Server; write policy.linkerd.io/v1beta3"#);
    assert_snapshot!(broken("apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute", "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: GRPCRoute"), @r#"web.yaml:57:13: unknown apiVersion "gateway.networking.k8s.io/v1alpha2" of GRPCRoute; write gateway.networking.k8s.io/v1"#);
}
