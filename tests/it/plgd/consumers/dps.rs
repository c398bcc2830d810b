//! The device provisioning service and the coap-gateway as clients of the token endpoint: Go's
//! `x/oauth2`, and plgd's cache of tokens by owner.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use m2m_sidecar::for_tests::domain::clock::Clock;
use serde_json::Value;

use super::{post_form, world};
use crate::plgd::OWNER;
use crate::plgd::replay::claims;
use crate::plgd::replay::world::World;

/// A token and its end; `None`: it is kept for as long as the service runs.
#[derive(Clone, Debug, PartialEq)]
struct Token {
    access_token: String,
    expiry: Option<i64>,
}

/// How the server wants a client's credentials; found out by the first request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Style {
    Basic,
    Body,
}

/// `x/oauth2`'s client credentials: a Basic header with both parts form-encoded first; when that
/// fails in whatever way, once more with both in the body; then what worked.
struct OAuth2<'a> {
    world: &'a World,
    client: &'a str,
    secret: &'a str,
    style: Option<Style>,
    requests: usize,
}

impl OAuth2<'_> {
    async fn token(&mut self, parameters: &[(&str, &str)]) -> Result<Token, String> {
        let styles: &[Style] = match self.style {
            Some(Style::Basic) => &[Style::Basic],
            Some(Style::Body) => &[Style::Body],
            None => &[Style::Basic, Style::Body],
        };
        let mut failed = String::new();
        for style in styles {
            match self.ask(*style, parameters).await {
                Ok(token) => {
                    self.style = Some(*style);
                    return Ok(token);
                }
                Err(why) => failed = why,
            }
        }
        Err(failed)
    }

    async fn ask(&mut self, style: Style, parameters: &[(&str, &str)]) -> Result<Token, String> {
        self.requests += 1;
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let basic = STANDARD.encode(format!("{}:{}", encoded(self.client), encoded(self.secret)));
        let basic = format!("Basic {basic}");
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend_from_slice(parameters);
        let answer = match style {
            Style::Basic => post_form(&self.world.front, &form, &[("Authorization", &basic)]).await,
            Style::Body => {
                form.extend([("client_id", self.client), ("client_secret", self.secret)]);
                post_form(&self.world.front, &form, &[]).await
            }
        };
        let body = answer.json();
        if !(200..300).contains(&answer.status) {
            // RFC 6749's members; without `error` only the status is reported.
            return Err(body["error"]
                .as_str()
                .ok_or("cannot fetch token")?
                .to_owned());
        }
        let access_token = body["access_token"].as_str().unwrap_or_default().to_owned();
        if access_token.is_empty() {
            return Err("server response missing access_token".to_owned());
        }
        // A number, or a text with one. Absent or 0: it never expires.
        let seconds = match &body["expires_in"] {
            Value::Null => 0,
            Value::String(text) => text.parse().map_err(|_| "expires_in is no number")?,
            number => number.as_i64().ok_or("expires_in is no whole number")?,
        };
        let expiry = (seconds != 0).then(|| self.world.clock.now().0 + seconds);
        Ok(Token {
            access_token,
            expiry,
        })
    }
}

/// The cache: by owner of a group of devices. A token counts while it ends after the request's
/// deadline. A fetched token must name the requested owner.
struct Cache<'a> {
    oauth2: OAuth2<'a>,
    kept: HashMap<String, Token>,
}

impl Cache<'_> {
    async fn token(&mut self, owner: &str, deadline: i64) -> Result<String, String> {
        let usable = |token: &&Token| token.expiry.is_none_or(|expiry| expiry > deadline);
        if let Some(token) = self.kept.get(owner).filter(usable) {
            return Ok(token.access_token.clone());
        }
        // `audience` is what plgd's library sends; plgd's own server reads `aud`.
        let token = self
            .oauth2
            .token(&[(OWNER, owner), ("audience", "https://a.example")])
            .await?;
        let claims = claims(&token.access_token);
        if claims[OWNER] != owner {
            return Err(format!(
                "invalid claim {OWNER}: expected {owner}, got {}",
                claims[OWNER]
            ));
        }
        self.kept.insert(owner.to_owned(), token.clone());
        Ok(token.access_token)
    }
}

fn cache<'a>(world: &'a World, client: &'a str, secret: &'a str) -> Cache<'a> {
    let oauth2 = OAuth2 {
        world,
        client,
        secret,
        style: None,
        requests: 0,
    };
    Cache {
        oauth2,
        kept: HashMap::new(),
    }
}

/// O1.
#[tokio::test(flavor = "multi_thread")]
async fn the_cache_keeps_a_token_until_it_would_end_before_the_deadline() {
    let world = world().await;
    let mut cache = cache(&world, "lifetime10s", super::SECRET);
    let now = world.clock.now().0;
    let first = cache.token("1", now + 5).await.expect("a token");
    assert_eq!(cache.token("1", now + 5).await, Ok(first.clone()));
    assert_eq!(
        cache.oauth2.requests, 1,
        "the first way of authentication works"
    );
    let second = cache.token("1", now + 20).await.expect("a token");
    assert_ne!(second, first);
    let refused = cache.token("7", now).await.unwrap_err();
    assert!(refused.contains("expected 7, got \"1\""), "{refused}");
}

/// As plgd's server, ours issues tokens without an end to a client of lifetime 0; DPS keeps one for
/// as long as it runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_an_end_is_kept_for_good() {
    let world = world().await;
    let mut cache = cache(&world, "serviceClient", super::SECRET);
    let first = cache.token("1", i64::MAX - 1).await.expect("a token");
    assert_eq!(cache.token("1", i64::MAX - 1).await, Ok(first));
    assert_eq!(cache.oauth2.requests, 1);
}

/// plgd's server takes Basic as it stands, so that a secret with such characters needs the second
/// attempt there.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_with_characters_that_are_encoded_works_at_the_first_attempt() {
    let world = world().await;
    let mut oauth2 = cache(&world, "specialSecret", "p+w %41:s&=ä/2345").oauth2;
    oauth2.token(&[]).await.expect("a token");
    assert_eq!((oauth2.requests, oauth2.style), (1, Some(Style::Basic)));
    // plgd's clients read the same file as the server, with the newline at its end.
    let mut oauth2 = cache(&world, "newlineClient", "newlineSecretValue1\n").oauth2;
    oauth2.token(&[]).await.expect("a token");
    assert_eq!(oauth2.requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_costs_two_requests_and_is_reported_as_invalid_client() {
    let world = world().await;
    let mut oauth2 = cache(&world, "owner2", "wrong").oauth2;
    assert_eq!(oauth2.token(&[]).await.unwrap_err(), "invalid_client");
    assert_eq!(oauth2.requests, 2);
    // It locks out no other caller: the right secret is taken at once.
    let mut oauth2 = cache(&world, "owner2", super::SECRET).oauth2;
    oauth2.token(&[]).await.expect("a token");
}
