//! The answer about an active token.

use serde_json::Value;

use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::domain::issuer_name::IssuerName;

/// The estimated memory of an answer without its members.
const BASE_SIZE: u32 = 512;

/// The authority's answer about an active token.
#[derive(Debug)]
pub(in crate::verifier) struct Answer {
    /// The members of the answer. `iss` is added if it is missing.
    pub claims: Claims,
    /// When the question was asked.
    pub asked_at: UnixTime,
    /// Until when it is used: neither longer than `cache` nor beyond the token's `exp`.
    pub until: UnixTime,
    size: u32,
}

impl Answer {
    /// The answer to a question that was asked at a time. It is used until another time, and not
    /// beyond the token's `exp`.
    pub fn new(claims: Claims, issuer: &IssuerName, asked_at: UnixTime, until: UnixTime) -> Self {
        let claims = if claims.contains("iss") {
            claims
        } else {
            let mut members = claims.as_map().clone();
            members.insert("iss".to_owned(), issuer.written().into());
            Claims::from(members)
        };
        let expiry = claims.numeric_date("exp").ok().flatten();
        // A member takes several times the memory of its text.
        let size: usize = claims.as_map().iter().map(|it| weight(it.0, it.1)).sum();
        Self {
            claims,
            asked_at,
            until: expiry.map_or(until, |expiry| until.min(UnixTime(expiry))),
            size: BASE_SIZE.saturating_add(u32::try_from(size).unwrap_or(u32::MAX)),
        }
    }

    /// The estimated memory, in bytes.
    pub fn size(&self) -> u32 {
        self.size
    }
}

/// The estimated memory of a member, in bytes.
fn weight(name: &str, value: &Value) -> usize {
    const MEMBER: usize = 64;
    let inner = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| weight("", item)).sum(),
        Value::Object(members) => members.iter().map(|it| weight(it.0, it.1)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    MEMBER + name.len() + inner
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: &str) -> Answer {
        let claims = Claims::parse(json.as_bytes()).unwrap();
        let issuer = IssuerName::exact("https://idp.example");
        Answer::new(claims, &issuer, UnixTime(1000), UnixTime(1030))
    }

    #[test]
    fn an_answer_names_its_issuer_and_ends_with_the_token_at_the_latest() {
        let plain = answer(r#"{"active":true}"#);
        assert_eq!(plain.claims.string("iss"), Ok(Some("https://idp.example")));
        for (json, until) in [
            (r#"{"active":true}"#, 1030),
            (r#"{"active":true,"exp":1010}"#, 1010),
            (r#"{"active":true,"exp":900}"#, 900),
            (r#"{"active":true,"exp":9000}"#, 1030),
            (r#"{"active":true,"exp":"soon"}"#, 1030),
        ] {
            assert_eq!(answer(json).until, UnixTime(until), "{json}");
        }
        let other = answer(r#"{"active":true,"iss":7}"#);
        assert!(other.claims.string("iss").is_err(), "it is not replaced");
    }

    #[test]
    fn the_memory_of_an_answer_grows_with_its_members() {
        let size = |json: &str| answer(json).size();
        let small = size(r#"{"active":true}"#);
        let text = size(&format!(
            r#"{{"active":true,"a":"{}"}}"#,
            "x".repeat(10_000)
        ));
        let list = size(&format!(
            r#"{{"active":true,"a":[{}1]}}"#,
            "1,".repeat(10_000)
        ));
        let are_larger = text >= small + 10_000 && list >= small + 64 * 10_000;
        assert!(are_larger, "{small} {text} {list}");
    }
}
