//! plgd's mock OAuth server spells its issuer without a slash in its metadata and with one in its
//! tokens. Its users are the same users, whichever spelling the configuration has and whichever a
//! token of theirs has.

use serde_json::{Value, json};

use super::{
    ISSUER, OWNER, SECRET, TOKEN, TOKENS, claims, database, ids, jti, remember, with_secrets,
};
use crate::support::authority::Authority;
use crate::support::client::{get, post_form, request};
use crate::support::logs;
use crate::support::sidecar::{Sidecar, SidecarBuilder};

const YAML: &str = r#"
  authorities: [self, users]
  clients:
    - { id: serviceClient, secretFile: "@DIR@/secret", owner: "1" }
    - { id: dayClient, secretFile: "@DIR@/secret", owner: "1", ownerAuthority: users }
    - { id: twoClient, secretFile: "@DIR@/secret", owner: "1", ownerAuthority: users, allowedGrantTypes: [client_credentials, refresh_token] }
    - id: portal
      allowedGrantTypes: [client_credentials, refresh_token]
      jwtPrivateKey: { authorities: [users] }
authorities:
  self: { issuer: http://issuer.test/m2m-oauth-server/, requireExpiry: false, profile: plgd }
  users: { issuer: "@USERS@"@MEMBERS@ }
"#;
const PLGD: &str = ", profile: plgd";

struct World {
    sidecar: Sidecar,
    users: Authority,
    bare: String,
    slash: String,
}

impl World {
    /// Metadata without a slash; the configuration as it is given.
    async fn start(ending: &str, members: &str) -> Self {
        let users = Authority::start();
        let bare = users.issuer();
        let slash = format!("{bare}/");
        let sidecar = Self::sidecar(
            with_secrets(Sidecar::builder()),
            &format!("{bare}{ending}"),
            members,
        )
        .await;
        Self {
            sidecar,
            users,
            bare,
            slash,
        }
    }

    async fn sidecar(builder: SidecarBuilder, issuer: &str, members: &str) -> Sidecar {
        let keys = format!("{}/jwks.json", issuer.trim_end_matches('/'));
        let yaml = [ISSUER, YAML]
            .concat()
            .replace("@USERS@", issuer)
            .replace("@MEMBERS@", members)
            .replace("@KEYS@", &keys);
        builder.start(&yaml).await
    }

    /// The same with another spelling in the configuration and the same store.
    async fn again(self, ending: &str, members: &str) -> Self {
        let builder = with_secrets(self.sidecar.stop_keeping_state().await);
        let sidecar = Self::sidecar(builder, &format!("{}{ending}", self.bare), members).await;
        Self { sidecar, ..self }
    }

    fn user(&self, iss: &str) -> String {
        self.users
            .token()
            .claim(OWNER, "1")
            .claim("sub", "1")
            .claim("iss", iss)
            .sign()
    }

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
        let answer =
            remember(post_form(self.sidecar.address("issuer"), path, &form, &[]).await).json();
        if let Some(refresh) = answer["refresh_token"].as_str() {
            logs::remember_secret(refresh);
        }
        answer
    }

    async fn exchange(&self, jwt: &str) -> Value {
        let answer = self
            .as_user(jwt, TOKEN, &[("grant_type", "client_credentials")])
            .await;
        assert!(answer["access_token"].is_string(), "{answer}");
        answer
    }

    async fn issue(&self, client: &str) -> Value {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", SECRET),
        ];
        let answer =
            remember(post_form(self.sidecar.address("issuer"), TOKEN, &form, &[]).await).json();
        if let Some(refresh) = answer["refresh_token"].as_str() {
            logs::remember_secret(refresh);
        }
        answer
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
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let entries =
            lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON")["result"].clone());
        ids(&entries.collect::<Vec<_>>())
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    async fn end(&self, jwt: &str, id: &str) -> Value {
        let target = format!("{TOKENS}?idFilter={id}");
        let bearer = format!("Bearer {jwt}");
        let headers = [("Authorization", bearer.as_str())];
        request(
            "DELETE",
            self.sidecar.address("issuer"),
            &target,
            &headers,
            b"",
        )
        .await
        .json()
    }
}

