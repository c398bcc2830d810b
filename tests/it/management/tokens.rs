//! The kept tokens: listed by owner and client, revoked.

use m2m_sidecar::for_tests::domain::clock::UnixTime;
use m2m_sidecar::for_tests::store::{self, tokens::TokenRecord};
use serde_json::Value;

use super::{World, error, fields, is};
use crate::support::now;

fn record(
    jti: &str,
    client: &str,
    owner: &str,
    issued_at: i64,
    expires_at: Option<i64>,
) -> TokenRecord {
    TokenRecord {
        jti: jti.to_owned(),
        client_id: client.to_owned(),
        owner_issuer: None,
        owner: Some(owner.to_owned()),
        subject: client.to_owned(),
        name: Some("n".to_owned()),
        scope: vec!["a".to_owned(), "b".to_owned()],
        audience: vec!["https://x".to_owned()],
        issued_at: UnixTime(issued_at),
        expires_at: expires_at.map(UnixTime),
        revoked_at: None,
        original_claims: None,
        after_end: None,
    }
}

async fn jtis(world: &World, query: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut target = format!("/tokens?{query}");
    loop {
        let answer = world.get(&target).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = answer.json();
        let tokens = page["tokens"].as_array().expect("a list");
        all.extend(
            tokens
                .iter()
                .map(|token| token["jti"].as_str().expect("a jti").to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            return all;
        };
        target = format!("/tokens?{query}&cursor={cursor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_tokens_are_found_by_client_owner_and_life_and_can_be_revoked() {
    let world = World::start().await;
    let kept = store::open(&store::Config::SqliteFile(world.sidecar.path("m2m.db")))
        .await
        .expect("the store");
    let now = now();
    for token in [
        record("one", "a", "1", now - 30, Some(now + 900)),
        record("two", "a", "2", now - 20, None),
        record("three", "b", "2", now - 20, Some(now - 5)),
        record("four", "b", "2", now - 10, Some(now + 900)),
    ] {
        kept.insert_token(&token).await.expect("kept");
    }
    assert_eq!(jtis(&world, "").await, ["four", "two", "three", "one"]);
    assert_eq!(
        jtis(&world, "limit=1").await,
        ["four", "two", "three", "one"]
    );
    assert_eq!(jtis(&world, "client_id=a").await, ["two", "one"]);
    assert_eq!(jtis(&world, "owner=2&active=true").await, ["four", "two"]);
    assert_eq!(jtis(&world, "active=false").await, ["three"]);
    assert_eq!(
        fields(&world.get("/tokens?active=maybe&cursor=x").await),
        ["active", "cursor"]
    );

    assert_eq!(
        world
            .call("DELETE", "/tokens/four", Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(jtis(&world, "active=true").await, ["two", "one"]);
    assert_eq!(
        world
            .call("DELETE", "/tokens/four", Value::Null)
            .await
            .status,
        204,
        "it stays revoked"
    );
    assert_eq!(
        error(&world.call("DELETE", "/tokens/none", Value::Null).await),
        is(404, "not_found")
    );
    let list =
        crate::support::client::get(world.sidecar.address("issuer"), "/oauth/revocations", &[])
            .await;
    let claims = list
        .text()
        .split('.')
        .nth(1)
        .map(str::to_owned)
        .expect("a JWT");
    use base64::Engine;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .expect("base64url");
    assert!(
        String::from_utf8_lossy(&claims).contains("\"four\""),
        "sidecars elsewhere learn of it"
    );
}
