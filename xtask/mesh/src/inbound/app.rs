use std::{
    io,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
};

use http::{Request, Response, uri::Authority};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};

use crate::{
    body::{BoxError, RequestBody},
    conn::Conn,
    metrics::TransportMetrics,
    outbound::{
        h1::Connector,
        h2::{self, SendError},
    },
};

/// The application behind a port: a pool of HTTP/1 connections, and one HTTP/2 connection that all share.
pub(crate) struct App {
    addr: SocketAddr,
    authority: Authority,
    connector: Connector,
    h1: Client<Connector, RequestBody>,
    h2: RwLock<Option<h2::Sender>>,
    connecting: tokio::sync::Mutex<()>,
}

/// Why the application gave no response.
pub(crate) enum AppError {
    /// It does not listen: it has not seen the request.
    Closed(BoxError),
    /// It may have seen the request.
    Broken(BoxError),
}

impl App {
    pub(crate) fn new(addr: SocketAddr, metrics: Arc<TransportMetrics>) -> Self {
        let connector = Connector::new(addr, None, metrics);
        Self {
            addr,
            // A socket address is an authority.
            authority: addr.to_string().parse().unwrap_or_else(|_| Authority::from_static("localhost")),
            h1: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .set_host(false)
                .build(connector.clone()),
            connector,
            h2: RwLock::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> io::Result<Conn> {
        self.connector.clone().connect().await
    }

    pub(crate) async fn h1(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, AppError> {
        self.h1.request(request).await.map_err(|error| {
            if error.is_connect() { AppError::Closed(error.into()) } else { AppError::Broken(error.into()) }
        })
    }

    pub(crate) async fn h2(&self, mut request: Request<RequestBody>) -> Result<Response<Incoming>, AppError> {
        // The connection may have ended since it was used last: what was not written goes to the next.
        for _ in 0..3 {
            let mut sender = match self.live() {
                Some(sender) => sender,
                None => Box::pin(self.sender()).await.map_err(AppError::Closed)?,
            };
            match h2::send(&mut sender, request).await {
                Ok(response) => return Ok(response),
                Err(SendError::Unsent(unsent)) => request = *unsent,
                Err(SendError::Refused) => {
                    return Err(AppError::Closed("the application refused the stream".into()));
                }
                Err(SendError::Broken(error)) => return Err(AppError::Broken(error)),
            }
        }
        Err(AppError::Closed("the application closes its connections".into()))
    }

    fn live(&self) -> Option<h2::Sender> {
        let slot = self.h2.read().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().filter(|sender| sender.is_ready()).cloned()
    }

    async fn sender(&self) -> Result<h2::Sender, BoxError> {
        let _one = self.connecting.lock().await;
        if let Some(sender) = self.live() {
            return Ok(sender);
        }
        let (sender, connection) = h2::handshake(TokioIo::new(self.connect().await?)).await?;
        tokio::spawn(connection);
        *self.h2.write().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
        Ok(sender)
    }
}
