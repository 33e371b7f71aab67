//! The runtime as a whole, with shell scripts as services and, where they must answer, listeners of the test
//! on the pods' addresses.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::plan::{Mode, Sourced};
use crate::process::tests::spawner;
use crate::report::event::PodState;
use crate::runtime::{Image, PodStatus};
use crate::workspace::manifests::Source;

/// A runtime whose directory of logs goes with it.
struct Bed {
    local: Local,
    events: Events,
    logs: tempfile::TempDir,
}

impl std::ops::Deref for Bed {
    type Target = Local;

    fn deref(&self) -> &Local {
        &self.local
    }
}

fn bed() -> Bed {
    let (logs, events) = (tempfile::tempdir().unwrap(), Events::default());
    let node = Arc::new(Node {
        spawner: spawner(),
        block: Block::claim(logs.path()).unwrap(),
        services: ServiceTable::default(),
        addresses: ServiceAddresses::default(),
        policies: PolicyController::default(),
        faults: fault::FaultController::default(),
        traces: None,
        observer: Observer::default(),
        issuer: Issuer::generate().unwrap(),
        logs: LogBook::start(logs.path().into(), events.clone()).unwrap(),
        events: events.clone(),
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
    });
    let (controllers, plan) = (RwLock::default(), RwLock::default());
    let local = Local {
        node,
        gateway: None,
        controllers,
        plan,
        audit: Audit::default(),
        overrides: Mutex::default(),
        dashboard: None,
        log_files: logs.path().into(),
        started: Instant::now(),
    };
    Bed { local, events, logs }
}

fn sourced<T>(object: T) -> Sourced<T> {
    Sourced { object, source: Source { file: PathBuf::from("manifests/base/x.yaml"), line: 7 } }
}

/// A Deployment `name` that runs a script, with more said of its `spec` and its container.
fn runs(name: &str, script: &str, spec: &Value, container: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1,
                    "containers": [{"name": name, "image": "sh", "args": ["-c", script]}]},
            },
        },
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        object["spec"][key] = value.clone();
    }
    for (key, value) in container.as_object().into_iter().flatten() {
        object["spec"]["template"]["spec"]["containers"][0][key] = value.clone();
    }
    object
}

fn plan(deployments: &[Value]) -> Arc<Plan> {
    let services = ["baz", "bar"].map(|name| {
        let service: Service = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        }))
        .unwrap();
        sourced(service)
    });
    Arc::new(Plan {
        mode: Mode::default(),
        ingress: false,
        namespace: "default".into(),
        labels: BTreeMap::new(),
        service_accounts: vec![],
        services: services.into(),
        deployments: deployments
            .iter()
            .map(|d| sourced(serde_json::from_value(d.clone()).unwrap()))
            .collect(),
        ingresses: vec![],
        images: vec!["sh".into()],
        left_out: vec![],
    })
}

fn images() -> Images {
    Images::from([("sh".into(), Image { id: "1".into(), binary: "/bin/sh".into() })])
}

const TCP_PROBE: &str =
    r#"{"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1}}"#;

fn tcp_probe() -> Value {
    serde_json::from_str(TCP_PROBE).unwrap()
}

