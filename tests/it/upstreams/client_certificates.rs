//! Upstreams that demand a client certificate.

use std::path::Path;

use super::outcome;
use crate::support::client::get;
use crate::support::http2_upstream::{Act, Http2Upstream};
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::tls::{ClientCertificate, TestTls};
use crate::support::upstream::Upstream;
use crate::support::{logs, until};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

fn yaml(upstream: &str, more: &str) -> String {
    format!(
        r#"
threads: 1
stateDir: "@DIR@"
authorities: {{ a: {{ issuer: "http://127.0.0.1:1" }} }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    upstreamTls: {{ caFile: "@DIR@/ca.pem", {more} }}
    authorities: [a]
    audiences: any
    rules: [{{ paths: ["/**"], access: public }}]
"#
    )
}

const PAIR: &str = "certFile: \"@DIR@/cert.pem\", keyFile: \"@DIR@/key.pem\"";

fn with(ca_pem: &str, client: &ClientCertificate) -> SidecarBuilder {
    Sidecar::builder()
        .file("ca.pem", ca_pem)
        .file("cert.pem", &client.cert_pem)
        .key_file("key.pem", &client.key_pem)
}

fn replace(file: &Path, content: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, content).expect("a writable directory");
    std::fs::rename(next, file).expect("a writable directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_certificate_opens_an_upstream_in_both_protocols() {
    let client = ClientCertificate::generate();
    let tls = || TestTls::with_clients(&NAMES, Some(&client));
    let http1 = Upstream::start_with(Some(tls()));
    let http2 = tls().speaking(&["h2", "http/1.1"]);
    let http2 = Http2Upstream::start_with(Some(http2), |_| {}, |_| Act::Echo);
    for (url, ca_pem) in [(http1.url(), http1.ca_pem()), (http2.url(), http2.ca_pem())] {
        let sidecar = with(ca_pem, &client).start(&yaml(&url, PAIR)).await;
        for _ in 0..2 {
            let answer = get(sidecar.address("api"), "/x", &[]).await;
            assert_eq!(outcome(&answer), (200, ""), "{url}");
        }
    }
    assert_eq!((http1.connections(), http2.connections()), (1, 1));
    let other = ClientCertificate::generate();
    for (url, ca_pem) in [(http1.url(), http1.ca_pem()), (http2.url(), http2.ca_pem())] {
        let sidecar = with(ca_pem, &other).start(&yaml(&url, PAIR)).await;
        let mark = logs::mark();
        let answer = get(sidecar.address("api"), "/x", &[]).await;
        assert_eq!(outcome(&answer), (502, "upstream_tls"), "{url}");
        logs::wait_for_line(mark, &["reason=\"upstream_tls\"", "TLS alert"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_used_for_new_requests_and_a_broken_one_changes_nothing() {
    let (old, new) = (ClientCertificate::generate(), ClientCertificate::generate());
    let tls = TestTls::with_client_list(&NAMES, &[&old, &new]);
    let upstream = Upstream::start_with(Some(tls));
    let sidecar = with(upstream.ca_pem(), &old)
        .start(&yaml(&upstream.url(), PAIR))
        .await;
    let status = async || get(sidecar.address("api"), "/x", &[]).await.status;
    assert_eq!(status().await, 200);
    let mark = logs::mark();
    replace(&sidecar.path("key.pem"), "no key");
    logs::wait_for_line(
        mark,
        &["a changed file cannot be used", "contains no private key"],
    )
    .await;
    assert_eq!(status().await, 200);
    assert_eq!(upstream.connections(), 1);
    logs::remember_private_key(&new.key_pem);
    let mark = logs::mark();
    replace(&sidecar.path("key.pem"), &new.key_pem);
    replace(&sidecar.path("cert.pem"), &new.cert_pem);
    logs::wait_for_line(mark, &["took over a changed file", "cert.pem"]).await;
    until("a new connection is used", async || {
        assert_eq!(status().await, 200);
        upstream.connections() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_pair_is_refused_at_the_start() {
    let (one, other) = (ClientCertificate::generate(), ClientCertificate::generate());
    for (more, key, expected) in [
        (
            "certFile: \"@DIR@/cert.pem\"",
            &one.key_pem,
            "needs both `certFile` and `keyFile`",
        ),
        (
            PAIR,
            &other.key_pem,
            "is not the private key of the certificate",
        ),
        (PAIR, &one.cert_pem, "contains no private key"),
    ] {
        let files = with(&one.cert_pem, &one).file("key.pem", key);
        let refused = files.try_start(&yaml("https://127.0.0.1:1", more)).await;
        let why = refused.err().expect("it does not start");
        assert!(why.contains(expected), "{why}");
    }
}
