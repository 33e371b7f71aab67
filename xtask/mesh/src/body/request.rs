use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{BoxError, FramePoll};

/// So much of a request is kept to be sent again (Linkerd's limit).
const MAX_REPLAY: usize = 64 * 1024;

/// A request's body on its way to an endpoint.
pub(crate) enum RequestBody {
    Empty,
    /// All of it, had when the request's headers were.
    Full(Bytes),
    /// Passed on as it comes, once.
    Once(Incoming),
    /// Passed on as it comes, and kept while it is short enough.
    Replay(Replay),
}

/// A reader of a shared, remembered body. Only the newest reader gets anything.
pub(crate) struct Replay {
    shared: Arc<Mutex<Shared>>,
    generation: u32,
    position: usize,
}

struct Shared {
    kept: Vec<Bytes>,
    kept_len: usize,
    trailers: Option<HeaderMap>,
    rest: Option<Incoming>,
    generation: u32,
    /// More has passed than is kept: it cannot be sent again.
    overflowed: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("this attempt was given up for another")]
struct Superseded;

impl RequestBody {
    /// Takes what is there already: most requests are whole by the time their headers are read, and then cost no
    /// further task. The rest is passed on as it comes and can be sent again while it is short.
    pub(crate) async fn gather(mut body: Incoming) -> Result<Self, BoxError> {
        if body.is_end_stream() {
            return Ok(Self::Empty);
        }
        let mut kept: Vec<Bytes> = Vec::new();
        let mut first = Bytes::new();
        let mut kept_len = 0;
        let mut trailers = None;
        let ended = std::future::poll_fn(|cx| {
            while kept_len <= MAX_REPLAY {
                match Pin::new(&mut body).poll_frame(cx) {
                    Poll::Pending => return Poll::Ready(Ok(false)),
                    Poll::Ready(None) => return Poll::Ready(Ok(true)),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => {
                            kept_len += data.len();
                            if first.is_empty() {
                                first = data;
                            } else {
                                kept.push(data);
                            }
                        }
                        Err(frame) => trailers = frame.into_trailers().ok(),
                    },
                }
                if body.is_end_stream() {
                    return Poll::Ready(Ok(true));
                }
            }
            Poll::Ready(Ok(false))
        })
        .await?;
        if ended && kept.is_empty() && trailers.is_none() {
            return Ok(if first.is_empty() { Self::Empty } else { Self::Full(first) });
        }
        if !first.is_empty() {
            kept.insert(0, first);
        }
        Ok(Self::Replay(Replay {
            shared: Arc::new(Mutex::new(Shared {
                kept,
                kept_len,
                trailers,
                rest: (!ended).then_some(body),
                generation: 0,
                overflowed: false,
            })),
            generation: 0,
            position: 0,
        }))
    }

    /// The body from its start, for another attempt; this one then yields no more. None when too much has passed.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Full(bytes) => Some(Self::Full(bytes.clone())),
            Self::Once(_) => None,
            Self::Replay(replay) => replay.again().map(Self::Replay),
        }
    }

    /// A further handle on the same body, by which it can be had [`RequestBody::again`].
    pub(crate) fn handle(&self) -> Option<Self> {
        match self {
            Self::Replay(Replay { shared, generation, position }) => Some(Self::Replay(Replay {
                shared: shared.clone(),
                generation: *generation,
                position: *position,
            })),
            _ => self.again(),
        }
    }
}

impl Replay {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn again(&self) -> Option<Self> {
        let mut shared = self.lock();
        if shared.overflowed {
            return None;
        }
        shared.generation += 1;
        Some(Self { shared: self.shared.clone(), generation: shared.generation, position: 0 })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> FramePoll {
        let shared = Arc::clone(&self.shared);
        let shared = &mut *shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.generation != self.generation {
            return Poll::Ready(Some(Err(Superseded.into())));
        }
        if !shared.overflowed && self.position < shared.kept.len() {
            self.position += 1;
            return Poll::Ready(Some(Ok(Frame::data(shared.kept[self.position - 1].clone()))));
        }
        if let Some(rest) = &mut shared.rest {
            match ready!(Pin::new(rest).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        shared.kept_len += data.len();
                        if shared.kept_len > MAX_REPLAY {
                            shared.overflowed = true;
                            shared.kept.clear();
                        } else {
                            shared.kept.push(data.clone());
                            self.position += 1;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Err(frame) => {
                        shared.trailers = frame.into_trailers().ok();
                        shared.rest = None;
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => shared.rest = None,
            }
        }
        // The trailers are sent once by each reader.
        if self.position == usize::MAX {
            return Poll::Ready(None);
        }
        self.position = usize::MAX;
        Poll::Ready(shared.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(_) => {
                let Self::Full(bytes) = std::mem::replace(&mut *self, Self::Empty) else {
                    return Poll::Ready(None);
                };
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Once(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Replay(replay) => replay.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Once(body) => body.is_end_stream(),
            Self::Replay(replay) => {
                let shared = replay.lock();
                let read = shared.overflowed || replay.position >= shared.kept.len();
                read && shared.trailers.is_none() && shared.rest.as_ref().is_none_or(Body::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Once(body) => body.size_hint(),
            Self::Replay(_) => SizeHint::default(),
        }
    }
}
