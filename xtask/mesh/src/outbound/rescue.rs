use std::time::Instant;

use http::{Response, Version};

use crate::{
    body::{BoxError, Limits, ResponseBody},
    metrics::Outcome,
    outbound::{Outbound, TimedOut},
    record::{Draft, grpc_status},
    respond::{Shape, Synthetic},
};

/// Why a request got no answer from an endpoint.
pub(crate) enum Failure {
    FailFast,
    /// The only servers there are do not listen.
    Refused,
    TimedOut(TimedOut),
    Broken(BoxError),
}

impl Outbound {
    /// The answer when there is none, as Linkerd's outbound `ServerRescue` gives it. A broken HTTP/2 stream stays
    /// one for an HTTP/2 client.
    pub(crate) fn rescue(
        &self,
        failure: Failure,
        shape: Shape,
        draft: Option<Box<Draft>>,
        start: Instant,
    ) -> Result<Response<ResponseBody>, BoxError> {
        if shape.version == Version::HTTP_2
            && let Failure::Broken(error) = failure
        {
            if let Some(draft) = draft {
                let outcome = Outcome { status: None, grpc_status: None, error: "unexpected" };
                draft.publish(outcome, start.elapsed());
            }
            return Err(error);
        }
        let response = self.synthetic(&failure).response(shape, true);
        if let Some(draft) = draft {
            let status = Some(response.status().as_u16());
            let outcome = Outcome { status, grpc_status: grpc_status(response.headers()), error: "" };
            draft.publish(outcome, start.elapsed());
        }
        Ok(response)
    }

    pub(crate) fn synthetic(&self, failure: &Failure) -> Synthetic {
        let Self { logical, backend, .. } = self;
        match failure {
            Failure::FailFast => Synthetic::gateway_timeout(format!(
                "{logical}backend {backend}: {backend}: service in fail-fast"
            )),
            Failure::Refused => {
                Synthetic::bad_gateway(format!("{logical}backend {backend}: connection refused"))
            }
            Failure::TimedOut(timed_out) => Synthetic::gateway_timeout_nonfatal(format!(
                "{logical}timed out waiting for response headers: {timed_out}"
            )),
            Failure::Broken(error) => Synthetic::bad_gateway(format!("{logical}backend {backend}: {error}")),
        }
    }

    /// Puts the limits that go on after the headers on the body.
    pub(crate) fn limit(
        &self,
        response: &mut Response<ResponseBody>,
        deadline: Option<tokio::time::Instant>,
    ) {
        let timeouts = self.settings.timeouts;
        if timeouts == crate::Timeouts::default() {
            return;
        }
        let now = tokio::time::Instant::now();
        let ends = [
            deadline.zip(timeouts.request.map(TimedOut::Request)),
            timeouts.response.map(|limit| (now + limit, TimedOut::Response(limit))),
        ];
        let end = ends.into_iter().flatten().min_by_key(|(at, _)| *at);
        response.body_mut().limit(Limits {
            end: end.map(|(at, timed_out)| (Box::pin(tokio::time::sleep_until(at)), timed_out)),
            idle: timeouts.idle.map(|limit| (Box::pin(tokio::time::sleep(limit)), limit)),
        });
    }
}
