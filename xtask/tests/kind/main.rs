//! The kind runtime on a real cluster, where there is a Docker engine; elsewhere each test says that it is skipped.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;
mod modes;
#[path = "../support/mod.rs"]
mod support;

use cluster::Cluster;
use support::{Checkout, text};

#[test]
fn from_no_cluster_to_answers_in_one_command_and_back() {
    let Some(cluster) = Cluster::new("kind") else { return };
    let checkout = &cluster.checkout;
    let up = ["up", "--grpc", "--no-ingress", "--runtime", "kind", "--detach", "--no-watch"];
    checkout.ok(&up);
    let status = checkout.json(&["status"]);
    assert_eq!((status["runtime"].as_str(), status["grpc"].as_bool()), (Some("kind"), Some(true)));
    let pods = status["pods"].as_array().unwrap();
    assert!(pods.len() == 5 && pods.iter().all(|pod| pod["state"] == "Ready"), "{status}");
    // gRPC is pinned: every client stays on one pod.
    let answer = checkout.json(&["call", "--as", "bar", "--count", "50", "baz:grpc/demo.Baz/GetInfo"]);
    assert_eq!(answer["pods"].as_object().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["outcomes"]["grpc 0"], 50, "{answer}");
    checkout.ok(&["smoke", "--grpc", "--no-ingress", "--runtime", "kind"]);

    // Nothing changed: nothing is touched.
    let versions = || {
        let path = "jsonpath={range .items[*]}{.kind}/{.metadata.name}={.metadata.resourceVersion} {end}";
        cluster.kubectl(&["get", "deployments,services,serviceaccounts,configmaps", "-o", path])
    };
    let before = versions();
    let output = checkout.ok(&up);
    assert_eq!(versions(), before);
    assert!(output.contains("unchanged"), "{output}");

    // Another mode changes what differs; a hand-made object stays, one that left the manifests goes.
    cluster.kubectl(&["create", "configmap", "by-hand"]);
    let synthetic = checkout.read("manifests/base/synthetic.yaml");
    std::fs::remove_file(checkout.root.join("manifests/base/synthetic.yaml")).unwrap();
    let up = ["up", "--no-ingress", "--runtime", "kind", "--detach", "--no-watch"];
    let output = checkout.ok(&up);
    assert!(output.contains("1 removed"), "{output}");
    assert!(!cluster.kubectl(&["get", "serviceaccounts", "-o", "name"]).contains("synthetic"));
    checkout.ok(&["smoke", "--no-ingress", "--runtime", "kind"]);

    meshed(&cluster);
    modes::each_is_what_a_fresh_up_gives(&cluster);

    checkout.ok(&["down"]);
    assert!(checkout.ok(&["down"]).contains("nothing is up"));
    assert_eq!(cluster.kubectl(&["get", "pods", "-o", "name"]), "");
    assert!(cluster.kubectl(&["get", "configmaps", "-o", "name"]).contains("by-hand"));

    checkout.save("manifests/base/synthetic.yaml", &synthetic);
    with_the_ingress(&cluster);
}

/// The ingress controller's image, by its tag.
fn controller(checkout: &Checkout) -> String {
    let pins = checkout.read("manifests/versions.toml");
    let image = pins.lines().find_map(|line| line.strip_prefix("image = \"registry.k8s.io/")).unwrap();
    format!("registry.k8s.io/{}", image.trim_end_matches('"'))
}

