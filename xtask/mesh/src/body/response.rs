use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::{BoxError, FramePoll};
use crate::{outbound::TimedOut, record::Tracker};

/// A response's body on its way to who asked.
pub(crate) struct ResponseBody {
    inner: Inner,
    tracker: Option<Tracker>,
    limits: Option<Box<Limits>>,
}

enum Inner {
    Empty,
    Incoming(Incoming),
    /// What was read to see the trailers, and what follows.
    Peeked(Option<Bytes>, Option<HeaderMap>, Option<Incoming>),
}

/// Time limits on a response's body.
pub(crate) struct Limits {
    pub end: Option<(Pin<Box<Sleep>>, TimedOut)>,
    pub idle: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl ResponseBody {
    pub(crate) fn empty() -> Self {
        Self { inner: Inner::Empty, tracker: None, limits: None }
    }

    pub(crate) fn incoming(body: Incoming) -> Self {
        Self { inner: Inner::Incoming(body), tracker: None, limits: None }
    }

    /// Notes the end of this response.
    pub(crate) fn track(&mut self, tracker: Tracker) {
        self.tracker = Some(tracker);
    }

    pub(crate) fn limit(&mut self, limits: Limits) {
        self.limits = Some(Box::new(limits));
    }

    /// Reads the first frame, and the second if it is there, and says what trailers they hold: a gRPC failure
    /// without a message is trailers only, or a frame and trailers (as Linkerd's `PeekTrailersBody`).
    pub(crate) async fn peek_trailers(&mut self) -> Option<&HeaderMap> {
        let Inner::Incoming(body) = &mut self.inner else { return None };
        if body.is_end_stream() {
            return None;
        }
        let first = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?.ok()?;
        let (data, trailers) = match first.into_data() {
            Ok(data) => {
                let next = std::future::poll_fn(|cx| {
                    Poll::Ready(match Pin::new(&mut *body).poll_frame(cx) {
                        Poll::Ready(Some(Ok(frame))) => Some(frame),
                        _ => None,
                    })
                });
                match next.await.map(Frame::into_data) {
                    // Rare: two messages at once. They are joined; a body has no frames of its own.
                    Some(Ok(more)) => (Some([data, more].concat().into()), None),
                    Some(Err(frame)) => (Some(data), frame.into_trailers().ok()),
                    None => (Some(data), None),
                }
            }
            Err(frame) => (None, frame.into_trailers().ok()),
        };
        let Inner::Incoming(body) = std::mem::replace(&mut self.inner, Inner::Empty) else { return None };
        let rest = trailers.is_none().then_some(body);
        self.inner = Inner::Peeked(data, trailers, rest);
        match &self.inner {
            Inner::Peeked(_, trailers, _) => trailers.as_ref(),
            _ => None,
        }
    }
}

impl Inner {
    fn poll(&mut self, cx: &mut Context<'_>) -> FramePoll {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Peeked(data, trailers, rest) => {
                if let Some(data) = data.take() {
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                if let Some(trailers) = trailers.take() {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                match rest {
                    Some(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
                    None => Poll::Ready(None),
                }
            }
        }
    }

    fn ended(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Incoming(body) => body.is_end_stream(),
            Self::Peeked(data, trailers, rest) => {
                data.is_none() && trailers.is_none() && rest.as_ref().is_none_or(Body::is_end_stream)
            }
        }
    }
}

impl Limits {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<TimedOut> {
        if let Some((sleep, timed_out)) = &mut self.end
            && sleep.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(*timed_out);
        }
        if let Some((sleep, limit)) = &mut self.idle
            && sleep.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(TimedOut::Idle(*limit));
        }
        Poll::Pending
    }

    fn progress(&mut self) {
        if let Some((sleep, limit)) = &mut self.idle {
            sleep.as_mut().reset(Instant::now() + *limit);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> FramePoll {
        let this = &mut *self;
        let poll = this.inner.poll(cx);
        if let Some(limits) = &mut this.limits {
            if poll.is_ready() {
                limits.progress();
            } else if let Poll::Ready(timed_out) = limits.poll(cx) {
                if let Some(tracker) = this.tracker.take() {
                    tracker.broken();
                }
                this.inner = Inner::Empty;
                return Poll::Ready(Some(Err(timed_out.into())));
            }
        }
        if let Poll::Ready(frame) = &poll {
            match frame {
                None => {
                    if let Some(tracker) = this.tracker.take() {
                        tracker.complete();
                    }
                }
                Some(Err(_)) => {
                    if let Some(tracker) = this.tracker.take() {
                        tracker.broken();
                    }
                }
                Some(Ok(frame)) => {
                    if let Some(tracker) = &mut this.tracker {
                        tracker.frame(frame.trailers_ref());
                    }
                    if this.inner.ended()
                        && let Some(tracker) = this.tracker.take()
                    {
                        tracker.complete();
                    }
                }
            }
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.inner.ended()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Incoming(body) => body.size_hint(),
            Inner::Peeked(..) => SizeHint::default(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body without frames is never read.
        if let Some(tracker) = self.tracker.take() {
            if self.inner.ended() { tracker.complete() } else { tracker.canceled() }
        }
    }
}
