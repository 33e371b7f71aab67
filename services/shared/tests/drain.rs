//! Shutdown loses no request that arrived.

#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(clippy::disallowed_names, reason = "foo, bar and baz are the services' names")]

mod world;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use world::{Running, bar, baz, bind, start};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
const EMPTY_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// Reads until the server closes.
async fn to_end(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn what_waits_to_be_accepted_is_answered() {
    let bound = bind(baz::service(), &[]).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = TcpStream::connect(bound.http()).await.unwrap();
        client.write_all(GET).await.unwrap();
        clients.push(client);
    }
    // Nothing has been accepted yet, and nothing will be before shutdown begins.
    let running = bound.serve();
    running.shut_down();
    for client in &mut clients {
        let answer = to_end(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
    running.ended().await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_and_the_connection_closed() {
    // Stands for baz, and answers when told to.
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bar = start(bar::service(), &[("BAZ_HTTP_URL", slow.local_addr().unwrap().to_string())]).await;
    let mut client = TcpStream::connect(bar.http).await.unwrap();
    client.write_all(GET).await.unwrap();
    let (mut asked, _) = slow.accept().await.unwrap();
    bar.shut_down();
    closed(bar.http).await;
    asked.write_all(EMPTY_ANSWER).await.unwrap();
    let answer = to_end(&mut client).await;
    // Not a document, which is bar's to say: what counts is that it was said.
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    assert!(answer.contains("the answer is not a document"), "{answer}");
    bar.ended().await;
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_process() {
    let baz = start(baz::service(), &[]).await;
    let mut silent = TcpStream::connect(baz.http).await.unwrap();
    let mut idle = TcpStream::connect(baz.http).await.unwrap();
    idle.write_all(GET).await.unwrap();
    idle.readable().await.unwrap();
    let grpc = TcpStream::connect(baz.grpc).await.unwrap();
    baz.shut_down();
    baz.ended().await;
    assert!(to_end(&mut idle).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(to_end(&mut silent).await, "");
    drop(grpc);
}

#[tokio::test]
async fn a_request_that_never_completes_does_not_hold_the_process_for_good() {
    let baz = start(baz::service(), &[]).await;
    let mut client = TcpStream::connect(baz.http).await.unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: baz\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n")
        .await
        .unwrap();
    client.readable().await.unwrap();
    baz.shut_down();
    baz.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_with_kept_http_connections_lose_nothing() {
    let baz = start(baz::service(), &[]).await;
    let mut clients = JoinSet::new();
    let (answered, mut answers) = mpsc::channel(1);
    for _ in 0..8 {
        let (at, answered) = (baz.http, answered.clone());
        clients.spawn(async move {
            let mut stream = TcpStream::connect(at).await.unwrap();
            loop {
                stream.write_all(GET).await.unwrap();
                let (head, _) = one_answer(&mut stream).await;
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head:?}");
                let _ = answered.try_send(());
                if head.contains("connection: close\r\n") {
                    return;
                }
            }
        });
    }
    for _ in 0..200 {
        answers.recv().await.unwrap();
    }
    baz.shut_down();
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    baz.ended().await;
}

/// A Service's address: each connection goes to the pod that is current then.
async fn vip(current: watch::Receiver<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut pod = loop {
                let address = *current.borrow();
                // Refused: it has ended between the two lines, so there is a new one.
                if let Ok(pod) = TcpStream::connect(address).await {
                    break pod;
                }
            };
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut pod).await });
        }
    });
    address
}

/// bar is asked without a pause while one baz after the other takes over.
async fn a_rollout_of_baz(use_grpc: bool) {
    let mut baz = start(baz::service(), &[]).await;
    let address = |baz: &Running| if use_grpc { baz.grpc } else { baz.http };
    let (current, now) = watch::channel(address(&baz));
    let at = vip(now).await.to_string();
    let vars = [("USE_GRPC", use_grpc.to_string()), ("BAZ_HTTP_URL", at.clone()), ("BAZ_GRPC_URL", at)];
    let bar = start(bar::service(), &vars).await;
    let stop = CancellationToken::new();
    let (answered, mut answers) = mpsc::channel(1);
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (at, stop, answered) = (bar.http, stop.clone(), answered.clone());
        clients.spawn(async move {
            let mut stream = TcpStream::connect(at).await.unwrap();
            while !stop.is_cancelled() {
                stream.write_all(GET).await.unwrap();
                let (head, body) = one_answer(&mut stream).await;
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{body}");
                let _ = answered.try_send(());
            }
        });
    }
    for _ in 0..10 {
        for _ in 0..50 {
            answers.recv().await.unwrap();
        }
        let next = start(baz::service(), &[]).await;
        current.send(address(&next)).unwrap();
        baz.shut_down();
        baz.ended().await;
        baz = next;
    }
    stop.cancel();
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_of_a_callee_costs_no_call_over_http() {
    a_rollout_of_baz(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_of_a_callee_costs_no_call_over_grpc() {
    a_rollout_of_baz(true).await;
}

/// Reads one answer with a length: its head and its body.
async fn one_answer(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// Waits until nobody listens there any more.
async fn closed(at: SocketAddr) {
    let refused = async {
        while TcpStream::connect(at).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), refused).await.unwrap();
}
