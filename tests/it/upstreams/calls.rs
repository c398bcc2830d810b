//! Upstreams that reset the stream of a gRPC call.

use std::net::SocketAddr;

use h2::Reason;
use tokio::net::TcpStream;

use super::goaway::{frame, upstream, url};
use super::sidecar;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
/// A message of no bytes.
const MESSAGE: &[u8] = &[0; 5];

/// `200` with the media type of gRPC, and a part of the body.
fn begun(stream: u32, part: &[u8]) -> Vec<u8> {
    let head = [&[0x88, 0x0f, 0x10, 16][..], b"application/grpc"].concat();
    let head = frame(HEADERS, 4, stream, &head);
    [head, frame(DATA, 0, stream, part)].concat()
}

/// The end of a call, at its client.
#[derive(Debug, PartialEq)]
enum End {
    /// A response of trailers only, with this status.
    Refused(String),
    /// Trailers with this status.
    Status(String),
    Reset(Reason),
}

async fn call(address: SocketAddr, timeout: Option<&str>) -> End {
    let tcp = TcpStream::connect(address).await.expect("a listener");
    let (client, connection) = h2::client::handshake(tcp).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut request = http::Request::post("http://a/pkg.Service/Get")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(timeout) = timeout {
        request = request.header("grpc-timeout", timeout);
    }
    let request = request.body(()).expect("a request");
    let mut client = client.ready().await.expect("a connection");
    let (response, _) = client.send_request(request, true).expect("sent");
    let response = response.await.expect("a response");
    let text = |status: &http::HeaderValue| status.to_str().expect("a number").to_owned();
    if let Some(status) = response.headers().get("grpc-status") {
        return End::Refused(text(status));
    }
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        if let Err(error) = data {
            return End::Reset(error.reason().expect("a reset"));
        }
    }
    let trailers = body.trailers().await.expect("an end").expect("trailers");
    End::Status(text(&trailers["grpc-status"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_its_service_resets_ends_as_grpc_says() {
    // The deadline of the second has passed when the service resets it.
    let (none, passed) = (None, Some("1n"));
    let status = |code: &str| End::Status(code.to_owned());
    let refused = |code: &str| End::Refused(code.to_owned());
    for (part, code, timeout, end) in [
        (
            Some(MESSAGE),
            Reason::CANCEL,
            none,
            End::Reset(Reason::CANCEL),
        ),
        (Some(MESSAGE), Reason::CANCEL, passed, status("4")),
        (
            Some(&MESSAGE[..3]),
            Reason::CANCEL,
            passed,
            End::Reset(Reason::CANCEL),
        ),
        (
            Some(MESSAGE),
            Reason::ENHANCE_YOUR_CALM,
            none,
            End::Reset(Reason::ENHANCE_YOUR_CALM),
        ),
        // A response has begun, so the call must not be sent again.
        (
            Some(MESSAGE),
            Reason::REFUSED_STREAM,
            none,
            End::Reset(Reason::INTERNAL_ERROR),
        ),
        (None, Reason::CANCEL, none, refused("14")),
        (None, Reason::CANCEL, passed, refused("4")),
    ] {
        let (server, _) = upstream(move |_, id| {
            let reset = frame(RST_STREAM, 0, id, &u32::from(code).to_be_bytes());
            let begun = part.map(|part| begun(id, part));
            Some([begun.unwrap_or_default(), reset].concat())
        });
        let sidecar = sidecar(&url(&server), "").await;
        let ended = call(sidecar.address("api"), timeout).await;
        assert_eq!(ended, end, "{part:?} {code:?} {timeout:?}");
    }
}
