//! Requests to the issuer's endpoints as real clients send them, and what they are told.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use m2m_sidecar::for_tests::store;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

use crate::support::client::{RawAnswer, get, post_form, request};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;
use crate::support::{logs, until};

/// Its base64 has both characters in which the two alphabets differ, and padding.
const SECRET: &str = "a secret with >>>??? and \u{ff}\u{fe} in it";
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const GRANT: &str = "grant_type=client_credentials";

const YAML: &str = r#"
stateDir: "@DIR@"
store: { url: "sqlite:@DIR@/m2m.db" }
probes: { listen: 127.0.0.1:0 }
admin: { listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }
issuer:
  url: http://issuer.test/m2m
  listen: 127.0.0.1:0
  clients:
    - id: legacy
      secretFile: "@DIR@/secret"
      allowedScopes: [read]
      allowedAudiences: [https://devices.example, "urn:hub"]
      insertTokenClaims: { tenant: blue, realm: { roles: [a] }, active: false, token_type: none }
      owner: "7"
authorities: { self: { issuer: http://issuer.test/m2m } }
inbound:
  - { name: api, listen: 127.0.0.1:0, issuer: true, upstream: "@UPSTREAM@", authorities: [self], audiences: any, rules: [{ paths: ["/**"] }] }
"#;

async fn sidecar(upstream: &Upstream) -> Sidecar {
    let builder = Sidecar::builder().secret_file("secret", "legacy", SECRET);
    let builder = builder.secret_file("admin", "admin", "an-admin-token-of-sixteen");
    builder
        .start(&YAML.replace("@UPSTREAM@", &upstream.url()))
        .await
}

fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("legacy:{SECRET}")))
}

/// Sends a token request with the client's credentials.
async fn ask(sidecar: &Sidecar, target: &str, headers: &[(&str, &str)], body: &[u8]) -> RawAnswer {
    let basic = basic();
    let mut all = vec![("Authorization", basic.as_str())];
    all.extend(headers);
    let answer = request("POST", sidecar.address("issuer"), target, &all, body).await;
    if answer.status == 200 && target.contains("token") {
        logs::remember_secret(answer.json()["access_token"].as_str().expect("a token"));
    }
    answer
}

/// Status, error and description of a refusal.
fn refusal(answer: &RawAnswer) -> (u16, String, String) {
    let text = |name: &str| answer.json()[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("error"), text("error_description"))
}

