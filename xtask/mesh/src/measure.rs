//! What a hop of the mesh costs: a small gRPC server and bounded load, compiled with the same optimisation
//! as the data path that they measure. `cargo xtask bench mesh` runs it.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// Why a measurement could not be made: an answer that is none, a connection that broke.
pub type Failed = Box<dyn Error + Send + Sync>;
type Outcome<T> = Result<T, Failed>;

/// Requests a second at which latency is measured.
const RATE: u64 = 100;
/// Calls under way at once when throughput is measured.
const IN_FLIGHT: u32 = 32;

/// What one path to the server gave.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Half of the calls took no longer, at 100 a second; in milliseconds.
    pub p50: f64,
    /// All but one in a hundred took no longer; in milliseconds.
    pub p99: f64,
    /// Calls a second with 32 under way at once.
    pub throughput: f64,
}

/// Measures the way to `addr` over one connection, as a gRPC client has: latency for `span`, then
/// throughput for `span`. Fails with the first call that does.
pub async fn measure(addr: SocketAddr, span: Duration) -> Outcome<Sample> {
    let sender = connect(addr).await?;
    // What is slow only once (connections, protocol detection, allocation) is not what is asked for.
    throughput(&sender, addr, span / 4).await?;
    let [p50, p99] = latency(&sender, addr, span).await?;
    Ok(Sample { p50, p99, throughput: throughput(&sender, addr, span).await? })
}

/// Answers every gRPC call with the message that it was sent. Ends when the listener fails.
pub async fn serve(listener: TcpListener) -> Outcome<()> {
    loop {
        let (io, _) = listener.accept().await?;
        io.set_nodelay(true)?;
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(io), service_fn(echo));
        tokio::spawn(connection);
    }
}

async fn echo(
    request: Request<Incoming>,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Ok(Frame::data(body)), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

async fn connect(addr: SocketAddr) -> Outcome<SendRequest<Full<Bytes>>> {
    let io = tokio::net::TcpStream::connect(addr).await?;
    io.set_nodelay(true)?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn call(sender: &mut SendRequest<Full<Bytes>>, addr: SocketAddr) -> Outcome<()> {
    let request = Request::post(format!("http://{addr}/demo.Baz/GetInfo"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::from(&b"\0\0\0\0\x05\n\x03foo"[..]))?;
    let response = sender.send_request(request).await?.into_body().collect().await?;
    let status = response.trailers().and_then(|trailers| trailers.get("grpc-status"));
    if status.is_some_and(|status| status == "0") { Ok(()) } else { Err("no grpc-status 0".into()) }
}

async fn latency(sender: &SendRequest<Full<Bytes>>, addr: SocketAddr, span: Duration) -> Outcome<[f64; 2]> {
    let mut sender = sender.clone();
    let mut ticks = tokio::time::interval(Duration::from_millis(1000 / RATE));
    let mut took = Vec::new();
    let start = Instant::now();
    while start.elapsed() < span {
        ticks.tick().await;
        let sent = Instant::now();
        call(&mut sender, addr).await?;
        took.push(sent.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    Ok([took[took.len() / 2], took[took.len() * 99 / 100]])
}

async fn throughput(sender: &SendRequest<Full<Bytes>>, addr: SocketAddr, span: Duration) -> Outcome<f64> {
    let start = Instant::now();
    let clients: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let mut done = 0_u32;
                while start.elapsed() < span {
                    call(&mut sender, addr).await?;
                    done += 1;
                }
                Ok::<u32, Failed>(done)
            })
        })
        .collect();
    let mut done = 0;
    for client in clients {
        done += client.await??;
    }
    Ok(f64::from(done) / start.elapsed().as_secs_f64())
}
