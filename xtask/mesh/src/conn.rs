//! Sockets: connections as the sidecar sees them, and how they are made and accepted.

use std::{
    io::{self, IoSlice},
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::TlsStream;

use crate::metrics::TransportMetrics;

/// How long a TCP connect or a TLS handshake may take (Linkerd's proxy: 1 s).
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after an accept that failed, e.g. for want of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
const BACKLOG: u32 = 1024;

/// A reader that first yields bytes that were read before it was made.
pub(crate) struct Prefixed<I> {
    prefix: Bytes,
    io: I,
}

impl<I> Prefixed<I> {
    pub(crate) fn new(prefix: Bytes, io: I) -> Self {
        Self { prefix, io }
    }

    /// More bytes that were read, to come before what is left.
    fn unread(&mut self, bytes: Bytes) {
        if self.prefix.is_empty() {
            self.prefix = bytes;
        } else {
            self.prefix = [bytes, std::mem::take(&mut self.prefix)].concat().into();
        }
    }
}

enum Stream {
    Plain(Prefixed<TcpStream>),
    Tls(Prefixed<Box<TlsStream<Prefixed<TcpStream>>>>),
}

/// A connection, plain or TLS, that counts what passes.
pub(crate) struct Conn {
    stream: Stream,
    metrics: Option<Arc<TransportMetrics>>,
}

impl Conn {
    pub(crate) fn plain(prefix: Bytes, io: TcpStream) -> Self {
        Self { stream: Stream::Plain(Prefixed::new(prefix, io)), metrics: None }
    }

    pub(crate) fn tls(io: impl Into<TlsStream<Prefixed<TcpStream>>>) -> Self {
        Self { stream: Stream::Tls(Prefixed::new(Bytes::new(), Box::new(io.into()))), metrics: None }
    }

    /// Counts this connection, from now until it is dropped.
    pub(crate) fn counted(mut self, metrics: Arc<TransportMetrics>) -> Self {
        metrics.open();
        self.metrics = Some(metrics);
        self
    }

    pub(crate) fn unread(&mut self, bytes: Bytes) {
        match &mut self.stream {
            Stream::Plain(io) => io.unread(bytes),
            Stream::Tls(io) => io.unread(bytes),
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            metrics.close();
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Prefixed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let n = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix[..n]);
            self.prefix.advance(n);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Prefixed<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = match &mut self.stream {
            Stream::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Stream::Tls(io) => Pin::new(io).poll_read(cx, buf),
        };
        if let Some(metrics) = &self.metrics {
            metrics.read(buf.filled().len() - before);
        }
        poll
    }
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = match &mut self.stream {
            Stream::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Stream::Tls(io) => Pin::new(io).poll_write(cx, buf),
        };
        self.wrote(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = match &mut self.stream {
            Stream::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Stream::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        };
        self.wrote(poll)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(io) => io.is_write_vectored(),
            Stream::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(io) => Pin::new(io).poll_flush(cx),
            Stream::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Stream::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

impl Conn {
    fn wrote(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Some(metrics), Poll::Ready(Ok(n))) = (&self.metrics, &poll) {
            metrics.wrote(*n);
        }
        poll
    }
}

/// Listens on `addr`. The address may still have connections of a predecessor that are closing.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// The next connection. Errors (a client that has gone, no more file descriptors) are waited out: a listener
/// neither dies of them nor spins.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((io, peer)) => {
                // Fails only on a connection that is gone already.
                let _ = io.set_nodelay(true);
                return (io, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Connects to `addr`, from the pod's own address if `source` is given.
pub(crate) async fn connect(addr: SocketAddr, source: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source.filter(|_| addr.is_ipv4()) {
        socket.bind((source, 0).into())?;
    }
    let io = within(CONNECT_TIMEOUT, socket.connect(addr)).await?;
    io.set_nodelay(true)?;
    Ok(io)
}

/// `future`, or an error of kind `TimedOut`.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
