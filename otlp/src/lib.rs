//! Spans on their way to a person's own OpenTelemetry collector: who belongs to which trace ([`Context`]), what a span
//! says ([`Span`]), and how spans leave the process ([`Exporter`]): OTLP over HTTP, as JSON, which every collector takes
//! at `/v1/traces`. In place of OpenTelemetry's own crates, which are as large as all of the mesh's dependencies.

mod context;
mod encode;
mod export;
mod span;

pub use context::{Context, TRACEPARENT, random};
pub use encode::encode;
pub use export::{Counts, Endpoint, EndpointError, Exporter};
pub use span::{Kind, Resource, Span, Value};
