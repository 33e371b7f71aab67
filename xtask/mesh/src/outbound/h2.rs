use std::error::Error as StdError;

use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::{
    body::{BoxError, RequestBody},
    conn::Conn,
};

/// Flow control must not be what limits a connection on loopback.
pub(crate) const STREAM_WINDOW: u32 = 1024 * 1024;
pub(crate) const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
pub(crate) const FRAME_SIZE: u32 = 64 * 1024;
/// No more than this of headers, in requests and responses.
pub(crate) const MAX_HEADERS: u32 = 64 * 1024;

/// An HTTP/2 connection's sending end; clones share the connection.
pub(crate) type Sender = http2::SendRequest<RequestBody>;

/// Why a request got no response.
pub(crate) enum SendError {
    /// It has not left this process.
    Unsent(Box<Request<RequestBody>>),
    /// The peer has surely not processed it (`REFUSED_STREAM`, or GOAWAY before it), or could not be reached.
    Refused,
    /// It may have been processed.
    Broken(BoxError),
}

/// Starts HTTP/2. The second part must be polled for the connection to live.
pub(crate) async fn handshake(
    io: TokioIo<Conn>,
) -> hyper::Result<(Sender, impl Future<Output = ()> + Send + use<>)> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE)
        .max_header_list_size(MAX_HEADERS)
        .max_concurrent_reset_streams(1024)
        .handshake(io)
        .await?;
    Ok((sender, async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection broken");
        }
    }))
}

/// Sends one request.
pub(crate) async fn send(
    sender: &mut Sender,
    request: Request<RequestBody>,
) -> Result<Response<Incoming>, SendError> {
    sender.try_send_request(request).await.map_err(|mut error| {
        if let Some(request) = error.take_message() {
            return SendError::Unsent(Box::new(request));
        }
        let error = error.into_error();
        if is_refused(&error) { SendError::Refused } else { SendError::Broken(error.into()) }
    })
}

/// Whether HTTP/2 guarantees that the request was not processed (RFC 9113, 8.7).
fn is_refused(error: &hyper::Error) -> bool {
    h2_error(error).is_some_and(|error| {
        error.is_remote()
            && match error.reason() {
                Some(h2::Reason::REFUSED_STREAM) => true,
                Some(h2::Reason::NO_ERROR) => error.is_go_away(),
                _ => false,
            }
    })
}

/// The HTTP/2 error behind an error, if there is one.
pub(crate) fn h2_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a h2::Error> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| (*error).source())
        .find_map(|error| error.downcast_ref())
}
