//! plgd's tests by their numbers, those with the JWT of a user in the place of a secret.

use serde_json::json;

use super::{OWNER, TOKEN, World, claims, database, ids, jti, remember};
use crate::support::authority::Authority;
use crate::support::client::{RawAnswer, post_form};
use crate::support::now;
use crate::support::tokens::TokenBuilder;

const CLIENT: &str = "JWTPrivateKeyClient";
const DEVICE_ID: &str = "https://plgd.dev/deviceId";
const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn user(authority: &Authority) -> TokenBuilder {
    authority.token().claim(OWNER, "1").claim("sub", "a user")
}

/// As plgd's clients ask: Basic with an empty secret says who it is, the JWT proves it.
async fn exchange(world: &World, client: &str, jwt: &str, form: &[(&str, &str)]) -> RawAnswer {
    use base64::Engine;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{client}:"));
    let fixed = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", TYPE),
        ("client_assertion", jwt),
    ];
    let form = [&fixed, form].concat();
    let address = world.sidecar.address("issuer");
    remember(
        post_form(
            address,
            TOKEN,
            &form,
            &[("Authorization", &format!("Basic {basic}"))],
        )
        .await,
    )
}

async fn exchanged(world: &World, jwt: &str, form: &[(&str, &str)]) -> String {
    let answer = exchange(world, CLIENT, jwt, form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn t03_a_users_jwt_becomes_a_token_of_its_owner() {
    let world = World::start().await;
    let jwt = user(&world.users)
        .claim(DEVICE_ID, "a device")
        .claim("email", "confidential")
        .sign();
    let token = exchanged(&world, &jwt, &[]).await;
    assert_eq!(
        world.answer_to(&token).await,
        (200, "-".to_owned()),
        "its signature verifies with our keys"
    );
    let claims_of_token = claims(&token);
    assert_eq!(
        (&claims_of_token[OWNER], &claims_of_token["sub"]),
        (&json!("1"), &json!("a user"))
    );
    assert_eq!(
        (&claims_of_token["client_id"], &claims_of_token[DEVICE_ID]),
        (&json!(CLIENT), &json!("a device"))
    );
    assert_eq!(
        claims_of_token["originalTokenClaims"],
        claims(&jwt),
        "all of them, as with plgd"
    );
    assert!(
        (now() + 86_000..=now() + 86_400)
            .contains(&claims_of_token["exp"].as_i64().expect("a time"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t04_t05_t08_an_expiration_counts_as_with_a_secret() {
    let world = World::start().await;
    let jwt = user(&world.users).sign();
    let hour = (now() + 3600).to_string();
    let token = exchanged(&world, &jwt, &[("expiration", &hour)]).await;
    assert_eq!(
        (claims(&token)["exp"].to_string(), &claims(&token)[OWNER]),
        (hour, &json!("1"))
    );
    for wrong in [now() + 365 * 86_400, now() - 3600] {
        assert_eq!(
            exchange(&world, CLIENT, &jwt, &[("expiration", &wrong.to_string())])
                .await
                .status,
            401
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t06_t07_an_unknown_client_and_an_untrusted_jwt_are_401() {
    let world = World::start().await;
    let foreign = Authority::start();
    for (client, jwt) in [
        ("invalid client", user(&world.users).sign()),
        ("invalid client", "not.a.jwt".to_owned()),
        (CLIENT, "not.a.jwt".to_owned()),
        (CLIENT, user(&foreign).sign()),
        (
            CLIENT,
            user(&world.users)
                .claim("iss", "https://invalid-issuer")
                .sign(),
        ),
        // A client with a secret has no use for a user's JWT.
        ("serviceClient", user(&world.users).sign()),
    ] {
        let answer = exchange(&world, client, &jwt, &[]).await;
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["code"], &body["error"]),
            (401, &json!(16), &json!("invalid_client"))
        );
    }
    // Without a JWT an empty secret does not authenticate.
    let answer = world.token(CLIENT, &[]).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (401, &json!("invalid_client"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t10_to_t14_an_exchanged_token_is_listed_with_the_claims_it_came_from() {
    let world = World::start().await;
    let jwt = user(&world.users).sign();
    let by_jwt = jti(&exchanged(&world, &jwt, &[("token_name", "jwt")]).await);
    let by_secret = jti(&world
        .issue("serviceClient", &[("token_name", "secret")])
        .await);
    let dead = jti(&exchanged(&world, &jwt, &[]).await);
    let bearer = format!("Bearer {jwt}");
    let answer = world
        .tokens("DELETE", &bearer, &format!("idFilter={dead}"), &[], b"")
        .await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"blacklistedCount": "1", "deletedCount": "0"}))
    );
    let all = world.list(&bearer, "includeBlacklisted=true").await;
    let entry = |id: &str| {
        all.iter()
            .find(|token| token["id"] == *id)
            .expect("it is listed")
    };
    assert_eq!(all.len(), 3);
    assert_eq!(entry(&dead)["blacklisted"]["flag"], true);
    assert_eq!(entry(&by_jwt)["originalTokenClaims"], claims(&jwt));
    assert!(entry(&by_secret)["originalTokenClaims"].is_null());
    assert_eq!(
        (&entry(&by_jwt)["name"], &entry(&by_secret)["name"]),
        (&json!("jwt"), &json!("secret"))
    );
    let mut two = [by_jwt.as_str(), &by_secret];
    two.sort_unstable();
    assert_eq!(ids(&world.list(&bearer, "").await), two);
    let filter = format!("idFilter={by_jwt}&idFilter={dead}");
    assert_eq!(ids(&world.list(&bearer, &filter).await), [by_jwt.as_str()]);
    assert_eq!(
        world
            .list(&bearer, &format!("{filter}&includeBlacklisted=true"))
            .await
            .len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_beyond_the_quota_of_a_shared_client_gets_429_and_the_others_go_on() {
    let world = World::start().await;
    let mut database = database(&world.sidecar).await;
    sqlx::query(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
         INSERT INTO tokens (jti, client_id, owner, owner_issuer, subject, scope, audience, \
         issued_at, revoked_at)
         SELECT 'id-' || i, ?1, '1', ?2, 'a user', '', '[]', 1, 2 FROM n",
    )
    .bind(CLIENT)
    .bind(world.users.issuer())
    .execute(&mut database)
    .await
    .expect("rows");
    let refused = exchange(&world, CLIENT, &user(&world.users).sign(), &[]).await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (429, &json!(8)),
        "{}",
        refused.text()
    );
    assert_eq!(
        refused.header("retry-after"),
        Some("3600"),
        "they never expire"
    );
    exchanged(&world, &user(&world.users).claim(OWNER, "2").sign(), &[]).await;
}
