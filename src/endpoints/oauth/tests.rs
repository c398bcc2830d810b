//! Every answer of the issuer's endpoints: status, headers and body.

use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt;
use tracing_subscriber::fmt::MakeWriter;

use super::body::MAX_BODY;
use super::error::token_error_answer;
use super::*;
use crate::domain::oauth::{ErrorCode, GrantType};
use crate::domain::scope::ScopeSet;
use crate::endpoints::plgd::{self, VerifyCaller};
use crate::issuer::tests::{URL, client, config, open};
use crate::issuer::{Client, Config, Issuer, TokenError};

const FORM: &str = "application/x-www-form-urlencoded";

fn legacy() -> Client {
    Client {
        allowed_audiences: vec!["urn:hub".to_owned()],
        allowed_scopes: ScopeSet::parse("devices:read devices:write").unwrap(),
        ..client("legacy", "s3cret:%+")
    }
}

async fn issuer() -> Arc<Issuer> {
    let no_grant = Client {
        allowed_grant_types: Vec::new(),
        ..client("no-grant", "s")
    };
    open(config(vec![legacy(), no_grant, client("bare", "s")]))
        .await
        .unwrap()
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
    text: String,
}

impl Answer {
    fn header(&self, name: http::HeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
    }
}

/// Knows no caller of the tokens API.
fn nobody() -> VerifyCaller {
    Arc::new(|_| Box::pin(async { Err(plgd::UnknownCaller::Unauthenticated) }))
}

fn router(issuer: &Arc<Issuer>) -> Router {
    issuer_router(
        Arc::clone(issuer),
        Placement::BasePath,
        Arc::new(|_| {}),
        nobody(),
    )
}

async fn post_token(authorization: Option<&str>, content_type: Option<&str>, body: &str) -> Answer {
    let mut request = Request::post("/m2m/oauth/token");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    if let Some(content_type) = content_type {
        request = request.header(CONTENT_TYPE, content_type);
    }
    send(
        &router(&issuer().await),
        request.body(Body::from(body.to_owned())).unwrap(),
    )
    .await
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// As x/oauth2 sends it: both halves query-escaped.
fn basic_encoded(id: &str, secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    basic(&encode(id), &encode(secret))
}

#[tokio::test]
async fn a_token_is_issued_by_basic_by_form_and_by_json() {
    let encoded = basic_encoded("legacy", "s3cret:%+");
    let raw = basic("legacy", "s3cret:%+");
    let form = "grant_type=client_credentials";
    let post = "grant_type=client_credentials&client_id=legacy&client_secret=s3cret%3A%25%2B";
    let json =
        r#"{"grant_type":"client_credentials","client_id":"legacy","client_secret":"s3cret:%+"}"#;
    for (authorization, content_type, body) in [
        (Some(encoded.as_str()), FORM, form),
        (Some(raw.as_str()), FORM, form),
        (
            Some(raw.as_str()),
            FORM,
            "grant_type=client_credentials&client_id=legacy",
        ),
        (None, FORM, post),
        (Some("Bearer a.b.c"), FORM, post),
        (None, "application/json", json),
        (
            Some("Bearer a.b.c"),
            "application/json; charset=utf-8",
            json,
        ),
    ] {
        let answer = post_token(authorization, Some(content_type), body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header(CONTENT_TYPE), Some("application/json"));
        assert_eq!(answer.header(CACHE_CONTROL), Some("no-store"));
        assert_eq!(answer.header(PRAGMA), Some("no-cache"));
        let mut members = answer.body;
        let token = members
            .as_object_mut()
            .unwrap()
            .remove("access_token")
            .unwrap();
        assert_eq!(token.as_str().unwrap().split('.').count(), 3);
        assert_eq!(
            members,
            json!({"token_type": "Bearer", "expires_in": 3600, "scope": "devices:read devices:write"})
        );
    }
}

#[tokio::test]
async fn an_empty_scope_is_left_out_of_the_answer() {
    let answer = post_token(
        Some(&basic("bare", "s")),
        Some(FORM),
        "grant_type=client_credentials",
    )
    .await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.get("scope").is_none());
}

