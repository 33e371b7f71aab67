//! Long because every kind of message is shown as people read it.

use std::fmt::Write as _;
use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

/// A Deployment without mistakes; tests break one thing in it.
const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        - name: web
          image: web
          env:
            - name: USE_GRPC
              value: \"false\"
          ports:
            - {name: http, containerPort: 8080}
          readinessProbe:
            httpGet: {path: /readyz, port: http}
          resources:
            requests: {cpu: 10m, memory: 16Mi}
            limits: {memory: 64Mi}
";

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector: {app: web}
  ports:
    - {name: http, port: 80, targetPort: http}
";

const INGRESS: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
spec:
  rules:
    - host: web.localhost
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: web
                port:
                  name: http
";

fn file(name: &str, text: &str) -> (PathBuf, Vec<u8>) {
    (Path::new("manifests/base").join(name), text.as_bytes().to_vec())
}

fn parse(files: Vec<(PathBuf, Vec<u8>)>) -> Result<Manifests, Problems> {
    let mut problems = Vec::new();
    let manifests = Manifests::parse(files, &mut problems);
    Problems::check(problems).map(|()| manifests)
}

/// What is said of one file.
fn said(text: &str) -> String {
    parse(vec![file("web.yaml", text)]).map_or_else(|problems| problems.to_string(), |_| "nothing".to_owned())
}

/// What is said when one thing is replaced in a good object.
fn broken(object: &str, good: &str, bad: &str) -> String {
    assert_eq!(object.matches(good).count(), 1, "{good:?} is there once");
    said(&object.replace(good, bad))
}

#[test]
fn good_objects_are_read_as_they_are() {
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n";
    let text =
        format!("# comment\n---\n{account}---\n{SERVICE}---\n---\n# empty\n---\n{DEPLOYMENT}---\n{INGRESS}");
    let manifests = parse(vec![file("web.yaml", &text)]).unwrap();
    assert_eq!(manifests.service_accounts.len(), 1);
    assert_eq!(manifests.services.len(), 1);
    assert_eq!(manifests.ingresses.len(), 1);
    let Sourced { object, source } = &manifests.deployments[0];
    assert_eq!(*source, Source { file: "manifests/base/web.yaml".into(), line: 19 });
    let expected: Deployment = serde_saphyr::from_str(DEPLOYMENT).unwrap();
    assert_eq!(*object, expected, "serde-saphyr reads the same");
}

#[test]
fn a_field_is_found_again() {
    let manifests = parse(vec![file("web.yaml", DEPLOYMENT)]).unwrap();
    let source = &manifests.deployments[0].source;
    let container = Spot::root().keys(&["spec", "template", "spec", "containers"]).index(0);
    assert_eq!(manifests.locate(source, &Spot::root().keys(&["spec", "replicas"])), (6, 13));
    assert_eq!(manifests.locate(source, &container.key("env").index(0).key("value")), (18, 22));
    assert_eq!(manifests.locate(source, &container.key("volumeMounts").index(3)), (14, 11), "the container");
}

