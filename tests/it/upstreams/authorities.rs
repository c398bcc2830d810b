//! Files of an upstream's TLS that change while the sidecar runs, and their report.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::outcome;
use crate::support::certificates::CertificateAuthority;
use crate::support::client::{get, request};
use crate::support::http2_upstream::{Act, Http2Upstream};
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::tls::{ClientCertificate, TestTls};
use crate::support::upstream::Upstream;
use crate::support::{logs, until};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
const ADMIN: &str = "the-token-of-the-administrator";

fn yaml(upstream: &str, more: &str) -> String {
    format!(
        r#"
threads: 1
stateDir: "@DIR@"
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
probes: {{ listen: 127.0.0.1:0 }}
authorities: {{ a: {{ issuer: "http://127.0.0.1:1" }} }}
inbound:
  - name: secured
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    upstreamTls: {{ caFile: "@DIR@/ca.pem", {more} }}
    authorities: [a]
    audiences: any
    rules: [{{ paths: ["/**"], access: public }}]
"#
    )
}

fn with(ca_pem: &str) -> SidecarBuilder {
    Sidecar::builder()
        .file("ca.pem", ca_pem)
        .secret_file("admin", "admin", ADMIN)
}

fn replace(file: &Path, content: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, content).expect("a writable directory");
    std::fs::rename(next, file).expect("a writable directory");
}

/// The upstreams of the listener in `/status`.
async fn upstreams(sidecar: &Sidecar) -> Value {
    let bearer = format!("Bearer {ADMIN}");
    let fields = [("Authorization", bearer.as_str())];
    let status = get(sidecar.address("admin"), "/status", &fields)
        .await
        .json();
    let listeners = status["listeners"].as_array().expect("a list").clone();
    let listener = listeners.into_iter().find(|it| it["name"] == "secured");
    listener.expect("the listener")["upstreams"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_authorities_apply_to_new_connections_and_broken_ones_change_nothing() {
    let tls = || TestTls::with_clients(&NAMES, None);
    let http1 = Upstream::start_with(Some(tls()));
    let http2 = tls().speaking(&["h2", "http/1.1"]);
    let http2 = Http2Upstream::start_with(Some(http2), |_| {}, |_| Act::Echo);
    for (url, ca_pem) in [(http1.url(), http1.ca_pem()), (http2.url(), http2.ca_pem())] {
        let other = CertificateAuthority::new("another authority");
        let sidecar = with(&other.pem).start(&yaml(&url, "")).await;
        let address = sidecar.address("secured");
        // Other tests write to the same log.
        let file = sidecar.path("ca.pem").display().to_string();
        let answer = get(address, "/x", &[]).await;
        assert_eq!(outcome(&answer), (502, "upstream_tls"), "{url}");
        // The old and the new authority together, as in a rotation.
        let mark = logs::mark();
        replace(&sidecar.path("ca.pem"), &format!("{}{ca_pem}", other.pem));
        let words = ["took over a changed file", file.as_str()];
        logs::wait_for_line(mark, &words).await;
        assert_eq!(outcome(&get(address, "/x", &[]).await), (200, ""), "{url}");
        for content in [
            "",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let mark = logs::mark();
            replace(&sidecar.path("ca.pem"), content);
            let problem = "contains no PEM certificate, or an invalid one";
            let words = ["WARN", file.as_str(), problem, "old content"];
            logs::wait_for_line(mark, &words).await;
            assert_eq!(outcome(&get(address, "/x", &[]).await), (200, ""), "{url}");
            let shown = upstreams(&sidecar).await;
            let errors = shown[0]["errors"].as_array().expect("a list");
            assert_eq!(errors.len(), 1, "{shown}");
            assert!(
                errors[0].as_str().expect("a text").contains("ca.pem"),
                "{shown}"
            );
        }
        // Withdrawn: connections that were verified with it carry no further request.
        let mark = logs::mark();
        replace(&sidecar.path("ca.pem"), &other.pem);
        let words = ["took over a changed file", file.as_str()];
        logs::wait_for_line(mark, &words).await;
        let answer = get(address, "/x", &[]).await;
        assert_eq!(outcome(&answer), (502, "upstream_tls"), "{url}");
        assert_eq!(upstreams(&sidecar).await[0]["errors"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_authorities_fail_no_request_under_load() {
    let upstream = Upstream::start_with(Some(TestTls::with_clients(&NAMES, None)));
    let sidecar = with(upstream.ca_pem())
        .start(&yaml(&upstream.url(), ""))
        .await;
    let address = sidecar.address("secured");
    let file = sidecar.path("ca.pem").display().to_string();
    let load = async {
        loop {
            let answer = request("POST", address, "/x", &[], b"body").await;
            assert_eq!(outcome(&answer), (200, ""));
        }
    };
    let changes = async {
        until("the first connection", async || upstream.connections() > 0).await;
        for number in 0..3 {
            let other = CertificateAuthority::new(&format!("authority {number}"));
            let (mark, before) = (logs::mark(), upstream.connections());
            replace(
                &sidecar.path("ca.pem"),
                &format!("{}{}", upstream.ca_pem(), other.pem),
            );
            let words = ["took over a changed file", file.as_str()];
            logs::wait_for_line(mark, &words).await;
            until("a new connection", async || upstream.connections() > before).await;
        }
    };
    tokio::select! {
        () = load => unreachable!("without end"),
        () = changes => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_client_certificate_is_a_metric_and_in_the_status() {
    let client = ClientCertificate::generate();
    let upstream = Upstream::start_with(Some(TestTls::with_clients(&NAMES, Some(&client))));
    let authority = CertificateAuthority::new("the authority of clients");
    let soon = time::OffsetDateTime::now_utc() + Duration::from_secs(3600);
    let short = authority.issue(&["sidecar.test"], |params| params.not_after = soon);
    let pair = "certFile: \"@DIR@/cert.pem\", keyFile: \"@DIR@/key.pem\"";
    let mark = logs::mark();
    let sidecar = with(upstream.ca_pem())
        .file("cert.pem", &short.cert_pem)
        .key_file("key.pem", &short.key_pem)
        .start(&yaml(&upstream.url(), pair))
        .await;
    let name = "name=\"upstream:sidecar.test\"";
    logs::wait_for_line(mark, &["WARN", "expires soon", name]).await;
    let left = async || {
        let text = get(sidecar.address("probes"), "/metrics", &[]).await.text();
        let found = text.lines().filter(|line| line.contains(name));
        let mut found = found.filter(|line| line.starts_with("m2m_certificate_expiry_seconds"));
        let left = found.next()?.rsplit_once(' ')?.1.parse::<i64>().ok();
        assert_eq!(found.next(), None);
        left
    };
    let now = left().await.expect("the metric");
    assert!((3000..=3600).contains(&now), "{now}");
    let shown = upstreams(&sidecar).await;
    assert_eq!(shown[0]["url"], upstream.url().as_str(), "{shown}");
    assert_eq!(
        shown[0]["certificates"][0]["name"], "sidecar.test",
        "{shown}"
    );
    assert!(shown[0]["certificates"][0]["not_after"].is_string());
    // The metric follows the certificate.
    logs::remember_private_key(&client.key_pem);
    replace(&sidecar.path("key.pem"), &client.key_pem);
    replace(&sidecar.path("cert.pem"), &client.cert_pem);
    until("the new certificate is shown", async || {
        left().await.is_none()
    })
    .await;
    let text = get(sidecar.address("probes"), "/metrics", &[]).await.text();
    assert!(text.contains("name=\"upstream:legacy\""), "{text}");
}
