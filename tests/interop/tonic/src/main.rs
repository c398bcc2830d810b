//! A client and a server of tonic on both sides of the sidecar: each kind of call, at an inbound
//! listener in plain text and over TLS, and through an outbound one.
//!
//! Arguments: the sidecar's binary and an empty directory.

mod codec;
mod service;
mod sidecar;

/// The generated client and server.
#[allow(clippy::all)]
mod test {
    include!(concat!(env!("OUT_DIR"), "/test.Service.rs"));
}

use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codec::CompressionEncoding::Gzip;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Server};
use tonic::{Code, Request, Status};

use self::service::TestService;
use self::sidecar::Sidecar;
use self::test::service_client::ServiceClient;
use self::test::service_server::ServiceServer;

const LARGE: usize = 16 * 1024 * 1024;
const SOON: Duration = Duration::from_secs(10);

type Client = ServiceClient<Channel>;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, binary, data] = &arguments[..] else {
        panic!("the arguments are the sidecar's binary and an empty directory");
    };
    let service = TestService::default();
    let abandoned = service.abandoned.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let server = ServiceServer::new(service)
        .accept_compressed(Gzip)
        .send_compressed(Gzip)
        .max_decoding_message_size(LARGE + 1024);
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(
        Server::builder()
            .add_service(server)
            .serve_with_incoming(incoming),
    );

    let sidecar = Sidecar::start(binary, data, port).expect("a sidecar");
    let plain = |port: u16| Endpoint::try_from(format!("http://127.0.0.1:{port}")).expect("a URL");
    let trusted = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&sidecar.trusted));
    let tls = Endpoint::try_from(format!("https://localhost:{}", sidecar.tls)).expect("a URL");
    let tls = tls.tls_config(trusted).expect("a certificate");
    for (way, endpoint, has_token) in [
        ("inbound", plain(sidecar.plain), false),
        ("inbound over TLS", tls, false),
        ("outbound and inbound", plain(sidecar.outbound), true),
    ] {
        let channel = endpoint.connect().await.expect("a listener");
        let mut client = ServiceClient::new(channel).max_decoding_message_size(LARGE + 1024);
        single(&mut client).await;
        let mut zipping = client.clone().send_compressed(Gzip).accept_compressed(Gzip);
        single(&mut zipping).await;
        streams(&mut client).await;
        streams(&mut zipping).await;
        ends(&mut client, &abandoned).await;
        if has_token {
            permitted(&mut client).await;
        } else {
            refused(&mut client).await;
        }
        println!("tonic: {way}: ok");
    }
}

/// Calls with one message each way.
async fn single(client: &mut Client) {
    let noise = (0..LARGE).map(|at| (at * at % 251) as u8);
    for message in [Bytes::new(), "z".repeat(100_000).into(), noise.collect()] {
        let reply = client.echo(message.clone()).await.expect("a reply");
        assert!(reply.into_inner() == message, "{} bytes", message.len());
    }
    let status = client.fail(Bytes::new()).await.expect_err("a status");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message(), "no: 100 % \u{e9}");
    assert_eq!(status.details(), [0, 1, 255]);
    let detail = status.metadata().get("x-detail");
    assert_eq!(detail.expect("a detail"), "of the service");
}

async fn streams(client: &mut Client) {
    let counted = client.count(Bytes::from_static(&[200])).await;
    let mut counted = counted.expect("a stream").into_inner();
    for number in 0..200 {
        let message = counted.message().await.expect("a message");
        assert_eq!(message.expect("a number")[..], [number]);
    }
    assert_eq!(counted.message().await.expect("an end"), None);

    let parts: Vec<Bytes> = (0..200_u8)
        .map(|number| vec![number; 1000].into())
        .collect();
    let sum = client.sum(tokio_stream::iter(parts.clone())).await;
    assert_eq!(sum.expect("a reply").into_inner(), parts.concat());

    // Each message waits for the reply to the one before, so both directions are open at once.
    let (sender, messages) = mpsc::channel(1);
    let meeting = client.meet(ReceiverStream::new(messages)).await;
    let mut meeting = meeting.expect("a stream").into_inner();
    for number in 100..150 {
        let message = Bytes::from(format!("{number}:"));
        sender.send(message).await.expect("open");
        let reply = meeting.message().await.expect("a message");
        let expected: String = format!("{number}:").chars().rev().collect();
        assert_eq!(reply.expect("a reply"), expected);
    }
    drop(sender);
    assert_eq!(meeting.message().await.expect("an end"), None);
}

/// Calls that their client ends, by cancelling and by a deadline.
async fn ends(client: &mut Client, abandoned: &Notify) {
    let watched = client.watch(Bytes::new()).await;
    let mut watched = watched.expect("a stream").into_inner();
    let begun = watched.message().await.expect("a message");
    assert_eq!(begun.expect("a message"), "begun");
    drop(watched);
    let told = timeout(SOON, abandoned.notified()).await;
    told.expect("the service is told of the cancelled stream");

    let mut request = Request::new(Bytes::new());
    request.set_timeout(Duration::from_millis(500));
    let status = client.hang(request).await.expect_err("a status");
    assert!(
        matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{status:?}"
    );
    let told = timeout(SOON, abandoned.notified()).await;
    told.expect("the service is told of the deadline");

    let hanging = client.hang(Bytes::new());
    assert!(timeout(Duration::from_millis(300), hanging).await.is_err());
    let told = timeout(SOON, abandoned.notified()).await;
    told.expect("the service is told of the cancelled call");
}

fn reason(status: &Status) -> &str {
    let reason = status.metadata().get("x-m2m-reason");
    reason.and_then(|it| it.to_str().ok()).unwrap_or_default()
}

async fn permitted(client: &mut Client) {
    let subject = client.secret(Bytes::new()).await.expect("a reply");
    assert_eq!(subject.into_inner(), "caller");
    let status = client.closed(Bytes::new()).await.expect_err("a refusal");
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::PermissionDenied, "scope")
    );
}

async fn refused(client: &mut Client) {
    let status = client.secret(Bytes::new()).await.expect_err("a refusal");
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::Unauthenticated, "no_token")
    );
    let mut forged = Request::new(Bytes::new());
    forged
        .metadata_mut()
        .insert("authorization", "Bearer forged".parse().expect("ASCII"));
    let status = client.secret(forged).await.expect_err("a refusal");
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::Unauthenticated, "malformed_token")
    );
}
