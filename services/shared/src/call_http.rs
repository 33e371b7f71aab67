//! Calls over HTTP/1.1, on connections that are kept for the next call.

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header::USER_AGENT, uri::PathAndQuery};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    answer::Document,
    call::{CALL_TIMEOUT, CONNECT_TIMEOUT, Callee, Failure, Origin, cause, chain, document},
    trace::Trace,
};

/// Shorter than what servers keep an idle connection for (this crate's 90 s, nginx's 75 s), so that it is
/// the client who closes it and no request meets a closing server.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
const LARGEST_ANSWER: usize = 1 << 20;

/// A callee over HTTP.
pub(crate) struct HttpClient {
    client: legacy::Client<HttpConnector, Empty<Bytes>>,
    uri: Uri,
    user_agent: HeaderValue,
}

impl HttpClient {
    pub(crate) fn new(callee: &Callee, at: &Uri, origin: &Origin) -> anyhow::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        let mut parts = at.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static(callee.path));
        let user_agent = HeaderValue::try_from(origin.user_agent())?;
        Ok(Self { client, uri: Uri::from_parts(parts)?, user_agent })
    }

    pub(crate) async fn call(&self, trace: &Trace, deadline: Instant) -> Result<Document, Failure> {
        let asked = Instant::now();
        timeout_at(deadline, self.attempts(trace)).await.unwrap_or_else(|_| {
            let waited = (deadline - asked).min(CALL_TIMEOUT);
            Err(Failure { status: 504, code: None, error: format!("no answer within {waited:.1?}") })
        })
    }

    /// A kept connection may be closing as the request is sent. Then a GET may be sent again (RFC 9110
    /// section 9.2.2), once: the second connection is most likely a new one.
    async fn attempts(&self, trace: &Trace) -> Result<Document, Failure> {
        let response = match self.get(trace).await {
            Err(error) if met_a_closing_connection(&error) => self.get(trace).await,
            outcome => outcome,
        };
        let response =
            response.map_err(|error| Failure { status: 503, code: None, error: cannot_reach(&error) })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await.map_err(|error| {
            Failure { status: 502, code: None, error: format!("the answer broke off: {}", chain(&*error)) }
        })?;
        let answer = document(&body.to_bytes());
        if status.is_success() {
            return answer.map_err(|error| Failure { status: 502, code: None, error });
        }
        // A service of this workspace says why; others (a proxy) have a status only.
        let why = answer.ok().and_then(|document| document.error).map(|why| format!(": {why}"));
        let error = format!("http {status}{}", why.unwrap_or_default());
        Err(Failure { status: status.as_u16(), code: None, error })
    }

    async fn get(&self, trace: &Trace) -> Result<Response<Incoming>, legacy::Error> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().insert(USER_AGENT, self.user_agent.clone());
        request
            .headers_mut()
            .extend(trace.headers().map(|(name, value)| (http::HeaderName::from_static(name), value)));
        self.client.request(request).await
    }
}

/// hyper-util's own text names its phase only; the causes say what happened.
fn cannot_reach(error: &legacy::Error) -> String {
    let cause = error.source().map_or_else(|| error.to_string(), chain);
    if error.is_connect() { format!("cannot connect: {cause}") } else { cause }
}

fn met_a_closing_connection(error: &legacy::Error) -> bool {
    let error: &(dyn Error + 'static) = error;
    let closed = cause::<hyper::Error>(error)
        .is_some_and(|error| error.is_incomplete_message() || error.is_canceled() || error.is_closed());
    let reset = cause::<io::Error>(error).is_some_and(|error| {
        matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    });
    closed || reset
}
