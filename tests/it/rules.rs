//! Rules: what a token must say beside being valid; what shadow mode and CORS preflights let pass.

mod answers;
mod basic;
mod conditions;
mod equals;
mod modes;

use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, get, request};
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::Sidecar;
use crate::support::tokens::TokenBuilder;
use crate::support::upstream::{Answer, Upstream};
use crate::support::{AUDIENCE, logs, now, until};
use serde_json::json;

pub struct World {
    pub authority: Authority,
    pub upstream: Upstream,
    pub sidecar: Sidecar,
}

/// One listener, with further keys of its own and these rules.
pub async fn world(keys: &str, rules: &str) -> World {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let yaml = format!(
        r#"
probes: {{ listen: 127.0.0.1:0 }}
authorities: {{ users: {{ issuer: "{}" }} }}
stateDir: "@DIR@"
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{}"
    authorities: [users]
    audiences: [{AUDIENCE}]
{keys}
    rules:
{rules}
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
    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> RawAnswer {
        request(method, self.sidecar.address("api"), target, headers, b"").await
    }

    pub async fn send_token(&self, method: &str, target: &str, token: TokenBuilder) -> RawAnswer {
        let bearer = format!("Bearer {}", token.sign());
        self.send(method, target, &[("Authorization", &bearer)])
            .await
    }

    pub fn token(&self) -> TokenBuilder {
        self.authority.token()
    }

    /// A counter of `m2m_inbound_requests_total`.
    pub async fn counted(&self, decision: &str, reason: &str) -> u64 {
        let metrics = get(self.sidecar.address("probes"), "/metrics", &[])
            .await
            .text();
        let series = format!(
            "m2m_inbound_requests_total{{listener=\"api\",decision=\"{decision}\",reason=\"{reason}\"}} "
        );
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(series.as_str()));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    /// Waits for a count: a request is counted after its answer has been sent.
    pub async fn wait_for_count(&self, decision: &str, reason: &str, count: u64) {
        until(&format!("{decision} {reason}: {count}"), async || {
            self.counted(decision, reason).await == count
        })
        .await;
    }
}

fn outcome(answer: &RawAnswer) -> (u16, &str) {
    (answer.status, answer.header("x-m2m-reason").unwrap_or("-"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_claim_of_the_rule_must_have_one_of_its_values() {
    let rules = r#"
      - { paths: [/one], claims: { tenant: [blue, green] } }
      - { paths: [/both], scopes: ["devices:read"], claims: { tenant: blue, groups: [ops], level: [3], staff: true } }"#;
    let world = world("", rules).await;
    for (tenant, expected) in [
        (json!("blue"), (200, "-")),
        (json!("green"), (200, "-")),
        (json!(["red", "green"]), (200, "-")),
        (json!("red"), (403, "claim")),
        (json!("blue green"), (403, "claim")),
        (json!(["red"]), (403, "claim")),
        (json!([]), (403, "claim")),
        (json!({ "blue": true }), (403, "claim")),
        (json!(null), (403, "claim")),
        (json!(""), (403, "claim")),
    ] {
        let answer = world
            .send_token("GET", "/one", world.token().claim("tenant", tenant.clone()))
            .await;
        assert_eq!(outcome(&answer), expected, "{tenant}");
    }
    let answer = world.send_token("GET", "/one", world.token()).await;
    assert_eq!(
        (outcome(&answer), answer.json()["error"].as_str()),
        ((403, "claim"), Some("insufficient_scope"))
    );
    let challenge = answer
        .header("www-authenticate")
        .expect("a challenge")
        .to_owned();
    assert!(
        challenge.contains("error=\"insufficient_scope\"") && !challenge.contains("scope=\""),
        "{challenge}"
    );

    let good = || {
        let token = world
            .token()
            .claim("tenant", "blue")
            .claim("groups", json!(["dev", "ops"]));
        token.claim("level", 3).claim("staff", true)
    };
    assert_eq!(
        outcome(&world.send_token("GET", "/both", good()).await),
        (200, "-")
    );
    for bad in [
        good().without("tenant"),
        good().claim("groups", json!(["dev"])),
        good().claim("level", 30),
        good().claim("level", 3.5),
        good().claim("staff", false),
    ] {
        let answer = world.send_token("GET", "/both", bad).await;
        assert_eq!(outcome(&answer), (403, "claim"));
        let challenge = answer
            .header("www-authenticate")
            .expect("a challenge")
            .to_owned();
        assert!(challenge.ends_with("scope=\"devices:read\""), "{challenge}");
    }
    let answer = world
        .send_token("GET", "/both", good().claim("scope", "other"))
        .await;
    assert_eq!(outcome(&answer), (403, "scope"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_compares_its_claims_also_of_cached_tokens() {
    let world = world(
        "",
        "      - { paths: [/blue], claims: { tenant: blue } }\n      - { paths: [/any] }",
    )
    .await;
    let bearer = format!("Bearer {}", world.token().claim("tenant", "red").sign());
    let headers = [("Authorization", bearer.as_str())];
    for _ in 0..3 {
        assert_eq!(
            outcome(&world.send("GET", "/any", &headers).await),
            (200, "-")
        );
        assert_eq!(
            outcome(&world.send("GET", "/blue", &headers).await),
            (403, "claim")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_any_scope_is_enough_and_all_of_scopes_are_needed() {
    let rules = r#"
      - { paths: [/any], anyScope: [write, admin] }
      - { paths: [/both], scopes: [read, list], anyScope: [write, admin] }"#;
    let world = world("", rules).await;
    for (path, scope, expected) in [
        ("/any", "admin", (200, "-")),
        ("/any", "other write", (200, "-")),
        ("/any", "", (403, "scope")),
        ("/any", "writer", (403, "scope")),
        ("/both", "read list admin", (200, "-")),
        ("/both", "list read write admin", (200, "-")),
        ("/both", "read list", (403, "scope")),
        ("/both", "read admin", (403, "scope")),
    ] {
        let answer = world
            .send_token("GET", path, world.token().claim("scope", scope))
            .await;
        assert_eq!(outcome(&answer), expected, "{path} {scope}");
        if expected.0 == 403 {
            let named = if path == "/any" {
                "scope=\"write\""
            } else {
                "scope=\"read list write\""
            };
            assert!(
                answer
                    .header("www-authenticate")
                    .expect("a challenge")
                    .ends_with(named)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_what_would_be_refused_passes_is_logged_and_counted() {
    let mark = logs::mark();
    let world = world(
        "    mode: shadow",
        "      - { paths: [/read], scopes: [read] }",
    )
    .await;
    logs::wait_for_line(mark, &["WARN", "shadow mode", "api"]).await;
    let impostor = TestKey::generate("impostor", Alg::ES256);
    let forged = [("x-m2m-subject", "root"), ("X_M2M_Scope", "admin")];
    let bearer = |token: TokenBuilder| format!("Bearer {}", token.sign());
    let token = || world.token().claim("scope", "other");
    // The identity that the upstream sees: none, unless the token is valid.
    for (path, authorization, reason, subject) in [
        ("/read", None, "no_token", None),
        (
            "/read",
            Some("Bearer a b".to_owned()),
            "malformed_authorization",
            None,
        ),
        (
            "/read",
            Some(bearer(token().expires_in(-100))),
            "expired",
            None,
        ),
        (
            "/read",
            Some(bearer(token().claim("aud", "elsewhere"))),
            "audience",
            None,
        ),
        (
            "/read",
            Some(bearer(token().signed_by(&impostor))),
            "unknown_kid",
            None,
        ),
        ("/read", Some(bearer(token())), "scope", Some("tester")),
        ("/nowhere", Some(bearer(token())), "no_rule", Some("tester")),
    ] {
        let before = world.upstream.received().len();
        let mark = logs::mark();
        let mut headers = forged.to_vec();
        headers.extend(
            authorization
                .as_ref()
                .map(|value| ("Authorization", value.as_str())),
        );
        let answer = world.send("GET", path, &headers).await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (200, None),
            "{reason}"
        );
        let received = world.upstream.received();
        assert_eq!(received.len(), before + 1);
        let seen = &received[before];
        assert_eq!(seen.header("x-m2m-subject"), subject, "{reason}");
        assert!(!String::from_utf8_lossy(&seen.head).contains("admin"));
        logs::wait_for_line(
            mark,
            &["decision=\"shadow\"", &format!("reason=\"{reason}\""), path],
        )
        .await;
        assert_eq!(world.counted("shadow", reason).await, 1);
    }
    let good = world
        .send_token("GET", "/read", world.token().claim("scope", "read"))
        .await;
    assert_eq!(good.status, 200);
    world.wait_for_count("allow", "permitted", 1).await;
    assert_eq!(world.counted("deny", "scope").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_missing_keys_stop_no_request() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.down().await;
    let yaml = format!(
        "stateDir: \"@DIR@\"\nauthorities: {{ users: {{ issuer: \"{}\" }} }}\ninbound:\n  - {{ \
         name: api, listen: 127.0.0.1:0, upstream: \"{}\", mode: shadow, authorities: [users], \
         audiences: any, rules: [{{ paths: [/] }}] }}\n",
        authority.issuer(),
        upstream.url()
    );
    let sidecar = Sidecar::start(&yaml).await;
    let mark = logs::mark();
    let bearer = format!("Bearer {}", authority.token().sign());
    let answer = get(sidecar.address("api"), "/", &[("Authorization", &bearer)]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.received()[0].header("x-m2m-subject"), None);
    logs::wait_for_line(
        mark,
        &["decision=\"shadow\"", "reason=\"keys_unavailable\""],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_mode_refuses_what_cannot_be_sent_on_in_one_clear_form() {
    let world = world(
        "    mode: shadow",
        "      - { paths: [/read], scopes: [read] }",
    )
    .await;
    for (method, target, expected) in [
        ("GET", "/a%2fb", (400, "ambiguous_path")),
        ("GET", "/read/..%2f", (400, "ambiguous_path")),
        ("OPTIONS", "*", (400, "malformed_request")),
        ("TRACE", "/read", (405, "method")),
    ] {
        assert_eq!(
            outcome(&world.send(method, target, &[]).await),
            expected,
            "{method} {target}"
        );
    }
    assert!(world.upstream.received().is_empty());
    world.wait_for_count("deny", "ambiguous_path", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_mode_passes_what_is_over_a_limit() {
    let keys = "    mode: shadow\n    maxBody: 10B\n    limits: { requestsPerSecond: 1, \
        concurrent: 1000 }";
    let world = world(keys, "      - { paths: [/], access: public }").await;
    let address = world.sidecar.address("api");
    let mut sent = 0;
    while world.counted("shadow", "rate_limited").await == 0 {
        assert!(sent < 1000, "a second has passed after each of them");
        assert_eq!(world.send("GET", "/", &[]).await.status, 200);
        sent += 1;
    }
    let chunked = b"10\r\n0123456789abcdef\r\n0\r\n\r\n";
    let answer = request(
        "POST",
        address,
        "/",
        &[("Transfer-Encoding", "chunked")],
        chunked,
    )
    .await;
    assert_eq!(
        (
            answer.status,
            world
                .upstream
                .received()
                .last()
                .expect("a request")
                .body
                .len()
        ),
        (200, 16)
    );
    assert_eq!(
        request("POST", address, "/", &[], &[b'x'; 20]).await.status,
        200
    );
    assert_eq!(
        world.counted("deny", "body_too_large").await + world.counted("deny", "rate_limited").await,
        0
    );
}

const RULES_OF_A_PAGE: &str = r#"
      - { paths: ["/api/**"], methods: [PUT], scopes: [write] }
      - { paths: ["/open/*"], methods: [GET], access: public }"#;

fn preflight<'a>(announced: &'a str, further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![
        ("Origin", "https://page.example"),
        ("Access-Control-Request-Method", announced),
    ];
    headers.extend_from_slice(further);
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_passes_if_a_rule_matches_the_announced_request() {
    let world = world("    corsPreflight: pass", RULES_OF_A_PAGE).await;
    let mark = logs::mark();
    let headers = preflight(
        "PUT",
        &[
            ("Access-Control-Request-Headers", "authorization"),
            ("x-m2m-subject", "root"),
        ],
    );
    assert_eq!(
        outcome(&world.send("OPTIONS", "/api//7/../8", &headers).await),
        (200, "-")
    );
    let seen = &world.upstream.received()[0];
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("OPTIONS", "/api/8")
    );
    assert_eq!(seen.header("access-control-request-method"), Some("PUT"));
    assert!(
        seen.headers
            .iter()
            .all(|(name, _)| !name.to_lowercase().starts_with("x-m2m"))
    );
    logs::wait_for_line(mark, &["decision=\"allow\"", "reason=\"preflight\""]).await;
    assert_eq!(
        outcome(
            &world
                .send("OPTIONS", "/open/a", &preflight("GET", &[]))
                .await
        ),
        (200, "-")
    );
    assert_eq!(
        outcome(
            &world
                .send("OPTIONS", "/open/a", &preflight("HEAD", &[]))
                .await
        ),
        (200, "-")
    );

    let refused = [
        // No rule matches the announced request.
        ("OPTIONS", "/api/8", preflight("GET", &[])),
        ("OPTIONS", "/elsewhere", preflight("PUT", &[])),
        ("OPTIONS", "/open/a/b", preflight("GET", &[])),
        // Nothing that a browser sends.
        ("GET", "/api/8", preflight("PUT", &[])),
        ("PUT", "/api/8", preflight("PUT", &[])),
        (
            "OPTIONS",
            "/api/8",
            vec![("Origin", "https://page.example")],
        ),
        (
            "OPTIONS",
            "/api/8",
            vec![("Access-Control-Request-Method", "PUT")],
        ),
        (
            "OPTIONS",
            "/api/8",
            preflight("PUT", &[("Cookie", "session=1")]),
        ),
        (
            "OPTIONS",
            "/api/8",
            preflight("PUT", &[("X-HTTP-Method-Override", "PUT")]),
        ),
        (
            "OPTIONS",
            "/api/8",
            preflight("PUT", &[("Access-Control-Request-Method", "PUT")]),
        ),
        (
            "OPTIONS",
            "/api/8",
            preflight("PUT", &[("Content-Length", "0")]),
        ),
    ];
    let before = world.upstream.received().len();
    for (method, target, headers) in &refused {
        assert_eq!(
            outcome(&world.send(method, target, headers).await),
            (401, "no_token"),
            "{method} {target} {headers:?}"
        );
    }
    let headers = preflight("PUT", &[("Authorization", "Bearer a.b.c")]);
    assert_eq!(
        outcome(&world.send("OPTIONS", "/api/8", &headers).await),
        (401, "malformed_token")
    );
    let answer = world
        .send("OPTIONS", "/api/..%2f", &preflight("PUT", &[]))
        .await;
    assert_eq!(outcome(&answer), (400, "ambiguous_path"));
    assert_eq!(world.upstream.received().len(), before);
}

/// A browser hides an answer from its page unless CORS fields allow it: then the page cannot tell a
/// 401 from a dead network.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_read_why_it_is_refused_where_preflights_pass() {
    let world = world("    corsPreflight: pass", RULES_OF_A_PAGE).await;
    let origin = [("Origin", "https://page.example")];
    let no_scope = format!("Bearer {}", world.token().sign());
    let with_token = [origin[0], ("Authorization", no_scope.as_str())];
    for (method, target, headers, status) in [
        ("PUT", "/api/8", &origin[..], 401),
        ("PUT", "/api/8", &with_token, 403),
        ("PUT", "/api/..%2f", &origin, 400),
    ] {
        let answer = world.send(method, target, headers).await;
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://page.example"),
            "{status}"
        );
        assert_eq!(
            answer.header("access-control-allow-credentials"),
            Some("true")
        );
        assert_eq!(answer.header("vary"), Some("Origin"));
        let exposed = answer
            .header("access-control-expose-headers")
            .unwrap_or_default();
        assert!(
            exposed.contains("WWW-Authenticate") && exposed.contains("X-M2M-Reason"),
            "{exposed}"
        );
    }
    world
        .upstream
        .next(Answer::Raw(b"nonsense\r\n\r\n".to_vec()));
    let answer = world.send("GET", "/open/a", &origin).await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (502, Some("https://page.example"))
    );
    // No page, no permission; and none where preflights need a token.
    let answer = world.send("PUT", "/api/8", &[]).await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (401, None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_needs_a_token_unless_the_listener_says_otherwise() {
    for keys in ["", "    corsPreflight: authenticate"] {
        let world = world(keys, RULES_OF_A_PAGE).await;
        let answer = world
            .send("OPTIONS", "/api/8", &preflight("PUT", &[]))
            .await;
        assert_eq!(outcome(&answer), (401, "no_token"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn among_hundreds_of_rules_the_first_that_matches_decides() {
    let rules: String = (0..500)
        .map(|n| {
            format!("      - {{ paths: [\"/s{n}/*/items/**\"], methods: [GET], scopes: [s{n}] }}\n")
        })
        .collect::<String>()
        + "      - { paths: [\"/*/*/items/**\"], scopes: [all] }\n";
    let world = world("", &rules).await;
    for (path, scope, expected) in [
        ("/s0/a/items", "s0", 200),
        ("/s499/a/items/b/c", "s499", 200),
        ("/s499/a/items/b/c", "all", 403),
        ("/s500/a/items/b/c", "all", 200),
        ("/s499/a/other", "all", 403),
    ] {
        let answer = world
            .send_token(
                "GET",
                path,
                world.token().claim("scope", scope).claim("exp", now() + 60),
            )
            .await;
        assert_eq!(answer.status, expected, "{path} {scope}");
    }
}

/// As Keycloak writes roles; and the names that Okta and Entra have for a client.
#[tokio::test(flavor = "multi_thread")]
async fn nested_claims_have_dotted_names_and_each_authority_names_clients() {
    let world = world(
        "    identityHeaders: { x-roles: realm_access.roles }",
        "      - { paths: [/admin], claims: { realm_access.roles: [admin] } }\n      - { paths: \
         [/client], claims: { \
         resource_access.my.api.roles: [writer] } }",
    )
    .await;
    let roles = json!({ "roles": ["user", "admin"] });
    let token = || {
        world
            .token()
            .without("client_id")
            .claim("realm_access", roles.clone())
    };
    for (claim, client) in [
        ("azp", "keycloak-app"),
        ("cid", "okta-app"),
        ("appid", "entra-app"),
    ] {
        let mark = logs::mark();
        let answer = world
            .send_token("GET", "/admin", token().claim(claim, client))
            .await;
        assert_eq!(answer.status, 200, "{claim}");
        logs::wait_for_line(
            mark,
            &["listener=\"api\"", &format!("client_id=\"{client}\"")],
        )
        .await;
    }
    let received = world.upstream.received();
    assert!(
        received
            .iter()
            .all(|request| request.header("x-roles") == Some("user admin")),
        "{received:?}"
    );
    let answer = world.send_token("GET", "/client", token()).await;
    assert_eq!(
        (answer.status, answer.header("x-m2m-reason")),
        (403, Some("claim"))
    );
    let writer = json!({ "my.api": { "roles": ["writer"] } });
    assert_eq!(
        world
            .send_token("GET", "/client", token().claim("resource_access", writer))
            .await
            .status,
        200
    );
}
