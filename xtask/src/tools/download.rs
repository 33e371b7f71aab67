//! One file from a web server or a directory, resumed where an earlier try ended, held against its sum.

use std::io;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, RANGE};
use http::{HeaderValue, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::AsyncReadExt as _;

use super::part::Part;
use super::pins::Source;
use super::web::{cause, get};

/// How often it is tried when the network fails.
const TRIES: u32 = 3;
/// How long to wait before the second try; twice that before the third.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection, or it broke.
    #[error("cannot reach {host}: {why}")]
    Unreachable { host: String, why: String },
    /// Nothing more came.
    #[error("nothing came for {} after {bytes} bytes", crate::report::span(crate::report::millis(*after)))]
    Stalled { bytes: u64, after: Duration },
    /// The connection ended too early.
    #[error("the connection broke after {bytes} bytes: {why}")]
    Broken { bytes: u64, why: String },
    /// The server does not have it, or not now.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// The server's answer makes no sense.
    #[error("{0}")]
    Answer(String),
    /// There is nothing to hold a server's certificate against.
    #[error("no CA certificates on this machine ({0}): install ca-certificates, or set SSL_CERT_FILE")]
    NoRoots(String),
    /// The mirror is a directory and does not have it.
    #[error("cannot read it: {0}")]
    Mirror(io::Error),
    /// The cache cannot be written.
    #[error("cannot write it: {0}")]
    Disk(#[from] io::Error),
    /// It is not what is pinned.
    #[error("its sha256 is {got}, pinned is {pinned}; it was deleted")]
    Sum { pinned: String, got: String },
}

impl Failure {
    /// Whether it may go well the next time.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Broken { .. } => true,
            Self::Status(status) => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 416 | 425 | 429)
            }
            _ => false,
        }
    }
}

/// What is to be fetched, and who is told how it goes.
pub struct Download<'a> {
    /// From where.
    pub source: &'a Source,
    /// The pinned sha256.
    pub sha256: &'a str,
    /// Give up when nothing comes for this long.
    pub stall: Duration,
    /// Told of bytes that are there, and how many there will be.
    pub progress: &'a (dyn Fn(u64, Option<u64>) + Sync),
    /// Told of a failure that is tried again.
    pub again: &'a (dyn Fn(&Failure) + Sync),
}

/// When the first byte of a whole file came.
enum Began {
    /// In this try.
    Now,
    /// In an earlier one.
    Earlier,
}

impl Download<'_> {
    /// Fetches what is missing of `part`. Afterwards it has the pinned sum; with a wrong one it is deleted,
    /// otherwise it is kept for the next time.
    pub async fn run(&self, mut part: Part) -> Result<Part, Failure> {
        let mut tries = 1;
        while part.sum() != self.sha256 {
            match self.attempt(&mut part).await {
                Ok(_) if part.sum() == self.sha256 => break,
                // Bytes of an earlier try may be of another file: then a wrong sum says nothing about this one.
                Ok(Began::Earlier) => part.restart()?,
                Ok(Began::Now) => {
                    let got = part.sum();
                    part.delete()?;
                    return Err(Failure::Sum { pinned: self.sha256.to_owned(), got });
                }
                Err(failure) if failure.may_pass() && tries < TRIES => {
                    (self.again)(&failure);
                    tokio::time::sleep(PAUSE * tries).await;
                    tries += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(part)
    }

    async fn attempt(&self, part: &mut Part) -> Result<Began, Failure> {
        match self.source {
            Source::Web(uri) => self.over_the_web(uri, part).await,
            Source::File(path) => {
                part.restart()?;
                let mut file = tokio::fs::File::open(path).await.map_err(Failure::Mirror)?;
                let total = file.metadata().await.ok().map(|file| file.len());
                let mut buffer = vec![0; 1 << 18];
                loop {
                    let read = file.read(&mut buffer).await.map_err(Failure::Mirror)?;
                    if read == 0 {
                        return Ok(Began::Now);
                    }
                    part.add(&buffer[..read])?;
                    (self.progress)(part.len(), total);
                }
            }
        }
    }

    async fn over_the_web(&self, uri: &Uri, part: &mut Part) -> Result<Began, Failure> {
        let answer = get(uri, &wishes(part), self.stall).await?;
        match answer.status() {
            StatusCode::OK => part.restart()?,
            StatusCode::PARTIAL_CONTENT if starts_at(&answer) == Some(part.len()) => {}
            StatusCode::PARTIAL_CONTENT => {
                part.restart()?;
                return Err(Failure::Broken { bytes: 0, why: "another part came than was asked for".into() });
            }
            status => {
                // Longer than the whole file: it was another one.
                if status == StatusCode::RANGE_NOT_SATISFIABLE {
                    part.restart()?;
                }
                return Err(Failure::Status(status));
            }
        }
        let header = |name| answer.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        // A weak tag promises no equal bytes.
        part.set_tag(header(ETAG).filter(|tag| tag.starts_with('"')))?;
        let rest: Option<u64> = header(CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let total = rest.map(|rest| part.len() + rest);
        let began = if part.len() > 0 { Began::Earlier } else { Began::Now };
        self.body(answer, part, total).await?;
        Ok(began)
    }

    async fn body(
        &self,
        answer: Response<Incoming>,
        part: &mut Part,
        total: Option<u64>,
    ) -> Result<(), Failure> {
        let mut body = answer.into_body();
        (self.progress)(part.len(), total);
        loop {
            let frame = tokio::time::timeout(self.stall, body.frame()).await;
            let frame = frame.map_err(|_| Failure::Stalled { bytes: part.len(), after: self.stall })?;
            let Some(frame) = frame else { return Ok(()) };
            let frame = frame.map_err(|error| Failure::Broken { bytes: part.len(), why: cause(&error) })?;
            if let Some(bytes) = frame.data_ref() {
                part.add(bytes)?;
                (self.progress)(part.len(), total);
            }
        }
    }
}

/// Only what is missing, if it is still the same file: RFC 9110, 13.1.5 and 14.2.
fn wishes(part: &Part) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if part.len() > 0 {
        headers.extend(
            HeaderValue::from_str(&format!("bytes={}-", part.len())).ok().map(|range| (RANGE, range)),
        );
        let tag = part.tag().and_then(|tag| HeaderValue::from_str(&tag).ok());
        headers.extend(tag.map(|tag| (IF_RANGE, tag)));
    }
    headers
}

/// Where the part that came begins: `Content-Range: bytes 500-999/1000`.
fn starts_at(answer: &Response<Incoming>) -> Option<u64> {
    let range = answer.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