#[tokio::test]
async fn every_refusal_has_the_status_headers_and_body_of_rfc_6749() {
    let good = basic("bare", "s");
    let wrong = basic("bare", "wrong");
    let unknown = basic("nobody", "s");
    let no_grant = basic("no-grant", "s");
    let grant = "grant_type=client_credentials";
    let with = |more: &str| format!("{grant}&{more}");
    let challenge = Some(r#"Basic realm="m2m-sidecar""#);
    // Authorization, Content-Type, body; status, error, description.
    type Case<'a> = (
        Option<&'a str>,
        Option<&'a str>,
        String,
        u16,
        &'a str,
        &'a str,
    );
    let cases: Vec<Case> = vec![
        (
            Some(&good),
            None,
            grant.into(),
            400,
            "invalid_request",
            "the content type must be application/x-www-form-urlencoded or application/json",
        ),
        (
            Some(&good),
            Some("text/plain"),
            grant.into(),
            400,
            "invalid_request",
            "the content type must be application/x-www-form-urlencoded or application/json",
        ),
        (
            Some(&good),
            Some("application/json"),
            "{".into(),
            400,
            "invalid_request",
            "the request body is malformed",
        ),
        (
            Some(&good),
            Some("application/json"),
            r#"{"grant_type":1,"scope":{}}"#.into(),
            400,
            "invalid_request",
            "the parameter `scope` has a wrong type",
        ),
        (
            Some(&good),
            Some(FORM),
            String::new(),
            400,
            "invalid_request",
            "grant_type is missing",
        ),
        (
            Some(&good),
            None,
            String::new(),
            400,
            "invalid_request",
            "grant_type is missing",
        ),
        (
            Some(&good),
            Some(FORM),
            with(grant),
            400,
            "invalid_request",
            "the parameter `grant_type` is repeated",
        ),
        (
            Some(&good),
            Some(FORM),
            with(&"a=&".repeat(100)),
            400,
            "invalid_request",
            "too many parameters, or one that is too long",
        ),
        (
            Some(&good),
            Some(FORM),
            with("client_secret=s"),
            400,
            "invalid_request",
            "more than one client authentication method is used",
        ),
        (
            Some(&good),
            Some(FORM),
            with("client_id=other"),
            400,
            "invalid_request",
            "more than one client authentication method is used",
        ),
        (
            Some(&good),
            Some(FORM),
            with("client_assertion=x"),
            400,
            "invalid_request",
            "client_assertion needs the client_assertion_type urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        (
            Some(&good),
            Some(FORM),
            with("expiration=1"),
            400,
            "invalid_request",
            "expiration must be a time in unix seconds, in the future, within the client's token lifetime and before the client's expiry",
        ),
        (
            Some(&good),
            Some(FORM),
            with("token_name=%07"),
            400,
            "invalid_request",
            "token_name must be at most 128 printable characters",
        ),
        (
            Some(&wrong),
            Some(FORM),
            grant.into(),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            Some(&unknown),
            Some(FORM),
            grant.into(),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            Some("Basic ???"),
            Some(FORM),
            grant.into(),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            None,
            Some(FORM),
            grant.into(),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            Some("Bearer x"),
            Some(FORM),
            grant.into(),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            None,
            Some(FORM),
            with("client_id=bare&client_secret=wrong"),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            None,
            Some(FORM),
            with("client_id=bare"),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            None,
            Some(FORM),
            with("client_secret=s"),
            401,
            "invalid_client",
            "client authentication failed",
        ),
        (
            Some(&no_grant),
            Some(FORM),
            grant.into(),
            400,
            "unauthorized_client",
            "this client may not use this grant type",
        ),
        (
            Some(&good),
            Some(FORM),
            "grant_type=password".into(),
            400,
            "unsupported_grant_type",
            "this grant type is not supported; supported are client_credentials and refresh_token",
        ),
        (
            None,
            Some(FORM),
            "grant_type=authorization_code&code=x&client_id=bare".into(),
            400,
            "unsupported_grant_type",
            "this grant type is not supported; supported are client_credentials and refresh_token",
        ),
        (
            Some(&good),
            Some(FORM),
            with("scope=admin"),
            400,
            "invalid_scope",
            "the scope `admin` is not allowed to this client",
        ),
        (
            Some(&good),
            Some(FORM),
            with("audience=urn:other"),
            400,
            "invalid_target",
            "the audience or resource `urn:other` is not allowed to this client",
        ),
        (
            Some(&good),
            Some(FORM),
            with("resource=other"),
            400,
            "invalid_target",
            "the resource `other` is not an absolute URI without fragment",
        ),
    ];
    for (authorization, content_type, body, status, error, description) in cases {
        let answer = post_token(authorization, content_type, &body).await;
        let case = format!("{authorization:?} {body}: {}", answer.text);
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(
            answer.body,
            json!({"error": error, "error_description": description}),
            "{case}"
        );
        assert_eq!(
            answer.header(CONTENT_TYPE),
            Some("application/json"),
            "{case}"
        );
        assert_eq!(answer.header(CACHE_CONTROL), Some("no-store"), "{case}");
        assert_eq!(answer.header(PRAGMA), Some("no-cache"), "{case}");
        let used_basic = authorization.is_some_and(|value| value.starts_with("Basic"));
        let expected = if status == 401 && used_basic {
            challenge
        } else {
            None
        };
        assert_eq!(answer.header(WWW_AUTHENTICATE), expected, "{case}");
    }
}

