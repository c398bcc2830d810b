//! The signing keys, looked at and rotated.

use serde_json::{Value, json};

use super::{World, error, fields, is, meter};
use crate::support::client::get;

async fn states(world: &World) -> Vec<String> {
    let keys = world.get("/keys").await.json();
    let keys = keys["keys"].as_array().expect("a list");
    keys.iter()
        .map(|key| key["state"].as_str().expect("a state").to_owned())
        .collect()
}

async fn published(world: &World) -> Vec<Value> {
    let keys = get(
        world.sidecar.address("issuer"),
        "/.well-known/jwks.json",
        &[],
    )
    .await
    .json();
    keys["keys"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|key| key["kid"].clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_on_demand_and_no_answer_holds_a_private_one() {
    let world = World::start().await;
    assert_eq!(states(&world).await, ["active"]);
    let secret = world.create(meter()).await;
    let token = world.good_token("meter", &secret).await;
    let first = world.get("/keys").await.json()["keys"][0]["kid"].clone();

    let next = world.call("POST", "/keys/rotate", json!({})).await;
    assert_eq!(next.status, 200, "{}", next.text());
    assert_eq!(states(&world).await, ["active", "next"]);
    assert_eq!(
        published(&world).await.len(),
        2,
        "published before it signs"
    );

    let now = world
        .call("POST", "/keys/rotate", json!({ "now": true }))
        .await;
    assert_eq!(now.status, 200, "{}", now.text());
    let keys = now.json();
    assert_eq!(
        (&keys["keys"][0]["state"], &keys["keys"][0]["algorithm"]),
        (&json!("active"), &json!("ES256"))
    );
    assert_ne!(keys["keys"][0]["kid"], first);
    assert!(
        published(&world).await.contains(&first),
        "what it signed is still good"
    );
    assert_eq!(world.check_token(&token).await.0, 200);
    let new = world.good_token("meter", &secret).await;
    assert_eq!(world.check_token(&new).await.0, 200);
    assert!(!now.text().contains("PRIVATE") && !now.text().contains("\"d\""));

    let withdrawn = world
        .call("POST", "/keys/rotate", json!({ "withdraw": true }))
        .await;
    assert_eq!(withdrawn.status, 200, "{}", withdrawn.text());
    assert_eq!(published(&world).await.len(), 1);
    assert_eq!(
        world.check_token(&new).await.0,
        401,
        "nothing that was signed before is good"
    );

    let wrong = world
        .call(
            "POST",
            "/keys/rotate",
            json!({ "soon": true, "now": "yes" }),
        )
        .await;
    assert_eq!(error(&wrong), is(400, "invalid_client_metadata"));
    assert_eq!(fields(&wrong), ["soon", "now"]);
}
