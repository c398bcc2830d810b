//! The exchanges that were recorded with plgd's m2m-oauth-server (`tests/vectors/plgd`), sent in
//! their order to an issuer that `import-plgd` has configured. Each answer is compared with plgd's;
//! a table has every difference with its reason.

mod differences;
mod differences_tests;
mod granted;
mod rules;
mod table;
pub(in crate::plgd) mod vectors;
pub(in crate::plgd) mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::front::Request;
use crate::support::client::RawAnswer;
use crate::support::logs;
use differences::{Difference, Known, differences};
use rules::RULES;
use table::Row;
use vectors::{Names, Vector};
use world::World;

const DIFFERENCES: &str = include_str!("../../../vectors/plgd/differences.txt");
/// The answers of nginx itself. Its rows replace those of the other table.
const THROUGH_NGINX: &str = include_str!("../../../vectors/plgd/differences-nginx.txt");

fn part(token: &str, at: usize) -> Value {
    let part = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(at).expect("three parts"))
        .expect("base64url");
    serde_json::from_slice(&part).expect("JSON")
}

pub(in crate::plgd) fn header(token: &str) -> Value {
    part(token, 0)
}

pub(in crate::plgd) fn claims(token: &str) -> Value {
    part(token, 1)
}

/// The token that an answer holds.
pub(in crate::plgd) fn issued_token(answer: &RawAnswer) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    ["access_token", "accessToken"]
        .iter()
        .find_map(|name| Some(body.get(name)?.as_str()?.to_owned()))
}

/// One run: the world, and what the requests so far have left.
struct Replay {
    clients: Vec<vectors::Client>,
    world: World,
    names: Names,
    issued: BTreeMap<String, Value>,
    started: i64,
}

impl Replay {
    async fn start(clients: Vec<vectors::Client>) -> Self {
        let world = World::start(&clients).await;
        let names = Names {
            tokens: world.user_tokens(),
            now: world.now(),
        };
        let started = world.now();
        Self {
            clients,
            world,
            names,
            issued: BTreeMap::new(),
            started,
        }
    }

    /// Sends a vector's request and compares the answer.
    async fn play(&mut self, vector: &Vector) -> Vec<Difference> {
        self.world
            .clock
            .forward(Duration::from_secs(vector.wait_seconds_before));
        self.names.now = self.world.now();
        let filled = &vector.request;
        let target = self.names.fill(&filled.path);
        let headers: Vec<(String, String)> = filled
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), self.names.fill(value)))
            .collect();
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let body = filled.body.as_ref().map(|body| self.names.fill(body));
        let body = body.as_ref().map(String::as_bytes);
        let request = Request {
            method: &filled.method,
            target: &target,
            headers: &headers,
            body,
        };
        let answer = self.world.front.ask(&request).await;
        if let Some(token) = issued_token(&answer) {
            logs::remember_secret(&token);
            self.remember(vector, &token);
        } else if let Some(name) = &vector.saves {
            let token = self.stand_in(vector).await;
            self.names.tokens.insert(name.clone(), token);
        }
        let known = Known {
            now: self.names.now,
            started: self.started,
            issued: &self.issued,
            assertion: self.assertion(vector),
            users: self.world.users.issuer(),
            recorded: vector.fixed_time(),
            through_nginx: self.world.front.is_nginx(),
        };
        let mut found = differences(vector, &answer, &known);
        // nginx's own errors are HTML.
        if !self.world.front.is_nginx() || answer.header("content-type") != Some("text/html") {
            found.extend(unreadable_error(vector, &answer));
        }
        found
    }

    fn remember(&mut self, vector: &Vector, token: &str) {
        let claims = claims(token);
        let beyond = granted::beyond(&self.clients, &claims, self.world.now());
        assert!(
            beyond.is_empty(),
            "{}: the token has what its client may not have: {beyond:?}",
            vector.id
        );
        let jti = claims["jti"].as_str().expect("a jti").to_owned();
        assert!(
            self.issued.insert(jti, claims).is_none(),
            "{}: every token has an id of its own",
            vector.id
        );
        if let Some(name) = &vector.saves {
            self.names.tokens.insert(name.clone(), token.to_owned());
        }
    }

    /// A token of the same client and owner, for later requests that use one which ours refuses to
    /// issue.
    async fn stand_in(&mut self, vector: &Vector) -> String {
        let body = vector.request.body.as_deref().expect("a form");
        let client = form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "client_id");
        let client = client.expect("a client").1.into_owned();
        let assertion = self.names.fill("{{user}}");
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &client)
            .append_pair("client_assertion", &assertion)
            .append_pair(
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            )
            .finish();
        let request = Request {
            method: "POST",
            target: "/m2m-oauth-server/oauth/token",
            headers: &[("Content-Type", "application/x-www-form-urlencoded")],
            body: Some(form.as_bytes()),
        };
        let answer = self.world.front.ask(&request).await;
        let token =
            issued_token(&answer).unwrap_or_else(|| panic!("{}: {}", vector.id, answer.text()));
        logs::remember_secret(&token);
        let claims = claims(&token);
        self.issued
            .insert(claims["jti"].as_str().expect("a jti").to_owned(), claims);
        token
    }

    /// The claims of the token that the request holds as its assertion.
    fn assertion(&self, vector: &Vector) -> Option<Value> {
        let body = vector.request.body.as_deref()?;
        let after = body
            .split_once("client_assertion=")
            .or_else(|| body.split_once("client_assertion\": \""));
        let (_, after) = after.or_else(|| body.split_once("clientAssertion\": \""))?;
        let name = after.strip_prefix("{{")?.split(['}', '|']).next()?;
        self.names.tokens.get(name).map(|token| claims(token))
    }
}

