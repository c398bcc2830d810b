//! Clients as the documents and the programs of other servers register them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{World, error, fields, is};
use crate::support::client::post_form;
use crate::support::clock::MovableClock;
use crate::support::sidecar::Sidecar;

async fn created(world: &World, body: &Value) -> Value {
    let answer = world.call("POST", "/clients", body.clone()).await;
    assert_eq!(answer.status, 201, "{body}\n{}", answer.text());
    answer.json()
}

/// The request of wemogy's documentation, and the token request that follows it there.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_wemogys_documentation_is_made_and_gets_its_token() {
    let world = World::start().await;
    let body = json!({
        "client_id": "my-client",
        "audience": ["https://localhost:5001/"],
        "grant_types": ["client_credentials"],
        "response_types": ["token"],
        "scope": "read:secrets",
        "client_type": "machine_to_machine",
    });
    let answer = world.call("POST", "/client", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let client = answer.json();
    assert_eq!(client["response_types"], json!(["token"]));
    let secret = client["client_secret"].as_str().expect("a secret");
    let token = world.token("my-client", secret).await;
    assert_eq!(
        (token.status, &token.json()["scope"]),
        (200, &json!("read:secrets"))
    );
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "my-client"),
        ("client_secret", secret),
        ("scope", "read:secrets"),
        ("audience", "https://localhost:5001/"),
    ];
    let token = post_form(world.sidecar.address("issuer"), "/oauth/token", &form, &[]).await;
    assert_eq!(token.status, 200, "{}", token.text());
    crate::support::logs::remember_secret(token.json()["access_token"].as_str().expect("a token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_has_many_names() {
    let world = World::start().await;
    for kind in [
        "machine_to_machine",
        "machine-to-machine",
        "Machine to Machine",
        "M2M",
        "confidential",
        "service",
        "service_account",
        "non_interactive",
        "",
    ] {
        let client = created(&world, &json!({ "client_type": kind })).await;
        assert_eq!(client["client_type"], "confidential", "{kind}");
    }
    for kind in ["public", "spa", "native", "frontend", "regular_web", "user"] {
        let answer = world
            .call("POST", "/clients", json!({ "client_type": kind }))
            .await;
        assert_eq!(
            (answer.status, fields(&answer)),
            (400, vec!["client_type".to_owned()]),
            "{kind}"
        );
        assert!(
            answer.text().contains("machine_to_machine"),
            "{}",
            answer.text()
        );
    }
}

/// `hydra create client --grant-type client_credentials` sends every member, most of them empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_hydras_command_line_creates_a_client() {
    let world = World::start().await;
    let body = json!({
        "access_token_strategy": "", "allowed_cors_origins": [], "audience": ["https://api.example"],
        "backchannel_logout_session_required": false, "backchannel_logout_uri": "", "client_name": "", "client_secret": "",
        "client_uri": "", "contacts": [], "frontchannel_logout_session_required": false, "frontchannel_logout_uri": "",
        "grant_types": ["client_credentials"], "jwks": {}, "jwks_uri": "", "logo_uri": "", "metadata": {}, "owner": "",
        "policy_uri": "", "post_logout_redirect_uris": [], "redirect_uris": [], "request_object_signing_alg": "RS256",
        "request_uris": [], "response_types": ["code"], "scope": "read \
         write", "sector_identifier_uri": "",
        "skip_consent": false, "skip_logout_consent": false, "subject_type": "public",
        "token_endpoint_auth_method": "client_secret_basic", "tos_uri": "", "client_secret_expires_at": 0,
        "client_credentials_grant_access_token_lifespan": "30m", "refresh_token_grant_id_token_lifespan": null,
    });
    let client = created(&world, &body).await;
    let id = client["client_id"].as_str().expect("an id");
    let token = world
        .token(id, client["client_secret"].as_str().expect("a secret"))
        .await
        .json();
    assert_eq!(
        (&token["scope"], &token["expires_in"]),
        (&json!("read write"), &json!(1800))
    );
}

