//! baz: says who answered and what was asked.

use std::process::ExitCode;

use proto::demo::{
    InfoRequest, InfoResponse,
    baz_server::{Baz, BazServer},
};
use shared::{Info, Service};
use tonic::{Request, Response, Status};

fn main() -> ExitCode {
    service().main()
}

pub(crate) fn service() -> Service {
    Service::new("baz").grpc(|info| BazServer::new(Grpc(info)))
}

struct Grpc(Info);

#[tonic::async_trait]
impl Baz for Grpc {
    async fn get_info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        self.0.answer(request).await
    }
}
