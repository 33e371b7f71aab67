//! Long because every kind of finding is shown as people read it.

use std::path::{Path, PathBuf};

use insta::assert_snapshot;

use super::*;
use crate::plan::{Mode, Options};
use crate::workspace::Workspace;

/// front calls back over HTTP and gRPC, and is called through the ingress.
const MANIFESTS: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: front}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: back}
---
apiVersion: v1
kind: Service
metadata: {name: front}
spec:
  selector: {app: front}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: back}
spec:
  selector: {app: back}
  ports:
    - {name: http, port: 80, targetPort: http}
    - {name: grpc, port: 9090, targetPort: grpc}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: front}
spec:
  selector: {matchLabels: {app: front}}
  template:
    metadata: {labels: {app: front}, annotations: {linkerd.io/inject: disabled}}
    spec:
      serviceAccountName: front
      containers:
        - name: front
          image: front
          ports: [{name: http, containerPort: 8080}, {name: admin, containerPort: 8090}]
          livenessProbe: {httpGet: {path: /livez, port: admin}}
          env:
            - {name: USE_GRPC, value: "false"}
            - {name: BACK_HTTP_URL, value: "http://back"}
            - {name: BACK_GRPC_URL, value: "http://back:9090"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: back}
spec:
  selector: {matchLabels: {app: back}}
  template:
    metadata: {labels: {app: back}}
    spec:
      serviceAccountName: back
      containers:
        - name: back
          image: back
          ports:
            - {name: http, containerPort: 8080}
            - {name: grpc, containerPort: 9090}
            - {name: admin, containerPort: 8090}
          livenessProbe: {httpGet: {path: /livez, port: admin}}
          readinessProbe: {grpc: {port: 8090}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: front
  annotations: {nginx.ingress.kubernetes.io/service-upstream: "true"}
spec:
  ingressClassName: nginx
  rules:
    - host: front.localhost
      http:
        paths: [{path: /, pathType: Prefix, backend: {service: {name: front, port: {name: http}}}}]
"#;

/// Policies without anything to find; tests break one thing in them.
const GOOD: &str = r"apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: back}
spec:
  podSelector: {matchLabels: {app: back}}
  port: http
  proxyProtocol: HTTP/1
  accessPolicy: deny
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: back-grpc}
spec:
  podSelector: {matchLabels: {app: back}}
  port: grpc
  proxyProtocol: gRPC
  accessPolicy: deny
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: front}
spec:
  identityRefs: [{kind: ServiceAccount, name: front}]
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: front-to-items}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: items}
  requiredAuthenticationRefs: [{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: front}]
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: front-to-back-grpc}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: back-grpc}
  requiredAuthenticationRefs: [{kind: ServiceAccount, name: front}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: items}
spec:
  parentRefs: [{group: policy.linkerd.io, kind: Server, name: back}]
  rules:
    - matches: [{path: {type: Exact, value: /items}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: rest}
spec:
  parentRefs: [{group: policy.linkerd.io, kind: Server, name: back}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /}}]
";

/// Everything that is told of policies, on these manifests.
fn judged(manifests: &str, policies: &str) -> String {
    let mut problems = Vec::new();
    let file = |name: &str, text: &str| (PathBuf::from(name), text.as_bytes().to_vec());
    let manifests = Manifests::parse([file("base.yaml", manifests)], &mut problems);
    assert_eq!(problems, [], "the manifests are good");
    let images = ["front", "back", "other"].map(str::to_owned).into();
    let workspace = Workspace::assumed(Path::new("/w").to_owned(), images);
    let options = Options { mode: Mode { grpc: false, linkerd: true }, ingress: true };
    let plan = Plan::new(&workspace, &manifests, options).unwrap();
    let policies = Policies::parse([file("p.yaml", policies)], &mut problems);
    problems.sort();
    Report::of(&plan, &manifests, &policies, &problems).text(false)
}

/// What is told when some things are replaced in good policies; each is there once.
fn broken(edits: &[(&str, &str)]) -> String {
    judged(MANIFESTS, &edited(GOOD, edits))
}

fn edited(text: &str, edits: &[(&str, &str)]) -> String {
    edits.iter().fold(text.to_owned(), |text, (good, bad)| {
        assert_eq!(text.matches(good).count(), 1, "{good:?} is there once");
        text.replace(good, bad)
    })
}

/// What is told when something is added to good policies.
fn with(more: &str) -> String {
    judged(MANIFESTS, &format!("{GOOD}---\n{more}"))
}

#[test]
fn nothing_is_found_in_good_policies() {
    assert_snapshot!(judged(MANIFESTS, GOOD), @"policy check: nothing found in 7 objects of 1 file");
}

