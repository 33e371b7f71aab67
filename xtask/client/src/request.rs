//! What is asked of a client, and what it tells.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One request, as `call` and `smoke` send it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CallRequest {
    /// The identity; none for a client without a sidecar.
    pub service_account: Option<String>,
    /// The Service that is called.
    pub service: String,
    /// The Service's port, by number or name.
    pub port: String,
    /// With its leading slash.
    pub path: String,
    /// HTTP method; GET, or POST with data, when not said.
    pub method: Option<String>,
    /// Beside those that are sent anyway.
    pub headers: Vec<(String, String)>,
    /// Body; for gRPC the request message as JSON.
    pub data: Option<String>,
    /// How long one may take.
    pub timeout_ms: u64,
    /// How often.
    pub count: u32,
    /// Not more than this many are under way at once.
    pub concurrency: u32,
    /// The answers' bodies are wanted, all of them.
    #[serde(default)]
    pub keep: bool,
}

/// The answer of the last request, and the counts of all.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct CallAnswer {
    /// HTTP status; none when no answer came.
    pub status: Option<u16>,
    /// The code of gRPC.
    pub grpc_status: Option<i32>,
    /// Its message.
    pub grpc_message: Option<String>,
    /// The head's.
    pub headers: Vec<(String, String)>,
    /// Those after the body.
    pub trailers: Vec<(String, String)>,
    /// Text; the message as JSON for gRPC.
    pub body: String,
    /// Who answered.
    pub pod: Option<String>,
    /// Until the answer was whole.
    pub ms: f64,
    /// Why no answer came.
    pub error: Option<String>,
    /// With a count: how many answers each pod gave.
    pub pods: BTreeMap<String, u32>,
    /// With a count: how many requests ended with each outcome (`200`, `grpc 7`, `error`).
    pub outcomes: BTreeMap<String, u32>,
    /// When they were wanted: status and body of every answer, in the order in which they came. No status: why there
    /// was no answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<(Option<u16>, String)>,
}
