//! Real requests over one client, as the services make them, and what came of them: HTTP, and gRPC with messages as
//! JSON. `xtask` sends them itself on its own runtime; in a cluster, the program of this crate does, in a pod with
//! the identity that was asked for.

mod call;
mod connect;
mod grpc;
mod request;

pub use call::{Reach, Witness, call, code_name, is_grpc, outcome};
pub use request::{CallAnswer, CallRequest};

/// What cannot be sent. A request that gets no answer is no error: it is part of the answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// A malformed header, method or message.
    #[error("{0}")]
    Usage(String),
    /// gRPC data without the server's descriptors: why there are none.
    #[error("cannot make a message of the data: {0}")]
    NoDescriptors(String),
}
