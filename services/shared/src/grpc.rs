//! The gRPC port: the same answer as over HTTP, in a protobuf response, and reflection.

use std::sync::Arc;

use proto::{
    FILE_DESCRIPTOR_SET,
    demo::{InfoRequest, InfoResponse},
};
use tonic::{Request, Response, Status, service::Routes};
use tonic_reflection::server::{Builder, Error};
use tracing::debug;

use crate::{asked::Asked, service::Info};

impl Info {
    /// Answers a gRPC request: what every service's `GetInfo` does.
    ///
    /// # Errors
    /// `UNAVAILABLE` if a callee failed, with its name and its own status in the message.
    pub async fn answer(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let Some(asked) = request.extensions().get::<Arc<Asked>>().cloned() else {
            return Err(Status::internal("the request did not come through this crate's server"));
        };
        let InfoRequest { client, headers } = request.into_inner();
        debug!(client, ?headers, trace_id = %asked.trace.id, "asked by");
        let document = self.document(&asked).await;
        if let Some(error) = document.error {
            return Err(Status::unavailable(error));
        }
        let message = document.to_json();
        let headers = document.headers.into_iter().collect();
        Ok(Response::new(InfoResponse { message, hostname: document.hostname, headers, status: 200 }))
    }
}

/// Adds gRPC reflection of `services.proto`.
pub(crate) fn with_reflection(routes: Routes) -> Result<Routes, Error> {
    let reflection =
        Builder::configure().register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET).build_v1()?;
    Ok(routes.add_service(reflection))
}
