//! What a policy's verdicts look like to clients.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::{Arc, Mutex};

use common::{App, Client, Http, Pod, timely};
use mesh::{
    Decision, InboundPolicy, InboundRequest, Issuer, OutboundSettings, PolicyLabels, Protocol, ResourceLabel,
};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// Decides by path: `/deny`, `/none`, or anything else.
#[derive(Default)]
struct ByPath(Mutex<Vec<(Protocol, String, Option<String>)>>);

impl InboundPolicy for ByPath {
    fn decide(&self, request: &InboundRequest<'_>) -> Decision {
        assert_eq!((request.workload.pod.as_str(), request.port_name), ("bar-0", Some("http")));
        let identity = request.identity.map(|identity| identity.as_str().to_owned());
        self.0.lock().unwrap().push((request.protocol, request.path.to_owned(), identity));
        let resource = |kind: &str, name: &str| ResourceLabel {
            group: "policy.linkerd.io".to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        let labels = Arc::new(PolicyLabels {
            server: resource("server", "bar"),
            route: Some(resource("httproute", "route")),
            authz: None,
        });
        match request.path {
            "/deny" | "" => Decision::Deny { labels },
            "/none" => Decision::NoRoute { labels },
            _ => Decision::Allow { labels },
        }
    }
}

async fn pair(opaque: bool) -> (Pod, Pod, Arc<ByPath>) {
    let issuer = Issuer::generate().unwrap();
    let policy = Arc::new(ByPath::default());
    let bar = Pod::start_with("bar", &issuer, opaque, policy.clone()).await;
    (Pod::start("foo", &issuer).await, bar, policy)
}

#[tokio::test]
async fn refused_http_is_403_or_404_without_a_body() {
    timely(async {
        let (foo, bar, policy) = pair(false).await;
        let _app = App::echo(bar.app_addr(), Http::One).await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        for addr in [addr, bar.addr()] {
            let client = Client::connect(addr, Http::One).await;
            // On one connection: each request is decided.
            for (path, status) in [("/ok", 200), ("/deny", 403), ("/none", 404), ("/ok", 200)] {
                let answer = client.get(path).await;
                assert_eq!(answer.status, status);
                if status != 200 {
                    assert_eq!((answer.header("content-length"), answer.body.as_str()), (Some("0"), ""));
                    assert!(!answer.headers.contains_key("l5d-proxy-error"), "not for the application");
                }
            }
        }
        let seen = policy.0.lock().unwrap().clone();
        assert!(seen.iter().all(|(protocol, ..)| *protocol == Protocol::Http1));
        assert!(seen[0].2.as_ref().is_some_and(|id| id.starts_with("foo.default.")) && seen[4].2.is_none());
    })
    .await;
}

#[tokio::test]
async fn refused_grpc_is_status_7_or_5_and_a_meshed_client_is_told_why() {
    timely(async {
        let (foo, bar, policy) = pair(false).await;
        let _app = App::grpc(bar.app_addr(), "bar").await;
        let (addr, _set) = foo.target([bar.endpoint()], OutboundSettings::default()).await;
        let meshed = Client::connect(addr, Http::Two).await;
        let unmeshed = Client::connect(bar.addr(), Http::Two).await;
        for (path, status, reason) in
            [("/deny", "7", "unauthorized request on route"), ("/none", "5", "no route found for request")]
        {
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
        }
        assert_eq!(policy.0.lock().unwrap()[0].0, Protocol::Grpc);
    })
    .await;
}

#[tokio::test]
async fn a_refused_connection_is_closed() {
    timely(async {
        let (foo, bar, policy) = pair(true).await;
        let (addr, _set) = foo.target_as([bar.endpoint()], OutboundSettings::default(), true).await;
        let mut io = TcpStream::connect(addr).await.unwrap();
        let mut bytes = Vec::new();
        let _ = io.read_to_end(&mut bytes).await;
        assert!(bytes.is_empty());
        let seen = policy.0.lock().unwrap().clone();
        assert_eq!(seen[0].0, Protocol::Opaque);
        assert!(seen[0].2.as_ref().is_some_and(|id| id.starts_with("foo.default.")));
    })
    .await;
}
