//! Refresh tokens: rotation, a lost response, a stolen token, revocation.

use std::time::Duration;

use serde_json::{Value, json};

use super::{YAML, answer_to, claims, is, issue, post, text, with_secret, world};
use crate::support::client::RawAnswer;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

async fn use_token(
    sidecar: &Sidecar,
    client: &str,
    token: &str,
    more: &[(&str, &str)],
) -> RawAnswer {
    let form = [
        &[("grant_type", "refresh_token"), ("refresh_token", token)],
        more,
    ]
    .concat();
    post(sidecar, "/oauth/token", client, &form).await
}

async fn refresh(sidecar: &Sidecar, token: &str) -> Value {
    let answer = use_token(sidecar, "fresh", token, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn refused(sidecar: &Sidecar, client: &str, token: &str, more: &[(&str, &str)]) -> String {
    let answer = use_token(sidecar, client, token, more).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    text(&answer.json(), "error").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_use_gives_a_new_access_token_and_a_new_refresh_token() {
    let upstream = Upstream::start();
    let (sidecar, _clock) = world(&upstream).await;
    assert!(
        issue(&sidecar, "plain", &[]).await["refresh_token"].is_null(),
        "only for those who may use one"
    );
    let first = issue(
        &sidecar,
        "fresh",
        &[("scope", "a"), ("audience", "devices")],
    )
    .await;
    let old = text(&first, "refresh_token");
    assert!(
        old.starts_with("m2mr_") && old.len() == 5 + 43,
        "256 bits: {}",
        old.len()
    );
    let second = refresh(&sidecar, old).await;
    assert_ne!(text(&second, "refresh_token"), old);
    let (before, after) = (
        claims(text(&first, "access_token")),
        claims(text(&second, "access_token")),
    );
    assert_ne!(before["jti"], after["jti"]);
    for claim in ["iss", "sub", "aud", "client_id", "scope", "owner"] {
        assert_eq!(before[claim], after[claim], "{claim}");
    }
    assert_eq!(
        (&second["token_type"], &second["scope"]),
        (&json!("Bearer"), &json!("a"))
    );
    assert_eq!(
        answer_to(&sidecar, text(&second, "access_token")).await,
        is(200, "-")
    );
    let database = std::fs::read(sidecar.path("m2m.db")).unwrap();
    let wal = std::fs::read(sidecar.path("m2m.db-wal")).unwrap_or_default();
    for file in [database, wal] {
        assert!(
            !file
                .windows(old.len())
                .any(|window| window == old.as_bytes()),
            "only its hash is stored"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scope_and_audience_may_be_narrowed_and_never_widened() {
    let upstream = Upstream::start();
    let (sidecar, _clock) = world(&upstream).await;
    let all = issue(&sidecar, "fresh", &[]).await;
    let narrowed = use_token(
        &sidecar,
        "fresh",
        text(&all, "refresh_token"),
        &[("scope", "a"), ("audience", "hub")],
    )
    .await;
    let narrowed = narrowed.json();
    let now = claims(text(&narrowed, "access_token"));
    assert_eq!((&now["scope"], &now["aud"]), (&json!("a"), &json!(["hub"])));
    // Only this access token is narrower: the grant is unchanged (RFC 6749 §6).
    let again = refresh(&sidecar, text(&narrowed, "refresh_token")).await;
    assert_eq!(claims(text(&again, "access_token"))["scope"], "a b");
    let few = issue(&sidecar, "fresh", &[("scope", "a"), ("audience", "hub")]).await;
    let few = text(&few, "refresh_token");
    assert_eq!(
        refused(&sidecar, "fresh", few, &[("scope", "a b")]).await,
        "invalid_scope"
    );
    assert_eq!(
        refused(&sidecar, "fresh", few, &[("audience", "devices")]).await,
        "invalid_target"
    );
    // The token is still valid after both refusals.
    refresh(&sidecar, few).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_can_be_asked_for_again_within_thirty_seconds() {
    let upstream = Upstream::start();
    let (sidecar, clock) = world(&upstream).await;
    let first = issue(&sidecar, "fresh", &[]).await;
    let lost = refresh(&sidecar, text(&first, "refresh_token")).await;
    clock.forward(Duration::from_secs(25));
    let second = refresh(&sidecar, text(&first, "refresh_token")).await;
    assert_ne!(text(&lost, "refresh_token"), text(&second, "refresh_token"));
    refresh(&sidecar, text(&second, "refresh_token")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_used_again_later_ends_its_family_and_its_access_tokens_at_once() {
    let upstream = Upstream::start();
    let (sidecar, clock) = world(&upstream).await;
    let first = issue(&sidecar, "fresh", &[]).await;
    let second = refresh(&sidecar, text(&first, "refresh_token")).await;
    let other = issue(&sidecar, "fresh", &[]).await;
    clock.forward(Duration::from_secs(31));
    assert_eq!(
        refused(&sidecar, "fresh", text(&first, "refresh_token"), &[]).await,
        "invalid_grant"
    );
    assert_eq!(
        refused(&sidecar, "fresh", text(&second, "refresh_token"), &[]).await,
        "invalid_grant"
    );
    for token in [&first, &second] {
        assert_eq!(
            answer_to(&sidecar, text(token, "access_token")).await,
            is(401, "revoked")
        );
    }
    // Another family of the same client stays valid.
    assert_eq!(
        answer_to(&sidecar, text(&other, "access_token")).await,
        is(200, "-")
    );
    refresh(&sidecar, text(&other, "refresh_token")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_revoked_takes_its_family_and_access_tokens_along() {
    let upstream = Upstream::start();
    let (sidecar, _clock) = world(&upstream).await;
    let first = issue(&sidecar, "fresh", &[("token_name", "a")]).await;
    let second = refresh(&sidecar, text(&first, "refresh_token")).await;
    let token = [
        ("token", text(&second, "refresh_token")),
        ("token_type_hint", "refresh_token"),
    ];
    // Another client's request is answered like a success, and does nothing (RFC 7009 §2.2).
    assert_eq!(
        post(&sidecar, "/oauth/revoke", "other", &token)
            .await
            .status,
        200
    );
    assert_eq!(
        answer_to(&sidecar, text(&second, "access_token")).await,
        is(200, "-")
    );
    assert_eq!(
        post(&sidecar, "/oauth/revoke", "fresh", &token)
            .await
            .status,
        200
    );
    for each in [&first, &second] {
        assert_eq!(
            answer_to(&sidecar, text(each, "access_token")).await,
            is(401, "revoked")
        );
        assert_eq!(
            refused(&sidecar, "fresh", text(each, "refresh_token"), &[]).await,
            "invalid_grant"
        );
    }
    let list = crate::support::client::get(sidecar.address("issuer"), "/oauth/revocations", &[])
        .await
        .text();
    let list = claims(&list)["revoked"].clone();
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    let mut database = super::database(&sidecar).await;
    let unmarked: i64 = sqlx::query_scalar("SELECT count(*) FROM tokens WHERE revoked_at IS NULL")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(unmarked, 0, "the registry has it too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_or_invalid_refresh_token_is_an_invalid_grant() {
    let upstream = Upstream::start();
    let (sidecar, clock) = world(&upstream).await;
    let first = issue(&sidecar, "fresh", &[]).await;
    let token = text(&first, "refresh_token");
    assert_eq!(
        refused(&sidecar, "other", token, &[]).await,
        "invalid_grant"
    );
    assert_eq!(
        refused(&sidecar, "plain", token, &[]).await,
        "unauthorized_client"
    );
    for bad in [
        "m2mr_",
        "m2mr_unknown",
        "junk",
        text(&first, "access_token"),
    ] {
        assert_eq!(
            refused(&sidecar, "fresh", bad, &[]).await,
            "invalid_grant",
            "{bad}"
        );
    }
    let none = post(
        &sidecar,
        "/oauth/token",
        "fresh",
        &[("grant_type", "refresh_token")],
    )
    .await;
    assert_eq!(
        (none.status, &none.json()["error"]),
        (400, &json!("invalid_request"))
    );
    // A family ends thirty days after its first token, however often it is used.
    clock.forward(Duration::from_hours(29 * 24));
    let later = refresh(&sidecar, token).await;
    clock.forward(Duration::from_hours(24));
    assert_eq!(
        refused(&sidecar, "fresh", text(&later, "refresh_token"), &[]).await,
        "invalid_grant"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_lost_a_right_or_its_owner_or_itself_has_nothing_left_to_refresh() {
    let upstream = Upstream::start();
    let (sidecar, _clock) = world(&upstream).await;
    let first = issue(&sidecar, "fresh", &[]).await;
    let narrow = issue(&sidecar, "fresh", &[("scope", "a")]).await;
    let mut builder = sidecar.stop_keeping_state().await;
    let yaml = YAML.replace("@UPSTREAM@", &upstream.url());
    let of_fresh = "id: fresh, secretFile: \"@DIR@/secret\", owner: \"7\", allowedScopes: [a, b]";
    for (change, token, status, error) in [
        (
            of_fresh.replace("[a, b]", "[a]"),
            &first,
            400,
            "invalid_scope",
        ),
        (
            of_fresh.replace("\"7\"", "\"8\""),
            &narrow,
            400,
            "invalid_grant",
        ),
        (
            of_fresh.replace("id: fresh", "id: gone"),
            &narrow,
            401,
            "invalid_client",
        ),
        (of_fresh.to_owned(), &narrow, 200, ""),
        (
            format!("{of_fresh}, disabled: true"),
            &first,
            401,
            "invalid_client",
        ),
        // A client that is disabled in the file loses its tokens for good.
        (of_fresh.to_owned(), &first, 400, "invalid_grant"),
    ] {
        assert!(yaml.contains(of_fresh));
        let sidecar = with_secret(builder)
            .start(&yaml.replace(of_fresh, &change))
            .await;
        let answer = use_token(&sidecar, "fresh", text(token, "refresh_token"), &[]).await;
        let body = answer.json();
        let said = body["error"].as_str().unwrap_or_default();
        assert_eq!((answer.status, said), (status, error), "{change}");
        builder = sidecar.stop_keeping_state().await;
    }
}
