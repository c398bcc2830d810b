//! Clients that end by time: their tokens end with them, as those of a client that is disabled.

use std::sync::Arc;
use std::time::Duration;

use m2m_sidecar::for_tests::domain::clock::{Clock, UnixTime};
use m2m_sidecar::for_tests::domain::revoked::HashedClientId;
use serde_json::{Value, json};

use super::clock::{claims, introspect, list};
use super::{World, error, is, meter};
use crate::support::client::post_form;
use crate::support::clock::MovableClock;
use crate::support::sidecar::Sidecar;
use crate::support::{logs, until};

async fn world() -> (World, Arc<MovableClock>) {
    let clock = MovableClock::now();
    (
        World::start_from(Sidecar::builder().clock(clock.clone())).await,
        clock,
    )
}

/// A time so far from the sidecar's.
fn after(clock: &MovableClock, seconds: i64) -> (i64, String) {
    let time = UnixTime(clock.now().0 + seconds);
    (time.0, time.to_rfc3339().expect("a time"))
}

/// Whether the public list says that all tokens of a client have ended. It never says which client
/// that is.
async fn lists_end_of(world: &World, client_id: &str) -> bool {
    let list = list(world).await;
    assert!(!list.to_string().contains(client_id), "{list}");
    let ends = list["not_before_sha256"][HashedClientId::of(client_id).to_string()].is_i64();
    // A verifier that does not know hashes takes the list for malformed, not for one without ends.
    assert!(!ends || list["not_before"] == json!([]), "{list}");
    ends
}

