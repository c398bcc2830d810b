//! The claims and the end of a user's token in an M2M token; and users with endless tokens.

use serde_json::{Value, json};

use super::{ISSUER, OWNER, TOKEN, TOKENS, claims, ids, jti, remember};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, get, post_form, request};
use crate::support::sidecar::Sidecar;
use crate::support::tokens::TokenBuilder;
use crate::support::upstream::Upstream;
use crate::support::{logs, now};

const SCOPE_CLAIM: &str = "plgd:required:scope";

const YAML: &str = r#"
  authorities: [self, users]
  clients:
    - { id: all, accessTokenLifetime: 24h, jwtPrivateKey: { authorities: [users] } }
    - { id: narrow, jwtPrivateKey: { authorities: [users], copyClaims: [email, nickname] } }
    - { id: bare, jwtPrivateKey: { authorities: [users], copyClaims: [] } }
    - id: capped
      accessTokenLifetime: 0s
      capToAssertion: true
      allowedGrantTypes: [client_credentials, refresh_token]
      jwtPrivateKey: { authorities: [users] }
    - { id: capped-day, accessTokenLifetime: 24h, capToAssertion: true, jwtPrivateKey: { authorities: [users] } }
authorities:
  users: { issuer: "@USERS@", profile: plgd, requireExpiry: false, revocation: none }
inbound:
  - { name: api, listen: 127.0.0.1:0, upstream: "@UPSTREAM@", authorities: [users], audiences: any, rules: [{ paths: ["/**"] }] }
"#;

struct World {
    sidecar: Sidecar,
    users: Authority,
    _upstream: Upstream,
}

impl World {
    async fn start() -> Self {
        let (users, upstream) = (Authority::start(), Upstream::start());
        let yaml = [ISSUER, YAML]
            .concat()
            .replace("@USERS@", &users.issuer())
            .replace("@UPSTREAM@", &upstream.url());
        let sidecar = Sidecar::builder().start(&yaml).await;
        users.wait_for_fetches(Endpoint::Jwks, 1).await;
        Self {
            sidecar,
            users,
            _upstream: upstream,
        }
    }

    fn user(&self) -> TokenBuilder {
        self.users.token().claim(OWNER, "1").claim("sub", "a user")
    }

    async fn ask(&self, client: &str, jwt: &str, form: &[(&str, &str)]) -> RawAnswer {
        self.ask_at(TOKEN, client, jwt, form).await
    }

    async fn ask_at(
        &self,
        path: &str,
        client: &str,
        jwt: &str,
        form: &[(&str, &str)],
    ) -> RawAnswer {
        let fixed = [
            ("client_id", client),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", jwt),
        ];
        let answer = post_form(
            self.sidecar.address("issuer"),
            path,
            &[&fixed, form].concat(),
            &[],
        )
        .await;
        if let Some(token) = answer.json()["refresh_token"].as_str() {
            logs::remember_secret(token);
        }
        remember(answer)
    }

