use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use rustls::server::Acceptor;
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::{
    Identity, Protocol,
    conn::{CONNECT_TIMEOUT, Conn, Prefixed, within},
    tls::{ALPN_H2, ALPN_HTTP1, ALPN_OPAQUE, Credentials},
};

const HANDSHAKE: u8 = 0x16;
/// A `ClientHello` longer than this is passed on unread.
const MAX_HELLO: usize = 16 * 1024;

/// A connection after TLS has been looked at.
pub(crate) struct Accepted {
    pub conn: Conn,
    /// The client's, from its certificate.
    pub identity: Option<Identity>,
    /// What a peer sidecar said it sends; None: look.
    pub alpn: Option<Protocol>,
}

/// Ends TLS that is meant for this pod (its server name is the pod's identity), with a client certificate of
/// this run's authority. Anything else is passed on as it is.
pub(crate) async fn accept(
    mut io: TcpStream,
    credentials: &Credentials,
    wait: Duration,
) -> io::Result<Accepted> {
    let (hello, read) = read_hello(&mut io, wait).await?;
    match hello {
        Hello::Server(name) if name.as_deref() == Some(credentials.identity().as_str()) => {
            let io = Prefixed::new(read, io);
            let tls = within(CONNECT_TIMEOUT * 5, credentials.acceptor().accept(io)).await?;
            let (_, session) = tls.get_ref();
            let identity = session
                .peer_certificates()
                .and_then(|chain| chain.first())
                .and_then(|leaf| Identity::of_certificate(leaf));
            let alpn = match session.alpn_protocol() {
                Some(ALPN_H2) => Some(Protocol::Http2),
                Some(ALPN_HTTP1) => Some(Protocol::Http1),
                Some(ALPN_OPAQUE) => Some(Protocol::Opaque),
                _ => None,
            };
            Ok(Accepted { conn: Conn::tls(tls), identity, alpn })
        }
        Hello::Server(_) | Hello::NotTls => {
            Ok(Accepted { conn: Conn::plain(read, io), identity: None, alpn: None })
        }
    }
}

enum Hello {
    /// TLS, for this server name.
    Server(Option<String>),
    NotTls,
}

async fn read_hello(io: &mut TcpStream, wait: Duration) -> io::Result<(Hello, Bytes)> {
    let mut read = BytesMut::with_capacity(2048);
    let reading = async {
        loop {
            if io.read_buf(&mut read).await? == 0 {
                return Ok::<_, io::Error>(Hello::NotTls);
            }
            if read.first() != Some(&HANDSHAKE) || read.len() > MAX_HELLO {
                return Ok(Hello::NotTls);
            }
            let mut acceptor = Acceptor::default();
            acceptor.read_tls(&mut &read[..])?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    return Ok(Hello::Server(accepted.client_hello().server_name().map(str::to_owned)));
                }
                Err(_) => return Ok(Hello::NotTls),
            }
        }
    };
    let hello = match tokio::time::timeout(wait, reading).await {
        Ok(hello) => hello?,
        Err(_elapsed) => Hello::NotTls,
    };
    Ok((hello, read.freeze()))
}
