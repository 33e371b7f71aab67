//! A small world for the tests: pods on free loopback addresses, applications, clients.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::struct_field_names,
    reason = "each test uses its part"
)]

pub mod load;
pub mod objects;
pub mod services;

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, client::conn::http1, client::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh::{
    Endpoint, Identity, Issuer, OutboundSettings, Sidecar, SidecarSpec, Target, Workload, fault::Faults,
};
use policy::{
    cluster::ClusterInfo,
    inbound::{Inbound, ProxyProtocol},
    model,
    outbound::ServicePolicy,
};
use services::Services;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub const PORT: u16 = 8080;
/// No test should need as long; it ends those that hang.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub type Body = BoxBody<Bytes, Infallible>;

/// An address that no other test uses: a network for each process, a host for each call.
pub fn ip() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let host = u8::try_from(NEXT.fetch_add(1, Ordering::Relaxed)).expect("few addresses in one test binary");
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + high % 64, low, host)
}

pub fn workload(name: &str) -> Arc<Workload> {
    Arc::new(Workload {
        pod: format!("{name}-0"),
        namespace: "default".to_owned(),
        service_account: name.to_owned(),
        deployment: name.to_owned(),
        pod_template_hash: "abc".to_owned(),
    })
}

/// The pods of that name, as policies see them.
pub fn pod(name: &str) -> model::Workload {
    model::Workload {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        service_account: name.to_owned(),
        ports: vec![model::Port { number: PORT, name: Some("http".to_owned()) }],
        ..model::Workload::default()
    }
}

/// The same, with a port that is not looked into.
pub fn opaque_pod(name: &str) -> model::Workload {
    let opaque = ("config.linkerd.io/opaque-ports".to_owned(), PORT.to_string());
    model::Workload { annotations: [opaque].into(), ..pod(name) }
}

/// What such pods let in without policies.
pub fn anyone(workload: &model::Workload) -> watch::Receiver<Arc<Inbound>> {
    let inbound = Inbound::new(workload, &model::Objects::default(), &ClusterInfo::default());
    watch::channel(Arc::new(inbound)).1
}

/// Policies see pods in the network of pods, and the test itself in that of nodes.
fn client_address(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(address) if address.octets()[1] == 0 => Ipv4Addr::new(172, 18, 0, 1).into(),
        IpAddr::V4(address) => {
            let [.., third, fourth] = address.octets();
            Ipv4Addr::new(10, 244, third, fourth).into()
        }
        address @ IpAddr::V6(_) => address,
    }
}

/// A pod whose application is the test's.
pub struct Pod {
    pub sidecar: Sidecar,
    pub workload: Arc<Workload>,
    pub pod_ip: Ipv4Addr,
    pub app_ip: Ipv4Addr,
    pub faults: Faults,
}

impl Pod {
    pub async fn start(name: &str, issuer: &Issuer) -> Self {
        Self::start_with(name, issuer, anyone(&pod(name))).await
    }

    pub async fn start_with(name: &str, issuer: &Issuer, policy: watch::Receiver<Arc<Inbound>>) -> Self {
        let (workload, pod_ip, app_ip) = (workload(name), ip(), ip());
        let faults = Faults::default();
        let spec = SidecarSpec {
            workload: workload.clone(),
            pod_ip,
            app_ip,
            inbound: vec![PORT],
            targets: Vec::new(),
            metrics_port: Some(4191),
            faults: faults.clone(),
            traces: None,
            client_address,
        };
        let sidecar = Sidecar::start(spec, issuer, policy).await.expect("a sidecar starts");
        Self { sidecar, workload, pod_ip, app_ip, faults }
    }

    pub fn addr(&self) -> SocketAddr {
        (self.pod_ip, PORT).into()
    }

    pub fn app_addr(&self) -> SocketAddr {
        (self.app_ip, PORT).into()
    }

    pub fn identity(&self) -> Identity {
        self.sidecar.identity().clone()
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            addr: self.addr(),
            workload: self.workload.clone(),
            identity: Some(self.identity()),
            opaque: false,
        }
    }

    /// Has the pod call a Service with these endpoints; returns where, and the set.
    pub async fn target(
        &self,
        endpoints: impl IntoIterator<Item = Endpoint>,
        settings: OutboundSettings,
    ) -> (SocketAddr, watch::Sender<Arc<[Endpoint]>>) {
        self.target_as(endpoints, settings, ProxyProtocol::Detect).await
    }

    pub async fn target_as(
        &self,
        endpoints: impl IntoIterator<Item = Endpoint>,
        settings: OutboundSettings,
        protocol: ProxyProtocol,
    ) -> (SocketAddr, watch::Sender<Arc<[Endpoint]>>) {
        let plain = ServicePolicy::without_routes(services::port("server"), &settings);
        let routes = watch::channel(Arc::new(ServicePolicy { protocol, ..plain })).1;
        let (sender, receiver) = watch::channel(endpoints.into_iter().collect());
        let addr = self.target_with(receiver, routes, Services::default()).await;
        (addr, sender)
    }

    /// Has the pod call a Service by these routes.
    pub async fn target_with(
        &self,
        endpoints: watch::Receiver<Arc<[Endpoint]>>,
        routes: watch::Receiver<Arc<ServicePolicy>>,
        services: Services,
    ) -> SocketAddr {
        let target = Target {
            service: "server".to_owned(),
            namespace: "default".to_owned(),
            port: 80,
            authority: "server".to_owned(),
            endpoints,
            routes,
            resolve: Arc::new(services),
        };
        self.sidecar.add_target(target).await.expect("a listener")
    }
}

