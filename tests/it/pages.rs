//! `cors` and `responseHeaders` of an inbound listener.

use crate::support::AUDIENCE;
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, request, send_raw};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Answer, Upstream};

const PAGE: (&str, &str) = ("Origin", "https://app.example");
const OTHER: (&str, &str) = ("Origin", "https://evil.example");
const ASKS: (&str, &str) = ("Access-Control-Request-Method", "PUT");
const CORS: &str = r#"
    cors:
      origins: [https://app.example, "http://localhost:3000"]
      methods: [GET, PUT]
      headers: [Authorization, X-Extra]
      exposeHeaders: [X-M2M-Reason]
      credentials: true
      maxAge: 5m
    responseHeaders:
      Strict-Transport-Security: max-age=31536000
      Server: hidden
"#;

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
issuer: {{ url: "http://issuer.test/auth" }}
store: {{ url: "sqlite::memory:" }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{}"
    issuer: true
    authorities: [users]
    audiences: [{AUDIENCE}]
    rules:
      - {{ paths: ["/open/**"], access: public }}
      - {{ paths: ["/**"] }}
{listener}
"#,
        authority.issuer(),
        upstream.url()
    );
    let sidecar = Sidecar::start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    World {
        authority,
        upstream,
        sidecar,
    }
}

impl World {
    async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> RawAnswer {
        let address = self.sidecar.address("api");
        request(method, address, target, headers, b"").await
    }
}

/// The CORS fields of an answer that a page may read.
fn check_readable(answer: &RawAnswer, origin: &str) {
    let header = |name| answer.header(name);
    assert_eq!(header("access-control-allow-origin"), Some(origin));
    assert_eq!(header("access-control-allow-credentials"), Some("true"));
    assert_eq!(
        header("access-control-expose-headers"),
        Some("X-M2M-Reason")
    );
    assert!(answer.header_all("vary").contains(&"Origin"), "{answer:?}");
}

fn check_unreadable(answer: &RawAnswer) {
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert!(answer.header_all("vary").contains(&"Origin"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_are_answered_without_a_token_and_reach_no_upstream() {
    let world = world(CORS).await;
    for target in ["/devices/1", "/open/x", "/nowhere", "/auth/oauth/token"] {
        let answer = world.send("OPTIONS", target, &[PAGE, ASKS]).await;
        assert_eq!(answer.status, 204, "{target}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://app.example")
        );
        assert_eq!(
            answer.header("access-control-allow-methods"),
            Some("GET, PUT")
        );
        assert_eq!(
            answer.header("access-control-allow-headers"),
            Some("Authorization, X-Extra")
        );
        assert_eq!(answer.header("access-control-max-age"), Some("300"));
        assert_eq!(
            answer.header("strict-transport-security"),
            Some("max-age=31536000")
        );
    }
    let refused = world.send("OPTIONS", "/devices/1", &[OTHER, ASKS]).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("x-m2m-reason"), Some("cross_site"));
    check_unreadable(&refused);
    // Two origins, or no announced method, are no preflight.
    for headers in [&[PAGE, PAGE, ASKS][..], &[PAGE]] {
        let answer = world.send("OPTIONS", "/devices/1", headers).await;
        assert_ne!(answer.status, 204, "{headers:?}");
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_can_read_answers_and_refusals_and_those_of_the_issuer() {
    let world = world(CORS).await;
    let bearer = format!("Bearer {}", world.authority.token().sign());
    let token = ("Authorization", bearer.as_str());
    let own = [
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Credentials", "false"),
        ("Server", "service/1"),
    ];
    world
        .upstream
        .answer(move |_| Answer::with_headers(&own, "x"));
    for (target, headers, status) in [
        ("/devices/1", &[PAGE, token][..], 200),
        ("/devices/1", &[PAGE], 401),
        ("/auth/.well-known/jwks.json", &[PAGE], 200),
    ] {
        let answer = world.send("GET", target, headers).await;
        assert_eq!(answer.status, status, "{answer:?}");
        check_readable(&answer, "https://app.example");
        assert_eq!(answer.header("server"), Some("hidden"));
    }
    let local = ("Origin", "http://localhost:3000");
    check_readable(
        &world.send("GET", "/open/x", &[local]).await,
        "http://localhost:3000",
    );
    // Programs and pages of other sites are served, but such a page cannot read the answer.
    for headers in [&[token][..], &[OTHER, token], &[PAGE, PAGE, token]] {
        let answer = world.send("GET", "/devices/1", headers).await;
        assert_eq!(answer.status, 200);
        check_unreadable(&answer);
        assert_eq!(
            answer.header("strict-transport-security"),
            Some("max-age=31536000")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_origins_and_all_headers_are_allowed_by_a_star() {
    let world = world("    cors: { origins: [\"*\"], headers: [\"*\"] }").await;
    let asks = ("Access-Control-Request-Headers", "x-a, x-b");
    let answer = world.send("OPTIONS", "/x", &[OTHER, ASKS, asks]).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("x-a, x-b")
    );
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_valid_http_gets_no_fields() {
    let world = world(CORS).await;
    let address = world.sidecar.address("api");
    let answer = send_raw(address, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("strict-transport-security"), None);
}
