//! The form of access tokens by audience: type, algorithm, scope claims, lifetime. Over real
//! sockets.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use m2m_sidecar::for_tests::domain::secret::ExposeSecret;
use m2m_sidecar::for_tests::jose::Algorithm;
use m2m_sidecar::for_tests::jose::sign::SigningKey;
use serde_json::{Value, json};

use crate::support::client::{RawAnswer, get, post_form, request};
use crate::support::logs;
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::upstream::Upstream;

const SECRET: &str = "a-secret-of-all-clients-here";
const ADMIN_TOKEN: &str = "an-admin-token-of-the-tests";
const ORDERS: &str = "https://orders";

fn yaml(issuer: &str, upstream: &Upstream) -> String {
    format!(
        r#"
stateDir: "@DIR@/state"
store: {{ url: "sqlite:@DIR@/m2m.db" }}
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  {issuer}
  clients:
    - {{ id: legacy, secretFile: "@DIR@/secret", allowedScopes: [a, b],
        allowedAudiences: ["{ORDERS}", plain, other],
        allowedGrantTypes: [client_credentials, refresh_token] }}
    - {{ id: quick, secretFile: "@DIR@/secret", allowedAudiences: ["{ORDERS}", plain],
        accessTokenLifetime: 1m }}
authorities: {{ self: {{ issuer: http://issuer.test }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [self], audiences: any,
      rules: [{{ paths: ["/**"], scopes: [a] }}] }}
"#,
        upstream.url()
    )
}

const BY_AUDIENCE: &str = r#"audiences: { "https://orders": { tokenType: JWT, algorithm: RS256, scopeClaims: [scope, scp], accessTokenLifetime: 10m } }"#;

fn builder() -> SidecarBuilder {
    Sidecar::builder()
        .secret_file("secret", "legacy", SECRET)
        .secret_file("secret", "quick", SECRET)
        .secret_file("admin", "admin", ADMIN_TOKEN)
}

async fn ask(sidecar: &Sidecar, path: &str, client: &str, form: &[(&str, &str)]) -> RawAnswer {
    let basic = format!("Basic {}", STANDARD.encode(format!("{client}:{SECRET}")));
    let answer = post_form(
        sidecar.address("issuer"),
        path,
        form,
        &[("Authorization", basic.as_str())],
    )
    .await;
    if answer.status == 200 && path == "/oauth/token" {
        let body = answer.json();
        ["access_token", "refresh_token"]
            .iter()
            .filter_map(|name| body[*name].as_str())
            .for_each(logs::remember_secret);
    }
    answer
}

/// A token of a client for audiences, with the answer it came in.
async fn issue(sidecar: &Sidecar, client: &str, audience: &str) -> (String, Value) {
    let form = [("grant_type", "client_credentials"), ("audience", audience)];
    let answer = ask(sidecar, "/oauth/token", client, &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    (
        answer.json()["access_token"]
            .as_str()
            .expect("a token")
            .to_owned(),
        answer.json(),
    )
}

fn part(token: &str, n: usize) -> Value {
    let part = token.split('.').nth(n).expect("a JWS");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

/// Type and algorithm of a token, its lifetime as the answer says it, and its two scope claims.
async fn form(sidecar: &Sidecar, client: &str, audience: &str) -> Value {
    let (token, answer) = issue(sidecar, client, audience).await;
    let (header, claims) = (part(&token, 0), part(&token, 1));
    json!([
        header["typ"],
        header["alg"],
        answer["expires_in"],
        claims["scope"],
        claims["scp"]
    ])
}

async fn algorithms(sidecar: &Sidecar) -> Vec<String> {
    let keys = get(sidecar.address("issuer"), "/.well-known/jwks.json", &[])
        .await
        .json();
    let keys = keys["keys"].as_array().expect("keys");
    keys.iter()
        .map(|key| key["alg"].as_str().expect("an algorithm").to_owned())
        .collect()
}

async fn status(sidecar: &Sidecar, token: &str) -> u16 {
    let authorization = format!("Bearer {token}");
    get(
        sidecar.address("api"),
        "/",
        &[("Authorization", &authorization)],
    )
    .await
    .status
}

async fn manage(sidecar: &Sidecar, method: &str, target: &str, body: &Value) -> RawAnswer {
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    request(
        method,
        sidecar.address("admin"),
        target,
        &headers,
        body.to_string().as_bytes(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_gets_the_tokens_that_its_verifiers_need() {
    let upstream = Upstream::start();
    let sidecar = builder().start(&yaml(BY_AUDIENCE, &upstream)).await;
    assert_eq!(algorithms(&sidecar).await, ["ES256", "RS256"]);
    let expected = json!(["JWT", "RS256", 600, "a b", ["a", "b"]]);
    assert_eq!(form(&sidecar, "legacy", ORDERS).await, expected);
    assert_eq!(
        form(&sidecar, "legacy", "plain other").await,
        json!(["at+jwt", "ES256", 3600, "a b", null])
    );
    // A lifetime of the client's own that is shorter stays.
    assert_eq!(
        form(&sidecar, "quick", ORDERS).await,
        json!(["JWT", "RS256", 60, null, null])
    );
    // Every form passes the listener of the same process, and introspection names the scopes.
    for audience in [ORDERS, "plain"] {
        let (token, _) = issue(&sidecar, "legacy", audience).await;
        assert_eq!(status(&sidecar, &token).await, 200, "{audience}");
        let answer = ask(
            &sidecar,
            "/oauth/introspect",
            "legacy",
            &[("token", &token)],
        )
        .await
        .json();
        assert_eq!(
            (&answer["active"], &answer["scope"]),
            (&json!(true), &json!("a b")),
            "{audience}"
        );
        // It can be revoked as any other.
        assert_eq!(
            ask(&sidecar, "/oauth/revoke", "legacy", &[("token", &token)])
                .await
                .status,
            200
        );
        assert_eq!(status(&sidecar, &token).await, 401, "{audience}");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audiences_whose_settings_differ_share_no_token() {
    let upstream = Upstream::start();
    let sidecar = builder().start(&yaml(BY_AUDIENCE, &upstream)).await;
    let both = format!("plain {ORDERS}");
    // Without an audience the client asks for all of its own.
    for audience in [both.as_str(), ""] {
        let mut form = vec![("grant_type", "client_credentials")];
        if !audience.is_empty() {
            form.push(("audience", audience));
        }
        let answer = ask(&sidecar, "/oauth/token", "legacy", &form).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_target")),
            "{audience}"
        );
        let description = answer.json()["error_description"]
            .as_str()
            .expect("a text")
            .to_owned();
        assert!(
            description.contains("ask for one audience at a time"),
            "{description}"
        );
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_token_has_the_form_of_its_audience() {
    let upstream = Upstream::start();
    let sidecar = builder().start(&yaml(BY_AUDIENCE, &upstream)).await;
    let (_, first) = issue(&sidecar, "legacy", ORDERS).await;
    let refresh_token = first["refresh_token"].as_str().expect("a refresh token");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
    ];
    let answer = ask(&sidecar, "/oauth/token", "legacy", &form).await.json();
    let token = answer["access_token"].as_str().expect("a token");
    assert_eq!(part(token, 0)["alg"], "RS256");
    assert_eq!(
        (&answer["expires_in"], &part(token, 1)["scp"]),
        (&json!(600), &json!(["a", "b"]))
    );
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_gives_every_token_one_form_when_it_says_so() {
    let upstream = Upstream::start();
    let issuer = "tokenType: JWT\n  scopeClaims: [scp]";
    let sidecar = builder().start(&yaml(issuer, &upstream)).await;
    assert_eq!(
        form(&sidecar, "legacy", "plain").await,
        json!(["JWT", "ES256", 3600, null, ["a", "b"]])
    );
    let (token, _) = issue(&sidecar, "legacy", "plain").await;
    assert_eq!(status(&sidecar, &token).await, 200);
    let answer = ask(
        &sidecar,
        "/oauth/introspect",
        "legacy",
        &[("token", &token)],
    )
    .await
    .json();
    assert_eq!(answer["scope"], "a b");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plgd_profile_keeps_its_type_unless_the_file_says_otherwise() {
    let upstream = Upstream::start();
    let sidecar = builder().start(&yaml("profile: plgd", &upstream)).await;
    assert_eq!(form(&sidecar, "legacy", "plain").await[0], "JWT");
    sidecar.stop().await;
    let sidecar = builder()
        .start(&yaml("profile: plgd\n  tokenType: at+jwt", &upstream))
        .await;
    assert_eq!(form(&sidecar, "legacy", "plain").await[0], "at+jwt");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_key_signs_its_algorithm_and_generated_keys_the_others() {
    let upstream = Upstream::start();
    let key = SigningKey::generate(Algorithm::ES256).expect("a key");
    let pem = key.to_pem().expose_secret().to_owned();
    let issuer = format!("signing: {{ privateKeyFile: \"@DIR@/key.pem\" }}\n  {BY_AUDIENCE}");
    let sidecar = builder()
        .key_file("key.pem", &pem)
        .start(&yaml(&issuer, &upstream))
        .await;
    assert_eq!(algorithms(&sidecar).await, ["ES256", "RS256"]);
    let (plain, _) = issue(&sidecar, "legacy", "plain").await;
    assert_eq!(part(&plain, 0)["kid"], key.kid());
    let (orders, _) = issue(&sidecar, "legacy", ORDERS).await;
    assert_eq!(part(&orders, 0)["alg"], "RS256");
    // The generated key rotates on demand, the configured one stays.
    let rotated = manage(&sidecar, "POST", "/keys/rotate", &json!({"now": true})).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    let (after, _) = issue(&sidecar, "legacy", ORDERS).await;
    assert_ne!(part(&after, 0)["kid"], part(&orders, 0)["kid"]);
    assert_eq!(
        part(&issue(&sidecar, "legacy", "plain").await.0, 0)["kid"],
        key.kid()
    );
    assert_eq!(status(&sidecar, &orders).await, 200);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_api_brings_its_audiences_and_their_key() {
    let upstream = Upstream::start();
    let sidecar = builder().start(&yaml("", &upstream)).await;
    let settings = json!({
        ORDERS: {"token_type": "JWT", "algorithm": "RS256", "scope_claims": ["scp"], "access_token_lifetime": "10m"}
    });
    let body = json!({
        "client_id": "meter", "client_secret": SECRET, "scope": "a", "audience": [ORDERS, "plain"],
        "audience_settings": settings,
    });
    let created = manage(&sidecar, "POST", "/clients", &body).await;
    assert_eq!(created.status, 201, "{}", created.text());
    assert_eq!(
        created.json()["audience_settings"][ORDERS]["access_token_lifetime"],
        600
    );
    assert_eq!(
        form(&sidecar, "meter", ORDERS).await,
        json!(["JWT", "RS256", 600, null, ["a"]])
    );
    assert_eq!(
        form(&sidecar, "meter", "plain").await,
        json!(["at+jwt", "ES256", 3600, "a", null])
    );
    // Another client's tokens for the same audience are not changed by it.
    assert_eq!(form(&sidecar, "legacy", ORDERS).await[1], "ES256");
    // The settings and the key are there after a restart.
    let kept = sidecar.stop_keeping_state().await;
    let sidecar = kept
        .secret_file("secret", "legacy", SECRET)
        .secret_file("admin", "admin", ADMIN_TOKEN)
        .start(&yaml("", &upstream))
        .await;
    assert_eq!(algorithms(&sidecar).await, ["ES256", "RS256"]);
    assert_eq!(form(&sidecar, "meter", ORDERS).await[1], "RS256");
    // A merge patch takes one member away, and the whole.
    let patch = json!({"audience_settings": {ORDERS: {"algorithm": null}}});
    assert_eq!(
        manage(&sidecar, "PATCH", "/clients/meter", &patch)
            .await
            .status,
        200
    );
    assert_eq!(
        form(&sidecar, "meter", ORDERS).await,
        json!(["JWT", "ES256", 600, null, ["a"]])
    );
    assert_eq!(
        manage(
            &sidecar,
            "PATCH",
            "/clients/meter",
            &json!({"audience_settings": null})
        )
        .await
        .status,
        200
    );
    assert_eq!(
        form(&sidecar, "meter", ORDERS).await,
        json!(["at+jwt", "ES256", 3600, "a", null])
    );
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_are_refused_each_with_its_place() {
    let upstream = Upstream::start();
    let sidecar = builder().start(&yaml("", &upstream)).await;
    for (settings, field) in [
        (json!({"elsewhere": {}}), "audience_settings.elsewhere"),
        (json!([]), "audience_settings"),
        (json!({ORDERS: "JWT"}), "audience_settings.https://orders"),
        (
            json!({ORDERS: {"token_type": "jwt"}}),
            "audience_settings.https://orders.token_type",
        ),
        (
            json!({ORDERS: {"algorithm": "HS256"}}),
            "audience_settings.https://orders.algorithm",
        ),
        (
            json!({ORDERS: {"scope_claims": []}}),
            "audience_settings.https://orders.scope_claims",
        ),
        (
            json!({ORDERS: {"scope_claims": ["scp", "scp"]}}),
            "audience_settings.https://orders.scope_claims",
        ),
        (
            json!({ORDERS: {"access_token_lifetime": 0}}),
            "audience_settings.https://orders.access_token_lifetime",
        ),
        (
            json!({ORDERS: {"access_token_lifetime": "25h"}}),
            "audience_settings.https://orders.access_token_lifetime",
        ),
        (
            json!({ORDERS: {"tokenType": "JWT"}}),
            "audience_settings.https://orders.tokenType",
        ),
    ] {
        let body = json!({"audience": [ORDERS], "audience_settings": settings});
        let answer = manage(&sidecar, "POST", "/clients", &body).await;
        assert_eq!(answer.status, 400, "{settings}");
        assert_eq!(
            answer.json()["details"][0]["field"],
            field,
            "{settings} {}",
            answer.text()
        );
    }
    for (issuer, expected) in [
        ("scopeClaims: []", "issuer.scopeClaims"),
        ("scopeClaims: [scp, scp]", "issuer.scopeClaims[1]"),
        ("tokenType: jwt", "issuer.tokenType"),
        (
            "audiences: { a: { accessTokenLifetime: 25h } }",
            "issuer.audiences.a.accessTokenLifetime",
        ),
        (
            "audiences: { a: { algorithm: HS256 } }",
            "issuer.audiences.a.algorithm",
        ),
    ] {
        let why = builder()
            .try_start(&yaml(issuer, &upstream))
            .await
            .err()
            .expect("a refusal");
        assert!(why.contains(expected), "{issuer}: {why}");
    }
    sidecar.stop().await;
}
