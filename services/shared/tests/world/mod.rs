//! The services as they are, on ports of 127.0.0.1 that nobody chose, wired as a test says.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../../../bar/src/main.rs"]
pub mod bar;
#[path = "../../../baz/src/main.rs"]
pub mod baz;
#[path = "../../../foo/src/main.rs"]
pub mod foo;

use std::{collections::HashMap, net::SocketAddr};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use shared::{Listeners, Service, answer::Document, env::Env, service::Config};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A service that serves.
pub struct Running {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    shutdown: CancellationToken,
    ended: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// What SIGTERM does.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Waits for its end.
    pub async fn ended(self) {
        self.ended.await.unwrap().unwrap();
    }

    /// The channel that a client of it would share.
    pub fn channel(&self) -> tonic::transport::Channel {
        tonic::transport::Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect_lazy()
    }
}

/// A bound service that nobody serves yet.
pub struct Bound {
    service: Service,
    config: Config,
    listeners: Listeners,
}

pub async fn bind(service: Service, vars: &[(&str, String)]) -> Bound {
    let mut vars: HashMap<_, _> = vars.iter().cloned().collect();
    vars.insert("BIND_ADDRESS", "127.0.0.1".to_owned());
    for port in ["HTTP_PORT", "GRPC_PORT", "ADMIN_PORT"] {
        vars.insert(port, "0".to_owned());
    }
    let mut env = Env::new(|name| vars.get(name).cloned());
    let config = service.configure(&mut env);
    env.finish().unwrap();
    let config = config.unwrap();
    let listeners = service.bind(&config).await.unwrap();
    Bound { service, config, listeners }
}

impl Bound {
    pub fn http(&self) -> SocketAddr {
        self.listeners.http.as_ref().unwrap().local_addr().unwrap()
    }

    pub fn serve(self) -> Running {
        let Self { service, config, listeners } = self;
        let address = |listener: &tokio::net::TcpListener| listener.local_addr().unwrap();
        let http = address(listeners.http.as_ref().unwrap());
        let grpc = address(listeners.grpc.as_ref().unwrap());
        let admin = address(&listeners.admin);
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(service.run(config, listeners, shutdown.clone().cancelled_owned()));
        Running { http, grpc, admin, shutdown, ended }
    }
}

pub async fn start(service: Service, vars: &[(&str, String)]) -> Running {
    bind(service, vars).await.serve()
}

/// foo, bar and baz, calling each other over gRPC or HTTP.
pub struct World {
    pub foo: Running,
    pub bar: Running,
    pub baz: Running,
}

impl World {
    pub async fn start(use_grpc: bool) -> Self {
        let baz = start(baz::service(), &[("HOSTNAME", "baz-0".to_owned())]).await;
        let bar = start(bar::service(), &bar_vars(use_grpc, &baz)).await;
        let foo = start(foo::service(), &foo_vars(use_grpc, &bar, &baz)).await;
        Self { foo, bar, baz }
    }
}

pub fn bar_vars(use_grpc: bool, baz: &Running) -> Vec<(&'static str, String)> {
    vec![
        ("HOSTNAME", "bar-0".to_owned()),
        ("USE_GRPC", use_grpc.to_string()),
        ("BAZ_HTTP_URL", format!("http://{}", baz.http)),
        ("BAZ_GRPC_URL", baz.grpc.to_string()),
    ]
}

pub fn foo_vars(use_grpc: bool, bar: &Running, baz: &Running) -> Vec<(&'static str, String)> {
    let mut vars = bar_vars(use_grpc, baz);
    vars[0] = ("HOSTNAME", "foo-0".to_owned());
    vars.push(("BAR_HTTP_URL", bar.http.to_string()));
    vars.push(("BAR_GRPC_URL", format!("http://{}", bar.grpc)));
    vars
}

/// A GET on a connection of its own: status and body.
pub async fn get(at: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::get(format!("http://{at}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// The document that a GET is answered with.
pub async fn ask(at: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Document) {
    let (status, body) = get(at, path, headers).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}
