//! foo: asks bar and baz at the same time, and reports what it got.

use std::process::ExitCode;

use proto::demo::{
    InfoRequest, InfoResponse,
    bar_client::BarClient,
    baz_client::BazClient,
    foo_server::{Foo, FooServer},
};
use shared::{Callee, Info, Service};
use tonic::{Request, Response, Status};

fn main() -> ExitCode {
    service().main()
}

pub(crate) fn service() -> Service {
    Service::new("foo")
        .calls(Callee::new("bar", "/", |to, request| async { BarClient::new(to).get_info(request).await }))
        .calls(Callee::new("baz", "/", |to, request| async { BazClient::new(to).get_info(request).await }))
        .grpc(|info| FooServer::new(Grpc(info)))
}

struct Grpc(Info);

#[tonic::async_trait]
impl Foo for Grpc {
    async fn get_info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        self.0.answer(request).await
    }
}
