//! Two authorities, each with a user of the same name: neither is the other.

use serde_json::{Value, json};

use super::{
    ISSUER, OWNER, SECRET, TOKEN, TOKENS, claims, database, ids, jti, remember, with_secrets,
};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{get, post_form, request};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

const YAML: &str = r#"
  authorities: [self, @TRUSTED@]
  clients:
    - { id: serviceClient, secretFile: "@DIR@/secret", owner: "1" }
    - { id: dayClient, secretFile: "@DIR@/secret", owner: "1", ownerAuthority: a }
    - { id: twoClient, secretFile: "@DIR@/secret", owner: "2" }
    - id: portal
      allowedGrantTypes: [client_credentials, refresh_token]
      allowIntrospection: true
      jwtPrivateKey: { authorities: [@TRUSTED@] }
authorities:
  self: { issuer: http://issuer.test/m2m-oauth-server, requireExpiry: false }
  a: { issuer: "@A@" }
  b: { issuer: "@B@" }
inbound:
  - { name: api, listen: 127.0.0.1:0, upstream: "@UPSTREAM@", authorities: [a, b], audiences: any,
      rules: [{ paths: ["/**"] }] }
  - { name: issued, listen: 127.0.0.1:0, upstream: "@UPSTREAM@", authorities: [self],
      audiences: any, identityHeaders: { x-owner-issuer: owner_iss, x-owner: sub },
      rules: [{ paths: ["/**"] }] }
"#;

struct World {
    sidecar: Sidecar,
    a: Authority,
    b: Authority,
    upstream: Upstream,
}

impl World {
    async fn start(trusted: &str) -> Self {
        let (a, b, upstream) = (Authority::start(), Authority::start(), Upstream::start());
        let yaml = [ISSUER, YAML]
            .concat()
            .replace("@A@", &a.issuer())
            .replace("@B@", &b.issuer())
            .replace("@UPSTREAM@", &upstream.url())
            .replace("@TRUSTED@", trusted);
        let sidecar = with_secrets(Sidecar::builder()).start(&yaml).await;
        a.wait_for_fetches(Endpoint::Jwks, 1).await;
        b.wait_for_fetches(Endpoint::Jwks, 1).await;
        Self {
            sidecar,
            a,
            b,
            upstream,
        }
    }

    /// A token of the user `1`, or of another, for the tokens API and for exchange.
    fn user(authority: &Authority, owner: &str) -> String {
        authority
            .token()
            .claim(OWNER, owner)
            .claim("sub", owner)
            .sign()
    }

    async fn exchange(&self, jwt: &str) -> Value {
        let answer = self
            .as_user(jwt, TOKEN, &[("grant_type", "client_credentials")])
            .await;
        assert!(answer["access_token"].is_string(), "{answer}");
        answer
    }

    /// The answer to the shared client when it brings a user's JWT.
    async fn as_user(&self, jwt: &str, path: &str, form: &[(&str, &str)]) -> Value {
        let fixed = [
            ("client_id", "portal"),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", jwt),
        ];
        let form = [&fixed, form].concat();
        remember(post_form(self.sidecar.address("issuer"), path, &form, &[]).await).json()
    }

    async fn issue(&self, client: &str) -> String {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", SECRET),
        ];
        let answer = remember(post_form(self.sidecar.address("issuer"), TOKEN, &form, &[]).await);
        answer.json()["access_token"]
            .as_str()
            .expect("a token")
            .to_owned()
    }

    async fn listed(&self, jwt: &str) -> Vec<String> {
        let bearer = format!("Bearer {jwt}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Accept", "application/protojson"),
        ];
        let answer = get(self.sidecar.address("issuer"), TOKENS, &headers).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["result"].clone());
        ids(&lines.collect::<Vec<_>>())
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    async fn end(&self, jwt: &str, id: &str) -> Value {
        let target = format!("{TOKENS}?idFilter={id}");
        let bearer = format!("Bearer {jwt}");
        request(
            "DELETE",
            self.sidecar.address("issuer"),
            &target,
            &[("Authorization", &bearer)],
            b"",
        )
        .await
        .json()
    }
}