    async fn exchange(&self, client: &str, jwt: &str, form: &[(&str, &str)]) -> Value {
        let answer = self
            .ask(
                client,
                jwt,
                &[&[("grant_type", "client_credentials")], form].concat(),
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    async fn token(&self, client: &str, jwt: &str) -> String {
        text(&self.exchange(client, jwt, &[]).await, "access_token")
    }

    async fn entry(&self, jwt: &str, id: &str) -> Value {
        let target = format!("{TOKENS}?idFilter={id}");
        let bearer = format!("Bearer {jwt}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Accept", "application/protojson"),
        ];
        let answer = get(self.sidecar.address("issuer"), &target, &headers).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["result"].clone()
    }
}

fn text(answer: &Value, member: &str) -> String {
    answer[member].as_str().expect("a text").to_owned()
}

fn end_of(token: &str) -> Option<i64> {
    claims(token)
        .get("exp")
        .map(|end| end.as_i64().expect("a time"))
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_a_users_token_are_copied_unless_the_operator_narrows_them() {
    let world = World::start().await;
    let personal = || {
        let user = world
            .user()
            .claim("email", "a@example")
            .claim("groups", json!(["g1", "g2"]));
        user.claim("address", json!({"street": "x"}))
            .claim("scope", "")
    };
    let jwt = personal().sign();
    for (client, expected) in [
        ("all", Some(claims(&jwt))),
        ("narrow", Some(json!({"email": "a@example"}))),
        ("bare", None),
    ] {
        let token = world.token(client, &jwt).await;
        assert_eq!(
            claims(&token).get("originalTokenClaims"),
            expected.as_ref(),
            "{client}"
        );
        let listed = world.entry(&jwt, &jti(&token)).await;
        assert_eq!(
            listed["originalTokenClaims"],
            expected.unwrap_or_default(),
            "{client}"
        );
    }
    // Secrets never, and never the claim that switches off the scope check of plgd's services.
    let rich = personal()
        .claim("access_token", "x.y.z")
        .claim(SCOPE_CLAIM, Value::Null);
    let rich = rich
        .claim("nested", json!({"a": {SCOPE_CLAIM: []}, "password": "p"}))
        .sign();
    let token = claims(&world.token("all", &rich).await);
    let mut expected = claims(&rich);
    let members = expected.as_object_mut().expect("an object");
    members.retain(|name, _| !["access_token", SCOPE_CLAIM].contains(&name.as_str()));
    members.insert("nested".to_owned(), json!({"a": {}}));
    assert_eq!(token["originalTokenClaims"], expected);
    assert!(!token.to_string().contains(SCOPE_CLAIM), "{token}");
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_the_users_where_the_client_is_registered_so() {
    let world = World::start().await;
    let end = now() + 600;
    let jwt = world.user().claim("exp", end).sign();
    for client in ["capped", "capped-day"] {
        let answer = world.exchange(client, &jwt, &[]).await;
        assert_eq!(
            end_of(&text(&answer, "access_token")),
            Some(end),
            "{client}"
        );
        assert!(
            (590..=600).contains(&answer["expires_in"].as_i64().expect("seconds")),
            "{answer}"
        );
        // Also where more is asked for; less is given as it is asked for.
        for (asked, given) in [(end + 3600, end), (end - 60, end - 60)] {
            let token = world
                .exchange(client, &jwt, &[("expiration", &asked.to_string())])
                .await;
            assert_eq!(
                end_of(&text(&token, "access_token")),
                Some(given),
                "{client}"
            );
        }
    }
    assert!(end_of(&world.token("all", &jwt).await).expect("a time") > end + 80_000);
    // An end beyond the client's own lifetime stays an error.
    let form = [
        ("grant_type", "client_credentials"),
        ("expiration", &(now() + 90_000).to_string()),
    ];
    assert_eq!(world.ask("capped-day", &jwt, &form).await.status, 401);
    // A user's token that never ends sets no end: the client's lifetime counts, and without one
    // there is none.
    let endless = world.user().without("exp").sign();
    assert_eq!(end_of(&world.token("capped", &endless).await), None);
    let day = end_of(&world.token("capped-day", &endless).await).expect("a time");
    assert!((now() + 86_000..=now() + 86_400).contains(&day));
    // One that has ended, and passes only because clocks may differ, gives no token that is dead
    // already.
    let over = world.user().claim("exp", now() - 5).sign();
    let mark = logs::mark();
    let refused = world
        .ask("capped", &over, &[("grant_type", "client_credentials")])
        .await;
    assert_eq!(
        (refused.status, &refused.json()["error"]),
        (401, &json!("invalid_client"))
    );
    logs::wait_for_line(mark, &["token request", "the assertion has expired"]).await;
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_and_its_access_tokens_end_with_the_users_token() {
    let world = World::start().await;
    let end = now() + 600;
    let jwt = world.user().claim("exp", end).sign();
    let issued = world.exchange("capped", &jwt, &[]).await;
    let ends = async |refresh: &str| {
        let target = TOKEN.replace("/token", "/introspect");
        let answer = world
            .ask_at(&target, "capped", &jwt, &[("token", refresh)])
            .await
            .json();
        answer["exp"].as_i64().unwrap_or_else(|| panic!("{answer}"))
    };
    let refresh = text(&issued, "refresh_token");
    assert_eq!(ends(&refresh).await, end);
    // With a later token of the user, the family still ends with the first one.
    let later = world.user().claim("exp", end + 600).sign();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.as_str()),
    ];
    let refreshed = world.ask("capped", &later, &form).await.json();
    assert_eq!(end_of(&text(&refreshed, "access_token")), Some(end + 600));
    let refresh = text(&refreshed, "refresh_token");
    assert_eq!(ends(&refresh).await, end);
    // With one that ends earlier both end earlier.
    let sooner = world.user().claim("exp", end - 300).sign();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.as_str()),
    ];
    let refreshed = world.ask("capped", &sooner, &form).await.json();
    assert_eq!(end_of(&text(&refreshed, "access_token")), Some(end - 300));
    assert_eq!(ends(&text(&refreshed, "refresh_token")).await, end - 300);
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_whose_tokens_never_end_are_served_in_every_role_where_the_operator_says_so() {
    let world = World::start().await;
    let endless = world.user().without("exp").sign();
    let bearer = format!("Bearer {endless}");
    // Inbound.
    let answer = get(
        world.sidecar.address("api"),
        "/",
        &[("Authorization", &bearer)],
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // As an assertion.
    let token = world.token("all", &endless).await;
    assert_eq!(claims(&token)["originalTokenClaims"], claims(&endless));
    // As a caller of the tokens API.
    assert_eq!(
        ids(&[world.entry(&endless, &jti(&token)).await]),
        [jti(&token).as_str()]
    );
    let target = format!("{TOKENS}?idFilter={}", jti(&token));
    let headers = [("Authorization", bearer.as_str())];
    let ended = request(
        "DELETE",
        world.sidecar.address("issuer"),
        &target,
        &headers,
        b"",
    )
    .await;
    assert_eq!(
        (ended.status, &ended.json()["blacklistedCount"]),
        (200, &json!("1"))
    );
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_would_be_longer_than_its_verifiers_accept_is_not_issued() {
    let world = World::start().await;
    let with = |bytes: usize| world.user().claim("pad", "x".repeat(bytes)).sign();
    let long = world.token("all", &with(20_000)).await;
    assert!(long.len() > 26_000, "{}", long.len());
    assert_eq!(
        claims(&long)["originalTokenClaims"]["pad"],
        "x".repeat(20_000)
    );
    let longest = with(24_000);
    assert!(
        longest.len() < 32 * 1024,
        "the assertion itself is accepted: {}",
        longest.len()
    );
    let answer = world
        .ask("all", &longest, &[("grant_type", "client_credentials")])
        .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("invalid_request"))
    );
    assert!(answer.text().contains("fewer claims"), "{}", answer.text());
    // Nothing of it is kept, and without the claims it is issued.
    let bearer = format!("Bearer {}", world.user().sign());
    let listed = get(
        world.sidecar.address("issuer"),
        TOKENS,
        &[("Authorization", &bearer)],
    )
    .await
    .text();
    assert_eq!(
        listed
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count(),
        1
    );
    world.token("bare", &longest).await;
    world.sidecar.stop().await;
}
