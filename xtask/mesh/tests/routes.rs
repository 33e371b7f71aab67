//! Routes whose parent is a Service: where requests go, what is changed in them, what answers in their place.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{
    App, Client, Http, Pod, grpc,
    load::Load,
    services::{Services, backend, http, policy, route},
    text, timely,
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use mesh::{Endpoint, Issuer};
use policy::outbound::ServicePolicy;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

/// A client's sidecar and the Services that it knows.
struct World {
    caller: Pod,
    issuer: Issuer,
    services: Services,
    routes: watch::Sender<Arc<ServicePolicy>>,
    addr: SocketAddr,
    /// Of the Service `server` itself.
    endpoints: watch::Sender<Arc<[Endpoint]>>,
    pods: Vec<(Pod, App)>,
}

impl World {
    async fn new(policy: Arc<ServicePolicy>) -> Self {
        let issuer = Issuer::generate().unwrap();
        let caller = Pod::start("foo", &issuer).await;
        let services = Services::default();
        let (endpoints, receiver) = watch::channel(Arc::from([]));
        let routes = watch::Sender::new(policy);
        let addr = caller.target_with(receiver, routes.subscribe(), services.clone()).await;
        Self { caller, issuer, services, routes, addr, endpoints, pods: Vec::new() }
    }

    /// A Service whose one pod answers with the Service's name.
    async fn named(&mut self, name: &'static str, version: Http) {
        let pod = Pod::start(name, &self.issuer).await;
        let app = App::start(pod.app_addr(), version, move |request| async move {
            let _ = request.into_body().collect().await;
            if version == Http::Two { grpc(name, 0) } else { text(StatusCode::OK, name) }
        })
        .await;
        self.add(name, pod, app);
    }

    /// A Service whose one pod answers with what was asked.
    async fn echoing(&mut self, name: &'static str) {
        let pod = Pod::start(name, &self.issuer).await;
        let app = App::echo(pod.app_addr(), Http::One).await;
        self.add(name, pod, app);
    }

    fn add(&mut self, name: &str, pod: Pod, app: App) {
        self.services.set(name, [pod.endpoint()]);
        self.pods.push((pod, app));
    }

    async fn client(&self, version: Http) -> Client {
        Client::connect(self.addr, version).await
    }

    /// The answers to so many requests, counted.
    async fn count(&self, requests: usize) -> BTreeMap<String, usize> {
        let client = self.client(Http::One).await;
        let mut counts = BTreeMap::new();
        for _ in 0..requests {
            let answer = client.get("/").await;
            assert_eq!(answer.status, 200, "{:?}", answer.header("l5d-proxy-error"));
            *counts.entry(answer.body).or_default() += 1;
        }
        counts
    }
}

fn split(weights: [u32; 2]) -> Value {
    http(&json!([{"backendRefs": [backend("v1", weights[0]), backend("v2", weights[1])]}]))
}

#[tokio::test]
async fn requests_are_split_by_weight() {
    timely(async {
        let mut world = World::new(policy(&["v1", "v2"], &[], &[split([90, 10])])).await;
        world.named("v1", Http::One).await;
        world.named("v2", Http::One).await;
        let counts = world.count(400).await;
        // 40 are expected, with a deviation of 6.
        assert!((10..=80).contains(&counts["v2"]), "{counts:?}");
        assert_eq!(counts.values().sum::<usize>(), 400);
    })
    .await;
}

#[tokio::test]
async fn a_change_of_weights_is_in_force_for_the_next_request() {
    timely(async {
        let mut world = World::new(policy(&["v1", "v2"], &[], &[split([1, 0])])).await;
        world.named("v1", Http::One).await;
        world.named("v2", Http::One).await;
        let client = world.client(Http::One).await;
        for weights in [[1, 0], [0, 1], [1, 0], [0, 1]] {
            world.routes.send_replace(policy(&["v1", "v2"], &[], &[split(weights)]));
            let wanted = if weights[0] == 1 { "v1" } else { "v2" };
            assert_eq!(client.get("/").await.body, wanted, "on the connection that was open");
        }
    })
    .await;
}

