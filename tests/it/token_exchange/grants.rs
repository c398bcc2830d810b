//! Exchanges that are granted.

use serde_json::json;

use super::*;
use crate::support::client::get;
use crate::support::now;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_keeps_its_subject_and_gets_an_actor() {
    let world = World::start().await;
    let subject = world.token_of("caller", &[("audience", "gateway")]).await;
    let mark = logs::mark();
    let answer = world
        .exchange("gateway", &subject, &[("audience", "orders")])
        .await;
    let body = answer.json();
    assert_eq!(body["issued_token_type"], ACCESS_TOKEN);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body.get("refresh_token"), None);
    let (before, token) = (claims_of(&subject), claims(&answer));
    assert_eq!(
        (&token["sub"], &token["owner"]),
        (&json!("caller"), &json!("7"))
    );
    assert_eq!(token["client_id"], "gateway");
    assert_eq!(token["aud"], json!(["orders"]));
    assert_eq!(
        token["act"],
        json!({"sub": "gateway", "client_id": "gateway"})
    );
    // All scopes of the subject token, and those that the policy adds.
    assert_eq!(token["scope"], "read write audit");
    // The lifetime of the client's tokens is longer.
    assert_eq!(token["exp"], before["exp"]);
    assert!(token["jti"] != before["jti"]);
    let jti = before["jti"].as_str().expect("a jti");
    let line = [
        "token request",
        "client_id=\"gateway\"",
        "subject=\"caller\"",
        &format!("subject_jti=\"{jti}\""),
        "act=\"gateway\"",
        "outcome=\"issued\"",
    ];
    logs::wait_for_line(mark, &line).await;
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_exchanges_keeps_every_actor() {
    let world = World::start().await;
    let first = world.token_of("caller", &[("audience", "gateway")]).await;
    let to_orders = [("audience", "orders"), ("scope", "read")];
    let second = world.exchange("gateway", &first, &to_orders).await;
    let second = text(&second, "access_token");
    let third = world.exchange("orders", &second, &[]).await;
    let token = claims(&third);
    assert_eq!(token["sub"], "caller");
    assert_eq!(token["aud"], json!(["stock"]));
    assert_eq!(token["scope"], "read");
    let act = json!({"sub": "orders", "client_id": "orders",
        "act": {"sub": "gateway", "client_id": "gateway"}});
    assert_eq!(token["act"], act);
    // A third actor is one too many.
    let third = text(&third, "access_token");
    let answer = world.exchange("stock", &third, &[]).await;
    assert_refused(&answer, "invalid_request", "as many actors");
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_narrows_scope_audience_lifetime_and_type() {
    let world = World::start().await;
    let subject = world.token_of("caller", &[("audience", "gateway")]).await;
    let end = (now() + 60).to_string();
    let form = [
        ("audience", "stock"),
        ("scope", "read"),
        ("expiration", end.as_str()),
        ("requested_token_type", JWT),
        ("subject_token_type", JWT),
    ];
    let answer = world.exchange("gateway", &subject, &form).await;
    assert_eq!(answer.json()["issued_token_type"], JWT);
    let token = claims(&answer);
    assert_eq!(
        (&token["scope"], &token["aud"]),
        (&json!("read"), &json!(["stock"]))
    );
    assert_eq!(token["exp"].to_string(), end);
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_trusted_authority_is_exchanged() {
    let world = World::start().await;
    let user = || {
        let token = world.users.token().claim("sub", "u-1").claim("aud", "app");
        token
            .claim("tenant", "acme")
            .claim("owner", "ann")
            .claim("exp", now() + 120)
    };
    let token = claims(&world.exchange("portal", &user().sign(), &[]).await);
    assert_eq!(
        (&token["sub"], &token["owner"], &token["owner_iss"]),
        (&json!("u-1"), &json!("ann"), &json!(world.users.issuer()))
    );
    assert_eq!(
        (&token["client_id"], &token["scope"]),
        (&json!("portal"), &json!("read"))
    );
    assert_eq!(token["exp"], now_or_later(&token, 120));
    // A list of the claim, and a number.
    let listed = user().claim("tenant", json!(["x", 5])).sign();
    claims(&world.exchange("portal", &listed, &[]).await);
    // The actors of the other issuer keep its name.
    let acted = user()
        .claim("act", json!({"sub": "robot", "extra": true}))
        .sign();
    let token = claims(&world.exchange("portal", &acted, &[]).await);
    assert_eq!(
        token["act"]["act"],
        json!({"sub": "robot", "iss": world.users.issuer()})
    );
    // An ID token of a subject whose ID tokens the policy accepts.
    let id_token = world.users.token().claim("sub", "ann").claim("aud", "app");
    let id_token = id_token.header("typ", "JWT").claim("nonce", "n").sign();
    let form = [("subject_token_type", ID_TOKEN)];
    claims(&world.exchange("portal", &id_token, &form).await);
    world.sidecar.stop().await;
}

/// The `exp` of a token that was to end about then.
fn now_or_later(token: &Value, seconds: i64) -> Value {
    let end = token["exp"].as_i64().expect("a time");
    assert!(
        (now() + seconds - 60..=now() + seconds).contains(&end),
        "{end}"
    );
    end.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_token_names_the_actor() {
    let world = World::start().await;
    let user = |sub: &str| world.users.token().claim("sub", sub).claim("aud", "app");
    let subject = user("ann").sign();
    let actor = user("robot").claim("exp", now() + 30).sign();
    let form = [("actor_token", actor.as_str()), ("actor_token_type", JWT)];
    let token = claims(&world.exchange("portal", &subject, &form).await);
    let act = json!({"sub": "robot", "iss": world.users.issuer(), "client_id": "portal"});
    assert_eq!(token["act"], act);
    // The token ends with the actor's.
    assert!(token["exp"].as_i64().expect("a time") <= now() + 30);
    // `may_act` of the subject token names this actor, or another one.
    let may = |who: Value| user("ann").claim("may_act", who).sign();
    let named = may(json!({"sub": "robot"}));
    claims(&world.exchange("portal", &named, &form).await);
    for other in [
        json!({"sub": "another"}),
        json!({"sub": "robot", "iss": ISSUER}),
        json!({"sub": "robot", "role": "x"}),
        json!({}),
        json!("robot"),
    ] {
        let answer = world.exchange("portal", &may(other), &form).await;
        assert_refused(
            &answer,
            "invalid_request",
            "may_act does not name the actor",
        );
    }
    // Without an actor token, the client is the actor, under the name that this issuer gives it.
    let named = may(json!({"sub": "portal", "iss": ISSUER}));
    claims(&world.exchange("portal", &named, &[]).await);
    let ambiguous = may(json!({"sub": "portal"}));
    let answer = world.exchange("portal", &ambiguous, &[]).await;
    assert_refused(&answer, "invalid_request", "may_act");
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn may_act_of_an_own_token_names_the_client() {
    let world = World::start().await;
    let form = [("audience", "orders")];
    let subject = world.token_of("bounded", &[]).await;
    let token = claims(&world.exchange("gateway", &subject, &form).await);
    // Inserted claims are those of the exchanging client.
    assert_eq!((token.get("may_act"), token.get("tenant")), (None, None));
    let subject = world.token_of("mistrustful", &[]).await;
    let answer = world.exchange("gateway", &subject, &form).await;
    assert_refused(
        &answer,
        "invalid_request",
        "may_act does not name the actor",
    );
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_device_stays_one() {
    let world = World::start().await;
    let form = [("audience", "gateway"), ("device", "d-1")];
    let subject = world.token_of("caller", &form).await;
    assert_eq!(claims_of(&subject)["device"], "d-1");
    let to = ("audience", "orders");
    let token = claims(&world.exchange("gateway", &subject, &[to]).await);
    assert_eq!(token["device"], "d-1");
    let same = [to, ("device", "d-1")];
    claims(&world.exchange("gateway", &subject, &same).await);
    let other = [to, ("device", "d-2")];
    let answer = world.exchange("gateway", &subject, &other).await;
    assert_refused(&answer, "invalid_request", "d-2");
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_lists_the_grant() {
    let world = World::start().await;
    let issuer = world.sidecar.address("issuer");
    let answer = get(issuer, "/.well-known/oauth-authorization-server", &[]).await;
    let grants = &answer.json()["grant_types_supported"];
    assert_eq!(
        grants,
        &json!(["client_credentials", "refresh_token", GRANT])
    );
    world.sidecar.stop().await;
}
