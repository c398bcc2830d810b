//! Attacks on decision endpoints that were real elsewhere.

use super::{FORMS, Original, World, is, outcome};
use crate::support::client::request;
use crate::support::http2::websocket::Socket;

/// Fields that make some endpoints decide about another request, or about none.
const TEMPTING: [(&str, &str); 16] = [
    ("User-Agent", "GoogleHC/1.0"),
    ("User-Agent", "kube-probe/1.29"),
    ("X-Forwarded-Uri", "/public/a"),
    ("X-Forwarded-Method", "OPTIONS"),
    ("X-Forwarded-Prefix", "/public"),
    ("X_Forwarded_Uri", "/public/a"),
    ("X-Original-URL", "https://api.example/public/a"),
    ("X-Original-URI", "/public/a"),
    ("X-Original-Method", "OPTIONS"),
    ("X_Original_URL", "https://api.example/public/a"),
    ("X-Rewrite-URL", "/public/a"),
    ("X-HTTP-Method-Override", "OPTIONS"),
    ("X-Auth-Request-Redirect", "/public/a"),
    ("X-Envoy-Original-Path", "/public/a"),
    ("X-M2M-Subject", "admin"),
    ("X-M2M-Reason", "permitted"),
];

/// The header fields that a form reads; the proxy replaces those of a client.
fn is_read(form: &str, name: &str) -> bool {
    match form {
        "forwarded" => matches!(name, "X-Forwarded-Uri" | "X-Forwarded-Method"),
        "original" => matches!(name, "X-Original-URL" | "X-Original-Method"),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_of_the_client_chooses_another_request() {
    for form in FORMS {
        let world = World::new(form, "").await;
        for field in TEMPTING {
            let headers = [field];
            let original = Original {
                headers: &headers,
                ..Original::get("/devices/7")
            };
            let is_second = is_read(form, field.0);
            // The service could read `X_Original_URL` as `X-Original-URL`.
            let expected = if is_second || field.0 == "X_Original_URL" {
                is(400, "original_request")
            } else {
                is(401, "no_token")
            };
            let answer = world.ask(form, original, None).await;
            assert_eq!(outcome(&answer), expected, "{form} {field:?}");
            let refused = answer.header("x-m2m-subject");
            assert_eq!(refused, None, "{form} {field:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_header_in_another_spelling_is_refused() {
    for form in FORMS {
        let world = World::new(form, "").await;
        let bearer = world.bearer("a");
        for (name, expected) in [
            ("X_M2M_Subject", is(400, "original_request")),
            ("x-m2m_scope", is(400, "original_request")),
            ("X.M2M.Issuer", is(400, "original_request")),
            ("Grpc-Metadata-X-M2M-Subject", is(400, "original_request")),
            // grpc-gateway makes a second token of it, which no check has seen.
            ("Grpc-Metadata-Authorization", is(400, "original_request")),
            ("X_HTTP_Method_Override", is(400, "original_request")),
            // The proxy replaces this one.
            ("X-M2M-Subject", is(200, "-")),
            ("X_Request_Id", is(200, "-")),
            ("X_Own", is(200, "-")),
        ] {
            let headers = [(name, "admin")];
            let original = Original {
                headers: &headers,
                ..Original::get("/any")
            };
            let answer = world.ask(form, original, Some(&bearer)).await;
            assert_eq!(outcome(&answer), expected, "{form} {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_without_the_form_of_the_listener_is_refused() {
    for asked in FORMS {
        for form in FORMS.into_iter().filter(|form| *form != asked) {
            let world = World::new(form, "").await;
            let (method, target, headers) =
                super::question(asked, "", Original::get("/public/a"), None);
            let headers: Vec<_> = (headers.iter())
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let answer = request(&method, world.address(form), &target, &headers, b"").await;
            let expected = is(400, "original_request");
            assert_eq!(outcome(&answer), expected, "{asked} to {form}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_servers_read_differently_is_refused() {
    for form in FORMS {
        let world = World::new(form, "").await;
        let bearer = world.bearer("devices:read");
        for uri in [
            "/public/..%2fdevices/7",
            "/public/%2e%2e/devices/7",
            "/public/../devices/7",
            "/devices/../public/a",
            "/devices/./7",
            "/public//a",
            "//devices/7",
            "/public/..",
            "/public/.",
            "/public\\..\\devices",
            "/public/%5c..%5cdevices",
            "/public/%252e%252e/devices",
            "/public;/../devices/7",
            "/public/a;x=1",
            "/public/%00",
            "/public/%ff",
            "/public/%zz",
            "/PUBLIC/../devices/7",
        ] {
            let answer = world.ask(form, Original::get(uri), Some(&bearer)).await;
            let expected = is(400, "ambiguous_path");
            assert_eq!(outcome(&answer), expected, "{form} {uri}");
        }
        for (uri, expected) in [
            ("/public/a/", 200),
            ("/public/%41?x=//../y", 200),
            ("/PUBLIC/a", 401),
            ("/Devices/7", 401),
        ] {
            let answer = world.ask(form, Original::get(uri), None).await;
            assert_eq!(answer.status, expected, "{form} {uri}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_is_refused() {
    for form in FORMS {
        let world = World::new(form, "").await;
        for uri in [
            "/public/a#/../../devices",
            "/devices/7#/public",
            "/public/a?x#y",
        ] {
            let outcome = world.get(form, uri, None).await;
            assert_eq!(outcome, is(400, "ambiguous_path"), "{form} {uri}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_method_is_the_original_one() {
    for form in ["forwarded", "original"] {
        let world = World::new(form, "").await;
        let bearer = world.bearer("devices:read");
        for (method, expected) in [
            ("PUT", is(403, "scope")),
            ("OPTIONS", is(403, "no_rule")),
            ("GET, PUT", is(400, "original_request")),
            ("get", is(400, "original_request")),
            ("", is(400, "original_request")),
            ("CONNECT", is(405, "method")),
            ("TRACE", is(405, "method")),
        ] {
            let original = Original {
                method,
                ..Original::get("/devices/7")
            };
            let answer = world.ask(form, original, Some(&bearer)).await;
            assert_eq!(outcome(&answer), expected, "{form} {method}");
        }
        // The method of the question has no meaning.
        let (_, target, headers) = super::question(form, "", Original::get("/devices/7"), None);
        let headers: Vec<_> = (headers.iter())
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        for method in ["OPTIONS", "POST", "HEAD", "DELETE"] {
            let answer = request(method, world.address(form), &target, &headers, b"").await;
            assert_eq!(outcome(&answer), is(401, "no_token"), "{form} {method}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_passes_only_if_the_configuration_says_so() {
    let headers = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "PUT"),
    ];
    let original = Original {
        method: "OPTIONS",
        headers: &headers,
        ..Original::get("/devices/7")
    };
    for form in FORMS {
        let world = World::new(form, "").await;
        let answer = world.ask(form, original, None).await;
        assert_eq!(outcome(&answer), is(401, "no_token"), "{form}");
        let world = World::new(form, "    corsPreflight: pass").await;
        assert_eq!(world.ask(form, original, None).await.status, 200, "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_need_a_proof_are_refused() {
    for form in FORMS {
        let world = World::new(form, "").await;
        let thumbprint = "0123456789abcdef0123456789abcdef0123456789a";
        for member in ["x5t#S256", "jkt", "other"] {
            let token = world.authority.token();
            let token = token.claim("cnf", serde_json::json!({ member: thumbprint }));
            let bearer = format!("Bearer {}", token.sign());
            let (status, reason) = world.get(form, "/any", Some(&bearer)).await;
            assert_eq!(status, 401, "{form} {member}: {reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_permit_opens_a_websocket() {
    let world = World::new("original", "").await;
    let asked = [
        ("x-original-method", "GET"),
        ("x-original-url", "https://api.example/public/a"),
    ];
    // Neither does another endpoint of the sidecar.
    for (listener, path) in [("original", "/"), ("probes", "/livez")] {
        let mut client = Socket::ask(world.address(listener), path, &asked).await;
        let response = client.refused().await;
        let found = (response.status, response.header("x-m2m-reason"));
        assert_eq!(found, (400, Some("websocket")), "{listener}");
    }
}
