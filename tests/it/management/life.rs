//! A client from its registration to its end, and the validity of its tokens at each step.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{World, call, error, fields, files, is, meter, yaml};
use crate::support::sidecar::Sidecar;
use crate::support::{logs, until};

#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_a_clients_life_takes_effect_at_once() {
    let world = World::start().await;
    let secret = world.create(meter()).await;
    let first = world.good_token("meter", &secret).await;
    assert_eq!(world.check_token(&first).await.0, 200);

    let patched = world
        .call(
            "PATCH",
            "/clients/meter",
            json!({ "scope": "devices:write", "owner": "1" }),
        )
        .await;
    assert_eq!(
        (patched.status, &patched.json()["version"]),
        (200, &json!(2)),
        "{}",
        patched.text()
    );
    assert_eq!(
        world.token("meter", &secret).await.json()["scope"],
        "devices:write"
    );
    assert_eq!(
        world.check_token(&first).await.0,
        200,
        "what it was issued stays good"
    );

    let disabled = world
        .call("PATCH", "/clients/meter", json!({ "disabled": true }))
        .await;
    assert_eq!(
        (disabled.status, &disabled.json()["disabled"]),
        (200, &json!(true))
    );
    assert_eq!(world.check_token(&first).await, is(401, "revoked"));
    assert_eq!(
        error(&world.token("meter", &secret).await),
        is(401, "invalid_client")
    );

    let enabled = world
        .call("PATCH", "/clients/meter", json!({ "disabled": null }))
        .await;
    assert_eq!(
        (enabled.status, &enabled.json()["disabled"]),
        (200, &json!(false))
    );
    let second = world.good_token("meter", &secret).await;
    assert_eq!(
        world.check_token(&second).await.0,
        200,
        "a new token is valid"
    );
    assert_eq!(
        world.check_token(&first).await,
        is(401, "revoked"),
        "an old one does not come back"
    );

    let long_ago = json!({ "before": "2020-01-01T00:00:00Z" });
    let revoked = world
        .call("POST", "/clients/meter/revoke", long_ago.clone())
        .await;
    assert_eq!(
        (revoked.status, &revoked.json()["not_before"]),
        (200, &long_ago["before"])
    );
    assert_eq!(
        world.check_token(&second).await.0,
        200,
        "only what was issued up to then"
    );
    let unknown = world
        .call("POST", "/clients/meter/revoke", json!({ "befor": 1 }))
        .await;
    assert_eq!(
        (unknown.status, fields(&unknown)),
        (400, vec!["befor".to_owned()])
    );
    let revoked = world.call("POST", "/clients/meter/revoke", json!({})).await;
    assert_eq!(
        (revoked.status, &revoked.json()["client_id"]),
        (200, &json!("meter")),
        "{}",
        revoked.text()
    );
    assert_eq!(world.check_token(&second).await, is(401, "revoked"));
    let third = world.good_token("meter", &secret).await;
    assert_eq!(
        world.check_token(&third).await.0,
        200,
        "the client itself remains"
    );

    assert_eq!(
        world
            .call("DELETE", "/clients/meter", Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(world.check_token(&third).await, is(401, "revoked"));
    assert_eq!(
        error(&world.token("meter", &secret).await),
        is(401, "invalid_client")
    );
    for (method, body) in [
        ("GET", Value::Null),
        ("PATCH", json!({})),
        ("DELETE", Value::Null),
    ] {
        assert_eq!(
            error(&world.call(method, "/clients/meter", body).await),
            is(404, "not_found"),
            "{method}"
        );
    }

    let again = world.create(meter()).await;
    assert_eq!(
        error(&world.token("meter", &secret).await),
        is(401, "invalid_client"),
        "the old secret is dead"
    );
    let fourth = world.good_token("meter", &again).await;
    assert_eq!(world.check_token(&fourth).await.0, 200);
    assert_eq!(world.check_token(&third).await, is(401, "revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_and_the_admin_token_survive_a_restart() {
    let world = World::start().await;
    let secret = world.create(meter()).await;
    let before = world.get("/clients/meter").await.json();
    let token = world.good_token("meter", &secret).await;
    world
        .call("PATCH", "/clients/meter", json!({ "disabled": true }))
        .await;
    world
        .call("PATCH", "/clients/meter", json!({ "disabled": false }))
        .await;
    let upstream = world.upstream;
    let sidecar = files(world.sidecar.stop_keeping_state().await)
        .start(&yaml(&upstream))
        .await;
    let world = World { upstream, sidecar };
    let after = world.get("/clients/meter").await.json();
    assert_eq!(
        (&after["scope"], &after["created_at"]),
        (&before["scope"], &before["created_at"])
    );
    assert_eq!(after["version"], 3);
    assert_eq!(
        world.check_token(&token).await,
        is(401, "revoked"),
        "what was ended stays ended"
    );
    world.good_token("meter", &secret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_admin_token_is_kept() {
    let yaml = "stateDir: \"@DIR@/state\"\nstore: { url: \"sqlite::memory:\" }\n\
        admin: { listen: 127.0.0.1:0 }\nissuer: { url: http://issuer.test, listen: 127.0.0.1:0 }\n";
    let ask = async |sidecar: &Sidecar| {
        let token = std::fs::read_to_string(sidecar.path("state/admin-token")).expect("a token");
        logs::remember_secret(token.trim_end());
        let bearer = format!("Bearer {}", token.trim_end());
        let headers = [("Authorization", bearer.as_str())];
        assert_eq!(
            crate::support::client::get(sidecar.address("admin"), "/clients", &headers)
                .await
                .status,
            200
        );
        token
    };
    let first = Sidecar::start(yaml).await;
    let token = ask(&first).await;
    let second = first.stop_keeping_state().await.start(yaml).await;
    assert_eq!(ask(&second).await, token);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_patches_at_the_same_time_none_is_lost() {
    let world = World::start().await;
    world.create(meter()).await;
    let admin = world.admin();
    let patches = (0..6).map(|number| {
        let patch = json!({ "claims": { (format!("claim{number}")): number } });
        async move { call(admin, "PATCH", "/clients/meter", &patch).await.status }
    });
    let statuses = futures_util::future::join_all(patches).await;
    assert_eq!(statuses, [200; 6]);
    let client = world.get("/clients/meter").await.json();
    assert_eq!(
        client["claims"].as_object().expect("claims").len(),
        6,
        "{client}"
    );
    assert_eq!(client["version"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_configuration_is_shown_and_cannot_be_changed() {
    let world = World::start().await;
    let shown = world.get("/clients/configured").await.json();
    assert_eq!(
        (&shown["source"], &shown["scope"]),
        (&json!("configuration"), &json!("read"))
    );
    assert!(shown["version"].is_null() && shown["created_at"].is_null());
    for (method, target, body) in [
        ("POST", "/clients", json!({ "client_id": "configured" })),
        ("PATCH", "/clients/configured", json!({ "disabled": true })),
        ("DELETE", "/clients/configured", Value::Null),
        ("GET", "/clients/configured/secrets", Value::Null),
        ("POST", "/clients/configured/secrets", json!({})),
        ("DELETE", "/clients/configured/secrets/x", Value::Null),
    ] {
        assert_eq!(
            error(&world.call(method, target, body).await),
            is(409, "conflict"),
            "{method} {target}"
        );
    }
    // But its tokens can be revoked.
    let token = world
        .good_token("configured", super::CONFIGURED_SECRET)
        .await;
    assert_eq!(world.check_token(&token).await.0, 200);
    assert_eq!(
        world
            .call("POST", "/clients/configured/revoke", json!({}))
            .await
            .status,
        200
    );
    assert_eq!(world.check_token(&token).await, is(401, "revoked"));
    let token = world
        .good_token("configured", super::CONFIGURED_SECRET)
        .await;
    assert_eq!(world.check_token(&token).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_leaves_an_audit_line_without_a_secret() {
    let world = World::start().await;
    let mark = logs::mark();
    let own = format!("audited-{}", uuid::Uuid::new_v4());
    let id = own.as_str();
    let target = format!("/clients/{id}");
    world.create(json!({ "client_id": id })).await;
    world
        .call("POST", "/clients", json!({ "client_id": id }))
        .await;
    world.call("PATCH", &target, json!({ "scope": "a" })).await;
    world
        .call("POST", &format!("{target}/secrets"), json!({}))
        .await;
    world
        .call("POST", &format!("{target}/revoke"), json!({}))
        .await;
    world.call("DELETE", &target, Value::Null).await;
    for (action, outcome) in [
        ("create_client", "done"),
        ("create_client", "conflict"),
        ("update_client", "done"),
        ("create_secret", "done"),
        ("revoke_client", "done"),
        ("delete_client", "done"),
    ] {
        let line = logs::wait_for_line(mark, &["audit", action, outcome, id]).await;
        assert!(
            line.contains("admin") && line.contains("127.0.0.1:"),
            "{line}"
        );
    }
}

/// A caller that requests tokens while the client ends gets none that outlives the client.
#[tokio::test(flavor = "multi_thread")]
async fn no_token_outlives_its_client_however_often_it_is_asked_for() {
    let world = World::start().await;
    let secret = world.create(meter()).await;
    for (method, body) in [
        ("PATCH", json!({ "disabled": true })),
        ("DELETE", Value::Null),
    ] {
        world
            .call("PATCH", "/clients/meter", json!({ "disabled": false }))
            .await;
        let issued = AtomicUsize::new(0);
        let ask = async || {
            let mut tokens = Vec::new();
            loop {
                let answer = world.token("meter", &secret).await;
                if answer.status != 200 {
                    // Concurrent requests may exceed the failure limit of an unknown client.
                    let ends = [
                        is(401, "invalid_client"),
                        is(429, "temporarily_unavailable"),
                    ];
                    assert!(ends.contains(&error(&answer)), "{}", answer.text());
                    return tokens;
                }
                issued.fetch_add(1, Ordering::SeqCst);
                tokens.push(
                    answer.json()["access_token"]
                        .as_str()
                        .expect("a token")
                        .to_owned(),
                );
            }
        };
        let end = async {
            until("tokens are issued", async || {
                issued.load(Ordering::SeqCst) >= 20
            })
            .await;
            let ended = world.call(method, "/clients/meter", body).await;
            assert!(matches!(ended.status, 200 | 204), "{}", ended.text());
        };
        let (one, two, three, ()) = tokio::join!(ask(), ask(), ask(), end);
        let tokens: Vec<String> = [one, two, three].concat();
        assert!(tokens.len() >= 20);
        for token in tokens {
            assert_eq!(world.check_token(&token).await, is(401, "revoked"));
        }
    }
}
