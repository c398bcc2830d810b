//! Refusals of the front door, and the preflights of the web page.

use serde_json::json;

use super::*;

const PAGE: (&str, &str) = ("Origin", "https://hub.example");

/// The fields by which a browser shows a response to the web page.
fn assert_readable(reply: &Reply) {
    for (name, value) in [
        ("access-control-allow-origin", PAGE.1),
        ("access-control-allow-credentials", "true"),
        ("strict-transport-security", AGE),
    ] {
        assert_eq!(reply.header(name), Some(value), "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_has_the_form_that_the_page_and_the_programs_read() {
    let hub = Hub::start().await;
    let cases = REST.iter().filter(|it| !["public", "any"].contains(&it.2));
    for (method, target, scope, service, _) in cases {
        let before = hub.count(service);
        let other = if *scope == "r:*" { "w:*" } else { "r:*" };
        for (scope, status, code, reason) in
            [(Some(other), 403, 7, "scope"), (None, 401, 16, "no_token")]
        {
            let token = scope.and_then(|scope| token(&hub, scope));
            let reply = hub.rest(method, target, token, &[PAGE]).await;
            let outcome = (reply.status, reply.header("x-m2m-reason"));
            assert_eq!(outcome, (status, Some(reason)), "{method} {target}");
            assert_readable(&reply);
            assert_eq!(reply.header("content-type"), Some("application/json"));
            if *method != "HEAD" {
                let body = reply.json();
                let expected = json!({ "code": code, "message": body["message"], "details": [] });
                assert_eq!(body, expected, "{method} {target}");
            }
        }
        assert_eq!(hub.count(service), before, "{method} {target}");
    }
    // Only reading needs no token.
    let reply = hub.rest("POST", "/", None, &[PAGE]).await;
    assert_eq!(
        (reply.status, reply.header("x-m2m-reason")),
        (401, Some("no_token"))
    );
    assert_readable(&reply);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_of_grpc_gets_its_status_in_trailers_only() {
    let hub = Hub::start().await;
    let cases = GRPC.iter().filter(|it| it.1 != "public");
    for (path, scope, service) in cases {
        let other = if *scope == "r:*" { "w:*" } else { "r:*" };
        let other = (*scope != "any").then_some((Some(other), "7", "scope"));
        for (scope, status, reason) in other.into_iter().chain([(None, "16", "no_token")]) {
            let token = scope.and_then(|scope| token(&hub, scope));
            let reply = hub.grpc(path, token).await;
            let outcome = (
                reply.status,
                reply.header("grpc-status"),
                reply.header("x-m2m-reason"),
            );
            assert_eq!(outcome, (200, Some(status), Some(reason)), "{path}");
            assert_eq!(reply.header("strict-transport-security"), Some(AGE));
        }
        assert_eq!(hub.calls(service), 0, "{path}");
    }
    let reply = hub
        .grpc(
            "/resourceaggregate.pb.ResourceAggregate/GetX",
            token(&hub, "w:*"),
        )
        .await;
    assert_eq!(reply.header("grpc-status"), Some("7"), "{reply:?}");
    assert_eq!(reply.header("x-m2m-reason"), Some("no_rule"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preflights_of_the_page_are_answered_at_the_front_door() {
    let hub = Hub::start().await;
    for (method, target, _, service, _) in REST {
        let before = hub.count(service);
        let fields = [
            PAGE,
            ("Access-Control-Request-Method", method),
            (
                "Access-Control-Request-Headers",
                "authorization,content-type",
            ),
        ];
        let reply = hub.rest("OPTIONS", target, None, &fields).await;
        assert_eq!(reply.status, 204, "{target}");
        assert_readable(&reply);
        assert_eq!(
            reply.header("access-control-allow-methods"),
            Some("GET, DELETE, POST, PUT")
        );
        let allowed = reply.header("access-control-allow-headers").unwrap();
        assert!(allowed.contains("Authorization") && allowed.contains("Correlation-Id"));
        assert_eq!(reply.header("access-control-max-age"), Some("86400"));
        let other = ("Origin", "https://evil.example");
        let reply = hub.rest("OPTIONS", target, None, &[other, fields[1]]).await;
        assert_eq!(reply.status, 403, "{target}");
        assert_eq!(reply.header("access-control-allow-origin"), None);
        assert_eq!(hub.count(service), before, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_of_another_page_and_one_without_a_token_are_refused() {
    let hub = Hub::start().await;
    let token = hub.user().claim("scope", "r:*").sign();
    let cookie = format!("Cookie: token={token}\r\n");
    for (fields, status, reason) in [
        (
            format!("{cookie}Origin: https://evil.example\r\n"),
            403,
            "cross_site",
        ),
        (String::new(), 401, "no_token"),
    ] {
        let reply = hub
            .raw(handshake("/api/v1/ws/events", &fields).as_bytes())
            .await;
        let outcome = (reply.status, reply.header("x-m2m-reason"));
        assert_eq!(outcome, (status, Some(reason)));
    }
    // A cookie is no token for other requests.
    let cookie = format!("token={token}");
    let fields = [("Cookie", cookie.as_str())];
    let reply = hub.rest("GET", "/api/v1/devices", None, &fields).await;
    assert_eq!(reply.status, 401);
    assert_eq!(hub.count("gateway"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_the_port_and_a_service_without_its_certificate_are_told_apart() {
    let hub = Hub::start().await;
    let plain = crate::support::client::get(hub.sidecar.address("hub"), "/", &[]).await;
    assert_eq!(plain.status, 400);
    // The services demand the client certificate of `upstreamTls`.
    assert!(hub.is_refused_without_a_certificate("gateway").await);
}
