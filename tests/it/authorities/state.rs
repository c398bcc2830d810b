//! Readiness, metrics and warnings.

use std::time::{Duration, UNIX_EPOCH};

use super::{ask, metrics, outcome, yaml};
use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::{Behave, Gate};
use crate::support::client::{RawAnswer, get};
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::Sidecar;
use crate::support::tls::TestTls;
use crate::support::upstream::Upstream;
use crate::support::{logs, now, until};

async fn ready(sidecar: &Sidecar) -> RawAnswer {
    get(sidecar.address("probes"), "/readyz", &[]).await
}

async fn until_ready(sidecar: &Sidecar) {
    until("it is ready", async || ready(sidecar).await.status == 200).await;
}

// "The state of the keys cannot be seen in readiness, and what happens when a fetch fails is
// written nowhere."
#[tokio::test(flavor = "multi_thread")]
async fn complaint_13_readiness_can_wait_for_keys_and_says_whose_are_missing() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.down().await;
    let start = yaml(
        &format!("{{ issuer: \"{}\" }}", authority.issuer()),
        &upstream,
    );
    let by_default = Sidecar::start(&start).await;
    assert_eq!(
        ready(&by_default).await.status,
        200,
        "by default an authority's outage is not ours"
    );
    let waiting = Sidecar::start(&format!("{start}readiness: [listeners, authorities]\n")).await;
    let answer = ready(&waiting).await;
    assert_eq!(
        (answer.status, &*answer.text()),
        (503, "not ready: authorities (users)\n")
    );
    assert!(!metrics(&waiting).await.contains("m2m_jwks_age_seconds{"));
    authority.up();
    until_ready(&waiting).await;
    assert!(
        metrics(&waiting)
            .await
            .contains("m2m_jwks_age_seconds{authority=\"users\"}")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_can_wait_for_tokens_and_has_them_fetched_without_a_request() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let gate = Gate::closed();
    authority.behave_next(Endpoint::Token, [Behave::Hold(gate.clone())]);
    authority.register_client("legacy", "a secret for readiness");
    let start = format!(
        r#"
stateDir: "@DIR@"
probes: {{ listen: 127.0.0.1:0 }}
readiness: [credentials, authorities]
credentials:
  hub: {{ tokenUrl: "{}", clientID: legacy, clientSecretFile: "@DIR@/secret" }}
outbound:
  - {{ name: out, listen: 127.0.0.1:0, upstream: "{}", credential: hub }}
"#,
        authority.token_url(),
        upstream.url()
    );
    let builder = Sidecar::builder().secret_file("secret", "legacy", "a secret for readiness");
    let sidecar = builder.start(&start).await;
    authority.wait_for_fetches(Endpoint::Token, 1).await;
    let answer = ready(&sidecar).await;
    assert_eq!(
        (answer.status, &*answer.text()),
        (503, "not ready: credentials (hub)\n")
    );
    gate.open();
    until_ready(&sidecar).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_another_issuer_are_reported_with_both_issuers() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.behave(Endpoint::OpenidConfiguration, Behave::WrongIssuer);
    authority.behave(Endpoint::AuthorizationServer, Behave::Status(404));
    let mark = logs::mark();
    let start = yaml(
        &format!("{{ issuer: \"{}\" }}", authority.issuer()),
        &upstream,
    );
    let _first = Sidecar::start(&start).await;
    let both = [
        "`https://other.example`",
        &format!("`{}`", authority.issuer()),
    ];
    logs::wait_for_line(
        mark,
        &["WARN", "cannot fetch the key set", both[0], both[1]],
    )
    .await;
    // Text of an impostor can neither forge a log line nor fill the log.
    let long = format!(
        "{{\"issuer\":\"https://x\\nWARN \\u202e forged {}\"}}",
        "y".repeat(9000)
    );
    authority.behave(Endpoint::OpenidConfiguration, Behave::Body(long));
    let _second = Sidecar::start(&start).await;
    let line = logs::wait_for_line(mark, &[&authority.issuer(), "https://x"]).await;
    assert!(
        line.contains("cannot fetch") && line.contains('…') && line.len() < 600,
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_an_authority_is_measured_and_a_wrong_one_is_reported_once() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let ahead = UNIX_EPOCH + Duration::from_secs(u64::try_from(now()).expect("after 1970") + 120);
    let date = vec![("Date".to_owned(), httpdate::fmt_http_date(ahead))];
    authority.behave(Endpoint::Jwks, Behave::WithHeaders(date));
    let start = yaml(
        &format!("{{ issuer: \"{}\" }}", authority.issuer()),
        &upstream,
    );
    let start = start.replace("users", "clockless");
    let mark = logs::mark();
    let sidecar = Sidecar::start(&start).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    assert_eq!(ask(&sidecar, &authority.token().sign()).await.status, 200);
    logs::wait_for_line(mark, &["WARN", "clockless", "clock differs"]).await;
    let text = metrics(&sidecar).await;
    let line = text
        .lines()
        .find(|line| line.starts_with("m2m_clock_skew_seconds{authority=\"clockless\"}"));
    let seconds: i64 = line
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .expect("a figure");
    // The date stands still while the test runs, and both ends are whole seconds.
    assert!((90..=120).contains(&seconds), "{seconds}");
    // A second fetch, once an unknown key may cause it, finds the same and says nothing.
    let impostor = TestKey::generate("impostor", Alg::ES256);
    until("a second fetch", async || {
        ask(&sidecar, &authority.token().signed_by(&impostor).sign()).await;
        authority.fetches(Endpoint::Jwks) >= 2
    })
    .await;
    assert_eq!(
        outcome(&ask(&sidecar, &authority.token().sign()).await),
        (200, "-")
    );
    assert_eq!(
        logs::lines_since(mark, &["clockless", "clock differs"]).len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_and_its_end_are_said_once_each_with_url_and_cause() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.down().await;
    let mark = logs::mark();
    let start = yaml(
        &format!("{{ issuer: \"{}\" }}", authority.issuer()),
        &upstream,
    );
    // A name of its own, because all tests share the log.
    let sidecar = Sidecar::start(&start.replace("users", "restored")).await;
    let url = format!("{}/.well-known/openid-configuration", authority.issuer());
    let said = [
        "WARN",
        "cannot fetch the key set",
        &url,
        "nothing listens there",
    ];
    logs::wait_for_line(mark, &said).await;
    assert_eq!(
        outcome(&ask(&sidecar, &authority.token().sign()).await),
        (503, "keys_unavailable")
    );
    authority.up();
    logs::wait_for_line(mark, &["INFO", "fetched the key set again", "restored"]).await;
    assert!(logs::lines_since(mark, &said).len() <= 2);
    assert_eq!(
        outcome(&ask(&sidecar, &authority.token().sign()).await),
        (200, "-")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fetch_of_keys_names_the_check_of_tls_or_the_ports_protocol() {
    let upstream = Upstream::start();
    let (plain, tls) = (Authority::start_tls(), Authority::start_tls());
    // Answers a handshake in plain HTTP, as most servers do.
    plain.break_tls(true);
    let elsewhere = Authority::start();
    let expects_tls = "HTTP/1.1 400 Bad Request\r\nContent-Length: 47\r\n\r\nClient sent an HTTP \
        request to an HTTPS server.";
    elsewhere.behave(Endpoint::Jwks, Behave::Raw(expects_tls.into()));
    for (jwks, says) in [
        (
            tls.jwks_url(),
            "no trusted authority has issued its certificate",
        ),
        (plain.jwks_url(), "it answers without TLS"),
        (
            tls.jwks_url().replace("https://", "http://"),
            "must begin with `https://`",
        ),
        (elsewhere.jwks_url(), "it speaks TLS on this port"),
        (
            "https://no-such-host.invalid/jwks".to_owned(),
            "its name cannot be resolved",
        ),
    ] {
        let mark = logs::mark();
        let start = yaml(
            &format!("{{ issuer: \"https://idp.example\", jwksUri: \"{jwks}\" }}"),
            &upstream,
        );
        let _sidecar = Sidecar::start(&start).await;
        logs::wait_for_line(mark, &["WARN", "cannot fetch the key set", &jwks, says]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_authority_that_is_the_servers_own_certificate_is_trusted() {
    let own = TestTls::self_signed_authority(&["localhost", "127.0.0.1"]);
    let (pem, upstream) = (own.ca_pem.clone(), Upstream::start());
    let authority = Authority::start_with("", Some(own));
    let authorities = format!(
        "{{ issuer: \"{}\", caFile: \"@DIR@/ca.pem\" }}",
        authority.issuer()
    );
    let sidecar = Sidecar::builder()
        .file("ca.pem", pem)
        .start(&yaml(&authorities, &upstream))
        .await;
    assert_eq!(
        outcome(&ask(&sidecar, &authority.token().sign()).await),
        (200, "-")
    );
}