/// An application; dropping it is as killing its process.
pub struct App {
    killed: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

impl Drop for App {
    fn drop(&mut self) {
        self.killed.cancel();
    }
}

type Handler = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

impl App {
    pub async fn start<F>(
        addr: SocketAddr,
        version: Http,
        handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        Self::tcp(addr, move |io| {
            let handler = handler.clone();
            async move {
                let service = service_fn(move |request| {
                    let answer = handler(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let io = TokioIo::new(io);
                match version {
                    Http::One => {
                        let connection =
                            hyper::server::conn::http1::Builder::new().serve_connection(io, service);
                        let _ = connection.with_upgrades().await;
                    }
                    Http::Two => {
                        let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        let _ = http.serve_connection(io, service).await;
                    }
                }
            }
        })
        .await
    }

    pub async fn tcp<F>(addr: SocketAddr, serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(addr).await.expect("a free address");
        let killed = CancellationToken::new();
        let token = killed.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((io, _)) = listener.accept().await {
                io.set_nodelay(true).unwrap();
                connections.spawn(token.clone().run_until_cancelled_owned(serve(io)));
            }
        });
        Self { killed, _task: AbortOnDropHandle::new(task) }
    }

    /// Answers with what was asked: the request line, then the headers, sorted.
    pub async fn echo(addr: SocketAddr, version: Http) -> Self {
        Self::start(addr, version, echo).await
    }

    /// Answers with this name, as gRPC does: a message, then trailers.
    pub async fn grpc(addr: SocketAddr, name: &'static str) -> Self {
        Self::start(addr, Http::Two, move |request| async move {
            let _ = request.into_body().collect().await;
            grpc(name, 0)
        })
        .await
    }
}

pub async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut lines: Vec<String> =
        head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines.insert(0, format!("{} {} {:?}", head.method, head.uri, head.version));
    lines.push(format!("body: {}", String::from_utf8_lossy(&body)));
    text(StatusCode::OK, lines.join("\n"))
}

pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = status;
    response
}

pub fn grpc(message: &'static str, status: u16) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(status));
    let frames = [Ok(Frame::data(Bytes::from_static(message.as_bytes()))), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// What a client got.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
    pub trailers: HeaderMap,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// `grpc-status` from trailers or headers.
    pub fn grpc_status(&self) -> Option<&str> {
        self.trailers.get("grpc-status").or(self.headers.get("grpc-status")).map(|v| v.to_str().unwrap())
    }
}

/// One connection of a client.
#[derive(Clone)]
pub struct Client {
    h1: Option<Arc<tokio::sync::Mutex<http1::SendRequest<Full<Bytes>>>>>,
    h2: Option<http2::SendRequest<Full<Bytes>>>,
    host: String,
}

impl Client {
    pub async fn connect(addr: SocketAddr, version: Http) -> Self {
        let io = TcpStream::connect(addr).await.expect("a listener");
        io.set_nodelay(true).unwrap();
        let io = TokioIo::new(io);
        let (mut h1, mut h2) = (None, None);
        match version {
            Http::One => {
                let (sender, connection) = http1::handshake(io).await.unwrap();
                tokio::spawn(connection.with_upgrades());
                h1 = Some(Arc::new(tokio::sync::Mutex::new(sender)));
            }
            Http::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
                tokio::spawn(connection);
                h2 = Some(sender);
            }
        }
        Self { h1, h2, host: addr.to_string() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Full::default()).unwrap()).await.expect("an answer")
    }

    pub async fn call(&self, path: &str) -> Result<Answer, hyper::Error> {
        let request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
        self.send(request.body(Full::from("hello")).unwrap()).await
    }

    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        let response = if let Some(h1) = &self.h1 {
            request.headers_mut().entry("host").or_insert(self.host.parse().unwrap());
            let mut h1 = h1.lock().await;
            h1.ready().await?;
            h1.send_request(request).await?
        } else {
            let path = request.uri().path_and_query().unwrap().as_str();
            *request.uri_mut() = format!("http://{}{path}", self.host).parse().unwrap();
            self.h2.clone().unwrap().send_request(request).await?
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, trailers })
    }
}

/// Runs a test against a clock that ends it.
pub async fn timely<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, test).await.expect("the test ends in time")
}

/// Waits until `condition` holds.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
