//! Upstreams that stop, start again, hang or close during a request. The unit tests of
//! `proxy/upstream` cover names whose addresses change.

mod alerts;
mod authorities;
mod calls;
mod client_certificates;
mod credentials;
mod goaway;
mod http2;
mod reuse;
mod words;

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::WAIT_LIMIT;
use crate::support::behave::Gate;
use crate::support::client::{Connection, RawAnswer, request, request_bytes};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Answer, Upstream};

/// A public listener with one worker, so that connections to the upstream are shared.
async fn sidecar(upstream: &str, timeouts: &str) -> Sidecar {
    let yaml = format!(
        r#"
threads: 1
authorities: {{ a: {{ issuer: "http://127.0.0.1:1" }} }}
stateDir: "@DIR@"
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    upstreamTimeouts: {{ {timeouts} }}
    authorities: [a]
    audiences: any
    rules: [{{ paths: ["/**"], access: public }}]
"#
    );
    Sidecar::start(&yaml).await
}

async fn send(sidecar: &Sidecar, method: &str, body: &[u8]) -> RawAnswer {
    request(method, sidecar.address("api"), "/x", &[], body).await
}

fn outcome(answer: &RawAnswer) -> (u16, &str) {
    (
        answer.status,
        answer.header("x-m2m-reason").unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closed_under_a_get_is_hidden_and_under_a_post_is_not() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream.url(), "").await;
    for broken in [|| Answer::Close, || Answer::Reset] {
        for (method, body, expected, times) in [
            ("GET", &b""[..], (200, ""), 2),
            ("DELETE", b"", (200, ""), 2),
            ("PUT", b"whole", (200, ""), 2),
            ("POST", b"", (502, "upstream_broken"), 1),
            ("POST", b"once", (502, "upstream_broken"), 1),
            ("PATCH", b"once", (502, "upstream_broken"), 1),
        ] {
            // One idle connection, which the upstream ends once it has read the next request.
            assert_eq!(send(&sidecar, "GET", b"").await.status, 200);
            let before = upstream.received().len();
            upstream.next(broken());
            assert_eq!(
                outcome(&send(&sidecar, method, body).await),
                expected,
                "{method}"
            );
            let seen = upstream.received().split_off(before);
            assert_eq!(seen.len(), times, "{method}");
            assert!(
                seen.iter()
                    .all(|request| request.method == method && request.body == body)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_connection_that_breaks_is_not_tried_twice() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream.url(), "").await;
    upstream.next(Answer::Close);
    assert_eq!(
        outcome(&send(&sidecar, "GET", b"").await),
        (502, "upstream_broken")
    );
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_closed_while_idle_fail_no_request() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream.url(), "").await;
    for round in 0..20 {
        // Closed after the answer, without an announcement.
        upstream.next(Answer::ReplyAndClose(200, Vec::new(), b"{}".to_vec()));
        assert_eq!(
            send(&sidecar, "GET", b"").await.status,
            200,
            "round {round}"
        );
    }
    upstream.down().await;
    assert_eq!(
        outcome(&send(&sidecar, "POST", b"x").await),
        (502, "upstream_unreachable")
    );
    upstream.up();
    assert_eq!(send(&sidecar, "POST", b"x").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_several_addresses_is_served_by_the_one_that_answers() {
    // `localhost` is ::1 and 127.0.0.1 on most machines, and the upstream listens on the second
    // only.
    let upstream = Upstream::start();
    let sidecar = sidecar(
        &format!("http://localhost:{}", upstream.address().port()),
        "",
    )
    .await;
    for method in ["POST", "GET", "POST"] {
        assert_eq!(send(&sidecar, method, b"body").await.status, 200);
    }
    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_can_have_a_timeout_of_its_own() {
    let upstream = Upstream::start();
    let yaml = format!(
        r#"
authorities: {{ a: {{ issuer: "http://127.0.0.1:1" }} }}
stateDir: "@DIR@"
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{}"
    upstreamTimeouts: {{ read: 100ms }}
    authorities: [a]
    audiences: any
    rules: [{{ paths: [/slow], access: public, timeout: 30s }},
      {{ paths: ["/**"], access: public }}]
"#,
        upstream.url()
    );
    let sidecar = Sidecar::start(&yaml).await;
    let gate = Gate::closed();
    upstream.next(Answer::Hold(gate.clone(), Box::new(Answer::Echo)));
    upstream.next(Answer::Hang);
    let slow = request("GET", sidecar.address("api"), "/slow", &[], b"");
    let fast = async {
        let _ = upstream.wait_for(1).await;
        let answer = send(&sidecar, "GET", b"").await;
        assert_eq!(outcome(&answer), (504, "upstream_timeout"));
        gate.open();
    };
    let (slow, ()) = tokio::join!(slow, fast);
    assert_eq!(slow.status, 200);
}

/// A port on which connects hang: its queue is full.
async fn full() -> (Socket, SocketAddr, Vec<tokio::task::JoinHandle<()>>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .expect("a free port");
    socket.listen(0).expect("a bound socket");
    let address = socket
        .local_addr()
        .expect("bound")
        .as_socket()
        .expect("an IP socket");
    let connect = |_| {
        tokio::spawn(async move {
            let stream = TcpStream::connect(address).await;
            std::future::pending::<()>().await;
            drop(stream);
        })
    };
    let waiting: Vec<_> = (0..8).map(connect).collect();
    // The queue is full when another connect hangs.
    let probe = || {
        tokio::time::timeout(
            std::time::Duration::from_millis(100),
            TcpStream::connect(address),
        )
    };
    while probe().await.is_ok() {}
    (socket, address, waiting)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_timeout_is_504_and_a_refusal_502() {
    let (_socket, hanging, waiting) = full().await;
    let connect = sidecar(&format!("http://{hanging}"), "connect: 200ms").await;
    assert_eq!(
        outcome(&send(&connect, "GET", b"").await),
        (504, "upstream_timeout")
    );
    waiting.iter().for_each(|task| task.abort());

    let upstream = Upstream::start();
    let read = sidecar(&upstream.url(), "read: 200ms").await;
    upstream.next(Answer::Hang);
    assert_eq!(
        outcome(&send(&read, "GET", b"").await),
        (504, "upstream_timeout")
    );

    // It accepts and never reads: the write stalls when all buffers are full.
    let listening = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let deaf = listening.local_addr().expect("bound");
    // Pingora still waits for an answer then, as while the client pauses.
    let timeouts = "write: 200ms, read: 1s }\n    downstreamTimeouts: { read: 1s";
    let write = sidecar(&format!("http://{deaf}"), timeouts).await;
    let stream = TcpStream::connect(write.address("api"))
        .await
        .expect("it listens");
    let (mut answers, mut requests) = stream.into_split();
    let sending = tokio::spawn(async move {
        let _ = requests
            .write_all(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
            .await;
        while requests.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let mut answer = String::new();
    let reading = tokio::time::timeout(WAIT_LIMIT, answers.read_to_string(&mut answer));
    let _ = reading.await.expect("an answer");
    sending.abort();
    assert!(
        answer.starts_with("HTTP/1.1 504") && answer.contains("upstream_timeout"),
        "{answer}"
    );

    upstream.down().await;
    let refused = sidecar(&upstream.url(), "connect: 200ms").await;
    assert_eq!(
        outcome(&send(&refused, "GET", b"").await),
        (502, "upstream_unreachable")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_stops_breaks_off_for_its_client_too() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream.url(), "read: 200ms").await;
    let (answer, stream) = Answer::stream();
    upstream.next(answer);
    let mut client = Connection::open(sidecar.address("api")).await;
    client
        .send(request_bytes("GET", sidecar.address("api"), "/x", &[], b""))
        .await;
    let _ = upstream.wait_for(1).await;
    stream.send("half");
    let broken = client.try_answer("GET").await.expect_err("no whole answer");
    assert_eq!(broken.partial.expect("its head came").body, b"half");
    // Its connection to the upstream is not used again.
    assert_eq!(send(&sidecar, "GET", b"").await.status, 200);
    assert_eq!(upstream.connections(), 2);
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_failed_upload_reaches_a_client_that_is_still_sending() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream.url(), "").await;
    upstream.down().await;
    let body = vec![b'x'; 200 * 1024];
    for _ in 0..20 {
        assert_eq!(
            outcome(&send(&sidecar, "POST", &body).await),
            (502, "upstream_unreachable")
        );
    }
}
