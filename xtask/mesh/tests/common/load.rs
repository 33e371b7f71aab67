//! Load on three pods, for the tests that count who answers.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use mesh::{Endpoint, Issuer};

use super::{App, Client, Http, Pod, until};

pub const NAMES: [&str; 3] = ["baz-a", "baz-b", "baz-c"];

pub async fn three() -> (Pod, Vec<(Pod, App)>) {
    let issuer = Issuer::generate().unwrap();
    let mut servers = Vec::new();
    for name in NAMES {
        let pod = Pod::start("baz", &issuer).await;
        let app = App::grpc(pod.app_addr(), name).await;
        servers.push((pod, app));
    }
    (Pod::start("foo", &issuer).await, servers)
}

pub fn endpoints(servers: &[(Pod, App)]) -> Vec<Endpoint> {
    servers.iter().map(|(pod, _)| pod.endpoint()).collect()
}

/// Calls until told to stop, so many at once, and counts the answers by their text.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    workers: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    pub async fn start(addr: std::net::SocketAddr, workers: usize) -> Self {
        let client = Client::connect(addr, Http::Two).await;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let workers = (0..workers)
            .map(|_| {
                let (client, stop, sent) = (client.clone(), stop.clone(), sent.clone());
                tokio::spawn(async move {
                    let mut answers = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let answer = match client.call("/demo.Baz/GetInfo").await {
                            Ok(answer) if answer.grpc_status() == Some("0") => answer.body,
                            Ok(answer) => format!("failed: {} {:?}", answer.status, answer.grpc_status()),
                            Err(error) => format!("failed: {error:?}"),
                        };
                        answers.push(answer);
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                    answers
                })
            })
            .collect();
        Self { stop, sent, workers }
    }

    pub async fn more(&self, count: usize) {
        let goal = self.sent.load(Ordering::Relaxed) + count;
        until("enough requests", || async { self.sent.load(Ordering::Relaxed) >= goal }).await;
    }

    pub async fn stop(self) -> BTreeMap<String, usize> {
        self.stop.store(true, Ordering::Relaxed);
        let mut counts = BTreeMap::new();
        for worker in self.workers {
            for answer in worker.await.unwrap() {
                *counts.entry(answer).or_insert(0) += 1;
            }
        }
        counts
    }
}
