//! What a policy's verdicts look like to clients.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::objects::{
    Policies, allow, authorize, identities, limit, method, network, path, proof, route, server,
};
use common::{App, Client, Http, Pod, timely};
use http::Request;
use mesh::{Issuer, OutboundSettings};
use serde_json::json;

async fn pair(policies: &Policies) -> (Pod, Pod) {
    let issuer = Issuer::generate().unwrap();
    let bar = Pod::start_with("bar", &issuer, policies.watch()).await;
    (Pod::start("foo", &issuer).await, bar)
}

#[tokio::test]
async fn refused_http_is_403_or_404_without_a_body() {
    timely(async {
        let objects = [
            server("unknown", "deny"),
            path("ok", "/ok"),
            path("no", "/deny"),
            allow("foo", ["HTTPRoute", "ok"]),
        ];
        let (foo, bar) = pair(&Policies::of("bar", &objects)).await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        for (addr, ok) in [(addr, 200), (bar.addr(), 403)] {
            let client = Client::connect(addr, Http::One).await;
            // On one connection: each request is decided.
            for (path, status) in [("/ok", ok), ("/deny", 403), ("/none", 404), ("/ok?a=b", ok)] {
                let answer = client.get(path).await;
                assert_eq!(answer.status, status, "{path}");
                if status != 200 {
                    assert_eq!((answer.header("content-length"), answer.body.as_str()), (Some("0"), ""));
                    assert!(!answer.headers.contains_key("l5d-proxy-error"), "not for the application");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn refused_grpc_is_status_7_or_5_and_a_meshed_client_is_told_why() {
    timely(async {
        let objects = [server("gRPC", "deny"), method("get", "demo.Bar", "GetInfo")];
        let (foo, bar) = pair(&Policies::of("bar", &objects)).await;
        let _app = App::grpc(bar.app_addr(), "bar").await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let meshed = Client::connect(addr, Http::Two).await;
        let unmeshed = Client::connect(bar.addr(), Http::Two).await;
        for (path, status, reason) in [
            ("/demo.Bar/GetInfo", "7", "unauthorized request on route"),
            ("/demo.Bar/Other", "5", "no route found for request"),
        ] {
            let answer = meshed.call(path).await.unwrap();
            assert_eq!((answer.status, answer.grpc_status()), (200, Some(status)));
            assert_eq!(answer.header("content-type"), Some("application/grpc"));
            assert_eq!(answer.header("content-length"), Some("0"));
            let message = answer.header("grpc-message").unwrap();
            let (client, rest) = message.split_once(": ").unwrap();
            assert!(client.starts_with(&format!("client {}:", foo.pod_ip)), "{message}");
            assert_eq!(rest, format!("server: {}:4143: {reason}", bar.pod_ip));
            assert!(!answer.headers.contains_key("l5d-proxy-error"));

            let answer = unmeshed.call(path).await.unwrap();
            assert_eq!((answer.status, answer.grpc_status()), (200, Some(status)));
            assert!(!answer.headers.contains_key("grpc-message"));
            assert!(!answer.headers.contains_key("l5d-proxy-error"));
        }
    })
    .await;
}

#[tokio::test]
async fn each_kind_of_authorization_lets_in_whom_it_names_and_nobody_else() {
    timely(async {
        let policies = Policies::of("bar", &[]);
        let issuer = Issuer::generate().unwrap();
        let bar = Pod::start_with("bar", &issuer, policies.watch()).await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let mut clients = Vec::new();
        let mut pods = Vec::new();
        for name in ["foo", "baz"] {
            let pod = Pod::start(name, &issuer).await;
            let (addr, set) = pod.target([bar.endpoint()], OutboundSettings::default()).await;
            clients.push(Client::connect(addr, Http::One).await);
            pods.push((pod, set));
        }
        clients.push(Client::connect(bar.addr(), Http::One).await);

        let foo = "foo.default.serviceaccount.identity.linkerd.cluster.local";
        let (deny, on_server) = (server("HTTP/1", "deny"), ["Server", "bar"]);
        let mesh_tls = || json!([proof("MeshTLSAuthentication", "ids")]);
        let net = || json!([proof("NetworkAuthentication", "net")]);
        let both = json!([proof("MeshTLSAuthentication", "ids"), proof("NetworkAuthentication", "net")]);
        // What foo, baz and a client without a sidecar get for GET /.
        let cases = [
            (vec![], [200, 200, 200]),
            (vec![deny.clone()], [403, 403, 403]),
            (vec![server("HTTP/1", "audit")], [200, 200, 200]),
            (vec![server("HTTP/1", "all-unauthenticated")], [200, 200, 200]),
            (vec![server("HTTP/1", "all-authenticated")], [200, 200, 403]),
            (vec![server("HTTP/1", "cluster-unauthenticated")], [200, 200, 200]),
            (vec![server("HTTP/1", "cluster-authenticated")], [200, 200, 403]),
            (vec![deny.clone(), allow("foo", on_server)], [200, 403, 403]),
            (vec![deny.clone(), allow("foo", ["Namespace", "default"])], [200, 403, 403]),
            (vec![deny.clone(), path("root", "/"), allow("baz", ["HTTPRoute", "root"])], [403, 200, 403]),
            (vec![deny.clone(), path("other", "/other"), allow("foo", on_server)], [404, 404, 404]),
            (vec![deny.clone(), authorize(&json!([]), on_server)], [200, 200, 200]),
            (
                vec![deny.clone(), identities("ids", &[foo]), authorize(&mesh_tls(), on_server)],
                [200, 403, 403],
            ),
            (
                vec![deny.clone(), identities("ids", &["*"]), authorize(&mesh_tls(), on_server)],
                [200, 200, 403],
            ),
            (
                vec![deny.clone(), network("net", "10.244.0.0/16"), authorize(&net(), on_server)],
                [200, 200, 403],
            ),
            (vec![deny.clone(), network("net", "172.18.0.1"), authorize(&net(), on_server)], [403, 403, 200]),
            (
                vec![
                    deny.clone(),
                    identities("ids", &[foo]),
                    network("net", "172.18.0.0/16"),
                    authorize(&both, on_server),
                ],
                [403, 403, 403],
            ),
        ];
        for (objects, wanted) in cases {
            policies.set(&objects);
            for (client, wanted) in clients.iter().zip(wanted) {
                assert_eq!(client.get("/").await.status, wanted, "{objects:#?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_claim_to_be_someone_opens_nothing() {
    timely(async {
        let policies = Policies::of("bar", &[server("HTTP/1", "deny"), allow("foo", ["Server", "bar"])]);
        let issuer = Issuer::generate().unwrap();
        let bar = Pod::start_with("bar", &issuer, policies.watch()).await;
        let baz = Pod::start("baz", &issuer).await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let (addr, _set) = baz.target([bar.endpoint()], OutboundSettings::default()).await;
        for addr in [addr, bar.addr()] {
            let foo = "foo.default.serviceaccount.identity.linkerd.cluster.local";
            let forged = Request::get("/").header("l5d-client-id", foo).body(http_body_util::Full::default());
            let answer = Client::connect(addr, Http::One).await.send(forged.unwrap()).await.unwrap();
            assert_eq!(answer.status, 403);
        }
    })
    .await;
}

#[tokio::test]
async fn the_kubelets_probes_pass_until_the_server_has_a_route() {
    timely(async {
        let mut pod = common::pod("bar");
        pod.probes = [(common::PORT, ["/livez".to_owned()].into())].into();
        let policies = Policies::of_pod(pod, &[server("HTTP/1", "deny")]);
        let (_foo, bar) = pair(&policies).await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let kubelet = Client::connect(bar.addr(), Http::One).await;
        assert_eq!(kubelet.get("/livez").await.status, 200);
        assert_eq!(kubelet.get("/livez/x").await.status, 403);
        let post = Request::post("/livez").body(http_body_util::Full::default()).unwrap();
        assert_eq!(kubelet.send(post).await.unwrap().status, 403);
        policies.set(&[server("HTTP/1", "deny"), path("other", "/other")]);
        assert_eq!(kubelet.get("/livez").await.status, 404);
        policies.set(&[server("HTTP/1", "deny"), path("health", "/livez")]);
        assert_eq!(kubelet.get("/livez").await.status, 403);
    })
    .await;
}

#[tokio::test]
async fn a_route_changes_headers_and_redirects_whom_it_lets_in() {
    timely(async {
        let headers = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {
            "set": [{"name": "x-set", "value": "new"}],
            "add": [{"name": "x-added", "value": "more"}],
            "remove": ["x-gone"],
        }});
        let elsewhere = json!({"type": "RequestRedirect", "requestRedirect": {
            "hostname": "elsewhere.example", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"},
            "statusCode": 301,
        }});
        let by = |kind: &str, path: &str, filter| {
            json!({"matches": [{"path": {"type": kind, "value": path}}], "filters": [filter]})
        };
        let objects = [
            server("unknown", "all-authenticated"),
            route("HTTPRoute", "headers", &by("PathPrefix", "/headers", headers)),
            route("HTTPRoute", "redirect", &by("PathPrefix", "/old", elsewhere.clone())),
            // A prefix cannot be replaced where none was matched.
            route("HTTPRoute", "invalid", &by("Exact", "/invalid", elsewhere)),
        ];
        let (foo, bar) = pair(&Policies::of("bar", &objects)).await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let client = Client::connect(addr, Http::One).await;

        let asked = Request::get("/headers").header("x-set", "old").header("x-gone", "1");
        let answer = client.send(asked.body(http_body_util::Full::default()).unwrap()).await.unwrap();
        assert!(answer.body.contains("x-set: new\n") && answer.body.contains("x-added: more\n"));
        assert!(!answer.body.contains("x-gone") && !answer.body.contains("old"));

        let answer = client.get("/old/page?a=b").await;
        assert_eq!(answer.status, 301);
        assert_eq!(answer.header("location"), Some("http://elsewhere.example/new/page?a=b"));
        assert_eq!(answer.header("content-length"), Some("0"));

        assert_eq!(client.get("/invalid").await.status, 500);
        let refused = Client::connect(bar.addr(), Http::One).await.get("/old/page").await;
        assert_eq!((refused.status, refused.header("location")), (403, None));

        let client = Client::connect(addr, Http::Two).await;
        let answer = client.call("/old/page").await.unwrap();
        assert_eq!((answer.status, answer.grpc_status()), (200, Some("5")));
        assert_eq!((answer.header("grpc-message"), answer.header("location")), (Some("redirected"), None));
        let answer = client.call("/invalid").await.unwrap();
        assert_eq!((answer.grpc_status(), answer.header("grpc-message")), (Some("13"), Some("unexpected error")));
    })
    .await;
}

#[tokio::test]
async fn what_exceeds_a_limit_is_429_or_8_until_the_policy_changes() {
    timely(async {
        let open = server("unknown", "all-unauthenticated");
        let policies = Policies::of("bar", &[open.clone(), limit(None, Some(1))]);
        let (foo, bar) = pair(&policies).await;
        let _app = App::grpc(bar.app_addr(), "bar").await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let (meshed, unmeshed) =
            (Client::connect(addr, Http::Two).await, Client::connect(bar.addr(), Http::Two).await);
        let limited = |answer: common::Answer| {
            assert_eq!((answer.status, answer.header("content-length")), (200, Some("0")));
            answer.header("grpc-message").map(|text| text.rsplit_once("4143: ").unwrap().1.to_owned())
        };
        let burst = |client: Client| async move {
            let mut refused = None;
            // The second is one too many, unless the machine stands still for a second; one of fifty is.
            for _ in 0..50 {
                let answer = client.call("/a/b").await.unwrap();
                if answer.grpc_status() == Some("8") {
                    refused.get_or_insert(answer);
                }
            }
            refused.expect("fifty calls a second")
        };
        let text = limited(burst(meshed.clone()).await);
        assert_eq!(text.as_deref(), Some("per-identity rate limit exceeded: 1rps"));
        assert_eq!(limited(burst(unmeshed.clone()).await), None);
        let http = Client::connect(bar.addr(), Http::One).await;
        let mut statuses = Vec::new();
        for _ in 0..50 {
            statuses.push(http.get("/").await.status);
        }
        assert!(statuses.contains(&429), "{statuses:?}");

        policies.set(&[open.clone(), limit(Some(1000), None)]);
        assert_eq!(meshed.call("/a/b").await.unwrap().grpc_status(), Some("0"));
        policies.set(&[open, limit(Some(1), None)]);
        let text = limited(burst(meshed).await);
        assert_eq!(text.as_deref(), Some("total rate limit exceeded: 1rps"));
    })
    .await;
}
