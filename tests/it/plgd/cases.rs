//! plgd's tests by their numbers, T1 to T17, those of clients with secrets.

use std::time::Duration;

use serde_json::json;

use super::{OWNER, TOKEN, TOKENS, World, assert_status, basic, claims, ids, jti, remember};
use crate::support::client::{get, post_form, request};
use crate::support::now;

async fn verified(world: &World, token: &str) {
    assert_eq!(
        world.answer_to(token).await,
        (200, "-".to_owned()),
        "its signature verifies with our keys"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t01_a_service_client_gets_a_token_by_json() {
    let world = World::start().await;
    let address = world.sidecar.address("issuer");
    let body = br#"{"grant_type":"client_credentials"}"#;
    // plgd reads whatever is no form as JSON.
    for content_type in [
        Some("application/json"),
        Some("application/vnd.ocf+cbor"),
        None,
    ] {
        let authorization = basic("serviceClient");
        let mut headers = vec![("Authorization", authorization.as_str())];
        headers.extend(content_type.map(|it| ("Content-Type", it)));
        let answer = remember(request("POST", address, TOKEN, &headers, body).await);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        assert_eq!(
            (&answer["token_type"], &answer["scope"]),
            (&json!("Bearer"), &json!(""))
        );
        assert!(answer.get("expires_in").is_none(), "it never expires");
        let token = answer["access_token"].as_str().unwrap();
        verified(&world, token).await;
        let claims = claims(token);
        assert_eq!(
            (&claims[OWNER], &claims["sub"], &claims["client_id"]),
            (&json!("1"), &json!("1"), &json!("serviceClient"))
        );
        assert_eq!(
            (&claims["hardcodedClaim"], &claims["scope"]),
            (&json!(true), &json!(""))
        );
        assert_eq!(
            claims["aud"],
            json!(["http://issuer.test/m2m-oauth-server"])
        );
        assert_eq!(claims["iss"], "http://issuer.test/m2m-oauth-server");
        assert!(claims.get("exp").is_none() && claims.get("nbf").is_none());
        uuid::Uuid::parse_str(claims["jti"].as_str().unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t02_a_service_client_gets_a_token_by_form() {
    let world = World::start().await;
    let token = world
        .issue("serviceClient", &[("token_name", "n"), ("expiration", "0")])
        .await;
    verified(&world, &token).await;
    let claims = claims(&token);
    assert_eq!(
        (&claims[OWNER], &claims["name"]),
        (&json!("1"), &json!("n"))
    );
    assert!(claims.get("exp").is_none(), "an expiration of 0 is none");
    use base64::Engine;
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(token.split('.').next().unwrap())
        .unwrap();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&header).unwrap()["typ"],
        "JWT"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t04_an_expiration_within_the_lifetime_is_the_tokens() {
    let world = World::start().await;
    let hour = (now() + 3600).to_string();
    for (client, more) in [
        ("serviceClient", None),
        ("dayClient", Some(("audience", "x"))),
    ] {
        let form: Vec<_> = [("expiration", hour.as_str())]
            .into_iter()
            .chain(more)
            .collect();
        let answer = world.token(client, &form).await.json();
        let claims = claims(answer["access_token"].as_str().unwrap());
        assert_eq!(claims["exp"].to_string(), hour);
        assert!(
            (3590..=3600).contains(&answer["expires_in"].as_i64().unwrap()),
            "{answer}"
        );
    }
    let day = world.token("dayClient", &[("audience", "x")]).await.json();
    assert!(
        (86_390..=86_400).contains(&day["expires_in"].as_i64().unwrap()),
        "{day}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t05_an_expiration_beyond_the_lifetime_is_401() {
    let world = World::start().await;
    let year = (now() + 365 * 86_400).to_string();
    let answer = world
        .token("dayClient", &[("audience", "x"), ("expiration", &year)])
        .await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!(
        (&answer.json()["code"], &answer.json()["error"]),
        (&json!(16), &json!("invalid_request"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t06_an_unknown_client_is_401() {
    let world = World::start().await;
    let answer = world.token("invalid client", &[]).await;
    assert_eq!(answer.status, 401);
    let body = answer.json();
    assert_eq!(
        (&body["code"], &body["error"], &body["details"]),
        (&json!(16), &json!("invalid_client"), &json!([]))
    );
    assert_eq!(body["message"], body["error_description"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t08_an_expiration_that_has_passed_is_401() {
    let world = World::start().await;
    for ago in [3600, 70] {
        let past = (now() - ago).to_string();
        let answer = world
            .token("dayClient", &[("audience", "x"), ("expiration", &past)])
            .await;
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
    // plgd's server takes a negative one for none.
    assert!(
        claims(&world.issue("serviceClient", &[("expiration", "-7")]).await)
            .get("exp")
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t09_a_token_is_created_at_the_tokens_api() {
    let world = World::start().await;
    let address = world.sidecar.address("issuer");
    let snake = json!({"client_id": "serviceClient", "client_secret": super::SECRET,
        "grant_type": "client_credentials",
        "token_name": "name", "unknown": {"a": 1}});
    let end = now() + 60;
    let camel = json!({"clientId": "dayClient", "clientSecret": super::SECRET,
        "grantType": "client_credentials",
        "tokenName": "name", "audience": ["x", "y"], "scope": ["b"],
        "expiration": end.to_string()});
    let post = async |body: &serde_json::Value, headers: &[(&str, &str)]| {
        remember(
            request(
                "POST",
                address,
                TOKENS,
                headers,
                body.to_string().as_bytes(),
            )
            .await,
        )
    };
    // A user's bearer token may come along, and means nothing here.
    let cbor = [
        ("Content-Type", "application/vnd.ocf+cbor"),
        ("Authorization", "Bearer of.a.user"),
    ];
    let answer = post(&snake, &cbor).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json")),
        "{}",
        answer.text()
    );
    let body = answer.json();
    assert_eq!(
        (&body["tokenType"], &body["expiresIn"]),
        (&json!("Bearer"), &json!("0"))
    );
    assert!(body.get("scope").is_none(), "what is empty is left out");
    assert_eq!(
        claims(body["accessToken"].as_str().unwrap())["name"],
        "name"
    );
    let answer = post(&camel, &[("Accept", "application/protojson")]).await;
    assert_eq!(answer.header("content-type"), Some("application/jsonpb"));
    let body = answer.json();
    assert_eq!(body["scope"], json!(["b"]));
    assert!(
        body["expiresIn"].as_str().unwrap().parse::<i64>().unwrap() > 50,
        "64 bits are a text: {body}"
    );
    let claims = claims(body["accessToken"].as_str().unwrap());
    assert_eq!(
        (&claims["aud"], &claims["exp"]),
        (&json!(["x", "y"]), &json!(end))
    );
    for (body, http, code) in [
        (
            json!({"grantType": "client_credentials", "clientId": "unknown", "clientSecret": "x"}),
            401,
            16,
        ),
        (
            json!({"grantType": "password", "clientId": "dayClient",
                "clientSecret": super::SECRET}),
            400,
            3,
        ),
        (
            json!({"clientId": "a", "client_id": "a", "grantType": "client_credentials"}),
            400,
            3,
        ),
        (json!([]), 400, 3),
    ] {
        assert_status(&post(&body, &[]).await, http, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t10_to_t14_tokens_are_listed_with_and_without_the_blacklisted() {
    let world = World::start().await;
    let named = world
        .issue("serviceClient", &[("token_name", "named")])
        .await;
    let expiring = world
        .issue("dayClient", &[("audience", "x"), ("scope", "a b")])
        .await;
    let third = world
        .issue("serviceClient", &[("token_name", "third")])
        .await;
    let (named, expiring, third) = (jti(&named), jti(&expiring), jti(&third));
    let user = world.user("1");
    // T10
    let answer = world
        .tokens("DELETE", &user, &format!("idFilter={third}"), &[], b"")
        .await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"blacklistedCount": "1", "deletedCount": "0"}))
    );
    // T11
    let all = world.list(&user, "includeBlacklisted=true").await;
    let mut expected = [named.as_str(), &expiring, &third];
    expected.sort_unstable();
    assert_eq!(ids(&all), expected);
    let entry = |id: &str| all.iter().find(|token| token["id"] == *id).unwrap();
    let dead = entry(&third);
    assert_eq!(dead["blacklisted"]["flag"], true);
    assert!(
        dead["blacklisted"]["timestamp"]
            .as_str()
            .unwrap()
            .parse::<i64>()
            .unwrap()
            > now() - 60
    );
    let live = entry(&expiring);
    assert!(live["blacklisted"].is_null() && live["originalTokenClaims"].is_null());
    assert_eq!(
        (&live["owner"], &live["clientId"], &live["subject"]),
        (&json!("1"), &json!("dayClient"), &json!("1"))
    );
    assert_eq!(
        (&live["audience"], &live["scope"]),
        (&json!(["x"]), &json!(["a", "b"]))
    );
    assert_eq!(
        (&live["version"], &entry(&named)["expiration"]),
        (&json!("0"), &json!("0"))
    );
    assert!(live["expiration"].as_str().unwrap().parse::<i64>().unwrap() > now() + 86_000);
    assert!(live["issuedAt"].as_str().unwrap().parse::<i64>().unwrap() > now() - 60);
    assert_eq!(
        (&entry(&named)["name"], &live["name"]),
        (&json!("named"), &json!(""))
    );
    // T12
    let mut two = [named.as_str(), &expiring];
    two.sort_unstable();
    assert_eq!(ids(&world.list(&user, "").await), two);
    // T13
    let filter = format!("idFilter={named}&idFilter={third}");
    assert_eq!(ids(&world.list(&user, &filter).await), [named.as_str()]);
    // T14
    assert_eq!(
        world
            .list(&user, &format!("{filter}&includeBlacklisted=true"))
            .await
            .len(),
        2
    );
    // Another owner sees nothing, and can end nothing.
    let other = world.user("2");
    assert_eq!(world.list(&other, "includeBlacklisted=true").await.len(), 0);
    let answer = world
        .tokens("DELETE", &other, &format!("idFilter={named}"), &[], b"")
        .await;
    assert_eq!(
        answer.json(),
        json!({"blacklistedCount": "0", "deletedCount": "0"})
    );
    // Without `protojson` what is empty is left out.
    let answer = world
        .tokens("GET", &user, &format!("idFilter={expiring}"), &[], b"")
        .await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let result = &answer.json()["result"];
    assert!(
        result.get("name").is_none()
            && result.get("blacklisted").is_none()
            && result["version"] == "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_blacklists_the_live_deletes_the_expired_and_takes_ids_in_the_body_too() {
    let world = World::start().await;
    let hour = (now() + 3600).to_string();
    let expiring = world
        .issue("dayClient", &[("audience", "x"), ("expiration", &hour)])
        .await;
    let (one, two) = (
        world.issue("serviceClient", &[]).await,
        world.issue("serviceClient", &[]).await,
    );
    world.clock.forward(Duration::from_hours(2));
    let user = format!(
        "Bearer {}",
        world
            .users
            .token()
            .claim(OWNER, "1")
            .expires_in(86_400)
            .sign()
    );
    // As plgd's web page does it.
    let query = format!("idFilter={}&idFilter={}", jti(&one), jti(&two));
    let body = json!({ "idFilter": [jti(&one), jti(&two), jti(&expiring)] }).to_string();
    let answer = world
        .tokens("DELETE", &user, &query, &[], body.as_bytes())
        .await;
    assert_eq!(
        answer.json(),
        json!({"blacklistedCount": "2", "deletedCount": "1"}),
        "{}",
        answer.text()
    );
    let again = world.tokens("DELETE", &user, &query, &[], b"").await;
    assert_eq!(
        again.json(),
        json!({"blacklistedCount": "0", "deletedCount": "0"})
    );
    assert_eq!(world.list(&user, "includeBlacklisted=true").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tokens_than_a_page_are_all_listed() {
    let world = World::start().await;
    let mut database = super::database(&world.sidecar).await;
    sqlx::query(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1234)
         INSERT INTO tokens (jti, client_id, owner, subject, scope, audience, issued_at)
         SELECT 'id-' || i, 'serviceClient', '1', '1', '', '[]', i / 700 FROM n",
    )
    .execute(&mut database)
    .await
    .unwrap();
    let listed = world.list(&world.user("1"), "").await;
    let mut ids = ids(&listed);
    ids.dedup();
    assert_eq!(ids.len(), 1234);
}

#[tokio::test(flavor = "multi_thread")]
async fn t15_the_keys_are_published() {
    let world = World::start().await;
    let keys = get(
        world.sidecar.address("issuer"),
        "/m2m-oauth-server/.well-known/jwks.json",
        &[],
    )
    .await
    .json();
    let keys = keys["keys"].as_array().unwrap().clone();
    assert!(
        !keys.is_empty()
            && keys
                .iter()
                .all(|key| key["kid"].is_string() && key["alg"].is_string())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t16_the_metadata_names_plgds_four_members() {
    let world = World::start().await;
    let path = "/m2m-oauth-server/.well-known/openid-configuration";
    let metadata = get(world.sidecar.address("issuer"), path, &[]).await.json();
    let base = "http://issuer.test/m2m-oauth-server";
    for (member, value) in [
        ("issuer", base.to_owned()),
        ("token_endpoint", format!("{base}/oauth/token")),
        ("jwks_uri", format!("{base}/.well-known/jwks.json")),
        ("plgd_tokens_endpoint", format!("{base}/api/v1/tokens")),
    ] {
        assert_eq!(metadata[member], value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t17_the_server_starts_and_keeps_its_tokens_over_a_restart() {
    let world = World::start().await;
    let token = world.issue("serviceClient", &[]).await;
    let yaml = [super::ISSUER, super::YAML]
        .concat()
        .replace("@USERS@", &world.users.issuer())
        .replace("@UPSTREAM@", "http://127.0.0.1:9");
    let sidecar = super::with_secrets(world.sidecar.stop_keeping_state().await)
        .start(&yaml)
        .await;
    let authorization = format!("Bearer {token}");
    let answer = get(
        sidecar.address("issuer"),
        TOKENS,
        &[("Authorization", &authorization)],
    )
    .await;
    assert_eq!(answer.json()["result"]["id"], jti(&token));
}

/// The requests of plgd's services for every M2M token, every half minute.
#[tokio::test(flavor = "multi_thread")]
async fn plgds_services_learn_from_a_tokens_own_entry_that_it_was_blacklisted() {
    let world = World::start().await;
    let token = world.issue("serviceClient", &[]).await;
    let other = world.issue("serviceClient", &[]).await;
    // In lower case, as plgd writes it.
    let bearer = format!("bearer {token}");
    let query = format!("idFilter={}&includeBlacklisted=true", jti(&token));
    let entry = world.list(&bearer, &query).await;
    assert_eq!(
        (ids(&entry), &entry[0]["blacklisted"]),
        (vec![jti(&token).as_str()], &json!(null))
    );
    world
        .tokens(
            "DELETE",
            &world.user("1"),
            &format!("idFilter={}", jti(&token)),
            &[],
            b"",
        )
        .await;
    let entry = world.list(&bearer, &query).await;
    assert_eq!(
        (ids(&entry), &entry[0]["blacklisted"]["flag"]),
        (vec![jti(&token).as_str()], &json!(true))
    );
    // Ours know at once, and by the signed list.
    assert_eq!(world.answer_to(&token).await, (401, "revoked".to_owned()));
    assert_eq!(world.answer_to(&other).await, (200, "-".to_owned()));
    let list = get(world.sidecar.address("issuer"), "/oauth/revocations", &[])
        .await
        .text();
    assert_eq!(claims(&list)["revoked"], json!([jti(&token)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_audience_a_client_that_has_some_must_choose() {
    let world = World::start().await;
    let none = world.token("dayClient", &[]).await;
    assert_eq!(
        (none.status, &none.json()["error"]),
        (400, &json!("invalid_target"))
    );
    let both = world
        .token("dayClient", &[("audience", "x y")])
        .await
        .json();
    assert_eq!(
        claims(both["access_token"].as_str().unwrap())["aud"],
        json!(["x", "y"])
    );
    assert_eq!(both["scope"], "a b");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_answers_as_the_rfcs_have_it() {
    let world = World::start().await;
    let address = world.sidecar.address("issuer");
    let past = (now() - 1).to_string();
    let form = [
        ("grant_type", "client_credentials"),
        ("audience", "x"),
        ("expiration", past.as_str()),
    ];
    let answer = post_form(
        address,
        "/oauth/token",
        &form,
        &[("Authorization", &basic("dayClient"))],
    )
    .await;
    assert_eq!((answer.status, answer.json().get("code")), (400, None));
    let json = request(
        "POST",
        address,
        "/oauth/token",
        &[("Content-Type", "text/plain")],
        b"{}",
    )
    .await;
    assert_eq!(
        (json.status, &json.json()["error"]),
        (400, &json!("invalid_request"))
    );
    assert_eq!(get(address, "/api/v1/tokens", &[]).await.status, 404);
}
