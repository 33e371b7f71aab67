//! Linkerd's authorization and routing policies: the model, and the engine that decides.
//!
//! Pure: objects in, verdicts out; no files, no sockets, no clock, no async. The mesh, `policy explain`, `check`
//! and `test` all ask this one engine. Its semantics are those of linkerd2's policy controller (2.20) and of
//! linkerd2-proxy (2.359), which are the authority where a comment here and they differ.
//!
//! The way through it: [`model`] objects -> [`inbound::Inbound::new`], once for each change -> the
//! [`inbound::PortPolicy`] of a port -> [`inbound::PortPolicy::decide`], once for each request. The chain that
//! leads to a verdict is [`inbound::Trace`], made by the same code.

pub mod access;
pub mod authz;
pub mod check;
pub mod cluster;
pub mod explain;
pub mod inbound;
pub mod label;
pub mod measure;
pub mod model;
pub mod nearest;
pub mod outbound;
pub mod rate_limit;
pub mod route;
pub mod sample;
