//! The member `exchange` of a registration: the tokens that a client may exchange.

use serde_json::{Value, json};

use super::*;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

fn exchanging(exchange: &Value) -> Value {
    json!({"client_id": "gateway", "grant_types": [GRANT], "audience": ["orders"],
        "scope": "read", "exchange": exchange})
}

/// The exchange of this token by the client: status and answer.
async fn exchange(world: &World, secret: &str, token: &str) -> (u16, Value) {
    let basic = format!("Basic {}", STANDARD.encode(format!("gateway:{secret}")));
    let form = [
        ("grant_type", GRANT),
        ("subject_token", token),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
    ];
    let issuer = world.sidecar.address("issuer");
    let answer = post_form(issuer, "/oauth/token", &form, &[("Authorization", &basic)]).await;
    if let Some(token) = answer.json()["access_token"].as_str() {
        logs::remember_secret(token);
    }
    (answer.status, answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_client_exchanges_tokens_by_its_policy() {
    let world = World::start().await;
    let policy = json!({"subjects": [{"authority": "self", "subject": "config*"}]});
    let secret = world.create(exchanging(&policy)).await;
    let shown = world.get("/clients/gateway").await.json();
    let expected = json!({"subjects": [{"authority": "self", "subject": "config*"}],
        "max_depth": 1});
    assert_eq!(shown["exchange"], expected);
    let token = world.good_token("configured", CONFIGURED_SECRET).await;
    let (status, answer) = exchange(&world, &secret, &token).await;
    assert_eq!(
        (status, &answer["scope"]),
        (200, &json!("read")),
        "{answer}"
    );
    // The shown policy can be sent back, and a change is effective at once.
    let answer = world
        .call("PATCH", "/clients/gateway", json!({"exchange": expected}))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let narrow = json!({"exchange": {"subjects": [{"authority": "self", "subject": "other"}]}});
    let answer = world.call("PATCH", "/clients/gateway", narrow).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (status, answer) = exchange(&world, &secret, &token).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_request")));
    // An authority that the configuration does not have issues nothing that fits.
    let unknown = json!({"exchange": {"subjects": [{"authority": "unknown"}]}});
    world.call("PATCH", "/clients/gateway", unknown).await;
    assert_eq!(exchange(&world, &secret, &token).await.0, 400);
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_policy_is_refused_with_its_member() {
    let world = World::start().await;
    let subjects = json!([{"authority": "self"}]);
    for (exchange, field) in [
        (json!("x"), "exchange"),
        (json!({}), "exchange.subjects"),
        (json!({"subjects": []}), "exchange.subjects"),
        (json!({"subjects": "x"}), "exchange.subjects"),
        (json!({"subjects": [5]}), "exchange.subjects[0]"),
        (json!({"subjects": [{}]}), "exchange.subjects[0].authority"),
        (
            json!({"subjects": [{"authority": "self", "subject": "*"}]}),
            "exchange.subjects[0].subject",
        ),
        (
            json!({"subjects": [{"authority": "self", "claims": {"a": "b"}}]}),
            "exchange.subjects[0].claims",
        ),
        (
            json!({"subjects": [{"authority": "self", "audience": ["x"]}]}),
            "exchange.subjects[0].audience",
        ),
        (
            json!({"subjects": subjects, "audiences": ["x"]}),
            "exchange.audiences",
        ),
        (
            json!({"subjects": subjects, "added_scopes": ["x"]}),
            "exchange.added_scopes",
        ),
        (
            json!({"subjects": subjects, "max_depth": 0}),
            "exchange.max_depth",
        ),
        (
            json!({"subjects": subjects, "max_depth": 9}),
            "exchange.max_depth",
        ),
        (json!({"subjects": subjects, "depth": 1}), "exchange.depth"),
    ] {
        let answer = world.call("POST", "/clients", exchanging(&exchange)).await;
        assert_eq!(answer.status, 400, "{exchange}");
        assert!(
            answer.text().contains(&format!("\"{field}\"")),
            "{field}: {}",
            answer.text()
        );
    }
    for body in [
        json!({"grant_types": [GRANT], "audience": ["orders"]}),
        json!({"audience": ["orders"], "exchange": {"subjects": subjects}}),
        json!({"grant_types": [GRANT], "exchange": {"subjects": subjects}}),
    ] {
        let answer = world.call("POST", "/clients", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    world.sidecar.stop().await;
}
