use policy::model::{HTTPRoute, Server};
use serde_json::json;

use super::*;

fn workload() -> Workload {
    Workload {
        name: "baz".to_owned(),
        namespace: "default".to_owned(),
        labels: [("app".to_owned(), "baz".to_owned())].into(),
        ..Workload::default()
    }
}

fn server(name: &str, access: &str) -> Given {
    let server: Server = serde_json::from_value(json!({
        "apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server", "metadata": { "name": name },
        "spec": { "podSelector": { "matchLabels": { "app": "baz" } }, "port": 8080, "accessPolicy": access },
    }))
    .unwrap();
    let file = PathBuf::from(format!("manifests/policy/http/{name}.yaml"));
    Given { object: server.into(), file }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millisecond(second * 1000 + 7).unwrap()
}

fn told(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|change| format!("{} {}", change.object, change.change)).collect()
}

fn name(receiver: &watch::Receiver<Arc<Inbound>>) -> String {
    receiver.borrow().port(8080).server.to_string()
}

#[test]
fn a_change_reaches_who_watches_and_the_same_again_wakes_no_one() {
    let controller = PolicyController::default();
    let mut inbound = controller.inbound(workload());
    assert_eq!(name(&inbound), "default all-unauthenticated");
    let changes = controller.apply(vec![server("baz", "deny")], Vec::new(), at(1));
    assert_eq!(told(&changes), ["Server baz created"]);
    assert!(inbound.has_changed().unwrap());
    assert_eq!(name(&inbound), "Server baz");
    inbound.mark_unchanged();
    let changes = controller.apply(vec![server("baz", "deny")], Vec::new(), at(2));
    assert_eq!(told(&changes), ["Server baz unchanged"]);
    assert!(!inbound.has_changed().unwrap());
    let changes = controller.apply(vec![server("baz", "audit")], Vec::new(), at(3));
    assert_eq!(told(&changes), ["Server baz configured"]);
    let key = server("baz", "").object.key();
    assert_eq!(told(&controller.delete(vec![key.clone()], &[])), ["Server baz deleted"]);
    assert_eq!(name(&inbound), "default all-unauthenticated");
    assert_eq!(told(&controller.delete(vec![key], &[])), ["Server baz was not there"]);
}

#[test]
fn routes_reach_the_clients_that_they_are_for() {
    let controller = PolicyController::default();
    let service = ServicePort::new("default", "baz", 80);
    let [own, other] = ["default", "other"].map(|client| controller.outbound(client, service.clone()));
    assert!(own.borrow().only_rule().is_some(), "no such Service yet");
    let baz = json!({ "metadata": { "name": "baz", "namespace": "default" }, "spec": { "ports": [{ "port": 80 }] } });
    let services = vec![serde_json::from_value(baz).unwrap()];
    controller.set_plan(Objects { services, ..Objects::default() });
    let route: HTTPRoute = serde_json::from_value(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "name": "baz", "namespace": "other" },
        "spec": { "parentRefs": [{ "group": "core", "kind": "Service", "name": "baz", "namespace": "default" }] },
    }))
    .unwrap();
    let file = PathBuf::from("baz.yaml");
    controller.apply(vec![Given { object: route.into(), file }], Vec::new(), at(1));
    assert!(own.borrow().only_rule().is_some());
    assert!(other.borrow().only_rule().is_none(), "a consumer's route");
}

#[test]
fn of_two_servers_on_a_port_the_older_is_in_force_until_it_goes() {
    let controller = PolicyController::default();
    let inbound = controller.inbound(workload());
    controller.apply(vec![server("z", "deny")], Vec::new(), at(1));
    controller.apply(vec![server("a", "deny")], Vec::new(), at(2));
    controller.apply(vec![server("z", "audit")], Vec::new(), at(3));
    assert_eq!(name(&inbound), "Server z", "changed later, but created first");
    controller.delete(vec![server("z", "").object.key()], &[]);
    assert_eq!(name(&inbound), "Server a");
}

#[test]
fn equal_workloads_share_what_is_compiled() {
    let controller = PolicyController::default();
    let (one, other) = (controller.inbound(workload()), controller.inbound(workload()));
    assert!(Arc::ptr_eq(&one.borrow(), &other.borrow()));
}

#[test]
fn followed_files_decide_what_of_theirs_is_applied() {
    let controller = PolicyController::default();
    let path = PathBuf::from("manifests/policy/http");
    controller.apply(vec![server("a", "deny"), server("b", "deny")], vec![path.clone()], at(1));
    let mut elsewhere = server("c", "deny");
    elsewhere.file = PathBuf::from("/elsewhere/c.yaml");
    controller.apply(vec![elsewhere], Vec::new(), at(1));
    let changes = controller.follow(vec![server("b", "audit"), server("d", "deny")], at(2));
    assert_eq!(told(&changes), ["Server a deleted", "Server b configured", "Server d created"]);
    assert_eq!(controller.applied().len(), 3, "what is not followed stays");

    controller.delete(vec![server("b", "").object.key()], &[]);
    let changes = controller.follow(vec![server("b", "deny"), server("d", "deny")], at(3));
    assert_eq!(told(&changes), ["Server d unchanged"], "what was deleted does not come back");
    controller.apply(vec![server("b", "deny")], vec![path.clone()], at(4));
    let changes = controller.follow(vec![server("b", "audit"), server("d", "deny")], at(5));
    assert_eq!(told(&changes), ["Server b configured", "Server d unchanged"]);

    let all = controller.applied().iter().map(PolicyObject::key).collect();
    controller.delete(all, &[path]);
    assert_eq!(controller.followed(), Followed::default());
}
