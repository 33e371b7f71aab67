//! Connections to backends, kept open between requests.
//!
//! As in nginx a connection carries one request at a time, with HTTP/2 too: so requests to a Service's
//! address spread over pods by connection. hyper-util's pooled client is not used because it shares HTTP/2
//! connections, names the backend in `:authority`, and does not tell whether a request was sent.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::body::Replay;

/// What is spoken to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS and without negotiation.
    Http2,
}

/// ingress-nginx's `upstream-keepalive-timeout`.
const IDLE: Duration = Duration::from_secs(60);
/// ingress-nginx's `upstream-keepalive-connections`, here for each address.
const MOST: usize = 320;
/// How often closed connections are looked for among all.
const SWEEP: Duration = Duration::from_secs(10);

type Key = (SocketAddr, Protocol);

/// Idle connections, by address and protocol.
#[derive(Default)]
pub struct Pool(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    connections: HashMap<Key, Vec<(Sender, Instant)>>,
    swept: Option<Instant>,
}

enum Sender {
    Http1(http1::SendRequest<Replay>),
    Http2(http2::SendRequest<Replay>),
}

/// A connection that is ours until dropped or given back.
pub struct Connection {
    key: Key,
    sender: Sender,
    /// It carried a request before: it may turn out to be closed.
    pub reused: bool,
}

/// Why a request got no answer.
#[derive(Debug)]
pub struct Failed {
    /// Certain: the backend did not begin with it, so that it may be sent again whatever it does.
    pub unsent: bool,
    /// The cause.
    pub error: hyper::Error,
}

impl Pool {
    /// The connection used last, if one is idle.
    pub fn take(&self, address: SocketAddr, protocol: Protocol) -> Option<Connection> {
        let key = (address, protocol);
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.connections.get_mut(&key)?;
        while let Some((sender, since)) = connections.pop() {
            if sender.usable() && since.elapsed() < IDLE {
                return Some(Connection { key, sender, reused: true });
            }
        }
        None
    }

    /// A new connection. Errors: refused, or not there within `timeout` (`TimedOut`).
    pub async fn connect(
        address: SocketAddr,
        protocol: Protocol,
        timeout: Duration,
    ) -> io::Result<Connection> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let io = TokioIo::new(stream);
            // The tasks end with the connection, which ends when its sender is dropped.
            let sender = match protocol {
                Protocol::Http1 => {
                    let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
                    tokio::spawn(connection.with_upgrades());
                    Sender::Http1(sender)
                }
                Protocol::Http2 => {
                    let mut builder = http2::Builder::new(TokioExecutor::new());
                    let (sender, connection) =
                        builder.timer(TokioTimer::new()).handshake(io).await.map_err(io::Error::other)?;
                    tokio::spawn(connection);
                    Sender::Http2(sender)
                }
            };
            Ok(Connection { key: (address, protocol), sender, reused: false })
        };
        tokio::time::timeout(timeout, connect).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Keeps the connection for the next request.
    fn put(&self, key: Key, sender: Sender) {
        if !sender.usable() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.swept.is_none_or(|swept| now - swept > SWEEP) {
            idle.swept = Some(now);
            idle.connections.retain(|_, connections| {
                connections.retain(|(sender, since)| sender.usable() && now - *since < IDLE);
                !connections.is_empty()
            });
        }
        let connections = idle.connections.entry(key).or_default();
        if connections.len() < MOST {
            connections.push((sender, now));
        }
    }

    /// Closes every idle connection.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).connections.clear();
    }
}

impl Sender {
    fn usable(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_ready(),
            Self::Http2(sender) => sender.is_ready(),
        }
    }
}

impl Connection {
    /// Sends a request; the answer's body is still to come.
    pub async fn send(&mut self, request: Request<Replay>) -> Result<Response<Incoming>, Failed> {
        let answer = match &mut self.sender {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(request).await,
        };
        answer.map_err(|mut failed| {
            let returned = failed.take_message().is_some();
            let error = failed.into_error();
            Failed { unsent: returned || was_not_processed(&error), error }
        })
    }
}

/// HTTP/2 says when a request was not begun with: refused, or after the last that a GOAWAY names
/// (RFC 9113, 8.7).
fn was_not_processed(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_remote()
            && (cause.reason() == Some(h2::Reason::REFUSED_STREAM)
                || cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR))
    })
}

/// A backend's answer as it streams; its connection goes back to the pool when it ended.
pub struct Streamed {
    body: Incoming,
    lease: Option<(Arc<Pool>, Connection)>,
    /// How long the backend may be silent, and since when it is: nginx's `proxy_read_timeout`.
    timeout: Duration,
    silence: Option<Pin<Box<Sleep>>>,
    silent: bool,
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The backend broke off.
    #[error(transparent)]
    Backend(#[from] hyper::Error),
    /// The backend was silent for too long.
    #[error("the backend sent nothing for {0:?}")]
    Silent(Duration),
}

impl Streamed {
    /// The body of an answer that came on `connection`.
    pub fn new(body: Incoming, pool: Arc<Pool>, connection: Connection, timeout: Duration) -> Self {
        Self { body, lease: Some((pool, connection)), timeout, silence: None, silent: false }
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.silent = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(StreamError::from)));
        }
        let timeout = this.timeout;
        let silence = this.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if !this.silent {
            this.silent = true;
            silence.as_mut().reset(Instant::now() + timeout);
        }
        match silence.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(StreamError::Silent(timeout)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        let Some((pool, Connection { key, sender, .. })) = self.lease.take() else { return };
        match sender {
            Sender::Http1(mut sender) if !sender.is_ready() => {
                // The connection's task has to see the end first; it closes if there was none.
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move {
                        if sender.ready().await.is_ok() {
                            pool.put(key, Sender::Http1(sender));
                        }
                    });
                }
            }
            sender => pool.put(key, sender),
        }
    }
}
