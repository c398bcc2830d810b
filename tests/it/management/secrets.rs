//! Several secrets of one client: rotation with overlap.

use std::time::Duration;

use serde_json::{Value, json};

use super::{World, error, fields, is, meter};
use crate::issued::database;
use crate::support::clock::MovableClock;
use crate::support::sidecar::Sidecar;

async fn new_secret(world: &World, body: Value) -> (String, String) {
    let answer = world.call("POST", "/clients/meter/secrets", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let answer = answer.json();
    let text = |member: &str| answer[member].as_str().expect("a text").to_owned();
    match answer["last_four"].as_str() {
        Some(end) => assert!(text("client_secret").ends_with(end)),
        None => assert!(
            !text("client_secret").starts_with("m2m_"),
            "it was supplied"
        ),
    }
    (text("id"), text("client_secret"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_secret_is_valid_for_its_grace_period_only() {
    let clock = MovableClock::now();
    let world = World::start_from(Sidecar::builder().clock(clock.clone())).await;
    let first = world.create(meter()).await;
    let (_, second) = new_secret(&world, json!({ "grace": "1h" })).await;
    world.good_token("meter", &first).await;
    world.good_token("meter", &second).await;
    clock.forward(Duration::from_secs(3601));
    assert_eq!(world.token("meter", &first).await.status, 401);
    world.good_token("meter", &second).await;

    let (_, third) = new_secret(&world, json!({})).await;
    clock.forward(Duration::from_hours(23));
    world.good_token("meter", &second).await;
    clock.forward(Duration::from_hours(2));
    assert_eq!(
        world.token("meter", &second).await.status,
        401,
        "a day by default"
    );
    world.good_token("meter", &third).await;

    let (_, fourth) = new_secret(&world, json!({ "expires_in": 60, "grace": 0 })).await;
    assert_eq!(world.token("meter", &third).await.status, 401);
    world.good_token("meter", &fourth).await;
    clock.forward(Duration::from_secs(61));
    assert_eq!(world.token("meter", &fourth).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_listed_and_the_last_live_one_goes_only_by_force() {
    let world = World::start().await;
    let first = world.create(meter()).await;
    let (second_id, second) = new_secret(
        &world,
        json!({ "grace": "1h", "expiry": "2099-01-01T00:00:00Z" }),
    )
    .await;
    let list = world.get("/clients/meter/secrets").await.json();
    let list = list["secrets"].as_array().expect("a list");
    assert_eq!(list.len(), 2);
    let of_second = list
        .iter()
        .find(|secret| secret["id"] == second_id.as_str())
        .expect("the second one");
    assert_eq!(of_second["expires_at"], "2099-01-01T00:00:00Z");
    let of_first = list
        .iter()
        .find(|secret| secret["id"] != second_id.as_str())
        .expect("the first one");
    assert!(of_first["expires_at"].is_string(), "its end is known");
    assert_eq!(of_first["last_four"], first[first.len() - 4..]);
    assert_eq!(of_first["safe_to_delete"], false, "it is young");
    let target = |id: &Value| format!("/clients/meter/secrets/{}", id.as_str().expect("an id"));
    assert_eq!(
        world
            .call("DELETE", &target(&of_first["id"]), Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(world.token("meter", &first).await.status, 401);
    world.good_token("meter", &second).await;
    let last = target(&of_second["id"]);
    assert_eq!(
        error(&world.call("DELETE", &last, Value::Null).await),
        is(409, "conflict")
    );
    world.good_token("meter", &second).await;
    assert_eq!(
        fields(
            &world
                .call("DELETE", &format!("{last}?force=yes"), Value::Null)
                .await
        ),
        ["force"]
    );
    assert_eq!(
        world
            .call("DELETE", &format!("{last}?force=true"), Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(world.token("meter", &second).await.status, 401);
    assert_eq!(
        error(&world.call("DELETE", &last, Value::Null).await),
        is(404, "not_found")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_at_most_ten_secrets_that_live() {
    let clock = MovableClock::now();
    let world = World::start_from(Sidecar::builder().clock(clock.clone())).await;
    world.create(meter()).await;
    for _ in 0..9 {
        new_secret(&world, json!({ "grace": "1h" })).await;
    }
    let eleventh = world
        .call("POST", "/clients/meter/secrets", json!({}))
        .await;
    assert_eq!(error(&eleventh), is(409, "conflict"));
    clock.forward(Duration::from_hours(2));
    let (_, secret) = new_secret(&world, json!({})).await;
    world.good_token("meter", &secret).await;
    let list = world.get("/clients/meter/secrets").await.json();
    assert_eq!(
        list["secrets"].as_array().map(Vec::len),
        Some(2),
        "the dead ones made room"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supplied_secret_needs_16_bytes_and_a_time_to_come() {
    let world = World::start().await;
    world.create(meter()).await;
    for (body, wrong) in [
        (
            json!({ "client_secret": "fifteen-bytes-1" }),
            "client_secret",
        ),
        (json!({ "expires_in": 0 }), "expires_in"),
        (json!({ "expiry": "2020-01-01T00:00:00Z" }), "expiry"),
        (
            json!({ "expires_in": 1, "expiry": "2099-01-01T00:00:00Z" }),
            "expiry",
        ),
        (json!({ "grace": "long" }), "grace"),
        (json!({ "gracee": 1 }), "gracee"),
    ] {
        let answer = world
            .call("POST", "/clients/meter/secrets", body.clone())
            .await;
        assert_eq!(
            (answer.status, fields(&answer)),
            (400, vec![wrong.to_owned()]),
            "{body}"
        );
    }
    let (_, secret) = new_secret(&world, json!({ "client_secret": "a-secret-of-my-own" })).await;
    assert_eq!(secret, "a-secret-of-my-own");
    world.good_token("meter", &secret).await;
    assert!(
        !world
            .get("/clients/meter/secrets")
            .await
            .text()
            .contains("argon2")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn supplied_secrets_that_are_made_at_once_are_all_good() {
    let world = World::start().await;
    world.create(meter()).await;
    let make = |number: u8| {
        let world = &world;
        async move {
            new_secret(
                world,
                json!({ "client_secret": format!("a-secret-of-my-own-{number}") }),
            )
            .await
            .1
        }
    };
    let (one, two, three) = tokio::join!(make(1), make(2), make(3));
    for secret in [one, two, three] {
        world.good_token("meter", &secret).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_client_gets_no_token() {
    let clock = MovableClock::now();
    let world = World::start_from(Sidecar::builder().clock(clock.clone())).await;
    let secret = world
        .create(json!({ "client_id": "c", "expiry": "2098-01-01T00:00:00Z" }))
        .await;
    world.good_token("c", &secret).await;
    clock.forward(Duration::from_hours(24 * 366 * 80));
    assert_eq!(
        error(&world.token("c", &secret).await),
        is(401, "invalid_client")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_secret_was_last_used_outlives_the_end_of_the_process() {
    let clock = MovableClock::now();
    let world = World::start_from(Sidecar::builder().clock(clock.clone())).await;
    let secret = world.create(meter()).await;
    world.good_token("meter", &secret).await;
    // The first use is written at once, those of the next minute later.
    crate::support::until("the first use is written", async || {
        let list = world.get("/clients/meter/secrets").await.json();
        list["secrets"][0]["last_used_at"].is_string()
    })
    .await;
    clock.forward(Duration::from_secs(20));
    world.good_token("meter", &secret).await;
    let used = m2m_sidecar::for_tests::domain::clock::Clock::now(&*clock);
    let World { sidecar, upstream } = world;
    let builder = sidecar.stop_keeping_state().await.clock(clock.clone());
    let world = World {
        sidecar: super::files(builder).start(&super::yaml(&upstream)).await,
        upstream,
    };
    let list = world.get("/clients/meter/secrets").await.json();
    let last_used = list["secrets"][0]["last_used_at"]
        .as_str()
        .expect("a time")
        .to_owned();
    let last_used = m2m_sidecar::for_tests::domain::clock::UnixTime::from_rfc3339(&last_used)
        .expect("RFC 3339");
    assert!(
        (used.0 - 5..=used.0).contains(&last_used.0),
        "{last_used:?}, not {used:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_supplied_secret_nothing_is_stored_or_shown() {
    let world = World::start().await;
    let chosen = "Correct-Horse-Battery-4242";
    let mut client = meter();
    client["client_secret"] = chosen.into();
    world.create(client).await;
    let answer = world.call(
        "POST",
        "/clients/meter/secrets",
        json!({ "client_secret": "Another-Chosen-One-5151" }),
    );
    let answer = answer.await;
    assert_eq!((answer.status, answer.json().get("last_four")), (201, None));
    world.create(json!({ "client_id": "made" })).await;
    for (id, shown) in [("meter", 0), ("made", 1)] {
        let secrets = world.get(&format!("/clients/{id}/secrets")).await.json();
        let secrets = secrets["secrets"].as_array().expect("a list").clone();
        assert_eq!(
            secrets
                .iter()
                .filter(|secret| secret.get("last_four").is_some())
                .count(),
            shown
        );
    }
    // Opening the store removes the data of an earlier version.
    let mut database = database(&world.sidecar).await;
    let kept = "SELECT count(*) FROM client_secrets WHERE last_four IN ('4242', '5151')";
    assert_eq!(
        sqlx::query_scalar::<_, i64>(kept)
            .fetch_one(&mut database)
            .await
            .expect("a count"),
        0
    );
}
