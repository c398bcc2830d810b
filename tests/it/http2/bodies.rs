//! 64 MiB in both directions, with the windows of both sides, in bounded memory.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::connections::process::Process;

const LARGE: usize = 64 << 20;
const PART: usize = 256 << 10;
/// The rise of the peak that the transfers may cause.
const RISE_KIB: u64 = 16 << 10;

/// Reads the upload of each request whole, and answers with a body of [`LARGE`] bytes.
async fn serve(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        tokio::spawn(async move {
            let mut received = Vec::new();
            while !received.windows(4).any(|it| it == b"\r\n\r\n") {
                assert!(stream.read_buf(&mut received).await.expect("a request") > 0);
            }
            let is_upload = received.starts_with(b"PUT");
            let mut buffer = vec![0; PART];
            let end = b"0\r\n\r\n";
            let mut total = received.len();
            while is_upload && !received.ends_with(end) {
                let read = stream.read(&mut buffer).await.expect("an upload");
                assert!(read > 0, "it broke off");
                total += read;
                received.extend_from_slice(&buffer[..read]);
                received.drain(..received.len().saturating_sub(end.len()));
            }
            assert!(!is_upload || total > LARGE);
            let length = if is_upload { 2 } else { LARGE };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("it reads");
            let part = vec![b'x'; PART];
            let mut left = length;
            while left > 0 {
                let now = left.min(PART);
                stream.write_all(&part[..now]).await.expect("it reads");
                left -= now;
            }
        });
    }
}

async fn client(process: &Process) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(process.address("api"))
        .await
        .expect("it listens");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client.ready().await.expect("it is open")
}

fn request(method: Method) -> Request<()> {
    let request = Request::builder().method(method).uri("http://a/x");
    request.body(()).expect("a request")
}

async fn upload(client: &mut SendRequest<Bytes>) {
    let (response, mut body) = client
        .send_request(request(Method::PUT), false)
        .expect("open");
    let part = Bytes::from(vec![b'x'; PART]);
    let mut left = LARGE;
    while left > 0 {
        body.reserve_capacity(left.min(PART));
        let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
        let room = room.expect("it is open").expect("it is open").min(left);
        body.send_data(part.slice(..room), left == room)
            .expect("it is open");
        left -= room;
    }
    assert_eq!(response.await.expect("a response").status(), 200);
}

async fn download(client: &mut SendRequest<Bytes>) {
    let (response, _) = client
        .send_request(request(Method::GET), true)
        .expect("open");
    let mut body = response.await.expect("a response").into_body();
    let mut total = 0;
    while let Some(part) = body.data().await {
        let part = part.expect("a part");
        total += part.len();
        body.flow_control()
            .release_capacity(part.len())
            .expect("received");
    }
    assert_eq!(total, LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_both_ways_in_bounded_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(serve(listener));
    let yaml = format!(
        r#"
threads: 1
stateDir: "@DIR@"
authorities: {{ a: {{ issuer: "http://127.0.0.1:1" }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{url}", authorities: [a], audiences: any,
      rules: [{{ paths: ["/**"], access: public }}] }}
"#
    );
    let process = Process::start("true", &yaml);
    let mut client = client(&process).await;
    upload(&mut client).await;
    let before = process.peak_kib();
    download(&mut client).await;
    let (mut first, mut second) = (client.clone(), client.clone());
    tokio::join!(upload(&mut first), download(&mut second));
    let after = process.peak_kib();
    println!("64 MiB up and down: peak {before} KiB before, {after} KiB after");
    assert!(
        after - before < RISE_KIB,
        "{before} KiB before, {after} KiB after"
    );
}
