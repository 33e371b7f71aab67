//! Connections of one port: accepting them, and ending them so that no request that arrived is lost.

use std::{io, net::TcpListener as StdListener, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

/// How long a new connection may stay silent.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request's headers may take over HTTP/1. hyper counts the time between requests too, so it
/// is longer than clients keep idle connections (nginx 60 s, this crate 30 s): else a request could meet a
/// closing server.
const HEADER_TIMEOUT: Duration = Duration::from_secs(90);
/// How often a quiet HTTP/2 connection is tried, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// While draining: how long an idle HTTP/1 connection stays open for a request already under way, which is
/// answered with `Connection: close`. HTTP/2 has GOAWAY for that.
const LINGER: Duration = Duration::from_millis(200);
/// The pause after accepting failed, mostly for lack of file descriptors: it does not get better at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The protocols of a port, without TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Speaks {
    /// Told apart by the first bytes.
    Http1AndHttp2,
    /// For gRPC.
    Http2,
}

/// Serves `router` on `listener` until `drain`; returns when the last connection has ended.
pub(crate) async fn accept(listener: TcpListener, router: Router, speaks: Speaks, drain: CancellationToken) {
    let connections = TaskTracker::new();
    let builder = builder(speaks);
    let serve = |stream| {
        connections.spawn(connection(stream, builder.clone(), router.clone(), speaks, drain.clone()));
    };
    loop {
        tokio::select! {
            biased;
            () = drain.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => serve(stream),
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    // Closing a listener resets what waits in its queue, and there may be requests in it.
    if let Ok(listener) = listener.into_std() {
        while let Ok(stream) = waiting(&listener) {
            serve(stream);
        }
    }
    connections.close();
    connections.wait().await;
}

/// A connection from the queue; an error if there is none, as the listener does not block.
fn waiting(listener: &StdListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

fn builder(speaks: Speaks) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    if matches!(speaks, Speaks::Http2) {
        builder = builder.http2_only();
    }
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

async fn connection(
    stream: TcpStream,
    builder: Builder<TokioExecutor>,
    router: Router,
    speaks: Speaks,
    drain: CancellationToken,
) {
    // Without it a small answer can wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    tokio::select! {
        _ = stream.readable() => {}
        () = sleep(FIRST_BYTE_TIMEOUT) => return,
        () = async { drain.cancelled().await; sleep(LINGER).await } => return,
    }
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        () = drain.cancelled() => match speaks {
            Speaks::Http1AndHttp2 => timeout(LINGER, connection.as_mut()).await.ok(),
            Speaks::Http2 => None,
        }
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(error) = ended {
        debug!(%error, "connection broke off");
    }
}
