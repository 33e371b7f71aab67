//! A request's body on its way to a backend: streamed, kept for a second attempt while it is short, and
//! cut when it is longer than the Ingress allows.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

/// How much of a body is kept for another attempt: what Linkerd's proxy keeps for its retries.
const KEPT: usize = 64 * 1024;

/// A body that can be sent again. Clones made by [`Replay::again`] read from the start.
pub struct Replay {
    shared: Option<Arc<Mutex<Shared>>>,
    /// How many of the kept frames this reader has had.
    position: usize,
    /// Which reader this is: only the last may read on.
    reader: u32,
    hint: SizeHint,
    ended: bool,
}

struct Shared {
    incoming: Incoming,
    kept: Vec<Bytes>,
    bytes: u64,
    trailers: Option<HeaderMap>,
    /// Everything was read.
    complete: bool,
    /// More came than is kept; nothing is any more.
    dropped: bool,
    limit: Option<u64>,
    too_large: bool,
    reader: u32,
    /// When the last of it came.
    progress: Instant,
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than `proxy-body-size`.
    #[error("the request's body is larger than the Ingress allows")]
    TooLarge,
    /// Another attempt reads it now.
    #[error("the request is sent again elsewhere")]
    Superseded,
    /// The client broke off.
    #[error(transparent)]
    Client(#[from] hyper::Error),
}

impl Replay {
    /// A body that ends with an error once more than `limit` bytes came; none for no limit.
    pub fn new(incoming: Incoming, limit: Option<u64>) -> Self {
        let hint = incoming.size_hint();
        if incoming.is_end_stream() {
            return Self { shared: None, position: 0, reader: 0, hint, ended: true };
        }
        let shared = Shared {
            incoming,
            kept: Vec::new(),
            bytes: 0,
            trailers: None,
            complete: false,
            dropped: false,
            limit,
            too_large: false,
            reader: 0,
            progress: Instant::now(),
        };
        Self { shared: Some(Arc::new(Mutex::new(shared))), position: 0, reader: 0, hint, ended: false }
    }

    /// A handle on it for after it was given away.
    pub fn source(&self) -> Source {
        Source(self.shared.clone(), self.hint)
    }
}

/// Where a given-away body can be had again.
pub struct Source(Option<Arc<Mutex<Shared>>>, SizeHint);

impl Source {
    /// The body from its start, or none when not all of what was read is kept. Whoever reads it now
    /// gets no more.
    pub fn again(&self) -> Option<Replay> {
        let Some(shared) = &self.0 else {
            return Some(Replay { shared: None, position: 0, reader: 0, hint: self.1, ended: true });
        };
        let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if state.dropped || state.too_large {
            return None;
        }
        state.reader += 1;
        let reader = state.reader;
        drop(state);
        let hint = self.1;
        Some(Replay { shared: Some(Arc::clone(shared)), position: 0, reader, hint, ended: false })
    }

    /// Whether it was cut for its length.
    pub fn too_large(&self) -> bool {
        self.state().is_some_and(|state| state.too_large)
    }

    /// When the last of it came from the client; none for an empty body.
    pub fn progress(&self) -> Option<Instant> {
        self.state().map(|state| state.progress)
    }

    fn state(&self) -> Option<MutexGuard<'_, Shared>> {
        self.0.as_ref().map(|shared| shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Body for Replay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(shared) = this.shared.as_ref().filter(|_| !this.ended) else {
            return Poll::Ready(None);
        };
        let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if state.reader != this.reader {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(data) = state.kept.get(this.position) {
            this.position += 1;
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        if state.complete {
            this.ended = true;
            return Poll::Ready(state.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let polled = ready!(Pin::new(&mut state.incoming).poll_frame(cx));
        state.progress = Instant::now();
        let frame = match polled {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => {
                state.complete = true;
                this.ended = true;
                return Poll::Ready(None);
            }
        };
        match frame.into_data() {
            Ok(data) => {
                state.bytes += data.len() as u64;
                if state.limit.is_some_and(|limit| state.bytes > limit) {
                    state.too_large = true;
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
                if state.bytes > KEPT as u64 {
                    state.dropped = true;
                    state.kept = Vec::new();
                } else {
                    state.kept.push(data.clone());
                    this.position += 1;
                }
                // Lets the last frame carry the end, as it did when it came.
                if state.incoming.is_end_stream() {
                    state.complete = true;
                    this.ended = true;
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Err(frame) => {
                state.complete = true;
                this.ended = true;
                state.trailers = frame.into_trailers().ok();
                Poll::Ready(state.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    /// Of the whole body: hyper asks before it sends the first frame.
    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}
