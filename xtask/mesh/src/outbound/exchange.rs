//! A request on a route that asks for more than to be sent: filters, several backends, timeouts, retries.

use std::time::{Duration, Instant};

use http::{Response, request::Parts};
use policy::outbound::{Retry, RetryOn};

use crate::{
    Timeouts,
    body::{RequestBody, ResponseBody},
    outbound::{
        Outbound, TimedOut,
        endpoint::Wire,
        random,
        rescue::{Failed, Failure},
        rewrite::Answer,
        route::{Current, Routed},
    },
    record::{Tracker, grpc_status},
    respond::Shape,
};

/// Linkerd's pauses between retries: 25 ms doubling to 250 ms, and as much again at random.
const RETRY_BACKOFF: Duration = Duration::from_millis(25);
const MAX_RETRY_BACKOFF: Duration = Duration::from_millis(250);

impl Outbound {
    /// Finds the rule that takes the request and does what it says.
    pub(crate) async fn route(
        &self,
        current: &Current,
        head: Parts,
        body: RequestBody,
        shape: Shape,
        start: Instant,
    ) -> Result<Answer, Failed> {
        let routed = current.route(&head, shape)?;
        let timeouts = routed.matched.traffic.timeouts;
        let deadline = timeouts.request.map(|limit| (tokio::time::Instant::now() + limit, limit));
        let exchange = self.exchange(&routed, head, body, shape, start);
        let result = match deadline {
            None => exchange.await,
            Some((deadline, limit)) => tokio::time::timeout_at(deadline, exchange)
                .await
                .unwrap_or(Err(Failure::TimedOut(TimedOut::Request(limit)))),
        };
        match result {
            Ok((mut response, tracker)) => {
                limit(&mut response, deadline.map(|(deadline, _)| deadline), timeouts);
                Ok((response, tracker))
            }
            Err(failure) => Err(Failed::on(routed.matched.route, failure)),
        }
    }

    /// Sends the request, and again as the rule's retries ask for.
    async fn exchange(
        &self,
        routed: &Routed<'_>,
        head: Parts,
        body: RequestBody,
        shape: Shape,
        start: Instant,
    ) -> Result<Answer, Failure> {
        let Some(retry) = &routed.matched.traffic.retry else {
            return self.attempt(routed, head, body, shape, start, None).await;
        };
        let mut body = body;
        let mut backoff = RETRY_BACKOFF;
        for _ in 0..retry.limit {
            let Some(handle) = body.handle() else { break };
            let result = self.attempt(routed, head.clone(), body, shape, start, retry.timeout).await;
            let refused = match result {
                Ok((mut response, tracker)) => {
                    let tracker =
                        Tracker { grpc_status: status(retry, &mut response, &tracker).await, ..tracker };
                    if !retry.wants(response.status().as_u16(), tracker.grpc_status) {
                        return Ok((response, tracker));
                    }
                    Ok((response, tracker))
                }
                Err(failure @ (Failure::FailFast(_) | Failure::TimedOut(TimedOut::Headers(_)))) => {
                    Err(failure)
                }
                Err(failure) => return Err(failure),
            };
            tokio::time::sleep(backoff.mul_f64(1.0 + random::fraction())).await;
            backoff = (backoff * 2).min(MAX_RETRY_BACKOFF);
            // While no backend is to be had, what there is has to do.
            if !routed.is_open(wire(shape)) {
                return refused;
            }
            let Some(again) = handle.again() else { return refused };
            if let Ok((_, tracker)) = refused {
                tracker.complete();
            }
            body = again;
        }
        self.attempt(routed, head, body, shape, start, None).await
    }

    /// Sends the request to one backend.
    async fn attempt(
        &self,
        routed: &Routed<'_>,
        mut head: Parts,
        body: RequestBody,
        shape: Shape,
        start: Instant,
        headers_limit: Option<Duration>,
    ) -> Result<Answer, Failure> {
        let (backend, edits) = routed.choose(&mut head, shape, wire(shape))?;
        let response_limit = routed.matched.traffic.timeouts.response.map(TimedOut::Response);
        let limit = headers_limit.map(TimedOut::Headers).or(response_limit);
        let send = self.send(backend, head, body, shape, start);
        let (mut response, tracker) = match limit {
            None => send.await?,
            Some(limit) => {
                tokio::time::timeout(limit.limit(), send).await.unwrap_or(Err(Failure::TimedOut(limit)))?
            }
        };
        edits.apply(response.headers_mut());
        Ok((response, tracker))
    }
}

/// How a request of this shape goes to pods without a sidecar.
pub(crate) fn wire(shape: Shape) -> Wire {
    if shape.version == http::Version::HTTP_2 { Wire::H2 } else { Wire::H1 }
}

/// The gRPC status, looked for in the trailers if the retry depends on it.
async fn status(retry: &Retry, response: &mut Response<ResponseBody>, tracker: &Tracker) -> Option<i32> {
    match (&retry.on, tracker.grpc_status) {
        (RetryOn::Grpc(_), None) => response.body_mut().peek_trailers().await.and_then(grpc_status),
        (_, known) => known,
    }
}

/// Puts the limits that go on after the headers on the body.
fn limit(response: &mut Response<ResponseBody>, deadline: Option<tokio::time::Instant>, timeouts: Timeouts) {
    if timeouts == Timeouts::default() {
        return;
    }
    let now = tokio::time::Instant::now();
    let ends = [
        deadline.zip(timeouts.request.map(TimedOut::Request)),
        timeouts.response.map(|limit| (now + limit, TimedOut::Response(limit))),
    ];
    let end = ends.into_iter().flatten().min_by_key(|(at, _)| *at);
    response.body_mut().limit(crate::body::Limits {
        end: end.map(|(at, timed_out)| (Box::pin(tokio::time::sleep_until(at)), timed_out)),
        idle: timeouts.idle.map(|limit| (Box::pin(tokio::time::sleep(limit)), limit)),
    });
}
