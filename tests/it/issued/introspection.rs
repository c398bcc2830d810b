//! RFC 7662.

use std::time::Duration;

use serde_json::{Value, json};

use super::{claims, issue, post, text, world};
use crate::support::client::{get, post_form};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

async fn introspect(sidecar: &Sidecar, caller: &str, token: &str) -> Value {
    let answer = post(sidecar, "/oauth/introspect", caller, &[("token", token)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()
}

fn inactive() -> Value {
    json!({ "active": false })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_token_is_active_only_for_the_clients_that_it_concerns() {
    let upstream = Upstream::start();
    let (sidecar, clock) = world(&upstream).await;
    let token = issue(
        &sidecar,
        "plain",
        &[("scope", "a"), ("audience", "devices")],
    )
    .await;
    let (token, claims) = (
        text(&token, "access_token"),
        claims(text(&token, "access_token")),
    );
    let expected = json!({
        "active": true, "token_type": "Bearer", "scope": "a", "client_id": "plain", "sub": "plain",
        "aud": ["devices"], "iss": "http://issuer.test", "exp": claims["exp"], "iat": claims["iat"],
        "jti": claims["jti"], "owner": "7",
    });
    // Its client, the one named in `aud`, the one that may see all.
    for caller in ["plain", "devices", "auditor"] {
        assert_eq!(
            introspect(&sidecar, caller, token).await,
            expected,
            "{caller}"
        );
    }
    for caller in ["fresh", "other"] {
        assert_eq!(
            introspect(&sidecar, caller, token).await,
            inactive(),
            "{caller}"
        );
    }
    clock.forward(Duration::from_mins(15));
    assert_eq!(
        introspect(&sidecar, "auditor", token).await,
        inactive(),
        "expired"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_live_access_tokens_are_inactive() {
    let upstream = Upstream::start();
    let (sidecar, _clock) = world(&upstream).await;
    let revoked = issue(&sidecar, "plain", &[]).await;
    assert_eq!(
        introspect(&sidecar, "auditor", text(&revoked, "access_token")).await["active"],
        true
    );
    post(
        &sidecar,
        "/oauth/revoke",
        "plain",
        &[("token", text(&revoked, "access_token"))],
    )
    .await;
    // Signed by the same key, but no access token.
    let list = get(sidecar.address("issuer"), "/oauth/revocations", &[])
        .await
        .text();
    let foreign = crate::support::authority::Authority::start();
    let other_issuer = foreign.token().sign();
    let (message, _) = text(&revoked, "access_token").rsplit_once('.').unwrap();
    let forged = format!("{message}.AAAA");
    for token in [
        text(&revoked, "access_token"),
        &list,
        &other_issuer,
        &forged,
        "junk",
        "a.b.c",
        "m2mr_unknown",
    ] {
        assert_eq!(
            introspect(&sidecar, "auditor", token).await,
            inactive(),
            "{token}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_active_to_its_client_until_it_is_used() {
    let upstream = Upstream::start();
    let (sidecar, _clock) = world(&upstream).await;
    let first = issue(
        &sidecar,
        "fresh",
        &[("scope", "b"), ("audience", "devices")],
    )
    .await;
    let refresh = text(&first, "refresh_token");
    for caller in ["fresh", "auditor"] {
        let answer = introspect(&sidecar, caller, refresh).await;
        let shown = (
            &answer["active"],
            &answer["scope"],
            &answer["client_id"],
            &answer["sub"],
        );
        assert_eq!(
            shown,
            (&json!(true), &json!("b"), &json!("fresh"), &json!("fresh"))
        );
        assert!(answer["exp"].as_i64() > claims(text(&first, "access_token"))["exp"].as_i64());
    }
    // A resource server has no business with refresh tokens, whatever the audience.
    for caller in ["devices", "other"] {
        assert_eq!(
            introspect(&sidecar, caller, refresh).await,
            inactive(),
            "{caller}"
        );
    }
    post(
        &sidecar,
        "/oauth/token",
        "fresh",
        &[("grant_type", "refresh_token"), ("refresh_token", refresh)],
    )
    .await;
    assert_eq!(introspect(&sidecar, "fresh", refresh).await, inactive());
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_needs_a_client_and_a_valid_request() {
    let upstream = Upstream::start();
    let (sidecar, _clock) = world(&upstream).await;
    let token = issue(&sidecar, "plain", &[]).await;
    let token = [("token", text(&token, "access_token"))];
    let address = sidecar.address("issuer");
    let unauthenticated = post_form(address, "/oauth/introspect", &token, &[]).await;
    assert_eq!(
        (unauthenticated.status, &unauthenticated.json()["error"]),
        (401, &json!("invalid_client"))
    );
    let wrong = [("Authorization", "Basic cGxhaW46d3Jvbmctc2VjcmV0")];
    let wrong = post_form(address, "/oauth/introspect", &token, &wrong).await;
    assert_eq!(
        (wrong.status, wrong.header("www-authenticate").is_some()),
        (401, true)
    );
    let empty = post(&sidecar, "/oauth/introspect", "plain", &[]).await;
    assert_eq!(
        (empty.status, &empty.json()["error"]),
        (400, &json!("invalid_request"))
    );
    assert_eq!(get(address, "/oauth/introspect", &[]).await.status, 405);
    let metadata = get(address, "/.well-known/oauth-authorization-server", &[])
        .await
        .json();
    assert_eq!(
        metadata["introspection_endpoint"],
        "http://issuer.test/oauth/introspect"
    );
    assert!(metadata["introspection_endpoint_auth_methods_supported"].is_array());
}
