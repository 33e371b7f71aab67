//! The local data plane: a sidecar before and behind each pod, as Linkerd's proxy is.
//!
//! Each pod has a loopback address of its own. A [`Sidecar`] listens there for the pod's declared ports, ends
//! mutual TLS, has the policy engine decide and forwards to the application, which listens on an address that
//! nothing else is told. For each (Service, port) the application calls, the sidecar offers a listener on that
//! hidden address, and balances what arrives, request by request, over the Service's endpoints.
//!
//! Semantics follow linkerd2-proxy 2.359; where one is surprising, the comment beside it says so.

mod admin;
mod body;
mod calls;
mod conn;
mod context;
mod detect;
mod drain;
mod error;
pub mod fault;
mod identity;
mod inbound;
mod issuer;
pub mod measure;
mod metrics;
mod observe;
mod outbound;
mod record;
mod respond;
mod settings;
mod sidecar;
mod spec;
mod tally;
mod tls;
mod trace;

pub use calls::{Call, Calls, Counted, Counting, Party};
pub use detect::{Protocol, detect_protocol};
pub use error::MeshError;
pub use identity::Identity;
pub use inbound::FAULT_HEADER;
pub use issuer::Issuer;
pub use observe::{Observer, Pod, Seen};
pub use outbound::TimedOut;
pub use record::{Decision, Direction, Record, RecordSource};
pub use settings::{
    FailureAccrual, GrpcCondition, OutboundSettings, Retry, RetryOn, SettingsError, StatusRange, Timeouts,
};
pub use sidecar::Sidecar;
pub use spec::{Endpoint, Resolve, SidecarSpec, Target, Workload};
pub use tally::Tally;
