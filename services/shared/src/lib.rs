//! What the workspace's services share. A service says what it is with [`Service`]; ports, probes, metrics,
//! logs, calls to others and shutdown are here.
//!
//! Reading order: [`service`] (what a service is), `serve` (its ports), `observe` (what happens around a
//! request), [`call`] (calls to other services), [`process`] (start and end).

mod accept;
mod admin;
pub mod answer;
mod asked;
pub mod call;
mod call_grpc;
mod call_http;
pub mod env;
mod grpc;
mod handover;
mod http;
mod log;
pub mod metrics;
mod observe;
pub mod process;
mod serve;
pub mod service;
pub mod trace;

pub use asked::Asked;
pub use call::Callee;
pub use serve::{DRAIN_TIMEOUT, Listeners};
pub use service::{Info, Service};
