//! The dashboard: what runs, what goes on and who may call whom, in a browser, served by a running `up`.
//!
//! [`guard`] says who may ask, [`assets`] is the page, [`live`] what it is told as it happens, [`policies`] what it asks
//! about policies, [`actions`] what it may do. Nothing is gathered while no page is open, but for a bounded [`history`].

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use rustls::crypto::SecureRandom;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::guard::Guard;
use self::history::History;
use self::live::{Latest, Open};
use crate::error::Fault;
use crate::plan::Plan;
use crate::report::Events;
use crate::runtime::Runtime;
use crate::workspace::Workspace;

mod actions;
mod assets;
pub mod browser;
mod gather;
pub mod guard;
mod history;
mod live;
mod policies;
mod topology;

/// Where it listens when nothing else is said.
const PORT: u16 = 8081;

/// So many pages may be open at once.
const PAGES: usize = 32;

/// What may be loaded and done in the page: its own files, its own server, nothing inline.
const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

/// What is to exist at present: the workspace as it was last read, and its plan.
pub type Current = Arc<dyn Fn() -> (Arc<Workspace>, Arc<Plan>) + Send + Sync>;

/// A served dashboard. Dropped, it answers no more.
#[derive(Debug)]
pub struct Dashboard {
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// What its answers are made from.
struct Served {
    guard: Guard,
    run: String,
    runtime: Arc<dyn Runtime>,
    current: Current,
    history: History,
    /// How many pages are open.
    pages: watch::Sender<usize>,
    status: watch::Sender<Arc<str>>,
    plan: watch::Sender<Arc<str>>,
    traffic: watch::Sender<Arc<str>>,
    policies: watch::Sender<Arc<str>>,
}

/// The port that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The usual one; another where that is taken.
    Usual,
    /// This one and no other; 0 for any free one.
    Named(u16),
}

/// Listens on loopback. Errors when a named port is taken.
pub fn bind(port: Port) -> Result<std::net::TcpListener, Fault> {
    let listen = |port: u16| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = match port {
        Port::Named(port) => listen(port),
        Port::Usual => listen(PORT).or_else(|_| listen(0)),
    };
    let listener = listener.and_then(|own| own.set_nonblocking(true).map(|()| own));
    listener.map_err(|error| {
        let port = if let Port::Named(port) = port { port } else { PORT };
        Fault::environment(format!("the dashboard cannot listen on 127.0.0.1:{port}: {error}"))
            .hint("--dashboard-port 0 takes a free one")
    })
}

/// Where a browser finds it.
pub fn url(address: SocketAddr) -> String {
    format!("http://{address}/")
}

impl Dashboard {
    /// Serves it. Must be called inside a tokio runtime. Errors when the listener cannot be used.
    pub fn start(
        listener: std::net::TcpListener,
        runtime: Arc<dyn Runtime>,
        current: Current,
        events: &Events,
    ) -> Result<Self, Fault> {
        let cannot =
            |error: std::io::Error| Fault::environment(format!("the dashboard cannot listen: {error}"));
        let own = listener.local_addr().map_err(cannot)?.port();
        let listener = TcpListener::from_std(listener).map_err(cannot)?;
        let ports = [own].into_iter().chain(runtime.ingress().map(|ingress| ingress.port())).collect();
        let none = || watch::Sender::new(Arc::from(""));
        let served = Arc::new(Served {
            guard: Guard { token: random()?, ports },
            run: random()?,
            runtime,
            current,
            history: History::start(events),
            pages: watch::Sender::new(0),
            status: none(),
            plan: none(),
            traffic: none(),
            policies: none(),
        });
        let router = router(&served);
        let serving = tokio::spawn(async move {
            // It ends when it is dropped.
            let _ = axum::serve(listener, router).await;
        });
        let mut tasks = gather::start(&served);
        tasks.push(serving);
        Ok(Self { _tasks: tasks.into_iter().map(AbortOnDropHandle::new).collect() })
    }
}

fn router(served: &Arc<Served>) -> Router {
    let page =
        assets::ASSETS.iter().fold(Router::new(), |router, asset| router.route(asset.path, get(*asset)));
    page.route("/live", get(live))
        .route("/policies/explain", get(policies::explain))
        .route("/actions/restart", post(actions::restart))
        .route("/actions/scale", post(actions::scale))
        .route("/actions/policies", post(actions::policies))
        .with_state(Arc::clone(served))
        .layer(from_fn_with_state(Arc::clone(served), guarded))
        .layer(map_response(closed))
}

/// Refuses what is not from this dashboard's own page.
async fn guarded(State(served): State<Arc<Served>>, request: Request, next: Next) -> Response {
    let is_page = request.uri().path() == "/";
    match served.guard.check(request.method(), request.headers(), is_page) {
        Ok(()) => next.run(request).await,
        Err(refused) => (StatusCode::FORBIDDEN, format!("{refused}\n")).into_response(),
    }
}

/// Says in every answer that it is for nobody else.
async fn closed(mut response: Response) -> Response {
    let headers = [
        ("content-security-policy", CONTENT_SECURITY),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ];
    let headers = headers
        .map(|(name, value)| (HeaderName::from_static(name), axum::http::HeaderValue::from_static(value)));
    response.headers_mut().extend(headers);
    response
}

async fn live(State(served): State<Arc<Served>>) -> Response {
    let Some(open) = Open::new(&served.pages, PAGES) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response();
    };
    let stream = Body::from_stream(live::stream(served, open));
    ([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")], stream).into_response()
}

/// What a page has to know first.
#[derive(Serialize)]
struct Hello<'a> {
    /// Another `up` has another.
    run: &'a str,
    /// What the page has to be.
    page: String,
    /// What acts is to carry it.
    token: &'a str,
}

impl Served {
    fn hello(&self) -> Hello<'_> {
        Hello { run: &self.run, page: assets::revision(), token: &self.guard.token }
    }

    fn latest(&self) -> [(&'static str, Latest); 4] {
        [
            ("plan", self.plan.subscribe()),
            ("status", self.status.subscribe()),
            ("traffic", self.traffic.subscribe()),
            ("policies", self.policies.subscribe()),
        ]
    }
}

/// 128 bits that nobody can foretell.
fn random() -> Result<String, Fault> {
    let mut bytes = [0; 16];
    let provider = rustls::crypto::ring::default_provider();
    let secure: &dyn SecureRandom = provider.secure_random;
    secure.fill(&mut bytes).map_err(|_| Fault::environment("this machine has no random numbers"))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