/// The pods, once they are as wanted.
async fn pods(local: &Local, wanted: impl Fn(&[PodStatus]) -> bool) -> Vec<PodStatus> {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let pods = local.status().await.unwrap().pods;
        if wanted(&pods) {
            return pods;
        }
        assert!(std::time::Instant::now() < deadline, "{pods:#?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Answers on port 8080 of each pod's address with the pod's name, as long as the pod is there.
fn answer_for_pods(bed: &Arc<Bed>) -> JoinHandle<()> {
    let bed = Arc::clone(bed);
    tokio::spawn(async move {
        let mut serving: BTreeMap<String, JoinHandle<()>> = BTreeMap::new();
        loop {
            let pods = bed.status().await.unwrap().pods;
            serving.retain(|name, task| {
                let stays = pods.iter().any(|pod| pod.name == *name);
                if !stays {
                    task.abort();
                }
                stays
            });
            for pod in pods {
                let Entry::Vacant(vacant) = serving.entry(pod.name.clone()) else { continue };
                let ip: Ipv4Addr = pod.ip.parse().unwrap();
                let listener = TcpListener::bind((ip, 8080)).await.unwrap();
                vacant.insert(tokio::spawn(async move {
                    while let Ok((mut stream, _)) = listener.accept().await {
                        // A probe closes at once.
                        let _ = stream.write_all(pod.name.as_bytes()).await;
                    }
                }));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
}

#[tokio::test]
async fn a_plan_runs_and_ends_and_its_lines_are_kept() {
    let bed = bed();
    let script =
        "trap 'echo bye; exit 0' TERM; echo \"$HOSTNAME $BAR_URL $HTTP_PROXY\"; while :; do sleep 0.01; done";
    let env = json!({"env": [{"name": "BAR_URL", "value": "http://bar/x"}]});
    bed.apply(plan(&[runs("baz", script, &json!({"replicas": 2}), &env)]), images()).await.unwrap();
    bed.ready().await.unwrap();
    let status = bed.status().await.unwrap();
    assert_eq!((status.deployments[0].ready, status.pods.len()), (2, 2));
    let bar = &status.services.iter().find(|service| service.name == "bar").unwrap().ports["http"];
    // Told once its trap is set.
    let mut reader = log_file::LogReader::new(bed.logs.path().into(), vec!["baz".into()], None);
    let mut lines = Vec::new();
    while lines.len() < 2 {
        bed.node.logs.flush().await;
        lines.extend(reader.read().unwrap());
        tokio::task::yield_now().await;
    }
    for line in &lines {
        assert_eq!(line.line, format!("{} http://{bar}/x ", line.pod));
    }
    let exited = bed.stop().await.unwrap();
    assert_eq!(exited.iter().map(|e| (e.code, e.killed)).collect::<Vec<_>>(), [(Some(0), false); 2]);
    assert_eq!(reader.read().unwrap().iter().filter(|line| line.line == "bye").count(), 2);
}

#[tokio::test]
async fn a_crash_loop_is_told_with_the_last_lines() {
    let bed = bed();
    let crashing = runs("baz", "echo no database >&2; exit 3", &json!({}), &tcp_probe());
    bed.apply(plan(&[crashing]), images()).await.unwrap();
    let error = bed.ready().await.unwrap_err().to_string();
    assert!(error.starts_with("pod baz-"), "{error}");
    assert!(error.contains(": exit code 3\n  | no database"), "{error}");
    let pods = bed.status().await.unwrap().pods;
    assert_eq!((pods[0].state, pods[0].restarts), (PodState::CrashLoopBackOff, 1));
    assert_eq!(pods[0].reason, "exit code 3; started again in 10 s");
    // It waits to be started again, and is stopped all the same.
    assert_eq!(bed.stop().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_missing_program_is_told_at_once() {
    let bed = bed();
    let mut images = images();
    images.get_mut("sh").unwrap().binary = "/nonexistent".into();
    bed.apply(plan(&[runs("baz", "", &json!({}), &json!({}))]), images).await.unwrap();
    let error = bed.ready().await.unwrap_err().to_string();
    assert!(error.contains("cannot start /nonexistent: No such file"), "{error}");
}

#[tokio::test]
async fn a_pod_that_ignores_sigterm_is_killed_after_its_grace_period() {
    let bed = bed();
    let deaf = "trap '' TERM; echo deaf; while :; do sleep 0.01; done";
    let (_, mut events) = bed.events.subscribe();
    bed.apply(plan(&[runs("baz", deaf, &json!({}), &json!({}))]), images()).await.unwrap();
    while !matches!(&*events.recv().await.unwrap(), crate::report::Event::Log { line, .. } if line == "deaf")
    {
    }
    let exited = bed.stop().await.unwrap();
    assert_eq!(exited.iter().map(|e| (e.code, e.killed)).collect::<Vec<_>>(), [(None, true)]);
}

#[tokio::test]
async fn a_pod_is_an_endpoint_exactly_while_its_probe_passes() {
    let bed = bed();
    bed.apply(plan(&[runs("baz", "exec sleep 1000", &json!({}), &tcp_probe())]), images()).await.unwrap();
    let pod = pods(&bed, |pods| pods.len() == 1 && pods[0].state == PodState::Starting).await.remove(0);
    let mut endpoints = bed.node.services.subscribe("baz", "default", 80).unwrap();
    assert!(endpoints.borrow().is_empty());
    let ip: Ipv4Addr = pod.ip.parse().unwrap();
    let listener = TcpListener::bind((ip, 8080)).await.unwrap();
    endpoints.wait_for(|endpoints| endpoints.len() == 1).await.unwrap();
    bed.ready().await.unwrap();
    drop(listener);
    endpoints.wait_for(|endpoints| endpoints.is_empty()).await.unwrap();
    let pods = pods(&bed, |pods| pods[0].state == PodState::NotReady).await;
    assert_eq!(pods[0].reason, "readiness probe: connection to :8080 was refused");
    assert_eq!(pods[0].restarts, 0);
}

#[tokio::test]
async fn scaling_touches_no_other_pod_and_the_same_plan_touches_none() {
    let bed = bed();
    let baz =
        |replicas: u32| plan(&[runs("baz", "exec sleep 1000", &json!({"replicas": replicas}), &json!({}))]);
    let names = async || bed.status().await.unwrap().pods.into_iter().map(|pod| pod.name).collect::<Vec<_>>();
    bed.apply(baz(3), images()).await.unwrap();
    bed.ready().await.unwrap();
    let three = names().await;
    bed.apply(baz(3), images()).await.unwrap();
    bed.ready().await.unwrap();
    assert_eq!(names().await, three);
    bed.apply(baz(5), images()).await.unwrap();
    bed.ready().await.unwrap();
    let five = names().await;
    assert!(five.len() == 5 && three.iter().all(|name| five.contains(name)));
    bed.apply(baz(1), images()).await.unwrap();
    bed.ready().await.unwrap();
    assert!(names().await.iter().all(|name| five.contains(name)));
    bed.apply(plan(&[]), images()).await.unwrap();
    pods(&bed, <[PodStatus]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_is_lost_while_pods_are_replaced() {
    let bed = Arc::new(bed());
    let answering = answer_for_pods(&bed);
    let baz = |version: &str| {
        let container = json!({"env": [{"name": "VERSION", "value": version}],
            "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}});
        plan(&[runs("baz", "exec sleep 1000", &json!({"replicas": 3}), &container)])
    };
    bed.apply(baz("1"), images()).await.unwrap();
    bed.ready().await.unwrap();
    let before: Vec<_> = bed.status().await.unwrap().pods.into_iter().map(|pod| pod.name).collect();
    let address = bed.node.service_address("baz", "default", 80).unwrap();
    let client = tokio::spawn(async move {
        let mut answers = Vec::new();
        loop {
            let mut answer = String::new();
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("baz-"), "{answer:?} after {}", answers.len());
            answers.push(answer);
            if answers.len() > 10_000 {
                answers.drain(..5000);
            }
        }
    });
    bed.apply(baz("2"), images()).await.unwrap();
    bed.ready().await.unwrap();
    let after: Vec<_> = bed.status().await.unwrap().pods.into_iter().map(|pod| pod.name).collect();
    assert!(after.len() == 3 && !after.iter().any(|name| before.contains(name)));
    assert!(!client.is_finished(), "{:?}", client.await);
    client.abort();
    answering.abort();
}

#[tokio::test]
async fn a_failing_revision_leaves_the_old_one_serving_and_is_superseded() {
    let bed = bed();
    let baz = |script: &str| plan(&[runs("baz", script, &json!({"replicas": 2}), &json!({}))]);
    bed.apply(baz("exec sleep 1000"), images()).await.unwrap();
    bed.ready().await.unwrap();
    let old: Vec<_> = bed.status().await.unwrap().pods.into_iter().map(|pod| pod.name).collect();
    let failing = plan(&[runs("baz", "exit 1", &json!({"replicas": 2}), &tcp_probe())]);
    bed.apply(failing, images()).await.unwrap();
    bed.ready().await.unwrap_err();
    let pods_now = bed.status().await.unwrap().pods;
    assert!(
        old.iter().all(|name| pods_now.iter().any(|pod| pod.name == *name && pod.state == PodState::Ready))
    );
    bed.apply(baz("exec sleep 2000"), images()).await.unwrap();
    bed.ready().await.unwrap();
    let new = bed.status().await.unwrap().pods;
    assert!(new.len() == 2 && !new.iter().any(|pod| old.contains(&pod.name)));
}

#[tokio::test]
async fn what_is_not_modelled_is_refused_whole_and_nothing_starts() {
    let bed = bed();
    let good = runs("bar", "exec sleep 1000", &json!({}), &json!({}));
    let mut bad = runs("baz", "", &json!({}), &json!({"image": "nginx"}));
    bad["spec"]["template"]["spec"]["volumes"] = json!([{"name": "cache", "emptyDir": {}}]);
    let error = bed.apply(plan(&[good, bad]), images()).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"
    manifests/base/x.yaml:7: Deployment baz: spec.template.spec.volumes ("cache") is not modelled by the local runtime; leave it out
    manifests/base/x.yaml:7: Deployment baz: image "nginx" is not built by this workspace
    "#);
    let status = bed.status().await.unwrap();
    assert!(status.pods.is_empty() && status.services.is_empty());
}

#[tokio::test]
async fn a_meshed_pod_is_reached_through_its_sidecar_and_calls_through_it() {
    let bed = bed();
    let env = json!({"env": [{"name": "BAR_URL", "value": "http://bar"}], "ports": [{"containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}});
    let mut meshed = runs("baz", "echo \"$BIND_ADDRESS $BAR_URL\"; exec sleep 1000", &json!({}), &env);
    meshed["spec"]["template"]["metadata"]["annotations"] = json!({"linkerd.io/inject": "enabled"});
    let (_, mut events) = bed.events.subscribe();
    bed.apply(plan(&[meshed]), images()).await.unwrap();
    let line = loop {
        if let crate::report::Event::Log { line, .. } = &*events.recv().await.unwrap() {
            break line.clone();
        }
    };
    bed.ready().await.unwrap();
    let (bind, bar) = line.split_once(' ').unwrap();
    let bar: std::net::SocketAddr = bar.strip_prefix("http://").unwrap().parse().unwrap();
    assert_eq!(bind, bar.ip().to_string(), "the sidecar listens for the application on its hidden address");
    let pod = &bed.status().await.unwrap().pods[0];
    assert!(pod.meshed && pod.ip != bind);
    let endpoints = bed.node.services.subscribe("baz", "default", 80).unwrap();
    let identity = endpoints.borrow()[0].identity.as_ref().map(ToString::to_string);
    assert_eq!(identity.as_deref(), Some("default.default.serviceaccount.identity.linkerd.cluster.local"));
    TcpStream::connect(bar).await.unwrap();
    bed.stop().await.unwrap();
    TcpStream::connect(bar).await.unwrap_err();
}

#[tokio::test]
async fn a_restart_makes_all_pods_anew_and_a_scale_lasts_until_the_manifest_says_another_number() {
    let bed = bed();
    let wanted = |replicas: u32| {
        plan(&[runs("baz", "while :; do sleep 0.01; done", &json!({"replicas": replicas}), &json!({}))])
    };
    let ready = |count: usize| {
        move |pods: &[PodStatus]| pods.len() == count && pods.iter().all(|pod| pod.state == PodState::Ready)
    };
    let names = |pods: &[PodStatus]| pods.iter().map(|pod| pod.name.clone()).collect::<BTreeSet<_>>();
    bed.apply(wanted(2), images()).await.unwrap();
    let first = names(&pods(&bed, ready(2)).await);
    bed.restart("baz").unwrap();
    let is_new = |pods: &[PodStatus]| ready(2)(pods) && names(pods).is_disjoint(&first);
    let second = names(&pods(&bed, is_new).await);
    bed.scale("baz", 3).unwrap();
    let third = names(&pods(&bed, ready(3)).await);
    assert!(third.is_superset(&second));
    // What was changed by hand stays when something else is applied.
    bed.apply(wanted(2), images()).await.unwrap();
    bed.ready().await.unwrap();
    assert_eq!(names(&pods(&bed, ready(3)).await), third);
    bed.apply(wanted(1), images()).await.unwrap();
    pods(&bed, ready(1)).await;
    assert!(bed.restart("qux").is_err() && bed.scale("qux", 1).is_err());
    bed.stop().await.unwrap();
}
