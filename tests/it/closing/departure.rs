//! A client that has only closed its sending side is served; work for a client that is gone ends.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::{LONG, World, post};
use crate::support::client::{Connection, request_bytes};
use crate::support::logs;
use crate::support::upstream::{Answer, Upstream};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_sending_side_gets_its_answer_and_the_end() {
    let world = World::new().await;
    let own = "Authorization: Bearer own";
    for (listener, target, field, statuses) in [
        ("api", "/public/x", "X: y", [200, 200]),
        ("hub", "/any", own, [200, 200]),
        ("hub", "/any", "X: y", [503, 503]),
        ("issuer", "/oauth/token", FORM, [405, 400]),
        ("probes", "/readyz", "X: y", [200, 405]),
    ] {
        let get = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{field}\r\n\r\n");
        let put = post(target, &[field, "Content-Length: 2"]) + "a=";
        for (request, status) in [(&get, statuses[0]), (&put, statuses[1])] {
            let mut connection = Connection::open(world.address(listener)).await;
            connection.send(request).await;
            connection.finish_sending().await;
            let answer = connection.answer().await;
            assert_eq!(answer.status, status, "{listener}: {answer:?}");
            assert!(connection.is_ended().await, "{listener}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_reaches_a_client_that_closed_its_sending_side() {
    let world = World::new().await;
    let mark = logs::mark();
    let address = world.address("api");
    for body in [&b""[..], b"ab"] {
        let count = world.upstream.received().len();
        let (answer, stream) = Answer::stream();
        world.upstream.next(answer);
        let mut connection = Connection::open(address).await;
        connection
            .send(request_bytes("POST", address, "/public/slowly", &[], body))
            .await;
        connection.finish_sending().await;
        world.upstream.wait_for(count + 1).await;
        stream.send("first half, ");
        assert!(connection.wait_for_bytes(b"first half, ").await);
        stream.send("second half");
        stream.finish();
        assert!(connection.wait_for_bytes(b"second half\r\n0\r\n\r\n").await);
        assert!(connection.is_ended().await);
    }
    assert!(logs::lines_since(mark, &["access", "/public/slowly", "client_gone"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_before_the_end_of_the_sending_side_is_answered() {
    let world = World::new().await;
    let mut connection = Connection::open(world.address("api")).await;
    let get = |number: usize| format!("GET /public/{number} HTTP/1.1\r\nHost: a\r\n\r\n");
    connection.send((0..20).map(get).collect::<String>()).await;
    connection.finish_sending().await;
    for number in 0..20 {
        assert_eq!(
            connection.answer().await.json()["target"],
            format!("/public/{number}")
        );
    }
    assert!(connection.is_ended().await);
}

/// An upstream that takes one request and never answers; gives its connection when the request is
/// there.
async fn silent_upstream() -> (SocketAddr, impl AsyncFn() -> tokio::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let accept = async move || {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            assert!(
                stream.read_buf(&mut head).await.expect("a request") > 0,
                "no request"
            );
        }
        stream
    };
    (address, accept)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_ends_the_work_of_the_upstream_whatever_the_client_has_sent() {
    let (address, next) = silent_upstream().await;
    let world = World::with_upstream(Upstream::start(), &format!("http://{address}")).await;
    let own = "Authorization: Bearer own\r\n";
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{own}\r\n");
    let many = get("/public/next").repeat(4000);
    for (name, surplus, half_closed) in [
        ("nothing more", "", false),
        ("a line end", "\r\n", false),
        ("a request", &get("/public/next"), false),
        ("more than is read ahead", &many, false),
        ("the end of its side", "", true),
        (
            "a request and the end of its side",
            &get("/public/next"),
            true,
        ),
    ] {
        for listener in ["api", "hub"] {
            for body in ["", "Content-Length: 2"] {
                let fields = [own.trim_end(), if body.is_empty() { "X: y" } else { body }];
                let content = if body.is_empty() { "" } else { "ab" };
                let mut connection = Connection::open(world.address(listener)).await;
                connection.send(post("/public/x", &fields) + content).await;
                let mut upstream = next().await;
                connection.send(surplus).await;
                if half_closed {
                    connection.finish_sending().await;
                }
                connection.reset();
                let ended = async {
                    let mut rest = Vec::new();
                    let _ = upstream.read_to_end(&mut rest).await;
                };
                tokio::time::timeout(LONG / 4, ended)
                    .await
                    .unwrap_or_else(|_| panic!("{listener}: the upstream works on behind {name}"));
            }
        }
    }
}
