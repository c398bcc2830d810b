//! Access tokens that are bound to the client's certificate.

use serde_json::json;

use super::{GRANT, SECRET, World, claims, error, gateway};
use crate::support::certificates::Issued;

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_names_the_certificate_of_its_request() {
    let world = World::start(&json!({ "keys": [Issued::by_itself(|_| {}).1] })).await;
    let first = world.clients.issue(&[], gateway);
    let second = world.clients.issue(&[], gateway);
    let answer = world.ask(&world.showing(&first), "bound").await;
    assert_eq!(
        claims(&answer)["cnf"],
        json!({ "x5t#S256": first.thumbprint() })
    );
    assert_eq!(answer.json()["token_type"], "Bearer");
    // Introspection shows it.
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let caller = [
        ("client_id", "secret"),
        ("client_secret", SECRET),
        ("token", &token),
    ];
    let shown = world
        .post(&world.without_certificate(), "/oauth/introspect", &caller)
        .await
        .json();
    assert_eq!(
        (&shown["active"], &shown["cnf"]["x5t#S256"]),
        (&json!(true), &json!(first.thumbprint()))
    );
    // A renewed certificate may use the refresh token; the new token is bound to it.
    let refresh_token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    let refresh = [
        ("grant_type", "refresh_token"),
        ("client_id", "bound"),
        ("refresh_token", &refresh_token),
    ];
    let other = world.showing(&world.clients.client("another"));
    for client in [&other, &world.without_certificate()] {
        let answer = world.post(client, "/oauth/token", &refresh).await;
        assert_eq!(error(&answer), (401, "invalid_client".to_owned()));
    }
    let renewed = world.showing(&second);
    let answer = world.post(&renewed, "/oauth/token", &refresh).await;
    assert_eq!(claims(&answer)["cnf"]["x5t#S256"], second.thumbprint());
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_bound_tokens_gets_none_without_a_certificate() {
    let world = World::start(&json!({ "keys": [Issued::by_itself(|_| {}).1] })).await;
    let fields = [
        GRANT,
        ("client_id", "bound-secret"),
        ("client_secret", SECRET),
    ];
    let answer = world
        .post(&world.without_certificate(), "/oauth/token", &fields)
        .await;
    assert_eq!(error(&answer), (400, "invalid_request".to_owned()));
    assert!(answer.text().contains("with a client certificate"));
    // Any certificate binds: the secret authenticates the client.
    for certificate in [world.clients.client("any"), Issued::by_itself(|_| {}).0] {
        let client = world.showing(&certificate);
        let answer = world.post(&client, "/oauth/token", &fields).await;
        assert_eq!(claims(&answer)["cnf"]["x5t#S256"], certificate.thumbprint());
    }
    world.sidecar.stop().await;
}