async fn expire(world: &World, at: impl Into<Value>) {
    let patched = world
        .call("PATCH", "/clients/meter", json!({ "expiry": at.into() }))
        .await;
    assert_eq!(patched.status, 200, "{}", patched.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_issued_that_outlives_its_client() {
    let (world, clock) = world().await;
    let (end, expiry) = after(&clock, 100);
    let mut client = meter();
    client["expiry"] = expiry.into();
    client["grant_types"] = json!(["client_credentials", "refresh_token"]);
    let secret = world.create(client).await;
    let answer = world.token("meter", &secret).await.json();
    let expires_in = answer["expires_in"].as_i64().expect("a number");
    assert!((90..=100).contains(&expires_in), "{expires_in}");
    assert_eq!(
        claims(answer["access_token"].as_str().expect("a token"))["exp"],
        end
    );
    let refresh = answer["refresh_token"].as_str().expect("a refresh token");
    logs::remember_secret(refresh);
    assert_eq!(introspect(&world, &secret, refresh).await["exp"], end);

    let ask = async |expiration: i64| {
        let expiration = expiration.to_string();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "meter"),
            ("client_secret", &secret),
            ("expiration", &expiration),
        ];
        let answer = post_form(world.sidecar.address("issuer"), "/oauth/token", &form, &[]).await;
        if answer.status == 200 {
            logs::remember_secret(answer.json()["access_token"].as_str().expect("a token"));
            logs::remember_secret(answer.json()["refresh_token"].as_str().expect("a token"));
        }
        error(&answer)
    };
    assert_eq!(ask(end).await, is(200, ""));
    assert_eq!(ask(end + 1).await, is(400, "invalid_request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_its_expiry_on_every_token_of_a_client_is_revoked_here_and_in_the_list() {
    let (world, clock) = world().await;
    let secret = world.create(meter()).await;
    let first = world.good_token("meter", &secret).await;
    expire(&world, after(&clock, 100).1).await;
    assert_eq!(
        world.check_token(&first).await.0,
        200,
        "the client is alive"
    );
    clock.forward(Duration::from_secs(101));
    assert_eq!(world.check_token(&first).await, is(401, "revoked"));
    assert_eq!(
        error(&world.token("meter", &secret).await),
        is(401, "invalid_client")
    );
    until("the list says so", async || {
        lists_end_of(&world, "meter").await
    })
    .await;

    // A client that is prolonged is not the same as one that never ended.
    expire(&world, Value::Null).await;
    assert_eq!(
        world.check_token(&first).await,
        is(401, "revoked"),
        "an old token does not come back"
    );
    let second = world.good_token("meter", &secret).await;
    assert_eq!(world.check_token(&second).await.0, 200);

    // Prolonged before the next look at the clock.
    expire(&world, after(&clock, 100).1).await;
    clock.forward(Duration::from_secs(100));
    expire(&world, after(&clock, 7200).1).await;
    assert_eq!(world.check_token(&second).await, is(401, "revoked"));
    assert_eq!(
        world
            .check_token(&world.good_token("meter", &secret).await)
            .await
            .0,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_tokens_end_with_their_client() {
    let (world, clock) = world().await;
    let secret = world.create(meter()).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "meter"),
        ("client_secret", secret.as_str()),
        ("token_name", "kept"),
    ];
    let answer = post_form(world.sidecar.address("issuer"), "/oauth/token", &form, &[]).await;
    logs::remember_secret(answer.json()["access_token"].as_str().expect("a token"));
    let active = async || {
        let tokens = world
            .get("/tokens?client_id=meter&active=true")
            .await
            .json();
        tokens["tokens"].as_array().expect("a list").len()
    };
    assert_eq!(active().await, 1);
    expire(&world, after(&clock, 100).1).await;
    clock.forward(Duration::from_secs(100));
    until("it is revoked", async || active().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expires_while_the_sidecar_is_down_loses_its_tokens() {
    let (world, clock) = world().await;
    let secret = world.create(meter()).await;
    let token = world.good_token("meter", &secret).await;
    expire(&world, after(&clock, 100).1).await;
    let upstream = world.upstream;
    let builder = world
        .sidecar
        .stop_keeping_state()
        .await
        .clock(clock.clone());
    clock.forward(Duration::from_secs(200));
    let sidecar = super::files(builder).start(&super::yaml(&upstream)).await;
    let world = World { upstream, sidecar };
    assert_eq!(world.check_token(&token).await, is(401, "revoked"));
    assert!(lists_end_of(&world, "meter").await);
    expire(&world, Value::Null).await;
    assert_eq!(world.check_token(&token).await, is(401, "revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_configuration_loses_its_tokens_when_it_expires_or_is_disabled_there() {
    let (world, clock) = world().await;
    let secret = super::CONFIGURED_SECRET;
    let mut world = world;
    for end in [
        format!("expiresAt: {}", after(&clock, 100).1),
        "disabled: true".to_owned(),
    ] {
        let token = world.good_token("configured", secret).await;
        let upstream = world.upstream;
        let builder = world
            .sidecar
            .stop_keeping_state()
            .await
            .clock(clock.clone());
        let yaml = super::yaml(&upstream);
        let ended = yaml.replace("{ id: configured,", &format!("{{ id: configured, {end},"));
        assert_ne!(yaml, ended);
        let sidecar = super::files(builder).start(&ended).await;
        world = World { upstream, sidecar };
        clock.forward(Duration::from_secs(100));
        assert_eq!(world.check_token(&token).await, is(401, "revoked"), "{end}");
        until("the list says so", async || {
            lists_end_of(&world, "configured").await
        })
        .await;
        // Without its end again.
        let upstream = world.upstream;
        let builder = world
            .sidecar
            .stop_keeping_state()
            .await
            .clock(clock.clone());
        let sidecar = super::files(builder).start(&yaml).await;
        world = World { upstream, sidecar };
        assert_eq!(world.check_token(&token).await, is(401, "revoked"), "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_list_names_clients_only_when_it_is_told_to() {
    let upstream = crate::support::upstream::Upstream::start();
    let builder = super::files(Sidecar::builder());
    let yaml = super::yaml(&upstream);
    let named = yaml.replacen("issuer:\n", "issuer:\n  revocationList: named\n", 1);
    assert_ne!(named, yaml);
    let world = World {
        sidecar: builder.start(&named).await,
        upstream,
    };
    world.create(meter()).await;
    assert_eq!(
        world
            .call("DELETE", "/clients/meter", Value::Null)
            .await
            .status,
        204
    );
    let list = list(&world).await;
    assert!(
        list["not_before"]["meter"].is_i64() && list["marked"]["meter"].is_object(),
        "{list}"
    );
    assert!(
        list.get("not_before_sha256").is_none() && list.get("marked_sha256").is_none(),
        "{list}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_the_configuration_disables_has_lost_its_tokens_when_the_sidecar_has_started()
{
    let (world, clock) = world().await;
    let secret = super::CONFIGURED_SECRET;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "configured"),
        ("client_secret", secret),
        ("token_name", "kept"),
    ];
    let answer = post_form(world.sidecar.address("issuer"), "/oauth/token", &form, &[]).await;
    let token = answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    logs::remember_secret(&token);
    assert_eq!(world.check_token(&token).await, is(200, "-"));
    let upstream = world.upstream;
    let builder = world
        .sidecar
        .stop_keeping_state()
        .await
        .clock(clock.clone());
    let yaml =
        super::yaml(&upstream).replace("{ id: configured,", "{ id: configured, disabled: true,");
    let sidecar = super::files(builder).start(&yaml).await;
    let world = World { upstream, sidecar };
    // At once, for every verifier, and for the registry.
    assert_eq!(world.check_token(&token).await, is(401, "revoked"));
    assert!(lists_end_of(&world, "configured").await);
    assert_eq!(
        world
            .get("/tokens?client_id=configured&active=true")
            .await
            .json()["tokens"],
        json!([])
    );
    assert_eq!(
        error(&world.token("configured", secret).await),
        is(401, "invalid_client")
    );
}