/// Members without an effect are kept and shown, and can be changed and removed.
#[tokio::test(flavor = "multi_thread")]
async fn members_of_rfc_7591_without_effect_are_kept_and_shown() {
    let world = World::start().await;
    let kept = json!({
        "redirect_uris": [], "client_uri": "https://c.example/", "logo_uri": "https://c.example/logo.png",
        "contacts": ["ops@c.example"], "tos_uri": "https://c.example/tos", "policy_uri": "https://c.example/policy",
        "software_id": "4NRB1-0XZABZI9E6-5SM3R", "software_version": "2.1", "metadata": { "team": "blue", "n": [1] },
        "client_name#fr": "Compteur", "token_endpoint_auth_method": "client_secret_post",
    });
    let mut body = kept.clone();
    body["client_id"] = json!("kept");
    created(&world, &body).await;
    let shown = world.get("/clients/kept").await.json();
    for (name, value) in kept.as_object().expect("an object") {
        assert_eq!(shown[name], *value, "{name}");
    }
    let patch = json!({ "contacts": null, "metadata": { "team": "red" }, "tos_uri": "https://c.example/new" });
    let patched = world.call("PATCH", "/clients/kept", patch).await.json();
    assert!(patched.get("contacts").is_none());
    assert_eq!(patched["metadata"], json!({ "team": "red", "n": [1] }));
    assert_eq!(patched["tos_uri"], "https://c.example/new");
    let too_much = json!({ "metadata": { "big": "x".repeat(16 * 1024) } });
    let answer = world.call("PATCH", "/clients/kept", too_much).await;
    assert_eq!(error(&answer), is(400, "invalid_client_metadata"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unsupported_members_are_refused_with_that_reason() {
    let world = World::start().await;
    for (body, field, reason) in [
        (
            json!({ "redirect_uris": ["https://a.example/cb"] }),
            "redirect_uris",
            "redirects",
        ),
        (
            json!({ "grant_types": ["authorization_code"] }),
            "grant_types",
            "login",
        ),
        (
            json!({ "grant_types": ["client_credentials", "implicit"] }),
            "grant_types",
            "login",
        ),
        (
            json!({ "grant_types": ["password"] }),
            "grant_types",
            "users",
        ),
        (
            json!({ "response_types": ["code"] }),
            "response_types",
            "login",
        ),
        (
            json!({ "response_types": ["token"] }),
            "response_types",
            "implicit",
        ),
        (
            json!({ "response_types": ["x"], "grant_types": ["client_credentials"] }),
            "response_types",
            "list of",
        ),
        (
            json!({ "token_endpoint_auth_method": "none" }),
            "token_endpoint_auth_method",
            "without a secret",
        ),
        (
            json!({ "token_endpoint_auth_method": "client_secret_jwt" }),
            "token_endpoint_auth_method",
            "hash",
        ),
        (
            json!({ "token_endpoint_auth_method": "tls_client_auth" }),
            "token_endpoint_auth_method",
            "needs the name",
        ),
        (
            json!({ "post_logout_redirect_uris": ["https://a.example"] }),
            "post_logout_redirect_uris",
            "redirects",
        ),
        (
            json!({ "allowed_cors_origins": ["https://a.example"] }),
            "allowed_cors_origins",
            "CORS",
        ),
        (
            json!({ "software_statement": "eyJ" }),
            "software_statement",
            "not verified",
        ),
    ] {
        let answer = world.call("POST", "/clients", body.clone()).await;
        assert_eq!(error(&answer), is(400, "invalid_client_metadata"), "{body}");
        assert_eq!(fields(&answer), [field], "{body}");
        assert!(answer.text().contains(reason), "{body}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_of_auth0_and_keycloak_make_clients() {
    let world = World::start().await;
    let auth0 = json!({
        "tenant": "t", "global": false, "is_token_endpoint_ip_header_trusted": false, "name": "API \
         Explorer",
        "is_first_party": true, "oidc_conformant": true, "sso_disabled": false, "cross_origin_auth": false,
        "description": "", "logo_uri": "", "refresh_token": { "rotation_type": "non-rotating" }, "callbacks": [],
        "allowed_logout_urls": [], "client_id": "auth0", "app_type": "non_interactive",
        "jwt_configuration": { "alg": "RS256", "lifetime_in_seconds": 36000 }, "signing_keys": [],
        "token_endpoint_auth_method": "client_secret_post", "grant_types": ["client_credentials"],
        "custom_login_page_on": true, "client_metadata": { "team": "blue" },
    });
    let grant = json!({ "audience": "https://api.example", "scope": ["read", "write"] });
    let mut both = auth0.clone();
    both.as_object_mut()
        .expect("an object")
        .extend(grant.as_object().expect("an object").clone());
    let client = created(&world, &both).await;
    assert_eq!(
        (&client["client_name"], &client["scope"]),
        (&json!("API Explorer"), &json!("read write"))
    );
    assert_eq!(client["audience"], json!(["https://api.example"]));
    let keycloak = json!({
        "id": "5f3c", "clientId": "keycloak", "name": "Meter", "description": "", "rootUrl": "", "adminUrl": "", "baseUrl": "",
        "surrogateAuthRequired": false, "enabled": true, "alwaysDisplayInConsole": false,
        "clientAuthenticatorType": "client-secret", "secret": "a-secret-of-keycloaks-export", "redirectUris": [],
        "webOrigins": [], "notBefore": 0, "bearerOnly": false, "consentRequired": false, "standardFlowEnabled": false,
        "implicitFlowEnabled": false, "directAccessGrantsEnabled": false, "serviceAccountsEnabled": true,
        "publicClient": false, "frontchannelLogout": true, "protocol": "openid-connect", "attributes": {},
        "authenticationFlowBindingOverrides": {}, "fullScopeAllowed": true, "nodeReRegistrationTimeout": -1,
        "defaultClientScopes": ["web-origins", "roles"], "optionalClientScopes": [], "access": { "view": true },
    });
    let client = created(&world, &keycloak).await;
    assert_eq!(
        (&client["client_id"], &client["disabled"]),
        (&json!("keycloak"), &json!(false))
    );
    world
        .good_token("keycloak", "a-secret-of-keycloaks-export")
        .await;
    let mut with_login = keycloak;
    with_login["clientId"] = json!("other");
    with_login["standardFlowEnabled"] = json!(true);
    with_login["redirectUris"] = json!(["/*"]);
    let answer = world.call("POST", "/clients", with_login).await;
    assert_eq!(fields(&answer), ["redirectUris", "standardFlowEnabled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_expiry_is_refused_when_made_and_when_changed_and_says_which_way_the_clock_is() {
    let clock = MovableClock::now();
    let world = World::start_from(Sidecar::builder().clock(clock.clone())).await;
    let past = json!({ "client_id": "c", "expiry": "2020-01-01T00:00:00Z" });
    created(
        &world,
        &json!({ "client_id": "c", "expiry": "2099-01-01T00:00:00Z" }),
    )
    .await;
    for (method, target) in [("POST", "/clients"), ("PATCH", "/clients/c")] {
        let answer = world.call(method, target, past.clone()).await;
        assert_eq!(
            (error(&answer), fields(&answer)),
            (
                is(400, "invalid_client_metadata"),
                vec!["expiry".to_owned()]
            )
        );
        let text = answer.text();
        assert!(
            text.contains("days before this server's clock, which says 20"),
            "{text}"
        );
    }
    // One that has passed since is no obstacle to other changes, and is only accepted unchanged.
    clock.forward(Duration::from_hours(24 * 365 * 80));
    let renamed = world
        .call("PATCH", "/clients/c", json!({ "client_name": "n" }))
        .await;
    assert_eq!(renamed.status, 200, "{}", renamed.text());
    let again = world.call("PATCH", "/clients/c", renamed.json()).await;
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(world.call("PATCH", "/clients/c", past).await.status, 400);
    let secret = world
        .call(
            "POST",
            "/clients/c/secrets",
            json!({ "expiry": "2020-01-01T00:00:00Z" }),
        )
        .await;
    assert!(
        secret.status == 400 && secret.text().contains("before this server's clock"),
        "{}",
        secret.text()
    );
    let revoke = world
        .call(
            "POST",
            "/clients/c/revoke",
            json!({ "before": "9998-01-01T00:00:00Z" }),
        )
        .await;
    assert!(
        revoke.status == 400 && revoke.text().contains("after this server's clock"),
        "{}",
        revoke.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_get_can_be_changed_and_sent_back() {
    let world = World::start().await;
    for body in [
        json!({ "client_id": "plain" }),
        json!({ "client_id": "full", "scope": "a \
            b", "audience": ["https://x"], "owner": "1", "access_token_lifetime": 900,
                "expiry": "2099-01-01T00:00:00Z", "claims": { "t": 1 }, "metadata": { "m": 1 }, "response_types": ["token"],
                "client_type": "m2m", "token_endpoint_auth_method": "client_secret_post" }),
        json!({ "client_id": "keys", "jwks_uri": "https://client.example/jwks" }),
    ] {
        created(&world, &body).await;
        let target = format!("/clients/{}", body["client_id"].as_str().expect("an id"));
        let shown = world.get(&target).await.json();
        let same = world.call("PATCH", &target, shown.clone()).await;
        assert_eq!(
            (same.status, same.json()),
            (200, shown.clone()),
            "{}",
            same.text()
        );
        let mut changed = shown.clone();
        changed["scope"] = json!("b c");
        changed["owner"] = json!("2");
        let answer = world.call("PATCH", &target, changed.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        assert_eq!(
            (&answer["scope"], &answer["scopes"]),
            (&json!("b c"), &json!(["b", "c"]))
        );
        assert_eq!(
            (&answer["owner"], &answer["version"]),
            (&json!("2"), &json!(2))
        );
        // The same again is a change of what has been changed meanwhile.
        let stale = world.call("PATCH", &target, changed).await;
        assert!(
            fields(&stale).contains(&"version".to_owned()),
            "{}",
            stale.text()
        );
        assert!(stale.text().contains("read it again"), "{}", stale.text());
        let mut listed = answer;
        listed["scopes"] = json!(["d"]);
        listed["version"] = json!(2.0);
        let answer = world.call("PATCH", &target, listed).await.json();
        assert_eq!(answer["scope"], "d");
    }
    let mut to_keys = world.get("/clients/plain").await.json();
    to_keys["jwks_uri"] = json!("https://client.example/jwks");
    let answer = world.call("PATCH", "/clients/plain", to_keys).await.json();
    assert_eq!(answer["token_endpoint_auth_method"], "private_key_jwt");
    for (member, value) in [
        ("version", json!(99)),
        ("created_at", json!("2020-01-01T00:00:00Z")),
        ("source", json!("configuration")),
    ] {
        let answer = world
            .call("PATCH", "/clients/full", json!({ member: value }))
            .await;
        assert_eq!(
            (answer.status, fields(&answer)),
            (400, vec![member.to_owned()]),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_number_of_seconds_has_many_spellings() {
    let world = World::start().await;
    for (number, value) in [
        json!(3600),
        json!(3600.0),
        json!("3600"),
        json!("3600.0"),
        json!("1h"),
        json!("60m"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("c{number}");
        let body = json!({ "client_id": id, "access_token_lifetime": value });
        assert_eq!(
            created(&world, &body).await["access_token_lifetime"],
            3600,
            "{body}"
        );
        let patch = json!({ "access_token_lifetime": value });
        let patched = world
            .call("PATCH", &format!("/clients/{id}"), patch)
            .await
            .json();
        assert_eq!(
            (&patched["access_token_lifetime"], &patched["version"]),
            (&json!(3600), &json!(1))
        );
        let secret = json!({ "grace": value, "expires_in": value });
        let answer = world
            .call("POST", &format!("/clients/{id}/secrets"), secret)
            .await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    for value in [
        json!(3600.5),
        json!("3600.5"),
        json!("1.5s"),
        json!(""),
        json!(true),
    ] {
        let answer = world
            .call(
                "POST",
                "/clients",
                json!({ "access_token_lifetime": value }),
            )
            .await;
        assert_eq!(fields(&answer), ["access_token_lifetime"], "{value}");
    }
}
