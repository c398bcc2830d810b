//! `audience_settings`: what the verifiers of a client's audiences need, as a request says it and
//! as it is stored.

use std::time::Duration;

use serde_json::{Map, Value};

use super::members::Members;
use crate::issuer::token_format::{AudienceSettings, ByAudience, ScopeClaim, TokenType};
use crate::jose::{ALGORITHMS, algorithm_name, parse_algorithm};

/// The member of a registration.
pub(super) const MEMBER: &str = "audience_settings";
/// The members of one audience's settings.
const MEMBERS: [&str; 4] = [
    "token_type",
    "algorithm",
    "scope_claims",
    "access_token_lifetime",
];
/// The longest lifetime that settings may give.
const DAY: Duration = Duration::from_hours(24);

/// Reads the member: an object of objects, by audience. Each audience must be one of `audiences`.
/// Gives the settings as they are stored: the lifetime in seconds.
pub(super) fn read(members: &mut Members<'_>, audiences: &[String]) -> Map<String, Value> {
    let settings = match members.get(MEMBER) {
        None => return Map::new(),
        Some(Value::Object(settings)) => settings,
        Some(_) => {
            members.problem(
                MEMBER,
                "it must be an object that has an object for each audience",
            );
            return Map::new();
        }
    };
    let mut stored = Map::new();
    for (audience, value) in settings {
        // A name of a megabyte is not repeated.
        let field = format!(
            "{MEMBER}.{}",
            audience.chars().take(256).collect::<String>()
        );
        if !audiences.contains(audience) {
            members.problem(
                &field,
                "`audience` does not name this audience: add it there, or set this to null",
            );
            continue;
        }
        let Value::Object(value) = value else {
            members.problem(&field, "it must be an object");
            continue;
        };
        let mut inner = Members::new(value, &MEMBERS);
        let one = read_one(&mut inner);
        for problem in inner.problems {
            members.problem(&format!("{field}.{}", problem.field), problem.problem);
        }
        stored.insert(audience.clone(), Value::Object(one));
    }
    stored
}

fn read_one(members: &mut Members<'_>) -> Map<String, Value> {
    let mut stored = Map::new();
    if let Some(value) = members.get("token_type") {
        if value.as_str().and_then(token_type).is_none() {
            members.problem("token_type", "it must be `at+jwt` or `JWT`");
        }
        stored.insert("token_type".to_owned(), value.clone());
    }
    if let Some(value) = members.get("algorithm") {
        let algorithm = value.as_str().and_then(parse_algorithm);
        if algorithm.is_none() {
            let names: Vec<_> = ALGORITHMS.iter().copied().map(algorithm_name).collect();
            members.problem(
                "algorithm",
                format!("it must be one of {}", names.join(", ")),
            );
        }
        stored.insert(
            "algorithm".to_owned(),
            algorithm.map_or(Value::Null, |it| algorithm_name(it).into()),
        );
    }
    if let Some(value) = members.get("scope_claims") {
        if scope_claims(value).is_none() {
            members.problem(
                "scope_claims",
                "it must be a list of `scope`, `scp` or both",
            );
        }
        stored.insert("scope_claims".to_owned(), value.clone());
    }
    if let Some(lifetime) = members.seconds("access_token_lifetime") {
        if lifetime.as_secs() == 0 || lifetime > DAY {
            members.problem("access_token_lifetime", "it must be from 1s to 24h");
        }
        stored.insert(
            "access_token_lifetime".to_owned(),
            lifetime.as_secs().into(),
        );
    }
    stored
}

/// The stored settings, as tokens are made by them. `None`: a part cannot be read, and must not be
/// guessed.
pub(super) fn parse(stored: &Map<String, Value>) -> Option<ByAudience> {
    stored
        .iter()
        .map(|(audience, value)| Some((audience.clone(), parse_one(value.as_object()?)?)))
        .collect()
}

fn parse_one(stored: &Map<String, Value>) -> Option<AudienceSettings> {
    let mut settings = AudienceSettings::default();
    for (name, value) in stored {
        match name.as_str() {
            "token_type" => settings.token_type = Some(token_type(value.as_str()?)?),
            "algorithm" => settings.algorithm = Some(parse_algorithm(value.as_str()?)?),
            "scope_claims" => settings.scope_claims = Some(scope_claims(value)?),
            "access_token_lifetime" => {
                settings.access_token_lifetime =
                    Some(Duration::from_secs(value.as_u64().filter(|it| *it > 0)?));
            }
            _ => return None,
        }
    }
    Some(settings)
}

fn token_type(name: &str) -> Option<TokenType> {
    TokenType::ALL
        .into_iter()
        .find(|known| known.as_str() == name)
}

fn scope_claims(list: &Value) -> Option<Vec<ScopeClaim>> {
    let mut claims = Vec::new();
    for name in list.as_array()? {
        let claim = ScopeClaim::ALL
            .into_iter()
            .find(|known| Some(known.as_str()) == name.as_str())?;
        if claims.contains(&claim) {
            return None;
        }
        claims.push(claim);
    }
    (!claims.is_empty()).then_some(claims)
}