#[test]
fn servers_select_what_is_there() {
    assert_snapshot!(broken(&[("matchLabels: {app: back}}\n  port: http", "matchLabels: {app: bakc}}\n  port: http")]), @r#"
    p.yaml:5:3: error: Server back selects no pods (app=bakc)
        did you mean "app=back"?
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    "#);
    assert_snapshot!(broken(&[("port: http", "port: htpp")]), @r#"
    p.yaml:6:9: error: Server back selects no port: no container of these pods has a port named "htpp"
        did you mean "http"?
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    "#);
    assert_snapshot!(broken(&[("port: http", "port: \"8080\"")]), @r#"
    p.yaml:6:9: error: Server back selects no port: no container of these pods has a port named "8080"
        for the number, write 8080 without quotes
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    "#);
    assert_snapshot!(broken(&[("port: http", "port: 80")]), @"
    p.yaml:6:9: error: Server back selects port 80, which no container of these pods declares
        it is the pods' port, not the Service's; they have 8080 (http), 8090 (admin), 9090 (grpc)
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    ");
    assert_snapshot!(broken(&[("metadata: {name: back}", "metadata: {name: back, namespace: other}")]), @"
    p.yaml:5:3: error: Server back selects no pods (app=back)
        no workload is in namespace other: write the namespace of the pods
    p.yaml:43:63: error: HTTPRoute items does nothing: there is no Server back in namespace default
        known: back-grpc
    p.yaml:51:63: error: HTTPRoute rest does nothing: there is no Server back in namespace default
        known: back-grpc
    policy check: 3 errors, 0 warnings in 7 objects of 1 file
    ");
    assert_snapshot!(broken(&[("matchLabels: {app: back}}\n  port: http", "matchExpressions: [{key: app, operator: In}]}\n  port: http")]), @"
    p.yaml:5:3: error: Server back selects no pods (app In)
        known: app=back, app=front
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    ");
}

#[test]
fn two_servers_on_one_port_are_told() {
    assert_snapshot!(with("apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: all}\nspec: {podSelector: {}, port: http, proxyProtocol: HTTP/1}\n"), @"
    p.yaml:6:9: error: Server back has no effect on port 8080 of back: Server all selects it already, and the older of both is in force, or the first by name where they are of one age
        remove one, or put both into all
    p.yaml:57:18: error: Server all refuses a call that is needed: front.default calls back:http (by BACK_HTTP_URL of Deployment front), and nothing authorizes it: HTTP 403
        write an AuthorizationPolicy for it that requires ServiceAccount front of namespace default
    p.yaml:57:18: error: Server all refuses a call that is needed: ingress-nginx.ingress-nginx calls front:http (by Ingress front), and nothing authorizes it: HTTP 403
        write an AuthorizationPolicy for it that requires ServiceAccount ingress-nginx of namespace ingress-nginx
    policy check: 3 errors, 0 warnings in 8 objects of 1 file
    ");
}

#[test]
fn protocols_are_those_of_the_ports() {
    assert_snapshot!(broken(&[("proxyProtocol: gRPC", "proxyProtocol: HTTP/1")]), @"
    p.yaml:16:18: warning: Server back-grpc says HTTP/1, and the port grpc of Service back is for gRPC: a client without a sidecar gets no answer, and GRPCRoutes do nothing
        write proxyProtocol: gRPC
    policy check: 0 errors, 1 warning in 7 objects of 1 file
    ");
    assert_snapshot!(broken(&[("proxyProtocol: HTTP/1", "proxyProtocol: opaque")]), @"
    p.yaml:3:18: error: Server back refuses a call that is needed: front.default calls back:http (by BACK_HTTP_URL of Deployment front), and nothing authorizes it: HTTP 502
        write an AuthorizationPolicy for it that requires ServiceAccount front of namespace default
    p.yaml:43:16: error: HTTPRoute items does nothing: Server back says opaque, so its requests are not looked into
        authorize clients on the Server, or write the protocol that is spoken
    p.yaml:51:16: error: HTTPRoute rest does nothing: Server back says opaque, so its requests are not looked into
        authorize clients on the Server, or write the protocol that is spoken
    policy check: 3 errors, 0 warnings in 7 objects of 1 file
    ");
}

const OUTBOUND: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: back-outbound}
spec:
  parentRefs: [{group: policy.linkerd.io, kind: Server, name: back-grpc}]
  rules:
    - backendRefs: [{name: back, port: 9090}]
";

#[test]
fn parents_are_what_they_are_meant_to_be() {
    assert_snapshot!(with(OUTBOUND), @r#"
    p.yaml:61:7: error: GRPCRoute back-outbound is meant for outbound requests (it has backendRefs), and its parent is Server back-grpc: it is one more inbound route, for everything: authorizations of the Server's other routes may never apply, since of equal matches the older one wins
        write the Service as parent: group: "", kind: Service, name: back, port: 9090; an inbound route needs none of this
    policy check: 1 error, 0 warnings in 8 objects of 1 file
    "#);
    let rest = "name: rest}\nspec:\n  parentRefs: [{group: policy.linkerd.io, kind: Server, name: back}]";
    let parent = |parent: &str| broken(&[(rest, &format!("name: rest}}\nspec:\n  parentRefs: [{parent}]"))]);
    assert_snapshot!(parent("{name: back}"), @r#"
    p.yaml:51:16: error: HTTPRoute rest does nothing: it has a Gateway back as parent, which is the default kind, and Linkerd serves none
        write group: policy.linkerd.io and kind: Server, or group: "" and kind: Service
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    "#);
    assert_snapshot!(parent("{kind: Server, name: back}"), @"
    p.yaml:51:16: error: HTTPRoute rest does nothing: it has a Server of the group gateway.networking.k8s.io as parent, which is the default group here; Linkerd's is another
        write group: policy.linkerd.io
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    ");
    assert_snapshot!(parent("{kind: Service, name: back, port: 80}"), @r#"
    p.yaml:51:16: error: HTTPRoute rest does nothing: it has a Service of the group gateway.networking.k8s.io as parent, which is the default group here; Kubernetes' is of the core group
        write group: ""
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    "#);
    assert_snapshot!(parent("{group: \"\", kind: Service, name: bakc}"), @r#"
    p.yaml:51:49: error: HTTPRoute rest does nothing: there is no Service bakc in namespace default
        did you mean "back"?
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    "#);
    assert_snapshot!(parent("{group: \"\", kind: Service, name: back, port: 8080}"), @"
    p.yaml:51:61: error: HTTPRoute rest does nothing: Service back has no port 8080
        it has 80 (http), 9090 (grpc)
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    ");
    assert_snapshot!(parent("{group: policy.linkerd.io, kind: Server, name: bakc}"), @r#"
    p.yaml:51:63: error: HTTPRoute rest does nothing: there is no Server bakc in namespace default
        did you mean "back"?
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    "#);
    assert_snapshot!(parent("{group: policy.linkerd.io, kind: Server, name: back, port: 8080}"), @"
    p.yaml:51:75: error: HTTPRoute rest does nothing: a Server is one port, so a parent that is one takes no port
        remove it
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    ");
    assert_snapshot!(parent("{group: policy.linkerd.io, kind: Server, name: back, namespace: other}"), @"
    p.yaml:51:80: error: HTTPRoute rest does nothing: it has a Server of another namespace (other) as parent
        put the route into the Server's namespace
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    ");
    assert_snapshot!(parent("{group: policy.linkerd.io, kind: Server, name: back-grpc}"), @"
    p.yaml:51:16: error: HTTPRoute rest does nothing: Server back-grpc says gRPC and takes GRPCRoutes only
        write a GRPCRoute, with the service and the method for the path
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    ");
    assert_snapshot!(parent(""), @"
    p.yaml:51:3: error: HTTPRoute rest is attached to nothing, and does nothing
        give it parentRefs: a Server for inbound requests, a Service for outbound ones
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    ");
}

#[test]
fn rules_without_matches_are_told() {
    assert_snapshot!(broken(&[("    - matches: [{path: {type: PathPrefix, value: /}}]\n", "    - {}\n")]), @"
    p.yaml:53:7: error: HTTPRoute rest matches every request to Server back, also ones that another route of it should decide, since it says no matches
        write the matches, with path, method or headers; to let a client use the whole Server, no route is needed: target the Server
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    ");
    let grpc = "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: list}\nspec:\n  parentRefs: [{group: policy.linkerd.io, kind: Server, name: back-grpc}]\n  rules:\n";
    assert_snapshot!(with(&format!("{grpc}    - {{}}\n")), @"
    p.yaml:61:7: error: GRPCRoute list matches every request to Server back-grpc, also ones that another route of it should decide, since it says no matches
        write the matches, with a method's service, method or both; to let a client use the whole Server, no route is needed: target the Server
    policy check: 1 error, 0 warnings in 8 objects of 1 file
    ");
    assert_snapshot!(with(&format!("{grpc}    - matches: [{{headers: [{{name: x-who, value: me}}]}}]\n")), @"
    p.yaml:12:18: error: Server back-grpc refuses a call that is needed: front.default calls back:grpc (by BACK_GRPC_URL of Deployment front), and nothing authorizes it: gRPC status 7
        write an AuthorizationPolicy for it that requires ServiceAccount front of namespace default
    p.yaml:61:17: error: GRPCRoute list has a match without a method, which no proxy of Linkerd takes: Server back-grpc refuses every client, with gRPC status 7
        write method: with service, method or both, beside the headers
    policy check: 2 errors, 0 warnings in 8 objects of 1 file
    ");
    assert_snapshot!(with(&grpc.replace("  rules:\n", "  rules: []\n")), @"
    p.yaml:12:18: error: Server back-grpc refuses a call that is needed: front.default calls back:grpc (by BACK_GRPC_URL of Deployment front), and no route takes it: gRPC status 5
        write a route that takes it
    p.yaml:36:61: warning: AuthorizationPolicy front-to-back-grpc lets clients use the whole Server back-grpc, and the routes of that do not take everything, such as package.Service/Method: they get not found (HTTP 404, gRPC 5)
        add a route for the rest to the Server; by itself it lets nobody in
    p.yaml:60:3: error: GRPCRoute list has no rules, so it takes no request; and since Server back-grpc then has a route, what no other route takes is not found
        write its rules, or remove the route
    policy check: 2 errors, 1 warning in 8 objects of 1 file
    ");
}

#[test]
fn the_only_route_for_everything_is_told() {
    let items = &GOOD[GOOD
        .find("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: items}")
        .unwrap()
        ..GOOD
            .find("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: rest}")
            .unwrap()];
    assert_snapshot!(broken(&[(items, ""), ("name: items}\n  required", "name: rest}\n  required")]), @"
    p.yaml:45:17: warning: HTTPRoute rest is the only route of Server back and takes everything: it decides nothing that the Server would not, and the kubelet's HTTP probes, which a Server without routes lets through, are refused
        remove it, and target Server back in its AuthorizationPolicies
    policy check: 0 errors, 1 warning in 6 objects of 1 file
    ");
}

#[test]
fn routes_that_no_request_meets_are_told() {
    let twice = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: zitems}\nspec:\n  parentRefs: [{group: policy.linkerd.io, kind: Server, name: back}]\n  rules:\n    - matches: [{path: {type: Exact, value: /items}}]\n";
    assert_snapshot!(with(twice), @"
    p.yaml:61:17: error: HTTPRoute zitems takes no request: HTTPRoute items, rule 1, takes them; of equal matches the older route wins, and here the first by name
        remove one of both, or make this more specific than HTTPRoute items
    policy check: 1 error, 0 warnings in 8 objects of 1 file
    ");
    assert_snapshot!(with(&twice.replace("type: Exact, value: /items", "type: RegularExpression, value: \"other.*\"")), @r#"
    p.yaml:61:57: error: HTTPRoute zitems takes no request: an expression takes a path whole, every path begins with /, and "other.*" does not
        write /other.*
    policy check: 1 error, 0 warnings in 8 objects of 1 file
    "#);
    assert_snapshot!(with(&twice.replace("  rules:\n", "  hostnames: [back.example.com]\n  rules:\n")), @"
    p.yaml:60:15: warning: HTTPRoute zitems takes requests for back.example.com only, and no Service and no Ingress of these manifests is called so
        write a name that clients use, such as SERVICE or SERVICE.NAMESPACE.svc.cluster.local, or no hostnames
    policy check: 0 errors, 1 warning in 8 objects of 1 file
    ");
    let other = broken(&[(
        "matches: [{path: {type: Exact, value: /items}}]",
        "matches: [{path: {type: Exact, value: /items}}]\n    - matches: [{path: {type: Exact, value: /items}}]",
    )]);
    assert_snapshot!(other, @"
    p.yaml:46:17: error: HTTPRoute items takes no request: rule 1 of the same route takes them first
        remove one of both rules
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    ");
    assert_snapshot!(with("apiVersion: policy.linkerd.io/v1beta3\nkind: HTTPRoute\nmetadata: {name: query}\nspec:\n  parentRefs: [{group: policy.linkerd.io, kind: Server, name: back}]\n  rules:\n    - matches: [{path: {type: Exact, value: \"/items?all=1\"}}]\n"), @r#"
    p.yaml:61:45: error: HTTPRoute query takes no request: the query is no part of the path, so none is "/items?all=1"
        write the path alone, and queryParams
    policy check: 1 error, 0 warnings in 8 objects of 1 file
    "#);
}

#[test]
fn grpc_routes_put_http_routes_in_conflict() {
    assert_snapshot!(with("apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: list}\nspec:\n  parentRefs: [{group: policy.linkerd.io, kind: Server, name: back}]\n  rules:\n    - matches: [{method: {service: shop.Items}}]\n"), @"
    p.yaml:3:18: error: Server back refuses a call that is needed: front.default calls back:http (by BACK_HTTP_URL of Deployment front), and nothing authorizes it: HTTP 403
        write an AuthorizationPolicy for it that requires ServiceAccount front of namespace default
    p.yaml:43:16: error: HTTPRoute items does nothing: GRPCRoute list has the same parent, Server back, and all HTTPRoutes of it are in conflict with that
        remove one of both kinds from Server back
    p.yaml:51:16: error: HTTPRoute rest does nothing: GRPCRoute list has the same parent, Server back, and all HTTPRoutes of it are in conflict with that
        remove one of both kinds from Server back
    p.yaml:59:16: error: GRPCRoute list does nothing but harm: Server back says HTTP/1 and takes no GRPCRoutes, and every HTTPRoute of it is in conflict with this one
        write proxyProtocol: gRPC in Server back, or an HTTPRoute
    policy check: 4 errors, 0 warnings in 8 objects of 1 file
    ");
}

#[test]
fn targets_and_authentications_are_there() {
    assert_snapshot!(broken(&[("kind: HTTPRoute, name: items}", "kind: HTTPRoute, name: itmes}")]), @r#"
    p.yaml:3:18: error: Server back refuses a call that is needed: front.default calls back:http (by BACK_HTTP_URL of Deployment front), and nothing authorizes it: HTTP 403
        write an AuthorizationPolicy for it that requires ServiceAccount front of namespace default
    p.yaml:29:72: error: AuthorizationPolicy front-to-items authorizes nobody: there is no HTTPRoute itmes of gateway.networking.k8s.io in namespace default
        did you mean "items"?
    policy check: 2 errors, 0 warnings in 7 objects of 1 file
    "#);
    assert_snapshot!(broken(&[("{group: gateway.networking.k8s.io, kind: HTTPRoute, name: items}", "{group: policy.linkerd.io, kind: HTTPRoute, name: items}")]), @"
    p.yaml:3:18: error: Server back refuses a call that is needed: front.default calls back:http (by BACK_HTTP_URL of Deployment front), and nothing authorizes it: HTTP 403
        write an AuthorizationPolicy for it that requires ServiceAccount front of namespace default
    p.yaml:29:64: error: AuthorizationPolicy front-to-items authorizes nobody: there is no HTTPRoute items of policy.linkerd.io in namespace default
        the route of that name is another: write group: gateway.networking.k8s.io and kind: HTTPRoute
    policy check: 2 errors, 0 warnings in 7 objects of 1 file
    ");
    assert_snapshot!(broken(&[("kind: Server, name: back-grpc}", "kind: Server, name: back-gprc}")]), @r#"
    p.yaml:12:18: error: Server back-grpc refuses a call that is needed: front.default calls back:grpc (by BACK_GRPC_URL of Deployment front), and nothing authorizes it: gRPC status 7
        write an AuthorizationPolicy for it that requires ServiceAccount front of namespace default
    p.yaml:36:61: error: AuthorizationPolicy front-to-back-grpc authorizes nobody: there is no Server back-gprc in namespace default
        did you mean "back-grpc"?
    policy check: 2 errors, 0 warnings in 7 objects of 1 file
    "#);
    assert_snapshot!(broken(&[("kind: MeshTLSAuthentication, name: front}", "kind: MeshTLSAuthentication, name: frnt}")]), @r#"
    p.yaml:3:18: error: Server back refuses a call that is needed: front.default calls back:http (by BACK_HTTP_URL of Deployment front), and nothing authorizes it: HTTP 403
        write an AuthorizationPolicy for it that requires ServiceAccount front of namespace default
    p.yaml:21:18: warning: MeshTLSAuthentication front does nothing: no AuthorizationPolicy requires it
        name it in an AuthorizationPolicy's requiredAuthenticationRefs, or remove it
    p.yaml:30:94: error: AuthorizationPolicy front-to-items authorizes nobody: there is no MeshTLSAuthentication frnt in namespace default
        did you mean "front"?
    policy check: 2 errors, 1 warning in 7 objects of 1 file
    "#);
    assert_snapshot!(broken(&[("name: back-grpc}\nspec:", "name: back-grpc, namespace: default}\nspec:"), ("proxyProtocol: gRPC\n  accessPolicy: deny", "proxyProtocol: gRPC\n  accessPolicy: all-unauthenticated")]), @"
    p.yaml:36:61: warning: AuthorizationPolicy front-to-back-grpc changes nothing: accessPolicy all-unauthenticated of Server back-grpc lets everyone in already
        write accessPolicy: deny in Server back-grpc, or remove this
    policy check: 0 errors, 1 warning in 7 objects of 1 file
    ");
}

#[test]
fn identities_are_somebodys() {
    assert_snapshot!(broken(&[("identityRefs: [{kind: ServiceAccount, name: front}]", "identityRefs: [{kind: ServiceAccount, name: frontend}]")]), @"
    p.yaml:3:18: error: Server back refuses a call that is needed: front.default calls back:http (by BACK_HTTP_URL of Deployment front), and nothing authorizes it: HTTP 403
        write an AuthorizationPolicy for it that requires ServiceAccount front of namespace default
    p.yaml:23:47: error: MeshTLSAuthentication front is about nobody: there is no ServiceAccount frontend in namespace default
        known: back, default, front
    policy check: 2 errors, 0 warnings in 7 objects of 1 file
    ");
    assert_snapshot!(broken(&[("identityRefs: [{kind: ServiceAccount, name: front}]", "identityRefs: [{kind: ServiceAccount, name: front}, {kind: ServiceAccount, name: ingress-nginx}]")]), @"
    p.yaml:23:84: error: MeshTLSAuthentication front is about nobody: there is no ServiceAccount ingress-nginx in namespace default
        it is in namespace ingress-nginx: name that as well
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    ");
    assert_snapshot!(broken(&[("identityRefs: [{kind: ServiceAccount, name: front}]", "identities: [front.default.serviceaccount.identity.linkerd.cluster.local, front.default.svc.cluster.local]")]), @r#"
    p.yaml:23:77: error: MeshTLSAuthentication front is about nobody: "front.default.svc.cluster.local" is no identity of this cluster, in which they are SERVICEACCOUNT.NAMESPACE.serviceaccount.identity.linkerd.cluster.local
        write it so, or write identityRefs with the ServiceAccount
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    "#);
    assert_snapshot!(broken(&[("identityRefs: [{kind: ServiceAccount, name: front}]", "identities: [\"*.default.serviceaccount.identity.linkerd.cluster.local\", prometheus.viz.serviceaccount.identity.linkerd.cluster.local]")]), @"policy check: nothing found in 7 objects of 1 file");
    assert_snapshot!(broken(&[("identityRefs: [{kind: ServiceAccount, name: front}]", "identityRefs: [{kind: Namespace, name: default}, {kind: Namespace, name: prod}]")]), @"
    p.yaml:23:76: warning: MeshTLSAuthentication front is about the identities of namespace prod, which none of these manifests is in
        known: default, ingress-nginx
    policy check: 0 errors, 1 warning in 7 objects of 1 file
    ");
    let shared = MANIFESTS.replace("serviceAccountName: back", "serviceAccountName: front");
    assert_snapshot!(judged(&shared, GOOD), @"
    p.yaml:23:47: warning: MeshTLSAuthentication front is about ServiceAccount front, and several workloads run as it: back, front all have that identity
        give each workload a ServiceAccount of its own
    p.yaml:37:61: warning: AuthorizationPolicy front-to-back-grpc is about ServiceAccount front, and several workloads run as it: back, front all have that identity
        give each workload a ServiceAccount of its own
    policy check: 0 errors, 2 warnings in 7 objects of 1 file
    ");
}

#[test]
fn calls_of_the_services_are_authorized() {
    assert_snapshot!(broken(&[("requiredAuthenticationRefs: [{kind: ServiceAccount, name: front}]", "requiredAuthenticationRefs: [{kind: ServiceAccount, name: back}]")]), @"
    p.yaml:12:18: error: Server back-grpc refuses a call that is needed: front.default calls back:grpc (by BACK_GRPC_URL of Deployment front), and nothing authorizes it: gRPC status 7
        write an AuthorizationPolicy for it that requires ServiceAccount front of namespace default
    policy check: 1 error, 0 warnings in 7 objects of 1 file
    ");
    assert_snapshot!(with("apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: front}\nspec:\n  podSelector: {matchLabels: {app: front}}\n  port: http\n"), @"
    p.yaml:57:18: error: Server front refuses a call that is needed: ingress-nginx.ingress-nginx calls front:http (by Ingress front), and nothing authorizes it: HTTP 403
        write an AuthorizationPolicy for it that requires ServiceAccount ingress-nginx of namespace ingress-nginx
    policy check: 1 error, 0 warnings in 8 objects of 1 file
    ");
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: list}\nspec:\n  parentRefs: [{group: policy.linkerd.io, kind: Server, name: back-grpc}]\n  rules:\n    - matches: [{method: {service: shop.Items, method: List}}]\n";
    assert_snapshot!(with(route), @"
    p.yaml:36:61: warning: AuthorizationPolicy front-to-back-grpc lets clients use the whole Server back-grpc, and the routes of that do not take everything, such as shop.Items/Other: they get not found (HTTP 404, gRPC 5)
        add a route for the rest to the Server; by itself it lets nobody in
    policy check: 0 errors, 1 warning in 8 objects of 1 file
    ");
    let other = route.replace(
        "kind: GRPCRoute\nmetadata: {name: list}",
        "kind: GRPCRoute\nmetadata: {name: list, namespace: other}",
    );
    assert_snapshot!(with(&other), @"
    p.yaml:59:63: error: GRPCRoute list does nothing: there is no Server back-grpc in namespace other
        there is none
    policy check: 1 error, 0 warnings in 8 objects of 1 file
    ");
}

#[test]
fn probes_and_metrics_are_not_locked_out() {
    assert_snapshot!(with("apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: back-admin}\nspec:\n  podSelector: {matchLabels: {app: back}}\n  port: admin\n  proxyProtocol: HTTP/1\n"), @"
    p.yaml:60:9: error: Server back-admin blocks the kubelet's probe of back (grpc on port 8090), which gets no answer: the port is served as HTTP/1 only, and the client speaks HTTP/2 without a sidecar: its pods never get ready, or are restarted
        give health a port of its own that no Server selects, or authorize the kubelet's network for it with a NetworkAuthentication
    p.yaml:60:9: warning: Server back-admin blocks the metrics of back (GET /metrics on port 8090), which has no identity and is refused: a Prometheus without a sidecar gets nothing
        give metrics a port of their own that no Server selects, or authorize who reads them
    policy check: 1 error, 1 warning in 8 objects of 1 file
    ");
    assert_snapshot!(with("apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: back-admin}\nspec:\n  podSelector: {matchLabels: {app: back}}\n  port: admin\n  proxyProtocol: gRPC\n"), @"
    p.yaml:60:9: error: Server back-admin blocks the kubelet's probe of back (GET /livez on port 8090), which gets no answer: the port is served as HTTP/2 only, and the client speaks HTTP/1 without a sidecar: its pods never get ready, or are restarted
        give health a port of its own that no Server selects, or authorize the kubelet's network for it with a NetworkAuthentication
    p.yaml:60:9: error: Server back-admin blocks the kubelet's probe of back (grpc on port 8090), which has no identity and is refused: its pods never get ready, or are restarted
        give health a port of its own that no Server selects, or authorize the kubelet's network for it with a NetworkAuthentication
    p.yaml:60:9: warning: Server back-admin blocks the metrics of back (GET /metrics on port 8090), which gets no answer: the port is served as HTTP/2 only, and the client speaks HTTP/1 without a sidecar: a Prometheus without a sidecar gets nothing
        give metrics a port of their own that no Server selects, or authorize who reads them
    policy check: 2 errors, 1 warning in 8 objects of 1 file
    ");
    let denied = MANIFESTS.replace(
        "metadata: {labels: {app: back}}",
        "metadata: {labels: {app: back}, annotations: {config.linkerd.io/default-inbound-policy: deny}}",
    );
    assert_snapshot!(judged(&denied, GOOD), @"
    base.yaml:51:93: error: Deployment back blocks the kubelet's probe of back (grpc on port 8090), which has no identity and is refused: its pods never get ready, or are restarted
        give health a port of its own that no Server selects, or authorize the kubelet's network for it with a NetworkAuthentication
    base.yaml:51:93: warning: Deployment back blocks the metrics of back (GET /metrics on port 8090), which has no identity and is refused: a Prometheus without a sidecar gets nothing
        give metrics a port of their own that no Server selects, or authorize who reads them
    policy check: 1 error, 1 warning in 7 objects of 1 file
    ");
}

#[test]
fn backends_are_there_and_get_something() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: out}\nspec:\n  parentRefs: [{group: \"\", kind: Service, name: back, port: 80}]\n  rules:\n    - backendRefs:\n";
    assert_snapshot!(with(&format!("{route}        - {{name: back, port: 80}}\n")), @"policy check: nothing found in 8 objects of 1 file");
    assert_snapshot!(with(&format!("{route}        - {{name: back, port: 80, weight: 0}}\n")), @"
    p.yaml:61:7: error: HTTPRoute out gives its only backend the weight 0, and Linkerd sends everything there all the same
        remove the weight, or the backend
    policy check: 1 error, 0 warnings in 8 objects of 1 file
    ");
    assert_snapshot!(with(&format!("{route}        - {{name: back, port: 80, weight: 0}}\n        - {{name: front, port: 80, weight: 0}}\n")), @"
    base.yaml:17:1: error: Service back refuses a call that is needed: front.default calls back:http (by BACK_HTTP_URL of Deployment front), and the client's own sidecar does not pass it on: no answer
        correct the routes whose parent is this Service
    p.yaml:61:7: error: HTTPRoute out gives every backend the weight 0: a proxy cannot choose, and closes connections without an answer
        give one of them a weight
    policy check: 2 errors, 0 warnings in 8 objects of 1 file
    ");
    assert_snapshot!(with(&format!("{route}        - {{name: bakc, port: 80}}\n        - {{name: back, port: 8080}}\n        - {{group: apps, kind: Deployment, name: back}}\n")), @r#"
    p.yaml:62:18: error: HTTPRoute out sends requests to Service bakc, which is not in namespace default: they get HTTP 500
        did you mean "back"?
    p.yaml:63:30: error: HTTPRoute out sends requests to port 8080 of Service back, which it does not have
        it has 80 (http), 9090 (grpc)
    p.yaml:64:31: error: HTTPRoute out sends requests to a Deployment, which is no backend for Linkerd: they get HTTP 500
        name a Service
    policy check: 3 errors, 0 warnings in 8 objects of 1 file
    "#);
    let some = route
        .replace("    - backendRefs:\n", "    - matches: [{path: {value: /items}}]\n      backendRefs:\n");
    assert_snapshot!(with(&format!("{some}        - {{name: back, port: 80}}\n")), @"
    p.yaml:60:3: warning: HTTPRoute out gives Service back a route, and no route of it takes the rest: what none takes is not found (HTTP 404, gRPC 5)
        add a rule with path: {type: PathPrefix, value: /}, here or in another route
    policy check: 0 errors, 1 warning in 8 objects of 1 file
    ");
}

#[test]
fn what_nothing_uses_is_told() {
    assert_snapshot!(with("apiVersion: policy.linkerd.io/v1alpha1\nkind: NetworkAuthentication\nmetadata: {name: pods}\nspec: {networks: [{cidr: 10.0.0.0/8}]}\n"), @"
    p.yaml:57:18: warning: NetworkAuthentication pods does nothing: no AuthorizationPolicy requires it
        name it in an AuthorizationPolicy's requiredAuthenticationRefs, or remove it
    policy check: 0 errors, 1 warning in 8 objects of 1 file
    ");
    assert_snapshot!(with("apiVersion: policy.linkerd.io/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: front-to-out}\nspec:\n  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: out}\n  requiredAuthenticationRefs: []\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: out}\nspec:\n  parentRefs: [{group: \"\", kind: Service, name: back, port: 80}]\n"), @"
    p.yaml:59:72: error: AuthorizationPolicy front-to-out authorizes nobody: the parent of HTTPRoute out is no Server, and authorizations are for inbound requests
        target the Server, or a route whose parent is the Server
    policy check: 1 error, 0 warnings in 9 objects of 1 file
    ");
    assert_snapshot!(with("apiVersion: policy.linkerd.io/v1alpha1\nkind: HTTPLocalRateLimitPolicy\nmetadata: {name: back}\nspec:\n  targetRef: {group: policy.linkerd.io, kind: Server, name: back-grpc}\n  total: {requestsPerSecond: 10}\n---\napiVersion: policy.linkerd.io/v1alpha1\nkind: HTTPLocalRateLimitPolicy\nmetadata: {name: all}\nspec:\n  targetRef: {group: policy.linkerd.io, kind: Server, name: bakc}\n"), @r#"
    p.yaml:59:61: error: HTTPLocalRateLimitPolicy back limits nothing: Server back-grpc says gRPC, and Linkerd limits HTTP only
        remove it; with proxyProtocol: HTTP/2 gRPC calls are limited as well
    p.yaml:66:61: error: HTTPLocalRateLimitPolicy all limits nothing: there is no Server bakc in namespace default
        did you mean "back"?
    policy check: 2 errors, 0 warnings in 9 objects of 1 file
    "#);
    assert_snapshot!(with("apiVersion: policy.linkerd.io/v1alpha1\nkind: HTTPLocalRateLimitPolicy\nmetadata: {name: a}\nspec:\n  targetRef: {group: policy.linkerd.io, kind: Server, name: back}\n  total: {requestsPerSecond: 10}\n---\napiVersion: policy.linkerd.io/v1alpha1\nkind: HTTPLocalRateLimitPolicy\nmetadata: {name: b}\nspec:\n  targetRef: {group: policy.linkerd.io, kind: Server, name: back}\n  total: {requestsPerSecond: 20}\n"), @"
    p.yaml:62:1: error: HTTPLocalRateLimitPolicy b has no effect: HTTPLocalRateLimitPolicy a limits Server back already
        correct it, or remove it
    policy check: 1 error, 0 warnings in 9 objects of 1 file
    ");
}

#[test]
fn namespaces_and_ingresses_that_trap_people_are_told() {
    assert_snapshot!(with("apiVersion: v1\nkind: Namespace\nmetadata: {name: default, annotations: {linkerd.io/inject: enabled, config.linkerd.io/default-inbound-policy: allow}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ingress-nginx, annotations: {linkerd.io/inject: enabled}}\n"), @r#"
    p.yaml:57:60: warning: Namespace default asks for sidecars, which pods get when they are made: pods that run already stay clients without an identity
        restart the workloads of the namespace afterwards (kubectl rollout restart), or annotate their pod templates
    p.yaml:57:111: error: Namespace default has no effect with config.linkerd.io/default-inbound-policy: "allow" is no access policy
        known: all-authenticated, all-unauthenticated, audit, cluster-authenticated, cluster-unauthenticated, deny
    p.yaml:61:66: warning: Namespace ingress-nginx asks for sidecars in all of ingress-nginx, also in its jobs, which then never end
        annotate the pod template of the controller instead
    policy check: 1 error, 2 warnings in 9 objects of 1 file
    "#);
    let around =
        MANIFESTS.replace("  annotations: {nginx.ingress.kubernetes.io/service-upstream: \"true\"}\n", "");
    assert_snapshot!(judged(&around, GOOD), @r#"
    base.yaml:66:1: warning: Ingress front has ingress-nginx pick pods itself: that goes around Linkerd's balancing and outbound routes
        add the annotation nginx.ingress.kubernetes.io/service-upstream: "true"
    policy check: 0 errors, 1 warning in 7 objects of 1 file
    "#);
}

#[test]
fn what_cannot_be_read_is_told_alone() {
    assert_snapshot!(broken(&[("port: http", "prot: http"), ("kind: HTTPRoute, name: items}", "kind: HTTPRoute, name: itmes}")]), @r#"
    p.yaml:6:3: error: unknown field "prot" in Server.spec
        did you mean "port"?
    policy check: 1 error, 0 warnings in 6 objects of 1 file
    what the objects mean together was not looked at: correct these first
    "#);
}

#[test]
fn what_is_for_an_older_linkerd_is_told_and_looked_at() {
    let old = OUTBOUND.replace("networking.k8s.io/v1", "networking.k8s.io/v1alpha2");
    assert_snapshot!(with(&old), @r#"
    p.yaml:55:13: error: GRPCRoute gateway.networking.k8s.io/v1alpha2 is deprecated, and gone from Gateway API 1.2 on
        write gateway.networking.k8s.io/v1
    p.yaml:61:7: error: GRPCRoute back-outbound is meant for outbound requests (it has backendRefs), and its parent is Server back-grpc: it is one more inbound route, for everything: authorizations of the Server's other routes may never apply, since of equal matches the older one wins
        write the Service as parent: group: "", kind: Service, name: back, port: 9090; an inbound route needs none of this
    policy check: 2 errors, 0 warnings in 8 objects of 1 file
    "#);
}
