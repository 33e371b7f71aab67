//! A bounded number of real requests through the ingress.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::runtime::{CallRequest, Running};

/// What came back for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// Status and body.
    Answer(u16, String),
    /// No answer: why.
    Nothing(String),
}

/// Longer than the services' own deadline for a call (3 s).
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends `requests` GETs for `/` at `host`, `concurrency` at a time on kept-alive connections.
pub async fn send(ingress: SocketAddr, host: &str, requests: u32, concurrency: u32) -> Vec<Got> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let left = Arc::new(AtomicU32::new(requests));
    let clients: Vec<_> = (0..concurrency.min(requests))
        .map(|_| {
            let (client, left, host) = (client.clone(), Arc::clone(&left), host.to_owned());
            tokio::spawn(async move {
                let mut got = Vec::new();
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                    let one = tokio::time::timeout(PATIENCE, one(&client, ingress, &host)).await;
                    got.push(one.unwrap_or_else(|_| Got::Nothing(format!("no answer within {PATIENCE:?}"))));
                }
                got
            })
        })
        .collect();
    let mut got = Vec::new();
    for client in clients {
        got.extend(client.await.unwrap_or_default());
    }
    got
}

/// The same from a client of the environment's, without an identity, to the port `http` of a Service.
pub async fn call(
    runtime: &dyn Running,
    service: &str,
    requests: u32,
    concurrency: u32,
) -> anyhow::Result<Vec<Got>> {
    let request = CallRequest {
        service: service.to_owned(),
        port: "http".to_owned(),
        path: "/".to_owned(),
        timeout_ms: u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX),
        count: requests,
        concurrency,
        keep: true,
        ..CallRequest::default()
    };
    let answer = runtime.call(request).await?;
    let got = |(status, text)| match status {
        Some(status) => Got::Answer(status, text),
        None => Got::Nothing(text),
    };
    Ok(answer.kept.into_iter().map(got).collect())
}

async fn one(
    client: &Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>,
    ingress: SocketAddr,
    host: &str,
) -> Got {
    let request = Request::get(format!("http://{ingress}/")).header("host", host).body(Full::default());
    let Ok(request) = request else { return Got::Nothing(format!("`{host}` is no host")) };
    match client.request(request).await {
        Err(error) => Got::Nothing(causes(&error)),
        Ok(response) => {
            let status = response.status().as_u16();
            match response.into_body().collect().await {
                Ok(body) => Got::Answer(status, String::from_utf8_lossy(&body.to_bytes()).into_owned()),
                Err(error) => Got::Nothing(causes(&error)),
            }
        }
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
