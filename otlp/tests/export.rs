//! Spans to a receiver that is there, and to one that is not.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use otlp::{Context, Counts, Endpoint, Exporter, Kind, Resource, Span};
use tokio::net::TcpListener;

fn span() -> Span {
    Span {
        context: Context::start(),
        parent: None,
        resource: Arc::new(Resource(vec![("service.name", "foo".to_owned())])),
        name: "GET /".to_owned(),
        kind: Kind::Server,
        start: SystemTime::now(),
        took: Duration::from_millis(1),
        attributes: Vec::new(),
        failed: false,
    }
}

fn endpoint(base: &str) -> Endpoint {
    Endpoint::read(|name| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| base.to_owned())).unwrap().unwrap()
}

/// A receiver that answers with this; what it was sent: path, content type, number of spans.
async fn receiver(status: StatusCode) -> (String, Arc<Mutex<Vec<(String, String, usize)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::<Mutex<Vec<_>>>::default();
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            let service = service_fn(move |request: Request<Incoming>| {
                let kept = Arc::clone(&kept);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
                    let spans = json["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len();
                    let content = head.headers["content-type"].to_str().unwrap().to_owned();
                    kept.lock().unwrap().push((head.uri.path().to_owned(), content, spans));
                    let mut response = Response::new(Empty::<Bytes>::new());
                    *response.status_mut() = status;
                    Ok::<_, Infallible>(response)
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service),
            );
        }
    });
    (base, seen)
}

/// Exports so many, and says what became of them and what was told of losses.
async fn export(base: &str, count: usize) -> (Counts, Vec<String>) {
    let told = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&told);
    let exporter = Exporter::start(endpoint(base), move |why| kept.lock().unwrap().push(why.to_owned()));
    for _ in 0..count {
        exporter.export(span());
    }
    exporter.flush().await;
    let told = told.lock().unwrap().clone();
    (exporter.counts(), told)
}

#[tokio::test]
async fn spans_arrive_in_batches() {
    let (base, seen) = receiver(StatusCode::OK).await;
    let (counts, told) = export(&base, 1000).await;
    assert_eq!((counts, told), (Counts { sent: 1000, dropped: 0 }, Vec::new()));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().map(|(.., spans)| spans).sum::<usize>(), 1000);
    assert!(seen.len() <= 3, "{seen:?}");
    assert!(seen.iter().all(|(path, content, _)| path == "/v1/traces" && content == "application/json"));
}

#[tokio::test]
async fn what_is_not_taken_is_dropped_and_counted_and_told_once() {
    let (base, _seen) = receiver(StatusCode::SERVICE_UNAVAILABLE).await;
    let (counts, told) = export(&base, 1000).await;
    assert_eq!(counts, Counts { sent: 0, dropped: 1000 });
    assert_eq!(told, [format!("{base}/v1/traces: HTTP 503 Service Unavailable")]);
}

#[tokio::test]
async fn a_collector_that_is_away_makes_nobody_wait() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    // More than fit: all are dropped, none waits, and none is lost from the count.
    let (counts, told) = export(&base, 20_000).await;
    assert_eq!(counts, Counts { sent: 0, dropped: 20_000 });
    assert_eq!(told.len(), 1, "{told:?}");
}