/// The part of an error that plgd's clients cannot read: they expect a google.rpc.Status without
/// other members. At the token endpoint RFC 6749's members stand beside it; plgd's server has no
/// other endpoints below `/oauth`.
fn unreadable_error(vector: &Vector, answer: &RawAnswer) -> Option<Difference> {
    const STATUS: [&str; 3] = ["code", "details", "message"];
    let path = vector.request.path.split('?').next().unwrap_or_default();
    if answer.status < 400
        || vector.request.method == "HEAD"
        || !path.starts_with("/m2m-oauth-server")
    {
        return None;
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let mut members: Vec<&str> = body
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    let at_token_endpoint = path.trim_end_matches('/').ends_with("/oauth/token");
    if at_token_endpoint {
        let all = members.len();
        members.retain(|name| !["error", "error_description"].contains(name));
        if all != members.len() + 2 {
            members.push("not both of RFC 6749's");
        }
    }
    let json = answer.header("content-type") == Some("application/json");
    (members != STATUS || !json).then(|| Difference {
        place: "error's members".to_owned(),
        plgd: Some(STATUS.join(" ").into()),
        ours: Some(members.join(" ").into()),
    })
}

/// The differences of an exchange without a rule, as the table writes them.
fn without_rules(vector: &Vector, found: &[Difference], used: &mut BTreeSet<&str>) -> Vec<String> {
    let mut left = Vec::new();
    for difference in found {
        match RULES.iter().find(|rule| rule.covers(vector, difference)) {
            Some(rule) => {
                used.insert(rule.name);
            }
            None => left.push(difference.to_string()),
        }
    }
    left
}

fn report(vector: &Vector, expected: Option<&Row>, seen: &[String]) -> Option<String> {
    let expected = expected
        .map(|row| row.differences.as_slice())
        .unwrap_or_default();
    (expected != seen).then(|| {
        let lines = |all: &[String]| {
            all.iter()
                .map(|line| format!("= {line}\n"))
                .collect::<String>()
        };
        let (id, name) = (&vector.id, &vector.name);
        format!(
            "{id} ({name})\n{}the table has:\n{}",
            lines(seen),
            lines(expected)
        )
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_exchange_is_answered_as_plgd_answers_it_or_differs_as_the_table_says() {
    let recording = vectors::recording();
    let rows = |text| table::parse(text).unwrap_or_else(|e| panic!("the table: {e}"));
    let mut table = rows(DIFFERENCES);
    let mut replay = Replay::start(recording.clients).await;
    let through_nginx = rows(THROUGH_NGINX);
    if replay.world.front.is_nginx() {
        table.extend(through_nginx);
    }
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for vector in &recording.vectors {
        let found = replay.play(vector).await;
        let seen = without_rules(vector, &found, &mut used);
        wrong.extend(report(vector, table.get(&vector.id), &seen));
    }
    let ids: BTreeSet<&str> = recording
        .vectors
        .iter()
        .map(|vector| vector.id.as_str())
        .collect();
    let strange: Vec<_> = table
        .keys()
        .filter(|id| !ids.contains(id.as_str()))
        .collect();
    assert!(
        strange.is_empty(),
        "the table has rows for what was not recorded: {strange:?}"
    );
    assert!(
        wrong.is_empty(),
        "{} exchanges differ otherwise:\n\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let unused: Vec<_> = RULES
        .iter()
        .map(|rule| rule.name)
        .filter(|name| !used.contains(name))
        .collect();
    // nginx takes some header fields for itself.
    assert!(
        unused.is_empty() || replay.world.front.is_nginx(),
        "rules that cover nothing: {unused:?}"
    );
    replay.world.sidecar.stop().await;
}

#[test]
fn every_rule_has_a_reason() {
    assert!(RULES.iter().all(|rule| rule.reason.len() > 30));
}
