//! Access lines: who answered, what was decided, and what a refusal is about.

use serde_json::json;
use uuid::Uuid;

use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, get, request, send_raw};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Answer, Upstream};
use crate::support::{AUDIENCE, logs};

const ADMIN_TOKEN: &str = "an-admin-token-of-the-access-lines";
const SECRET: &str = "a-client-secret-of-the-access-lines";

struct World {
    authority: Authority,
    upstream: Upstream,
    sidecar: Sidecar,
}

/// Every kind of listener.
async fn world(inbound: &str) -> World {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.register_client("legacy", SECRET);
    let yaml = format!(
        r#"
stateDir: "@DIR@"
store: {{ url: "sqlite::memory:" }}
probes: {{ listen: 127.0.0.1:0 }}
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
localApi: {{ listen: 127.0.0.1:0 }}
issuer: {{ url: "http://issuer.test", listen: 127.0.0.1:0 }}
authorities: {{ users: {{ issuer: "{0}" }} }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    issuer: true
    upstream: "{1}"
    authorities: [users]
    audiences: [{AUDIENCE}]
    rules: [{{ paths: ["/public/**"], access: public }},
      {{ paths: ["/admin/**"], scopes: [admin] }}, {{ paths: ["/**"] }}]
{inbound}
  - {{ name: gone, listen: 127.0.0.1:0, upstream: "http://127.0.0.1:1", authorities: [users],
      audiences: any, rules: [{{ paths: ["/**"], access: public }}] }}
credentials:
  hub: {{ authority: "{0}", clientID: legacy, clientSecretFile: "@DIR@/secret", localApi: true }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "{1}", credential: hub }}
"#,
        authority.issuer(),
        upstream.url()
    );
    let builder = Sidecar::builder().secret_file("admin", "admin", ADMIN_TOKEN);
    let sidecar = builder
        .secret_file("secret", "legacy", SECRET)
        .start(&yaml)
        .await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    World {
        authority,
        upstream,
        sidecar,
    }
}

