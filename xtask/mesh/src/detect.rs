use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How long a connection may take to say what it speaks before it is passed on as opaque (Linkerd's).
pub(crate) const DETECT_TIMEOUT: Duration = Duration::from_secs(10);
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A request line longer than this is no HTTP.
const MAX_REQUEST_LINE: usize = 16 * 1024;

/// What a connection or a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/2 with content type `application/grpc`.
    Grpc,
    /// Anything else: bytes.
    Opaque,
}

/// Tells HTTP/1, HTTP/2 and other bytes apart by what arrives first, as Linkerd's proxy does. Returns what it
/// read, which belongs before the rest. After `timeout`, or at the stream's end, it is [`Protocol::Opaque`].
pub async fn detect_protocol<I: AsyncRead + Unpin>(
    io: &mut I,
    timeout: Duration,
) -> io::Result<(Protocol, Bytes)> {
    let mut buf = BytesMut::with_capacity(1024);
    let read = async {
        loop {
            if let Some(protocol) = protocol_of(&buf) {
                return Ok::<_, io::Error>(protocol);
            }
            if io.read_buf(&mut buf).await? == 0 {
                return Ok(Protocol::Opaque);
            }
        }
    };
    let protocol = match tokio::time::timeout(timeout, read).await {
        Ok(protocol) => protocol?,
        Err(_elapsed) => Protocol::Opaque,
    };
    Ok((protocol, buf.freeze()))
}

/// What these first bytes are; None while they could still become HTTP.
fn protocol_of(buf: &[u8]) -> Option<Protocol> {
    if buf.len() >= H2_PREFACE.len() && buf.starts_with(H2_PREFACE) {
        return Some(Protocol::Http2);
    }
    if H2_PREFACE.starts_with(buf) {
        return None;
    }
    if let Some(end) = buf.iter().position(|&byte| byte == b'\n') {
        let line = buf[..end].strip_suffix(b"\r").unwrap_or(&buf[..end]);
        let http = line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0");
        return Some(if http { Protocol::Http1 } else { Protocol::Opaque });
    }
    // A method is a token followed by one space; anything else need not wait for a line's end.
    let method = buf.iter().position(|&byte| byte == b' ').unwrap_or(buf.len());
    let token =
        method > 0 && method <= 32 && buf[..method].iter().all(|b| b.is_ascii_alphabetic() || *b == b'-');
    if !token || buf.len() > MAX_REQUEST_LINE {
        return Some(Protocol::Opaque);
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        assert_eq!(protocol_of(b""), None);
        assert_eq!(protocol_of(b"PRI * HTTP/2.0\r\n"), None);
        assert_eq!(protocol_of(H2_PREFACE), Some(Protocol::Http2));
        assert_eq!(protocol_of(b"GET / HT"), None);
        assert_eq!(protocol_of(b"GET / HTTP/1.1\r\nhost: a\r\n"), Some(Protocol::Http1));
        assert_eq!(protocol_of(b"PROPFIND / HTTP/1.0\r\n"), Some(Protocol::Http1));
        assert_eq!(protocol_of(b"EHLO mail\r\n"), Some(Protocol::Opaque));
        assert_eq!(protocol_of(b"\x16\x03\x01"), Some(Protocol::Opaque));
        assert_eq!(protocol_of(b"\0\0\0"), Some(Protocol::Opaque));
    }

    proptest! {
        #[test]
        fn a_verdict_never_changes_with_more_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let verdicts: Vec<_> = (0..=bytes.len()).filter_map(|n| protocol_of(&bytes[..n])).collect();
            prop_assert!(verdicts.windows(2).all(|pair| pair[0] == pair[1]));
        }
    }
}
