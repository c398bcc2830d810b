//! A clock that was ahead and is set back: tokens revoked meanwhile stay revoked, and later tokens
//! are valid.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{CONFIGURED_SECRET, World, error, is, meter};
use crate::support::client::{get, post_form};
use crate::support::clock::MovableClock;
use crate::support::sidecar::Sidecar;
use crate::support::until;
use crate::support::upstream::Upstream;

const HOURS: Duration = Duration::from_secs(6 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

/// The claims of the revocation list.
pub(super) async fn list(world: &World) -> Value {
    let answer = get(world.sidecar.address("issuer"), "/oauth/revocations", &[]).await;
    claims(&answer.text())
}

/// The claims of a JWT.
pub(super) fn claims(jwt: &str) -> Value {
    let payload = URL_SAFE_NO_PAD
        .decode(jwt.split('.').nth(1).expect("a JWT"))
        .expect("base64url");
    serde_json::from_slice(&payload).expect("JSON")
}

/// The issuer's answer about a token to its client `meter`.
pub(super) async fn introspect(world: &World, secret: &str, token: &str) -> Value {
    let basic = format!("Basic {}", STANDARD.encode(format!("meter:{secret}")));
    let form = [("token", token)];
    let address = world.sidecar.address("issuer");
    post_form(
        address,
        "/oauth/introspect",
        &form,
        &[("Authorization", &basic)],
    )
    .await
    .json()
}

/// Starts six hours ahead.
async fn ahead() -> (World, Arc<MovableClock>) {
    let clock = MovableClock::now();
    clock.set_ahead(HOURS);
    (
        World::start_from(Sidecar::builder().clock(clock.clone())).await,
        clock,
    )
}

/// The same after a restart.
pub(super) async fn restarted(world: World, clock: &Arc<MovableClock>) -> World {
    let upstream = world.upstream;
    let builder = world
        .sidecar
        .stop_keeping_state()
        .await
        .clock(clock.clone());
    let sidecar = super::files(builder).start(&super::yaml(&upstream)).await;
    World { upstream, sidecar }
}

/// A listener of another process, which fetches the revocation list.
async fn far(issuer: SocketAddr, upstream: &Upstream, clock: &Arc<MovableClock>) -> Sidecar {
    let yaml = format!(
        r#"
stateDir: "@DIR@/state"
authorities:
  self:
    issuer: http://issuer.test
    jwksUri: "http://{issuer}/.well-known/jwks.json"
    revocation: {{ kind: list, endpoint: "http://{issuer}/oauth/revocations", maxAge: 3s }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [self], audiences: any,
      rules: [{{ paths: ["/**"] }}] }}
"#,
        upstream.url()
    );
    Sidecar::builder().clock(clock.clone()).start(&yaml).await
}

