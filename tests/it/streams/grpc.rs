//! gRPC streams of HTTP/2 clients.

use bytes::Bytes;

use super::*;

const GRPC: &str = "Content-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n";

/// Opens a gRPC stream whose response begins with these bytes.
async fn open(world: &World, part: &[u8]) -> (h2::RecvStream, Wire<Stream>) {
    let tcp = TcpStream::connect(world.sidecar.address("api"))
        .await
        .unwrap();
    let (client, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://a/pkg.Service/Watch")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {}", world.token()))
        .body(())
        .unwrap();
    let mut client = client.ready().await.unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let (_, mut server) = world.upstream.asked().await;
    let size = format!("{:x}\r\n", part.len());
    let head = format!("HTTP/1.1 200 OK\r\n{GRPC}\r\n{size}");
    send(&mut server, [head.as_bytes(), part, b"\r\n"].concat()).await;
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut received = Vec::new();
    while received.len() < part.len() {
        let data: Bytes = body.data().await.unwrap().unwrap();
        received.extend(data);
    }
    assert_eq!(received, part);
    (body, server)
}

const MESSAGE: &[u8] = &[0, 0, 0, 0, 3, b'a', b'b', b'c'];

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_stream_ends_with_unauthenticated_between_two_messages() {
    let world = world("revocation: none").await;
    let (mut body, _server) = open(&world, MESSAGE).await;
    world.clock.forward(HOUR);
    let began = Instant::now();
    assert!(body.data().await.is_none());
    let trailers = body.trailers().await.unwrap().expect("trailers");
    assert_eq!(trailers["grpc-status"], "16");
    assert_eq!(trailers["grpc-message"], "The token's `exp` has passed.");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_stream_within_a_message_is_reset() {
    let world = world("revocation: none").await;
    let (mut body, _server) = open(&world, &MESSAGE[..6]).await;
    world.clock.forward(HOUR);
    let error = body.data().await.expect("an end").expect_err("a reset");
    assert!(error.is_reset(), "{error:?}");
}
