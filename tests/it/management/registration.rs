//! The members of a registration, in both shapes, and their description.

use serde_json::{Value, json};

use super::{World, error, fields, is};

#[tokio::test(flavor = "multi_thread")]
async fn both_shapes_make_the_same_client() {
    let world = World::start().await;
    let rfc = json!({
        "client_id": "rfc", "client_name": "n", "grant_types": ["client_credentials"], "response_types": [],
        "scope": "a b", "audience": ["https://x"], "client_type": "confidential", "owner": "1",
        "access_token_lifetime": 900, "expiry": "2099-01-01T00:00:00Z", "claims": { "tenant": "blue" },
    });
    let lists = json!({
        "client_id": "lists", "client_name": "n", "scopes": ["a", "b"], "scope": "b \
         a", "audience": ["https://x"],
        "client_type": "m2m", "owner": "1", "access_token_lifetime": "15m",
        "expiry": "2099-01-01T01:00:00+01:00", "claims": { "tenant": "blue" }, "jwks": null,
    });
    let first = world.call("POST", "/clients", rfc).await;
    let second = world.call("POST", "/client", lists).await;
    assert_eq!(
        (first.status, second.status),
        (201, 201),
        "{} {}",
        first.text(),
        second.text()
    );
    let same = |answer: Value| {
        let mut answer = answer;
        let members = answer.as_object_mut().expect("an object");
        for own in [
            "client_id",
            "client_secret",
            "scope",
            "scopes",
            "created_at",
            "updated_at",
            "client_id_issued_at",
        ] {
            members.remove(own);
        }
        answer
    };
    assert_eq!(same(first.json()), same(second.json()));
    let shown = world.get("/clients/rfc").await.json();
    for (member, value) in [
        ("client_name", json!("n")),
        ("client_type", json!("confidential")),
        ("grant_types", json!(["client_credentials"])),
        ("response_types", json!([])),
        ("scope", json!("a b")),
        ("scopes", json!(["a", "b"])),
        ("access_token_lifetime", json!(900)),
        ("expiry", json!("2099-01-01T00:00:00Z")),
        ("token_endpoint_auth_method", json!("client_secret_basic")),
        ("source", json!("store")),
        ("version", json!(1)),
    ] {
        assert_eq!(shown[member], value, "{member}");
    }
    assert_eq!(first.json()["client_secret_expires_at"], 0);
    let token = world
        .token(
            "rfc",
            first.json()["client_secret"].as_str().expect("a secret"),
        )
        .await
        .json();
    assert_eq!(
        (&token["scope"], &token["expires_in"]),
        (&json!("a b"), &json!(900))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_said_makes_a_client_with_generated_id_and_secret() {
    let world = World::start().await;
    let answer = world.call("POST", "/clients", json!({})).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let client = answer.json();
    let id = client["client_id"].as_str().expect("an id");
    uuid::Uuid::parse_str(id).expect("a UUID");
    let secret = client["client_secret"].as_str().expect("a secret");
    assert!(secret.starts_with("m2m_") && secret.len() == 47, "256 bits");
    world.good_token(id, secret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_but_the_first_holds_a_secret() {
    let world = World::start().await;
    let secret = world.create(super::meter()).await;
    for (method, target, body) in [
        ("GET", "/clients", Value::Null),
        ("GET", "/clients/meter", Value::Null),
        ("GET", "/clients/meter/secrets", Value::Null),
        ("PATCH", "/clients/meter", json!({ "owner": "2" })),
        ("POST", "/clients", super::meter()),
    ] {
        let text = world.call(method, target, body).await.text();
        assert!(
            !text.contains(&secret)
                && !text.contains("sha256")
                && !text.contains("client_secret\""),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_member_that_is_wrong_is_named() {
    let world = World::start().await;
    let private =
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": "a", "y": "b", "d": "c" }] });
    for (body, wrong) in [
        (json!({ "client_id": "" }), "client_id"),
        (json!({ "client_id": "ä" }), "client_id"),
        (json!({ "client_id": 1 }), "client_id"),
        (
            json!({ "client_secret": "fifteen-bytes-1" }),
            "client_secret",
        ),
        (
            json!({ "client_secret": "sixteen-bytes-1\u{7}" }),
            "client_secret",
        ),
        (
            json!({ "client_secret": "sixteen-bytes-\u{e4}\u{f6}" }),
            "client_secret",
        ),
        (json!({ "client_name": "a\u{7}" }), "client_name"),
        (json!({ "client_type": "public" }), "client_type"),
        (json!({ "grant_types": [] }), "grant_types"),
        (json!({ "grant_types": ["password"] }), "grant_types"),
        (json!({ "response_types": ["code"] }), "response_types"),
        (json!({ "scope": "a\"b" }), "scope"),
        (json!({ "scope": 1 }), "scope"),
        (json!({ "scope": ["a b"] }), "scope"),
        (json!({ "scopes": "a" }), "scopes"),
        (json!({ "scopes": ["a b"] }), "scopes"),
        (json!({ "scope": "a", "scopes": ["b"] }), "scopes"),
        (json!({ "audience": 1 }), "audience"),
        (json!({ "audience": ["a b"] }), "audience"),
        (json!({ "audience": ["a".repeat(2049)] }), "audience"),
        (json!({ "owner": 1 }), "owner"),
        (json!({ "expiry": "tomorrow" }), "expiry"),
        (json!({ "expiry": "2020-01-01T00:00:00Z" }), "expiry"),
        (
            json!({ "access_token_lifetime": 0 }),
            "access_token_lifetime",
        ),
        (
            json!({ "access_token_lifetime": "367d" }),
            "access_token_lifetime",
        ),
        (
            json!({ "access_token_lifetime": "soon" }),
            "access_token_lifetime",
        ),
        (
            json!({ "access_token_lifetime": -1 }),
            "access_token_lifetime",
        ),
        (json!({ "claims": { "sub": "x" } }), "claims.sub"),
        (json!({ "claims": { "scope": "x" } }), "claims.scope"),
        (json!({ "claims": { "owner": "1" } }), "claims.owner"),
        (
            json!({ "claims": { "originalTokenClaims": {} } }),
            "claims.originalTokenClaims",
        ),
        (
            json!({ "claims": { "plgd:required:scope": null } }),
            "claims.plgd:required:scope",
        ),
        (
            json!({ "claims": { "plgd:required:scope": [] } }),
            "claims.plgd:required:scope",
        ),
        (json!({ "claims": [] }), "claims"),
        (
            json!({ "scope": "s".repeat(2000), "audience": ["a".repeat(2000)], "claims": { "c": "c".repeat(100) } }),
            "claims",
        ),
        (json!({ "claims": { "big": "x".repeat(2048) } }), "claims"),
        (json!({ "disabled": "no" }), "disabled"),
        (json!({ "allow_introspection": 1 }), "allow_introspection"),
        (json!({ "limits": {} }), "limits"),
        (json!({ "jwks": private }), "jwks"),
        (
            json!({ "jwks": { "keys": [{ "kty": "oct", "k": "AAAA" }] } }),
            "jwks",
        ),
        (
            json!({ "jwks": { "keys": [{ "kty": "RSA", "n": "AQ", "e": "AQAB", "p": "c" }] } }),
            "jwks",
        ),
        (json!({ "jwks": { "keys": [] } }), "jwks"),
        (json!({ "jwks_uri": "http://a.example/jwks" }), "jwks_uri"),
        (
            json!({ "jwks_uri": "https://u:p@a.example/jwks" }),
            "jwks_uri",
        ),
        (
            json!({ "token_endpoint_auth_method": "none" }),
            "token_endpoint_auth_method",
        ),
        (
            json!({ "token_endpoint_auth_method": "private_key_jwt" }),
            "token_endpoint_auth_method",
        ),
        (
            json!({ "jwks_uri": "https://a.example/", "token_endpoint_auth_method": "client_secret_basic" }),
            "token_endpoint_auth_method",
        ),
        (
            json!({ "jwks_uri": "https://a.example/", "client_secret": "sixteen-bytes-12" }),
            "client_secret",
        ),
        (
            json!({ "redirect_uris": ["https://a.example/callback"] }),
            "redirect_uris",
        ),
        (json!({ "created_at": "x" }), "created_at"),
    ] {
        let answer = world.call("POST", "/clients", body.clone()).await;
        assert_eq!(error(&answer), is(400, "invalid_client_metadata"), "{body}");
        assert_eq!(fields(&answer), [wrong], "{body}: {}", answer.text());
    }
    let many = world
        .call(
            "POST",
            "/clients",
            json!({ "scpe": "a", "owner": 1, "disabled": 1 }),
        )
        .await;
    let mut named = fields(&many);
    named.sort();
    assert_eq!(named, ["disabled", "owner", "scpe"]);
    assert!(
        many.text().contains("the nearest known member is `scope`"),
        "{}",
        many.text()
    );
    let far = world
        .call("POST", "/clients", json!({ "colour": "red" }))
        .await;
    assert!(
        fields(&far) == ["colour"] && !far.text().contains("nearest"),
        "{}",
        far.text()
    );
    assert_eq!(
        world.get("/clients").await.json()["clients"]
            .as_array()
            .map(Vec::len),
        Some(1),
        "nothing was made"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_json_object_is_refused() {
    let world = World::start().await;
    let bearer = format!("Bearer {}", super::ADMIN_TOKEN);
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    for (body, said) in [
        ("{", "line 1, column 1"),
        ("[]", "no object"),
        ("1", "no object"),
        ("null", "no object"),
        ("\"a\"", "no object"),
        (
            "{\n  \"scope\": \"a\",\n}",
            "line 3, column 1: trailing comma",
        ),
        (
            "{\"scope\":\"a\",\n\"scope\":\"b\"}",
            "the member `scope` is repeated",
        ),
        ("{\"scope\" \"a\"}", "line 1, column 10: expected `:`"),
        ("{'scope': 1}", "line 1, column 2"),
        ("\u{feff}{}", "byte order mark"),
    ] {
        let answer = crate::support::client::request(
            "POST",
            world.admin(),
            "/clients",
            &headers,
            body.as_bytes(),
        )
        .await;
        assert_eq!(error(&answer), is(400, "invalid_request"), "{body}");
        assert!(answer.text().contains(said), "{body}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_patch_changes_takes_away_and_leaves_alone() {
    let world = World::start().await;
    world
        .create(json!({ "client_id": "c", "scope": "a \
        b", "owner": "1", "claims": { "x": 1, "y": { "z": 2, "w": 3 } } }))
        .await;
    let patch = async |patch: Value| world.call("PATCH", "/clients/c", patch).await;
    let unchanged = patch(json!({})).await;
    assert_eq!(
        (unchanged.status, &unchanged.json()["version"]),
        (200, &json!(1))
    );
    let same = patch(json!({ "client_id": "c", "owner": "1" })).await;
    assert_eq!((same.status, &same.json()["version"]), (200, &json!(1)));
    let answer =
        patch(json!({ "scopes": ["c"], "owner": null, "claims": { "x": null, "y": { "z": 5 } } }))
            .await
            .json();
    assert_eq!(
        (&answer["scope"], &answer["owner"]),
        (&json!("c"), &Value::Null)
    );
    assert_eq!(answer["claims"], json!({ "y": { "z": 5, "w": 3 } }));
    assert_eq!(patch(json!({ "scope": null })).await.json()["scope"], "");
    for (body, wrong) in [
        (json!({ "client_id": "d" }), "client_id"),
        (
            json!({ "client_secret": "sixteen-bytes-12" }),
            "client_secret",
        ),
        (json!({ "version": 7 }), "version"),
        (json!({ "scope": "x", "scopes": ["y"] }), "scopes"),
        (
            json!({ "token_endpoint_auth_method": "private_key_jwt" }),
            "token_endpoint_auth_method",
        ),
        (json!({ "ownr": null }), "ownr"),
        (json!({ "claims": { "owner": "1" } }), "claims.owner"),
        (
            json!({ "claims": { "plgd:required:scope": [] } }),
            "claims.plgd:required:scope",
        ),
    ] {
        let answer = patch(body.clone()).await;
        assert_eq!(
            (answer.status, fields(&answer)),
            (400, vec![wrong.to_owned()]),
            "{body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_keys_has_no_secret() {
    let world = World::start().await;
    let body = json!({ "client_id": "keys", "jwks_uri": "https://client.example/jwks" });
    let created = world.call("POST", "/clients", body).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let client = created.json();
    assert_eq!(client["token_endpoint_auth_method"], "private_key_jwt");
    assert!(client["client_secret"].is_null());
    assert_eq!(
        error(&world.call("POST", "/clients/keys/secrets", json!({})).await),
        is(409, "conflict")
    );
    assert_eq!(
        world.get("/clients/keys/secrets").await.json()["secrets"],
        json!([])
    );
    for secret in ["", "anything"] {
        assert_eq!(world.token("keys", secret).await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_gave_way_to_keys_does_not_come_back() {
    let world = World::start().await;
    let secret = world.create(json!({ "client_id": "c" })).await;
    world.good_token("c", &secret).await;
    let patch =
        async |patch: Value| assert_eq!(world.call("PATCH", "/clients/c", patch).await.status, 200);
    patch(json!({ "jwks_uri": "https://client.example/jwks" })).await;
    assert_eq!(world.token("c", &secret).await.status, 401);
    patch(json!({ "jwks_uri": null })).await;
    assert_eq!(world.token("c", &secret).await.status, 401);
    assert_eq!(
        world.get("/clients/c/secrets").await.json()["secrets"],
        json!([])
    );
    let made = world
        .call("POST", "/clients/c/secrets", json!({}))
        .await
        .json();
    let secret = made["client_secret"].as_str().expect("a secret");
    crate::support::logs::remember_client_secret("c", secret);
    world.good_token("c", secret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_and_show_each_client_once() {
    let world = World::start().await;
    for number in 0..5 {
        world
            .create(json!({ "client_id": format!("c{number}") }))
            .await;
    }
    let mut seen = Vec::new();
    let mut target = "/clients?limit=2".to_owned();
    loop {
        let page = world.get(&target).await.json();
        let clients = page["clients"].as_array().expect("a list");
        assert!(clients.len() <= 2);
        seen.extend(
            clients
                .iter()
                .map(|client| client["client_id"].as_str().expect("an id").to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        target = format!("/clients?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ["c0", "c1", "c2", "c3", "c4", "configured"]);
    assert!(
        world.get("/clients?limit=6").await.json()["next_cursor"].is_null(),
        "there is no empty last page"
    );
    for (query, wrong) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("cursor=!", "cursor"),
        ("page=1", "page"),
        ("limit=1&limit=1", "limit"),
    ] {
        let answer = world.get(&format!("/clients?{query}")).await;
        assert_eq!(
            (error(&answer), fields(&answer)),
            (is(400, "invalid_request"), vec![wrong.to_owned()]),
            "{query}"
        );
    }
}
