//! The client of `call`: every request to one address, whatever its URI says.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::body::Body;

/// A client that keeps connections; of HTTP/2 one only, which all requests share.
pub type Pooled = legacy::Client<Dial, Body>;

/// Clones share connections.
#[derive(Clone)]
pub struct Client {
    pooled: Pooled,
    /// Why it could not connect. A request that waited for another's connection is not told.
    refused: Arc<OnceLock<String>>,
}

impl Client {
    /// A client of `address`, by HTTP/2 without negotiation or by HTTP/1.1.
    pub fn new(address: SocketAddr, http2: bool) -> Self {
        let refused = Arc::default();
        let dial = Dial { address, refused: Arc::clone(&refused) };
        let pooled = legacy::Client::builder(TokioExecutor::new()).http2_only(http2).build(dial);
        Self { pooled, refused }
    }

    /// Why a request failed: the error with its causes, each once.
    pub fn why(&self, error: &legacy::Error) -> String {
        match self.refused.get() {
            Some(refused) if error.is_connect() => format!("cannot connect: {refused}"),
            _ => causes(error),
        }
    }
}

impl std::ops::Deref for Client {
    type Target = Pooled;

    fn deref(&self) -> &Pooled {
        &self.pooled
    }
}

/// Connects to its address.
#[derive(Clone)]
pub struct Dial {
    address: SocketAddr,
    refused: Arc<OnceLock<String>>,
}

impl tower::Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { address, refused } = self.clone();
        Box::pin(async move {
            let connected = TcpStream::connect(address).await;
            let stream = connected.inspect_err(|error| drop(refused.set(error.to_string())))?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}

/// An error with all its causes, each once.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
