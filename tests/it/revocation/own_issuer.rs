//! Revocations of our own issuer, in process and in its signed list.

use super::*;

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
async fn our_own_issuers_revocation_takes_effect_at_once_and_after_a_restart() {
    let upstream = Upstream::start();
    let sidecar = own(&upstream).await;
    let (token, kept) = (
        issue(&sidecar, "legacy").await,
        issue(&sidecar, "legacy").await,
    );
    // The token is cached, and still refused once revoked.
    assert_eq!(outcome_of(&sidecar, &token).await, is(200, "-"));
    let answer = revoke(
        &sidecar,
        "legacy",
        &[("token", &token), ("token_type_hint", "access_token")],
    )
    .await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}\n"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let refused = ask(&sidecar, &token).await;
    assert_eq!(outcome(&refused), is(401, "revoked"));
    assert!(
        refused
            .header("www-authenticate")
            .unwrap()
            .contains(r#"error="invalid_token""#)
    );
    assert_eq!(outcome_of(&sidecar, &kept).await, is(200, "-"));
    // A repetition is no error (RFC 7009 §2.2).
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
    assert_eq!(outcome_of(&sidecar, &token).await, is(401, "revoked"));
    assert_eq!(outcome_of(&sidecar, &kept).await, is(200, "-"));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authenticated_client_revokes_only_its_own_tokens() {
    let upstream = Upstream::start();
    let sidecar = own(&upstream).await;
    let token = issue(&sidecar, "legacy").await;
    // Another client's token, garbage, and a token with a broken signature: nothing happens, and
    // the answer gives no cause.
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
    let anonymous = post_form(address, "/oauth/revoke", &[("token", &token)], &[]).await;
    assert_eq!(
        (anonymous.status, anonymous.json()["error"].as_str()),
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
    assert_eq!(outcome_of(&sidecar, &token).await, is(200, "-"));
}

/// Two sidecars: a token is revoked at one and refused by the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_remote_sidecar_reads_the_signed_list() {
    let upstream = Upstream::start();
    let issuer = own(&upstream).await;
    let at = issuer.address("issuer");
    // The other sidecar reaches the issuer by its address, so the URL must contain it.
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
    assert_eq!(outcome_of(&elsewhere, &kept).await, is(200, "-"));
    // During an outage of the issuer the list becomes too old, and every state is unknown.
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
    // The list is not an access token.
    assert_eq!(
        outcome_of(&sidecar, &second.text()).await,
        is(401, "token_type")
    );
}