#[tokio::test]
async fn descriptions_keep_to_the_characters_of_rfc_6749() {
    for error in [
        TokenError::ContentType,
        TokenError::Expiration,
        TokenError::TokenName(128),
        TokenError::TooLarge,
        TokenError::ContentCoding,
        TokenError::UnsupportedGrantType,
        TokenError::BoundToken("the header DPoP"),
        TokenError::InQuery("scope"),
        TokenError::NoTarget,
    ] {
        let allowed = |b: u8| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        assert!(error.to_string().bytes().all(allowed), "{error}");
    }
}

#[tokio::test]
async fn a_body_beyond_64_kib_is_413() {
    let at_most = format!("grant_type={}", "x".repeat(MAX_BODY - 11));
    assert_eq!(
        post_token(None, Some(FORM), &at_most).await.body["error"],
        "unsupported_grant_type"
    );
    let answer = post_token(None, Some(FORM), &format!("{at_most}x")).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.header(CACHE_CONTROL), Some("no-store"));
    let expected = json!({"error": "invalid_request", "error_description": "the request body is larger than 64 KiB"});
    assert_eq!(answer.body, expected);
}

#[test]
fn a_temporary_error_is_503_with_retry_after() {
    let answer = token_error_answer(TokenError::Busy);
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()[RETRY_AFTER], "1");
    assert_eq!(
        token_error_answer(TokenError::Signing).status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

#[tokio::test]
async fn other_methods_are_405_with_allow() {
    let issuer = issuer().await;
    for (method, path, allow) in [
        ("GET", "/m2m/oauth/token", "POST"),
        ("HEAD", "/m2m/oauth/token", "POST"),
        ("OPTIONS", "/m2m/oauth/token", "POST"),
        ("DELETE", "/m2m/.well-known/jwks.json", "GET,HEAD"),
        ("POST", "/m2m/.well-known/openid-configuration", "GET,HEAD"),
        (
            "BREW",
            "/.well-known/oauth-authorization-server/m2m",
            "GET,HEAD",
        ),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        let answer = send(&router(&issuer), request).await;
        assert_eq!(
            (answer.status, answer.header(ALLOW)),
            (405, Some(allow)),
            "{method} {path}"
        );
        assert_eq!(answer.header(CONTENT_TYPE), Some("application/json"));
        if method != "HEAD" {
            assert_eq!(answer.body["error"], "invalid_request");
        }
    }
}

#[tokio::test]
async fn keys_and_metadata_are_published_and_may_be_kept_for_five_minutes() {
    let issuer = issuer().await;
    let jwks: Value = serde_json::from_str(&issuer.public_keys()).unwrap();
    for (path, expected) in [
        ("/m2m/.well-known/jwks.json", jwks),
        ("/m2m/.well-known/openid-configuration", issuer.metadata()),
        (
            "/m2m/.well-known/oauth-authorization-server",
            issuer.metadata(),
        ),
        (
            "/.well-known/oauth-authorization-server/m2m",
            issuer.metadata(),
        ),
    ] {
        let answer = send(
            &router(&issuer),
            Request::get(path).body(Body::empty()).unwrap(),
        )
        .await;
        assert_eq!((answer.status, &answer.body), (200, &expected), "{path}");
        assert_eq!(answer.header(CONTENT_TYPE), Some("application/json"));
        assert_eq!(answer.header(CACHE_CONTROL), Some("public, max-age=300"));
        let head = send(
            &router(&issuer),
            Request::head(path).body(Body::empty()).unwrap(),
        )
        .await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
    }
}

#[tokio::test]
async fn exactly_the_paths_of_the_placement_answer() {
    let issuer = issuer().await;
    let below = [
        "/.well-known/oauth-authorization-server/m2m",
        "/m2m/.well-known/jwks.json",
        "/m2m/.well-known/oauth-authorization-server",
        "/m2m/.well-known/openid-configuration",
        "/m2m/oauth/introspect",
        "/m2m/oauth/revocations",
        "/m2m/oauth/authorize",
        "/m2m/oauth/revoke",
        "/m2m/oauth/token",
    ];
    let root = [
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/oauth/introspect",
        "/oauth/revocations",
        "/oauth/authorize",
        "/oauth/revoke",
        "/oauth/token",
    ];
    let own = ["/m2m/oauth2/token", "/m2m/token", "/oauth2/token", "/token"];
    for (at, paths) in [
        (Placement::BasePath, below.to_vec()),
        (Placement::BasePathAndRoot, [&below[..], &root].concat()),
        (Placement::OwnListener, [&below[..], &root, &own].concat()),
    ] {
        let mut expected = paths.clone();
        expected.sort_unstable();
        assert_eq!(issuer_paths(&issuer, at), expected, "{at:?}");
        let router = issuer_router(Arc::clone(&issuer), at, Arc::new(|_| {}), nobody());
        for path in [
            &below[..],
            &root,
            &own,
            &["/", "/m2m", "/m2m/oauth/token/", "/m2m/api/v1/tokens"],
        ]
        .concat()
        {
            // No endpoint has this method: 405 says that there is one.
            let request = Request::put(path).body(Body::empty()).unwrap();
            let expected = match paths.contains(&path) {
                // One that answers every method.
                true if path.ends_with("/oauth/authorize") => 400,
                true => 405,
                false => 404,
            };
            assert_eq!(
                send(&router, request).await.status,
                expected,
                "{at:?} {path}"
            );
        }
    }
}

#[tokio::test]
async fn an_issuer_without_a_path_or_with_a_strange_one_has_its_paths_too() {
    for (url, token) in [
        ("http://127.0.0.1:8080", "/oauth/token"),
        ("https://a/:t/*x/%7By%7D", "/:t/*x/%7By%7D/oauth/token"),
        ("https://a/oauth", "/oauth/oauth/token"),
        (
            "https://a/.well-known/oauth-authorization-server",
            "/.well-known/oauth-authorization-server/oauth/token",
        ),
    ] {
        let issuer = open(Config {
            url: url.parse().unwrap(),
            ..config(Vec::new())
        })
        .await
        .unwrap();
        for at in [
            Placement::BasePath,
            Placement::BasePathAndRoot,
            Placement::OwnListener,
        ] {
            let router = issuer_router(Arc::clone(&issuer), at, Arc::new(|_| {}), nobody());
            let answer = send(&router, Request::post(token).body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, 400, "{url} {at:?}");
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn each_request_is_recorded_once_without_secrets() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    // With one dispatcher alive, tracing asks only the thread that first passes a line whether
    // anyone listens, and remembers that for all; tests on other threads pass the same lines. With
    // two it asks every dispatcher.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(subscriber);
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&outcomes);
    let observer: Observer = Arc::new(move |outcome| seen.lock().unwrap().push(outcome.clone()));
    let router = issuer_router(issuer().await, Placement::BasePath, observer, nobody());
    let token_request = |authorization: String, body: &'static str| {
        let request = Request::post("/m2m/oauth/token").header(CONTENT_TYPE, FORM);
        request
            .header(AUTHORIZATION, authorization)
            .body(Body::from(body))
            .unwrap()
    };
    let issued = send(
        &router,
        token_request(
            basic("legacy", "s3cret:%+"),
            "grant_type=client_credentials",
        ),
    )
    .await;
    send(
        &router,
        token_request(basic("legacy", "wr0ng"), "grant_type=client_credentials"),
    )
    .await;
    send(
        &router,
        token_request(basic("stranger", "wr0ng"), "grant_type=client_credentials"),
    )
    .await;
    send(
        &router,
        token_request(basic("bare", "s"), "grant_type=0wn&scope=0wn"),
    )
    .await;
    send(&router, token_request(basic("bare", "s"), "scope=0wn")).await;

    let client = |id: &str| Some(id.to_owned());
    let grant = Some(GrantType::ClientCredentials);
    let expected = [
        (client("legacy"), grant, None),
        (client("legacy"), grant, Some(ErrorCode::InvalidClient)),
        (None, grant, Some(ErrorCode::InvalidClient)),
        (client("bare"), None, Some(ErrorCode::UnsupportedGrantType)),
        (None, None, Some(ErrorCode::InvalidRequest)),
    ]
    .map(|(client_id, grant_type, error)| Outcome {
        client_id,
        grant_type,
        error,
    });
    assert_eq!(*outcomes.lock().unwrap(), expected);

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let token = issued.body["access_token"].as_str().unwrap();
    for hidden in ["s3cret", "wr0ng", "0wn", token, "PRIVATE KEY"] {
        assert!(!log.contains(hidden), "{hidden}");
    }
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let audit = lines
        .iter()
        .filter(|line| line["target"] == "audit")
        .map(|line| &line["fields"]);
    // The other line tells of the signing key that was made.
    let audit: Vec<&Value> = audit
        .filter(|fields| fields["message"] == "token request")
        .collect();
    assert_eq!(audit.len(), 5);
    assert_eq!(
        (&audit[0]["outcome"], &audit[0]["client_id"]),
        (&json!("issued"), &json!("legacy"))
    );
    assert!(audit[0]["jti"].is_string());
    assert_eq!(audit[2]["outcome"], "invalid_client");
    assert!(audit[2].get("client_id").is_none() && audit[2].get("jti").is_none());
    // The id that was presented is not taken for a client's.
    assert_eq!(audit[2]["presented_id"], "stranger");
    assert_eq!(log.matches("stranger").count(), 1);
    assert_eq!(audit[4]["reason"], "grant_type is missing");
}

#[tokio::test]
async fn the_metadata_leads_to_the_token_endpoint() {
    let issuer = issuer().await;
    let token_endpoint = issuer.metadata()["token_endpoint"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = token_endpoint
        .strip_prefix(URL.trim_end_matches("/m2m"))
        .unwrap()
        .to_owned();
    assert!(issuer_paths(&issuer, Placement::BasePath).contains(&path));
}

proptest! {
    #[test]
    fn any_request_gets_an_oauth_answer(
        content_type in prop_oneof![Just("application/json".to_owned()), Just(FORM.to_owned()), "[ -~]{0,20}"],
        authorization in prop_oneof!["[ -~]{0,40}", "[ -~]{0,30}".prop_map(|text| basic(&text, &text))],
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..100),
            "grant_type=client_credentials&(client_id|client_secret|scope|audience)=[ -~]{0,20}".prop_map(String::into_bytes),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async {
            let request = Request::post("/m2m/oauth/token")
                .header(CONTENT_TYPE, content_type)
                .header(AUTHORIZATION, authorization)
                .body(Body::from(body))
                .unwrap();
            send(&router(&issuer().await), request).await
        });
        prop_assert!(matches!(answer.status, 400 | 401), "{}", answer.text);
        prop_assert!(answer.body["error"].is_string());
    }
}
