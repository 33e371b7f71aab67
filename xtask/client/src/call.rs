//! `call`: real requests over one client, as the services make them, and what came of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, TE, USER_AGENT};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::body::Body;

use crate::connect::{Client, causes};
use crate::grpc::{self, Messages};
use crate::{CallAnswer, CallError, CallRequest};

/// How the called Service is reached.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The Service's address, or the listener for it of the client's sidecar.
    pub address: SocketAddr,
    /// What the client calls it: `baz.default.svc.cluster.local:9090`.
    pub authority: String,
    /// It is a gRPC call: see [`is_grpc`].
    pub grpc: bool,
    /// Where the server is asked for its descriptors: past the sidecars, so that policies decide on the call alone and
    /// nothing but the call is observed. None: where it is called.
    pub reflection: Option<SocketAddr>,
}

/// How many answers each pod gave to the call, as the client's sidecar saw it.
pub type Witness<'a> = &'a (dyn Fn() -> BTreeMap<String, u32> + Sync);

/// Whether a call of `path` on a Service's port is one of gRPC: the port says that it speaks it (its name, or
/// `appProtocol`) and the path is like `/pkg.Service/Method`.
pub fn is_grpc(name: Option<&str>, app_protocol: Option<&str>, path: &str) -> bool {
    let named = name.is_some_and(|name| name == "grpc" || name.starts_with("grpc-"));
    let speaks = matches!(app_protocol, Some("grpc" | "kubernetes.io/h2c"));
    (named || speaks) && grpc::split_path(path).is_some()
}