/// All the way where the controller's image can be had; else everything but that is there, and the image is named.
fn with_the_ingress(cluster: &Cluster) {
    let checkout = &cluster.checkout;
    let image = controller(checkout);
    let at_hand = cluster.has(&image);
    let up = |ingress: &[&str]| {
        checkout.run(&[&["up", "--runtime", "kind", "--detach", "--no-watch"], ingress].concat())
    };
    let output = up(&[]);
    if output.status.success() {
        checkout.ok(&["smoke", "--runtime", "kind"]);
    } else {
        assert!(!at_hand, "{image} is there: {}", text(&output));
        eprintln!("skipped: routes through the ingress, and smoke with it: no registry gave {image}");
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        let load = format!("kind load docker-image --name xtask-kind {image}");
        assert!(text(&output).lines().any(|line| line.ends_with(&load)), "{}", text(&output));
        // It is the only thing that is missing.
        let status = checkout.json(&["status"]);
        let pods = status["pods"].as_array().unwrap();
        assert!(pods.len() == 6 && pods.iter().all(|pod| pod["state"] == "Ready"), "{status}");
    }
    let names = |args: &[&str]| cluster.kubectl(&[&["get", "--output", "name"], args].concat());
    assert_eq!(names(&["ingresses"]), "ingress.networking.k8s.io/foo\n");
    assert_eq!(names(&["ingressclasses"]), "ingressclass.networking.k8s.io/nginx\n");
    let own = [
        "deployments,services,serviceaccounts,roles,rolebindings",
        "-l",
        "app.kubernetes.io/managed-by=xtask",
    ];
    assert_eq!(names(&[&["--namespace", "ingress-nginx"], &own[..]].concat()).lines().count(), 5);

    // Without it again, nothing of it stays; one that somebody else made would.
    let output = up(&["--no-ingress"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(names(&["ingresses,ingressclasses"]), "");
    cluster.kubectl(&["wait", "--for=delete", "namespace/ingress-nginx", "--timeout=60s"]);
    cluster.kubectl(&["create", "namespace", "ingress-nginx"]);
    up(&[]);
    checkout.ok(&["down"]);
    assert_eq!(names(&["namespace", "ingress-nginx"]), "namespace/ingress-nginx\n");
    assert_eq!(names(&["--namespace", "ingress-nginx", "deployments,services"]), "");
}

/// With Linkerd: all the way where its images are in the cluster or can be had, else up to them.
fn meshed(cluster: &Cluster) {
    let checkout = &cluster.checkout;
    let tools = checkout.json(&["tools", "ls"]);
    let linkerd = tools["tools"].as_array().into_iter().flatten().find(|tool| tool["name"] == "linkerd");
    if !linkerd.is_some_and(|tool| matches!(tool["from"].as_str(), Some("path" | "cache" | "named"))) {
        eprintln!("skipped: the meshed part, for the linkerd CLI is not on this machine ({tools})");
        return;
    }
    let pins = checkout.read("manifests/versions.toml");
    let release = pins.lines().find_map(|line| line.strip_prefix("version = \"edge-")).unwrap();
    for name in ["controller", "proxy"] {
        cluster.load(&format!("cr.l5d.io/linkerd/{name}:edge-{}", release.trim_end_matches('"')));
    }
    let before = cluster.kubectl(&["get", "pods", "-l", "app", "-o", "name"]);
    let up = ["up", "--linkerd", "--policy", "--no-ingress", "--runtime", "kind", "--detach", "--no-watch"];
    let output = checkout.run(&up);
    let told = text(&output);
    let definitions = cluster.kubectl(&["get", "crd", "-o", "name"]);
    assert!(
        definitions.contains("servers.policy.linkerd.io") && definitions.contains("grpcroutes.gateway"),
        "{told}"
    );
    assert!(cluster.kubectl(&["get", "servers.policy.linkerd.io", "-o", "name"]).contains("/baz"), "{told}");
    assert!(checkout.ok(&["policy", "apply"]).contains("nothing changed"));
    match output.status.code() {
        Some(0) => {
            checkout.ok(&["smoke", "--linkerd", "--no-ingress", "--runtime", "kind"]);
        }
        Some(3) => {
            // Every image that the control plane needs, by name; and no pod of a service was touched.
            assert!(
                told.contains("cr.l5d.io/linkerd/proxy:") && told.contains("linkerd/controller:"),
                "{told}"
            );
            assert_eq!(cluster.kubectl(&["get", "pods", "-l", "app", "-o", "name"]), before);
            // With the ingress too, its image is named with them, though its pods come after the control plane.
            let output = checkout.run(&["up", "--linkerd", "--runtime", "kind", "--detach", "--no-watch"]);
            assert_eq!(output.status.code(), Some(3), "{}", text(&output));
            let mut needed = vec!["cr.l5d.io/linkerd/proxy:".to_owned()];
            needed.extend(Some(controller(checkout)).filter(|image| !cluster.has(image)));
            let all = |line: &str| needed.iter().all(|image| line.contains(image));
            let told = text(&output);
            assert!(told.lines().any(|line| line.contains("kind load docker-image") && all(line)), "{told}");
            assert!(cluster.kubectl(&["get", "ingresses", "-o", "name"]).contains("/foo"), "{told}");
            eprintln!(
                "skipped: what needs Linkerd's images, which are not in this cluster and cannot be had"
            );
        }
        _ => panic!("{told}"),
    }
    // Without it again: nothing of it is left.
    checkout.ok(&["up", "--no-ingress", "--runtime", "kind", "--detach", "--no-watch"]);
    assert!(!cluster.kubectl(&["get", "crd", "-o", "name"]).contains("linkerd"));
}
