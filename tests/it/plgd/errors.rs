//! Every error below the issuer's path is one that plgd's clients read: a google.rpc.Status, and
//! beside OAuth's own members at OAuth's own endpoints. Wherever it comes from.

use std::sync::Arc;

use m2m_sidecar::for_tests::domain::clock::Clock;
use serde_json::json;

use super::{ISSUER, SECRET, TOKEN, TOKENS, World, YAML, assert_status, with_secrets};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{Connection, RawAnswer, get, post_form, request, send_raw};
use crate::support::clock::{MovableClock, StandingClock};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

const BASE: &str = "/m2m-oauth-server";

/// The world with an inbound listener that answers for the issuer.
async fn world(more: &str) -> World {
    let clock = MovableClock::now();
    world_at(more, clock.clone(), clock).await
}

/// The same with another clock in the sidecar.
async fn world_at(more: &str, time: Arc<dyn Clock>, clock: Arc<MovableClock>) -> World {
    let (users, upstream) = (Authority::start(), Upstream::start());
    let yaml = [ISSUER, YAML]
        .concat()
        .replace("@USERS@", &users.issuer())
        .replace("@UPSTREAM@", &upstream.url());
    let yaml = yaml.replace("name: api,", &format!("name: api, issuer: true, {more}"));
    let sidecar = with_secrets(Sidecar::builder())
        .clock(time)
        .start(&yaml)
        .await;
    users.wait_for_fetches(Endpoint::Jwks, 1).await;
    World {
        sidecar,
        users,
        clock,
        _upstream: upstream,
    }
}

/// RFC 6749's members and a google.rpc.Status, and nothing else.
fn assert_both(answer: &RawAnswer, http: u16, code: u64) {
    assert_eq!(answer.status, http, "{}", answer.text());
    let body = answer.json();
    let members: Vec<_> = body
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        members,
        ["code", "details", "error", "error_description", "message"]
    );
    assert_eq!(
        (&body["code"], &body["details"]),
        (&json!(code), &json!([]))
    );
    assert_eq!(body["message"], body["error_description"]);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

