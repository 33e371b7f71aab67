//! What a service is: its name, whom it calls, and its gRPC server. All else follows from these.

use std::{convert::Infallible, net::IpAddr, process::ExitCode, sync::Arc};

use anyhow::Context;
use axum::response::IntoResponse;
use futures_util::future::join_all;
use http::Uri;
use prometheus_client::registry::Registry;
use tonic::{server::NamedService, service::Routes};
use tower::Service as TowerService;

use crate::{
    answer::Document,
    asked::Asked,
    call::{Callee, Client, Origin},
    env::Env,
    handover::{self, Handover, Sockets},
    metrics::{ClientMetrics, ServerMetrics},
    process::{self, Common},
    serve::{Ending, Listeners, Servers},
    trace::Tracer,
    {grpc, http as rest},
};

/// One of the workspace's services.
pub struct Service {
    name: &'static str,
    callees: Vec<Callee>,
    grpc: Option<GrpcServer>,
}

struct GrpcServer {
    name: &'static str,
    routes: Box<dyn FnOnce(Info) -> Routes + Send>,
}

/// What a service reads from its environment.
#[derive(Clone, Debug)]
pub struct Config {
    common: Common,
    http_port: u16,
    grpc_port: u16,
    use_grpc: bool,
    callees: Vec<Uri>,
}

impl Service {
    /// A service that calls nobody and has no gRPC.
    pub fn new(name: &'static str) -> Self {
        Self { name, callees: Vec::new(), grpc: None }
    }

    /// Calls `callee` for each request, at the same time as the others.
    #[must_use]
    pub fn calls(mut self, callee: Callee) -> Self {
        self.callees.push(callee);
        self
    }

    /// Answers gRPC too, with the generated server that `server` makes.
    #[must_use]
    pub fn grpc<S>(mut self, server: impl FnOnce(Info) -> S + Send + 'static) -> Self
    where
        S: TowerService<http::Request<tonic::body::Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        let routes = Box::new(|info| Routes::new(server(info)));
        self.grpc = Some(GrpcServer { name: S::NAME, routes });
        self
    }

    /// Runs it as this process, until SIGTERM or SIGINT; SIGUSR2 replaces its program: see [`handover`].
    pub fn main(self) -> ExitCode {
        process::main(
            self.name,
            |env| self.configure(env).map(|config| (self, config)),
            async |(service, config), shutdown| {
                let listeners = match handover::inherited()? {
                    Some(listeners) => listeners,
                    None => service.bind(&config).await?,
                };
                let mut sockets = Some(Sockets::of(&listeners).context("cannot keep the sockets")?);
                let mut handover = Handover::new()?;
                let ending = async {
                    tokio::select! {
                        () = shutdown => {
                            // Nobody goes on listening.
                            sockets = None;
                            Ending::Stop
                        }
                        () = handover.asked() => Ending::Handover,
                    }
                };
                service.serve(config, listeners, ending).await?;
                match sockets {
                    Some(sockets) => handover.execute(&sockets),
                    None => Ok(()),
                }
            },
        )
    }

    /// Reads all that it needs from `env`; `None` if there was a mistake.
    pub fn configure(&self, env: &mut Env<'_>) -> Option<Config> {
        let common = Common::read(env);
        let http_port = env.port("HTTP_PORT", 8080);
        let grpc_port = env.port("GRPC_PORT", 9090);
        let use_grpc = env.flag("USE_GRPC", false);
        let callees: Vec<_> = self.callees.iter().map(|callee| callee.read(env, use_grpc)).collect();
        Some(Config {
            common: common?,
            http_port: http_port?,
            grpc_port: grpc_port?,
            use_grpc: use_grpc?,
            callees: callees.into_iter().collect::<Option<_>>()?,
        })
    }

    /// Binds its ports.
    ///
    /// # Errors
    /// If one is taken or the address is not this machine's.
    pub async fn bind(&self, config: &Config) -> anyhow::Result<Listeners> {
        let ip: IpAddr = config.common.bind_address;
        Ok(Listeners {
            http: Some(process::listen(ip, config.http_port, "http").await?),
            grpc: match self.grpc {
                Some(_) => Some(process::listen(ip, config.grpc_port, "grpc").await?),
                None => None,
            },
            admin: process::listen(ip, config.common.admin_port, "admin").await?,
        })
    }

    /// Serves on `listeners` until `shutdown`, then drains: see [`Servers::run`].
    ///
    /// # Errors
    /// If what was configured cannot be built.
    pub async fn run(
        self,
        config: Config,
        listeners: Listeners,
        shutdown: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        self.serve(config, listeners, Ending::stop_after(shutdown)).await
    }

    async fn serve(
        self,
        config: Config,
        listeners: Listeners,
        ending: impl Future<Output = Ending>,
    ) -> anyhow::Result<()> {
        let mut registry = Registry::default();
        let requests = ServerMetrics::register(&mut registry);
        let Common { collector, hostname, .. } = &config.common;
        let tracer = Tracer::start(collector.clone(), self.name, hostname);
        let info = Info::new(self.name, self.callees, &config, &mut registry, tracer.clone())?;
        let mut servers = Servers::new(registry, tracer);
        servers.http(rest::router(info.clone()), requests.clone());
        if let Some(GrpcServer { name, routes }) = self.grpc {
            let routes = grpc::with_reflection(routes(info)).context("cannot serve reflection")?;
            servers.grpc(name, routes, requests);
        }
        servers.run(listeners, ending).await;
        Ok(())
    }
}

/// What a running service answers from. Cheap to clone.
#[derive(Clone)]
pub struct Info(Arc<Inner>);

struct Inner {
    service: &'static str,
    hostname: String,
    clients: Vec<Client>,
}

impl Info {
    fn new(
        service: &'static str,
        callees: Vec<Callee>,
        config: &Config,
        registry: &mut Registry,
        tracer: Tracer,
    ) -> anyhow::Result<Self> {
        let origin = Origin { service, metrics: ClientMetrics::register(registry), tracer };
        let connect = |(callee, at): (Callee, &Uri)| {
            let name = callee.name;
            Client::new(callee, at, config.use_grpc, origin.clone())
                .with_context(|| format!("cannot set up calls to {name}"))
        };
        let clients = callees.into_iter().zip(&config.callees).map(connect).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner { service, hostname: config.common.hostname.clone(), clients })))
    }

    /// Calls every callee at the same time and says what came of it.
    pub async fn document(&self, asked: &Asked) -> Document {
        let Inner { service, hostname, clients } = &*self.0;
        let callees = join_all(clients.iter().map(|client| client.call(asked))).await;
        let failures: Vec<_> = callees
            .iter()
            .filter_map(|report| Some(format!("{}: {}", report.callee, report.error.as_ref()?)))
            .collect();
        Document {
            service: (*service).to_owned(),
            hostname: hostname.clone(),
            protocol: asked.protocol.to_owned(),
            method: asked.method.clone(),
            path: asked.path.clone(),
            headers: asked.headers.clone(),
            callees,
            error: (!failures.is_empty()).then(|| failures.join("; ")),
        }
    }
}