async fn check_token(sidecar: &Sidecar, token: &str) -> (u16, String) {
    let bearer = format!("Bearer {token}");
    let answer = get(sidecar.address("api"), "/", &[("Authorization", &bearer)]).await;
    (
        answer.status,
        answer.header("x-m2m-reason").unwrap_or("-").to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_tokens_ended_under_a_clock_that_was_ahead_gets_tokens_that_live() {
    let (world, clock) = ahead().await;
    let mut secret = world.create(meter()).await;
    let mut old = Vec::new();
    for end in ["revoke", "disable", "delete"] {
        old.push(world.good_token("meter", &secret).await);
        match end {
            "revoke" => {
                assert_eq!(
                    world
                        .call("POST", "/clients/meter/revoke", json!({}))
                        .await
                        .status,
                    200
                );
            }
            "disable" => {
                for disabled in [true, false] {
                    let patch = json!({ "disabled": disabled });
                    assert_eq!(
                        world.call("PATCH", "/clients/meter", patch).await.status,
                        200
                    );
                }
            }
            _ => {
                assert_eq!(
                    world
                        .call("DELETE", "/clients/meter", Value::Null)
                        .await
                        .status,
                    204
                );
                secret = world.create(meter()).await;
            }
        }
        clock.set_back(HOURS);
        let new = world.good_token("meter", &secret).await;
        assert_eq!(world.check_token(&new).await, is(200, "-"), "{end}");
        assert_eq!(
            introspect(&world, &secret, &new).await["active"],
            true,
            "{end}"
        );
        for old in &old {
            assert_eq!(
                introspect(&world, &secret, old).await["active"],
                false,
                "{end}"
            );
        }
        // The new ones can be ended, all together and one by one.
        assert_eq!(
            world
                .call("POST", "/clients/meter/revoke", json!({}))
                .await
                .status,
            200
        );
        assert_eq!(world.check_token(&new).await, is(401, "revoked"), "{end}");
        let newer = world.good_token("meter", &secret).await;
        assert_eq!(world.check_token(&newer).await, is(200, "-"), "{end}");
        let basic = format!("Basic {}", STANDARD.encode(format!("meter:{secret}")));
        let form = [("token", newer.as_str())];
        let address = world.sidecar.address("issuer");
        post_form(
            address,
            "/oauth/revoke",
            &form,
            &[("Authorization", &basic)],
        )
        .await;
        assert_eq!(world.check_token(&newer).await, is(401, "revoked"), "{end}");
        clock.forward(HOURS);
        for old in &old {
            assert_eq!(
                world.check_token(old).await,
                is(401, "revoked"),
                "{end}: its time has come again"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_under_a_clock_that_was_ahead_survives_a_restart_and_is_understood_elsewhere() {
    let (world, clock) = ahead().await;
    let secret = world.create(meter()).await;
    let old = world.good_token("meter", &secret).await;
    assert_eq!(
        world
            .call("POST", "/clients/meter/revoke", json!({}))
            .await
            .status,
        200
    );
    clock.set_back(HOURS);
    let world = restarted(world, &clock).await;
    let far = far(world.sidecar.address("issuer"), &world.upstream, &clock).await;
    let new = world.good_token("meter", &secret).await;
    assert_eq!(world.check_token(&new).await, is(200, "-"));
    until("the list has come", async || {
        check_token(&far, &new).await == is(200, "-")
    })
    .await;
    assert_eq!(
        world
            .call("POST", "/clients/meter/revoke", json!({}))
            .await
            .status,
        200
    );
    until("the newer end has come", async || {
        check_token(&far, &new).await == is(401, "revoked")
    })
    .await;
    let newer = world.good_token("meter", &secret).await;
    until("its mark has come", async || {
        check_token(&far, &newer).await == is(200, "-")
    })
    .await;
    // A quarter of an hour before the old token expires.
    clock.forward(HOURS + 45 * MINUTE);
    until("the keys and the list have come", async || {
        check_token(&far, &old).await == is(401, "revoked")
    })
    .await;
    assert_eq!(world.check_token(&old).await, is(401, "revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_signed_before_the_clocks_were_set_back_gives_way_to_the_next() {
    let (world, clock) = ahead().await;
    let secret = world.create(meter()).await;
    let far = far(world.sidecar.address("issuer"), &world.upstream, &clock).await;
    let token = world.good_token("meter", &secret).await;
    until("the list has come", async || {
        check_token(&far, &token).await == is(200, "-")
    })
    .await;
    clock.set_back(HOURS);
    let token = world.good_token("meter", &secret).await;
    assert_eq!(
        world
            .call("POST", "/clients/meter/revoke", json!({}))
            .await
            .status,
        200
    );
    until("the new list has come", async || {
        check_token(&far, &token).await == is(401, "revoked")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_covers_what_was_issued_while_the_clock_was_ahead_also_after_a_restart() {
    for restart in [false, true] {
        let (world, clock) = ahead().await;
        let secret = world.create(meter()).await;
        let old = world.good_token("meter", &secret).await;
        let configured = world.good_token("configured", CONFIGURED_SECRET).await;
        clock.set_back(HOURS);
        let world = if restart {
            restarted(world, &clock).await
        } else {
            world
        };
        for id in ["meter", "configured"] {
            let target = format!("/clients/{id}/revoke");
            assert_eq!(world.call("POST", &target, json!({})).await.status, 200);
        }
        assert_eq!(
            world
                .check_token(&world.good_token("meter", &secret).await)
                .await,
            is(200, "-")
        );
        clock.forward(HOURS + MINUTE);
        for old in [&old, &configured] {
            assert_eq!(
                world.check_token(old).await,
                is(401, "revoked"),
                "{restart}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_was_used_before_the_clock_was_set_back_is_not_used_again() {
    let (world, clock) = ahead().await;
    let mut client = meter();
    client["grant_types"] = json!(["client_credentials", "refresh_token"]);
    let secret = world.create(client).await;
    let basic = format!("Basic {}", STANDARD.encode(format!("meter:{secret}")));
    let refresh = async |token: &str| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let address = world.sidecar.address("issuer");
        let answer = post_form(address, "/oauth/token", &form, &[("Authorization", &basic)]).await;
        remember(&answer.json());
        answer
    };
    let answer = world.token("meter", &secret).await.json();
    remember(&answer);
    let first = answer["refresh_token"].as_str().expect("a refresh token");
    assert_eq!(refresh(first).await.status, 200);
    clock.set_back(HOURS);
    assert_eq!(error(&refresh(first).await), is(400, "invalid_grant"));
}

fn remember(answer: &Value) {
    for name in ["access_token", "refresh_token"] {
        if let Some(token) = answer[name].as_str() {
            crate::support::logs::remember_secret(token);
        }
    }
}
