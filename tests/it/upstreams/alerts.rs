//! Upstreams and authorities that end a TLS connection with an alert: the alert is named in the
//! answer and in the log.

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use super::outcome;
use crate::support::authority::Authority;
use crate::support::client::{RawAnswer, get, request};
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::tls::TestTls;
use crate::support::upstream::{Answer, Upstream};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
const ALERT: &str = "TLS alert certificate required: it demands a client certificate";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// An inbound and an outbound listener in front of `upstream`.
async fn sidecar(upstream: &Upstream, authority: &Authority) -> Sidecar {
    let secret = "a client secret of the alerts";
    authority.register_client("legacy", secret);
    let yaml = format!(
        r#"
threads: 1
stateDir: "@DIR@"
authorities: {{ a: {{ issuer: "http://127.0.0.1:1" }} }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    upstreamTls: {{ caFile: "@DIR@/ca.pem" }}
    authorities: [a]
    audiences: any
    rules: [{{ paths: ["/**"], access: public }}]
credentials: {{ hub: {{ authority: "{authority}", clientID: legacy,
  clientSecretFile: "@DIR@/secret" }} }}
outbound:
  - {{ name: out, listen: 127.0.0.1:0, upstream: "{upstream}",
      upstreamTls: {{ caFile: "@DIR@/ca.pem" }}, credential: hub }}
"#,
        upstream = upstream.url(),
        authority = authority.issuer(),
    );
    let files = Sidecar::builder().secret_file("secret", "legacy", secret);
    files.file("ca.pem", upstream.ca_pem()).start(&yaml).await
}

fn description(answer: &RawAnswer) -> String {
    answer.json()["error_description"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// With TLS 1.2 the alert ends the handshake; with TLS 1.3 the handshake is complete by then, and
/// the alert comes in the place of an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_demanded_client_certificate_is_named_in_every_version_and_role() {
    for version in VERSIONS {
        let upstream =
            Upstream::start_with(Some(TestTls::demanding_a_certificate(&NAMES, version)));
        let authority = Authority::start();
        let sidecar = sidecar(&upstream, &authority).await;
        for listener in ["api", "out"] {
            let mark = logs::mark();
            let answer = request("GET", sidecar.address(listener), "/x", &[], b"").await;
            assert_eq!(
                outcome(&answer),
                (502, "upstream_tls"),
                "{version:?} {listener}"
            );
            assert_eq!(
                description(&answer),
                format!("TLS with the upstream failed: {ALERT}.")
            );
            logs::wait_for_line(
                mark,
                &["listener=", listener, "reason=\"upstream_tls\"", ALERT],
            )
            .await;
        }
        let lines = logs::lines_since(
            0,
            &[
                "WARN",
                "the upstream does not serve",
                &upstream.url(),
                ALERT,
            ],
        );
        assert_eq!(lines.len(), 2, "once for each listener: {lines:?}");
        assert!(upstream.received().is_empty());
        sidecar.stop().await;
    }
}

/// The write of a client that is still sending fails, and the alert is lost with the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_demanded_client_certificate_is_named_during_an_upload() {
    for version in VERSIONS {
        let upstream =
            Upstream::start_with(Some(TestTls::demanding_a_certificate(&NAMES, version)));
        let authority = Authority::start();
        let sidecar = sidecar(&upstream, &authority).await;
        for (listener, size) in [("api", 2), ("api", 1 << 20), ("out", 2), ("out", 1 << 20)] {
            let mark = logs::mark();
            let body = vec![b'x'; size];
            let answer = request("POST", sidecar.address(listener), "/x", &[], &body).await;
            assert_eq!(
                outcome(&answer),
                (502, "upstream_tls"),
                "{version:?} {listener} {size}"
            );
            assert_eq!(
                description(&answer),
                format!("TLS with the upstream failed: {ALERT}.")
            );
            logs::wait_for_line(
                mark,
                &["listener=", listener, "reason=\"upstream_tls\"", ALERT],
            )
            .await;
        }
        sidecar.stop().await;
    }
}

/// The extra connection finds no alert where the upstream closes for another reason.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_ends_a_connection_without_an_alert_stays_broken() {
    let upstream = Upstream::start_tls();
    let sidecar = sidecar(&upstream, &Authority::start()).await;
    upstream.next(Answer::Early(500));
    upstream.next(Answer::Reset);
    let early = request(
        "POST",
        sidecar.address("api"),
        "/x",
        &[],
        &vec![b'x'; 4 << 20],
    )
    .await;
    assert!(
        matches!(outcome(&early), (500, "") | (502, "upstream_broken")),
        "{:?}",
        outcome(&early)
    );
    let answer = request("POST", sidecar.address("api"), "/x", &[], b"{}").await;
    assert_eq!(outcome(&answer), (502, "upstream_broken"));
    assert_eq!(get(sidecar.address("api"), "/x", &[]).await.status, 200);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_failure_of_tls_is_not_named_as_an_alert() {
    let upstream = Upstream::start_tls_as(&["other.example"]);
    let sidecar = sidecar(&upstream, &Authority::start()).await;
    let answer = get(sidecar.address("api"), "/x", &[]).await;
    assert_eq!(outcome(&answer), (502, "upstream_tls"));
    let said = description(&answer);
    assert!(
        said.contains("its certificate or name could not be verified") && !said.contains("alert"),
        "{said}"
    );
    sidecar.stop().await;
}

/// Another HTTP client than the proxy's fetches keys and tokens.
#[tokio::test(flavor = "multi_thread")]
async fn a_demanding_authority_is_named_for_keys_and_for_tokens() {
    const ADMIN: &str = "the-admin-token-of-the-alerts";
    for version in VERSIONS {
        let authority =
            Authority::start_with("", Some(TestTls::demanding_a_certificate(&NAMES, version)));
        let upstream = Upstream::start();
        let yaml = format!(
            r#"
stateDir: "@DIR@"
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
authorities: {{ a: {{ issuer: "{issuer}", caFile: "@DIR@/ca.pem" }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{upstream}", authorities: [a], audiences: any,
      rules: [{{ paths: ["/**"] }}] }}
credentials:
  hub: {{ authority: "{issuer}", caFile: "@DIR@/ca.pem", clientID: legacy,
    clientSecretFile: "@DIR@/secret" }}
outbound: [{{ name: out, listen: 127.0.0.1:0, upstream: "{upstream}", credential: hub }}]
"#,
            issuer = authority.issuer(),
            upstream = upstream.url(),
        );
        let mark = logs::mark();
        let files =
            Sidecar::builder().secret_file("secret", "legacy", "a client secret of the alerts");
        let files = files
            .secret_file("admin", "admin", ADMIN)
            .file("ca.pem", authority.ca_pem());
        let sidecar = files.start(&yaml).await;
        let issuer = authority.issuer();
        logs::wait_for_line(mark, &["WARN", "cannot fetch the key set", &issuer, ALERT]).await;
        assert_eq!(get(sidecar.address("out"), "/", &[]).await.status, 503);
        logs::wait_for_line(mark, &["WARN", "no access token fetched", &issuer, ALERT]).await;
        let authorization = format!("Bearer {ADMIN}");
        let status = get(
            sidecar.address("admin"),
            "/status",
            &[("Authorization", &authorization)],
        )
        .await
        .json();
        for part in ["authorities", "credentials"] {
            let error = status[part][0]["last_error"].as_str().unwrap_or_default();
            assert!(error.contains(ALERT), "{version:?} {part}: {error}");
        }
        sidecar.stop().await;
    }
}
