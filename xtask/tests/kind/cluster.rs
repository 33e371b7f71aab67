//! A cluster that a test may do with what it likes.

use std::net::TcpListener;
use std::process::Command;

use crate::support::{Checkout, text};

/// A checkout with a cluster of its own, which is deleted with it, and the cluster's node. None where there is no engine.
pub struct Cluster {
    pub checkout: Checkout,
    node: String,
}

impl Cluster {
    pub fn new(name: &str) -> Option<Self> {
        let engine = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
        match engine {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                eprintln!("skipped: no Docker engine answers ({why})");
                return None;
            }
            Err(error) => {
                eprintln!("skipped: there is no docker ({error})");
                return None;
            }
        }
        let checkout = Checkout::new(name);
        checkout.edit("manifests/kind.yaml", "name: xtask", &format!("name: xtask-{name}"));
        // Ports of the machine are for one cluster only.
        let free = [8080, 8443].map(|port| (port, TcpListener::bind("127.0.0.1:0").unwrap()));
        for (port, listener) in free {
            let free = listener.local_addr().unwrap().port();
            let host_port = |port: u16| format!("hostPort: {port}");
            checkout.edit("manifests/kind.yaml", &host_port(port), &host_port(free));
        }
        let cluster = Self { checkout, node: format!("xtask-{name}-control-plane") };
        // Left by a run that was killed.
        cluster.delete();
        Some(cluster)
    }

    pub fn kubectl(&self, args: &[&str]) -> String {
        let inside = ["exec", &self.node, "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"];
        let output = Command::new("docker").args(inside).args(args).output().unwrap();
        assert!(output.status.success(), "kubectl {args:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether an image is in the node, or in the engine, from where `up` loads it.
    pub fn has(&self, image: &str) -> bool {
        let succeeds = |args: &[&str]| {
            let output = Command::new("docker").args(args).output().unwrap();
            output.status.success() && !output.stdout.is_empty()
        };
        let named = format!("name=={image}");
        succeeds(&["exec", &self.node, "ctr", "--namespace", "k8s.io", "images", "ls", "--quiet", &named])
            || succeeds(&["image", "inspect", image])
    }

    /// Brings an image into the node where the engine has it, as people do who have no registry.
    pub fn load(&self, image: &str) {
        let line = format!(
            "docker image inspect {image} >/dev/null 2>&1 && \
             docker save {image} | docker exec -i {} ctr --namespace k8s.io images import - >/dev/null",
            self.node
        );
        let _ = Command::new("sh").args(["-c", &line]).status();
    }

    fn delete(&self) {
        let _ = self.checkout.run(&["down", "--all"]);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.delete();
    }
}
