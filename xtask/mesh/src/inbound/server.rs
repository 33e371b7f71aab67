use std::pin::pin;

use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::{
    Protocol,
    body::{BoxError, ResponseBody},
    conn::Conn,
    drain::Drain,
    outbound::h2::{CONNECTION_WINDOW, FRAME_SIZE, MAX_HEADERS, STREAM_WINDOW},
};

/// Serves one HTTP connection. When the drain closes, HTTP/2 is told GOAWAY and HTTP/1 `Connection: close`, and what
/// is under way is finished.
pub(crate) async fn serve<S>(conn: Conn, protocol: Protocol, service: S, drain: &Drain)
where
    S: Service<Request<Incoming>, Response = Response<ResponseBody>, Error = BoxError> + Send,
    S::Future: Send + 'static,
{
    let io = TokioIo::new(conn);
    let result = if protocol == Protocol::Http1 {
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(None)
                .max_buf_size(MAX_HEADERS as usize)
                .half_close(true)
                .serve_connection(io, service)
                .with_upgrades()
        );
        tokio::select! {
            result = connection.as_mut() => result,
            () = drain.closing() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    } else {
        let mut connection = pin!(
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_frame_size(FRAME_SIZE)
                .max_header_list_size(MAX_HEADERS)
                .max_concurrent_streams(10_000)
                .serve_connection(io, service)
        );
        tokio::select! {
            result = connection.as_mut() => result,
            () = drain.closing() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection broken");
    }
}
