//! Calls over gRPC, all on one connection to each callee, as gRPC clients do.

use std::{collections::HashMap, error::Error, time::Duration};

use http::Uri;
use proto::demo::{InfoRequest, InfoResponse};
use tokio::time::{Instant, timeout_at};
use tonic::{
    Code, Request, Response, Status,
    metadata::{MetadataMap, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{
    answer::Document,
    call::{CONNECT_TIMEOUT, Callee, Failure, GetInfo, Origin, cause, chain, document},
    trace::Trace,
};

/// While calls are open: how often the connection is tried, so that a peer that is gone without a word is
/// noticed before every call on it has waited out its deadline.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a call is made at most, counting only those that reached no server.
const ATTEMPTS: usize = 4;

/// A callee over gRPC.
pub(crate) struct GrpcClient {
    channel: Channel,
    get_info: GetInfo,
    client: &'static str,
}

impl GrpcClient {
    pub(crate) fn new(callee: Callee, at: &Uri, origin: &Origin) -> anyhow::Result<Self> {
        let channel = Endpoint::from(at.clone())
            .user_agent(origin.user_agent())?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .connect_lazy();
        Ok(Self { channel, get_info: callee.get_info, client: origin.service })
    }

    pub(crate) async fn call(&self, trace: &Trace, deadline: Instant) -> Result<Document, Failure> {
        let outcome = timeout_at(deadline, self.attempts(trace, deadline)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        let response = outcome.map_err(|status| {
            let code = status.code();
            let number = i32::from(code);
            let error = format!("grpc {number} {}: {}", constant(code), message(&status));
            Failure { status: http_status(code), code: Some(code), error }
        })?;
        document(response.into_inner().message.as_bytes()).map_err(|error| Failure {
            status: 502,
            code: Some(Code::Internal),
            error,
        })
    }

    /// A call that the server has not processed, because it was closing the connection, is made again on
    /// the next one: gRPC's transparent retry (gRFC A6), which tonic leaves to its users. The first try may
    /// still find the old connection, so there are a few.
    async fn attempts(&self, trace: &Trace, deadline: Instant) -> Result<Response<InfoResponse>, Status> {
        for _ in 1..ATTEMPTS {
            match self.get_info(trace, deadline).await {
                Err(status) if was_not_processed(&status) => {}
                outcome => return outcome,
            }
        }
        self.get_info(trace, deadline).await
    }

    async fn get_info(&self, trace: &Trace, deadline: Instant) -> Result<Response<InfoResponse>, Status> {
        let info = InfoRequest { client: self.client.to_owned(), headers: HashMap::new() };
        let mut request = Request::new(info);
        trace_into(request.metadata_mut(), trace);
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        (self.get_info)(self.channel.clone(), request).await
    }
}

fn trace_into(metadata: &mut MetadataMap, trace: &Trace) {
    for (name, value) in trace.headers() {
        if let Some(value) = value.to_str().ok().and_then(|value| MetadataValue::try_from(value).ok()) {
            metadata.insert(name, value);
        }
    }
}

/// The callee's message, or what happened on the way to it with its causes.
fn message(status: &Status) -> String {
    let cause = status.source().map(chain).filter(|cause| !status.message().contains(cause.as_str()));
    match cause {
        Some(cause) if cause.contains(status.message()) => cause,
        Some(cause) => format!("{}: {cause}", status.message()),
        None => status.message().to_owned(),
    }
}

/// Whether the server cannot have acted on the call: it never left, or the server disowned its stream
/// (RFC 9113 section 8.7: GOAWAY with a lower stream id, or `REFUSED_STREAM`).
fn was_not_processed(status: &Status) -> bool {
    let error: &(dyn Error + 'static) = status;
    let never_left = cause::<hyper::Error>(error).is_some_and(hyper::Error::is_canceled);
    let disowned = cause::<h2::Error>(error).is_some_and(|error| {
        error.is_remote() && error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)
            || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
    });
    never_left || disowned
}

/// The HTTP status that says the same, by google.rpc.Code's table.
fn http_status(code: Code) -> u16 {
    match code {
        Code::Ok => 200,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Cancelled => 499,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
    }
}

/// The code as gRPC writes it: `PermissionDenied` is `PERMISSION_DENIED`.
fn constant(code: Code) -> String {
    let mut constant = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !constant.is_empty() {
            constant.push('_');
        }
        constant.push(letter.to_ascii_uppercase());
    }
    constant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_as_grpc_writes_them() {
        assert_eq!(constant(Code::PermissionDenied), "PERMISSION_DENIED");
        assert_eq!(constant(Code::Unavailable), "UNAVAILABLE");
    }
}
