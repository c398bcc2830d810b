//! The web page of plgd's http-gateway: its page of API tokens.

use serde_json::{Value, json};

use super::{SECRET, TOKENS, issue, jti, remembered, target, world};
use crate::plgd::OWNER;
use crate::plgd::front::Request;
use crate::plgd::replay::claims;
use crate::plgd::replay::world::World;
use crate::support::client::RawAnswer;

/// Where the page's calls go, from the discovery document of the authority that it is configured
/// with.
struct Page<'a> {
    world: &'a World,
    token_endpoint: String,
    tokens_api: String,
    authorization: String,
}

impl<'a> Page<'a> {
    async fn open(world: &'a World, owner: &str) -> Self {
        let path = "/m2m-oauth-server/.well-known/openid-configuration";
        let discovered = world.front.get(path, &[]).await.json();
        let token_endpoint = discovered["token_endpoint"]
            .as_str()
            .expect("a token endpoint")
            .to_owned();
        let (before, _) = token_endpoint
            .split_once("/m2m-oauth-server")
            .expect("the page splits it there");
        let tokens_api = format!("{before}/m2m-oauth-server/api/v1/tokens");
        let authorization = format!("Bearer {}", world.user(owner).sign());
        Self {
            world,
            token_endpoint,
            tokens_api,
            authorization,
        }
    }

    async fn call(&self, method: &str, url: &str, body: Option<Value>) -> RawAnswer {
        let headers = [
            ("Authorization", self.authorization.as_str()),
            ("Content-Type", "application/json"),
        ];
        let body = body.map(|body| body.to_string());
        let body = body.as_ref().map(String::as_bytes);
        let target = target(url).expect("a URL of ours");
        remembered(
            self.world
                .front
                .ask(&Request {
                    method,
                    target,
                    headers: &headers,
                    body,
                })
                .await,
        )
    }

    /// Creates a token by the user's own: the assertion is what the page has logged in with.
    async fn create(&self, client: &str, name: &str, expiration: i64) -> RawAnswer {
        let assertion = self
            .authorization
            .strip_prefix("Bearer ")
            .expect("a bearer");
        let body = json!({
            "client_id": client,
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
            "token_name": name,
            "expiration": expiration,
        });
        self.call("POST", &self.token_endpoint, Some(body)).await
    }

    async fn list(&self) -> Vec<Value> {
        let url = format!("{}?includeBlacklisted=true", self.tokens_api);
        let answer = self.call("GET", &url, None).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        let lines = text.lines().filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["result"].clone())
            .collect()
    }

    /// Ends tokens, 50 ids a call, each id in the query and in the body.
    async fn delete(&self, ids: &[String]) -> u64 {
        let mut ended = 0;
        for ids in ids.chunks(50) {
            let query: Vec<String> = ids.iter().map(|id| format!("idFilter={id}")).collect();
            let url = format!("{}?{}", self.tokens_api, query.join("&"));
            let answer = self
                .call("DELETE", &url, Some(json!({ "idFilter": ids })))
                .await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let count = answer.json()["blacklistedCount"]
                .as_str()
                .expect("a text")
                .parse::<u64>();
            ended += count.expect("a number");
        }
        ended
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_creates_lists_and_deletes_tokens_of_its_user() {
    let world = world().await;
    let page = Page::open(&world, "1").await;
    let end = world.now() + 3600;
    let created = page
        .create("JWTPrivateKeyClient", "from the page", end)
        .await;
    assert_eq!(created.status, 200, "{}", created.text());
    let token = created.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let of = claims(&token);
    assert_eq!(
        (&of["name"], &of[OWNER], &of["exp"]),
        (&json!("from the page"), &json!("1"), &json!(end))
    );
    let listed = page.list().await;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["clientId"]),
        (&of["name"], &json!("JWTPrivateKeyClient"))
    );
    assert_eq!(page.delete(&[jti(&token)]).await, 1);
    assert_eq!(page.list().await[0]["blacklisted"]["flag"], true);
}

/// The page sends the moment of the click. plgd's server gives no end when that is the second in
/// which it arrives, else 401.
#[tokio::test(flavor = "multi_thread")]
async fn no_expiration_gives_what_a_request_without_one_gives() {
    let world = world().await;
    let page = Page::open(&world, "1").await;
    for ago in [0, 1, 2, 30] {
        let clicked = world.now() - ago;
        let unlimited = page.create("jwtUnlimited", "endless", clicked).await;
        assert_eq!(unlimited.status, 200, "{ago}: {}", unlimited.text());
        assert!(
            unlimited.json().get("expires_in").is_none(),
            "{ago}: {}",
            unlimited.text()
        );
        let day = page.create("JWTPrivateKeyClient", "a day", clicked).await;
        assert_eq!(day.status, 200, "{ago}: {}", day.text());
        let token = claims(day.json()["access_token"].as_str().expect("a token"));
        assert_eq!(token["exp"], world.now() + 86_400, "{ago}");
    }
    assert_eq!(
        page.create("jwtUnlimited", "late", world.now() - 3600)
            .await
            .status,
        401
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tokens_are_deleted_fifty_a_call() {
    let world = world().await;
    let mut ids = Vec::new();
    for _ in 0..101 {
        ids.push(jti(&issue(&world.front, "owner2", &[]).await));
    }
    let page = Page::open(&world, "2").await;
    assert_eq!(page.delete(&ids).await, 101);
    assert!(
        page.list()
            .await
            .iter()
            .all(|entry| entry["blacklisted"]["flag"] == true)
    );
    assert_eq!(page.delete(&ids).await, 0);
    // Another user's page ends none of them.
    assert_eq!(Page::open(&world, "1").await.delete(&ids[..50]).await, 0);
}

/// The page's user is logged in also while it asks with a secret; the token endpoint takes no
/// notice of the header.
#[tokio::test(flavor = "multi_thread")]
async fn the_users_bearer_beside_a_clients_secret_is_ignored() {
    let world = world().await;
    let page = Page::open(&world, "2").await;
    let body = json!({"client_id": "serviceClient", "client_secret": SECRET, "grant_type": "client_credentials"});
    let created = page.call("POST", &page.token_endpoint, Some(body)).await;
    assert_eq!(created.status, 200, "{}", created.text());
    assert_eq!(
        claims(created.json()["access_token"].as_str().expect("a token"))[OWNER],
        "1"
    );
    assert_eq!(page.tokens_api, format!("https://localhost:20013{TOKENS}"));
}
