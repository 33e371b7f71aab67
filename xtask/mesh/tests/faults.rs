//! Faults on purpose: who meets them, what they look like to clients, and that a client's retries see them.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::objects::{Policies, allow, path, server};
use common::{App, Client, Http, PORT, Pod, grpc, text, timely};
use http::StatusCode;
use http_body_util::BodyExt;
use mesh::fault::{Delay, End, Hits, Route, Rule, Share};
use mesh::{Identity, Issuer, OutboundSettings};

/// A fault of all requests on the pod's port.
fn rule(id: u32, end: Option<(End, f64)>) -> Rule {
    let ends = end.into_iter().map(|(end, percent)| (end, Share::percent(percent).unwrap())).collect();
    Rule { id, ports: vec![PORT], route: None, client: None, delay: None, ends, hits: Hits::default() }
}

/// A pod bar that counts what its application is asked, and its clients, pods foo.
struct Pair {
    issuer: Issuer,
    clients: Mutex<Vec<Pod>>,
    bar: Pod,
    asked: Arc<AtomicU64>,
    _app: App,
}

impl Pair {
    async fn new(version: Http) -> Self {
        Self::with(version, Policies::of("bar", &[])).await
    }

    async fn with(version: Http, policies: Policies) -> Self {
        let issuer = Issuer::generate().unwrap();
        let bar = Pod::start_with("bar", &issuer, policies.watch()).await;
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        let app = App::start(bar.app_addr(), version, move |request| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move {
                let _ = request.into_body().collect().await;
                if version == Http::Two { grpc("bar", 0) } else { text(StatusCode::OK, "bar") }
            }
        });
        Self { issuer, clients: Mutex::default(), asked, _app: app.await, bar }
    }

    /// A client behind a sidecar of its own, with these of the Service's annotations.
    async fn client(&self, version: Http, annotations: &[(&str, &str)]) -> Client {
        let own = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = OutboundSettings::from_annotations(&own.collect()).unwrap();
        let caller = Pod::start("foo", &self.issuer).await;
        let (addr, _set) = caller.target([self.bar.endpoint()], settings).await;
        self.clients.lock().unwrap().push(caller);
        Client::connect(addr, version).await
    }

    fn set(&self, rules: Vec<Rule>) -> Vec<Arc<Rule>> {
        let rules: Vec<_> = rules.into_iter().map(Arc::new).collect();
        self.bar.faults.set(rules.clone());
        rules
    }

    fn asked(&self) -> u64 {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_status_is_answered_in_the_applications_place_and_says_so() {
    timely(async {
        let pair = Pair::new(Http::One).await;
        let (meshed, plain) = (pair.client(Http::One, &[]).await, pair.bar.addr());
        let plain = Client::connect(plain, Http::One).await;
        let rules = pair.set(vec![rule(3, Some((End::Status(503), 100.0)))]);
        for client in [&meshed, &plain] {
            let answer = client.get("/").await;
            assert_eq!((answer.status, answer.body.as_str()), (503, ""));
            assert_eq!(answer.header("x-injected-fault"), Some("3; status=503"));
        }
        assert_eq!((pair.asked(), rules[0].hits.counts().answered), (0, 2));
        pair.set(Vec::new());
        for client in [&meshed, &plain] {
            let answer = client.get("/").await;
            assert_eq!((answer.status, answer.header("x-injected-fault")), (200, None));
        }
        assert_eq!(pair.asked(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_grpc_call_gets_the_grpc_status_or_the_http_status() {
    timely(async {
        let pair = Pair::new(Http::Two).await;
        let client = pair.client(Http::Two, &[]).await;
        pair.set(vec![rule(1, Some((End::Grpc(14), 100.0)))]);
        let answer = client.call("/demo.Bar/GetInfo").await.unwrap();
        assert_eq!((answer.status, answer.grpc_status()), (200, Some("14")));
        assert_eq!(answer.header("x-injected-fault"), Some("1; grpc-status=14"));
        assert_eq!(answer.header("grpc-message"), Some("injected fault"));
        pair.set(vec![rule(2, Some((End::Status(500), 100.0)))]);
        let answer = client.call("/demo.Bar/GetInfo").await.unwrap();
        assert_eq!((answer.status, answer.grpc_status()), (500, None));
        assert_eq!(pair.asked(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_abort_breaks_off_the_one_request() {
    timely(async {
        let pair = Pair::new(Http::Two).await;
        let client = pair.client(Http::Two, &[]).await;
        let mut records = pair.bar.sidecar.records();
        let rules = pair.set(vec![rule(1, Some((End::Abort, 100.0)))]);
        client.call("/demo.Bar/GetInfo").await.unwrap_err();
        let record = records.recv().await.unwrap();
        assert!(record.broken && record.status.is_none(), "a failure in top: {record:?}");
        assert_eq!((pair.asked(), rules[0].hits.counts().aborted), (0, 1));
        pair.set(Vec::new());
        assert_eq!(client.call("/demo.Bar/GetInfo").await.unwrap().grpc_status(), Some("0"), "it goes on");
        // HTTP/1: the client's sidecar answers what has no answer.
        let pair = Pair::new(Http::One).await;
        pair.set(vec![rule(1, Some((End::Abort, 100.0)))]);
        let client = pair.client(Http::One, &[]).await;
        assert_eq!(client.get("/").await.status, 502);
    })
    .await;
}

#[tokio::test]
async fn a_delay_comes_before_the_application_and_timeouts_see_it() {
    timely(async {
        let pair = Pair::new(Http::One).await;
        let delay = |ms| Delay { mean: Duration::from_millis(ms), jitter: Duration::ZERO, share: Share::ALL };
        pair.set(vec![Rule { delay: Some(delay(30)), ..rule(1, None) }]);
        let client = pair.client(Http::One, &[]).await;
        let start = Instant::now();
        let answer = client.get("/").await;
        assert_eq!((answer.status, answer.header("x-injected-fault")), (200, Some("1; delay=30.0ms")));
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert_eq!(pair.asked(), 1);
        pair.set(vec![Rule { delay: Some(delay(3_600_000)), ..rule(1, None) }]);
        let client = pair.client(Http::One, &[("timeout.linkerd.io/request", "50ms")]).await;
        assert_eq!(client.get("/").await.status, 504);
        assert_eq!(pair.asked(), 0, "it waits before, not after");
    })
    .await;
}

#[tokio::test]
async fn faults_are_for_what_the_policy_has_let_in_and_for_their_route_and_client() {
    timely(async {
        let objects = [server("unknown", "deny"), path("ok", "/ok"), allow("foo", ["HTTPRoute", "ok"])];
        let pair = Pair::with(Http::One, Policies::of("bar", &objects)).await;
        let client = pair.client(Http::One, &[]).await;
        let status = Some((End::Status(500), 100.0));
        for (route, client_is, path, wanted) in [
            (None, None, "/no", 404),
            (None, None, "/ok", 500),
            (Some(Route::Named("ok".into())), None, "/ok", 500),
            (Some(Route::Named("other".into())), None, "/ok", 200),
            (Some(Route::Path("/ok".into())), None, "/ok?a=b", 500),
            (Some(Route::Prefix("/no".into())), None, "/ok", 200),
            (None, Some(Identity::of_service_account("foo", "default")), "/ok", 500),
            (None, Some(pair.bar.identity()), "/ok", 200),
        ] {
            let told = format!("{route:?} {client_is:?} {path}");
            let rules = pair.set(vec![Rule { route, client: client_is, ..rule(1, status) }]);
            assert_eq!(client.get(path).await.status, wanted, "{told}");
            assert_eq!(rules[0].hits.counts().hit, u64::from(wanted == 500), "{told}");
        }
        let refused = Client::connect(pair.bar.addr(), Http::One).await;
        pair.set(vec![rule(1, status)]);
        assert_eq!(refused.get("/ok").await.status, 403, "no identity");
    })
    .await;
}

#[tokio::test]
async fn retries_of_the_client_make_up_for_them() {
    timely(async {
        let pair = Pair::new(Http::One).await;
        let retry = [("retry.linkerd.io/http", "5xx"), ("retry.linkerd.io/limit", "5")];
        let (plain, retrying) = (pair.client(Http::One, &[]).await, pair.client(Http::One, &retry).await);
        let rules = pair.set(vec![rule(1, Some((End::Status(500), 30.0)))]);
        let mut failed = [0, 0];
        for _ in 0..100 {
            failed[0] += u32::from(plain.get("/").await.status == 500);
            failed[1] += u32::from(retrying.get("/").await.status == 500);
        }
        // 30 and 0.07 are expected; that either is out of these bounds is less likely than one in a million.
        assert!(failed[0] >= 8 && failed[1] <= 4, "{failed:?}");
        let counts = rules[0].hits.counts();
        assert!(counts.requests > 200 && counts.hit >= u64::from(failed[0]), "each attempt: {counts:?}");
    })
    .await;
}