/// Sends what was asked for, `concurrency` at once, over kept HTTP/1.1 connections or one of HTTP/2 for
/// gRPC. A request without an answer is part of the result. Who answered is taken from the answers'
/// `hostname`, else from `witness`.
///
/// Errors: what cannot be sent: a malformed header or method, gRPC data without the server's descriptors.
pub async fn call(
    asked: &CallRequest,
    reach: &Reach,
    witness: Option<Witness<'_>>,
) -> Result<CallAnswer, CallError> {
    let timeout = Duration::from_millis(asked.timeout_ms.max(1));
    let client = Client::new(reach.address, reach.grpc);
    let described = reach.reflection.map_or_else(|| client.clone(), |address| Client::new(address, true));
    let messages = Messages::new(described, &reach.authority, &asked.path, timeout);
    let call = Arc::new(Call {
        template: template(asked, reach, &messages, timeout).await?,
        grpc: reach.grpc,
        address: reach.address,
        authority: reach.authority.clone(),
        client,
        messages,
        timeout,
        next: AtomicU32::new(0),
        count: asked.count.max(1),
        keep: asked.keep,
    });
    let mut workers = JoinSet::new();
    for _ in 0..asked.concurrency.clamp(1, call.count) {
        workers.spawn(Arc::clone(&call).work());
    }
    let mut tally = Tally::default();
    while let Some(work) = workers.join_next().await {
        // Nothing aborts them, and a panic in one goes on here.
        tally.add(work.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
    }
    Ok(tally.answer(call.count, witness))
}

/// A request's head and body: the same every time.
struct Template {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

async fn template(
    asked: &CallRequest,
    reach: &Reach,
    messages: &Messages,
    timeout: Duration,
) -> Result<Template, CallError> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(reach.authority.as_str())
        .path_and_query(asked.path.as_str())
        .build()
        .map_err(|error| {
            CallError::Usage(format!("cannot call `{}{}`: {error}", reach.authority, asked.path))
        })?;
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static("cargo-xtask"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    let (default, body) = if reach.grpc {
        headers.remove(ACCEPT);
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        // At most eight digits (gRPC over HTTP/2, Timeout).
        let timeout = timeout.as_millis().min(99_999_999);
        if let Ok(timeout) = HeaderValue::try_from(format!("{timeout}m")) {
            headers.insert("grpc-timeout", timeout);
        }
        let message = match asked.data.as_deref().map(str::trim) {
            // The empty message of every type.
            None | Some("" | "{}") => Bytes::new(),
            Some(json) => messages.encode(json).await?,
        };
        (Method::POST, grpc::frame(&message))
    } else {
        let data = asked.data.as_deref();
        if data.is_some_and(|data| serde_json::from_str::<serde::de::IgnoredAny>(data).is_ok()) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let method = if data.is_some() { Method::POST } else { Method::GET };
        (method, Bytes::from(data.unwrap_or_default().to_owned()))
    };
    let method = match &asked.method {
        Some(method) => {
            method.parse().map_err(|_| CallError::Usage(format!("`{method}` is no HTTP method")))?
        }
        None => default,
    };
    let mut given = HeaderMap::new();
    for (name, value) in &asked.headers {
        let wrong = |_| CallError::Usage(format!("`{name}: {value}` is no header"));
        let name = name.parse::<HeaderName>().map_err(|error| wrong(error.to_string()))?;
        given.append(name, HeaderValue::from_str(value).map_err(|error| wrong(error.to_string()))?);
    }
    // What the user gives goes in place of what is sent anyway.
    headers.extend(given);
    Ok(Template { method, uri, headers, body })
}

struct Call {
    template: Template,
    grpc: bool,
    address: SocketAddr,
    authority: String,
    client: Client,
    messages: Messages,
    timeout: Duration,
    /// The number of the next request.
    next: AtomicU32,
    count: u32,
    keep: bool,
}

impl Call {
    /// Sends requests one after the other while there are any; the tally of them.
    async fn work(self: Arc<Self>) -> Tally {
        let mut tally = Tally::default();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count {
                return tally;
            }
            let started = Instant::now();
            let sent = tokio::time::timeout(self.timeout, self.send()).await;
            let mut answer = sent.unwrap_or_else(|_| CallAnswer {
                error: Some(format!("no answer within {:?}", self.timeout)),
                ..CallAnswer::default()
            });
            answer.ms = started.elapsed().as_secs_f64() * 1000.0;
            tally.one(number, answer, self.keep);
        }
    }

    async fn send(&self) -> CallAnswer {
        let Template { method, uri, headers, body } = &self.template;
        let mut request = Request::new(Body::new(Full::new(body.clone())));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        let failed = |why: &str| Some(format!("{} at {}: {why}", self.authority, self.address));
        let (head, body) = match self.client.request(request).await {
            Ok(response) => response.into_parts(),
            Err(error) => {
                let error = failed(&self.client.why(&error));
                return CallAnswer { error, ..CallAnswer::default() };
            }
        };
        let mut answer = CallAnswer {
            status: Some(head.status.as_u16()),
            headers: pairs(&head.headers),
            ..CallAnswer::default()
        };
        let mut trailers = HeaderMap::new();
        let data = match body.collect().await {
            Ok(body) => {
                trailers = body.trailers().cloned().unwrap_or_default();
                body.to_bytes()
            }
            Err(error) => {
                answer.error = failed(&causes(&error));
                Bytes::new()
            }
        };
        answer.trailers = pairs(&trailers);
        // An answer without messages has its status in the headers ("trailers-only").
        let status = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status"));
        answer.grpc_status = status.and_then(|value| value.to_str().ok()?.parse().ok());
        let message = trailers.get("grpc-message").or_else(|| head.headers.get("grpc-message"));
        answer.grpc_message = message.map(grpc::decode_message);
        let is_grpc =
            head.headers.get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"));
        answer.body = if self.grpc && is_grpc {
            self.messages.decode(&data).await
        } else {
            String::from_utf8_lossy(&data).into_owned()
        };
        answer.pod = hostname(&answer.body);
        answer
    }
}

/// Who answered, if the answer's body is JSON that says so.
fn hostname(body: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        hostname: String,
    }
    let first = serde_json::Deserializer::from_str(body).into_iter::<Named>().next()?;
    first.ok().map(|named| named.hostname).filter(|name| !name.is_empty())
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// How a request ended, in a word: an HTTP status, `grpc 7`, or `error`.
pub fn outcome(answer: &CallAnswer) -> String {
    match (&answer.error, answer.grpc_status, answer.status) {
        (None, Some(code), _) => format!("grpc {code}"),
        (None, None, Some(status)) => status.to_string(),
        _ => "error".to_owned(),
    }
}

/// What came of the requests so far.
#[derive(Default)]
struct Tally {
    /// The request with the highest number.
    last: Option<(u32, CallAnswer)>,
    pods: BTreeMap<String, u32>,
    outcomes: BTreeMap<String, u32>,
    kept: Vec<(Option<u16>, String)>,
}

impl Tally {
    fn one(&mut self, number: u32, answer: CallAnswer, keep: bool) {
        if keep {
            let text = answer.error.as_ref().unwrap_or(&answer.body);
            self.kept.push((answer.status.filter(|_| answer.error.is_none()), text.clone()));
        }
        *self.outcomes.entry(outcome(&answer)).or_default() += 1;
        if let Some(pod) = &answer.pod {
            *self.pods.entry(pod.clone()).or_default() += 1;
        }
        self.keep(number, answer);
    }

    fn keep(&mut self, number: u32, answer: CallAnswer) {
        if self.last.as_ref().is_none_or(|(last, _)| *last < number) {
            self.last = Some((number, answer));
        }
    }

    fn add(&mut self, other: Self) {
        for (all, some) in [(&mut self.pods, other.pods), (&mut self.outcomes, other.outcomes)] {
            for (name, count) in some {
                *all.entry(name).or_default() += count;
            }
        }
        self.kept.extend(other.kept);
        if let Some((number, answer)) = other.last {
            self.keep(number, answer);
        }
    }

    fn answer(self, count: u32, witness: Option<Witness<'_>>) -> CallAnswer {
        let (_, mut answer) = self.last.unwrap_or_default();
        let mut pods = self.pods;
        if pods.is_empty()
            && let Some(witness) = witness
        {
            pods = witness();
            if pods.len() == 1 {
                answer.pod = pods.keys().next().cloned();
            }
        }
        answer.kept = self.kept;
        if count > 1 {
            answer.pods = pods;
            answer.outcomes = self.outcomes;
        }
        answer
    }
}

/// The gRPC code of an answer, by name: `PERMISSION_DENIED`.
pub fn code_name(code: i32) -> String {
    let mut name = String::new();
    for letter in format!("{:?}", Code::from_i32(code)).chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
#[path = "call_test.rs"]
mod tests;
