//! Probes, health, metrics and reflection.

#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(clippy::disallowed_names, reason = "foo, bar and baz are the services' names")]

mod world;

use http::StatusCode;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_stream::StreamExt;
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use world::{World, baz, get, start};

#[tokio::test]
async fn readiness_ends_when_draining_begins_and_liveness_does_not() {
    let baz = start(baz::service(), &[]).await;
    assert_eq!(get(baz.admin, "/livez", &[]).await.0, StatusCode::OK);
    assert_eq!(get(baz.admin, "/readyz", &[]).await.0, StatusCode::OK);
    let channel = Endpoint::from_shared(format!("http://{}", baz.admin)).unwrap().connect_lazy();
    let mut health = HealthClient::new(channel);
    let watch = HealthCheckRequest { service: "demo.Baz".to_owned() };
    let mut changes = health.watch(watch).await.unwrap().into_inner();
    assert_eq!(changes.next().await.unwrap().unwrap().status(), ServingStatus::Serving);

    // A request that is not complete holds the drain, and with it the admin port.
    let mut open = TcpStream::connect(baz.http).await.unwrap();
    open.write_all(b"POST / HTTP/1.1\r\nhost: baz\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n")
        .await
        .unwrap();
    open.readable().await.unwrap();
    baz.shut_down();

    assert_eq!(changes.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let (status, text) = get(baz.admin, "/readyz", &[]).await;
    assert_eq!((status, text.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "draining\n"));
    assert_eq!(get(baz.admin, "/livez", &[]).await.0, StatusCode::OK);
    open.write_all(b"x").await.unwrap();
    baz.ended().await;
}

#[tokio::test]
async fn health_is_told_of_the_process_and_of_its_service_only() {
    let baz = start(baz::service(), &[]).await;
    let channel = Endpoint::from_shared(format!("http://{}", baz.admin)).unwrap().connect_lazy();
    let mut health = HealthClient::new(channel);
    for service in ["", "demo.Baz"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status(), ServingStatus::Serving);
    }
    let request = HealthCheckRequest { service: "demo.Foo".to_owned() };
    assert_eq!(health.check(request.clone()).await.unwrap_err().code(), Code::NotFound);
    // Not on the port that policies cover.
    let status = HealthClient::new(baz.channel()).check(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn metrics_count_by_template_and_never_by_what_a_client_wrote() {
    for use_grpc in [false, true] {
        let world = World::start(use_grpc).await;
        for path in ["/", "/secret-1", "/secret-2?x=1"] {
            get(world.foo.http, path, &[]).await;
        }
        let mut unknown = tonic::client::Grpc::new(world.foo.channel());
        unknown.ready().await.unwrap();
        let codec = tonic_health_codec();
        let path = http::uri::PathAndQuery::from_static("/demo.Foo/Secret");
        let status = unknown.unary(tonic::Request::new(HealthCheckRequest::default()), path, codec).await;
        assert_eq!(status.unwrap_err().code(), Code::Unimplemented);

        let (status, text) = get(world.foo.admin, "/metrics", &[]).await;
        assert_eq!(status, StatusCode::OK);
        for line in [
            r#"server_requests_total{protocol="http",method="GET",path="/*",status="200"} 3"#.to_owned(),
            r#"server_requests_total{protocol="grpc",method="POST",path="other",status="12"} 1"#.to_owned(),
            format!(
                r#"client_requests_total{{callee="bar",protocol="{}",status="{}"}} 3"#,
                if use_grpc { "grpc" } else { "http" },
                if use_grpc { 0 } else { 200 }
            ),
        ] {
            assert!(text.contains(&line), "{line}\nis not in\n{text}");
        }
        assert!(!text.to_lowercase().contains("secret"), "{text}");
    }
}

fn tonic_health_codec()
-> impl tonic::codec::Codec<Encode = HealthCheckRequest, Decode = tonic_health::pb::HealthCheckResponse> {
    tonic_prost::ProstCodec::default()
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let baz = start(baz::service(), &[]).await;
    let mut client = ServerReflectionClient::new(baz.channel());
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"demo.Baz".to_owned()), "{names:?}");
}

#[tokio::test]
async fn unknown_admin_paths_are_not_found() {
    let baz = start(baz::service(), &[]).await;
    assert_eq!(get(baz.admin, "/nothing", &[]).await.0, StatusCode::NOT_FOUND);
}