/// RFC 6749's members alone.
fn assert_oauth(answer: &RawAnswer, http: u16) {
    assert_eq!(answer.status, http, "{}", answer.text());
    let body = answer.json();
    assert!(
        body["error"].is_string() && body.get("code").is_none() && body.get("details").is_none(),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_are_errors_that_plgds_clients_read() {
    let world = world("").await;
    let address = world.sidecar.address("issuer");
    for path in [
        "",
        "/",
        "/unknown",
        "/api",
        "/api/v1/unknown",
        "/api/v1/tokens/x",
        "/.well-known/x",
        "/x/y",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            assert_status(
                &request(method, address, &format!("{BASE}{path}"), &[], b"").await,
                404,
                5,
            );
        }
    }
    for path in ["/oauth/unknown", "/oauth", "/token/x"] {
        assert_status(&get(address, &format!("{BASE}{path}"), &[]).await, 404, 5);
    }
    assert_status(
        &get(address, &format!("{BASE}/oauth/revoke"), &[]).await,
        405,
        12,
    );
    for method in ["PUT", "PATCH", "OPTIONS"] {
        assert_status(&request(method, address, TOKENS, &[], b"").await, 405, 12);
        assert_status(
            &request(method, address, &format!("{TOKENS}/"), &[], b"").await,
            405,
            12,
        );
    }
    for (method, path) in [
        ("DELETE", "/.well-known/jwks.json"),
        ("POST", "/.well-known/openid-configuration"),
    ] {
        let answer = request(method, address, &format!("{BASE}{path}"), &[], b"").await;
        assert_status(&answer, 405, 12);
        assert!(
            answer
                .header("allow")
                .is_some_and(|allow| allow.contains("GET"))
        );
    }
    for (method, path) in [("GET", TOKEN), ("PUT", TOKEN), ("TRACE", TOKEN)] {
        assert_both(&request(method, address, path, &[], b"").await, 405, 12);
    }
    // A program that looks for a login is no caller of the token endpoint.
    for method in ["GET", "POST"] {
        let authorize = format!("{BASE}/oauth/authorize?response_type=code");
        assert_status(
            &request(method, address, &authorize, &[], b"").await,
            400,
            3,
        );
    }
    // RFC 7009 and RFC 7662 have RFC 6749's members.
    let none = post_form(
        address,
        &format!("{BASE}/oauth/revoke"),
        &[("token", "x")],
        &[],
    )
    .await;
    assert_both(&none, 401, 16);
    let none = post_form(address, &format!("{BASE}/oauth/introspect"), &[], &[]).await;
    assert_both(&none, 400, 3);
    // Elsewhere on the listener the RFCs hold.
    for path in [
        "/",
        "/unknown",
        "/api/v1/tokens",
        "/m2m-oauth-serverx",
        "/M2M-OAUTH-SERVER/oauth/token",
    ] {
        assert_oauth(&get(address, path, &[]).await, 404);
    }
    assert_oauth(&get(address, "/oauth/token", &[]).await, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_token_requests_are_errors_that_plgds_clients_read() {
    // A delay of a second must not pass while the test runs.
    let world = world_at("", StandingClock::now(), MovableClock::now()).await;
    let address = world.sidecar.address("issuer");
    assert_both(
        &request(
            "POST",
            address,
            TOKEN,
            &[("Content-Encoding", "gzip")],
            b"{}",
        )
        .await,
        400,
        3,
    );
    assert_both(&request("POST", address, TOKEN, &[], b"").await, 400, 3);
    assert_status(&request("POST", address, TOKENS, &[], b"[").await, 400, 3);
    // After five failures there is a delay.
    let wrong = [
        ("grant_type", "client_credentials"),
        ("client_id", "dayClient"),
        ("client_secret", "not-the-secret-1"),
    ];
    for _ in 0..5 {
        assert_both(&post_form(address, TOKEN, &wrong, &[]).await, 401, 16);
    }
    let delayed = post_form(address, TOKEN, &wrong, &[]).await;
    assert_both(&delayed, 429, 8);
    assert!(delayed.header("retry-after").is_some());
    let body = json!({"grantType": "client_credentials", "clientId": "dayClient",
        "clientSecret": "not-the-secret-1"});
    let delayed = request("POST", address, TOKENS, &[], body.to_string().as_bytes()).await;
    assert_status(&delayed, 429, 8);
    assert!(delayed.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_an_error_that_plgds_clients_read() {
    let world = world("").await;
    let mut database = super::database(&world.sidecar).await;
    sqlx::query("DROP TABLE tokens")
        .execute(&mut database)
        .await
        .expect("a table");
    assert_both(&world.token("serviceClient", &[]).await, 503, 14);
    let body = json!({"grantType": "client_credentials", "clientId": "serviceClient",
        "clientSecret": SECRET});
    let address = world.sidecar.address("issuer");
    assert_status(
        &request("POST", address, TOKENS, &[], body.to_string().as_bytes()).await,
        503,
        14,
    );
    assert_status(
        &world.tokens("GET", &world.user("1"), "", &[], b"").await,
        503,
        14,
    );
}

/// Requests that are refused before any endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_no_endpoint_sees_are_errors_that_plgds_clients_read() {
    let world = world("").await;
    let many: String = (0..300).map(|n| format!("X-{n}: a\r\n")).collect();
    let host = "Host: a\r\n";
    let long = "x".repeat(300_000);
    for listener in ["issuer", "api"] {
        let address = world.sidecar.address(listener);
        for path in [TOKEN, TOKENS] {
            let check = |answer: &RawAnswer, http: u16, code: u64| {
                if path == TOKEN {
                    assert_both(answer, http, code)
                } else {
                    assert_status(answer, http, code)
                }
            };
            for (http, code, head) in [
                (
                    431,
                    8,
                    format!("GET {path}?idFilter={long} HTTP/1.1\r\n{host}\r\n"),
                ),
                (
                    431,
                    8,
                    format!("GET {path} HTTP/1.1\r\n{host}X: {long}\r\n\r\n"),
                ),
                (431, 8, format!("GET {path} HTTP/1.1\r\n{host}{many}\r\n")),
                (400, 3, format!("GET {path}?a b HTTP/1.1\r\n{host}\r\n")),
                (400, 3, format!("GET {path}#x HTTP/1.1\r\n{host}\r\n")),
                (400, 3, format!("GET {path} HTTP/1.1\r\n\r\n")),
                (400, 3, format!("GET {path} HTTP/1.1\r\n{host}{host}\r\n")),
                (
                    400,
                    3,
                    format!("GET {path} HTTP/1.1\r\n{host}no colon\r\n\r\n"),
                ),
                (400, 3, format!("GET {path} HTTP/1.1\n{host}\r\n")),
                (
                    400,
                    3,
                    format!("GET http://a.example{path} HTTP/2.0\r\n{host}\r\n"),
                ),
                (400, 3, format!("get {path} HTTP/1.1\r\n{host}\r\n")),
                (
                    400,
                    3,
                    format!("POST {path} HTTP/1.1\r\n{host}Content-Length: x\r\n\r\n"),
                ),
                (
                    417,
                    3,
                    format!("POST {path} HTTP/1.1\r\n{host}Expect: a miracle\r\n\r\n"),
                ),
                (
                    413,
                    8,
                    format!("POST {path} HTTP/1.1\r\n{host}Content-Length: 999999\r\n\r\n"),
                ),
            ] {
                let answer = send_raw(address, &head).await;
                let shown: String = head.chars().take(120).collect();
                assert!(
                    answer.header("x-m2m-reason").is_some(),
                    "{listener}: {shown}: {}",
                    answer.text()
                );
                check(&answer, http, code);
            }
            // A path without a normal form is below the issuer's path if it begins with it.
            for below in ["%2e%2e%2fx", "%zz", "a;b", "a\\b"] {
                let head = format!("GET {path}/{below} HTTP/1.1\r\n{host}\r\n");
                assert_status(&send_raw(address, head).await, 400, 3);
            }
            // In pieces, and cut off.
            let mut connection = Connection::open(address).await;
            connection.send(format!("GET {path} HT")).await;
            connection.finish_sending().await;
            check(&connection.answer().await, 400, 3);
            // A chunk that is none.
            let head =
                format!("POST {path} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nnone\r\n");
            check(&send_raw(address, head).await, 400, 3);
        }
        // Elsewhere it is the listener's own form.
        assert_oauth(
            &send_raw(address, format!("GET /x?{long} HTTP/1.1\r\n{host}\r\n")).await,
            431,
        );
        assert_oauth(
            &send_raw(address, "GET /x y HTTP/1.1\r\nHost: a\r\n\r\n").await,
            400,
        );
        assert_oauth(
            &send_raw(address, "GET /%2e%2e%2fx HTTP/1.1\r\nHost: a\r\n\r\n").await,
            400,
        );
    }
    // On a connection with several requests, each error has the form of its own path.
    let mut connection = Connection::open(world.sidecar.address("issuer")).await;
    connection
        .send(format!("GET {BASE}/x HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    assert_status(&connection.answer().await, 404, 5);
    connection
        .send("GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")
        .await;
    assert_oauth(&connection.answer().await, 400);
}

/// On an inbound listener that answers for the issuer, a refusal below the issuer's path too.
#[tokio::test(flavor = "multi_thread")]
async fn an_inbound_listeners_refusals_below_the_issuers_path_are_errors_that_plgds_clients_read() {
    let world = world("limits: { requestsPerSecond: 1, burst: 1, per: listener },").await;
    let address = world.sidecar.address("api");
    let unknown = get(address, &format!("{BASE}/unknown"), &[]).await;
    assert_status(&unknown, 401, 16);
    assert_eq!(unknown.header("x-m2m-reason"), Some("no_token"));
    assert!(unknown.header("www-authenticate").is_some());
    let junk = [("Authorization", "Bearer junk")];
    assert_status(
        &get(address, &format!("{BASE}/oauth/unknown"), &junk).await,
        401,
        16,
    );
    assert_both(
        &get(address, &format!("{BASE}/oauth/token"), &junk).await,
        405,
        12,
    );
    assert_status(&request("PATCH", address, TOKENS, &[], b"").await, 405, 12);
    let none = post_form(address, TOKEN, &[("grant_type", "password")], &[]).await;
    assert_both(&none, 400, 3);
    assert_oauth(&get(address, "/elsewhere", &[]).await, 401);
    let token = world.issue("serviceClient", &[]).await;
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str())];
    let target = format!("{BASE}/unknown");
    let mut answer = get(address, &target, &headers).await;
    assert_eq!(answer.status, 200, "the upstream has it");
    let mut tries = 0;
    while answer.status == 200 && tries < 1000 {
        answer = get(address, &target, &headers).await;
        tries += 1;
    }
    let limited = answer;
    assert_status(&limited, 429, 8);
    assert!(limited.header("retry-after").is_some());
}
