//! Weaknesses of plgd's server, each shown to be absent here.

use std::time::Duration;

use serde_json::{Value, json};

use super::{OWNER, TOKEN, TOKENS, World, assert_status, basic, claims, database, ids, jti};
use crate::support::authority::Authority;
use crate::support::client::{get, post_form, request};
use crate::support::now;

#[tokio::test(flavor = "multi_thread")]
async fn w02_an_expiration_of_this_very_second_is_no_way_to_a_token_without_end() {
    let world = World::start().await;
    let at_once = now().to_string();
    let token = world
        .issue("dayClient", &[("audience", "x"), ("expiration", &at_once)])
        .await;
    let end = claims(&token)["exp"].as_i64().expect("it ends");
    assert!(
        end <= now() + 86_400,
        "with the client's lifetime, as if no time was given"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn w03_verification_cannot_be_skipped_by_query_or_path() {
    let world = World::start().await;
    world.issue("serviceClient", &[]).await;
    let address = world.sidecar.address("issuer");
    let forged = Authority::start()
        .token()
        .claim("iss", world.users.issuer())
        .claim(OWNER, "1");
    let bad = [
        forged.clone().sign(),
        forged.unsigned().sign(),
        world
            .users
            .token()
            .claim(OWNER, "1")
            .expires_in(-3600)
            .sign(),
        world.users.token().sign(),
        world.users.token().claim(OWNER, 42).sign(),
        world.users.token().claim(OWNER, json!(["1"])).sign(),
        world.users.token().claim(OWNER, "").sign(),
        "junk".to_owned(),
    ];
    for (i, token) in bad.iter().enumerate() {
        let bearer = format!("Bearer {token}");
        for target in [
            TOKENS.to_owned(),
            format!("{TOKENS}?x=/m2m-oauth-server/oauth/token"),
            format!("{TOKENS}?/m2m-oauth-server/.well-known/jwks.json"),
            format!("/x/..{TOKENS}"),
            "/m2m-oauth-server/api/%76%31/tokens".to_owned(),
        ] {
            let headers = [("Authorization", bearer.as_str())];
            assert_status(&get(address, &target, &headers).await, 401, 16);
            let answer = request("DELETE", address, &target, &headers, b"").await;
            assert_eq!(answer.status, 401, "{i} {target}");
        }
    }
    assert_status(&get(address, TOKENS, &[]).await, 401, 16);
    assert!(
        get(address, TOKENS, &[])
            .await
            .header("www-authenticate")
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn w04_errors_are_the_rfcs_too_and_tell_nothing_of_the_inside() {
    let world = World::start().await;
    for (client, form, status, error) in [
        (
            "dayClient",
            vec![("scope", "c"), ("audience", "x")],
            400,
            "invalid_scope",
        ),
        ("dayClient", vec![("audience", "z")], 400, "invalid_target"),
        (
            "dayClient",
            vec![("audience", "x"), ("expiration", "x")],
            400,
            "invalid_request",
        ),
        ("unknown", vec![], 401, "invalid_client"),
    ] {
        let answer = world.token(client, &form).await;
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["error"]),
            (status, &json!(error)),
            "{body}"
        );
        assert!(body["error_description"].is_string() && body["message"].is_string());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let is_challenged = answer
            .header("www-authenticate")
            .is_some_and(|it| it.starts_with("Basic "));
        assert_eq!(is_challenged, error == "invalid_client");
    }
    let address = world.sidecar.address("issuer");
    let form = [
        ("grant_type", "password"),
        ("client_id", "dayClient"),
        ("client_secret", super::SECRET),
    ];
    let answer = post_form(address, TOKEN, &form, &[]).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("unsupported_grant_type"))
    );
    // Existing and unknown clients get the same answer.
    let wrong = |id: &'static str| async move {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", "wrong-secret-here"),
        ];
        let answer = post_form(address, TOKEN, &form, &[]).await;
        (answer.status, answer.text())
    };
    assert_eq!(wrong("dayClient").await, wrong("unknown").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn w08_metadata_revocation_and_introspection_are_the_rfcs() {
    let world = World::start().await;
    let address = world.sidecar.address("issuer");
    let metadata = get(
        address,
        "/.well-known/oauth-authorization-server/m2m-oauth-server",
        &[],
    )
    .await
    .json();
    for member in [
        "revocation_endpoint",
        "introspection_endpoint",
        "grant_types_supported",
    ] {
        assert!(!metadata[member].is_null(), "{member}");
    }
    // A token that never expires can be taken back too.
    let token = world.issue("serviceClient", &[]).await;
    let authorization = basic("serviceClient");
    let headers = [("Authorization", authorization.as_str())];
    let introspect = async || -> Value {
        let path = "/m2m-oauth-server/oauth/introspect";
        post_form(address, path, &[("token", &token)], &headers)
            .await
            .json()
    };
    let active = introspect().await;
    assert_eq!(
        (&active["active"], &active[OWNER], active.get("exp")),
        (&json!(true), &json!("1"), None)
    );
    let revoked = post_form(
        address,
        "/m2m-oauth-server/oauth/revoke",
        &[("token", &token)],
        &headers,
    )
    .await;
    assert_eq!(revoked.status, 200);
    assert_eq!(introspect().await, json!({ "active": false }));
    assert_eq!(world.answer_to(&token).await, (401, "revoked".to_owned()));
    let entry = world
        .list(&world.user("1"), "includeBlacklisted=true")
        .await;
    assert_eq!(
        entry[0]["blacklisted"]["flag"], true,
        "the registry has it too"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn w10_bodies_and_lists_are_bounded() {
    let world = World::start().await;
    let large = vec![b' '; 64 * 1024 + 1];
    let answer = request("POST", world.sidecar.address("issuer"), TOKENS, &[], &large).await;
    assert_status(&answer, 413, 8);
    let many: String = (0..2001).map(|n| format!("idFilter={n}&")).collect();
    let user = world.user("1");
    assert_status(&world.tokens("GET", &user, &many, &[], b"").await, 400, 3);
    assert_status(
        &world.tokens("DELETE", &user, &many, &[], b"").await,
        400,
        3,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn w11_a_row_that_was_lost_does_not_end_a_token() {
    let world = World::start().await;
    let token = world.issue("serviceClient", &[]).await;
    let mut database = database(&world.sidecar).await;
    sqlx::query("DELETE FROM tokens")
        .execute(&mut database)
        .await
        .unwrap();
    assert_eq!(world.answer_to(&token).await, (200, "-".to_owned()));
    // As plgd answers about a token that it does not know.
    let answer = world
        .tokens("GET", &format!("Bearer {token}"), "", &[], b"")
        .await;
    assert_eq!((answer.status, answer.text()), (200, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn w12_an_m2m_token_finds_and_ends_itself_only_and_all_is_no_default() {
    let world = World::start().await;
    let (mine, sibling) = (
        world.issue("serviceClient", &[]).await,
        world.issue("serviceClient", &[]).await,
    );
    let bearer = format!("Bearer {mine}");
    for query in [
        "",
        "includeBlacklisted=true",
        &format!("idFilter={}&idFilter={}", jti(&mine), jti(&sibling)),
    ] {
        assert_eq!(
            ids(&world.list(&bearer, query).await),
            [jti(&mine)],
            "{query}"
        );
    }
    assert_eq!(
        world
            .list(&bearer, &format!("idFilter={}", jti(&sibling)))
            .await
            .len(),
        0
    );
    assert_status(&world.tokens("DELETE", &bearer, "", &[], b"").await, 400, 3);
    let of_sibling = format!("idFilter={}", jti(&sibling));
    assert_status(
        &world.tokens("DELETE", &bearer, &of_sibling, &[], b"").await,
        403,
        7,
    );
    let user = world.user("1");
    for query in ["", "idFilter=", "includeBlacklisted=true"] {
        assert_status(
            &world.tokens("DELETE", &user, query, &[], b"").await,
            400,
            3,
        );
    }
    assert_eq!(world.list(&user, "").await.len(), 2, "nothing was ended");
    let mark = crate::support::logs::mark();
    world
        .tokens(
            "DELETE",
            &user,
            &format!("idFilter={}", jti(&mine)),
            &[],
            b"",
        )
        .await;
    let lines = crate::support::logs::lines_since(
        mark,
        &["audit", "owner=\"1\"", "outcome=\"revoked\"", &jti(&mine)],
    );
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn w13_expired_rows_are_forgotten_and_revoked_ones_that_never_expire_stay_revoked() {
    let world = World::start().await;
    world.issue("dayClient", &[("audience", "x")]).await;
    let endless = world.issue("serviceClient", &[]).await;
    world
        .tokens(
            "DELETE",
            &world.user("1"),
            &format!("idFilter={}", jti(&endless)),
            &[],
            b"",
        )
        .await;
    world.clock.forward(Duration::from_hours(49));
    let mut database = database(&world.sidecar).await;
    crate::support::until("only the endless one is left", async || {
        let rows: Vec<String> = sqlx::query_scalar("SELECT jti FROM tokens")
            .fetch_all(&mut database)
            .await
            .unwrap();
        rows == [jti(&endless)]
    })
    .await;
    assert_eq!(world.answer_to(&endless).await, (401, "revoked".to_owned()));
    assert!(claims(&endless).get("exp").is_none());
}

/// In the standard profile a client that revokes more than a thousand tokens ends all of its own.
/// Here a client's tokens are those of many owners.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_revokes_many_tokens_ends_no_others() {
    let world = World::start().await;
    let token = world.issue("serviceClient", &[]).await;
    let mut database = database(&world.sidecar).await;
    sqlx::query(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
         INSERT INTO tokens (jti, client_id, owner, subject, scope, audience, issued_at)
         SELECT 'id-' || i, 'serviceClient', '9', '9', '', '[]', 1 FROM n",
    )
    .execute(&mut database)
    .await
    .unwrap();
    let user = world.user("9");
    for hundred in 0..15 {
        let ids: String = (1..=100)
            .map(|n| format!("idFilter=id-{}&", hundred * 100 + n))
            .collect();
        let answer = world.tokens("DELETE", &user, &ids, &[], b"").await;
        assert_eq!(
            answer.json()["blacklistedCount"],
            "100",
            "{}",
            answer.text()
        );
    }
    assert_eq!(world.answer_to(&token).await, (200, "-".to_owned()));
}
