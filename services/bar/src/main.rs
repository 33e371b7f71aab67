//! bar: asks baz, and reports what it got.

use std::process::ExitCode;

use proto::demo::{
    InfoRequest, InfoResponse,
    bar_server::{Bar, BarServer},
    baz_client::BazClient,
};
use shared::{Callee, Info, Service};
use tonic::{Request, Response, Status};

fn main() -> ExitCode {
    service().main()
}

pub(crate) fn service() -> Service {
    Service::new("bar")
        .calls(Callee::new("baz", "/foo/bar", |to, request| async {
            BazClient::new(to).get_info(request).await
        }))
        .grpc(|info| BarServer::new(Grpc(info)))
}

struct Grpc(Info);

#[tonic::async_trait]
impl Bar for Grpc {
    async fn get_info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        self.0.answer(request).await
    }
}
