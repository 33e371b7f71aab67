//! The side of a session that other commands use: a client of the control socket.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{Method, Request};
use http_body_util::{BodyDataStream, BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

use super::{Lock, short_path};
use crate::error::{Exit, Fault};
use crate::report;
use crate::report::Event;
use crate::report::event::Exited;
use crate::runtime::fault::{FaultRequest, FaultState};
use crate::runtime::policy::{PolicyRequest, PolicyState};
use crate::runtime::stat::Stat;
use crate::runtime::top::{Top, TopRequest};
use crate::runtime::{CallAnswer, CallRequest, Evidence, Running, Status};
use crate::state::StateDir;

/// An environment that another process runs.
#[derive(Debug)]
pub struct Session {
    socket: PathBuf,
}

/// The running environment of a checkout; an error when there is none.
pub fn attach(state: &StateDir) -> Result<Session, Fault> {
    find(state).ok_or_else(nothing_is_up)
}

/// What a command says that needs something that is up.
pub fn nothing_is_up() -> Fault {
    Fault::environment("nothing is up in this checkout").hint("cargo xtask up")
}

/// The running environment of a checkout; none when nobody holds its lock.
pub fn find(state: &StateDir) -> Option<Session> {
    Lock::holder(state).map(|_| Session { socket: state.control_socket() })
}

impl Session {
    /// The good answer to a request; its body is still to come.
    async fn answer(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Incoming> {
        let stream = short_path(&self.socket).map(|(directory, path)| (directory, UnixStream::connect(path)));
        let unreachable = |error: std::io::Error| {
            Fault::environment(format!("the running `up` does not answer on its control socket: {error}"))
                .hint("it may be starting or stopping: try again, or end it with `cargo xtask down`")
        };
        let (_directory, connecting) = stream.map_err(unreachable)?;
        let io = TokioIo::new(connecting.await.map_err(unreachable)?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "xtask")
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let response = sender.send_request(request).await.map_err(|_| ended())?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let body = response.into_body().collect().await?.to_bytes();
        let refusal: Refusal = serde_json::from_slice(&body)
            .map_err(|_| Fault::failed(String::from_utf8_lossy(&body).into_owned()))?;
        Err(refusal.into_fault().into())
    }

    /// What happens from now on.
    pub async fn events(&self) -> anyhow::Result<BoxStream<'static, anyhow::Result<Event>>> {
        Ok(lines(self.answer(Method::GET, "/events/new", Bytes::new()).await?))
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<T> {
        let body = self.answer(method, path, body).await?.collect().await?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    }
}

fn ended() -> Fault {
    Fault::environment("the running `up` ended before it answered")
}

/// One object a line, as they come.
fn lines<T: DeserializeOwned + Send + 'static>(body: Incoming) -> BoxStream<'static, anyhow::Result<T>> {
    let bytes = BodyDataStream::new(body).map_err(std::io::Error::other);
    let lines = FramedRead::new(StreamReader::new(bytes), LinesCodec::new());
    // Cut off or at its end: there is no more.
    let whole = lines.take_while(|line| std::future::ready(line.is_ok()));
    whole.map(|line| Ok(serde_json::from_str(&line?)?)).boxed()
}

#[async_trait]
impl Running for Session {
    async fn status(&self) -> anyhow::Result<Status> {
        self.send(Method::GET, "/status", Bytes::new()).await
    }

    async fn call(&self, call: CallRequest) -> anyhow::Result<CallAnswer> {
        self.send(Method::POST, "/call", serde_json::to_vec(&call)?.into()).await
    }

    async fn policy(&self, request: PolicyRequest) -> anyhow::Result<PolicyState> {
        self.send(Method::POST, "/policy", serde_json::to_vec(&request)?.into()).await
    }

    async fn top(&self, request: TopRequest) -> anyhow::Result<BoxStream<'static, anyhow::Result<Top>>> {
        Ok(lines(self.answer(Method::POST, "/top", serde_json::to_vec(&request)?.into()).await?))
    }

    async fn fault(&self, request: FaultRequest) -> anyhow::Result<FaultState> {
        self.send(Method::POST, "/fault", serde_json::to_vec(&request)?.into()).await
    }

    async fn stat(&self, request: TopRequest) -> anyhow::Result<BoxStream<'static, anyhow::Result<Stat>>> {
        Ok(lines(self.answer(Method::POST, "/stat", serde_json::to_vec(&request)?.into()).await?))
    }

    async fn evidence(&self) -> anyhow::Result<Vec<Evidence>> {
        self.send(Method::GET, "/evidence", Bytes::new()).await
    }

    async fn stop(&self) -> anyhow::Result<Vec<Exited>> {
        self.send(Method::POST, "/stop", Bytes::new()).await
    }
}

/// An error on its way through the control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    message: String,
    hint: Option<String>,
    usage: bool,
}

impl Refusal {
    pub(super) fn of(error: &anyhow::Error) -> Self {
        let usage = Exit::of(error) == Exit::Usage;
        Self { message: report::message(error), hint: report::hint(error), usage }
    }

    fn into_fault(self) -> Fault {
        let fault = if self.usage { Fault::usage(self.message) } else { Fault::failed(self.message) };
        match self.hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    }
}
