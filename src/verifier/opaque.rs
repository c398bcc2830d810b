//! Opaque tokens: which authority is asked about a token, and the facts in its answer.

use std::sync::Arc;

use serde_json::Value;

use super::introspection::Introspection;
use super::token::{Proof, Reading, TokenFacts};
use super::{Authority, BearerToken, Check, CheckObserver, TokenVerifier};
use crate::domain::claims::Claims;
use crate::domain::keyed_digest::KeyedDigest;
use crate::domain::reason::Reason;

/// An authority that is asked about a token.
pub(super) struct Introspecting<'v> {
    /// Its index among those of the verifier.
    index: usize,
    pub authority: &'v Arc<Authority>,
    introspection: &'v Introspection,
}

impl TokenVerifier {
    /// The authority that is asked about a token: the one with the longest prefix that the token
    /// has, else for a token that is no JWT the one without a prefix. `None`: the token is verified
    /// as a JWT.
    pub(super) fn introspecting(&self, token: &str) -> Option<Introspecting<'_>> {
        let authorities = self.introspecting_authorities();
        let matching = authorities.filter_map(|it| match it.introspection.prefix() {
            Some(prefix) => token.starts_with(prefix).then_some((prefix.len(), it)),
            None => (!is_jwt(token)).then_some((0, it)),
        });
        matching.max_by_key(|(length, _)| *length).map(|(_, it)| it)
    }

    /// The facts of an opaque token, from the answer of its authority.
    pub(super) async fn introspect(
        &self,
        bearer: &BearerToken<'_>,
        digest: KeyedDigest,
        asked: Introspecting<'_>,
        observer: &mut impl CheckObserver,
    ) -> Result<TokenFacts, Reason> {
        let (authority, introspection) = (asked.authority, asked.introspection);
        if bearer.text().len() > authority.max_token_size {
            return Err(Reason::TokenTooLarge);
        }
        observer.checking(Check::Introspection);
        let answer = introspection.answer(bearer, digest).await?;
        let claims = &answer.claims;
        observer.checking(Check::Type);
        if !is_access_token(claims) {
            return Err(Reason::TokenType);
        }
        observer.checking(Check::Issuer);
        let issuer = claims.string("iss").map_err(|_| Reason::MalformedClaims)?;
        if !issuer.is_some_and(|issuer| authority.issuer.is(issuer)) {
            return Err(Reason::UnknownIssuer);
        }
        observer.checking(Check::Claims);
        let reading = Reading {
            // The authority is asked again after each `cache`, so it can end such a token.
            require_expiry: false,
            ..self.reading(authority)
        };
        let proof = Proof::Answer {
            from: answer.asked_at,
            until: answer.until,
        };
        TokenFacts::read(claims, digest, asked.index, proof, &reading)
    }
}

impl TokenVerifier {
    fn introspecting_authorities(&self) -> impl Iterator<Item = Introspecting<'_>> {
        let authorities = self.authorities.iter().enumerate();
        let authorities = authorities.filter(|_| self.policy.introspects);
        authorities.filter_map(|(index, authority)| {
            let introspection = authority.introspection()?;
            Some(Introspecting {
                index,
                authority,
                introspection,
            })
        })
    }
}

/// Whether a token has the form of a JWT: three parts in base64url, of which the last may be empty
/// (RFC 7515 §3.1). An encrypted one has five, and only its authority can read it.
fn is_jwt(token: &str) -> bool {
    let is_part = |part: &str| {
        let is_in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        part.bytes().all(is_in_alphabet)
    };
    let mut parts = token.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(payload), Some(signature), None) => {
            let are_there = !header.is_empty() && !payload.is_empty();
            are_there && [header, payload, signature].into_iter().all(is_part)
        }
        _ => false,
    }
}

/// Whether an active token is an access token. Authorities also confirm refresh tokens and ID
/// tokens, and say so in members of their own.
fn is_access_token(claims: &Claims) -> bool {
    let is_one_of = |name, accepted: &[&str]| match claims.get(name) {
        None => true,
        Some(Value::String(text)) => accepted.iter().any(|it| text.eq_ignore_ascii_case(it)),
        Some(_) => false,
    };
    // Ory Hydra and Amazon Cognito, then Keycloak.
    is_one_of("token_use", &["access_token", "access"])
        && is_one_of("typ", &["Bearer", "DPoP", "JWT", "at+jwt", "access_token"])
        && is_one_of(
            "token_type",
            &[
                "Bearer",
                "DPoP",
                "N_A",
                "access_token",
                "urn:ietf:params:oauth:token-type:access_token",
            ],
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_parts_are_a_jwt() {
        for (token, expected) in [
            ("a.b.c", true),
            ("eyJhbGciOiJub25lIn0.e30.", true),
            ("ory_at_abc.def", false),
            ("a.b.c.d.e", false),
            ("..", false),
            ("a..c", false),
            ("a.b+.c", false),
            ("opaque", false),
            ("a.b.c==", false),
        ] {
            assert_eq!(is_jwt(token), expected, "{token}");
        }
    }

    #[test]
    fn refresh_and_id_tokens_are_no_access_tokens() {
        for (claims, expected) in [
            ("{}", true),
            (
                r#"{"token_type":"bearer","token_use":"access_token"}"#,
                true,
            ),
            (r#"{"token_type":"DPoP"}"#, true),
            (r#"{"typ":"Bearer","token_type":"Bearer"}"#, true),
            (
                r#"{"token_use":"refresh_token","token_type":"Bearer"}"#,
                false,
            ),
            (r#"{"typ":"Refresh"}"#, false),
            (r#"{"typ":"Offline"}"#, false),
            (r#"{"typ":"ID"}"#, false),
            (r#"{"token_type":"refresh_token"}"#, false),
            (r#"{"token_use":null}"#, false),
            (r#"{"token_type":["Bearer"]}"#, false),
        ] {
            let claims = Claims::parse(claims.as_bytes()).unwrap();
            assert_eq!(is_access_token(&claims), expected, "{claims:?}");
        }
    }
}
