//! `exchange`: the tokens that a client may exchange, in a request.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::members::{MAX_TEXT, Members};
use crate::domain::name::{is_audience, is_claim_name};
use crate::domain::oauth::GrantType;
use crate::domain::scope::ScopeSet;
use crate::issuer::token_exchange::{DEFAULT_DEPTH, ExchangePolicy, ExchangedTokens, MAX_DEPTH};

/// The member of a client's metadata.
pub(super) const MEMBER: &str = "exchange";
const MEMBERS: [&str; 5] = [
    "subjects",
    "actors",
    "audiences",
    "added_scopes",
    "max_depth",
];
const TOKEN_MEMBERS: [&str; 5] = ["authority", "subject", "audiences", "claims", "id_tokens"];
/// The most entries of a list of tokens.
const MAX_ENTRIES: usize = 100;

/// Reads the member, which needs the grant, as the grant needs it.
pub(super) fn read(
    members: &mut Members<'_>,
    grants: &[String],
    audiences: &[String],
    scopes: &ScopeSet,
) -> Option<ExchangePolicy> {
    let grant = GrantType::TokenExchange.as_str();
    let has_grant = grants.iter().any(|it| it == grant);
    let value = match members.get(MEMBER) {
        None => {
            if has_grant {
                let problem = format!("the grant `{grant}` needs `exchange`");
                members.problem("grant_types", problem);
            }
            return None;
        }
        Some(Value::Object(value)) => value,
        Some(_) => {
            members.problem(MEMBER, "it must be an object");
            return None;
        }
    };
    if !has_grant {
        members.problem(MEMBER, format!("it needs `{grant}` in `grant_types`"));
    }
    if audiences.is_empty() {
        members.problem(
            MEMBER,
            "it needs `audience`: the services of the new tokens",
        );
    }
    let mut inner = Members::new(value, &MEMBERS);
    let policy = policy(&mut inner);
    if !policy.audiences.iter().all(|it| audiences.contains(it)) {
        inner.problem("audiences", "`audience` must contain each of them");
    }
    if !policy.added_scopes.iter().all(|it| scopes.contains(it)) {
        inner.problem("added_scopes", "`scope` must contain each of them");
    }
    for problem in inner.problems {
        members.problem(&format!("{MEMBER}.{}", problem.field), problem.problem);
    }
    Some(policy)
}

fn policy(members: &mut Members<'_>) -> ExchangePolicy {
    let subjects = tokens(members, "subjects");
    if subjects.is_empty() && members.problems.is_empty() {
        members.problem("subjects", "it must name the tokens that may be exchanged");
    }
    let depth = members.get("max_depth").map(|depth| {
        let depth = depth.as_u64().and_then(|depth| u8::try_from(depth).ok());
        depth.filter(|depth| (1..=MAX_DEPTH).contains(depth))
    });
    if depth == Some(None) {
        let problem = format!("it must be a number from 1 to {MAX_DEPTH}");
        members.problem("max_depth", problem);
    }
    ExchangePolicy {
        subjects,
        actors: tokens(members, "actors"),
        audiences: texts(members, "audiences"),
        added_scopes: texts(members, "added_scopes"),
        max_depth: depth.flatten().unwrap_or(DEFAULT_DEPTH),
    }
}

fn texts(members: &mut Members<'_>, name: &str) -> Vec<String> {
    let texts = members.list(name).unwrap_or_default();
    texts.into_iter().map(str::to_owned).collect()
}

/// A list of objects.
fn tokens(members: &mut Members<'_>, name: &str) -> Vec<ExchangedTokens> {
    let items = match members.get(name) {
        None => return Vec::new(),
        Some(Value::Array(items)) if items.len() <= MAX_ENTRIES => items,
        Some(_) => {
            let problem = format!("it must be a list of at most {MAX_ENTRIES} objects");
            members.problem(name, problem);
            return Vec::new();
        }
    };
    let mut read = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let field = format!("{name}[{place}]");
        let Value::Object(item) = item else {
            members.problem(&field, "it must be an object");
            continue;
        };
        let mut inner = Members::new(item, &TOKEN_MEMBERS);
        read.extend(one(&mut inner));
        for problem in inner.problems {
            members.problem(&format!("{field}.{}", problem.field), problem.problem);
        }
    }
    read
}

fn one(members: &mut Members<'_>) -> Option<ExchangedTokens> {
    let authority = members.text("authority", 64);
    if authority.is_none() && members.get("authority").is_none() {
        let problem = "name an authority of the configuration, or `self` for this issuer";
        members.problem("authority", problem);
    }
    let subject = members.text_or_empty("subject", 1024);
    let start = subject.as_deref().map(|it| it.trim_end_matches('*'));
    if start.is_some_and(|start| start.contains('*') || start.is_empty()) {
        let problem = "a `*` may only stand at the end, after the beginning of the `sub`";
        members.problem("subject", problem);
    }
    let audiences = texts(members, "audiences");
    if !audiences.iter().all(|audience| is_audience(audience)) {
        let problem = "an audience is not empty and holds no white space";
        members.problem("audiences", problem);
    }
    let claims = match members.get("claims") {
        None => Some(BTreeMap::new()),
        Some(Value::Object(claims)) => accepted(claims),
        Some(_) => None,
    };
    if claims.is_none() {
        let problem = "it must be an object that has a list of accepted texts for each claim";
        members.problem("claims", problem);
    }
    Some(ExchangedTokens {
        authority: authority?,
        subject,
        audiences,
        claims: claims?,
        id_tokens: members.flag("id_tokens"),
    })
}

fn accepted(claims: &Map<String, Value>) -> Option<BTreeMap<String, Vec<String>>> {
    let mut read = BTreeMap::new();
    for (name, values) in claims {
        let text = |value: &Value| match value {
            Value::String(text) if matches!(text.len(), 1..=MAX_TEXT) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        };
        let values = values.as_array()?.iter().map(text);
        let values: Vec<String> = values.collect::<Option<_>>()?;
        if values.is_empty() || !is_claim_name(name) {
            return None;
        }
        read.insert(name.clone(), values);
    }
    Some(read)
}
