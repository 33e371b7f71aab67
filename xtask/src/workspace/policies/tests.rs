//! Long because every kind of message is shown as people read it.

use insta::assert_snapshot;

use ::policy::model::{GATEWAY, LINKERD};

use super::*;

/// One object of each kind, without mistakes; tests break one thing in it.
const GOOD: &str = include_str!("good.yaml");

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
    assert_snapshot!(broken("apiVersion: policy.linkerd.io/v1beta3\nkind: Server", "apiVersion: policy.linkerd.io/v1beta1\nkind: Server"), @"web.yaml:5:13: Server policy.linkerd.io/v1beta1 is deprecated and has no accessPolicy: with it, the API server refuses the object; write policy.linkerd.io/v1beta3");
    assert_snapshot!(broken("apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute", "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: GRPCRoute"), @"web.yaml:57:13: GRPCRoute gateway.networking.k8s.io/v1alpha2 is deprecated, and gone from Gateway API 1.2 on; write gateway.networking.k8s.io/v1");
}

#[test]
fn forms_lengths_and_values_are_those_of_the_crds() {
    assert_snapshot!(broken("proxyProtocol: HTTP/1", "proxyProtocol: grpc"), @r#"web.yaml:11:18: unknown value "grpc" in Server.spec.proxyProtocol; did you mean "gRPC"?"#);
    assert_snapshot!(broken("accessPolicy: deny", "accessPolicy: allow"), @r#"web.yaml:12:17: unknown value "allow" in Server.spec.accessPolicy; known: all-authenticated, all-unauthenticated, audit, cluster-authenticated, cluster-unauthenticated, deny"#);
    assert_snapshot!(broken("{matchLabels: {app: web}}", "{matchLabels: {app: 1}}"), @r#"web.yaml:9:36: wrong type in Server.spec.podSelector.matchLabels.app: expected a string, found the integer 1; put it in quotes: "1""#);
    assert_snapshot!(broken("  podSelector: {matchLabels: {app: web}}\n", ""), @r#"web.yaml:9:3: missing field "podSelector" or "externalWorkloadSelector" in Server.spec; add one of them"#);
    assert_snapshot!(broken("  podSelector: {matchLabels: {app: web}}\n", "  podSelector: {}\n  externalWorkloadSelector: {}\n"), @r#"web.yaml:10:3: "podSelector" and "externalWorkloadSelector" exclude each other in Server.spec; remove one"#);
    assert_snapshot!(broken("identityRefs: [{kind: ServiceAccount, name: front}]", "identityRefs: []"), @"web.yaml:26:17: 0 items in MeshTLSAuthentication.spec.identityRefs; there must be at least 1");
    assert_snapshot!(broken("identityRefs: [{kind: ServiceAccount, name: front}]", "identityRefs: null"), @"web.yaml:26:17: wrong type in MeshTLSAuthentication.spec.identityRefs: expected a list, found nothing");
    assert_snapshot!(broken("type: Exact, value: /items}, method: GET", "type: Prefix, value: /items}, method: get"), @r#"
    web.yaml:47:31: unknown value "Prefix" in HTTPRoute.spec.rules[0].matches[0].path.type; known: Exact, PathPrefix, RegularExpression
    web.yaml:47:63: unknown value "get" in HTTPRoute.spec.rules[0].matches[0].method; did you mean "GET"?
    "#);
    assert_snapshot!(broken("method: GET", "headers: [{name: x who, value: me}, {name: a, value: b}, {name: a, value: c}]"), @r#"
    web.yaml:47:71: "x who" in HTTPRoute.spec.rules[0].matches[0].headers[0].name is not a header's name: letters, digits and !#$%&'*+-.^_`|~
    web.yaml:47:111: duplicate "a" in HTTPRoute.spec.rules[0].matches[0].headers, first on line 47; remove one
    "#);
    assert_snapshot!(broken("  - matches: [{path: {value: /other}}]", "  - filters: [{type: RequestMirror}]"), @r#"web.yaml:55:24: unknown value "RequestMirror" in HTTPRoute.spec.rules[0].filters[0].type; known: RequestHeaderModifier, RequestRedirect"#);
    assert_snapshot!(broken("{name: web-list}", "{name: Web_List, labels: {a b: c}, lables: {}}"), @r#"web.yaml:59:46: unknown field "lables" in GRPCRoute.metadata; did you mean "labels"?"#);
    assert_snapshot!(broken("requestsPerSecond: 100", "requestsPerSecond: 0"), @"web.yaml:39:30: 0 is out of range in HTTPLocalRateLimitPolicy.spec.total.requestsPerSecond; it must be from 1 to 4294967295");
}

#[test]
fn the_rules_of_the_gateway_api_and_of_linkerds_webhook_hold() {
    assert_snapshot!(broken("value: /items}", "value: items}"), @r#"web.yaml:47:45: HTTPRoute.spec.rules[0].matches[0].path.value: "items" does not begin with /; write /items"#);
    assert_snapshot!(broken("value: /items}", "value: /items//all}"), @r#"web.yaml:47:45: HTTPRoute.spec.rules[0].matches[0].path.value: "/items//all" has //, and no request's path is matched with it; write it in its simplest form"#);
    assert_snapshot!(broken("value: /items}", "value: \"/items?all=1\"}"), @r#"web.yaml:47:45: HTTPRoute.spec.rules[0].matches[0].path.value: "/items?all=1" is no path; write other characters as %XX, and no query"#);
    assert_snapshot!(broken("type: Exact, value: /items}", "type: RegularExpression, value: \"/(?!items)\"}"), @r#"web.yaml:47:57: HTTPRoute.spec.rules[0].matches[0].path.value: "/(?!items)" is no regular expression: look-around, including look-ahead and look-behind, is not supported"#);
    assert_snapshot!(broken("{method: {service: shop.Items, method: List}}", "{method: {}}"), @"web.yaml:63:18: GRPCRoute.spec.rules[0].matches[0].method: neither service nor method; write one or both");
    assert_snapshot!(broken("{service: shop.Items, method: List}", "{service: /shop.Items/List}"), @r#"web.yaml:63:36: GRPCRoute.spec.rules[0].matches[0].method.service: "/shop.Items/List" is no gRPC service; write service: shop.Items and method: List"#);
    assert_snapshot!(broken("{service: shop.Items, method: List}", "{type: RegularExpression, service: shop.*}"), @"web.yaml:63:33: GRPCRoute.spec.rules[0].matches[0].method.type: Linkerd takes no RegularExpression for a gRPC method; write Exact, with service, method or both");
    assert_snapshot!(broken("except: [10.1.0.0/16]", "except: [10.0.0.0/8, 192.168.0.0/16, pods]"), @r#"
    web.yaml:32:42: NetworkAuthentication.spec.networks[0].except[0]: 10.0.0.0/8 takes all of 10.0.0.0/8 away; nothing would be left of it
    web.yaml:32:54: NetworkAuthentication.spec.networks[0].except[1]: 192.168.0.0/16 is not in 10.0.0.0/8; write a part of it, or remove it
    web.yaml:32:70: NetworkAuthentication.spec.networks[0].except[2]: "pods" is no network; write ADDRESS/BITS, such as 10.0.0.0/8, or ADDRESS
    "#);
    assert_snapshot!(broken("[{kind: ServiceAccount, name: front}]", "[{kind: Deployment, name: front}, {kind: Namespace, name: a, namespace: b}]"), @"
    web.yaml:26:25: MeshTLSAuthentication.spec.identityRefs[0].kind: not for a Deployment; known: Namespace, ServiceAccount
    web.yaml:26:89: MeshTLSAuthentication.spec.identityRefs[1].namespace: a Namespace is in no namespace; remove it, its own name says whose identities are meant
    ");
    assert_snapshot!(broken("identityRefs: [{kind: ServiceAccount, name: front}]", "identities: [front.default.*, \"spiffe://Root/x\"]"), @r#"
    web.yaml:26:16: MeshTLSAuthentication.spec.identities[0]: "front.default.*" is not an identity: a DNS name such as web.default.serviceaccount.identity.linkerd.cluster.local, * for any, or * with a name after it (*.default.serviceaccount...)
    web.yaml:26:33: MeshTLSAuthentication.spec.identities[1]: "spiffe://Root/x" is not a SPIFFE ID: spiffe://TRUST-DOMAIN/PATH, with letters, digits, -, _ and . in each segment, and no empty one
    "#);
    assert_snapshot!(broken("targetRef: {group: policy.linkerd.io, kind: Server, name: web}\n  required", "targetRef: {kind: Server, name: web}\n  required"), @"web.yaml:18:3: AuthorizationPolicy.spec.targetRef.group: Server: the core group has no such kind; write group: policy.linkerd.io");
    assert_snapshot!(broken("targetRef: {group: policy.linkerd.io, kind: Server, name: web}\n  required", "targetRef: {kind: Namespace, name: prod}\n  required"), @r#"web.yaml:18:38: AuthorizationPolicy.spec.targetRef.name: is in the namespace "default" and can target no other; write default"#);
    assert_snapshot!(broken("    - {group: policy.linkerd.io, kind: MeshTLSAuthentication, name: front}\n", "    - {group: policy.linkerd.io, kind: MeshTLSAuthentication, name: front}\n    - {kind: ServiceAccount, name: front}\n    - {kind: MeshTLSAuthentication, name: front}\n"), @"
    web.yaml:21:7: AuthorizationPolicy.spec.requiredAuthenticationRefs[1]: more than one MeshTLSAuthentication or ServiceAccount: a client would have to be all of them; name both in one authentication, or write an AuthorizationPolicy for each
    web.yaml:22:7: AuthorizationPolicy.spec.requiredAuthenticationRefs[2].group: MeshTLSAuthentication: the core group has no such kind; write group: policy.linkerd.io
    ");
    assert_snapshot!(broken("  total: {requestsPerSecond: 100}", "  total: {requestsPerSecond: 100}\n  identity: {requestsPerSecond: 200}"), @"web.yaml:40:33: HTTPLocalRateLimitPolicy.spec.identity.requestsPerSecond: 200 is more than the total of 100, which counts for all; lower it");
    assert_snapshot!(broken("method: GET}]", "method: GET}]\n      filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}]\n      backendRefs: [{name: web}]"), @"
    web.yaml:48:7: HTTPRoute.spec.rules[0].filters: RequestRedirect with replacePrefixMatch takes exactly one match, of type PathPrefix; write one, or use replaceFullPath
    web.yaml:48:17: HTTPRoute.spec.rules[0].filters[0]: a redirect goes to no backend; remove it, or the backendRefs
    web.yaml:49:21: HTTPRoute.spec.rules[0].backendRefs[0]: the Service web needs a port; add it
    ");
}

#[test]
fn kinds_that_are_not_read_say_what_to_do() {
    let kind = |version: &str, kind: &str| {
        let text = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: web}}\nspec: {{}}\n");
        parse(&text).map_or_else(|problems| problems.to_string(), |_| "nothing".to_owned())
    };
    assert_snapshot!(kind("policy.linkerd.io/v1beta1", "ServerAuthorization"), @"web.yaml:2:7: ServerAuthorization is not modelled here; write an AuthorizationPolicy, which took its place");
    assert_snapshot!(kind("apps/v1", "Deployment"), @"web.yaml:2:7: Deployment is no policy; keep it in manifests/base or manifests/ingress");
    assert_snapshot!(kind("gateway.networking.k8s.io/v1", "Gateway"), @"web.yaml:2:7: Gateway is not modelled here; Linkerd serves none; routes have a Server or a Service as parent");
    assert_snapshot!(kind("linkerd.io/v1beta3", "Server"), @r#"web.yaml:1:13: unknown apiVersion "linkerd.io/v1beta3" of Server; write policy.linkerd.io/v1beta3"#);
    assert_snapshot!(kind("policy.linkerd.io/v1", "Server"), @r#"web.yaml:1:13: unknown apiVersion "policy.linkerd.io/v1" of Server; write policy.linkerd.io/v1beta3"#);
    assert_snapshot!(kind("v1", "ConfigMap"), @r#"web.yaml:2:7: unknown kind "ConfigMap"; known: AuthorizationPolicy, GRPCRoute, HTTPLocalRateLimitPolicy, HTTPRoute, MeshTLSAuthentication, Namespace, NetworkAuthentication, Server"#);
}

#[test]
fn two_objects_of_one_name_are_told() {
    let server = GOOD.split("---\n").nth(1).unwrap();
    assert_snapshot!(parse(&format!("{server}---\n{server}")).unwrap_err(), @r#"web.yaml:12:18: duplicate Server "web", the other is at web.yaml:1; rename or remove one"#);
}

#[test]
fn paths_that_have_nothing_to_read_are_told() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("policy/http")).unwrap();
    std::fs::write(root.path().join("policy/http/web.yaml"), GOOD).unwrap();
    std::fs::write(root.path().join("policy/http/.web.yaml"), "torn: [").unwrap();
    std::fs::create_dir_all(root.path().join("empty")).unwrap();
    let read = |path: &str| Policies::read(root.path(), &[path.into()]).map(|read| read.count());
    assert_eq!(read("policy/http"), Ok(9));
    assert_eq!(read("policy/http/web.yaml"), Ok(9));
    assert_snapshot!(read("policy").unwrap_err(), @"policy: has no *.yaml, and directories in it are not looked into; name one: http");
    assert_snapshot!(read("empty").unwrap_err(), @"empty: has no *.yaml; write one, or name another directory");
    assert_snapshot!(read("gone.yaml").unwrap_err(), @"gone.yaml: cannot read it: No such file or directory (os error 2)");
}
