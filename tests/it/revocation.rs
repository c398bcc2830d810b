//! Tokens that were taken back: by our own issuer, a signed list, plgd's tokens endpoint,
//! introspection.

mod trouble;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use m2m_sidecar::for_tests::domain::revoked::HashedClientId;
use serde_json::json;
use tokio::time::Instant;

use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::{Behave, Gate};
use crate::support::client::{RawAnswer, get, post_form};
use crate::support::clock::MovableClock;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;
use crate::support::{logs, now, until};

/// A sidecar that trusts `authority`, with this text as its `revocation`.
async fn sidecar(authority: &Authority, revocation: &str, upstream: &Upstream) -> Sidecar {
    let yaml = yaml_of(authority, revocation, upstream);
    let builder =
        Sidecar::builder().secret_file("secret", "res:server", "a secret of 16 bytes: %+");
    let sidecar = builder.start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    sidecar
}

fn yaml_of(authority: &Authority, revocation: &str, upstream: &Upstream) -> String {
    format!(
        r#"
stateDir: "@DIR@/state"
probes: {{ listen: 127.0.0.1:0 }}
authorities: {{ users: {{ issuer: "{}", revocation: {revocation} }} }}
credentials:
  introspector: {{ tokenUrl: "{}", clientID: "res:server", clientSecretFile: "@DIR@/secret" }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [users], audiences: any, rules: [{{ paths: ["/**"] }}] }}
"#,
        authority.issuer(),
        authority.token_url(),
        upstream.url()
    )
}

async fn ask(sidecar: &Sidecar, token: &str) -> RawAnswer {
    get(
        sidecar.address("api"),
        "/",
        &[("Authorization", &format!("Bearer {token}"))],
    )
    .await
}

fn judged(answer: &RawAnswer) -> (u16, String) {
    (
        answer.status,
        answer.header("x-m2m-reason").unwrap_or("-").to_owned(),
    )
}

