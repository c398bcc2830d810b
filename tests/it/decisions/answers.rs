//! The form of the answer: identity headers, refusals, methods and bodies of the question.

use super::{FORMS, Original, World, is, outcome, question_bytes};
use crate::support::client::Connection;
use crate::support::http2::{RawClient, WHOLE, headers};

const NAMES: [&str; 3] = ["x-m2m-subject", "x-m2m-client-id", "x-m2m-scope"];
const TO_REMOVE: &str = "x-envoy-auth-headers-to-remove";

#[tokio::test(flavor = "multi_thread")]
async fn every_identity_header_is_present_empty_or_removed() {
    for form in FORMS {
        let world = World::new(form, "").await;
        let answer = world
            .ask(form, Original::get("/any"), Some(&world.bearer("a b")))
            .await;
        assert_eq!(answer.header("x-m2m-subject"), Some("device-7"), "{form}");
        assert_eq!(answer.header("x-m2m-client-id"), Some("tester"), "{form}");
        assert_eq!(answer.header("x-m2m-scope"), Some("a b"), "{form}");
        assert_eq!(answer.header(TO_REMOVE), None, "{form}");
        assert_eq!(answer.header("content-length"), Some("0"), "{form}");
        let bearer = format!(
            "Bearer {}",
            world.authority.token().without("client_id").sign()
        );
        let partly = world.ask(form, Original::get("/any"), Some(&bearer)).await;
        let public = world.ask(form, Original::get("/public/a"), None).await;
        if form == "request" {
            assert_eq!(partly.header(TO_REMOVE), Some("x-m2m-client-id"));
            assert_eq!(partly.header("x-m2m-subject"), Some("tester"));
            let removed = public.header(TO_REMOVE).unwrap_or_default();
            let mut removed: Vec<_> = removed.split(',').collect();
            removed.sort_unstable();
            assert_eq!(removed, ["x-m2m-client-id", "x-m2m-scope", "x-m2m-subject"]);
            assert!(NAMES.iter().all(|name| public.header(name).is_none()));
        } else {
            assert_eq!(partly.header("x-m2m-client-id"), Some(""), "{form}");
            for name in NAMES {
                assert_eq!(public.header(name), Some(""), "{form} {name}");
            }
            assert_eq!(public.header(TO_REMOVE), None, "{form}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_has_the_form_that_is_configured() {
    for (format, member) in [("oauth", "error"), ("problem", "title"), ("status", "code")] {
        let world = World::new("forwarded", &format!("    errorFormat: {format}")).await;
        let answer = world.ask("forwarded", Original::get("/any"), None).await;
        assert_eq!(outcome(&answer), is(401, "no_token"));
        assert!(
            !answer.json()[member].is_null(),
            "{format}: {}",
            answer.text()
        );
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, Some("Bearer realm=\"forwarded\""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_of_a_question_is_ignored() {
    let world = World::new("original", "").await;
    let address = world.address("original");
    let mut connection = Connection::open(address).await;
    for method in ["POST", "GET", "PUT"] {
        let bytes = question_bytes(method, address, Original::get("/public/a"), b"a=b&c=d");
        connection.send(bytes).await;
        assert_eq!(connection.answer().await.status, 200, "{method}");
    }
    let bytes = question_bytes("HEAD", address, Original::get("/any"), b"");
    connection.send(bytes).await;
    let answer = connection.try_answer("HEAD").await.expect("an answer");
    assert_eq!((answer.status, answer.body.len()), (401, 0));
    // A body that never comes does not delay the answer.
    let large = Original {
        headers: &[("Content-Length", "1000000")],
        ..Original::get("/public/a")
    };
    connection
        .send(question_bytes("POST", address, large, b""))
        .await;
    let answer = connection.answer().await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
}

/// A refusal in trailers has status 200, which a proxy reads as a permit.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_grpc_call_has_an_http_status() {
    let world = World::new("forwarded", "").await;
    let mut client = RawClient::open(world.address("forwarded")).await;
    let bearer = world.bearer("a");
    let bearer = ("authorization", bearer.as_str());
    for (number, (path, uri, more, status)) in [
        ("/", "/a.Service/Call", &[bearer][..], 200),
        ("/", "/a.Service/Call", &[], 401),
        (
            "/",
            "/a.Service/Call",
            &[("authorization", "Bearer x")],
            401,
        ),
        ("/", "/none.Service/Call", &[bearer], 403),
        ("/", "/../a.Service/Call", &[bearer], 400),
        ("/", "/a.Service/Call#b", &[bearer], 400),
        ("/", "", &[bearer], 400),
        ("/other", "/a.Service/Call", &[bearer], 400),
        // Refused before the listener sees a request.
        ("/", "/a.Service/Call", &[("host", "other")], 400),
        ("/", "/a.Service/Call", &[("expect", "x")], 417),
    ]
    .into_iter()
    .enumerate()
    {
        let own = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "127.0.0.1"),
            (":path", path),
            ("content-type", "application/grpc"),
            ("x-forwarded-method", "POST"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "api.example"),
            ("x-forwarded-uri", uri),
        ];
        let stream = 2 * u32::try_from(number).unwrap() + 1;
        client
            .send(headers(WHOLE, stream, &[&own[..], more].concat()))
            .await;
        let response = client.response(stream).await;
        assert_eq!(response.status, status, "{path} {uri} {more:?}");
        assert_eq!(
            response.header("grpc-status"),
            None,
            "{path} {uri} {more:?}"
        );
        let reason = response.header("x-m2m-reason");
        assert_eq!(reason.is_some(), status != 200, "{path} {uri} {more:?}");
    }
}

/// The parser of HTTP/2 cuts off a fragment.
#[tokio::test(flavor = "multi_thread")]
async fn the_target_of_a_question_in_http_2_is_no_original_target() {
    let world = World::new("request", "").await;
    let mut client = RawClient::open(world.address("request")).await;
    for (stream, path) in [(1, "/ask/public/a"), (3, "/ask/public/a#/../../devices/7")] {
        client.send(crate::support::http2::get(stream, path)).await;
        let response = client.response(stream).await;
        assert_eq!(response.status, 400, "{path}");
        assert_eq!(response.header("x-m2m-reason"), Some("original_request"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_of_a_websocket_decide() {
    let headers = [
        ("Connection", "upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
    ];
    for form in FORMS {
        let world = World::new(form, "").await;
        let original = Original {
            headers: &headers,
            ..Original::get("/any")
        };
        let bearer = world.bearer("a");
        let answer = world.ask(form, original, Some(&bearer)).await;
        assert_eq!(outcome(&answer), is(200, "-"), "{form}");
        let answer = world.ask(form, original, None).await;
        assert_eq!(outcome(&answer), is(401, "no_token"), "{form}");
    }
}
