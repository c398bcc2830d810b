//! Log lines about an upstream that fails: which one, why, once, and when it serves again.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{outcome, send, sidecar};
use crate::support::client::request;
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::tls::TestTls;
use crate::support::upstream::{Answer, Upstream};

const SAYS: &str = "the upstream does not serve";

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_upstream_is_named_once_and_so_is_its_return() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream.url(), "").await;
    upstream.down().await;
    let mark = logs::mark();
    for _ in 0..5 {
        assert_eq!(
            outcome(&send(&sidecar, "POST", b"x").await),
            (502, "upstream_unreachable")
        );
    }
    let url = upstream.url();
    let lines = logs::lines_since(mark, &["WARN", SAYS, &url]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("the connection was refused"), "{lines:?}");
    upstream.up();
    for _ in 0..2 {
        assert_eq!(send(&sidecar, "POST", b"x").await.status, 200);
    }
    assert_eq!(
        logs::lines_since(mark, &["INFO", "the upstream serves again", &url]).len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_of_another_port_is_named() {
    let tls = Upstream::start_tls();
    // It answers a handshake in plain HTTP, as most servers do.
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let https = format!("https://{}", plain.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let http = format!("http://127.0.0.1:{}", tls.address().port());
    for (url, reason, says) in [
        (&https, "upstream_tls", "it answers without TLS"),
        (
            &http,
            "upstream_broken",
            "it answers with TLS, not with HTTP",
        ),
    ] {
        let sidecar = sidecar(url, "").await;
        let mark = logs::mark();
        assert_eq!(outcome(&send(&sidecar, "GET", b"").await), (502, reason));
        logs::wait_for_line(mark, &["WARN", SAYS, url, says]).await;
    }
    let other = Upstream::start();
    other.answer(|_| Answer::Raw(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()));
    let sidecar = sidecar(&other.url(), "").await;
    let mark = logs::mark();
    assert_eq!(
        outcome(&send(&sidecar, "GET", b"").await),
        (502, "upstream_broken")
    );
    logs::wait_for_line(mark, &["WARN", SAYS, &other.url(), "not valid HTTP/1.1"]).await;
}

async fn with_ca(upstream: &Upstream, ca_pem: &str) -> Sidecar {
    let yaml = format!(
        r#"
threads: 1
authorities: {{ a: {{ issuer: "http://127.0.0.1:1" }} }}
stateDir: "@DIR@"
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{}"
    upstreamTls: {{ caFile: "@DIR@/ca.pem" }}
    authorities: [a]
    audiences: any
    rules: [{{ paths: ["/**"], access: public }}]
"#,
        upstream.url()
    );
    Sidecar::builder().file("ca.pem", ca_pem).start(&yaml).await
}

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_server_certificate_can_be_trusted() {
    let own = TestTls::self_signed_authority(&NAMES);
    let pem = own.ca_pem.clone();
    let upstream = Upstream::start_with(Some(own));
    let sidecar = with_ca(&upstream, &pem).await;
    for (method, body) in [("POST", &b"x"[..]), ("GET", b""), ("POST", b"x")] {
        assert_eq!(send(&sidecar, method, body).await.status, 200);
    }
    assert_eq!(upstream.connections(), 1, "its connection is used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_certificate_for_the_same_name_the_authority_still_counts() {
    let upstream = Upstream::start_tls();
    let another = TestTls::self_signed_authority(&NAMES).ca_pem;
    let sidecar = with_ca(&upstream, &format!("{another}{}", upstream.ca_pem())).await;
    for method in ["POST", "GET", "POST"] {
        assert_eq!(send(&sidecar, method, b"once").await.status, 200);
    }
    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_other_than_the_pinned_one_is_refused_and_named() {
    let upstream = Upstream::start_with(Some(TestTls::self_signed_authority(&NAMES)));
    let untrusted = Upstream::start_tls();
    for (upstream, says) in [
        (&upstream, "CA:TRUE"),
        (
            &untrusted,
            "no trusted authority has issued its certificate",
        ),
    ] {
        let pinned = TestTls::self_signed_authority(&NAMES).ca_pem;
        let sidecar = with_ca(upstream, &pinned).await;
        let mark = logs::mark();
        for method in ["GET", "POST", "GET"] {
            assert_eq!(
                outcome(&send(&sidecar, method, b"secret").await),
                (502, "upstream_tls")
            );
        }
        assert!(upstream.received().is_empty(), "not a byte of a request");
        assert_eq!(
            logs::lines_since(mark, &["WARN", SAYS, &upstream.url(), says]).len(),
            1
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_name_is_said_with_both_names() {
    let upstream = Upstream::start_tls_as(&["other.example"]);
    let sidecar = with_ca(&upstream, upstream.ca_pem()).await;
    let mark = logs::mark();
    assert_eq!(
        outcome(&request("GET", sidecar.address("api"), "/", &[], b"").await),
        (502, "upstream_tls")
    );
    logs::wait_for_line(mark, &["WARN", SAYS, "localhost", "other.example"]).await;
}
