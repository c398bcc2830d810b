//! Tokens and assertions of the size that plgd's have, and the long lists of ids that its clients
//! send.

use serde_json::{Value, json};

use super::{ISSUER, OWNER, TOKEN, TOKENS, World, assert_status, claims, ids, jti, remember};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, get, post_form, request};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

const YAML: &str = r#"
  authorities: [self, users]
  clients:
    - { id: portal, jwtPrivateKey: { authorities: [users] } }
authorities:
  self: { issuer: http://issuer.test/m2m-oauth-server }
  users: { issuer: "@USERS@", profile: plgd }
  small: { issuer: "@SMALL@" }
inbound:
  - { name: api, listen: 127.0.0.1:0, upstream: "@UPSTREAM@", authorities: [self, small],
      audiences: any, rules: [{ paths: ["/**"] }] }
  - { name: ordinary, listen: 127.0.0.1:0, upstream: "@UPSTREAM@", authorities: [small],
      audiences: any, rules: [{ paths: ["/**"] }] }
"#;

struct Large {
    sidecar: Sidecar,
    users: Authority,
    small: Authority,
    upstream: Upstream,
}

impl Large {
    async fn start() -> Self {
        let (users, small, upstream) = (Authority::start(), Authority::start(), Upstream::start());
        let yaml = [ISSUER, YAML]
            .concat()
            .replace("@USERS@", &users.issuer())
            .replace("@SMALL@", &small.issuer())
            .replace("@UPSTREAM@", &upstream.url());
        let sidecar = Sidecar::builder().start(&yaml).await;
        users.wait_for_fetches(Endpoint::Jwks, 1).await;
        small.wait_for_fetches(Endpoint::Jwks, 1).await;
        Self {
            sidecar,
            users,
            small,
            upstream,
        }
    }

    /// A user's JWT with one large claim, of about so many bytes.
    fn user(authority: &Authority, bytes: usize) -> String {
        let claim = "x".repeat(bytes.saturating_sub(600) / 4 * 3);
        authority
            .token()
            .claim(OWNER, "1")
            .claim("sub", "1")
            .claim("groups", claim)
            .sign()
    }

    async fn exchange(&self, jwt: &str) -> RawAnswer {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "portal"),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", jwt),
        ];
        remember(post_form(self.sidecar.address("issuer"), TOKEN, &form, &[]).await)
    }

    async fn tokens(&self, method: &str, token: &str, query: &str) -> RawAnswer {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Accept", "application/protojson"),
        ];
        request(
            method,
            self.sidecar.address("issuer"),
            &format!("{TOKENS}?{query}"),
            &headers,
            b"",
        )
        .await
    }

    async fn answer_to(&self, listener: &str, token: &str) -> RawAnswer {
        let bearer = format!("Bearer {token}");
        get(
            self.sidecar.address(listener),
            "/",
            &[("Authorization", &bearer)],
        )
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_jwt_of_27_kib_becomes_a_token_that_every_role_takes() {
    let large = Large::start().await;
    let jwt = Large::user(&large.users, 27 * 1024);
    assert!(jwt.len() > 26 * 1024);
    let answer = large.exchange(&jwt).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    assert!(
        (27 * 1024..32 * 1024).contains(&token.len()),
        "{} bytes",
        token.len()
    );
    assert_eq!(
        claims(&token)["originalTokenClaims"]["groups"],
        claims(&jwt)["groups"]
    );
    // The tokens API takes it and the user's, and lists the claims.
    for bearer in [&jwt, &token] {
        let listed = large
            .tokens("GET", bearer, &format!("idFilter={}", jti(&token)))
            .await;
        assert_eq!(
            listed.json()["result"]["originalTokenClaims"]["groups"],
            claims(&jwt)["groups"]
        );
    }
    // A listener takes it, and its upstream gets it.
    assert_eq!(large.answer_to("api", &token).await.status, 200);
    assert_eq!(
        large.upstream.received().pop().expect("a request").bearer(),
        Some(token.as_str())
    );
    let form = [
        ("token", token.as_str()),
        ("client_id", "portal"),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        ("client_assertion", &jwt),
    ];
    let address = large.sidecar.address("issuer");
    let ask = |path: &'static str| post_form(address, path, &form, &[]);
    assert_eq!(
        ask("/m2m-oauth-server/oauth/introspect").await.json()["active"],
        true
    );
    assert_eq!(ask("/m2m-oauth-server/oauth/revoke").await.status, 200);
    assert_eq!(
        large.answer_to("api", &token).await.header("x-m2m-reason"),
        Some("revoked")
    );
    assert_status(&large.tokens("GET", &token, "").await, 401, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_authority_has_its_own_limit_and_a_refusal_says_it() {
    let large = Large::start().await;
    let (just, over) = (
        Large::user(&large.small, 8 * 1024),
        Large::user(&large.small, 9 * 1024),
    );
    assert!(just.len() <= 8 * 1024 && over.len() > 8 * 1024);
    for listener in ["api", "ordinary"] {
        assert_eq!(
            large.answer_to(listener, &just).await.status,
            200,
            "{listener}"
        );
        let refused = large.answer_to(listener, &over).await;
        assert_eq!(
            (refused.status, refused.header("x-m2m-reason")),
            (401, Some("token_too_large"))
        );
        let said = format!("the token has {} bytes, the limit is 8192", over.len());
        assert!(refused.text().contains(&said), "{}", refused.text());
    }
    // Users of 33 KiB are beyond the limit of the plgd profile, in each role.
    let huge = Large::user(&large.users, 34 * 1024);
    let answer = large.exchange(&huge).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (401, &json!("invalid_client")),
        "{}",
        answer.text()
    );
    assert_status(&large.tokens("GET", &huge, "").await, 401, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_as_large_as_the_tokens_of_a_listener_need_and_no_larger() {
    let large = Large::start().await;
    for (listener, limit) in [
        ("ordinary", 32 * 1024),
        ("api", 56 * 1024),
        ("issuer", 96 * 1024),
    ] {
        let address = large.sidecar.address(listener);
        let below = "x".repeat(limit - 512);
        assert_ne!(
            get(address, "/", &[("X-Large", &below)]).await.status,
            431,
            "{listener}"
        );
        let over = "x".repeat(limit);
        let refused = get(address, "/", &[("X-Large", &over)]).await;
        assert_eq!(
            (refused.status, refused.header("x-m2m-reason")),
            (431, Some("head_too_large")),
            "{listener}"
        );
        let said = format!("the head has more than {limit} bytes");
        assert!(refused.text().contains(&said), "{}", refused.text());
    }
    let body = vec![b'x'; 70_000];
    let refused = request("POST", large.sidecar.address("issuer"), TOKEN, &[], &body).await;
    assert_eq!(refused.status, 413);
    assert!(
        refused
            .text()
            .contains("the body has 70000 bytes, the limit is 65536"),
        "{}",
        refused.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_hundred_ids_in_a_target_of_42_kib_are_served() {
    let world = World::start().await;
    let token = jti(&world.issue("serviceClient", &[]).await);
    let others = (0..899).map(|n| format!("&idFilter=9c2dfc23-e7eb-4c0b-8143-{n:012}"));
    let query = format!("idFilter={token}{}", others.collect::<String>());
    assert!(query.len() > 40 * 1024);
    let user = world.user("1");
    assert_eq!(ids(&world.list(&user, &query).await), [token.as_str()]);
    let answer = world.tokens("DELETE", &user, &query, &[], b"").await;
    let expected: Value = json!({"blacklistedCount": "1", "deletedCount": "0"});
    assert_eq!((answer.status, answer.json()), (200, expected));
}
