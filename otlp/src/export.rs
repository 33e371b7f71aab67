//! How spans leave the process: a bounded queue that never makes anybody wait, and batches to the collector. What does not
//! fit, or what the collector does not take, is dropped and counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header::CONTENT_TYPE, uri::Scheme};
use http_body_util::Full;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{Span, encode};

/// So many spans may wait; more are dropped.
const QUEUE: usize = 4096;
/// So many go out together.
const BATCH: usize = 512;
/// So long the first of a batch waits for more.
const LINGER: Duration = Duration::from_millis(200);
/// So long the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// So long the end of a process waits for its last spans.
const LAST: Duration = Duration::from_secs(1);

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// Why spans cannot go somewhere.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{variable}={value} is no http:// URL: spans are sent without TLS only, so name a collector nearby")]
pub struct EndpointError {
    /// Which variable.
    pub variable: &'static str,
    /// Its value.
    pub value: String,
}

impl Endpoint {
    /// As OpenTelemetry's variables say it (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>): none if
    /// neither is set. `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is taken as it is, `/v1/traces` is put behind
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`.
    ///
    /// # Errors
    /// What is no `http://` URL.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, EndpointError> {
        const WHOLE: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let (name, value, url) = match (set(WHOLE), set(BASE)) {
            (Some(url), _) => (WHOLE, url.clone(), url),
            (None, Some(base)) => {
                let url = format!("{}/v1/traces", base.trim_end_matches('/'));
                (BASE, base, url)
            }
            (None, None) => return Ok(None),
        };
        let uri = url.parse::<Uri>().ok();
        let uri = uri.filter(|uri| uri.scheme() == Some(&Scheme::HTTP) && uri.authority().is_some());
        uri.map(|uri| Some(Self(uri))).ok_or(EndpointError { variable: name, value })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Takes spans. Clones share one queue; when the last is dropped, what waits is still sent.
#[derive(Clone, Debug)]
pub struct Exporter {
    queue: mpsc::Sender<Item>,
    counts: Arc<Counters>,
}

#[derive(Debug)]
enum Item {
    Span(Box<Span>),
    Flush(oneshot::Sender<()>),
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    dropped: AtomicU64,
}

/// What became of spans so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The collector took them.
    pub sent: u64,
    /// They did not fit into the queue, or the collector did not take them.
    pub dropped: u64,
}

impl Exporter {
    /// Sends to `endpoint` from now on, from a task of its own: it must be called in a runtime. `lost` is told why, when
    /// spans begin to be lost.
    pub fn start(endpoint: Endpoint, lost: impl Fn(&str) + Send + 'static) -> Self {
        let (queue, items) = mpsc::channel(QUEUE);
        let counts = Arc::default();
        tokio::spawn(run(items, endpoint, Arc::clone(&counts), lost));
        Self { queue, counts }
    }

    /// Sends a span, soon; drops it if too many wait.
    pub fn export(&self, span: Span) {
        if self.queue.try_send(Item::Span(Box::new(span))).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was exported is sent or dropped, a second at most.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        let flushing = async {
            if self.queue.send(Item::Flush(done)).await.is_ok() {
                // The task ends with the runtime only.
                let _ = flushed.await;
            }
        };
        let _ = timeout(LAST, flushing).await;
    }

    /// What became of spans so far.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { sent: read(&self.counts.sent), dropped: read(&self.counts.dropped) }
    }
}

async fn run(
    mut items: mpsc::Receiver<Item>,
    endpoint: Endpoint,
    counts: Arc<Counters>,
    lost: impl Fn(&str),
) {
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let mut losing = false;
    while let Some(first) = items.recv().await {
        let (mut batch, mut flushed) = (Vec::new(), None);
        let until = Instant::now() + LINGER;
        let mut next = Some(first);
        while let Some(item) = next.take() {
            match item {
                Item::Span(span) => batch.push(*span),
                Item::Flush(done) => flushed = Some(done),
            }
            if batch.len() < BATCH && flushed.is_none() {
                next = timeout_at(until, items.recv()).await.ok().flatten();
            }
        }
        if !batch.is_empty() {
            let count = batch.len() as u64;
            let outcome = send(&client, &endpoint, &batch).await;
            let counter = if outcome.is_ok() { &counts.sent } else { &counts.dropped };
            counter.fetch_add(count, Ordering::Relaxed);
            if let Err(why) = &outcome
                && !losing
            {
                lost(&format!("{endpoint}: {why}"));
            }
            losing = outcome.is_err();
        }
        // Who waits for it may have given up.
        let _ = flushed.map(|done| done.send(()));
    }
}

async fn send(
    client: &Client<HttpConnector, Full<Bytes>>,
    endpoint: &Endpoint,
    batch: &[Span],
) -> Result<(), String> {
    let request = Request::post(endpoint.0.clone())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(encode(batch).to_string()))
        .map_err(|error| error.to_string())?;
    let answered = timeout(PATIENCE, client.request(request)).await;
    let response = answered.map_err(|_| format!("no answer within {PATIENCE:?}"))?.map_err(|error| {
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
    })?;
    let status = response.status();
    if status.is_success() { Ok(()) } else { Err(format!("HTTP {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<String>, EndpointError> {
        let find = |name: &str| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Endpoint::read(find).map(|endpoint| endpoint.map(|endpoint| endpoint.to_string()))
    }

    #[test]
    fn the_endpoint_is_what_opentelemetrys_variables_say() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[(base.0, "")]), Ok(None));
        assert_eq!(read(&[base]), Ok(Some("http://localhost:4318/v1/traces".into())));
        assert_eq!(read(&[(base.0, "http://a:1/b/")]), Ok(Some("http://a:1/b/v1/traces".into())));
        let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:1/t");
        assert_eq!(read(&[base, whole]), Ok(Some("http://a:1/t".into())));
        for wrong in ["https://a:4318", "localhost:4318", "http://"] {
            let error = read(&[(base.0, wrong)]).unwrap_err().to_string();
            assert!(
                error.contains(&format!("OTEL_EXPORTER_OTLP_ENDPOINT={wrong} is no http:// URL")),
                "{error}"
            );
        }
    }
}
