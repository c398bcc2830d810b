//! plgd's services validate our tokens.

use std::time::Duration;

use serde_json::json;

use super::validator::{CACHED, Validator, owner, scopes};
use super::{AUTHORITY, TOKENS, blacklist, issue, jti, world};
use crate::plgd::OWNER;
use crate::plgd::front::Request;
use crate::plgd::replay::claims;
use crate::support::keys::base64url;

#[tokio::test(flavor = "multi_thread")]
async fn a_service_starts_with_our_authority_with_and_without_a_slash_at_its_end() {
    let world = world().await;
    for authority in [AUTHORITY.to_owned(), format!("{AUTHORITY}/")] {
        let mut validator = Validator::new(&world, &authority).await.expect("discovery");
        let token = issue(&world.front, "serviceClient", &[]).await;
        let claims = validator
            .verify(&token)
            .await
            .expect("a token that plgd trusts");
        assert_eq!(owner(&claims, OWNER).as_deref(), Ok("1"));
    }
}

/// V1, V4 of plgd's own tests.
#[tokio::test(flavor = "multi_thread")]
async fn fresh_tokens_are_trusted_with_one_fetch_of_the_keys_and_one_look_up_each() {
    let world = world().await;
    let mut validator = Validator::new(&world, AUTHORITY).await.expect("discovery");
    let short = issue(&world.front, "lifetime10s", &[]).await;
    let scoped = issue(&world.front, "limited", &[("aud", "https://a.example")]).await;
    let endless = issue(&world.front, "serviceClient", &[("token_name", "n")]).await;
    for token in [&short, &scoped, &endless, &short, &scoped, &endless] {
        validator.verify(token).await.expect("trusted");
    }
    assert_eq!((validator.key_fetches, validator.look_ups), (1, 3));
    assert_eq!(
        scopes(&claims(&scoped)).unwrap(),
        ["r:devices", "w:devices"]
    );
    // After the cache's time it is asked again, and a token that has expired is refused before.
    world
        .clock
        .forward(Duration::from_secs(CACHED.unsigned_abs()));
    validator.verify(&endless).await.expect("still trusted");
    assert_eq!(validator.look_ups, 4);
    assert_eq!(
        validator.verify(&short).await.unwrap_err(),
        "token is expired"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_an_assertion_with_large_claims_is_trusted() {
    let world = world().await;
    let mut validator = Validator::new(&world, AUTHORITY).await.expect("discovery");
    // nginx takes no header line of more than 8 KiB unless `large_client_header_buffers` says so.
    let characters = if world.front.is_nginx() {
        5_000
    } else {
        20_000
    };
    let user = world.user("1").claim("pad", "x".repeat(characters)).sign();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "JWTPrivateKeyClient"),
        ("client_assertion", user.as_str()),
    ];
    let answer = super::post_form(&world.front, &form, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let verified = validator.verify(&token).await.expect("trusted");
    assert_eq!(verified["originalTokenClaims"], claims(&user));
}

/// V3, V4.
#[tokio::test(flavor = "multi_thread")]
async fn a_blacklisted_token_is_refused_within_the_caches_time_and_until_its_end() {
    let world = world().await;
    let mut validator = Validator::new(&world, AUTHORITY).await.expect("discovery");
    let (token, other) = (
        issue(&world.front, "serviceClient", &[]).await,
        issue(&world.front, "serviceClient", &[]).await,
    );
    validator.verify(&token).await.expect("trusted");
    let counts = blacklist(&world, &world.user("1").sign(), &jti(&token)).await;
    assert_eq!(
        counts,
        json!({"blacklistedCount": "1", "deletedCount": "0"})
    );
    validator
        .verify(&token)
        .await
        .expect("trusted until the cache's time is over");
    world
        .clock
        .forward(Duration::from_secs(CACHED.unsigned_abs()));
    let refused = validator.verify(&token).await.unwrap_err();
    assert!(refused.ends_with("token is blacklisted"), "{refused}");
    let asked = validator.look_ups;
    // Our own entry says so, and it is kept: unlike with plgd's server, there is no further
    // look-up.
    for _ in 0..3 {
        world
            .clock
            .forward(Duration::from_secs(CACHED.unsigned_abs()));
        assert_eq!(
            validator.verify(&token).await.unwrap_err(),
            "token is blacklisted"
        );
    }
    assert_eq!(validator.look_ups, asked);
    validator
        .verify(&other)
        .await
        .expect("the other one is trusted");
}

/// V2, V7, V10.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_and_invalid_tokens_are_refused() {
    let world = world().await;
    let mut validator = Validator::new(&world, AUTHORITY).await.expect("discovery");
    let token = issue(&world.front, "serviceClient", &[]).await;
    let (header, rest) = token.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let mut claims = claims(&token);
    claims[OWNER] = "2".into();
    let altered = format!("{header}.{}.{signature}", base64url(claims.to_string()));
    assert_eq!(
        validator.verify(&altered).await.unwrap_err(),
        "token signature is invalid"
    );
    assert!(
        validator
            .verify(&format!("{header}.{payload}.AAAA"))
            .await
            .is_err()
    );
    assert_eq!(validator.verify("").await.unwrap_err(), "missing token");
    assert_eq!(
        validator.verify("invalid").await.unwrap_err(),
        "could not parse token"
    );
    let user = world.user("1").sign();
    assert!(
        validator
            .verify(&user)
            .await
            .unwrap_err()
            .starts_with("unknown issuer")
    );
    validator.verify(&token).await.expect("the token itself");
}

