//! A clock that is ahead for a short time: nothing is forgotten that is needed when the clock is
//! right again.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sqlx::SqliteConnection;

use super::clock::{introspect, list, restarted};
use super::{CONFIGURED_SECRET, World, is, meter};
use crate::issued::database;
use crate::support::client::post_form;
use crate::support::clock::MovableClock;
use crate::support::sidecar::Sidecar;
use crate::support::{logs, until};

const TWO_HOURS: Duration = Duration::from_hours(2);
const THREE_DAYS: Duration = Duration::from_hours(3 * 24);

async fn world() -> (World, Arc<MovableClock>) {
    let clock = MovableClock::now();
    (
        World::start_from(Sidecar::builder().clock(clock.clone())).await,
        clock,
    )
}

/// Has the sidecar look at its clock and its store, as it does every five seconds.
async fn look(world: &World) {
    assert_eq!(world.call("POST", "/clients", json!({})).await.status, 201);
}

async fn revoke(world: &World, secret: &str, token: &str) {
    let basic = format!("Basic {}", STANDARD.encode(format!("meter:{secret}")));
    let address = world.sidecar.address("issuer");
    let answer = post_form(
        address,
        "/oauth/revoke",
        &[("token", token)],
        &[("Authorization", &basic)],
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Tokens that were taken back, each in another way.
async fn taken_back(world: &World, secret: &str) -> Vec<String> {
    let single = world.good_token("meter", secret).await;
    revoke(world, secret, &single).await;
    let other = world.create(json!({ "client_id": "other" })).await;
    let disabled = world.good_token("other", &other).await;
    assert_eq!(
        world
            .call("PATCH", "/clients/other", json!({ "disabled": true }))
            .await
            .status,
        200
    );
    let configured = world.good_token("configured", CONFIGURED_SECRET).await;
    assert_eq!(
        world
            .call("POST", "/clients/configured/revoke", json!({}))
            .await
            .status,
        200
    );
    vec![single, disabled, configured]
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_tokens_stay_revoked_during_and_after_a_clock_ahead() {
    let (world, clock) = world().await;
    let secret = world.create(meter()).await;
    let old = taken_back(&world, &secret).await;
    let before = list(&world).await;
    clock.set_ahead(TWO_HOURS);
    look(&world).await;
    look(&world).await;
    let ahead = list(&world).await;
    for member in ["revoked", "not_before_sha256", "marked_sha256"] {
        assert_eq!(
            (&ahead[member], ahead[member].is_null()),
            (&before[member], false),
            "{member}"
        );
    }
    clock.set_back(TWO_HOURS);
    for token in &old {
        assert_eq!(
            world.check_token(token).await,
            is(401, "revoked"),
            "before the next look"
        );
    }
    look(&world).await;
    for token in &old {
        assert_eq!(world.check_token(token).await, is(401, "revoked"));
        assert_eq!(introspect(&world, &secret, token).await["active"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_revoked_also_while_a_clock_that_is_ahead_takes_it_for_expired() {
    let (world, clock) = world().await;
    let secret = world.create(meter()).await;
    let token = world.good_token("meter", &secret).await;
    clock.set_ahead(TWO_HOURS);
    look(&world).await;
    revoke(&world, &secret, &token).await;
    clock.set_back(TWO_HOURS);
    assert_eq!(world.check_token(&token).await, is(401, "revoked"));
}

/// How many rows there are of what is purged.
async fn rows(database: &mut SqliteConnection) -> Vec<i64> {
    let count = "SELECT (SELECT count(*) FROM revoked_tokens), \
        (SELECT count(*) FROM client_not_before),
                        (SELECT count(*) FROM tokens), (SELECT count(*) FROM refresh_tokens),
                        (SELECT count(*) FROM used_assertions),
                        (SELECT count(*) FROM signing_keys)";
    let (a, b, c, d, e, f): (i64, i64, i64, i64, i64, i64) = sqlx::query_as(count)
        .fetch_one(database)
        .await
        .expect("counts");
    vec![a, b, c, d, e, f]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_runs_days_ahead_for_a_moment_deletes_nothing_that_is_needed() {
    let (world, clock) = world().await;
    let mut client = meter();
    client["grant_types"] = json!(["client_credentials", "refresh_token"]);
    let secret = world.create(client).await;
    let answer = world.token("meter", &secret).await.json();
    logs::remember_secret(answer["refresh_token"].as_str().expect("a refresh token"));
    let old = taken_back(&world, &secret).await;
    let good = world.good_token("configured", CONFIGURED_SECRET).await;
    assert_eq!(
        world
            .call("POST", "/keys/rotate", json!({ "now": true }))
            .await
            .status,
        200
    );
    let mut database = database(&world.sidecar).await;
    sqlx::query("INSERT INTO used_assertions VALUES (x'07', unixepoch() + 60)")
        .execute(&mut database)
        .await
        .expect("a row");
    sqlx::query(
        "INSERT INTO tokens (jti, client_id, subject, scope, audience, issued_at, expires_at)
         VALUES ('kept', 'meter', 'meter', '', '[]', unixepoch(), unixepoch() + 60)",
    )
    .execute(&mut database)
    .await
    .expect("a row");
    let before = rows(&mut database).await;
    assert!(before.iter().all(|count| *count > 0), "{before:?}");
    clock.set_ahead(THREE_DAYS);
    let world = restarted(world, &clock).await;
    look(&world).await;
    clock.set_back(THREE_DAYS);
    let world = restarted(world, &clock).await;
    assert_eq!(rows(&mut database).await, before);
    for token in &old {
        assert_eq!(world.check_token(token).await, is(401, "revoked"));
    }
    assert_eq!(
        world.check_token(&good).await,
        is(200, "-"),
        "the key that signed it was replaced, and is published"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_is_reported_and_everything_is_read_again() {
    let (world, clock) = world().await;
    let secret = world.create(meter()).await;
    let token = world.good_token("meter", &secret).await;
    let jti = super::clock::claims(&token)["jti"]
        .as_str()
        .expect("a jti")
        .to_owned();
    let mut database = database(&world.sidecar).await;
    // Without a sign that anything has changed.
    sqlx::query(
        "INSERT INTO revoked_tokens (jti, client_id, expires_at, revoked_at) VALUES (?1, \
        'meter', unixepoch() + 3600, unixepoch())",
    )
    .bind(&jti)
    .execute(&mut database)
    .await
    .expect("a row");
    look(&world).await;
    assert_eq!(world.check_token(&token).await, is(200, "-"));
    let mark = logs::mark();
    clock.set_back(TWO_HOURS);
    look(&world).await;
    clock.set_ahead(TWO_HOURS);
    logs::wait_for_line(mark, &["the clock was set", "seconds=-72"]).await;
    assert_eq!(world.check_token(&token).await, is(401, "revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_passes_is_counted_and_what_is_dead_then_goes() {
    let (world, clock) = world().await;
    let secret = world.create(meter()).await;
    taken_back(&world, &secret).await;
    let mut database = database(&world.sidecar).await;
    let counts = async |database: &mut SqliteConnection| rows(database).await[..2].to_vec();
    assert_eq!(counts(&mut database).await, [1, 2]);
    // The machine slept, perhaps.
    clock.forward(Duration::from_hours(26));
    until("the single revocation is gone", async || {
        look(&world).await;
        counts(&mut database).await[0] == 0
    })
    .await;
    assert_eq!(list(&world).await["revoked"], json!([]));
}
