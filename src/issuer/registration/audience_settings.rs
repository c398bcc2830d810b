//! `audience_settings`: what the verifiers of a client's audiences need, in a request.

use std::time::Duration;

use serde_json::Value;

use super::members::Members;
use crate::issuer::token_format::{AudienceSettings, ByAudience, ScopeClaim, TokenType};
use crate::jose::{ALGORITHMS, algorithm_name, parse_algorithm};

/// The member of a client's metadata.
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
pub(super) fn read(members: &mut Members<'_>, audiences: &[String]) -> ByAudience {
    let settings = match members.get(MEMBER) {
        None => return ByAudience::new(),
        Some(Value::Object(settings)) => settings,
        Some(_) => {
            let problem = "it must be an object that has an object for each audience";
            members.problem(MEMBER, problem);
            return ByAudience::new();
        }
    };
    let mut read = ByAudience::new();
    for (audience, value) in settings {
        // A name of a megabyte is not repeated.
        let shown: String = audience.chars().take(256).collect();
        let field = format!("{MEMBER}.{shown}");
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
        read.insert(audience.clone(), one);
    }
    read
}

fn read_one(members: &mut Members<'_>) -> AudienceSettings {
    let token_type = members.get("token_type").map(|value| {
        let mut types = TokenType::ALL.into_iter();
        types.find(|known| value == known.as_str())
    });
    if token_type == Some(None) {
        members.problem("token_type", "it must be `at+jwt` or `JWT`");
    }
    let algorithm = members
        .get("algorithm")
        .map(|value| value.as_str().and_then(parse_algorithm));
    if algorithm == Some(None) {
        let names = ALGORITHMS
            .iter()
            .copied()
            .map(algorithm_name)
            .collect::<Vec<_>>()
            .join(", ");
        members.problem("algorithm", format!("it must be one of {names}"));
    }
    let scope_claims = members.get("scope_claims").map(scope_claims);
    if scope_claims == Some(None) {
        let problem = "it must be a list of `scope`, `scp` or both";
        members.problem("scope_claims", problem);
    }
    let access_token_lifetime = members.seconds("access_token_lifetime");
    if access_token_lifetime.is_some_and(|lifetime| lifetime.is_zero() || lifetime > DAY) {
        members.problem("access_token_lifetime", "it must be from 1s to 24h");
    }
    AudienceSettings {
        token_type: token_type.flatten(),
        algorithm: algorithm.flatten(),
        scope_claims: scope_claims.flatten(),
        access_token_lifetime,
    }
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
