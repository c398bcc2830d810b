//! The form of refusals, and the caches that responses are kept out of.

use serde_json::json;

use super::{outcome, world};
use crate::support::client::{RawAnswer, get, send_raw};
use crate::support::upstream::Answer;

const RULES: &str = r#"
      - { paths: ["/open/**"], access: public }
      - { paths: ["/feed/**"], access: optional }
      - { paths: ["/**"], scopes: [read] }"#;

/// plgd's clients refuse a body with another member.
#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_a_listener_is_a_google_rpc_status() {
    let world = world("    errorFormat: status\n    maxBody: 5B", RULES).await;
    let address = world.sidecar.address("api");
    let no_scope = format!("Bearer {}", world.token().claim("scope", "other").sign());
    let read = format!("Bearer {}", world.token().claim("scope", "read").sign());
    let with = |target: &str, bearer: &str, more: &str| {
        let lines = format!("Host: a\r\nAuthorization: {bearer}\r\n{more}\r\n");
        format!("GET {target} HTTP/1.1\r\n{lines}")
    };
    world
        .upstream
        .next(Answer::Raw(b"nonsense\r\n\r\n".to_vec()));
    for (bytes, status, code, reason) in [
        (
            "GET /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            401,
            16,
            "no_token",
        ),
        (with("/x", "Bearer x", ""), 401, 16, "malformed_token"),
        (with("/x", &no_scope, ""), 403, 7, "scope"),
        (with("/x", "Bearer", ""), 400, 3, "malformed_authorization"),
        (with("/a%2fb", &read, ""), 400, 3, "ambiguous_path"),
        (
            with("/x", &read, "Content-Length: 9\r\n"),
            413,
            8,
            "body_too_large",
        ),
        (with("/x", &read, ""), 502, 14, "upstream_broken"),
        (
            "TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            405,
            12,
            "method",
        ),
        (
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            400,
            3,
            "malformed_request",
        ),
        ("nonsense\r\n\r\n".to_owned(), 400, 3, "malformed_request"),
        (
            format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(40_000)),
            431,
            8,
            "head_too_large",
        ),
    ] {
        let answer = send_raw(address, &bytes).await;
        let shown = bytes.chars().take(60).collect::<String>();
        assert_eq!(outcome(&answer), (status, reason), "{shown}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{shown}"
        );
        let body = answer.json();
        let message = body["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "{body}");
        assert_eq!(
            body,
            json!({ "code": code, "message": message, "details": [] }),
            "{shown}"
        );
    }
    let answer = get(address, "/x", &[]).await;
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Bearer realm=\"api\"")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_a_listener_is_a_problem() {
    let world = world("    errorFormat: problem", RULES).await;
    let address = world.sidecar.address("api");
    let answer = world
        .send_token("GET", "/x", world.token().claim("scope", "other"))
        .await;
    assert_eq!(outcome(&answer), (403, "scope"));
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        answer.json(),
        json!({
            "title": "Forbidden",
            "status": 403,
            "detail": "The token lacks a scope that the rule requires.",
            "error": "insufficient_scope",
        })
    );
    let answer = send_raw(address, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(outcome(&answer), (400, "malformed_request"));
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let body = answer.json();
    assert_eq!(
        (&body["title"], &body["target"]),
        (&json!("Bad Request"), &json!("/a b"))
    );
    assert!(body["detail"].as_str().unwrap().contains("space"), "{body}");
}

fn cached(answer: &RawAnswer) -> Option<&str> {
    assert_eq!(answer.status, 200);
    answer.header("cache-control")
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_that_needed_a_token_stay_out_of_shared_caches() {
    let world = world("", RULES).await;
    let bearer = format!("Bearer {}", world.token().claim("scope", "read").sign());
    let token = [("Authorization", bearer.as_str())];
    for (of_service, expected) in [
        (None, Some("private")),
        (Some("max-age=60"), Some("max-age=60, private")),
        (Some("public, s-maxage=60"), Some("private")),
        (Some("no-store"), Some("no-store")),
        (Some("private, max-age=1"), Some("private, max-age=1")),
    ] {
        world.upstream.answer(move |_| {
            let mut headers = vec![("CDN-Cache-Control".to_owned(), "max-age=60".to_owned())];
            headers.extend(of_service.map(|it| ("Cache-Control".to_owned(), it.to_owned())));
            Answer::Reply(200, headers, b"x".to_vec())
        });
        for (target, headers) in [("/x", &token[..]), ("/feed/1", &token[..])] {
            let answer = world.send("GET", target, headers).await;
            assert_eq!(cached(&answer), expected, "{target}");
            assert_eq!(answer.header("cdn-cache-control"), None);
        }
        for (target, headers) in [("/open/x", &token[..]), ("/feed/1", &[]), ("/open/x", &[])] {
            let answer = world.send("GET", target, headers).await;
            assert_eq!(cached(&answer), of_service, "{target}");
            assert_eq!(answer.header("cdn-cache-control"), Some("max-age=60"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_private_cache_the_services_own_words_pass() {
    let world = world("    privateCache: false", RULES).await;
    let value = "public, s-maxage=60";
    world.upstream.answer(move |_| {
        let headers = vec![("Cache-Control".to_owned(), value.to_owned())];
        Answer::Reply(200, headers, b"x".to_vec())
    });
    let answer = world
        .send_token("GET", "/x", world.token().claim("scope", "read"))
        .await;
    assert_eq!(cached(&answer), Some(value));
}
