use std::io;

use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::{body::Incoming, client::conn::http1, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;

use crate::{
    body::{BoxError, RequestBody},
    conn::Conn,
    drain::Drain,
    outbound::opaque::pipe,
};

/// Whether an HTTP/1.1 request asks for another protocol (WebSocket).
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && headers.get_all(header::CONNECTION).iter().any(|value| {
            value.to_str().is_ok_and(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case("upgrade")))
        })
}

/// Sends a request that asks for an upgrade over a connection of its own; if it is granted, joins the two
/// connections until they end.
pub(crate) async fn send(
    conn: Conn,
    request: Request<RequestBody>,
    client: OnUpgrade,
    connections: &Drain,
) -> Result<Response<Incoming>, BoxError> {
    let (mut sender, connection) = http1::Builder::new().handshake(TokioIo::new(conn)).await?;
    connections.connection(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection broken");
        }
    });
    let mut response = sender.send_request(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upstream = hyper::upgrade::on(&mut response);
        connections.connection(async move {
            let joined = async {
                let (client, upstream) = (client.await?, upstream.await?);
                pipe(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await;
                Ok::<(), hyper::Error>(())
            };
            if let Err(error) = joined.await {
                tracing::debug!(%error, "upgrade failed");
            }
        });
    }
    Ok(response)
}

/// An upgrade that could not be sent.
pub(crate) fn no_connection(error: &io::Error) -> String {
    format!("cannot connect: {error}")
}
