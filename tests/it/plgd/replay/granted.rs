//! A token holds nothing beyond the configuration of its client, whatever plgd's server answers.
//! Rows of the table where plgd refuses and ours issues say nothing of the token.

use serde_json::Value;

use super::vectors::Client;
use crate::plgd::OWNER;

const ISSUER: &str = "https://localhost:20013/m2m-oauth-server";

/// The parts of a token, issued at `now`, that its client is not allowed.
pub fn beyond(clients: &[Client], claims: &Value, now: i64) -> Vec<String> {
    let id = claims["client_id"].as_str().unwrap_or_default();
    let Some(client) = clients.iter().find(|client| client.id == id) else {
        return vec![format!("a client `{id}`")];
    };
    let mut found = Vec::new();
    let audiences = match client.allowed_audiences.as_slice() {
        [] => vec![ISSUER],
        allowed => allowed.iter().map(String::as_str).collect(),
    };
    let none = vec![Value::Null];
    for audience in claims["aud"].as_array().unwrap_or(&none) {
        if !audience.as_str().is_some_and(|it| audiences.contains(&it)) {
            found.push(format!("the audience {audience}"));
        }
    }
    for scope in claims["scope"]
        .as_str()
        .unwrap_or_default()
        .split_whitespace()
    {
        if !client.allowed_scopes.iter().any(|allowed| allowed == scope) {
            found.push(format!("the scope {scope}"));
        }
    }
    let lifetime = match client.access_token_lifetime.as_str() {
        "0s" => i64::MAX / 2,
        "10s" => 10,
        "1h" => 3600,
        "24h" => 24 * 3600,
        other => panic!("{id}: a lifetime of {other}"),
    };
    if claims["exp"].as_i64().unwrap_or(i64::MAX / 2) > now.saturating_add(lifetime) {
        found.push(format!("the end {}", claims["exp"]));
    }
    if let Some(owner) = client.owner.as_ref().filter(|_| !client.jwt_private_key)
        && claims[OWNER] != owner.as_str()
    {
        found.push(format!("the owner {}", claims[OWNER]));
    }
    found
}

#[test]
fn a_grant_beyond_the_clients_limits_is_found() {
    let clients = super::vectors::recording().clients;
    let token = |changed: Value| {
        let mut claims = serde_json::json!({
            "client_id": "limited", "aud": ["https://a.example"], "scope": "r:devices", "exp": 3700, OWNER: "1",
        });
        claims
            .as_object_mut()
            .expect("an object")
            .extend(changed.as_object().cloned().unwrap_or_default());
        beyond(&clients, &claims, 100)
    };
    assert_eq!(token(serde_json::json!({})), [""; 0]);
    for (changed, part) in [
        (serde_json::json!({ "client_id": "foreign" }), "a client"),
        (
            serde_json::json!({ "aud": ["https://a.example", "https://c.example"] }),
            "the audience",
        ),
        (serde_json::json!({ "aud": [ISSUER] }), "the audience"),
        (
            serde_json::json!({ "scope": "r:devices admin" }),
            "the scope",
        ),
        (serde_json::json!({ "exp": 3701 }), "the end"),
        (serde_json::json!({ "exp": null }), "the end"),
        (serde_json::json!({ OWNER: "9" }), "the owner"),
    ] {
        let found = token(changed);
        assert!(
            found.len() == 1 && found[0].starts_with(part),
            "{part}: {found:?}"
        );
    }
}