fn text(answer: &Value, member: &str) -> String {
    answer[member].as_str().expect("a text").to_owned()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_lists_and_ends_no_token_of_another_authoritys_user_of_the_same_name() {
    let world = World::start("a, b").await;
    let (of_a, of_b) = (World::user(&world.a, "1"), World::user(&world.b, "1"));
    let token = text(&world.exchange(&of_a).await, "access_token");
    let (by_config, by_authority) = (
        world.issue("serviceClient").await,
        world.issue("dayClient").await,
    );
    assert_eq!(claims(&token)["owner_iss"], json!(world.a.issuer()));
    assert_eq!(claims(&by_authority)["owner_iss"], json!(world.a.issuer()));
    assert!(claims(&by_config).get("owner_iss").is_none());
    assert_eq!(world.listed(&of_b).await, [""; 0]);
    assert_eq!(
        world.listed(&of_a).await,
        sorted(vec![jti(&token), jti(&by_authority)])
    );
    for id in [&token, &by_config, &by_authority] {
        assert_eq!(world.end(&of_b, &jti(id)).await["blacklistedCount"], "0");
    }
    assert_eq!(
        world.end(&of_a, &jti(&by_config)).await["blacklistedCount"],
        "0",
        "it has no authority"
    );
    assert_eq!(
        world.end(&of_a, &jti(&token)).await["blacklistedCount"],
        "1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_an_authority_is_a_users_only_where_the_users_of_one_authority_are_trusted() {
    for (trusted, expected) in [("a, b", 0), ("a", 1)] {
        let world = World::start(trusted).await;
        let of_a = World::user(&world.a, "7");
        let insert =
            "INSERT INTO tokens (jti, client_id, owner, subject, scope, audience, issued_at)
                      VALUES ('old', 'portal', '7', '7', '', '[]', 1)";
        sqlx::query(insert)
            .execute(&mut database(&world.sidecar).await)
            .await
            .unwrap();
        assert_eq!(world.listed(&of_a).await.len(), expected, "{trusted}");
        assert_eq!(
            world.end(&of_a, "old").await["blacklistedCount"],
            expected.to_string()
        );
        let by_config = world.issue("serviceClient").await;
        let user = World::user(&world.a, "1");
        assert_eq!(
            world.listed(&user).await.contains(&jti(&by_config)),
            expected == 1
        );
        world.sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_client_asks_about_and_revokes_only_the_tokens_of_the_user_whose_jwt_it_brings() {
    let world = World::start("a, b").await;
    let of_a = World::user(&world.a, "1");
    let issued = world.exchange(&of_a).await;
    let (access, refresh) = (
        text(&issued, "access_token"),
        text(&issued, "refresh_token"),
    );
    crate::support::logs::remember_secret(&refresh);
    let introspect = "/m2m-oauth-server/oauth/introspect";
    for other in [World::user(&world.b, "1"), World::user(&world.a, "2")] {
        for token in [&access, &refresh] {
            assert_eq!(
                world.as_user(&other, introspect, &[("token", token)]).await,
                json!({"active": false})
            );
            world
                .as_user(
                    &other,
                    "/m2m-oauth-server/oauth/revoke",
                    &[("token", token)],
                )
                .await;
        }
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.as_str()),
        ];
        assert_eq!(
            world.as_user(&other, TOKEN, &form).await["error"],
            "invalid_grant"
        );
    }
    for token in [&access, &refresh] {
        let answer = world.as_user(&of_a, introspect, &[("token", token)]).await;
        assert_eq!(answer["active"], true, "{answer}");
    }
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.as_str()),
    ];
    let refreshed = world.as_user(&of_a, TOKEN, &form).await;
    crate::support::logs::remember_secret(&text(&refreshed, "refresh_token"));
    world
        .as_user(
            &of_a,
            "/m2m-oauth-server/oauth/revoke",
            &[("token", &access)],
        )
        .await;
    assert_eq!(
        world
            .as_user(&of_a, introspect, &[("token", &access)])
            .await,
        json!({"active": false})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_behind_two_authorities_is_told_whose_user_it_sees() {
    let world = World::start("a, b").await;
    let of_b = World::user(&world.b, "1");
    let bearer = format!("Bearer {of_b}");
    let answer = get(
        world.sidecar.address("api"),
        "/",
        &[("Authorization", &bearer), ("x-m2m-issuer", "x")],
    )
    .await;
    assert_eq!(answer.status, 200);
    let seen = world.upstream.received().pop().expect("a request");
    assert_eq!(
        (seen.header("x-m2m-subject"), seen.header("x-m2m-issuer")),
        (Some("1"), Some(&*world.b.issuer()))
    );
    let issued = format!(
        "Bearer {}",
        text(&world.exchange(&of_b).await, "access_token")
    );
    assert_eq!(
        get(
            world.sidecar.address("issued"),
            "/",
            &[("Authorization", &issued)]
        )
        .await
        .status,
        200
    );
    let seen = world.upstream.received().pop().expect("a request");
    assert_eq!(
        (seen.header("x-owner"), seen.header("x-owner-issuer")),
        (Some("1"), Some(&*world.b.issuer()))
    );
}
