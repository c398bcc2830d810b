//! Inbound: what passes, what is refused and how, and what the upstream sees.

use serde_json::json;

use crate::support::authority::Authority;
use crate::support::client::{Connection, RawAnswer, get, request, request_bytes};
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::Sidecar;
use crate::support::tokens::TokenBuilder;
use crate::support::upstream::{Answer, Upstream};
use crate::support::{AUDIENCE, now, until};

struct World {
    authority: Authority,
    upstream: Upstream,
    sidecar: Sidecar,
}

async fn world(listener: &str) -> World {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let yaml = format!(
        r#"
authorities: {{ users: {{ issuer: "{}" }} }}
stateDir: "@DIR@"
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{}"
    authorities: [users]
    audiences: [{AUDIENCE}]
    rules:
      - {{ paths: [/healthz], methods: [GET], access: public }}
      - {{ paths: ["/devices/**"], methods: [GET], scopes: ["devices:read"] }}
      - {{ paths: ["/devices/**"], methods: [POST, PUT], scopes: ["devices:write", "devices:read"] }}
      - {{ paths: [/any] }}
{listener}
"#,
        authority.issuer(),
        upstream.url()
    );
    let sidecar = Sidecar::start(&yaml).await;
    authority
        .wait_for_fetches(crate::support::authority::Endpoint::Jwks, 1)
        .await;
    World {
        authority,
        upstream,
        sidecar,
    }
}

impl World {
    async fn send(&self, method: &str, target: &str, token: &str) -> RawAnswer {
        let bearer = format!("Bearer {token}");
        request(
            method,
            self.sidecar.address("api"),
            target,
            &[("Authorization", &bearer)],
            b"",
        )
        .await
    }

