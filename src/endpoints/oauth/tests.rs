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
use crate::issuer::metadata::RequestedCertificates;
use crate::issuer::tests::{URL, client, config, open};
use crate::issuer::{Client, Config, Issuer, TokenError};

mod audit;
mod errors;
mod paths;

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

/// Refuses every caller of the tokens API.
fn no_callers() -> VerifyCaller {
    Arc::new(|_| Box::pin(async { Err(plgd::UnknownCaller::Unauthenticated) }))
}

fn router(issuer: &Arc<Issuer>) -> Router {
    issuer_router(
        Arc::clone(issuer),
        Placement::BasePath,
        RequestedCertificates::default(),
        Arc::new(|_| {}),
        no_callers(),
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
            json!({
                "token_type": "Bearer",
                "expires_in": 3600,
                "scope": "devices:read devices:write",
            })
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
