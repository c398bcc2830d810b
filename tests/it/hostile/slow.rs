//! Slow clients are cut off. The tests take as long as the fixed limits.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::World;
use crate::support::client::Connection;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn a_body_that_stops_is_cut_off_and_its_upstream_connection_closes() {
    let mut world = World::new("").await;
    let mut client = TcpStream::connect(world.address())
        .await
        .expect("it listens");
    let part = b"POST /public/slow HTTP/1.1\r\nHost: a\r\nContent-Length: 41\r\n\r\nGET";
    client.write_all(part).await.expect("it reads");
    let mut answer = String::new();
    let reading = tokio::time::timeout(Duration::from_secs(90), client.read_to_string(&mut answer));
    let _ = reading.await.expect("it is cut off");
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("body_timeout"),
        "{answer}"
    );
    world
        .canary(&mut Connection::open(world.address()).await, "a slow body")
        .await;
    world.check_recorded().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute"]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let mut world = World::new("").await;
    // More than all buffers on the way hold.
    let length = 64 << 20;
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + length, b'x');
    world.recorder.script("/public/large", vec![answer]);
    let mut client = TcpStream::connect(world.address())
        .await
        .expect("it listens");
    client
        .write_all(b"GET /public/large HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("it reads");
    world.recorder.wait_for_ended(1).await;
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert!(rest.len() < length, "the answer broke off");
    world
        .canary(
            &mut Connection::open(world.address()).await,
            "a client that does not read",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute"]
async fn a_client_that_asks_on_and_on_and_never_reads_is_cut_off() {
    let mut world = World::new("").await;
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut client = socket.connect(world.address()).await.expect("it listens");
    // Without a token each request costs an answer, which the client does not read.
    let requests = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let writing = async {
        loop {
            if let Err(error) = client.write_all(&requests).await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(90), writing)
        .await
        .expect("it is cut off");
    let kind = error.kind();
    assert!(
        matches!(
            kind,
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
        ),
        "{kind}"
    );
    world
        .canary(
            &mut Connection::open(world.address()).await,
            "a client that never reads",
        )
        .await;
    world.check_recorded().await;
}