#[test]
fn unknown_fields_are_mistakes() {
    assert_snapshot!(broken(DEPLOYMENT, "replicas:", "replica:"), @r#"manifests/base/web.yaml:6:3: unknown field "replica" in Deployment.spec; did you mean "replicas"?"#);
    assert_snapshot!(broken(DEPLOYMENT, "containerPort:", "containerport:"), @r#"manifests/base/web.yaml:20:28: unknown field "containerport" in Deployment.spec.template.spec.containers[0].ports[0]; did you mean "containerPort"?"#);
    assert_snapshot!(broken(SERVICE, "spec:", "sepc: 1\nspec:"), @r#"manifests/base/web.yaml:5:1: unknown field "sepc" in Service; did you mean "spec"?"#);
    assert_snapshot!(broken(INGRESS, "name: http", "zzzzzz: http"), @r#"manifests/base/web.yaml:16:19: unknown field "zzzzzz" in Ingress.spec.rules[0].http.paths[0].backend.service.port; known: name, number"#);
}

#[test]
fn wrong_types_are_mistakes() {
    assert_snapshot!(broken(DEPLOYMENT, "replicas: 2", "replicas: two"), @r#"manifests/base/web.yaml:6:13: wrong type in Deployment.spec.replicas: expected an integer, found the string "two""#);
    assert_snapshot!(broken(DEPLOYMENT, "replicas: 2", "replicas: \"2\""), @r#"manifests/base/web.yaml:6:13: wrong type in Deployment.spec.replicas: expected an integer, found the string "2"; remove the quotes"#);
    assert_snapshot!(broken(DEPLOYMENT, "replicas: 2", "replicas: 99999999999"), @"manifests/base/web.yaml:6:13: wrong type in Deployment.spec.replicas: expected an integer of 32 bits, found the integer 99999999999");
    assert_snapshot!(broken(DEPLOYMENT, "\"false\"", "false"), @r#"manifests/base/web.yaml:18:22: wrong type in Deployment.spec.template.spec.containers[0].env[0].value: expected a string, found the boolean false; put it in quotes: "false""#);
    assert_snapshot!(broken(DEPLOYMENT, "\"false\"", "on"), @r#"manifests/base/web.yaml:18:22: wrong type in Deployment.spec.template.spec.containers[0].env[0].value: expected a string, found the boolean on; put it in quotes: "on""#);
    assert_snapshot!(broken(DEPLOYMENT, "        - name: web", "          name: web"), @"manifests/base/web.yaml:14:11: wrong type in Deployment.spec.template.spec.containers: expected a list, found a mapping");
    assert_snapshot!(broken(DEPLOYMENT, "{path: /readyz, port: http}", "[1]"), @"manifests/base/web.yaml:22:22: wrong type in Deployment.spec.template.spec.containers[0].readinessProbe.httpGet: expected a mapping, found a list");
    assert_snapshot!(broken(DEPLOYMENT, "port: http}", "port: true}"), @"manifests/base/web.yaml:22:44: wrong value in Deployment.spec.template.spec.containers[0].readinessProbe.httpGet.port: invalid type: boolean `true`, expected an integer or a string");
    assert_snapshot!(broken(DEPLOYMENT, "      labels: {app: web}", "      labels: {app: 1}"), @r#"manifests/base/web.yaml:11:21: wrong type in Deployment.spec.template.metadata.labels.app: expected a string, found the integer 1; put it in quotes: "1""#);
    assert_snapshot!(broken(DEPLOYMENT, "- {name: http, containerPort: 8080}", "- null"), @"manifests/base/web.yaml:20:15: wrong type in Deployment.spec.template.spec.containers[0].ports[0]: expected a mapping, found nothing");
}

#[test]
fn repeated_keys_are_mistakes() {
    assert_snapshot!(broken(DEPLOYMENT, "replicas: 2", "replicas: 2\n  replicas: 3"), @r#"manifests/base/web.yaml:7:3: duplicate key "replicas" in Deployment.spec, first on line 6; remove one"#);
}

#[test]
fn missing_fields_are_mistakes() {
    assert_snapshot!(broken(DEPLOYMENT, "containerPort: 8080", "protocol: TCP"), @r#"manifests/base/web.yaml:20:15: missing field "containerPort" in Deployment.spec.template.spec.containers[0].ports[0]; add it"#);
    assert_snapshot!(broken(DEPLOYMENT, "          image: web\n", ""), @r#"manifests/base/web.yaml:14:11: missing field "image" in Deployment.spec.template.spec.containers[0]; add it"#);
    assert_snapshot!(broken(DEPLOYMENT, "  name: web\nspec", "  labels: {}\nspec"), @r#"manifests/base/web.yaml:3:1: Deployment.metadata: missing field "name"; add it"#);
    assert_snapshot!(said("apiVersion: v1\nkind: Service\n"), @r#"
    manifests/base/web.yaml:1:1: missing field "metadata" in Service; add it
    manifests/base/web.yaml:1:1: missing field "spec" in Service; add it
    "#);
    assert_snapshot!(said("kind: Service\n"), @r#"manifests/base/web.yaml:1:1: missing field "apiVersion"; add it"#);
}

#[test]
fn unknown_kinds_are_mistakes() {
    assert_snapshot!(said("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"), @r#"manifests/base/web.yaml:2:7: unknown kind "ConfigMap"; known: Deployment, Ingress, Service, ServiceAccount"#);
    assert_snapshot!(said("apiVersion: apps/v1\nkind: Deploymnet\n"), @r#"manifests/base/web.yaml:2:7: unknown kind "Deploymnet"; did you mean "Deployment"?"#);
    assert_snapshot!(said("apiVersion: extensions/v1beta1\nkind: Ingress\n"), @r#"manifests/base/web.yaml:1:13: unknown apiVersion "extensions/v1beta1" of Ingress; write networking.k8s.io/v1"#);
    assert_snapshot!(said("- a\n"), @"manifests/base/web.yaml:1:1: not an object: a manifest has apiVersion, kind, metadata");
    assert_snapshot!(said("apiVersion: v1\nkind: 3\n"), @"manifests/base/web.yaml:2:7: wrong type in kind: expected a string");
}

#[test]
fn every_mistake_in_every_file_is_told_at_once() {
    let deployment = DEPLOYMENT
        .replace("replicas: 2", "replica: 2")
        .replace("\"false\"", "false")
        .replace("containerPort: 8080", "containerPort: http")
        .replace("16Mi", "[]")
        .replace("readinessProbe", "readynessProbe");
    let files = vec![
        file("web.yaml", &format!("{deployment}---\n{}", SERVICE.replace("port: 80", "port: eighty"))),
        file("other.yml", "kind: Service\n"),
        file("torn.yaml", "a: [1\nb: 2\n"),
    ];
    assert_snapshot!(parse(files).unwrap_err(), @r#"
    manifests/base/other.yml:1:1: missing field "apiVersion"; add it
    manifests/base/torn.yaml:2:2: broken YAML: illegal placement of ':' indicator
    manifests/base/web.yaml:6:3: unknown field "replica" in Deployment.spec; did you mean "replicas"?
    manifests/base/web.yaml:18:22: wrong type in Deployment.spec.template.spec.containers[0].env[0].value: expected a string, found the boolean false; put it in quotes: "false"
    manifests/base/web.yaml:20:43: wrong type in Deployment.spec.template.spec.containers[0].ports[0].containerPort: expected an integer, found the string "http"
    manifests/base/web.yaml:21:11: unknown field "readynessProbe" in Deployment.spec.template.spec.containers[0]; did you mean "readinessProbe"?
    manifests/base/web.yaml:24:42: wrong value in Deployment.spec.template.spec.containers[0].resources.requests.memory: invalid type: sequence, expected a quantity such as 500m or 64Mi
    manifests/base/web.yaml:34:26: wrong type in Service.spec.ports[0].port: expected an integer, found the string "eighty"
    "#);
}

#[test]
fn broken_syntax_is_told_with_its_place() {
    assert_snapshot!(broken(DEPLOYMENT, "  replicas: 2", "\treplicas: 2"), @"manifests/base/web.yaml:6:2: broken YAML: tabs disallowed within this context (block indentation)");
    assert_snapshot!(said("a: 'b\n"), @"manifests/base/web.yaml:1:4: broken YAML: unclosed quote");
    assert_snapshot!(said("a: *b\n"), @"manifests/base/web.yaml:1:4: broken YAML: while parsing node, found unknown anchor");
    assert_snapshot!(said("a: &a [*a]\n"), @"manifests/base/web.yaml:1:8: an alias inside its own anchor has no end; write the value out");
    assert_snapshot!(said("? [a]\n: b\n"), @"manifests/base/web.yaml:1:3: a key must be a word, not a list or a mapping");
    assert_snapshot!(said("a: !secret b\n"), @"manifests/base/web.yaml:1:12: the YAML tag `!secret` means nothing in a manifest; remove it");
    assert_snapshot!(said("a: {<<: 1}\n"), @"manifests/base/web.yaml:1:9: `<<` takes a mapping or a list of mappings");
}

#[test]
fn files_that_are_no_manifests_are_told() {
    assert_snapshot!(said(""), @"manifests/base/web.yaml: holds no object; write one, or remove the file");
    assert_snapshot!(said("# nothing here\n---\n"), @"manifests/base/web.yaml: holds no object; write one, or remove the file");
    let latin = vec![(PathBuf::from("manifests/base/a.yaml"), b"a: 1\nb: \xe4\n".to_vec())];
    assert_snapshot!(parse(latin).unwrap_err(), @"manifests/base/a.yaml:2: not UTF-8 text; save the file as UTF-8");
    assert_snapshot!(said(&"[".repeat(100)), @"manifests/base/web.yaml:1:100: broken YAML: unclosed bracket '['");
    assert_snapshot!(said(&format!("{}1\n", "a: {".repeat(5000))), @"manifests/base/web.yaml:1:256: nested more than 64 deep: this is no Kubernetes object");
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{}", level - 1);
        writeln!(text, "a{level}: &a{level} [{}]", [before.as_str(); 10].join(", ")).unwrap();
    }
    assert_snapshot!(said(&text), @"manifests/base/web.yaml:6:10: more than 200000 values with its aliases written out");
}

#[test]
fn aliases_and_merges_are_read() {
    let text = DEPLOYMENT
        .replace("matchLabels: {app: web}", "matchLabels: &labels {app: web}")
        .replace("      labels: {app: web}", "      labels:\n        <<: *labels\n        tier: front");
    let manifests = parse(vec![file("web.yaml", &text)]).unwrap();
    let labels =
        manifests.deployments[0].object.spec.clone().unwrap().template.metadata.unwrap().labels.unwrap();
    assert_eq!(labels, [("app", "web"), ("tier", "front")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
}

#[test]
fn what_the_api_server_refuses_is_told() {
    assert_snapshot!(broken(DEPLOYMENT, "  name: web\nspec", "  name: Web_1\nspec"), @r#"manifests/base/web.yaml:4:9: Deployment.metadata.name: "Web_1" is not a DNS name (DNS labels with dots between); rename it"#);
    assert_snapshot!(broken(SERVICE, "  name: web", "  name: 1web"), @r#"manifests/base/web.yaml:4:9: Service.metadata.name: "1web" is not a Service name (at most 63 of a-z, 0-9 and -, a letter first, a letter or digit last); rename it"#);
    assert_snapshot!(broken(DEPLOYMENT, "replicas: 2", "replicas: -1"), @"manifests/base/web.yaml:6:13: Deployment.spec.replicas: -1 is out of range; it must be at least 0");
    assert_snapshot!(broken(DEPLOYMENT, "matchLabels: {app: web}", "matchLabels: {app: wbe}"), @"manifests/base/web.yaml:7:3: Deployment.spec.selector: does not match the labels of its own template (app=web); give spec.template.metadata.labels what it selects");
    assert_snapshot!(broken(DEPLOYMENT, "matchLabels: {app: web}", "matchLabels: {}"), @"manifests/base/web.yaml:7:3: Deployment.spec.selector: empty: it would select every pod; give it matchLabels");
    assert_snapshot!(broken(DEPLOYMENT, "8080}", "80800}"), @"manifests/base/web.yaml:20:43: Deployment.spec.template.spec.containers[0].ports[0].containerPort: 80800 is out of range; it must be from 1 to 65535");
    assert_snapshot!(broken(DEPLOYMENT, "{name: http,", "{name: the-http-port-of-web,"), @r#"
    manifests/base/web.yaml:20:22: Deployment.spec.template.spec.containers[0].ports[0].name: "the-http-port-of-web" is not a port name (at most 15 of a-z, 0-9 and -, with at least one letter); rename it
    manifests/base/web.yaml:22:44: Deployment.spec.template.spec.containers[0].readinessProbe.httpGet.port: the container has no port "http"; known: the-http-port-of-web
    "#);
    assert_snapshot!(broken(DEPLOYMENT, "- {name: http, containerPort: 8080}", "- {name: http, containerPort: 8080}\n            - {name: http, containerPort: 8080}"), @r#"
    manifests/base/web.yaml:21:22: Deployment.spec.template.spec.containers[0].ports[1].name: duplicate port name "http", first on line 20; change one
    manifests/base/web.yaml:21:43: Deployment.spec.template.spec.containers[0].ports[1].containerPort: duplicate port 8080/TCP, first on line 20; change one
    "#);
    assert_snapshot!(broken(DEPLOYMENT, "- name: USE_GRPC", "- name: USE_GRPC\n            - name: USE_GRPC"), @r#"manifests/base/web.yaml:18:21: Deployment.spec.template.spec.containers[0].env[1].name: duplicate environment variable "USE_GRPC", first on line 17; change one"#);
    assert_snapshot!(broken(DEPLOYMENT, "name: USE_GRPC", "name: A=B"), @r#"manifests/base/web.yaml:17:21: Deployment.spec.template.spec.containers[0].env[0].name: "A=B" is not the name of an environment variable (printable ASCII without =); rename it"#);
    assert_snapshot!(broken(DEPLOYMENT, "16Mi", "16MB"), @r#"manifests/base/web.yaml:24:42: Deployment.spec.template.spec.containers[0].resources.requests.memory: "16MB" is not a quantity; write such as 500m or 64Mi"#);
    assert_snapshot!(broken(DEPLOYMENT, "16Mi", "65Mi"), @r#"manifests/base/web.yaml:24:42: Deployment.spec.template.spec.containers[0].resources.requests.memory: "65Mi" is more than its limit 64Mi; lower it, or raise the limit"#);
    assert_snapshot!(broken(DEPLOYMENT, "cpu: 10m", "cpus: 10m"), @r#"manifests/base/web.yaml:24:30: Deployment.spec.template.spec.containers[0].resources.requests.cpus: unknown resource "cpus"; did you mean "cpu"?"#);
    assert_snapshot!(broken(DEPLOYMENT, "port: http}", "port: htpp}"), @r#"manifests/base/web.yaml:22:44: Deployment.spec.template.spec.containers[0].readinessProbe.httpGet.port: the container has no port "htpp"; did you mean "http"?"#);
    assert_snapshot!(broken(DEPLOYMENT, "httpGet: {path: /readyz, port: http}", "periodSeconds: 1"), @"manifests/base/web.yaml:21:11: Deployment.spec.template.spec.containers[0].readinessProbe: probes nothing; add one of httpGet, grpc, tcpSocket, exec");
    assert_snapshot!(broken(DEPLOYMENT, "httpGet:", "grpc: {port: 1}\n            httpGet:"), @"manifests/base/web.yaml:21:11: Deployment.spec.template.spec.containers[0].readinessProbe: has more than one of grpc, httpGet; keep one");
    assert_snapshot!(broken(DEPLOYMENT, "  replicas: 2", "  strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0%}}"), @"manifests/base/web.yaml:6:14: Deployment.spec.strategy.rollingUpdate: maxSurge and maxUnavailable are both 0: no pod could be replaced; set one to 1");
    assert_snapshot!(broken(DEPLOYMENT, "  replicas: 2", "  strategy: {type: Rolling, rollingUpdate: {maxSurge: some}}"), @r#"
    manifests/base/web.yaml:6:20: Deployment.spec.strategy.type: unknown value "Rolling"; known: Recreate, RollingUpdate
    manifests/base/web.yaml:6:55: Deployment.spec.strategy.rollingUpdate.maxSurge: "some" is neither a number nor a percentage; write such as 1 or 25%
    "#);
    assert_snapshot!(broken(DEPLOYMENT, "          image: web", "          image: web\n          volumeMounts: [{name: data, mountPath: /data}]"), @r#"manifests/base/web.yaml:16:33: Deployment.spec.template.spec.containers[0].volumeMounts[0].name: unknown volume "data"; there is none"#);
    assert_snapshot!(broken(SERVICE, "targetPort: http}", "targetPort: http}\n    - {port: 80}"), @r#"
    manifests/base/web.yaml:9:7: Service.spec.ports[1]: has no name, and there are several; name it
    manifests/base/web.yaml:9:14: Service.spec.ports[1].port: duplicate port 80/TCP, first on line 8; change one
    "#);
    assert_snapshot!(broken(INGRESS, "path: /\n", "path: web\n"), @r#"manifests/base/web.yaml:10:19: Ingress.spec.rules[0].http.paths[0].path: "web" does not begin with /; write /web"#);
    assert_snapshot!(broken(INGRESS, "Prefix", "prefix"), @r#"manifests/base/web.yaml:11:23: Ingress.spec.rules[0].http.paths[0].pathType: unknown value "prefix"; did you mean "Prefix"?"#);
    assert_snapshot!(broken(INGRESS, "web.localhost", "127.0.0.1"), @r#"manifests/base/web.yaml:7:13: Ingress.spec.rules[0].host: "127.0.0.1" is an address; write a DNS name"#);
    assert_snapshot!(broken(INGRESS, "name: http", "name: http\n                  number: 80"), @"manifests/base/web.yaml:15:17: Ingress.spec.rules[0].http.paths[0].backend.service.port: has both name and number; keep one");
}

#[test]
fn a_directory_is_read_without_what_is_not_meant() {
    let root = tempfile::tempdir().unwrap();
    let base = root.path().join("manifests/base");
    let missing = Manifests::read(root.path()).unwrap_err().to_string();
    assert_snapshot!(missing, @"manifests/base: cannot read it: No such file or directory (os error 2)");
    std::fs::create_dir_all(&base).unwrap();
    std::fs::write(base.join("web.yaml"), DEPLOYMENT).unwrap();
    std::fs::write(base.join(".#web.yaml"), "torn: [").unwrap();
    std::fs::write(base.join("web.yaml~"), "torn: [").unwrap();
    std::fs::write(base.join("README.md"), "torn: [").unwrap();
    assert_eq!(
        Manifests::read(root.path()).unwrap().deployments.len(),
        1,
        "manifests/ingress may be missing"
    );
    std::fs::write(base.join("big.yaml"), vec![b'#'; 10 << 20]).unwrap();
    std::fs::create_dir(base.join("dir.yaml")).unwrap();
    assert_snapshot!(Manifests::read(root.path()).unwrap_err(), @r#"
        manifests/base/big.yaml: 10240 KiB is more than a manifest may have (1024 KiB); split it
        manifests/base/dir.yaml: not a regular file; remove it, or give it another ending
        "#);
}

/// Text that is nearly a manifest.
fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let text = format!("{DEPLOYMENT}---\n{SERVICE}---\n{INGRESS}").into_bytes();
    (prop::collection::vec((0..text.len(), 0..5usize, any::<u8>()), 0..12), Just(text)).prop_map(
        |(edits, mut text)| {
            for (at, how, byte) in edits {
                let at = at % text.len().max(1);
                match how {
                    0 => text.truncate(at + 1),
                    1 => text.insert(at, byte),
                    2 => drop(text.remove(at)),
                    3 => text.insert(at, b"-:{}[]&*!|>\"'#\n"[usize::from(byte) % 15]),
                    _ => text[at] = byte,
                }
                if text.is_empty() {
                    break;
                }
            }
            text
        },
    )
}

proptest! {
    #[test]
    fn reading_any_bytes_ends_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(vec![(PathBuf::from("a.yaml"), bytes)]);
    }

    #[test]
    fn reading_what_is_nearly_a_manifest_ends_without_panic(bytes in mangled()) {
        if let Err(problems) = parse(vec![(PathBuf::from("a.yaml"), bytes)]) {
            prop_assert!(problems.iter().all(|problem| !problem.message.is_empty()));
        }
    }

    #[test]
    fn the_order_of_files_and_objects_does_not_matter(
        order in Just(vec![DEPLOYMENT, SERVICE, INGRESS]).prop_shuffle(),
        split in any::<bool>(),
    ) {
        let joined = vec![file("a.yaml", &order.join("---\n"))];
        let single = order.iter().enumerate().map(|(index, text)| file(&format!("{index}.yaml"), text)).collect();
        let manifests = parse(if split { single } else { joined }).unwrap();
        prop_assert_eq!(manifests.deployments.len() + manifests.services.len() + manifests.ingresses.len(), 3);
    }
}

#[test]
fn the_bounds_keep_reading_short() {
    // Near a megabyte of the worst: every value of the wrong type, every field unknown, every key twice.
    let many = (0..80_000).map(|index| format!("l{index}: 1")).collect::<Vec<_>>().join(",");
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (good, bad) in [
            ("      labels: {app: web}", format!("      labels: {{{many}}}")),
            ("  replicas: 2", format!("  strategy: {{{many}}}")),
            ("  replicas: 2", format!("  strategy: {{{}}}", "a: 1,".repeat(150_000))),
        ] {
            done.send(said(&DEPLOYMENT.replace(good, &bad)).lines().count()).unwrap();
        }
    });
    for _ in 0..3 {
        let lines = wait.recv_timeout(Duration::from_secs(60)).expect("reading ends");
        assert!((1..=100).contains(&lines), "{lines}");
    }
}
