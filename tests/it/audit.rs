//! The audit log names each refused client with the reason, and each change.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::client::{RawAnswer, post_form, request};
use crate::support::sidecar::Sidecar;
use crate::support::{logs, now};

const ADMIN_TOKEN: &str = "an-admin-token-of-the-audit-log";
const OTHER_SECRET: &str = "another-secret-of-the-audit-log";
const SECRET: &str = "a-secret-of-the-audit-log";

async fn sidecar() -> Sidecar {
    let yaml = r#"
stateDir: "@DIR@/state"
store: { url: "sqlite::memory:" }
admin: { listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  clients:
    - { id: audited, secretFile: "@DIR@/secret", allowedScopes: [read, write],
        allowedAudiences: ["urn:a", "urn:b"] }
    - { id: "audited a", secretFile: "@DIR@/secret" }
    - { id: "audited+a", secretFile: "@DIR@/other" }
    - { id: audited-off, secretFile: "@DIR@/secret", disabled: true }
    - { id: audited-over, secretFile: "@DIR@/secret", expiresAt: 2020-01-01T00:00:00Z }
    - { id: audited-keys, jwksUri: "https://keys.example/jwks" }
"#;
    for id in [
        "audited",
        "audited a",
        "audited-off",
        "audited-over",
        "audited-keys",
    ] {
        logs::remember_client_secret(id, SECRET);
    }
    logs::remember_client_secret("audited+a", OTHER_SECRET);
    let builder = Sidecar::builder().secret_file("admin", "admin", ADMIN_TOKEN);
    let builder = builder.secret_file("other", "audited+a", OTHER_SECRET);
    builder
        .secret_file("secret", "audited", SECRET)
        .start(yaml)
        .await
}

/// The answer to a token request, and its audit line.
async fn asked(sidecar: &Sidecar, basic: &str, form: &[(&str, &str)]) -> (RawAnswer, String) {
    sent(
        sidecar,
        "/oauth/token",
        "token request",
        basic,
        &[&[("grant_type", "client_credentials")], form].concat(),
    )
    .await
}

async fn sent(
    sidecar: &Sidecar,
    path: &str,
    what: &str,
    basic: &str,
    form: &[(&str, &str)],
) -> (RawAnswer, String) {
    let (mark, id) = (logs::mark(), Uuid::new_v4().to_string());
    let basic = format!("Basic {}", STANDARD.encode(basic));
    let headers = [
        ("X-Request-Id", id.as_str()),
        ("Authorization", basic.as_str()),
    ];
    let headers = if basic.len() > 6 {
        &headers[..]
    } else {
        &headers[..1]
    };
    let address = sidecar.address("issuer");
    let answer = post_form(address, path, form, headers).await;
    if let Ok(Value::String(token)) =
        serde_json::from_slice::<Value>(&answer.body).map(|it| it["access_token"].clone())
    {
        logs::remember_secret(&token);
    }
    (answer, audit_line(mark, &id, what).await)
}

/// The audit line of the request with this id: the access line says from which port it came.
async fn audit_line(mark: usize, id: &str, what: &str) -> String {
    let access = logs::wait_for_line(mark, &[" access: ", &format!("request_id=\"{id}\"")]).await;
    let peer = access
        .split("peer=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .expect("a peer")
        .to_owned();
    logs::wait_for_line(mark, &[" audit: ", what, &format!("peer={peer}")]).await
}

fn assert_has(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_a_client_has_its_own_cause_and_the_client_is_told_none_of_it() {
    let sidecar = sidecar().await;
    let right = format!("audited:{SECRET}");
    for (basic, cause, client) in [
        (
            "audited:not-the-secret".to_owned(),
            "the client secret is wrong\"",
            "client_id=\"audited\"",
        ),
        (
            format!("audited:{SECRET}\n\n"),
            "begins or ends with white space",
            "client_id=\"audited\"",
        ),
        (
            "audited:".to_owned(),
            "the client secret is missing",
            "client_id=\"audited\"",
        ),
        (
            format!("audited-off:{SECRET}"),
            "the client is disabled",
            "client_id=\"audited-off\"",
        ),
        (
            format!("audited-over:{SECRET}"),
            "the client has expired",
            "client_id=\"audited-over\"",
        ),
        (
            format!("audited-keys:{SECRET}"),
            "by an assertion, not by a secret",
            "client_id=\"audited-keys\"",
        ),
        (
            format!("unknown\u{1b}[1m:{SECRET}"),
            "no client has this id",
            "presented_id=\"unknown\\\\u{1b}[1m\"",
        ),
        (String::new(), "no client authentication", ""),
    ] {
        let (answer, line) = asked(&sidecar, &basic, &[]).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (401, &"invalid_client".into()),
            "{cause}"
        );
        assert_eq!(
            answer.json()["error_description"],
            "client authentication failed",
            "{cause}"
        );
        assert_has(&line, &["outcome=\"invalid_client\"", cause, client]);
    }
    // Form decoding would turn this id into `audited a`, which is the id of another client.
    for path in ["/oauth/token", "/oauth/revoke"] {
        let what = if path == "/oauth/token" {
            "token request"
        } else {
            "revocation request"
        };
        let form = [("grant_type", "client_credentials"), ("token", "none")];
        let basic = format!("audited+a:{OTHER_SECRET}");
        let (answer, line) = sent(&sidecar, path, what, &basic, &form).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_has(&line, &["client_id=\"audited+a\""]);
    }
    let long = format!("{}:{SECRET}", "n".repeat(200));
    let (_, line) = asked(&sidecar, &long, &[]).await;
    assert_has(&line, &[&format!("presented_id=\"{}…\"", "n".repeat(128))]);
    let (answer, line) = asked(&sidecar, &right, &[]).await;
    assert_eq!(answer.status, 200);
    assert_has(&line, &["outcome=\"issued\"", "client_id=\"audited\""]);
    assert!(
        !line.contains("reason=") && !line.contains("presented_id="),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_place_of_the_id_is_not_written_down() {
    let sidecar = sidecar().await;
    let generated = format!("m2m_{}", "s".repeat(43));
    logs::remember_secret(&generated);
    let token = format!("eyJhbGciOiJFUzI1NiJ9.e30.{}", "c".repeat(40));
    logs::remember_secret(&token);
    for basic in [
        format!("{SECRET}:audited"),
        format!("{SECRET}:"),
        format!("{generated}:x"),
        format!("{token}:"),
    ] {
        let (answer, line) = asked(&sidecar, &basic, &[]).await;
        assert_eq!(answer.status, 401);
        assert_has(
            &line,
            &["presented_id=\"[not shown: it looks like a secret]\""],
        );
    }
    // `stop` fails if a log line contains one of the secrets.
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_scope_or_audience_is_named() {
    let sidecar = sidecar().await;
    let right = format!("audited:{SECRET}");
    let (answer, line) = asked(&sidecar, &right, &[("scope", "read admin delete")]).await;
    assert_eq!(answer.json()["error"], "invalid_scope");
    assert_has(
        &line,
        &[
            "outcome=\"invalid_scope\"",
            "refused_scope=\"admin delete\"",
        ],
    );
    let target = [
        ("audience", "urn:a urn:c"),
        ("resource", "https://other.example/"),
    ];
    let (answer, line) = asked(&sidecar, &right, &target).await;
    assert_eq!(answer.json()["error"], "invalid_target");
    assert_has(
        &line,
        &[
            "outcome=\"invalid_target\"",
            "refused_audience=\"urn:c https://other.example/\"",
        ],
    );
    // A scope with invalid characters is shown unchanged, but escaped.
    let (answer, line) = asked(&sidecar, &right, &[("scope", "re\"ad\u{7}")]).await;
    assert_eq!(answer.json()["error"], "invalid_scope");
    assert_has(
        &line,
        &[
            "client_id=\"audited\"",
            "refused_scope=\"re\\\"ad\\\\u{7}\"",
        ],
    );
    let (answer, line) = asked(&sidecar, &right, &[("resource", "relative")]).await;
    assert_eq!(answer.json()["error"], "invalid_target");
    assert_has(&line, &["refused_audience=\"relative\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_read_names_its_client_too() {
    let sidecar = sidecar().await;
    let form = [("client_id", "audited"), ("client_secret", SECRET)];
    let (answer, line) = sent(&sidecar, "/oauth/token", "token request", "", &form).await;
    assert_eq!(answer.json()["error"], "invalid_request");
    assert_has(
        &line,
        &[
            "client_id=\"audited\"",
            "outcome=\"invalid_request\"",
            "grant_type",
        ],
    );
    let (_, line) = sent(
        &sidecar,
        "/oauth/revoke",
        "revocation request",
        &format!("unlisted:{SECRET}"),
        &[],
    )
    .await;
    assert_has(
        &line,
        &["presented_id=\"unlisted\"", "outcome=\"invalid_request\""],
    );
    let token = [("token", "x")];
    let (_, line) = sent(
        &sidecar,
        "/oauth/introspect",
        "introspection request",
        "audited:wrong-secret",
        &token,
    )
    .await;
    assert_has(
        &line,
        &[
            "client_id=\"audited\"",
            "outcome=\"invalid_client\"",
            "the client secret is wrong",
        ],
    );
    let (_, line) = sent(
        &sidecar,
        "/oauth/revoke",
        "revocation request",
        "unlisted:wrong-secret",
        &token,
    )
    .await;
    assert_has(
        &line,
        &["presented_id=\"unlisted\"", "no client has this id"],
    );
}

async fn manage(sidecar: &Sidecar, method: &str, target: &str, body: Value) -> (u16, String) {
    let (mark, id) = (logs::mark(), Uuid::new_v4().to_string());
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("X-Request-Id", id.as_str()),
    ];
    let answer = request(
        method,
        sidecar.address("admin"),
        target,
        &headers,
        body.to_string().as_bytes(),
    )
    .await;
    if let Ok(Value::String(secret)) =
        serde_json::from_slice::<Value>(&answer.body).map(|it| it["client_secret"].clone())
    {
        logs::remember_secret(&secret);
    }
    (
        answer.status,
        audit_line(mark, &id, "management request").await,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_says_what_was_changed_and_a_refused_one_why() {
    let sidecar = sidecar().await;
    let id = format!("audited-{}", now());
    let client = json!({ "client_id": id, "grant_types": ["client_credentials"], "scope": "read" });
    assert_eq!(manage(&sidecar, "POST", "/clients", client).await.0, 201);
    let target = format!("/clients/{id}");
    let patch = async |patch: Value| manage(&sidecar, "PATCH", &target, patch).await.1;
    let line = patch(json!({ "scope": "read write", "owner": "1" })).await;
    assert_has(
        &line,
        &[
            "action=\"update_client\"",
            "changed=\"owner scope\"",
            "outcome=\"done\"",
        ],
    );
    let line = patch(json!({ "disabled": true })).await;
    assert_has(
        &line,
        &["action=\"disable_client\"", "changed=\"disabled\""],
    );
    let line = patch(json!({ "disabled": false, "owner": null })).await;
    assert_has(
        &line,
        &["action=\"enable_client\"", "changed=\"disabled owner\""],
    );
    let line = patch(json!({ "scope": "read write" })).await;
    assert_has(
        &line,
        &[
            "action=\"update_client\"",
            "changed=\"\"",
            "outcome=\"done\"",
        ],
    );
    let line = patch(json!({ "scope": 7, "access_token_lifetime": "soon" })).await;
    assert_has(
        &line,
        &[
            "action=\"update_client\"",
            "outcome=\"invalid_client_metadata\"",
            "scope",
            "access_token_lifetime",
        ],
    );
    let (status, line) = manage(
        &sidecar,
        "PATCH",
        "/clients/audited",
        json!({ "owner": "2" }),
    )
    .await;
    assert_eq!(status, 409);
    assert_has(
        &line,
        &[
            "client_id=\"audited\"",
            "outcome=\"conflict\"",
            "reason=\"this client",
        ],
    );
    let revoke = format!("{target}/revoke");
    let (_, line) = manage(
        &sidecar,
        "POST",
        &revoke,
        json!({ "before": "2020-01-01T00:00:00Z" }),
    )
    .await;
    assert_has(
        &line,
        &["action=\"revoke_client\"", "until=\"2020-01-01T00:00:00Z\""],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_the_management_api_have_distinct_reasons() {
    let sidecar = sidecar().await;
    let admin = sidecar.address("admin");
    let mark = logs::mark();
    request(
        "GET",
        admin,
        "/clients",
        &[("Authorization", "Bearer not-the-admin-token")],
        b"",
    )
    .await;
    let line = logs::wait_for_line(
        mark,
        &[" audit: ", "action=\"enter\"", "invalid_token", "/clients"],
    )
    .await;
    assert_has(
        &line,
        &[
            "reason=\"the admin token is missing or wrong\"",
            "method=GET",
        ],
    );
    let mark = logs::mark();
    request(
        "GET",
        admin,
        "/keys",
        &[("Host", "rebound-audit.example")],
        b"",
    )
    .await;
    logs::wait_for_line(
        mark,
        &[
            " audit: ",
            "misdirected_request",
            "host=\"rebound-audit.example\"",
        ],
    )
    .await;
}
