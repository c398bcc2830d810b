//! Clients that pause in the middle of a request or an answer, on purpose: a player, an import into
//! a slow database.

use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::client::{Connection, request_bytes};
use crate::support::lock;
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Answer, Upstream};

/// Longer than the upstream may pause, shorter than the client may.
const PAUSE: Duration = Duration::from_millis(1500);

struct World {
    upstream: Upstream,
    sidecar: Sidecar,
    /// The listeners, one of each kind; with unique names, because all tests share the log.
    listeners: [String; 2],
}

/// A listener of each kind, with these timeouts. Nothing listens at the authority: a fetch from the
/// upstream would take a scripted answer.
async fn world(timeouts: &str) -> World {
    let upstream = Upstream::start();
    let listeners = ["in", "out"].map(|kind| format!("{kind}{}", upstream.address().port()));
    let [inbound, outbound] = &listeners;
    let yaml = format!(
        r#"
stateDir: "@DIR@"
authorities: {{ a: {{ issuer: "http://127.0.0.1:1" }} }}
inbound:
  - {{ name: {inbound}, listen: 127.0.0.1:0, upstream: "{0}", authorities: [a], audiences: any,
      {timeouts}, rules: [{{ paths: ["/**"], access: public }}] }}
credentials: {{ hub: {{ tokenUrl: "{0}/token", clientID: legacy,
  clientSecretFile: "@DIR@/secret" }} }}
outbound:
  - {{ name: {outbound}, listen: 127.0.0.1:0, upstream: "{0}", credential: hub, overwrite: false,
      {timeouts} }}
"#,
        upstream.url()
    );
    let sidecar = Sidecar::builder()
        .secret_file("secret", "legacy", "a-secret-of-16-bytes")
        .start(&yaml)
        .await;
    World {
        upstream,
        sidecar,
        listeners,
    }
}

/// The head of an upload of ten bytes.
const UPLOAD: &str = "POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer own\r\n\
    Content-Length: 10\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_may_pause_for_longer_than_its_upstream() {
    let world = world("upstreamTimeouts: { read: 300ms }").await;
    for listener in &world.listeners {
        let mut connection = Connection::open(world.sidecar.address(listener)).await;
        for _ in 0..2 {
            connection.send(UPLOAD).await;
            tokio::time::sleep(PAUSE).await;
            connection.send("hello").await;
            tokio::time::sleep(PAUSE).await;
            connection.send("world").await;
            let answer = connection.answer().await;
            assert_eq!(
                (answer.status, &answer.json()["bodyBytes"]),
                (200, &10.into()),
                "{listener}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_silent_behind_an_upload_is_504_in_its_own_time() {
    // All pauses together would exceed the test's time limit.
    let world = world("upstreamTimeouts: { read: 300ms }, downstreamTimeouts: { read: 1h }").await;
    for listener in &world.listeners {
        let address = world.sidecar.address(listener);
        world.upstream.next(Answer::Hang);
        let mut connection = Connection::open(address).await;
        connection.send(UPLOAD).await;
        tokio::time::sleep(PAUSE).await;
        connection.send("helloworld").await;
        let answer = connection.answer().await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (504, Some("upstream_timeout"))
        );
        // While the client waits to be told to send its body.
        world.upstream.next(Answer::Silent);
        let silent = UPLOAD.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
        let mut connection = Connection::open(address).await;
        connection.send(silent).await;
        let answer = connection.answer().await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (504, Some("upstream_timeout"))
        );
        // And behind one that came at once.
        world.upstream.next(Answer::Hang);
        let mut connection = Connection::open(address).await;
        let own = [("Authorization", "Bearer own")];
        connection
            .send(request_bytes("POST", address, "/", &own, b"helloworld"))
            .await;
        let answer = connection.answer().await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (504, Some("upstream_timeout"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_an_upload_may_take_longer_than_each_of_its_parts() {
    let world = world("upstreamTimeouts: { read: 1s }").await;
    for (number, listener) in world.listeners.iter().enumerate() {
        let address = world.sidecar.address(listener);
        let (answer, stream) = Answer::stream();
        // The sidecar also fetches keys and tokens here, and must not get this answer.
        let answer = Mutex::new(Some(answer));
        world.upstream.answer(move |request| {
            let is_own = request.method == "POST" && request.target == "/";
            let answer = is_own.then(|| lock(&answer).take()).flatten();
            answer.unwrap_or(Answer::Echo)
        });
        let mut connection = Connection::open(address).await;
        let own = [("Authorization", "Bearer own")];
        connection
            .send(request_bytes("POST", address, "/", &own, b"helloworld"))
            .await;
        world.upstream.wait_for(number + 1).await;
        for _ in 0..5 {
            stream.send("part ");
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        stream.finish();
        assert_eq!(
            connection.answer().await.text(),
            "part part part part part "
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_pauses_for_longer_than_it_may_is_408() {
    let world = world("downstreamTimeouts: { read: 300ms }").await;
    for listener in &world.listeners {
        let mut connection = Connection::open(world.sidecar.address(listener)).await;
        connection.send(UPLOAD).await;
        connection.send("hello").await;
        let answer = connection.answer().await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (408, Some("body_timeout")),
            "{listener}"
        );
        assert!(connection.is_ended().await);
    }
}

/// More than all buffers on the way hold.
const LARGE: usize = 32 << 20;

async fn download(world: &World, listener: &str) -> TcpStream {
    world
        .upstream
        .next(Answer::Reply(200, Vec::new(), vec![b'x'; LARGE]));
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .set_recv_buffer_size(64 * 1024)
        .expect("a small buffer");
    let mut client = socket
        .connect(world.sidecar.address(listener))
        .await
        .expect("it listens");
    let request = "GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer own\r\n\
        Connection: close\r\n\r\n";
    client
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_may_pause_for_as_long_as_its_listener_says() {
    let world = world("upstreamTimeouts: { read: 1s }, downstreamTimeouts: { write: 1m }").await;
    for listener in &world.listeners {
        let mut client = download(&world, listener).await;
        let mut answer = vec![0; 1000];
        client.read_exact(&mut answer).await.expect("it begins");
        tokio::time::sleep(PAUSE).await;
        client.read_to_end(&mut answer).await.expect("it goes on");
        assert!(answer.len() > LARGE, "{listener}: {}", answer.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_with_a_longer_pause_is_cut_off_with_its_own_reason() {
    let world = world("downstreamTimeouts: { write: 300ms }").await;
    let mark = logs::mark();
    for listener in &world.listeners {
        let mut client = download(&world, listener).await;
        logs::wait_for_line(mark, &["access", listener, "/large", "client_stalled"]).await;
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        assert!(answer.len() < LARGE, "{listener}");
    }
}