#[tokio::test]
async fn changes_under_load_cost_no_request() {
    timely(async {
        let of = |weights| policy(&["v1", "v2"], &[], &[split(weights)]);
        let mut world = World::new(of([1, 1])).await;
        world.named("v1", Http::Two).await;
        world.named("v2", Http::Two).await;
        let load = Load::start(world.addr, 8).await;
        world.endpoints.send_replace(Arc::from([world.pods[0].0.endpoint()]));
        let grpc = route("GRPCRoute", &json!({}), &json!([{"backendRefs": [backend("v2", 1)]}]));
        for round in 0..100 {
            load.more(10).await;
            world.routes.send_replace(match round % 3 {
                0 => of([9, 1]),
                1 => policy(&[], &[], &[]),
                _ => policy(&["v1", "v2"], &[], std::slice::from_ref(&grpc)),
            });
        }
        let counts = load.stop().await;
        assert!(counts.keys().all(|answer| ["v1", "v2"].contains(&answer.as_str())), "{counts:?}");
        assert_eq!(counts.len(), 2, "{counts:?}");
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_does_not_exist_is_500_and_says_its_name() {
    timely(async {
        let rules = json!([{"backendRefs": [backend("nobody", 1)]}]);
        let world = World::new(policy(&[], &[], &[http(&rules)])).await;
        let client = world.client(Http::One).await;
        for _ in 0..2 {
            let answer = client.get("/").await;
            assert_eq!((answer.status, answer.body.as_str()), (500, ""));
            assert_eq!(answer.header("l5d-proxy-error"), Some("Service not found nobody"));
            assert_eq!(answer.header("l5d-proxy-connection"), None, "the connection stays");
        }
        let answer = world.client(Http::Two).await.call("/a/b").await.unwrap();
        assert_eq!((answer.status, answer.grpc_status()), (200, Some("9")));

        world.routes.send_replace(policy(&[], &[], &[route("GRPCRoute", &json!({}), &rules)]));
        let client = world.client(Http::Two).await;
        let answer = client.call("/a/b").await.unwrap();
        assert_eq!((answer.status, answer.grpc_status()), (200, Some("2")));
        assert_eq!(answer.header("grpc-message"), Some("Service not found nobody"));
        let plain = client.get("/a/b").await;
        assert_eq!((plain.status, plain.grpc_status()), (200, None), "HTTP has no status for it");
    })
    .await;
}

#[tokio::test]
async fn what_no_rule_matches_is_404_and_grpc_5() {
    timely(async {
        let rules = json!([{"matches": [{"path": {"type": "Exact", "value": "/ok"}}]}]);
        let world = World::new(policy(&[], &[], &[http(&rules)])).await;
        let error = format!("logical service {}: no route", world.addr);
        let answer = world.client(Http::One).await.get("/other").await;
        assert_eq!((answer.status, answer.header("content-length")), (404, Some("0")));
        assert_eq!(answer.header("l5d-proxy-error"), Some(error.as_str()));
        let answer = world.client(Http::Two).await.call("/a/b").await.unwrap();
        assert_eq!((answer.status, answer.grpc_status()), (200, Some("5")));
        assert_eq!(answer.header("grpc-message"), Some(error.as_str()));

        let mut io = TcpStream::connect(world.addr).await.unwrap();
        let upgrade = "GET / HTTP/1.1\r\nhost: server\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        io.write_all(upgrade.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        io.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 404");
    })
    .await;
}

#[tokio::test]
async fn a_routes_retries_take_the_place_of_its_services_and_choose_anew() {
    timely(async {
        let annotations = json!({"retry.linkerd.io/http": "503", "retry.linkerd.io/limit": "30"});
        let rules = json!([{"backendRefs": [backend("bad", 1), backend("good", 1)]}]);
        let routes = [route("HTTPRoute", &annotations, &rules)];
        let service = [("retry.linkerd.io/http", "404")];
        let mut world = World::new(policy(&["bad", "good"], &service, &routes)).await;
        world.named("good", Http::One).await;
        let failed = Arc::new(AtomicUsize::new(0));
        let count = failed.clone();
        let pod = Pod::start("bad", &world.issuer).await;
        let app = App::start(pod.app_addr(), Http::One, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            async { text(StatusCode::SERVICE_UNAVAILABLE, "bad") }
        })
        .await;
        world.add("bad", pod, app);
        assert_eq!(world.count(30).await, BTreeMap::from([("good".to_owned(), 30)]));
        assert!(failed.load(Ordering::Relaxed) > 0);
    })
    .await;
}

#[tokio::test]
async fn a_rules_timeout_is_504_and_names_the_route() {
    timely(async {
        let rules = json!([
            {"matches": [{"path": {"value": "/slow"}}], "timeouts": {"request": "100ms"}, "backendRefs": [backend("slow", 1)]},
            {"backendRefs": [backend("slow", 1)]},
        ]);
        let mut world = World::new(policy(&["slow"], &[], &[http(&rules)])).await;
        let pod = Pod::start("slow", &world.issuer).await;
        let app = App::start(pod.app_addr(), Http::One, |request| async move {
            let pause = if request.uri().path() == "/slow" { 20_000 } else { 200 };
            tokio::time::sleep(Duration::from_millis(pause)).await;
            text(StatusCode::OK, "late")
        })
        .await;
        world.add("slow", pod, app);
        let client = world.client(Http::One).await;
        let answer = client.get("/slow").await;
        assert_eq!(answer.status, 504);
        assert_eq!(
            answer.header("l5d-proxy-error").unwrap(),
            format!(
                "logical service {}: route HTTPRoute.default.route: timed out waiting for response headers: \
                 request timeout: 100ms",
                world.addr
            )
        );
        assert_eq!(client.get("/").await.body, "late", "another rule, another limit");
    })
    .await;
}

#[tokio::test]
async fn a_redirect_answers_in_the_backends_place() {
    timely(async {
        let redirect = json!({"type": "RequestRedirect", "requestRedirect": {
            "hostname": "new.example.com", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/there"}
        }});
        let of_backend = json!({"name": "v1", "port": 80, "filters": [redirect]});
        let rules = json!([
            {"matches": [{"path": {"value": "/old"}}], "filters": [redirect]},
            {"matches": [{"path": {"value": "/backend"}}], "backendRefs": [of_backend]},
            {"matches": [{"path": {"type": "Exact", "value": "/exact"}}], "filters": [redirect]},
        ]);
        let mut world = World::new(policy(&["v1"], &[], &[http(&rules)])).await;
        world.named("v1", Http::One).await;
        let client = world.client(Http::One).await;
        for path in ["/old/x?y=1", "/backend/x?y=1"] {
            let answer = client.get(path).await;
            assert_eq!((answer.status, answer.body.as_str()), (302, ""));
            assert_eq!(answer.header("location"), Some("http://new.example.com/there/x?y=1"));
            assert_eq!(answer.header("l5d-proxy-error"), Some("redirected"));
        }
        let answer = client.get("/exact").await;
        assert_eq!((answer.status, answer.header("l5d-proxy-error")), (500, Some("unexpected error")));
        let answer = world.client(Http::Two).await.call("/old/x").await.unwrap();
        assert_eq!((answer.grpc_status(), answer.header("location")), (Some("5"), None));
    })
    .await;
}

#[tokio::test]
async fn filters_change_headers_of_requests_and_answers_once_for_each_attempt() {
    timely(async {
        let request = |name: &str| {
            json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {
                "set": [{"name": "x-set", "value": name}], "add": [{"name": "x-add", "value": name}],
                "remove": ["x-gone"]
            }})
        };
        let response = json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": {
            "set": [{"name": "x-answer", "value": "changed"}], "remove": ["content-type"]
        }});
        let of_backend = json!({"name": "v1", "port": 80, "filters": [request("backend")]});
        let rules = json!([{"filters": [request("rule"), response], "backendRefs": [of_backend]}]);
        let retries = json!({"retry.linkerd.io/http": "200", "retry.linkerd.io/limit": "2"});
        for annotations in [json!({}), retries] {
            let routes = [route("HTTPRoute", &annotations, &rules)];
            let mut world = World::new(policy(&["v1"], &[], &routes)).await;
            world.echoing("v1").await;
            let request =
                Request::get("/").header("x-set", "own").header("x-add", "own").header("x-gone", "1");
            let request = request.body(Full::default()).unwrap();
            let answer = world.client(Http::One).await.send(request).await.unwrap();
            let seen: Vec<_> = answer.body.lines().filter(|line| line.starts_with("x-")).collect();
            assert_eq!(seen, ["x-add: backend", "x-add: own", "x-add: rule", "x-set: backend"]);
            assert_eq!(answer.header("x-answer"), Some("changed"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_backend_without_endpoints_is_passed_over_once_it_has_failed() {
    timely(async {
        let mut world = World::new(policy(&["v1", "v2"], &[], &[split([1, 0])])).await;
        world.services.set("v1", []);
        world.named("v2", Http::One).await;
        let answer = world.client(Http::One).await.get("/").await;
        assert_eq!(answer.status, 504);
        assert_eq!(
            answer.header("l5d-proxy-error").unwrap(),
            format!(
                "logical service {}: route HTTPRoute.default.route: backend Service.default.v1:80: \
                 Service.default.v1:80: service in fail-fast",
                world.addr
            )
        );
        assert_eq!(world.client(Http::One).await.get("/").await.status, 503, "no other has weight");
        world.routes.send_replace(policy(&["v1", "v2"], &[], &[split([99, 1])]));
        assert_eq!(world.count(50).await, BTreeMap::from([("v2".to_owned(), 50)]));
        world.named("v1", Http::One).await;
        common::until("v1 is back", || async { world.count(50).await.contains_key("v1") }).await;
    })
    .await;
}

#[tokio::test]
async fn routes_that_no_proxy_can_use_fail_everything() {
    timely(async {
        let lacks = json!([{"matches": [{"headers": [{"name": "x", "value": "1"}]}]}]);
        let world = World::new(policy(&[], &[], &[route("GRPCRoute", &json!({}), &lacks)])).await;
        let answer = world.client(Http::One).await.get("/").await;
        assert_eq!((answer.status, answer.header("l5d-proxy-error")), (500, Some("unexpected error")));
        let answer = world.client(Http::Two).await.call("/a/b").await.unwrap();
        assert_eq!((answer.status, answer.grpc_status()), (200, Some("13")));

        world.routes.send_replace(policy(&["v1", "v2"], &[], &[split([0, 0])]));
        let client = world.client(Http::One).await;
        let request = Request::get("/").body(Full::default()).unwrap();
        assert!(client.send(request).await.is_err(), "the connection is closed");
    })
    .await;
}

#[tokio::test]
async fn bytes_that_are_not_http_ignore_routes() {
    timely(async {
        let rules = json!([{"backendRefs": [backend("nobody", 1)]}]);
        let mut world = World::new(policy(&[], &[], &[http(&rules)])).await;
        let pod = Pod::start("server", &world.issuer).await;
        let app = App::tcp(pod.app_addr(), |mut io| async move {
            let mut bytes = [0; 6];
            io.read_exact(&mut bytes).await.unwrap();
            io.write_all(&bytes).await.unwrap();
        })
        .await;
        world.add("server", pod, app);
        let endpoints = world.pods[0].0.endpoint();
        world.endpoints.send_replace(Arc::from([endpoints]));
        let mut io = TcpStream::connect(world.addr).await.unwrap();
        io.write_all(b"\0bytes").await.unwrap();
        let mut bytes = [0; 6];
        io.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"\0bytes");
    })
    .await;
}

/// Linkerd takes the word of a `GRPCRoute` for it that a port speaks HTTP/2.
#[tokio::test]
async fn a_port_with_a_grpc_route_speaks_http2_only() {
    timely(async {
        let rules = json!([{"backendRefs": [backend("v1", 1)]}]);
        let mut world = World::new(policy(&["v1"], &[], &[route("GRPCRoute", &json!({}), &rules)])).await;
        world.named("v1", Http::Two).await;
        assert_eq!(world.client(Http::Two).await.call("/a/b").await.unwrap().body, "v1");
        let request = Request::get("/").body(Full::default()).unwrap();
        assert!(world.client(Http::One).await.send(request).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_service_that_comes_back_is_found_again() {
    timely(async {
        let mut world = World::new(policy(&["v1", "v2"], &[], &[split([1, 0])])).await;
        world.named("v1", Http::One).await;
        assert_eq!(world.count(1).await.len(), 1);
        world.services.remove("v1");
        world.named("v1", Http::One).await;
        world.pods.remove(0);
        world.routes.send_replace(policy(&["v1", "v2"], &[], &[split([1, 0])]));
        common::until("the new pod answers", || async {
            world.client(Http::One).await.get("/").await.status == 200
        })
        .await;
        assert!(world.caller.sidecar.metrics().contains("backend_name=\"v1\""));
    })
    .await;
}
