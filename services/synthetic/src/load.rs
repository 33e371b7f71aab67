//! The load: a request each time one is due, whatever became of those before, unless as many as allowed
//! are in flight.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, header::HOST};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{config::Load, tally::Tally};

/// Above the services' own deadline of 3 s, so that it is their answer that counts.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the log says how it goes.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

type Client = legacy::Client<HttpConnector, Empty<Bytes>>;

/// Sends until `stop`, then waits for what is in flight.
pub(crate) async fn run(load: Load, tally: Tally, stop: CancellationToken) {
    let client = client(&load);
    let free = Arc::new(Semaphore::new(load.concurrency));
    let requests = TaskTracker::new();
    let mut due = interval(Duration::from_secs_f64(1.0 / load.rate));
    let mut report = interval(REPORT_INTERVAL);
    report.reset();
    let load = Arc::new(load);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = report.tick() => tally.report(),
            _ = due.tick() => {
                let Ok(permit) = free.clone().try_acquire_owned() else {
                    tally.skipped();
                    continue;
                };
                let (client, load, tally) = (client.clone(), load.clone(), tally.clone());
                requests.spawn(async move {
                    send(&client, &load, &tally).await;
                    drop(permit);
                });
            }
        }
    }
    requests.close();
    requests.wait().await;
    tally.report();
}

fn client(load: &Load) -> Client {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(load.concurrency)
        .build(connector)
}

async fn send(client: &Client, load: &Load, tally: &Tally) {
    let started = Instant::now();
    let outcome = timeout(REQUEST_TIMEOUT, answer(client, load)).await.unwrap_or(Err("timeout"));
    tally.ended(outcome, started.elapsed());
}

/// The status, once the whole answer is there: only then is the connection free for the next request.
async fn answer(client: &Client, load: &Load) -> Result<u16, &'static str> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = load.url.clone();
    if let Some(host) = &load.host {
        request.headers_mut().insert(HOST, host.clone());
    }
    let sent = client.request(request).await;
    let mut response = sent.map_err(|error| if error.is_connect() { "connect" } else { "broken" })?;
    while let Some(frame) = response.body_mut().frame().await {
        frame.map_err(|_| "broken")?;
    }
    Ok(response.status().as_u16())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use prometheus_client::{encoding::text::encode, registry::Registry};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        task::yield_now,
    };

    use super::*;

    fn load(at: SocketAddr, concurrency: usize) -> Load {
        let url = format!("http://{at}/").parse().unwrap();
        Load { url, host: Some("foo.localhost".parse().unwrap()), rate: 1_000.0, concurrency }
    }

    /// Gives up what cannot happen any more.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Waits until the metrics say `enough`.
    async fn metrics(registry: &Registry, enough: impl Fn(&str) -> bool) -> String {
        let met = async {
            loop {
                let mut text = String::new();
                encode(&mut text, registry).unwrap();
                if enough(&text) {
                    return text;
                }
                yield_now().await;
            }
        };
        timeout(PATIENCE, met).await.unwrap()
    }

    /// Runs the load until the metrics say `enough`.
    async fn run_until(load: Load, enough: impl Fn(&str) -> bool) -> String {
        let mut registry = Registry::default();
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(load, Tally::register(&mut registry), stop.clone()));
        let text = metrics(&registry, enough).await;
        stop.cancel();
        running.await.unwrap();
        text
    }

    /// The value of a metric, 0 if it is not there.
    fn value(text: &str, metric: &str) -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    async fn answer(stream: &mut TcpStream) -> std::io::Result<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        Ok(String::from_utf8_lossy(&head).into_owned())
    }

    #[tokio::test]
    async fn requests_name_the_host_and_share_one_kept_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            // One connection only: a second would never be answered.
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(head) = answer(&mut stream).await {
                assert!(head.contains("host: foo.localhost\r\n"), "{head}");
            }
        });
        let text =
            run_until(load(at, 1), |text| value(text, r#"load_requests_total{status="200"}"#) >= 20).await;
        assert_eq!(value(&text, r#"load_requests_total{status="broken"}"#), 0, "{text}");
    }

    #[tokio::test]
    async fn a_target_that_is_down_is_counted_and_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        drop(listener);
        run_until(load(at, 5), |text| value(text, r#"load_requests_total{status="connect"}"#) >= 20).await;
    }

    #[tokio::test]
    async fn what_is_in_flight_is_bounded() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (held, mut streams) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = held.send(stream);
            }
        });
        let mut connections = Vec::new();
        let mut registry = Registry::default();
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(load(at, 3), Tally::register(&mut registry), stop.clone()));
        for _ in 0..3 {
            connections.push(streams.recv().await.unwrap());
        }
        metrics(&registry, |text| value(text, "load_skipped_total") >= 20).await;
        assert!(streams.try_recv().is_err());
        stop.cancel();
        drop(connections);
        running.await.unwrap();
    }
}