/// plgd's strict decoder shows the message of an error only when the body has no other member.
#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_the_tokens_api_is_a_status_that_plgds_clients_read() {
    let world = world().await;
    let token = issue(&world.front, "serviceClient", &[]).await;
    let bearer = format!("Bearer {token}");
    let long = format!("{TOKENS}?idFilter={}", "x".repeat(70_000));
    let none: &[(&str, &str)] = &[];
    let with: &[(&str, &str)] = &[("Authorization", &bearer)];
    let own = "/m2m-oauth-server";
    for (method, target, headers, body, statuses) in [
        ("GET", TOKENS, none, "", &[401][..]),
        ("DELETE", TOKENS, none, "", &[401]),
        ("DELETE", TOKENS, with, "{", &[400, 403]),
        (
            "GET",
            &format!("{TOKENS}?includeBlacklisted=yes"),
            with,
            "",
            &[400],
        ),
        ("PATCH", TOKENS, with, "{}", &[405]),
        ("POST", TOKENS, none, "{", &[400]),
        (
            "POST",
            TOKENS,
            none,
            r#"{"client_id":"unknown"}"#,
            &[400, 401],
        ),
        ("POST", TOKENS, none, &"x".repeat(600_000), &[413]),
        ("GET", &format!("{own}/api/v1/tokens/x"), with, "", &[404]),
        ("GET", &format!("{own}/nothing"), none, "", &[404]),
        (
            "DELETE",
            &format!("{own}/.well-known/jwks.json"),
            none,
            "",
            &[405],
        ),
        ("GET", &long, with, "", &[431, 414]),
    ] {
        let body = Some(body.as_bytes()).filter(|body| !body.is_empty());
        let answer = world
            .front
            .ask(&Request {
                method,
                target,
                headers,
                body,
            })
            .await;
        let shown = &target[..target.len().min(80)];
        // nginx refuses a long target by itself.
        if world.front.is_nginx() && answer.header_all("content-type") == ["text/html"] {
            continue;
        }
        assert!(
            statuses.contains(&answer.status),
            "{method} {shown}: {}",
            answer.status
        );
        let refused = super::status::message(answer.status, &answer.json()).unwrap_err();
        assert!(
            refused.starts_with("rpc error: code = "),
            "{method} {shown}: {refused}"
        );
        assert!(
            refused.len() > "rpc error: code = 16 desc = ".len(),
            "{method} {shown}: {refused}"
        );
    }
}
