//! plgd's exchange: a user's JWT of a trusted authority becomes an M2M token of the same owner.

use super::*;
use crate::support::keys::{Alg, TestKey};

async fn sidecar(users: &Authority, foreign: &Authority) -> Sidecar {
    let issuer = "  clients:\n    - { id: portal, owner: \"of the client\", jwtPrivateKey: { \
    authorities: [users] } }\n    - \
                  { id: copier, jwtPrivateKey: { authorities: [users], copyClaims: [email, cnf, \
                  access_token] } }\n    - \
                  { id: legacy, secretFile: \"@DIR@/legacy\", owner: x }\n";
    let authorities = format!(
        "authorities:\n  users: {{ issuer: \"{}\" }}\n  foreign: {{ issuer: \"{}\" }}\n  self: {{ \
         issuer: {ISSUER} }}\n",
        users.issuer(),
        foreign.issuer()
    );
    let builder = Sidecar::builder().secret_file("legacy", "legacy", "sixteen bytes or more");
    builder.start(&(yaml(issuer) + &authorities)).await
}

fn of_user(users: &Authority) -> TokenBuilder {
    users
        .token()
        .claim("aud", json!([ISSUER, "https://app.example"]))
        .claim("owner", "ann")
        .claim("sub", "u-1")
}

async fn exchange(sidecar: &Sidecar, client_id: &str, jwt: &str) -> RawAnswer {
    ask(
        sidecar,
        &[TYPE, ("client_assertion", jwt)],
        &[("Authorization", &basic(client_id, ""))],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_jwt_becomes_a_token_of_its_owner() {
    let (users, foreign) = (Authority::start(), Authority::start());
    let sidecar = sidecar(&users, &foreign).await;
    let jwt = of_user(&users)
        .claim("email", "ann@example")
        .claim("exp", now() + 60)
        .sign();
    let claims_of = |answer: RawAnswer| claims(&answer);
    let token = claims_of(exchange(&sidecar, "portal", &jwt).await);
    assert_eq!(
        (&token["owner"], &token["sub"]),
        (&json!("ann"), &json!("portal"))
    );
    assert_eq!(token["client_id"], "portal");
    assert_eq!(token.get("originalTokenClaims"), None);
    assert!(
        token["exp"].as_i64().expect("a time") > now() + 3000,
        "it has the lifetime of the client's tokens"
    );
    // It may be exchanged again: it is the user's, not an assertion of the client's.
    let by_body = ask(
        &sidecar,
        &[TYPE, ("client_assertion", &jwt), ("client_id", "portal")],
        &[],
    )
    .await;
    assert_eq!(claims_of(by_body)["owner"], "ann");
    let at_endpoint = of_user(&users)
        .claim("aud", format!("{ISSUER}/oauth/token"))
        .sign();
    claims_of(exchange(&sidecar, "portal", &at_endpoint).await);
    // Copied is what the operator lists, and never what could be used.
    let rich = of_user(&users)
        .claim("email", "ann@example")
        .claim("access_token", "x.y.z")
        .claim("phone", "1")
        .sign();
    let token = claims_of(exchange(&sidecar, "copier", &rich).await);
    assert_eq!(
        token["originalTokenClaims"],
        json!({"email": "ann@example"})
    );
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_jwt_is_refused_with_its_reason() {
    let (users, foreign) = (Authority::start(), Authority::start());
    let sidecar = sidecar(&users, &foreign).await;
    let good = || of_user(&users);
    let alien = TestKey::generate("es256-1", Alg::ES256);
    let own = by_secret(&sidecar, "legacy", "sixteen bytes or more").await;
    let own = own.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    logs::remember_secret(&own);
    for (jwt, reason) in [
        (
            good().claim("aud", json!(["https://app.example"])).sign(),
            "the assertion's aud is not this issuer",
        ),
        (
            good().without("aud").sign(),
            "the assertion's aud is not this issuer",
        ),
        (
            good().without("owner").sign(),
            "the exchanged token has no owner",
        ),
        (
            good().claim("owner", "").sign(),
            "the exchanged token has no owner",
        ),
        (
            good().claim("owner", 5).sign(),
            "the exchanged token has no owner",
        ),
        (good().expires_in(-120).sign(), "refused: expired"),
        (good().without("exp").sign(), "refused: no_expiry"),
        (
            good().claim("nbf", now() + 600).sign(),
            "refused: not_yet_valid",
        ),
        (good().signed_by(&alien).sign(), "refused: signature"),
        (
            good().header("kid", "unknown").sign(),
            "refused: unknown_kid",
        ),
        (
            good().header("typ", "secevent+jwt").sign(),
            "refused: token_type",
        ),
        (
            good().claim("cnf", json!({"jkt": "x"})).sign(),
            "refused: sender_constrained",
        ),
        (of_user(&foreign).sign(), "refused: unknown_issuer"),
        (
            good().claim("iss", "https://unknown.example").sign(),
            "refused: unknown_issuer",
        ),
        (own, "issued by this issuer itself"),
        ("a.b.c".to_owned(), "the assertion is no signed JWT"),
    ] {
        let mark = logs::mark();
        let answer = exchange(&sidecar, "portal", &jwt).await;
        assert_eq!(
            error(&answer),
            (401, "invalid_client".to_owned()),
            "{reason}: {}",
            answer.text()
        );
        logs::wait_for_line(mark, &["token request", reason]).await;
    }
    let large = good().claim("email", "e".repeat(4100)).sign();
    assert_eq!(exchange(&sidecar, "copier", &large).await.status, 401);
    // The client must say which one it is, and there is no other way in, not even with an owner of
    // its own.
    let jwt = good().sign();
    assert_eq!(present(&sidecar, &jwt).await.status, 401);
    assert_eq!(exchange(&sidecar, "legacy", &jwt).await.status, 401);
    assert_eq!(exchange(&sidecar, "unknown", &jwt).await.status, 401);
    assert_eq!(
        ask(&sidecar, &[("client_id", "portal")], &[]).await.status,
        401
    );
    assert_eq!(by_secret(&sidecar, "portal", "").await.status, 401);
    assert_eq!(
        by_secret(&sidecar, "portal", "anything at all")
            .await
            .status,
        401
    );
    assert_eq!(ask(&sidecar, &[], &[]).await.status, 401);
    // The audit line says whose token it is.
    let mark = logs::mark();
    claims(
        &exchange(
            &sidecar,
            "portal",
            &good().claim("owner", "ann of the audit").sign(),
        )
        .await,
    );
    let line = [
        "token request",
        "client_id=\"portal\"",
        "owner=\"ann of the audit\"",
        "outcome=\"issued\"",
    ];
    logs::wait_for_line(mark, &line).await;
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_authoritys_keys_are_unavailable_its_jwts_wait() {
    let (users, foreign) = (Authority::start(), Authority::start());
    let jwt = of_user(&users).sign();
    users.down().await;
    let sidecar = sidecar(&users, &foreign).await;
    let answer = exchange(&sidecar, "portal", &jwt).await;
    assert_eq!(error(&answer), (503, "temporarily_unavailable".to_owned()));
    sidecar.stop().await;
}