fn text(answer: &Value, member: &str) -> String {
    answer[member]
        .as_str()
        .unwrap_or_else(|| panic!("{member}: {answer}"))
        .to_owned()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_one_user_whichever_way_configuration_metadata_and_tokens_spell_the_issuer() {
    for ending in ["", "/"] {
        let world = World::start(ending, PLGD).await;
        let (by_bare, by_slash) = (world.user(&world.bare), world.user(&world.slash));
        let mut tokens = Vec::new();
        for jwt in [&by_bare, &by_slash] {
            tokens.push(text(&world.exchange(jwt).await, "access_token"));
        }
        tokens.push(text(&world.issue("dayClient").await, "access_token"));
        for token in &tokens {
            assert_eq!(
                claims(token)["owner_iss"],
                json!(world.bare),
                "one spelling, whatever the JWT's is"
            );
        }
        tokens.push(text(&world.issue("serviceClient").await, "access_token"));
        let all = sorted(tokens.iter().map(|token| jti(token)).collect());
        for jwt in [&by_bare, &by_slash] {
            assert_eq!(world.listed(jwt).await, all, "{ending}");
        }
        assert_eq!(
            world.end(&by_slash, &jti(&tokens[0])).await["blacklistedCount"],
            "1"
        );
        assert_eq!(
            world.end(&by_bare, &jti(&tokens[1])).await["blacklistedCount"],
            "1"
        );
        world.sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_spelling_in_the_store_is_the_same_user() {
    // Before, tokens of this spelling were taken by naming it and the keys.
    let world = World::start("/", ", jwksUri: \"@KEYS@\"").await;
    let by_slash = world.user(&world.slash);
    let issued = world.exchange(&by_slash).await;
    let (access, refresh) = (
        text(&issued, "access_token"),
        text(&issued, "refresh_token"),
    );
    let kept = text(&world.issue("twoClient").await, "refresh_token");
    assert_eq!(
        claims(&access)["owner_iss"],
        json!(world.slash),
        "in the standard profile what the token says"
    );
    let mut database = database(&world.sidecar).await;
    let insert =
        "INSERT INTO tokens (jti, client_id, owner, owner_issuer, subject, scope, audience, \
         issued_at)
                  VALUES ('old', 'portal', '1', ?1, '1', '', '[]', 1)";
    sqlx::query(insert)
        .bind(&world.slash)
        .execute(&mut database)
        .await
        .expect("a row");
    drop(database);
    let world = world.again("", PLGD).await;
    let by_bare = world.user(&world.bare);
    for jwt in [&by_bare, &by_slash] {
        let listed = world.listed(jwt).await;
        assert!(
            listed.contains(&"old".to_owned()) && listed.contains(&jti(&access)),
            "{listed:?}"
        );
        let introspect = TOKEN.replace("/token", "/introspect");
        for token in [&access, &refresh] {
            let answer = world.as_user(jwt, &introspect, &[("token", token)]).await;
            assert_eq!(answer["active"], true, "{answer}");
        }
    }
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.as_str()),
    ];
    let refreshed = world.as_user(&by_bare, TOKEN, &form).await;
    assert_eq!(
        claims(&text(&refreshed, "access_token"))["owner_iss"],
        json!(world.bare)
    );
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", kept.as_str()),
        ("client_id", "twoClient"),
        ("client_secret", SECRET),
    ];
    let answer =
        remember(post_form(world.sidecar.address("issuer"), TOKEN, &form, &[]).await).json();
    logs::remember_secret(&text(&answer, "refresh_token"));
    let revoke = TOKEN.replace("/token", "/revoke");
    world
        .as_user(&by_bare, &revoke, &[("token", &access)])
        .await;
    let introspect = TOKEN.replace("/token", "/introspect");
    assert_eq!(
        world
            .as_user(&by_slash, &introspect, &[("token", &access)])
            .await,
        json!({"active": false})
    );
    assert_eq!(world.end(&by_bare, "old").await["blacklistedCount"], "1");
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_of_a_user_counts_the_tokens_of_each_spelling() {
    let world = World::start("", PLGD).await;
    let mut database = database(&world.sidecar).await;
    for (prefix, issuer) in [("a", &world.bare), ("b", &world.slash)] {
        sqlx::query(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
             INSERT INTO tokens (jti, client_id, owner, owner_issuer, subject, scope, audience, \
             issued_at, revoked_at)
             SELECT ?1 || i, 'portal', '1', ?2, '1', '', '[]', 1, 2 FROM n",
        )
        .bind(prefix)
        .bind(issuer)
        .execute(&mut database)
        .await
        .expect("rows");
    }
    let jwt = world.user(&world.slash);
    let refused = world
        .as_user(&jwt, TOKEN, &[("grant_type", "client_credentials")])
        .await;
    assert_eq!(refused["code"], 8, "{refused}");
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_standard_profile_a_user_who_is_refused_for_a_slash_stands_in_the_log() {
    let world = World::start("", "").await;
    let jwt = world.user(&world.slash);
    let bearer = format!("Bearer {jwt}");
    let mark = logs::mark();
    let answer = get(
        world.sidecar.address("issuer"),
        TOKENS,
        &[("Authorization", &bearer)],
    )
    .await;
    assert_eq!(answer.status, 401);
    logs::wait_for_line(
        mark,
        &[
            "differs from the authority's issuer by slashes only",
            &world.slash,
        ],
    )
    .await;
    logs::wait_for_line(
        mark,
        &[
            "a request to the tokens API is refused",
            "reason=\"unknown_issuer\"",
        ],
    )
    .await;
    let refused = world
        .as_user(&jwt, TOKEN, &[("grant_type", "client_credentials")])
        .await;
    assert_eq!(refused["error"], "invalid_client");
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuers_own_authority_with_a_slash_is_not_exchanged() {
    let world = World::start("", PLGD).await;
    let own = text(&world.issue("serviceClient").await, "access_token");
    let bearer = format!("Bearer {own}");
    let entry = get(
        world.sidecar.address("issuer"),
        TOKENS,
        &[("Authorization", &bearer)],
    )
    .await;
    assert_eq!(entry.json()["result"]["id"], jti(&own));
    let refused = world
        .as_user(&own, TOKEN, &[("grant_type", "client_credentials")])
        .await;
    assert_eq!(refused["error"], "invalid_client");
    world.sidecar.stop().await;
}
