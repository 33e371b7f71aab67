//! Long because every kind of message is shown as people read it.

use std::path::PathBuf;

use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::json;

use super::edges::{Edge, edges};
use super::*;

/// Two services that talk, one that calls through the ingress; tests break one thing.
const GOOD: [(&str, &str); 4] = [
    (
        "base/front.yaml",
        "\
apiVersion: v1
kind: ServiceAccount
metadata: {name: front}
---
apiVersion: v1
kind: Service
metadata: {name: front}
spec:
  selector: {app: front}
  ports:
    - {name: http, port: 80, targetPort: http}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: front}
spec:
  selector: {matchLabels: {app: front}}
  template:
    metadata:
      labels: {app: front}
      annotations: {linkerd.io/inject: disabled}
    spec:
      serviceAccountName: front
      containers:
        - name: front
          image: front
          ports: [{name: http, containerPort: 8080}]
          env:
            - {name: USE_GRPC, value: \"false\"}
            - {name: BACK_HTTP_URL, value: \"http://back\"}
            - {name: BACK_GRPC_URL, value: \"http://back.default.svc.cluster.local:9090\"}
            - {name: SEARCH_URL, value: \"https://example.com/search\"}
",
    ),
    (
        "base/back.yaml",
        "\
apiVersion: v1
kind: Service
metadata: {name: back}
spec:
  selector: {app: back}
  ports:
    - {name: http, port: 80, targetPort: http}
    - {name: grpc, port: 9090}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: back}
spec:
  replicas: 3
  selector: {matchLabels: {app: back}}
  template:
    metadata: {labels: {app: back}}
    spec:
      containers:
        - name: back
          image: back
          ports: [{name: http, containerPort: 8080}]
",
    ),
    (
        "base/load.yaml",
        "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: load}
spec:
  selector: {matchLabels: {app: load}}
  template:
    metadata: {labels: {app: load}}
    spec:
      containers:
        - name: load
          image: load
          env: [{name: TARGET, value: \"http://ingress-nginx-controller.ingress-nginx/\"}]
",
    ),
    (
        "ingress/front.yaml",
        "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: front}
spec:
  rules:
    - host: front.localhost
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: {service: {name: front, port: {name: http}}}
",
    ),
];

const ON: Options = Options { mode: Mode { grpc: true, linkerd: true }, ingress: true };
const OFF: Options = Options { mode: Mode { grpc: false, linkerd: false }, ingress: true };

fn workspace() -> Workspace {
    let package = |name: &str| {
        json!({"name": name, "version": "0.1.0", "id": name, "dependencies": [], "features": {},
            "manifest_path": format!("/w/services/{name}/Cargo.toml"),
            "targets": [{"name": name, "kind": ["bin"], "crate_types": ["bin"], "src_path": "/w/x.rs"}]})
    };
    let packages = ["front", "back", "load", "idle"].map(package);
    let metadata = json!({"packages": packages, "workspace_members": [], "resolve": null, "version": 1,
        "workspace_root": "/w", "target_directory": "/w/target"});
    Workspace::load(&metadata.to_string()).unwrap()
}

fn read(files: &[(&str, String)]) -> Manifests {
    let mut problems = Vec::new();
    let files =
        files.iter().map(|(name, text)| (PathBuf::from("manifests").join(name), text.clone().into_bytes()));
    let manifests = Manifests::parse(files, &mut problems);
    Problems::check(problems).unwrap();
    manifests
}

fn files() -> Vec<(&'static str, String)> {
    GOOD.map(|(name, text)| (name, text.to_owned())).to_vec()
}

fn good(options: Options) -> Plan {
    Plan::new(&workspace(), &read(&files()), options).unwrap()
}

/// What is said when one thing in one file is replaced.
fn broken(file: &str, good: &str, bad: &str) -> String {
    let mut files = files();
    let text = &mut files.iter_mut().find(|(name, _)| *name == file).unwrap().1;
    assert_eq!(text.matches(good).count(), 1, "{good:?} is there once");
    *text = text.replace(good, bad);
    said(&files)
}

fn said(files: &[(&str, String)]) -> String {
    Plan::new(&workspace(), &read(files), ON).map_or_else(|error| error.to_string(), |_| "nothing".to_owned())
}

#[test]
fn a_plan_has_what_the_manifests_have() {
    let plan = good(OFF);
    assert_eq!(plan.namespace, "default");
    assert_eq!(plan.images, ["back", "front", "load"]);
    assert_eq!(plan.left_out, []);
    let names: Vec<_> = plan.deployments.iter().map(|d| lookup::name(&d.object)).collect();
    assert_eq!(names, ["back", "front", "load"]);
    assert_snapshot!(plan.warnings(&workspace()).join("\n"), @"the service idle is in no manifest: no Deployment has the image idle");
}

#[test]
fn what_others_look_up_is_found() {
    let plan = good(OFF);
    let replicas = |name| lookup::replicas(&plan.deployment(name).unwrap().object);
    assert_eq!((replicas("back"), replicas("front")), (3, 1));
    assert_eq!(plan.selected("back"), ["back"]);
    assert_eq!(plan.selected("nothing"), [""; 0]);
    assert_eq!(plan.service_port("back", "grpc").unwrap().port, 9090);
    assert_eq!(plan.service_port("back", "9090").unwrap().name.as_deref(), Some("grpc"));
    assert!(plan.service_port("back", "admin").is_none());
    assert!(plan.service("back").is_some() && plan.service("load").is_none());
    assert_eq!(plan.reference("http://back:9090").unwrap().service, "back");
    assert_eq!(plan.reference("http://example.com"), None, "a name of the internet's");
}

#[test]
fn a_mode_sets_the_variable_and_the_annotation() {
    for options in [ON, OFF] {
        let plan = good(options);
        let front = &plan.deployment("front").unwrap().object;
        let variable = lookup::variables(front).find(|(_, variable)| variable.name == "USE_GRPC").unwrap().1;
        assert_eq!(variable.value, Some(options.mode.grpc.to_string()));
        for deployment in &plan.deployments {
            let metadata = deployment.object.spec.as_ref().unwrap().template.metadata.as_ref().unwrap();
            let inject = &metadata.annotations.as_ref().unwrap()[super::mode::INJECT];
            assert_eq!(inject, if options.mode.linkerd { "enabled" } else { "disabled" });
        }
    }
}

#[test]
fn a_mode_changes_nothing_else() {
    let (on, off) = (good(ON), good(OFF));
    assert_eq!(on.services, off.services);
    assert_eq!(on.ingresses, off.ingresses);
    let without = |plan: &Plan| {
        let mut deployments = plan.deployments.clone();
        for deployment in &mut deployments {
            let template = &mut deployment.object.spec.as_mut().unwrap().template;
            template.metadata.as_mut().unwrap().annotations = None;
            for container in &mut template.spec.as_mut().unwrap().containers {
                container
                    .env
                    .iter_mut()
                    .flatten()
                    .filter(|v| v.name == "USE_GRPC")
                    .for_each(|v| v.value = None);
            }
        }
        deployments
    };
    assert_eq!(without(&on), without(&off));
}

#[test]
fn a_switch_that_changes_nothing_is_a_mistake() {
    assert_snapshot!(broken("base/front.yaml", "USE_GRPC", "USE_HTTP"), @"manifests/base: --grpc changes nothing: no container has the variable USE_GRPC; add it to the env of those that call others");
    assert_snapshot!(broken("base/front.yaml", "{name: USE_GRPC, value: \"false\"}", "{name: USE_GRPC, valueFrom: {fieldRef: {fieldPath: metadata.name}}}"), @"manifests/base/front.yaml:29:15: USE_GRPC comes from elsewhere; give it a value, which the mode sets");
    assert_snapshot!(said(&[]), @"manifests/base: no Deployment: nothing would run; add one");
}

#[test]
fn foreign_images_are_mistakes() {
    assert_snapshot!(broken("base/back.yaml", "image: back", "image: nginx"), @r#"manifests/base/back.yaml:21:18: no service of this workspace builds the image "nginx"; known: back, front, idle, load"#);
    assert_snapshot!(broken("base/back.yaml", "image: back", "image: bakc"), @r#"manifests/base/back.yaml:21:18: no service of this workspace builds the image "bakc"; did you mean "back"?"#);
    assert_snapshot!(broken("base/back.yaml", "image: back", "image: back:v2"), @r#"manifests/base/back.yaml:21:18: the image "back:v2" has a tag, and images are built here; write back"#);
}

#[test]
fn two_objects_of_one_name_are_a_mistake() {
    let mut files = files();
    files.push(("base/more.yaml", GOOD[1].1.split("---").next().unwrap().to_owned()));
    assert_snapshot!(said(&files), @r#"manifests/base/more.yaml:3:18: duplicate Service "back", the other is at manifests/base/back.yaml:1; rename or remove one"#);
}

#[test]
fn selectors_that_match_the_wrong_pods_are_mistakes() {
    assert_snapshot!(broken("base/back.yaml", "  selector: {app: back}", "  selector: {app: bakc}"), @r#"manifests/base/back.yaml:5:3: the selector of Service "back" (app=bakc) matches no pods; did you mean app=back?"#);
    assert_snapshot!(broken("base/back.yaml", "  selector: {app: back}", "  selector: {tier: storage}"), @r#"manifests/base/back.yaml:5:3: the selector of Service "back" (tier=storage) matches no pods; the pods have app=back or app=front or app=load"#);
    assert_snapshot!(broken("base/back.yaml", "  selector: {app: back}\n", ""), @r#"manifests/base/back.yaml:4:1: Service "back" has no selector, so no pods; add one"#);
    assert_snapshot!(broken("base/load.yaml", "matchLabels: {app: load}", "matchExpressions: [{key: app, operator: Exists}]"), @r#"
    manifests/base/load.yaml:5:3: the selector of Deployment "load" also matches the pods of Deployment "back"; give them different labels
    manifests/base/load.yaml:5:3: the selector of Deployment "load" also matches the pods of Deployment "front"; give them different labels
    "#);
}

#[test]
fn unknown_ports_are_mistakes() {
    assert_snapshot!(broken("base/back.yaml", "targetPort: http", "targetPort: htpp"), @r#"manifests/base/back.yaml:7:42: no container of Deployment "back" has a port "htpp"; did you mean "http"?"#);
    assert_snapshot!(broken("ingress/front.yaml", "port: {name: http}", "port: {number: 81}"), @r#"manifests/ingress/front.yaml:11:46: the Service "front" has no port 81; it has 80 (http)"#);
}

#[test]
fn routes_lead_to_services_and_are_given_once() {
    assert_snapshot!(broken("ingress/front.yaml", "name: front, port", "name: fornt, port"), @r#"manifests/ingress/front.yaml:11:39: there is no Service "fornt"; did you mean "front"?"#);
    let mut files = files();
    files.push(("ingress/more.yaml", GOOD[3].1.replace("{name: front}", "{name: more}")));
    assert_snapshot!(said(&files), @"manifests/ingress/more.yaml:9:13: the route front.localhost/ is also at manifests/ingress/front.yaml:9; remove one of both");
}

#[test]
fn unknown_service_accounts_are_mistakes() {
    assert_snapshot!(broken("base/front.yaml", "serviceAccountName: front", "serviceAccountName: frontend"), @r#"manifests/base/front.yaml:23:27: there is no ServiceAccount "frontend"; known: front"#);
    assert_snapshot!(broken("base/front.yaml", "serviceAccountName: front", "serviceAccountName: default"), @"nothing");
}

#[test]
fn variables_that_name_what_is_not_there_are_mistakes() {
    let url = |value: &str| broken("base/front.yaml", "http://back\"", &format!("{value}\""));
    assert_snapshot!(url("http://bakc"), @r#"manifests/base/front.yaml:30:44: BACK_HTTP_URL="http://bakc" names the Service "bakc", which is not there; did you mean "back"?"#);
    assert_snapshot!(url("database:5432"), @r#"manifests/base/front.yaml:30:44: BACK_HTTP_URL="database:5432" names the Service "database", which is not there; known: back, front"#);
    assert_snapshot!(url("http://back:81/x"), @r#"manifests/base/front.yaml:30:44: BACK_HTTP_URL="http://back:81/x" names port 81 of the Service "back"; it has 80 (http), 9090 (grpc)"#);
    assert_snapshot!(url("http://back:90900"), @r#"manifests/base/front.yaml:30:44: BACK_HTTP_URL="http://back:90900" is no URL: "90900" is not a port; write a number from 1 to 65535"#);
    assert_snapshot!(url("grpc://back"), @r#"manifests/base/front.yaml:30:44: BACK_HTTP_URL="grpc://back" names no port of the Service "back"; it has 80 (http), 9090 (grpc)"#);
    assert_snapshot!(url("http://back.prod"), @r#"manifests/base/front.yaml:30:44: BACK_HTTP_URL="http://back.prod" names the namespace "prod", and this environment has "default" only; write back"#);
    assert_snapshot!(url("http://other.prod.svc"), @r#"manifests/base/front.yaml:30:44: BACK_HTTP_URL="http://other.prod.svc" names the namespace "prod", and this environment has "default" only; write other"#);
    assert_snapshot!(url("http://ingress-nginx-controller.ingress-nginx:8080"), @r#"manifests/base/front.yaml:30:44: BACK_HTTP_URL="http://ingress-nginx-controller.ingress-nginx:8080" names a port that the ingress does not have; it has 80"#);
    assert_snapshot!(url("http://example.com:81"), @"nothing");
}

#[test]
fn objects_in_two_namespaces_are_a_mistake() {
    assert_snapshot!(broken("ingress/front.yaml", "{name: front}", "{name: front, namespace: prod}"), @r#"manifests/ingress/front.yaml:3:36: Ingress "front" is in the namespace "prod" and others are in "default"; an environment has one namespace"#);
}

#[test]
fn every_mistake_is_told_at_once() {
    let mut files = files();
    files[0].1 = files[0].1.replace("http://back\"", "http://bakc\"").replace("image: front", "image: nginx");
    files[3].1 = files[3].1.replace("name: http", "name: web");
    assert_snapshot!(said(&files), @r#"
    manifests/base/front.yaml:26:18: no service of this workspace builds the image "nginx"; known: back, front, idle, load
    manifests/base/front.yaml:30:44: BACK_HTTP_URL="http://bakc" names the Service "bakc", which is not there; did you mean "back"?
    manifests/ingress/front.yaml:11:46: the Service "front" has no port web; it has 80 (http)
    "#);
}

#[test]
fn without_the_ingress_what_calls_through_it_is_left_out() {
    let plan = good(Options { ingress: false, ..ON });
    assert_eq!(plan.ingresses, []);
    assert!(plan.deployment("load").is_none());
    assert_eq!(plan.images, ["back", "front"]);
    let LeftOut { deployment, reason } = &plan.left_out[0];
    assert_snapshot!(format!("{deployment}: {reason}"), @"load: its variable TARGET names the ingress, which is left out");
    assert_eq!(plan.warnings(&workspace()).len(), 1, "what is left out is not idle");
}

#[test]
fn edges_are_what_the_variables_say() {
    let edge = |port, variable: &str| Edge {
        client: "front".to_owned(),
        service: "back".to_owned(),
        port,
        variable: variable.to_owned(),
    };
    assert_eq!(edges(&good(ON)), [edge(80, "BACK_HTTP_URL"), edge(9090, "BACK_GRPC_URL")]);
}

#[test]
fn one_namespace_of_any_name_is_fine() {
    let files: Vec<_> = files()
        .into_iter()
        .map(|(name, text)| {
            let text = text.replace("\nmetadata: {", "\nmetadata: {namespace: prod, ");
            (name, text.replace("back.default.svc", "back.prod.svc"))
        })
        .collect();
    let plan = Plan::new(&workspace(), &read(&files), ON).unwrap();
    assert_eq!(plan.namespace, "prod");
    assert_eq!(edges(&plan).len(), 2);
}

proptest! {
    #[test]
    fn the_order_of_files_and_objects_does_not_matter(
        documents in Just(GOOD.iter().flat_map(|(_, text)| text.split("---\n")).collect::<Vec<_>>()).prop_shuffle(),
        files in prop::collection::vec(0..3usize, 7),
        ingress: bool,
    ) {
        let mut contents = vec![String::new(); 3];
        for (document, file) in documents.iter().zip(files) {
            contents[file].extend(["---\n", document]);
        }
        let named: Vec<_> = ["base/a.yaml", "base/b.yaml", "ingress/c.yaml"].into_iter().zip(contents).collect();
        let named: Vec<_> = named.into_iter().filter(|(_, text)| !text.is_empty()).collect();
        let options = Options { ingress, ..ON };
        let plan = Plan::new(&workspace(), &read(&named), options).unwrap();
        let expected = good(options);
        let objects = |plan: &Plan| (
            plan.service_accounts.iter().map(|o| o.object.clone()).collect::<Vec<_>>(),
            plan.services.iter().map(|o| o.object.clone()).collect::<Vec<_>>(),
            plan.deployments.iter().map(|o| o.object.clone()).collect::<Vec<_>>(),
            plan.ingresses.iter().map(|o| o.object.clone()).collect::<Vec<_>>(),
            (plan.images.clone(), plan.left_out.clone(), plan.namespace.clone()),
        );
        prop_assert_eq!(objects(&plan), objects(&expected));
    }
}

#[test]
fn the_policy_engine_sees_what_the_plan_has() {
    let with = good(ON);
    let objects = objects(&with);
    let identities: Vec<_> = objects.service_accounts.iter().map(|own| &own.metadata).collect();
    let named: Vec<_> =
        identities.iter().map(|own| (own.name.as_deref(), own.namespace.as_deref())).collect();
    assert_eq!(
        named,
        [(Some("front"), Some("default")), (Some("ingress-nginx"), Some("ingress-nginx"))],
        "the ingress is a client, too"
    );
    let workloads: Vec<_> = objects.workloads.iter().map(|own| own.name.as_str()).collect();
    assert_eq!(workloads, ["back", "front", "load"]);
    assert!(objects.workloads.iter().all(policy::model::Workload::is_meshed));
    assert_eq!((objects.services.len(), objects.ingresses.len()), (2, 1));
    let without = super::objects(&good(Options { ingress: false, ..ON }));
    assert_eq!(without.service_accounts.len(), 1);
}
