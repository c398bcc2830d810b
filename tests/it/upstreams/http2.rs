//! Upstreams that speak HTTP/2, over TLS, TCP and Unix sockets.

use std::time::Duration;

use h2::Reason;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::{outcome, send, sidecar};
use crate::support::authority::Authority;
use crate::support::behave::Gate;
use crate::support::client::{Connection, get, request};
use crate::support::http2_upstream::{Act, Http2Upstream, field};
use crate::support::sidecar::Sidecar;
use crate::support::tls::TestTls;
use crate::support::upstream::Upstream;
use crate::support::{logs, until};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// A public listener in front of this upstream, which trusts this certificate.
async fn over(upstream: &str, ca_pem: Option<&str>) -> Sidecar {
    let tls = match ca_pem {
        Some(_) => "upstreamTls: { caFile: \"@DIR@/ca.pem\" }",
        None => "",
    };
    let yaml = format!(
        r#"
threads: 1
stateDir: "@DIR@"
authorities: {{ a: {{ issuer: "http://127.0.0.1:1" }} }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    {tls}
    authorities: [a]
    audiences: any
    rules: [{{ paths: ["/**"], access: public }}]
"#
    );
    let files = Sidecar::builder().file("ca.pem", ca_pem.unwrap_or_default());
    files.start(&yaml).await
}

/// One upstream of each kind that speaks HTTP/2, and its URL.
fn each_kind(dir: &TempDir) -> Vec<(Http2Upstream, String, &'static str)> {
    let tls = TestTls::for_names(&NAMES).speaking(&["h2"]);
    let tls = Http2Upstream::start_with(Some(tls), |_| {}, |_| Act::Echo);
    let plain = Http2Upstream::start(|_| Act::Echo);
    let path = dir.path().join("h2.sock");
    let unix = Http2Upstream::start_unix(&path, |_| Act::Echo);
    let (tls_url, plain_url) = (tls.url(), plain.url());
    let unix_url = format!("h2c+unix:{}", path.display());
    vec![
        (tls, tls_url, "https"),
        (plain, plain_url, "http"),
        (unix, unix_url, "http"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_upstream_gets_requests_whole_and_answers_whole() {
    let dir = TempDir::new().expect("a temporary directory");
    for (upstream, url, scheme) in each_kind(&dir) {
        let ca_pem = (scheme == "https").then(|| upstream.ca_pem());
        let sidecar = over(&url, ca_pem).await;
        let address = sidecar.address("api");
        let fields = [("Cookie", "a=b"), ("X-One", "1"), ("Keep-Alive", "x")];
        let answer = request("GET", address, "/a%2Db?c=%7E", &fields, b"").await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{url}");
        let received = upstream.received();
        let head = &received[0].head;
        let authority = format!("{scheme}://{address}");
        assert_eq!(head.uri.to_string(), format!("{authority}/a-b?c=%7E"));
        assert_eq!(field(&received[0], "x-one"), Some("1"));
        assert_eq!(field(&received[0], "cookie"), Some("a=b"));
        for gone in ["host", "connection", "keep-alive", "te"] {
            assert_eq!(field(&received[0], gone), None, "{gone}");
        }
        let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let answer = request("POST", address, "/", &[], &body).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body == body, "{url}: {} bytes", answer.body.len());
        let length = upstream.received()[1].clone();
        assert_eq!(field(&length, "content-length"), Some("3000000"));
        let head = request("HEAD", address, "/", &[], b"").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_an_upstream_in_http1_too() {
    let dir = TempDir::new().expect("a temporary directory");
    let path = dir.path().join("h1.sock");
    let listener = UnixListener::bind(&path).expect("a free path");
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut heads = Vec::new();
        for _ in 0..2 {
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.expect("a request");
            heads.push(String::from_utf8_lossy(&head[..length]).into_owned());
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.expect("a client");
        }
        heads
    });
    let sidecar = over(&format!("unix:{}", path.display()), None).await;
    let address = sidecar.address("api");
    for _ in 0..2 {
        assert_eq!(get(address, "/x", &[]).await.body, b"ok");
    }
    let heads = served.await.expect("no panic");
    // The client's own `Host`, and one connection for both.
    assert!(heads[0].contains(&format!("{address}\r\n")), "{}", heads[0]);
    drop(sidecar);
    let path = dir.path().join("none.sock");
    let sidecar = over(&format!("unix:{}", path.display()), None).await;
    let mark = logs::mark();
    let answer = get(sidecar.address("api"), "/x", &[]).await;
    assert_eq!(outcome(&answer), (502, "upstream_unreachable"));
    logs::wait_for_line(mark, &["upstream=unix:", "none.sock"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_together_share_one_connection() {
    let gate = Gate::closed();
    let held = gate.clone();
    let upstream = Http2Upstream::start(move |_| Act::Hold(held.clone()));
    let sidecar = sidecar(&upstream.url(), "").await;
    let address = sidecar.address("api");
    let clients: Vec<_> = (0..40)
        .map(|_| tokio::spawn(async move { get(address, "/x", &[]).await.status }))
        .collect();
    until("all are open at once", async || {
        upstream.received().len() == 40
    })
    .await;
    gate.open();
    for client in clients {
        assert_eq!(client.await.expect("no panic"), 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_connection_is_joined_by_another_one() {
    let gate = Gate::closed();
    let held = gate.clone();
    let one = |builder: &mut h2::server::Builder| {
        builder.max_concurrent_streams(1);
    };
    let upstream = Http2Upstream::start_with(None, one, move |_| Act::Hold(held.clone()));
    let sidecar = sidecar(&upstream.url(), "").await;
    let address = sidecar.address("api");
    let clients: Vec<_> = (0..6)
        .map(|_| tokio::spawn(async move { get(address, "/x", &[]).await.status }))
        .collect();
    until("all are open at once", async || {
        upstream.received().len() == 6
    })
    .await;
    gate.open();
    for client in clients {
        assert_eq!(client.await.expect("no panic"), 200);
    }
    assert_eq!(upstream.connections(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_post_is_sent_again_and_a_broken_one_is_not() {
    for (code, expected, times) in [
        (Reason::REFUSED_STREAM, (200, ""), 2),
        (Reason::INTERNAL_ERROR, (502, "upstream_broken"), 1),
        (Reason::NO_ERROR, (502, "upstream_broken"), 1),
    ] {
        let upstream = Http2Upstream::start(move |received| match received.number {
            0 => Act::Reset(code),
            _ => Act::Echo,
        });
        let sidecar = sidecar(&upstream.url(), "").await;
        let answer = send(&sidecar, "POST", b"once").await;
        assert_eq!(outcome(&answer), expected, "{code}");
        assert_eq!(upstream.received().len(), times, "{code}");
        if times == 2 {
            assert_eq!(answer.body, b"once");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_refused_only_so_often() {
    let upstream = Http2Upstream::start(|_| Act::Reset(Reason::REFUSED_STREAM));
    let sidecar = sidecar(&upstream.url(), "").await;
    let mark = logs::mark();
    let answer = send(&sidecar, "POST", b"never").await;
    assert_eq!(outcome(&answer), (502, "upstream_broken"));
    assert_eq!(upstream.received().len(), 4);
    logs::wait_for_line(mark, &["it has reset the stream: REFUSED_STREAM"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_amid_the_body_cuts_the_answer_off() {
    for code in [Reason::INTERNAL_ERROR, Reason::NO_ERROR, Reason::CANCEL] {
        let upstream = Http2Upstream::start(move |_| Act::ResetAmid(code));
        let sidecar = sidecar(&upstream.url(), "").await;
        let mut client = Connection::open(sidecar.address("api")).await;
        client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let cut = client.try_answer("GET").await.expect_err("it is cut off");
        assert_eq!(cut.partial.expect("a head").body, b"a part", "{code}");
        assert_eq!(upstream.received().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_one_by_one_and_trailers_reach_those_who_take_them() {
    let upstream = Http2Upstream::start(|received| match received.head.uri.path() {
        "/events" => Act::Parts(
            vec!["data: 1\n\n", "data: 2\n\n"],
            Duration::from_secs(3600),
        ),
        _ => Act::Echo,
    });
    let sidecar = sidecar(&upstream.url(), "").await;
    let mut client = Connection::open(sidecar.address("api")).await;
    client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.wait_for_bytes(b"data: 1").await);
    let mut client = Connection::open(sidecar.address("api")).await;
    let ask = "GET /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
    client.send(ask).await;
    assert!(client.wait_for_bytes(b"x-echo: whole\r\n\r\n").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_answers_are_passed_on_and_cannot_go_on_without_end() {
    let upstream = Http2Upstream::start(|received| match received.head.uri.path() {
        "/few" => Act::Interim(3),
        _ => Act::Interim(1000),
    });
    let sidecar = sidecar(&upstream.url(), "").await;
    let few = get(sidecar.address("api"), "/few", &[]).await;
    assert_eq!((few.status, few.interim), (200, vec![103; 3]));
    let many = get(sidecar.address("api"), "/many", &[]).await;
    assert_eq!(outcome(&many), (502, "upstream_broken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tiny_windows_slow_an_upload_and_lose_nothing() {
    let tiny = |builder: &mut h2::server::Builder| {
        builder.initial_window_size(999);
    };
    let upstream = Http2Upstream::start_with(None, tiny, |_| Act::Echo);
    let sidecar = sidecar(&upstream.url(), "").await;
    let body: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let answer = send(&sidecar, "POST", &body).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body == body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_stops_no_other_client_of_the_connection() {
    let upstream = Http2Upstream::start(|received| match received.head.uri.path() {
        "/large" => Act::Zeros(64 << 20),
        _ => Act::Echo,
    });
    let sidecar = sidecar(&upstream.url(), "").await;
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut client = Connection::open(sidecar.address("api")).await;
        client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(client.wait_for_bytes(b"\r\n\r\n").await);
        stalled.push(client);
    }
    for _ in 0..20 {
        let answer = send(&sidecar, "POST", b"through").await;
        assert_eq!(answer.body, b"through");
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_upstream_times_out_and_its_connection_is_not_used_again() {
    let upstream = Http2Upstream::start(|received| match received.number {
        0 => Act::Nothing,
        _ => Act::Echo,
    });
    let sidecar = sidecar(&upstream.url(), "read: 2500ms").await;
    let answer = send(&sidecar, "GET", b"").await;
    assert_eq!(outcome(&answer), (504, "upstream_timeout"));
    assert_eq!(send(&sidecar, "GET", b"").await.status, 200);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_refusal_of_trailers_only_is_an_answer_without_a_body() {
    let upstream = Http2Upstream::start(|_| Act::HeadOnly("grpc-status", "7"));
    let sidecar = sidecar(&upstream.url(), "").await;
    let fields = [("Content-Type", "application/grpc")];
    let answer = request("POST", sidecar.address("api"), "/a.B/C", &fields, b"").await;
    assert_eq!(answer.header("grpc-status"), Some("7"));
    let received = upstream.received();
    assert_eq!(field(&received[0], "te"), Some("trailers"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_speaks_another_protocol_is_named() {
    let http1 = Upstream::start();
    let sidecar = sidecar(&http1.url().replace("http://", "h2c://"), "").await;
    let mark = logs::mark();
    let answer = send(&sidecar, "GET", b"").await;
    assert_eq!(outcome(&answer), (502, "upstream_broken"));
    logs::wait_for_line(mark, &["must begin with `http://`"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbound_listener_attaches_its_token_in_every_protocol() {
    let dir = TempDir::new().expect("a temporary directory");
    for (upstream, url, scheme) in each_kind(&dir) {
        let authority = Authority::start();
        let secret = "a client secret of an HTTP/2 upstream";
        authority.register_client("legacy", secret);
        let (issuer, tls) = (authority.issuer(), scheme == "https");
        let (ca_pem, trust) = if tls {
            (
                upstream.ca_pem(),
                "upstreamTls: { caFile: \"@DIR@/ca.pem\" },",
            )
        } else {
            ("", "")
        };
        let yaml = format!(
            r#"
threads: 1
stateDir: "@DIR@"
credentials: {{ hub: {{ authority: "{issuer}", clientID: legacy,
  clientSecretFile: "@DIR@/secret" }} }}
outbound:
  - {{ name: out, listen: 127.0.0.1:0, upstream: "{url}", {trust} credential: hub }}
"#
        );
        let files = Sidecar::builder().secret_file("secret", "legacy", secret);
        let sidecar = files.file("ca.pem", ca_pem).start(&yaml).await;
        let answer = request("POST", sidecar.address("out"), "/x", &[], b"body").await;
        assert_eq!(
            (answer.status, &answer.body[..]),
            (200, &b"body"[..]),
            "{url}"
        );
        let received = &upstream.received()[0];
        let token = field(received, "authorization").expect("a token");
        assert!(token.starts_with("Bearer "));
        // The upstream's own name; a Unix socket has none.
        let expected = match url.split_once("://") {
            Some((_, address)) => format!("{scheme}://{address}/x"),
            None => "http://localhost/x".to_owned(),
        };
        assert_eq!(received.head.uri.to_string(), expected);
    }
}