impl World {
    /// The answer to a request, and its access line.
    async fn sent(
        &self,
        listener: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> (RawAnswer, String) {
        let (mark, id) = (logs::mark(), Uuid::new_v4().to_string());
        let headers = [headers, &[("X-Request-Id", &id)]].concat();
        let answer = request(
            method,
            self.sidecar.address(listener),
            target,
            &headers,
            b"",
        )
        .await;
        let line = logs::wait_for_line(mark, &[" access: ", &format!("request_id=\"{id}\"")]).await;
        (answer, line)
    }

    /// The access line of a request with this bearer token.
    async fn line_of(&self, target: &str, token: &str) -> String {
        let bearer = format!("Bearer {token}");
        self.sent("api", "GET", target, &[("Authorization", &bearer)])
            .await
            .1
    }
}

fn assert_has(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_endpoints_have_roles_of_their_own_and_are_answered_not_allowed() {
    let world = world("").await;
    for (listener, target, role, status) in [
        ("issuer", "/oauth/token", "issuer", 405),
        ("issuer", "/.well-known/jwks.json", "issuer", 200),
        ("issuer", "/nowhere", "issuer", 404),
        ("api", "/.well-known/jwks.json", "issuer", 200),
        ("api", "/oauth/token", "issuer", 405),
        ("admin", "/clients", "admin", 401),
        ("localApi", "/token/hub", "localApi", 403),
        ("probes", "/nowhere", "probes", 404),
    ] {
        let (answer, line) = world.sent(listener, "GET", target, &[]).await;
        assert_eq!(
            answer.status,
            status,
            "{listener} {target} {}",
            answer.text()
        );
        assert_has(
            &line,
            &[
                &format!("role=\"{role}\" listener=\"{listener}\""),
                &format!("status={status} decision=\"answered\" reason=\"local\""),
            ],
        );
    }
    let (_, line) = world.sent("api", "GET", "/public/1", &[]).await;
    assert_has(
        &line,
        &["role=\"inbound\" listener=\"api\"", "decision=\"allow\""],
    );
    let metrics = get(world.sidecar.address("probes"), "/metrics", &[])
        .await
        .text();
    assert_has(
        &metrics,
        &[
            "m2m_request_duration_seconds_count{role=\"issuer\",listener=\"api\"} 2",
            "m2m_request_duration_seconds_count{role=\"issuer\",listener=\"issuer\"} 3",
            "m2m_request_duration_seconds_count{role=\"inbound\",listener=\"api\"} 1",
            "m2m_request_duration_seconds_count{role=\"admin\",listener=\"admin\"} 1",
        ],
    );
    assert!(!metrics.contains("reason=\"local\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_request_that_was_not_refused_is_an_error() {
    let world = world("    upstreamTimeouts: { read: 200ms }").await;
    let (answer, line) = world.sent("gone", "GET", "/x", &[]).await;
    assert_eq!(answer.status, 502);
    assert_has(
        &line,
        &["status=502 decision=\"error\" reason=\"upstream_unreachable\""],
    );
    world.upstream.next(Answer::Hang);
    let (answer, line) = world.sent("api", "GET", "/public/slow", &[]).await;
    assert_eq!(answer.status, 504);
    assert_has(
        &line,
        &["status=504 decision=\"error\" reason=\"upstream_timeout\""],
    );
    let (answer, line) = world.sent("api", "GET", "/private", &[]).await;
    assert_eq!(answer.status, 401);
    assert_has(&line, &["status=401 decision=\"deny\" reason=\"no_token\""]);
    let metrics = get(world.sidecar.address("probes"), "/metrics", &[])
        .await
        .text();
    assert_has(
        &metrics,
        &[
            "m2m_inbound_requests_total{listener=\"gone\",decision=\"error\",reason=\"upstream_unreachable\"} 1",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_named_by_what_it_claims_escaped_and_cut() {
    let world = world("").await;
    let token = || world.authority.token();
    let line = world
        .line_of(
            "/x",
            &token()
                .claim("iss", "https://other.example/\u{1b}[31m")
                .sign(),
        )
        .await;
    assert_has(
        &line,
        &[
            "reason=\"unknown_issuer\"",
            "iss=\"https://other.example/\\\\u{1b}[31m\" jti=",
        ],
    );
    assert!(!line.contains("aud="), "{line}");
    let line = world
        .line_of("/x", &token().claim("iss", "i".repeat(3000)).sign())
        .await;
    assert_has(&line, &[&format!("iss=\"{}…\"", "i".repeat(128))]);
    let other = token()
        .claim("aud", json!(["https://a.example", "b\"\n"]))
        .claim("jti", "id-1");
    let line = world.line_of("/x", &other.sign()).await;
    assert_has(
        &line,
        &[
            "reason=\"audience\"",
            "aud=\"https://a.example b\\\"",
            "jti=\"id-1\"",
        ],
    );
    assert!(!line.contains('\n'));
    let line = world.line_of("/x", &token().without("aud").sign()).await;
    assert_has(&line, &["reason=\"audience\"", "aud=\"\""]);
    let line = world
        .line_of("/x", &token().expires_in(-3600).claim("jti", "id-2").sign())
        .await;
    assert_has(
        &line,
        &[
            "reason=\"expired\"",
            &format!("iss=\"{}\"", world.authority.issuer()),
            "jti=\"id-2\"",
        ],
    );
    // A token that is good in itself was verified: client and id are known.
    let line = world
        .line_of("/admin/x", &token().claim("jti", "id-3").sign())
        .await;
    assert_has(
        &line,
        &["reason=\"scope\"", "client_id=\"tester\" jti=\"id-3\""],
    );
    assert!(!line.contains("iss="), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_a_token_that_would_be_refused_is_named_too() {
    let world = world("    mode: shadow").await;
    let line = world
        .line_of(
            "/x",
            &world
                .authority
                .token()
                .claim("iss", "https://other.example")
                .sign(),
        )
        .await;
    assert_has(
        &line,
        &["decision=\"shadow\" reason=\"unknown_issuer\" iss=\"https://other.example\""],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_request_names_its_token() {
    let world = world("").await;
    let token = world.authority.token().claim("jti", "0d9f\u{7}").sign();
    // The second time the token is remembered.
    for _ in 0..2 {
        let line = world.line_of("/x", &token).await;
        assert_has(
            &line,
            &[
                "decision=\"allow\"",
                "client_id=\"tester\" jti=\"0d9f\\\\u{7}\"",
            ],
        );
    }
    let line = world
        .line_of(
            "/x",
            &world.authority.token().claim("jti", "j".repeat(500)).sign(),
        )
        .await;
    assert_has(&line, &[&format!("jti=\"{}…\"", "j".repeat(128))]);
    let line = world
        .line_of("/x", &world.authority.token().without("jti").sign())
        .await;
    assert!(
        line.contains("decision=\"allow\"") && !line.contains("jti="),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_host_is_named() {
    let world = world("").await;
    let (answer, line) = world
        .sent("hub", "GET", "/x", &[("Host", "rebound.example:9000")])
        .await;
    assert_eq!(answer.status, 403);
    assert_has(
        &line,
        &["decision=\"deny\" reason=\"host\" host=\"rebound.example:9000\""],
    );
    let absolute = "http://other.example/x";
    let (_, line) = world
        .sent("hub", "GET", absolute, &[("Host", "other.example")])
        .await;
    assert_has(&line, &["reason=\"host\" host=\"other.example\""]);
    let (answer, line) = world
        .sent("admin", "GET", "/clients", &[("Host", "rebound.example")])
        .await;
    assert_eq!(answer.status, 421);
    assert_has(
        &line,
        &["role=\"admin\"", "status=421", "host=\"rebound.example\""],
    );
    let page = [("Host", "localhost"), ("Origin", "http://evil.example")];
    let (_, line) = world.sent("hub", "GET", "/x", &page).await;
    assert_has(
        &line,
        &["reason=\"cross_site\" host=\"localhost\" origin=\"http://evil.example\""],
    );
    let (_, line) = world
        .sent("hub", "GET", "/x", &[("Host", "localhost")])
        .await;
    assert!(!line.contains("host="), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_is_refused_has_its_method_and_status() {
    let world = world("").await;
    for listener in ["hub", "api", "issuer"] {
        let mark = logs::mark();
        let connect = "CONNECT hub.example:443 HTTP/1.1\r\nHost: hub.example:443\r\n\r\n";
        assert_eq!(
            send_raw(world.sidecar.address(listener), connect)
                .await
                .status,
            405
        );
        let line = logs::wait_for_line(
            mark,
            &[" access: ", &format!("listener=\"{listener}\""), "tunnel"],
        )
        .await;
        assert_has(
            &line,
            &[
                "method=\"CONNECT\"",
                "status=405 decision=\"deny\" reason=\"tunnel\"",
            ],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_taken_over_or_made_and_sent_on() {
    let world = world("").await;
    for (listener, target) in [("api", "/public/1"), ("hub", "/1")] {
        let (answer, line) = world.sent(listener, "GET", target, &[]).await;
        assert_eq!(answer.status, 200);
        let seen = world.upstream.received().pop().expect("it was sent on");
        assert_has(
            &line,
            &[&format!(
                "request_id=\"{}\"",
                seen.header("x-request-id").expect("an id")
            )],
        );

        let too_long = "x".repeat(129);
        for bad in [
            &[][..],
            &["a b"],
            &["\"quoted\""],
            &["one", "two"],
            &[&too_long],
        ] {
            let mark = logs::mark();
            let mut headers: Vec<_> = bad.iter().map(|id| ("X-Request-Id", *id)).collect();
            headers.push(("X_Request_Id", "an-imitation"));
            let answer = get(world.sidecar.address(listener), target, &headers).await;
            assert_eq!(answer.status, 200);
            let seen = world.upstream.received().pop().expect("it was sent on");
            let made = seen.header("x-request-id").expect("one id").to_owned();
            assert!(
                made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{made}"
            );
            logs::wait_for_line(mark, &[" access: ", &format!("request_id=\"{made}\"")]).await;
            if listener == "api" {
                assert_eq!(seen.header("x_request_id"), None);
            }
        }
    }
}