fn invalid_request(description: &str) -> (u16, String, String) {
    (400, "invalid_request".to_owned(), description.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_is_read_in_every_base64() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    for base64 in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        let basic = format!("Basic {}", base64.encode(format!("legacy:{SECRET}")));
        let headers = [("Authorization", basic.as_str()), FORM];
        let answer = request(
            "POST",
            sidecar.address("issuer"),
            "/oauth/token",
            &headers,
            GRANT.as_bytes(),
        )
        .await;
        assert_eq!(answer.status, 200, "{basic}");
        logs::remember_secret(answer.json()["access_token"].as_str().expect("a token"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_asks_for_a_bound_token_is_refused() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    for (headers, body, what) in [
        (
            vec![FORM],
            format!("{GRANT}&req_cnf=x"),
            "the parameter req_cnf",
        ),
        (
            vec![FORM],
            format!("{GRANT}&token_type=DPoP"),
            "the parameter token_type",
        ),
    ] {
        let answer = ask(&sidecar, "/oauth/token", &headers, body.as_bytes()).await;
        let text = "this server binds tokens to the key of a proof in the header DPoP (RFC 9449) \
                    or of the client's certificate (RFC 8705): send the request without";
        assert_eq!(refusal(&answer), invalid_request(&format!("{text} {what}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_there_is_not_is_named_before_anything_else() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let address = sidecar.address("issuer");
    for grant in [
        "authorization_code",
        "password",
        "urn:ietf:params:oauth:grant-type:saml2-bearer",
        "urn:ietf:params:oauth:grant-type:device_code",
        "Client_Credentials",
    ] {
        for more in [
            &[][..],
            &[("client_id", "legacy")],
            &[("client_id", "legacy"), ("client_secret", "x")],
        ] {
            let form = [&[("grant_type", grant)], more].concat();
            let answer = post_form(address, "/oauth/token", &form, &[]).await;
            let text = "this grant type is not supported; supported are client_credentials, \
                refresh_token and urn:ietf:params:oauth:grant-type:token-exchange";
            assert_eq!(
                refusal(&answer),
                (400, "unsupported_grant_type".to_owned(), text.to_owned()),
                "{form:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_answers_a_json_object() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let token = ask(&sidecar, "/oauth/token", &[FORM], GRANT.as_bytes())
        .await
        .json();
    let token = format!("token={}", token["access_token"].as_str().expect("a token"));
    for body in [token.as_str(), "token=unknown"] {
        let answer = ask(&sidecar, "/oauth/revoke", &[FORM], body.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/json"))
        );
        assert_eq!(answer.json(), json!({}));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_are_answered_with_their_fault() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x2f\x4a";
    let compressed =
        "the request body is compressed; send it without a content coding (Content-Encoding)";
    let in_query = |name| {
        format!(
            "the parameter `{name}` is in the query of the URL; parameters belong in the request \
             body"
        )
    };
    let query = format!("/oauth/token?{GRANT}");
    for (target, headers, body, description) in [
        (query.as_str(), vec![], &b""[..], in_query("grant_type")),
        (&query, vec![FORM], b"", in_query("grant_type")),
        (
            "/oauth/token?scope=read",
            vec![FORM],
            GRANT.as_bytes(),
            in_query("scope"),
        ),
        (
            "/oauth/token",
            vec![FORM],
            b"grant_type=client_credentials&scope=read&scope=read",
            "the parameter `scope` is repeated".to_owned(),
        ),
        (
            "/oauth/token",
            vec![FORM],
            b"grant_type=client_credentials&x_y=1&x_y=2",
            "the parameter `x_y` is repeated".to_owned(),
        ),
        (
            "/oauth/token",
            vec![FORM, FORM],
            GRANT.as_bytes(),
            "the header Content-Type is repeated".to_owned(),
        ),
        (
            "/oauth/token",
            vec![FORM, ("Content-Encoding", "gzip")],
            gzip,
            compressed.to_owned(),
        ),
        ("/oauth/token", vec![FORM], gzip, compressed.to_owned()),
        (
            "/oauth/token",
            vec![
                ("Content-Type", "application/json"),
                ("Content-Encoding", "br"),
            ],
            b"{}",
            compressed.to_owned(),
        ),
        (
            "/oauth/token",
            vec![FORM],
            b"grant_type=client_credentials&scopes=read",
            "there is no parameter `scopes`; the name is `scope`".to_owned(),
        ),
        (
            "/oauth/token",
            vec![FORM],
            b"grantType=client_credentials",
            "there is no parameter `grantType`; the name is `grant_type`".to_owned(),
        ),
        ("/oauth/revoke?token=x", vec![FORM], b"", in_query("token")),
        (
            "/oauth/introspect?token=x",
            vec![FORM],
            b"",
            in_query("token"),
        ),
    ] {
        let answer = ask(&sidecar, target, &headers, body).await;
        assert_eq!(
            refusal(&answer),
            invalid_request(&description),
            "{target} {headers:?}"
        );
    }
    // Parameters that proxies or clients of other servers add are ignored.
    for target in [query.as_str(), "/oauth/token?api-version=2"] {
        assert_eq!(
            ask(&sidecar, target, &[FORM], GRANT.as_bytes())
                .await
                .status,
            200,
            "{target}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_scope_or_audience_is_named_and_no_secret_of_it() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let long = "a".repeat(500);
    let cut = format!("{}...", "a".repeat(77));
    for (more, error, shown) in [
        (
            "scope=read+admin",
            "invalid_scope",
            "the scope `admin` is not allowed to this client",
        ),
        (
            "scope=read+a%22b",
            "invalid_scope",
            "the scope `a%22b` is malformed",
        ),
        (
            "audience=https://other.example",
            "invalid_target",
            "the audience or resource `https://other.example` is not allowed to this client",
        ),
        (
            "resource=https://devices.example/x",
            "invalid_target",
            "the audience or resource `https://devices.example/x` is not allowed to this client",
        ),
        (
            "resource=https://u:p4ss@x.example/?key=v4lue",
            "invalid_target",
            "the audience or resource `https://x.example/...` is not allowed to this client",
        ),
        (
            "resource=devices",
            "invalid_target",
            "the resource `devices` is not an absolute URI without fragment",
        ),
        (
            &format!("scope={long}"),
            "invalid_scope",
            &format!("the scope `{cut}` is not allowed to this client"),
        ),
    ] {
        let answer = ask(
            &sidecar,
            "/oauth/token",
            &[FORM],
            format!("{GRANT}&{more}").as_bytes(),
        )
        .await;
        assert_eq!(
            refusal(&answer),
            (400, error.to_owned(), shown.to_owned()),
            "{more}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_is_compared_as_a_uri() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    for resource in [
        "https://devices.example/",
        "HTTPS://DEVICES.example:443",
        "https://devices.example",
    ] {
        let body = format!("{GRANT}&resource={resource}");
        let answer = ask(&sidecar, "/oauth/token", &[FORM], body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let token = answer.json()["access_token"]
            .as_str()
            .expect("a token")
            .to_owned();
        assert_eq!(
            crate::issued::claims(&token)["aud"],
            json!(["https://devices.example"])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_shows_inserted_claims() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let answer = ask(
        &sidecar,
        "/oauth/token",
        &[FORM],
        format!("{GRANT}&token_name=n").as_bytes(),
    )
    .await;
    let token = answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let form = format!("token={token}");
    let shown = ask(&sidecar, "/oauth/introspect", &[FORM], form.as_bytes())
        .await
        .json();
    assert_eq!(
        (
            &shown["tenant"],
            &shown["realm"]["roles"],
            &shown["owner"],
            &shown["name"]
        ),
        (&json!("blue"), &json!(["a"]), &json!("7"), &json!("n"))
    );
    // An inserted claim says nothing of the token itself.
    assert_eq!(
        (&shown["active"], &shown["token_type"]),
        (&json!(true), &json!("Bearer"))
    );
    let claims = crate::issued::claims(&token);
    for (name, value) in claims.as_object().expect("claims") {
        assert!(
            shown[name] == *value || ["active", "token_type"].contains(&name.as_str()),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_metadata_documents_name_an_authorization_endpoint_that_says_there_is_no_login() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    for path in [
        "/m2m/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/m2m",
    ] {
        let metadata = get(sidecar.address("issuer"), path, &[]).await.json();
        assert_eq!(
            metadata["authorization_endpoint"], "http://issuer.test/m2m/oauth/authorize",
            "{path}"
        );
        assert_eq!(metadata["response_types_supported"], json!([]), "{path}");
    }
    let query =
        "response_type=code&client_id=legacy&redirect_uri=https%3A%2F%2Fevil.example%2F&state=x";
    for (listener, path) in [
        ("issuer", "/m2m/oauth/authorize"),
        ("issuer", "/oauth/authorize"),
        ("api", "/m2m/oauth/authorize"),
    ] {
        for method in ["GET", "POST", "PUT", "OPTIONS", "HEAD"] {
            let target = format!("{path}?{query}");
            let address = sidecar.address(listener);
            let answer = request(method, address, &target, &[("Accept", "*/*"), FORM], b"").await;
            assert_eq!(
                (answer.status, answer.header("location")),
                (400, None),
                "{method} {path}"
            );
            assert_eq!(
                answer.header("content-type"),
                Some("application/json"),
                "{method} {path}"
            );
            if method != "HEAD" {
                let (_, error, description) = refusal(&answer);
                assert_eq!(error, "unsupported_response_type");
                assert!(
                    description.starts_with("this server has no login"),
                    "{description}"
                );
            }
            let browser = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
            let page = request(method, address, &target, &browser, b"").await;
            assert_eq!(
                (page.status, page.header("content-type")),
                (400, Some("text/html; charset=utf-8"))
            );
            assert!(
                method == "HEAD" || page.text().contains("This server has no login."),
                "{}",
                page.text()
            );
            assert!(!page.text().contains("evil"));
        }
    }
    assert!(upstream.received().is_empty());
}

/// Another process that holds the store's write lock stands for a full disk: nothing can be
/// written, everything read.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_written_is_named_in_the_line_of_the_request_and_by_readyz() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream).await;
    let ready = async || {
        let answer = get(sidecar.address("probes"), "/readyz", &[]).await;
        (answer.status, answer.text())
    };
    assert_eq!(ready().await.0, 200);
    let options = SqliteConnectOptions::new().filename(sidecar.path("m2m.db"));
    let mut other = SqliteConnection::connect_with(&options)
        .await
        .expect("the database");
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .expect("the lock");
    let mark = logs::mark();
    let body = format!("{GRANT}&token_name=kept");
    let answer = ask(&sidecar, "/oauth/token", &[FORM], body.as_bytes()).await;
    assert_eq!(
        (answer.status, refusal(&answer).1.as_str()),
        (503, "temporarily_unavailable")
    );
    logs::wait_for_line(mark, &["audit", "temporarily_unavailable", "the store"]).await;
    let not_ready = "not ready: store (nothing can be written: another process holds its lock)\n";
    until("readyz says so", async || {
        ready().await == (503, not_ready.to_owned())
    })
    .await;
    let mark = logs::mark();
    ask(&sidecar, "/oauth/token", &[FORM], body.as_bytes()).await;
    logs::wait_for_line(mark, &["audit", "temporarily_unavailable"]).await;
    let mark = logs::mark();
    let client = json!({ "client_id": "new" }).to_string();
    let headers = [
        ("Authorization", "Bearer an-admin-token-of-sixteen"),
        ("Content-Type", "application/json"),
    ];
    let refused = request(
        "POST",
        sidecar.address("admin"),
        "/clients",
        &headers,
        client.as_bytes(),
    )
    .await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    logs::wait_for_line(
        mark,
        &[
            "audit",
            "create_client",
            "temporarily_unavailable",
            "the store",
        ],
    )
    .await;
    sqlx::query("ROLLBACK")
        .execute(&mut other)
        .await
        .expect("the lock is given back");
    until("it can be written again", async || ready().await.0 == 200).await;
    assert_eq!(
        ask(&sidecar, "/oauth/token", &[FORM], body.as_bytes())
            .await
            .status,
        200
    );
    let kept = store::open(&store::Config::SqliteFile(sidecar.path("m2m.db")))
        .await
        .expect("the store");
    assert_eq!(kept.write_fault(), None);
}
