//! The embedded ingress: an HTTP proxy that reads Ingress objects as ingress-nginx v1.15.1 does and treats
//! requests as it would. `listen` takes the port, `routes` picks the backend, `proxy` sends the request
//! there, `pool` keeps the connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod answer;
mod backend;
mod body;
mod headers;
mod listen;
mod pool;
mod proxy;
mod routes;
mod trace;

pub use backend::{Backend, BackendPort};
pub use listen::{Listeners, bind};
pub use proxy::Upstreams;
pub use routes::Routes;

use proxy::Proxy;

/// nginx's `client_header_timeout` in ingress-nginx: how long a request's head may take.
const HEAD: Duration = Duration::from_secs(60);
/// ingress-nginx's `http2-max-concurrent-streams`.
const STREAMS: u32 = 128;
/// How long to wait after the process ran out of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// A running ingress. Dropped, it stops at once; [`Ingress::stop`] lets requests end first.
pub struct Ingress {
    proxy: Arc<Proxy>,
    #[cfg(test)]
    port: u16,
    closing: CancellationToken,
    /// One for each listener; they end once their connections have.
    listeners: JoinSet<()>,
}

impl Ingress {
    /// Serves on `listeners` by `routes`.
    pub fn start(
        listeners: Listeners,
        routes: Routes,
        upstreams: Arc<dyn Upstreams>,
        traces: Option<otlp::Exporter>,
    ) -> Self {
        let proxy = Arc::new(Proxy::new(routes, upstreams, traces.map(trace::Tracer::new)));
        let closing = CancellationToken::new();
        let port = listeners.port;
        let listeners = [Some(listeners.v4), listeners.v6]
            .into_iter()
            .flatten()
            .map(|listener| serve(listener, port, Arc::clone(&proxy), closing.clone()))
            .collect();
        Self {
            proxy,
            #[cfg(test)]
            port,
            closing,
            listeners,
        }
    }

    /// Requests from now on go by `routes`. None fails for the change.
    pub fn set_routes(&self, routes: Routes) {
        self.proxy.set_routes(routes);
    }

    /// The port that it listens on.
    #[cfg(test)]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Accepts nothing more, lets what is under way end within `grace`, and cuts what is left.
    pub async fn stop(mut self, grace: Duration) {
        self.closing.cancel();
        self.proxy.upgraded.close();
        let ended = async {
            while self.listeners.join_next().await.is_some() {}
            self.proxy.upgraded.wait().await;
        };
        // What is left is cut by dropping it.
        let _ = tokio::time::timeout(grace, ended).await;
        self.proxy.close_idle();
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        self.proxy.stop.cancel();
    }
}

async fn serve(listener: TcpListener, port: u16, proxy: Arc<Proxy>, closing: CancellationToken) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    server.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    let server = Arc::new(server);
    let graceful = GracefulShutdown::new();
    // Aborted when this is, so that dropping the ingress ends them.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, client): (TcpStream, SocketAddr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => continue,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Fails only when the client is gone already.
        let _ = stream.set_nodelay(true);
        let (server, proxy, watcher) = (Arc::clone(&server), Arc::clone(&proxy), graceful.watcher());
        connections.spawn(async move {
            let service = service_fn(|request| {
                let proxy = Arc::clone(&proxy);
                async move { proxy.answer(request, client, port).await }
            });
            let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
            // How a client's connection ends is its own affair.
            let _ = watcher.watch(connection).await;
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

#[cfg(test)]
#[path = "ingress_test.rs"]
mod tests;