async fn judge(sidecar: &Sidecar, token: &str) -> (u16, String) {
    judged(&ask(sidecar, token).await)
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

/// Asks until the answer is this one.
async fn becomes(sidecar: &Sidecar, token: &str, expected: (u16, String)) {
    until(&format!("{expected:?}"), async || {
        judge(sidecar, token).await == expected
    })
    .await;
}

const UUIDS: [&str; 2] = [
    "11111111-2222-4333-8444-555555555555",
    "99999999-2222-4333-8444-555555555555",
];

// ---- our own issuer

const OWN: &str = r#"
stateDir: "@DIR@"
store: { url: "sqlite:@DIR@/m2m.db" }
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  clients:
    - { id: legacy, secretFile: "@DIR@/legacy", allowedGrantTypes: [client_credentials] }
    - { id: other, secretFile: "@DIR@/other", allowedGrantTypes: [client_credentials] }
authorities: { self: { issuer: http://issuer.test } }
inbound:
  - { name: api, listen: 127.0.0.1:0, upstream: "@UPSTREAM@", authorities: [self], audiences: any, rules: [{ paths: ["/**"] }] }
"#;

async fn own(upstream: &Upstream) -> Sidecar {
    let builder = Sidecar::builder()
        .secret_file("legacy", "legacy", "legacy-secret-of-24-bytes")
        .secret_file("other", "other", "other-secret-of-24-bytes");
    builder
        .start(&OWN.replace("@UPSTREAM@", &upstream.url()))
        .await
}

fn basic(id: &str) -> String {
    format!(
        "Basic {}",
        STANDARD.encode(format!("{id}:{id}-secret-of-24-bytes"))
    )
}

async fn issue(sidecar: &Sidecar, id: &str) -> String {
    let authorization = basic(id);
    let headers = [("Authorization", authorization.as_str())];
    let answer = post_form(
        sidecar.address("issuer"),
        "/oauth/token",
        &[("grant_type", "client_credentials")],
        &headers,
    );
    let token = answer.await.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    logs::remember_secret(&token);
    token
}

async fn revoke(sidecar: &Sidecar, id: &str, form: &[(&str, &str)]) -> RawAnswer {
    let authorization = basic(id);
    post_form(
        sidecar.address("issuer"),
        "/oauth/revoke",
        form,
        &[("Authorization", &authorization)],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_our_own_issuer_revokes_is_refused_at_once_and_after_a_restart() {
    let upstream = Upstream::start();
    let sidecar = own(&upstream).await;
    let (token, kept) = (
        issue(&sidecar, "legacy").await,
        issue(&sidecar, "legacy").await,
    );
    // Remembered as verified, and revoked all the same.
    assert_eq!(judge(&sidecar, &token).await, is(200, "-"));
    let answer = revoke(
        &sidecar,
        "legacy",
        &[("token", &token), ("token_type_hint", "access_token")],
    )
    .await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}\n"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let refused = ask(&sidecar, &token).await;
    assert_eq!(judged(&refused), is(401, "revoked"));
    assert!(
        refused
            .header("www-authenticate")
            .unwrap()
            .contains(r#"error="invalid_token""#)
    );
    assert_eq!(judge(&sidecar, &kept).await, is(200, "-"));
    // Once more is no error (RFC 7009 §2.2).
    assert_eq!(
        revoke(&sidecar, "legacy", &[("token", &token)])
            .await
            .status,
        200
    );
    let again = sidecar.stop_keeping_state().await;
    let sidecar = again
        .start(&OWN.replace("@UPSTREAM@", &upstream.url()))
        .await;
    assert_eq!(judge(&sidecar, &token).await, is(401, "revoked"));
    assert_eq!(judge(&sidecar, &kept).await, is(200, "-"));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_revokes_its_own_tokens_only_and_must_prove_who_it_is() {
    let upstream = Upstream::start();
    let sidecar = own(&upstream).await;
    let token = issue(&sidecar, "legacy").await;
    // Another client's token, nonsense, and a token with a broken signature: nothing happens, and
    // nobody learns why.
    let broken = format!("{}AAAA", &token[..token.len() - 4]);
    logs::remember_secret(&broken);
    for (client, token) in [
        ("other", token.as_str()),
        ("legacy", "nonsense"),
        ("legacy", &broken),
    ] {
        assert_eq!(
            revoke(&sidecar, client, &[("token", token)]).await.status,
            200
        );
    }
    let address = sidecar.address("issuer");
    let nobody = post_form(address, "/oauth/revoke", &[("token", &token)], &[]).await;
    assert_eq!(
        (nobody.status, nobody.json()["error"].as_str()),
        (401, Some("invalid_client"))
    );
    let wrong = [("Authorization", "Basic bGVnYWN5Ondyb25n")];
    let wrong = post_form(address, "/oauth/revoke", &[("token", &token)], &wrong).await;
    assert_eq!(
        (wrong.status, wrong.header("www-authenticate").is_some()),
        (401, true)
    );
    let missing = revoke(&sidecar, "legacy", &[("token_type_hint", "access_token")]).await;
    assert_eq!(
        (missing.status, missing.json()["error"].as_str()),
        (400, Some("invalid_request"))
    );
    let twice = revoke(&sidecar, "legacy", &[("token", &token), ("token", "x")]).await;
    assert_eq!(twice.status, 400);
    assert_eq!(judge(&sidecar, &token).await, is(200, "-"));
}

/// The whole way between two sidecars: revoked at the one, refused by the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_elsewhere_learns_from_the_signed_list() {
    let upstream = Upstream::start();
    let issuer = own(&upstream).await;
    let at = issuer.address("issuer");
    // The other one finds the issuer by its address, so it must be named by it.
    issuer.stop().await;
    let yaml = OWN
        .replace("@UPSTREAM@", &upstream.url())
        .replace("http://issuer.test", &format!("http://{at}"));
    let yaml = yaml.replace(
        "listen: 127.0.0.1:0\n  clients",
        &format!("listen: {at}\n  clients"),
    );
    let builder = Sidecar::builder()
        .secret_file("legacy", "legacy", "legacy-secret-of-24-bytes")
        .secret_file("other", "other", "other-secret-of-24-bytes");
    let issuer = builder.start(&yaml).await;
    let elsewhere = Sidecar::start(&format!(
        r#"
stateDir: "@DIR@"
authorities: {{ remote: {{ issuer: "http://{at}", revocation: {{ kind: auto, maxAge: 3s, maxStale: 3s }} }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [remote], audiences: any, rules: [{{ paths: ["/**"] }}] }}
"#,
        upstream.url()
    ))
    .await;
    let (token, kept) = (
        issue(&issuer, "legacy").await,
        issue(&issuer, "legacy").await,
    );
    becomes(&elsewhere, &token, is(200, "-")).await;
    assert_eq!(
        revoke(&issuer, "legacy", &[("token", &token)]).await.status,
        200
    );
    becomes(&elsewhere, &token, is(401, "revoked")).await;
    assert_eq!(judge(&elsewhere, &kept).await, is(200, "-"));
    // The issuer gone: the list grows too old, and then nothing is known of any token.
    issuer.stop().await;
    becomes(&elsewhere, &kept, is(503, "revocation_unavailable")).await;
    assert!(ask(&elsewhere, &kept).await.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_a_signed_jwt_whose_etag_changes_only_with_it() {
    let upstream = Upstream::start();
    let sidecar = own(&upstream).await;
    let token = issue(&sidecar, "legacy").await;
    let at = sidecar.address("issuer");
    let first = get(at, "/oauth/revocations", &[]).await;
    assert_eq!(
        (first.status, first.header("content-type")),
        (200, Some("application/jwt"))
    );
    let etag = first.header("etag").expect("an ETag").to_owned();
    let same = get(at, "/oauth/revocations", &[("If-None-Match", &etag)]).await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    revoke(&sidecar, "legacy", &[("token", &token)]).await;
    let second = get(at, "/oauth/revocations", &[("If-None-Match", &etag)]).await;
    assert_eq!(second.status, 200);
    assert_ne!(second.header("etag"), Some(etag.as_str()));
    // The list is no access token.
    assert_eq!(judge(&sidecar, &second.text()).await, is(401, "token_type"));
}

// ---- a signed list

async fn with_list(max_age: &str, upstream: &Upstream) -> (Authority, Sidecar) {
    let authority = Authority::start();
    authority.advertise("revocation_list_uri", "/revocations");
    let sidecar = sidecar(&authority, &format!("{{ maxAge: {max_age} }}"), upstream).await;
    authority.wait_for_fetches(Endpoint::Revocations, 1).await;
    (authority, sidecar)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_revokes_single_tokens_and_all_of_a_client_up_to_a_time() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_list("3s", &upstream).await;
    let one = authority.token().claim("jti", "one").sign();
    let old = authority
        .token()
        .claim("jti", "two")
        .claim("client_id", "c")
        .claim("iat", now() - 100)
        .sign();
    let new = authority
        .token()
        .claim("jti", "three")
        .claim("client_id", "c")
        .claim("iat", now() - 10)
        .sign();
    let unnamed = authority.token().without("jti").sign();
    for token in [&one, &old, &new] {
        becomes(&sidecar, token, is(200, "-")).await;
    }
    assert_eq!(judge(&sidecar, &unnamed).await, is(401, "malformed_claims"));
    let list = json!({"iss": authority.issuer(), "iat": now(), "revoked": ["one"], "not_before": {"c": now() - 50}});
    authority.publish_list(list);
    becomes(&sidecar, &one, is(401, "revoked")).await;
    assert_eq!(judge(&sidecar, &old).await, is(401, "revoked"));
    assert_eq!(judge(&sidecar, &new).await, is(200, "-"));
    // The same of an issuer that does not say which clients there are.
    let other = authority
        .token()
        .claim("jti", "4")
        .claim("client_id", "d")
        .claim("iat", now() - 100)
        .sign();
    becomes(&sidecar, &other, is(200, "-")).await;
    let hashed = ["c", "d"].map(|id| HashedClientId::of(id).to_string());
    let ends = json!({ (&hashed[0]): now() - 50, (&hashed[1]): now() - 50 });
    authority.publish_list(json!({
        "iss": authority.issuer(), "iat": now(), "revoked": [], "not_before": [], "not_before_sha256": ends,
    }));
    becomes(&sidecar, &other, is(401, "revoked")).await;
    assert_eq!(judge(&sidecar, &old).await, is(401, "revoked"));
    assert_eq!(judge(&sidecar, &new).await, is(200, "-"));
    becomes(&sidecar, &one, is(200, "-")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_list_of_the_issuers_own_is_believed() {
    let upstream = Upstream::start();
    let stranger = Authority::start();
    type Make = fn(&Authority, &Authority) -> String;
    fn list(of: &Authority) -> serde_json::Value {
        json!({"iss": of.issuer(), "iat": now(), "revoked": []})
    }
    fn typ(of: &Authority) -> crate::support::tokens::TokenBuilder {
        of.token().header("typ", "m2m-revocations+jwt")
    }
    let lists: [(Make, (u16, String)); 6] = [
        (|own, _| typ(own).sign_payload(&list(own)), is(200, "-")),
        (
            |own, stranger| typ(stranger).sign_payload(&list(own)),
            is(503, "revocation_unavailable"),
        ),
        (
            |own, _| own.token().sign_payload(&list(own)),
            is(503, "revocation_unavailable"),
        ),
        (
            |own, _| typ(own).unsigned().sign_payload(&list(own)),
            is(503, "revocation_unavailable"),
        ),
        (
            |own, stranger| typ(own).sign_payload(&list(stranger)),
            is(503, "revocation_unavailable"),
        ),
        (
            |_, _| "nonsense".to_owned(),
            is(503, "revocation_unavailable"),
        ),
    ];
    for (number, (make, expected)) in lists.into_iter().enumerate() {
        let fresh = Authority::start();
        fresh.advertise("revocation_list_uri", "/revocations");
        let bad = make(&fresh, &stranger);
        let raw = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{bad}",
            bad.len()
        );
        fresh.behave(Endpoint::Revocations, Behave::Raw(raw.into_bytes()));
        let other = sidecar(&fresh, "list", &upstream).await;
        assert_eq!(
            judge(&other, &fresh.token().sign()).await,
            expected,
            "{number}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_list_never_brings_a_revoked_token_back() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_list("3s", &upstream).await;
    let token = authority.token().claim("jti", "one").sign();
    let list = |iat: i64, revoked: &[&str]| json!({"iss": authority.issuer(), "iat": iat, "revoked": revoked});
    authority.publish_list(list(now(), &["one"]));
    becomes(&sidecar, &token, is(401, "revoked")).await;
    authority.publish_list(list(now() - 100, &[]));
    let seen = authority.fetches(Endpoint::Revocations);
    authority
        .wait_for_fetches(Endpoint::Revocations, seen + 2)
        .await;
    assert_ne!(judge(&sidecar, &token).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_issuer_that_lags_behind_brings_no_revoked_token_back() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_list("3s", &upstream).await;
    let token = authority.token().claim("jti", "one").sign();
    let list = |iat: i64, revision: i64, revoked: &[&str]| {
        let issuer = authority.issuer();
        json!({"iss": issuer, "iat": iat, "revision": revision, "revoked": revoked})
    };
    authority.publish_list(list(now(), 8, &["one"]));
    becomes(&sidecar, &token, is(401, "revoked")).await;
    // Signed later, by one that has read the store before the revocation.
    authority.publish_list(list(now(), 7, &[]));
    let seen = authority.fetches(Endpoint::Revocations);
    authority
        .wait_for_fetches(Endpoint::Revocations, seen + 2)
        .await;
    assert_eq!(judge(&sidecar, &token).await, is(401, "revoked"));
    // Signed earlier, by one that has read more.
    authority.publish_list(list(now() - 5, 9, &["two"]));
    becomes(&sidecar, &token, is(200, "-")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_had_is_503_unless_told_otherwise() {
    let upstream = Upstream::start();
    for behave in [
        Behave::Status(500),
        Behave::Reset,
        Behave::EmptyBody,
        Behave::InvalidJson,
        Behave::Truncated,
    ] {
        let authority = Authority::start();
        authority.advertise("revocation_list_uri", "/revocations");
        authority.behave(Endpoint::Revocations, behave.clone());
        let strict = sidecar(&authority, "auto", &upstream).await;
        assert_eq!(
            judge(&strict, &authority.token().sign()).await,
            is(503, "revocation_unavailable"),
            "{behave:?}"
        );
        let lenient = sidecar(&authority, "{ onFailure: accept }", &upstream).await;
        assert_eq!(
            judge(&lenient, &authority.token().sign()).await,
            is(200, "-"),
            "{behave:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_named_but_unusable_is_not_the_same_as_none() {
    let upstream = Upstream::start();
    for (member, value) in [
        ("revocation_list_uri", json!("ftp://x/")),
        ("revocation_list_uri", json!(7)),
        ("plgd_tokens_endpoint", json!("not a url")),
        ("plgd_tokens_endpoint", json!(null)),
    ] {
        let authority = Authority::start();
        authority.advertise_value(member, value.clone());
        let auto = sidecar(&authority, "auto", &upstream).await;
        assert_eq!(
            judge(&auto, &authority.token().sign()).await,
            is(503, "revocation_unavailable"),
            "{value}"
        );
        let none = sidecar(&authority, "none", &upstream).await;
        assert_eq!(judge(&none, &authority.token().sign()).await, is(200, "-"));
    }
    // Asked for, and nowhere to be found.
    let silent = Authority::start();
    for kind in [
        "list",
        "plgd",
        "{ kind: introspection, credential: introspector }",
    ] {
        let sidecar = sidecar(&silent, kind, &upstream).await;
        assert_eq!(
            judge(&sidecar, &silent.token().sign()).await,
            is(503, "revocation_unavailable"),
            "{kind}"
        );
    }
    let auto = sidecar(&silent, "auto", &upstream).await;
    assert_eq!(judge(&auto, &silent.token().sign()).await, is(200, "-"));
}

/// A token that the list revokes, and one that it does not, once both are judged so.
async fn revoked_and_good(authority: &Authority, sidecar: &Sidecar) -> (String, String) {
    authority.revoke("one");
    let day = 24 * 3600;
    let revoked = authority.token().claim("jti", "one").expires_in(day).sign();
    let good = authority.token().claim("jti", "two").expires_in(day).sign();
    becomes(sidecar, &revoked, is(401, "revoked")).await;
    assert_eq!(judge(sidecar, &good).await, is(200, "-"));
    (revoked, good)
}

/// How old the list is, as the metrics have it.
async fn age(sidecar: &Sidecar) -> Option<u64> {
    let metrics = get(sidecar.address("probes"), "/metrics", &[]).await.text();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("m2m_revocation_age_seconds{authority=\"users\"}"));
    line.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_list_serves_while_the_issuer_is_away_until_it_is_too_old() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_list("1s, maxStale: 4s", &upstream).await;
    let (revoked, good) = revoked_and_good(&authority, &sidecar).await;
    let mark = logs::mark();
    authority.down().await;
    until("the list is older than maxAge", async || {
        age(&sidecar).await >= Some(2)
    })
    .await;
    assert_eq!(judge(&sidecar, &good).await, is(200, "-"));
    assert_eq!(judge(&sidecar, &revoked).await, is(401, "revoked"));
    logs::wait_for_line(
        mark,
        &["WARN", "cannot learn what was revoked", "serves_for=\"4s\""],
    )
    .await;
    becomes(&sidecar, &good, is(503, "revocation_unavailable")).await;
    assert!(age(&sidecar).await >= Some(4));
    authority.up();
    becomes(&sidecar, &good, is(200, "-")).await;
    assert_eq!(judge(&sidecar, &revoked).await, is(401, "revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_list_serves_after_a_restart_while_the_issuer_is_away() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    authority.advertise("revocation_list_uri", "/revocations");
    authority.revoke("one");
    let yaml = yaml_of(&authority, "auto", &upstream);
    let second = Sidecar::builder()
        .secret_file("secret", "res:server", "a secret of 16 bytes: %+")
        .start(&yaml)
        .await;
    let (revoked, good) = revoked_and_good(&authority, &second).await;
    let state = second.path("state");
    until("keys and list are kept", async || {
        let kept = std::fs::read_dir(&state).map_or(0, |dir| {
            dir.filter(|file| {
                file.as_ref()
                    .is_ok_and(|file| file.path().extension() == Some("json".as_ref()))
            })
            .count()
        });
        kept == 2
    })
    .await;
    authority.down().await;
    let clock = MovableClock::now();
    let third = second
        .stop_keeping_state()
        .await
        .clock(clock.clone())
        .start(&yaml)
        .await;
    assert_eq!(judge(&third, &revoked).await, is(401, "revoked"));
    assert_eq!(judge(&third, &good).await, is(200, "-"));
    // After `maxStale`, 15 minutes unless it is set, it serves no more.
    let builder = third.stop_keeping_state().await;
    clock.forward(Duration::from_secs(16 * 60));
    let fourth = builder.clock(clock).start(&yaml).await;
    assert_eq!(
        judge(&fourth, &good).await,
        is(503, "revocation_unavailable")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_list_of_somebody_else_or_of_long_ago_is_not_believed() {
    let (upstream, stranger) = (Upstream::start(), Authority::start());
    for (by_stranger, signed_ago) in [(true, 0), (false, 2000)] {
        let (authority, sidecar) = with_list("30s", &upstream).await;
        assert_eq!(
            judge(&sidecar, &authority.token().sign()).await,
            is(200, "-")
        );
        let state = sidecar.path("state");
        let kept = || {
            let files = std::fs::read_dir(&state)
                .into_iter()
                .flatten()
                .flatten()
                .map(|file| file.path());
            let mut lists =
                files.filter(|file| file.display().to_string().contains("revocations-"));
            lists.find(|file| file.extension() == Some("json".as_ref()))
        };
        until("the list is kept", async || kept().is_some()).await;
        let file = kept().expect("just seen");
        let mut text: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        // The note of when it was fetched stays: it is not signed.
        let payload = json!({"iss": authority.issuer(), "iat": now() - signed_ago, "revoked": []});
        let signer = if by_stranger { &stranger } else { &authority };
        text["list"] = signer
            .token()
            .header("typ", "m2m-revocations+jwt")
            .sign_payload(&payload)
            .into();
        std::fs::write(&file, text.to_string()).unwrap();
        authority.down().await;
        let builder = sidecar.stop_keeping_state().await;
        let again = builder.start(&yaml_of(&authority, "auto", &upstream)).await;
        let judged = judge(&again, &authority.token().sign()).await;
        assert_eq!(
            judged,
            is(503, "revocation_unavailable"),
            "{by_stranger} {signed_ago}"
        );
    }
}

/// The list came before the keys that verify it, and was not asked for again for a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_has_no_second_without_the_list() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    let gate = Gate::closed();
    authority.behave_next(Endpoint::Jwks, [Behave::Hold(gate.clone())]);
    let list = format!(
        "{{ kind: list, endpoint: \"{}/revocations\" }}",
        authority.issuer()
    );
    let yaml = yaml_of(&authority, &list, &upstream).replace(
        "revocation:",
        &format!("jwksUri: \"{}\", revocation:", authority.jwks_url()),
    );
    let builder =
        Sidecar::builder().secret_file("secret", "res:server", "a secret of 16 bytes: %+");
    let sidecar = builder.start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    let token = authority.token().sign();
    let (answer, ()) = tokio::join!(judge(&sidecar, &token), async { gate.open() });
    assert_eq!(answer, is(200, "-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_by_authorities_waits_for_the_list_too() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    authority.advertise("revocation_list_uri", "/revocations");
    authority.behave(Endpoint::Revocations, Behave::Status(500));
    let yaml = format!(
        "readiness: [authorities]\n{}",
        yaml_of(&authority, "{ maxAge: 1s }", &upstream)
    );
    let builder =
        Sidecar::builder().secret_file("secret", "res:server", "a secret of 16 bytes: %+");
    let sidecar = builder.start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Revocations, 1).await;
    let ready = get(sidecar.address("probes"), "/readyz", &[]).await;
    assert!(
        ready.status == 503 && ready.text().contains("authorities (users)"),
        "{}",
        ready.text()
    );
    authority.behave(Endpoint::Revocations, Behave::Normal);
    until("it is ready", async || {
        get(sidecar.address("probes"), "/readyz", &[]).await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_and_the_status_say_which_way_is_asked() {
    let upstream = Upstream::start();
    let admin = "admin: { listen: 127.0.0.1:0, tokenFile: \"@DIR@/admin\" }\n";
    let token = "an-admin-token-of-enough-bytes-0123456789";
    for (member, revocation, with_uri, level, method, said) in [
        (
            "revocation_list_uri",
            "auto",
            false,
            "INFO",
            "list",
            "list at ",
        ),
        (
            "plgd_tokens_endpoint",
            "auto",
            false,
            "INFO",
            "plgd",
            "plgd's tokens endpoint at ",
        ),
        (
            "nothing_of_interest",
            "auto",
            false,
            "INFO",
            "none",
            "none (the issuer's metadata names neither",
        ),
        (
            "nothing_of_interest",
            "none",
            false,
            "INFO",
            "none",
            "none (the configuration says so)",
        ),
        (
            "revocation_list_uri",
            "auto",
            true,
            "WARN",
            "none",
            "none (`jwksUri` or `jwksFile` names the keys",
        ),
    ] {
        let authority = Authority::start();
        authority.advertise(member, "/revocations");
        let mut yaml = yaml_of(&authority, revocation, &upstream) + admin;
        let name = format!("users-{}", authority.address().port());
        yaml = yaml.replace("users", &name);
        if with_uri {
            yaml = yaml.replace(
                "revocation:",
                &format!("jwksUri: \"{}\", revocation:", authority.jwks_url()),
            );
        }
        let mark = logs::mark();
        let builder = Sidecar::builder()
            .secret_file("secret", "res:server", "a secret of 16 bytes: %+")
            .secret_file("admin", "admin", token);
        let sidecar = builder.start(&yaml).await;
        logs::wait_for_line(mark, &[level, &name, "revocation=", said]).await;
        let headers = [("Authorization", format!("Bearer {token}"))];
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let status = get(sidecar.address("admin"), "/status", &headers)
            .await
            .json();
        let shown = &status["authorities"][0]["revocation"];
        assert_eq!(shown["method"], method, "{shown}");
        assert!(
            shown["description"].as_str().unwrap().starts_with(said),
            "{shown}"
        );
        if method == "list" {
            until("the list is there", async || {
                let status = get(sidecar.address("admin"), "/status", &headers)
                    .await
                    .json();
                status["authorities"][0]["revocation"]["age_seconds"].is_u64()
            })
            .await;
            assert_eq!(shown["max_stale_seconds"], 900, "{shown}");
        }
    }
}

// ---- plgd's tokens endpoint

async fn with_plgd(upstream: &Upstream) -> (Authority, Sidecar) {
    let authority = Authority::start();
    authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
    let sidecar = sidecar(&authority, "auto", upstream).await;
    (authority, sidecar)
}

#[tokio::test(flavor = "multi_thread")]
async fn plgds_tokens_endpoint_is_asked_as_plgds_services_ask_it() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_plgd(&upstream).await;
    let token = authority.token().claim("jti", UUIDS[0]).sign();
    for _ in 0..3 {
        assert_eq!(judge(&sidecar, &token).await, is(200, "-"));
    }
    // Once: a good answer holds for 30 s.
    let questions = authority.revocation_questions();
    assert_eq!(questions.len(), 1);
    let expected = format!(
        "GET /api/v1/tokens?idFilter={}&includeBlacklisted=true HTTP/1.1",
        UUIDS[0]
    );
    assert_eq!(questions[0].start_line, expected);
    let header = |name: &str| {
        questions[0]
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(header("accept"), "application/protojson");
    assert_eq!(header("authorization"), format!("bearer {token}"));
    // A token without a UUID is worth nothing, and nobody is asked about it.
    for jti in [json!("one"), json!("")] {
        let unnamed = authority.token().claim("jti", jti).sign();
        assert_eq!(judge(&sidecar, &unnamed).await, is(401, "malformed_claims"));
    }
    assert_eq!(
        judge(&sidecar, &authority.token().without("jti").sign()).await,
        is(401, "malformed_claims")
    );
    assert_eq!(authority.fetches(Endpoint::PlgdTokens), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blacklisted_token_stays_refused_without_another_question() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_plgd(&upstream).await;
    authority.revoke(UUIDS[0]);
    let token = authority.token().claim("jti", UUIDS[0]).sign();
    let good = authority.token().claim("jti", UUIDS[1]).sign();
    for _ in 0..3 {
        assert_eq!(judge(&sidecar, &token).await, is(401, "revoked"));
        assert_eq!(judge(&sidecar, &good).await, is(200, "-"));
    }
    assert_eq!(authority.fetches(Endpoint::PlgdTokens), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_answer_is_asked_for_again_when_it_is_too_old() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
    let sidecar = sidecar(&authority, "{ maxAge: 1s, maxStale: 1s }", &upstream).await;
    let token = authority.token().claim("jti", UUIDS[0]).sign();
    assert_eq!(judge(&sidecar, &token).await, is(200, "-"));
    authority.revoke(UUIDS[0]);
    becomes(&sidecar, &token, is(401, "revoked")).await;
    assert_eq!(authority.fetches(Endpoint::PlgdTokens), 2);
    // An endpoint that is gone tells nothing.
    let other = authority.token().claim("jti", UUIDS[1]).sign();
    assert_eq!(judge(&sidecar, &other).await, is(200, "-"));
    authority.down().await;
    becomes(&sidecar, &other, is(503, "revocation_unavailable")).await;
    assert_eq!(judge(&sidecar, &token).await, is(401, "revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_answer_serves_while_the_endpoint_is_away() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
    let sidecar = sidecar(&authority, "{ maxAge: 1s, maxStale: 4s }", &upstream).await;
    let token = authority.token().claim("jti", UUIDS[0]).sign();
    let unknown = authority.token().claim("jti", UUIDS[1]).sign();
    let began = Instant::now();
    assert_eq!(judge(&sidecar, &token).await, is(200, "-"));
    authority.down().await;
    until("the answer is older than maxAge", async || {
        began.elapsed() > Duration::from_secs(2)
    })
    .await;
    assert_eq!(judge(&sidecar, &token).await, is(200, "-"));
    assert_eq!(
        judge(&sidecar, &unknown).await,
        is(503, "revocation_unavailable")
    );
    becomes(&sidecar, &token, is(503, "revocation_unavailable")).await;
    assert!(began.elapsed() >= Duration::from_secs(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_with_one_token_ask_once_and_share_the_answer() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_plgd(&upstream).await;
    let gate = Gate::closed();
    authority.behave(Endpoint::PlgdTokens, Behave::Hold(gate.clone()));
    for (jti, expected) in [(UUIDS[0], is(200, "-")), (UUIDS[1], is(401, "revoked"))] {
        if expected.0 == 401 {
            authority.revoke(jti);
        }
        let token = authority.token().claim("jti", jti).sign();
        let before = authority.fetches(Endpoint::PlgdTokens);
        let asked = futures_util::future::join_all((0..50).map(|_| judge(&sidecar, &token)));
        let (answers, ()) = tokio::join!(asked, async {
            authority
                .wait_for_fetches(Endpoint::PlgdTokens, before + 1)
                .await;
            gate.open();
        });
        assert!(
            answers.iter().all(|answer| *answer == expected),
            "{answers:?}"
        );
        assert_eq!(authority.fetches(Endpoint::PlgdTokens), before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tokens_endpoint_in_trouble_is_503_and_is_not_stormed() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_plgd(&upstream).await;
    authority.behave(Endpoint::PlgdTokens, Behave::Status(500));
    let token = authority.token().claim("jti", UUIDS[0]).sign();
    let began = Instant::now();
    let answers = futures_util::future::join_all((0..100).map(|_| judge(&sidecar, &token))).await;
    assert!(
        answers
            .iter()
            .all(|answer| *answer == is(503, "revocation_unavailable")),
        "{answers:?}"
    );
    // One question a second and token.
    let allowed = 1 + usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(authority.fetches(Endpoint::PlgdTokens) <= allowed);
    authority.behave(Endpoint::PlgdTokens, Behave::Normal);
    becomes(&sidecar, &token, is(200, "-")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_silent_is_waited_for_a_few_times_whatever_comes() {
    let upstream = Upstream::start();
    for revocation in ["auto", "{ onFailure: accept }"] {
        let authority = Authority::start();
        authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
        let sidecar = sidecar(&authority, revocation, &upstream).await;
        authority.behave(Endpoint::PlgdTokens, Behave::Hang);
        let token = authority.token().claim("jti", UUIDS[0]).sign();
        let began = Instant::now();
        let answers =
            futures_util::future::join_all((0..16).map(|_| judge(&sidecar, &token))).await;
        let expected = if revocation == "auto" {
            is(503, "revocation_unavailable")
        } else {
            is(200, "-")
        };
        assert!(
            answers.iter().all(|answer| *answer == expected),
            "{answers:?}"
        );
        // Several tokens without an answer are the authority's silence, and are remembered for
        // other tokens too.
        for n in 0..8 {
            let other = format!("3c9d8a3e-52bc-4a39-8a1c-00000000000{n}");
            let other = authority.token().claim("jti", other).sign();
            assert_eq!(judge(&sidecar, &other).await, expected);
        }
        // A question is given up after two seconds and the silence remembered for one, which makes
        // one in three seconds after the first three; if each token waited for its own, it would be
        // one in two.
        let allowed =
            3 + usize::try_from((began.elapsed().as_secs() + 2).saturating_sub(6) / 3).unwrap();
        let fetches = authority.fetches(Endpoint::PlgdTokens);
        assert!(fetches <= allowed, "{fetches}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_another_time_is_not_believed() {
    let upstream = Upstream::start();
    for (iat, reason) in [
        (now() - 7200, "revocation_unavailable"),
        (now() + 7200, "revocation_unavailable"),
        (now(), "-"),
    ] {
        let authority = Authority::start();
        authority.advertise("revocation_list_uri", "/revocations");
        authority.publish_list(json!({"iss": authority.issuer(), "iat": iat, "revoked": []}));
        let sidecar = sidecar(&authority, "auto", &upstream).await;
        assert_eq!(
            judge(&sidecar, &authority.token().sign()).await.1,
            reason,
            "{iat}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_say_less_than_before_do_not_end_the_asking() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_plgd(&upstream).await;
    authority.revoke(UUIDS[0]);
    let token = authority.token().claim("jti", UUIDS[0]).sign();
    assert_eq!(judge(&sidecar, &token).await, is(401, "revoked"));
    // A moment's trouble at the first place is no reason to ask the second.
    let seen = authority.fetches(Endpoint::AuthorizationServer);
    authority.behave(Endpoint::OpenidConfiguration, Behave::Status(503));
    let stranger = authority
        .token()
        .header("kid", "unknown")
        .claim("jti", UUIDS[1])
        .sign();
    becomes(&sidecar, &stranger, is(503, "keys_unavailable")).await;
    assert_eq!(authority.fetches(Endpoint::AuthorizationServer), seen);
    assert_eq!(judge(&sidecar, &token).await, is(401, "revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_about_a_token_that_is_bad_anyway() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_plgd(&upstream).await;
    let stranger = Authority::start();
    for bad in [
        authority
            .token()
            .claim("jti", UUIDS[0])
            .expires_in(-100)
            .sign(),
        authority
            .token()
            .claim("jti", UUIDS[0])
            .signed_by(&stranger.key("es256-1"))
            .sign(),
        stranger.token().claim("jti", UUIDS[0]).sign(),
    ] {
        assert_eq!(judge(&sidecar, &bad).await.0, 401);
    }
    assert_eq!(authority.fetches(Endpoint::PlgdTokens), 0);
}

// ---- introspection

#[tokio::test(flavor = "multi_thread")]
async fn introspection_authenticates_with_the_credential_and_believes_only_active() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    authority.advertise("introspection_endpoint", "/introspect");
    authority.register_client("res:server", "a secret of 16 bytes: %+");
    let sidecar = sidecar(
        &authority,
        "{ kind: introspection, credential: introspector }",
        &upstream,
    )
    .await;
    let (good, bad) = (
        authority.token().claim("jti", "good").sign(),
        authority.token().claim("jti", "bad").sign(),
    );
    authority.revoke("bad");
    for _ in 0..2 {
        assert_eq!(judge(&sidecar, &good).await, is(200, "-"));
    }
    assert_eq!(judge(&sidecar, &bad).await, is(401, "revoked"));
    let questions = authority.revocation_questions();
    assert_eq!(
        questions[0].form,
        [
            ("token".to_owned(), good.clone()),
            ("token_type_hint".to_owned(), "access_token".to_owned())
        ]
    );
    assert_eq!(
        questions
            .iter()
            .filter(|question| question.form[0].1 == good)
            .count(),
        1
    );
    // A server that does not know us says nothing of the token.
    authority.register_client("res:server", "another secret of 16 bytes");
    let unknown = authority.token().claim("jti", "unknown").sign();
    assert_eq!(
        judge(&sidecar, &unknown).await,
        is(503, "revocation_unavailable")
    );
    authority.behave(
        Endpoint::Introspection,
        Behave::Body(r#"{"active":"true"}"#.to_owned()),
    );
    let text = authority.token().claim("jti", "text").sign();
    assert_eq!(
        judge(&sidecar, &text).await,
        is(503, "revocation_unavailable")
    );
}

// ---- tokens that never expire

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_never_expires_needs_somebody_who_can_end_it() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    let endless = authority
        .token()
        .without("exp")
        .claim("jti", UUIDS[0])
        .sign();
    // The metadata names nobody.
    let mark = logs::mark();
    let alone = sidecar(&authority, "auto, requireExpiry: false", &upstream).await;
    assert_eq!(judge(&alone, &endless).await, is(401, "no_expiry"));
    assert_eq!(judge(&alone, &authority.token().sign()).await, is(200, "-"));
    logs::wait_for_line(
        mark,
        &[
            "tokens without `exp` are refused",
            "with `revocation: none` they are accepted",
        ],
    )
    .await;
    // Unless the configuration says `revocation: none`.
    let mark = logs::mark();
    let unasked = sidecar(&authority, "none, requireExpiry: false", &upstream).await;
    assert_eq!(judge(&unasked, &endless).await, is(200, "-"));
    logs::wait_for_line(
        mark,
        &["tokens without `exp` are accepted and revocations are not checked"],
    )
    .await;
    authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
    let asking = sidecar(
        &authority,
        "{ maxAge: 1s }, requireExpiry: false",
        &upstream,
    )
    .await;
    assert_eq!(judge(&asking, &endless).await, is(200, "-"));
    authority.revoke(UUIDS[0]);
    becomes(&asking, &endless, is(401, "revoked")).await;
    // Not even where revocation may fail.
    let lenient = sidecar(
        &authority,
        "{ onFailure: accept }, requireExpiry: false",
        &upstream,
    )
    .await;
    authority.behave(Endpoint::PlgdTokens, Behave::Status(500));
    let endless = authority
        .token()
        .without("exp")
        .claim("jti", UUIDS[1])
        .sign();
    assert_eq!(
        judge(&lenient, &endless).await,
        is(503, "revocation_unavailable")
    );
}

// ---- configuration

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_an_error_of_the_configuration() {
    for (authority, expected) in [
        (
            r#"{ issuer: "https://a.example", revocation: introspection }"#,
            "introspection needs a `credential`",
        ),
        (
            r#"{ issuer: "https://a.example", revocation: { kind: introspection, credential: none } }"#,
            "no credential",
        ),
        (
            r#"{ issuer: "https://a.example", revocation: { endpoint: "https://a.example/x" } }"#,
            "set `kind`",
        ),
        (
            r#"{ issuer: "https://a.example", revocation: { kind: list, maxAge: 0s } }"#,
            "it must be from 1s to 10m",
        ),
        (
            r#"{ issuer: "https://a.example", jwksUri: "https://a.example/jwks", revocation: list }"#,
            "set `endpoint`",
        ),
        (
            r#"{ issuer: "https://a.example", revocation: statusList }"#,
            "not supported yet",
        ),
        (
            r#"{ issuer: "https://a.example", revocation: sometimes }"#,
            "revocation",
        ),
        (
            r#"{ issuer: "https://a.example", requireExpiry: false, jwksUri: "https://a.example/k" }"#,
            "need a revocation check",
        ),
        (
            r#"{ issuer: "https://a.example", revocation: { kind: list, credential: c } }"#,
            "only introspection",
        ),
    ] {
        let yaml = format!(
            "authorities: {{ a: {authority} }}\ncredentials: {{ c: {{ tokenUrl: \"https://a.example/t\", clientID: c, \
             clientSecretFile: \"@DIR@/s\" }} }}\ninbound: [{{ name: api, listen: 127.0.0.1:0, upstream: \
             \"http://127.0.0.1:9\", authorities: [a], audiences: any, rules: [{{ paths: [\"/**\"] }}] }}]\n"
        );
        let builder = Sidecar::builder().secret_file("s", "c", "0123456789abcdef");
        let problems = builder
            .try_start(&yaml)
            .await
            .err()
            .unwrap_or_else(|| panic!("{authority} was accepted"));
        assert!(problems.contains(expected), "{authority}: {problems}");
    }
}