    async fn outcome_of(&self, token: TokenBuilder) -> (u16, String) {
        let answer = self.send("GET", "/any", &token.sign()).await;
        (
            answer.status,
            answer.header("x-m2m-reason").unwrap_or("-").to_owned(),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_token_passes_and_carries_its_identity() {
    let world = world("").await;
    let token = world.authority.token().claim("sub", "device-7").sign();
    let answer = world.send("GET", "/devices/7?x=1", &token).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = &world.upstream.received()[0];
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("GET", "/devices/7?x=1")
    );
    assert_eq!(seen.header("x-m2m-subject"), Some("device-7"));
    assert_eq!(seen.header("x-m2m-client-id"), Some("tester"));
    assert_eq!(seen.header("x-m2m-scope"), Some("devices:read"));
    assert_eq!(seen.bearer(), Some(token.as_str()));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(
        seen.header("host"),
        Some(world.sidecar.address("api").to_string().as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_there_is_a_challenge_without_an_error_code() {
    let world = world("").await;
    for headers in [&[][..], &[("Authorization", "Basic YTpi")]] {
        let answer = get(world.sidecar.address("api"), "/any", headers).await;
        assert_eq!(answer.status, 401);
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer realm=\"api\"")
        );
        assert_eq!(answer.header("x-m2m-reason"), Some("no_token"));
        assert_eq!(answer.json()["error"], "unauthorized");
    }
    // A path that no rule names looks the same to who has no token.
    assert_eq!(
        get(world.sidecar.address("api"), "/nowhere", &[])
            .await
            .status,
        401
    );
    assert!(world.upstream.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_token_is_refused_for_its_own_reason() {
    let world = world("").await;
    let token = || world.authority.token();
    let unknown_key = TestKey::generate("unknown", Alg::ES256);
    let known_kid = world.authority.jwks()["keys"][0]["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut impostor = TestKey::generate("x", Alg::ES256);
    impostor.kid = known_kid;
    let published = world.authority.jwks()["keys"][0].clone();
    let cases = [
        (token().claim("exp", now() - 61), "expired"),
        (token().claim("exp", 0), "expired"),
        (token().claim("exp", -5), "expired"),
        (token().without("exp"), "no_expiry"),
        (
            token().claim("exp", (now() + 60).to_string()),
            "malformed_claims",
        ),
        (token().claim("exp", json!(1e300)), "malformed_claims"),
        (token().claim("exp", json!(null)), "malformed_claims"),
        (
            token().claim("exp", json!([now() + 60])),
            "malformed_claims",
        ),
        (token().claim("nbf", now() + 120), "not_yet_valid"),
        (token().claim("nbf", "soon"), "malformed_claims"),
        (token().claim("iat", now() + 120), "issued_in_future"),
        (token().claim("iat", json!({})), "malformed_claims"),
        (
            token().claim("iss", "https://elsewhere.example"),
            "unknown_issuer",
        ),
        (
            token().claim("iss", json!([world.authority.issuer()])),
            "unknown_issuer",
        ),
        (token().without("iss"), "unknown_issuer"),
        (token().claim("aud", "https://other.example"), "audience"),
        (token().claim("aud", format!("{AUDIENCE}/")), "audience"),
        (token().claim("aud", format!("{AUDIENCE} x")), "audience"),
        (token().without("aud"), "audience"),
        (token().claim("aud", json!([])), "audience"),
        (
            token().claim("aud", json!({ "a": AUDIENCE })),
            "malformed_claims",
        ),
        (
            token().claim("aud", json!([AUDIENCE, 1])),
            "malformed_claims",
        ),
        (token().claim("sub", 7), "malformed_claims"),
        (token().claim("client_id", json!(["a"])), "malformed_claims"),
        (token().claim("scope", 1), "malformed_claims"),
        (
            token().claim("cnf", json!({ "jkt": "x" })),
            "sender_constrained",
        ),
        (token().header("typ", "id+jwt"), "token_type"),
        (token().header("typ", "dpop+jwt"), "token_type"),
        (token().header("typ", 1), "token_type"),
        (token().header("crit", json!(["exp"])), "critical_header"),
        (token().header("crit", json!([])), "critical_header"),
        (token().header("b64", false), "critical_header"),
        (token().unsigned(), "malformed_token"),
        (token().hmac(b"secret"), "algorithm"),
        // The public key in the forms that a mistaken verifier would use as a shared secret.
        (token().hmac(published.to_string().as_bytes()), "algorithm"),
        (
            token().hmac(published["x"].as_str().unwrap_or_default().as_bytes()),
            "algorithm",
        ),
        (token().signed_by(&impostor), "signature"),
        (
            token().header("kid", "unheard-of").signed_by(&unknown_key),
            "unknown_kid",
        ),
    ];
    for (number, (bad, reason)) in cases.into_iter().enumerate() {
        assert_eq!(
            world.outcome_of(bad).await,
            (401, reason.to_owned()),
            "case {number}"
        );
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_valid_tokens_are_accepted() {
    let world = world("").await;
    let token = || world.authority.token();
    for (number, good) in [
        token().without_header("typ"),
        token().header("typ", "JWT"),
        token().header("typ", "application/AT+JWT"),
        token().claim("aud", AUDIENCE),
        token().claim("aud", json!(["https://other.example", AUDIENCE])),
        token().claim("exp", now() - 30),
        token().claim("nbf", now() + 30),
        token().claim("iat", now() + 30),
        token().claim("exp", json!(now() as f64 + 30.5)),
        token().without_header("kid"),
        token().without("sub").without("iat"),
        token()
            .header("jku", "https://evil.example/jwks")
            .header("jwk", json!({ "kty": "oct", "k": "AA" })),
        token()
            .header("x5u", "https://evil.example/cert")
            .header("x5c", json!(["AA"])),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(world.outcome_of(good).await.0, 200, "case {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_is_verified() {
    let world = world("").await;
    for alg in Alg::ALL {
        world.authority.add_key(&format!("key-{}", alg.name()), alg);
    }
    // One unknown kid fetches all of them: no two fetches within the cool-down.
    let first = world.authority.token().kid("key-EdDSA").sign();
    while world.send("GET", "/any", &first).await.status != 200 {
        tokio::task::yield_now().await;
    }
    for alg in Alg::ALL {
        let token = world
            .authority
            .token()
            .kid(&format!("key-{}", alg.name()))
            .sign();
        assert_eq!(
            world.send("GET", "/any", &token).await.status,
            200,
            "{alg:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_scope_is_named_and_a_path_without_rule_is_not() {
    let world = world("").await;
    let token = world.authority.token().sign();
    let answer = world.send("POST", "/devices/7", &token).await;
    assert_eq!(answer.status, 403);
    let challenge = answer.header("www-authenticate").unwrap().to_owned();
    assert!(
        challenge.contains("error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert!(
        challenge.contains("scope=\"devices:write devices:read\""),
        "{challenge}"
    );
    assert_eq!(answer.header("x-m2m-reason"), Some("scope"));

    let answer = world.send("GET", "/nowhere", &token).await;
    assert_eq!(
        (answer.status, answer.header("x-m2m-reason")),
        (403, Some("no_rule"))
    );
    assert_eq!(answer.header("www-authenticate"), None);
    assert_eq!(world.send("DELETE", "/devices/7", &token).await.status, 403);
    assert_eq!(world.send("HEAD", "/devices/7", &token).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_path_needs_no_token_and_carries_no_identity() {
    let world = world("").await;
    let forged = [
        ("x-m2m-subject", "root"),
        ("X_M2M_Client_Id", "root"),
        ("Authorization", "Bearer nonsense"),
    ];
    let answer = get(world.sidecar.address("api"), "/healthz", &forged).await;
    assert_eq!(answer.status, 200);
    let seen = &world.upstream.received()[0];
    assert!(
        seen.headers
            .iter()
            .all(|(name, _)| !name.to_lowercase().replace('_', "-").starts_with("x-m2m")),
        "{:?}",
        seen.headers
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_identity_never_reaches_the_upstream() {
    let world = world("").await;
    let bearer = format!("Bearer {}", world.authority.token().sign());
    let headers = [
        ("Authorization", bearer.as_str()),
        ("x-m2m-subject", "root"),
        ("X-M2M-SUBJECT", "root"),
        ("x_m2m_subject", "root"),
        ("X.M2M.Scope", "admin"),
        ("Connection", "close, x-m2m-subject, x-m2m-scope"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-Host", "evil.example"),
        ("X_Forwarded_For", "10.0.0.1"),
        ("X-Real-IP", "10.0.0.1"),
        ("Forwarded", "for=10.0.0.1"),
    ];
    let answer = get(world.sidecar.address("api"), "/any", &headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = &world.upstream.received()[0];
    assert_eq!(seen.header("x-m2m-subject"), Some("tester"));
    assert_eq!(seen.header("x-m2m-scope"), Some("devices:read"));
    let text = String::from_utf8_lossy(&seen.head).into_owned();
    for forged in ["root", "admin", "10.0.0.1", "evil.example"] {
        assert!(!text.contains(forged), "{forged}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_authorization_headers_or_a_broken_one_are_bad_requests() {
    let world = world("").await;
    let bearer = format!("Bearer {}", world.authority.token().sign());
    for (headers, reason) in [
        (
            vec![
                ("Authorization", bearer.as_str()),
                ("Authorization", bearer.as_str()),
            ],
            "two_authorizations",
        ),
        (
            vec![
                ("Authorization", bearer.as_str()),
                ("authorization", "Basic YTpi"),
            ],
            "two_authorizations",
        ),
        (vec![("Authorization", "Bearer")], "malformed_authorization"),
        (
            vec![("Authorization", "Bearer a b")],
            "malformed_authorization",
        ),
        (
            vec![("Authorization", "Bearer a,b")],
            "malformed_authorization",
        ),
    ] {
        let answer = get(world.sidecar.address("api"), "/any", &headers).await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (400, Some(reason))
        );
        assert_eq!(answer.json()["error"], "invalid_request");
    }
    let huge = format!("Bearer {}", "a".repeat(8 * 1024 + 1));
    let answer = get(
        world.sidecar.address("api"),
        "/any",
        &[("Authorization", &huge)],
    )
    .await;
    assert_eq!(
        (answer.status, answer.header("x-m2m-reason")),
        (401, Some("token_too_large"))
    );
    assert!(world.upstream.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_sees_the_path_that_was_checked() {
    let world = world("").await;
    let token = world.authority.token().sign();
    for (sent, seen) in [
        ("/devices//7/./x/../y", "/devices/7/y"),
        ("/%64evices/%37", "/devices/7"),
        ("/nowhere/../devices/7?q=/../", "/devices/7?q=/../"),
        ("/devices/a%c3%a9%7e", "/devices/a%C3%A9~"),
    ] {
        assert_eq!(world.send("GET", sent, &token).await.status, 200, "{sent}");
        assert_eq!(world.upstream.received().last().unwrap().target, seen);
    }
    let before = world.upstream.received().len();
    for ambiguous in [
        "/devices/%2e%2e/admin",
        "/devices/..%2fadmin",
        "/devices\\..\\admin",
        "/devices/%5c",
        "/devices/a%00",
        "/devices/;x",
        "/devices/%252e%252e/",
        "/devices/%ff",
        "/devices/%zz",
    ] {
        let answer = world.send("GET", ambiguous, &token).await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (400, Some("ambiguous_path")),
            "{ambiguous}"
        );
    }
    assert_eq!(world.upstream.received().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absolute_target_is_forwarded_in_origin_form() {
    let world = world("").await;
    let token = world.authority.token().sign();
    let target = format!("http://{}/any?x=1", world.sidecar.address("api"));
    assert_eq!(world.send("GET", &target, &token).await.status, 200);
    assert_eq!(world.upstream.received()[0].target, "/any?x=1");
    assert_eq!(world.send("OPTIONS", "*", &token).await.status, 400);
    assert_eq!(
        world
            .send("CONNECT", "example.com:443", &token)
            .await
            .status,
        405
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_strips_what_it_is_told_to() {
    let world = world(
        "    authorization: strip\n    preserveHost: false\n    identityHeaders: { x-who: sub }\n",
    )
    .await;
    assert_eq!(
        world
            .send("GET", "/any", &world.authority.token().sign())
            .await
            .status,
        200
    );
    let seen = &world.upstream.received()[0];
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(
        seen.header("host"),
        Some(world.upstream.address().to_string().as_str())
    );
    assert_eq!(seen.header("x-who"), Some("tester"));
    assert_eq!(seen.header("x-m2m-subject"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_cannot_stand_in_a_header_refuses_the_request() {
    let world = world("").await;
    let token = world
        .authority
        .token()
        .claim("sub", "a\r\nx-admin: yes")
        .sign();
    let answer = world.send("GET", "/any", &token).await;
    assert_eq!(
        (answer.status, answer.header("x-m2m-reason")),
        (401, Some("malformed_claims"))
    );
    assert!(world.upstream.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_declared_or_not() {
    let world = world("    maxBody: 1KiB\n").await;
    let bearer = format!("Bearer {}", world.authority.token().sign());
    let body = vec![b'x'; 1025];
    let headers = [("Authorization", bearer.as_str())];
    let address = world.sidecar.address("api");
    let answer = request("POST", address, "/any", &headers, &body).await;
    assert_eq!(
        (answer.status, answer.header("x-m2m-reason")),
        (413, Some("body_too_large"))
    );
    assert!(world.upstream.received().is_empty());

    let mut chunked = b"401\r\n".to_vec();
    chunked.extend_from_slice(&body);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Transfer-Encoding", "chunked"),
    ];
    assert_eq!(
        request("POST", address, "/any", &headers, &chunked)
            .await
            .status,
        413
    );

    let answer = request("POST", address, "/any", &headers[..1], &body[..1024]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(world.upstream.received().last().unwrap().body.len(), 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_request_after_request_also_after_a_refusal() {
    let world = world("").await;
    let address = world.sidecar.address("api");
    let bearer = format!("Bearer {}", world.authority.token().sign());
    let mut connection = Connection::open(address).await;
    for (headers, status) in [
        (vec![("Authorization", bearer.as_str())], 200),
        (vec![], 401),
        (vec![("Authorization", "Bearer a.b.c")], 401),
        (vec![("Authorization", bearer.as_str())], 200),
    ] {
        connection
            .send(request_bytes("GET", address, "/any", &headers, b""))
            .await;
        assert_eq!(connection.answer().await.status, status);
    }
    assert_eq!(world.upstream.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_sidecar_says_why_the_sidecar_refused() {
    let world = world("").await;
    world.upstream.next(Answer::with_headers(
        &[("x-m2m-reason", "expired"), ("x-own", "1")],
        "{}",
    ));
    let answer = world
        .send("GET", "/any", &world.authority.token().sign())
        .await;
    assert_eq!(
        (
            answer.status,
            answer.header("x-m2m-reason"),
            answer.header("x-own")
        ),
        (200, None, Some("1"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_upstream_is_502_and_a_silent_one_504() {
    let world = world("    upstreamTimeouts: { read: 200ms }\n").await;
    let token = world.authority.token().sign();
    world.upstream.next(Answer::Hang);
    let answer = world.send("GET", "/any", &token).await;
    assert_eq!(
        (answer.status, answer.header("x-m2m-reason")),
        (504, Some("upstream_timeout"))
    );
    for broken in [
        Answer::Close,
        Answer::Reset,
        Answer::Raw(b"nonsense\r\n\r\n".to_vec()),
    ] {
        world.upstream.next(broken);
        let answer = world.send("POST", "/any", &token).await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (502, Some("upstream_broken"))
        );
    }
    world.upstream.down().await;
    let answer = world.send("GET", "/any", &token).await;
    assert_eq!(
        (answer.status, answer.header("x-m2m-reason")),
        (502, Some("upstream_unreachable"))
    );
    world.upstream.up();
    assert_eq!(world.send("GET", "/any", &token).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_streams_through_as_it_comes() {
    let world = world("").await;
    let (answer, stream) = Answer::stream();
    world.upstream.next(answer);
    let address = world.sidecar.address("api");
    let bearer = format!("Bearer {}", world.authority.token().sign());
    let mut connection = Connection::open(address).await;
    connection
        .send(request_bytes(
            "GET",
            address,
            "/any",
            &[("Authorization", &bearer)],
            b"",
        ))
        .await;
    world.upstream.wait_for(1).await;
    stream.send("one");
    stream.send("two");
    stream.finish();
    assert_eq!(connection.answer().await.text(), "onetwo");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offered_upgrade_is_ignored_and_the_request_served() {
    let world = world("").await;
    let bearer = format!("Bearer {}", world.authority.token().sign());
    for (connection, upgrade) in [
        ("Upgrade, HTTP2-Settings", "h2c"),
        ("Upgrade", "TLS/1.2"),
        ("keep-alive", "websocket"),
        ("Upgrade", "websockets"),
    ] {
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Connection", connection),
            ("Upgrade", upgrade),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ];
        assert_eq!(
            get(world.sidecar.address("api"), "/any", &headers)
                .await
                .status,
            200,
            "{upgrade}"
        );
        let received = world.upstream.received();
        let seen = received.last().expect("a request");
        assert_eq!(
            (seen.header("upgrade"), seen.header("connection")),
            (None, None)
        );
        assert_eq!(seen.header("http2-settings"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecars_own_headers_are_always_removed_from_requests() {
    for configured in [
        "    identityHeaders: {}\n",
        "    identityHeaders: { x-m2m-subject: sub, x-name: name }\n",
    ] {
        let world = world(configured).await;
        let bearer = format!("Bearer {}", world.authority.token().sign());
        let headers = [
            ("Authorization", bearer.as_str()),
            ("x-m2m-client-id", "admin"),
            ("X_M2M_Scope", "root"),
            ("X-M2M-New", "x"),
        ];
        assert_eq!(
            get(world.sidecar.address("api"), "/any", &headers)
                .await
                .status,
            200
        );
        let head = String::from_utf8_lossy(&world.upstream.received()[0].head).into_owned();
        for forged in ["admin", "root", "M2M-New"] {
            assert!(!head.contains(forged), "{forged}: {head}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_is_not_forwarded() {
    let world = world("").await;
    let answer = world
        .send("TRACE", "/any", &world.authority.token().sign())
        .await;
    assert_eq!(
        (answer.status, answer.header("x-m2m-reason")),
        (405, Some("method"))
    );
    assert!(answer.header("allow").unwrap().contains("GET"));
    assert!(world.upstream.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_sent_a_second_time_is_counted_once() {
    let world = world("    maxBody: 40KiB\n").await;
    let address = world.sidecar.address("api");
    let bearer = format!("Bearer {}", world.authority.token().sign());
    let body = vec![b'x'; 30_000];
    for _ in 0..5 {
        // The upstream closes the connection after its answer without having said so: the next
        // request meets it closed.
        world
            .upstream
            .next(Answer::ReplyAndClose(200, Vec::new(), b"{}".to_vec()));
        let answer = request("PUT", address, "/any", &[("Authorization", &bearer)], &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_kid_is_accepted_after_a_rotation_too() {
    let world = world("").await;
    assert_eq!(
        world
            .send(
                "GET",
                "/any",
                &world.authority.token().without_header("kid").sign()
            )
            .await
            .status,
        200
    );
    world.authority.rotate();
    let token = world.authority.token().without_header("kid").sign();
    until("the new key is fetched", async || {
        let answer = world.send("GET", "/any", &token).await;
        let refused = (401, Some("signature"));
        answer.status == 200 || {
            assert_eq!((answer.status, answer.header("x-m2m-reason")), refused);
            false
        }
    })
    .await;
}
