//! plgd's own programs as clients of our issuer, written from what is known of them (plgd hub
//! `334f508f`): the validator that every service has, the decoder of lists, the cache of the device
//! provisioning service, the calls of the web page.
//!
//! They are as strict as plgd's: plgd's programs accept every answer that they accept.

mod dps;
mod go_body;
mod lists;
mod status;
mod ui;
mod validator;
mod validator_tests;

use serde_json::Value;

use super::front::{Front, Request};
use super::replay::vectors;
use super::replay::world::World;
use crate::support::client::RawAnswer;
use crate::support::logs;

/// Where the issuer is for clients; its front stands for that place.
const ORIGIN: &str = "https://localhost:20013";
const AUTHORITY: &str = "https://localhost:20013/m2m-oauth-server";
const TOKEN: &str = "/m2m-oauth-server/oauth/token";
const TOKENS: &str = "/m2m-oauth-server/api/v1/tokens";
const SECRET: &str = "serviceClientSecret";

async fn world() -> World {
    World::start(&vectors::recording().clients).await
}

/// The part of a URL that goes into a request.
fn target(url: &str) -> Result<&str, String> {
    url.strip_prefix(ORIGIN)
        .filter(|target| target.starts_with('/'))
        .ok_or(format!("{url} is elsewhere"))
}

/// A token of a client by its secret.
async fn issue(front: &Front, client: &str, form: &[(&str, &str)]) -> String {
    let credentials = [
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("client_secret", SECRET),
    ];
    let answer = post_form(front, &[&credentials, form].concat(), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

async fn post_form(front: &Front, form: &[(&str, &str)], headers: &[(&str, &str)]) -> RawAnswer {
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let headers = [
        &[("Content-Type", "application/x-www-form-urlencoded")],
        headers,
    ]
    .concat();
    let body = Some(form.as_bytes());
    remembered(
        front
            .ask(&Request {
                method: "POST",
                target: TOKEN,
                headers: &headers,
                body,
            })
            .await,
    )
}

/// The answer, whose token is looked for in all logs.
fn remembered(answer: RawAnswer) -> RawAnswer {
    if let Some(token) = super::replay::issued_token(&answer) {
        logs::remember_secret(&token);
    }
    answer
}

fn jti(token: &str) -> String {
    super::replay::claims(token)["jti"]
        .as_str()
        .expect("a jti")
        .to_owned()
}

/// Ends a token as its owner does.
async fn blacklist(world: &World, user: &str, jti: &str) -> Value {
    let target = format!("{TOKENS}?idFilter={jti}");
    let authorization = format!("Bearer {user}");
    let headers = [("Authorization", authorization.as_str())];
    let request = Request {
        method: "DELETE",
        target: &target,
        headers: &headers,
        body: None,
    };
    let answer = world.front.ask(&request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}
