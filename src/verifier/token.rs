//! What a verified token says, read once into types.

use std::time::Duration;

use http::HeaderValue;
use serde_json::Value;

use crate::domain::claims::{Claims, WrongType};
use crate::domain::clock::UnixTime;
use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;

use super::Audiences;

/// What is kept of a token whose signature and claims were checked; nothing here depends on when it is used. Small,
/// because tens of thousands are remembered: of the claims only those that the listener forwards.
pub struct TokenFacts {
    /// Index of the authority among the listener's.
    pub(super) authority: usize,
    /// The key that made the signature.
    pub(super) key: [u8; 32],
    scopes: ScopeSet,
    audiences: Box<[Box<str>]>,
    client_id: Option<Box<str>>,
    forwarded: Box<[Option<HeaderValue>]>,
    expires_at: i64,
    not_before: Option<i64>,
    issued_at: Option<i64>,
}

impl TokenFacts {
    /// Reads the claims of a token whose signature was checked. `forwarded` names the claims that will stand in headers:
    /// one that cannot makes the token unusable, because a request without it could pass for another identity.
    ///
    /// # Errors
    /// [`Reason::NoExpiry`], [`Reason::SenderConstrained`] or [`Reason::MalformedClaims`].
    pub(super) fn read(
        claims: &Claims,
        authority: usize,
        key: [u8; 32],
        forwarded: &[String],
    ) -> Result<Self, Reason> {
        let wrong = |_: WrongType| Reason::MalformedClaims;
        // RFC 7800 §3: a token bound to a key is worth nothing without proof of that key.
        if claims.contains("cnf") {
            return Err(Reason::SenderConstrained);
        }
        let expires_at = claims.numeric_date("exp").map_err(wrong)?.ok_or(Reason::NoExpiry)?;
        let not_before = claims.numeric_date("nbf").map_err(wrong)?;
        let issued_at = claims.numeric_date("iat").map_err(wrong)?;
        for name in ["sub", "client_id", "azp", "jti"] {
            claims.string(name).map_err(wrong)?;
        }
        let scopes = claims.scopes().map_err(wrong)?;
        let audiences = claims.strings("aud").map_err(wrong)?.into_iter().map(Box::from).collect();
        let client_id =
            ["client_id", "azp"].iter().find_map(|name| claims.get(name)?.as_str()).map(Box::from);
        let header = |name: &String| match claim_text(claims, &scopes, name) {
            Some(text) => HeaderValue::from_str(&text).map(Some).map_err(|_| Reason::MalformedClaims),
            None => Ok(None),
        };
        let forwarded = forwarded.iter().map(header).collect::<Result<_, _>>()?;
        Ok(Self {
            authority,
            key,
            scopes,
            audiences,
            client_id,
            forwarded,
            expires_at,
            not_before,
            issued_at,
        })
    }

    /// Judges the token's times (RFC 7519 §4.1.4 to §4.1.6).
    pub(super) fn check_times(&self, now: UnixTime, skew: Duration) -> Result<(), Reason> {
        let (earliest, latest) = (now.minus(skew), now.plus(skew));
        if self.expires_at <= earliest.0 {
            Err(Reason::Expired)
        } else if self.not_before.is_some_and(|nbf| nbf > latest.0) {
            Err(Reason::NotYetValid)
        } else if self.issued_at.is_some_and(|iat| iat > latest.0) {
            Err(Reason::IssuedInFuture)
        } else {
            Ok(())
        }
    }

    /// Whether the token is meant for one of these audiences.
    pub(super) fn is_for(&self, audiences: &Audiences) -> bool {
        match audiences {
            Audiences::Any => true,
            Audiences::OneOf(accepted) => {
                self.audiences.iter().any(|aud| accepted.iter().any(|accepted| **accepted == **aud))
            }
        }
    }

    /// The token's scopes.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// Who asked for the token: `client_id` (RFC 9068 §2.2), or `azp` as OpenID providers call it.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// The claims that the listener forwards, in the order of its configuration; `None` where the token has none.
    #[must_use]
    pub fn forwarded(&self) -> &[Option<HeaderValue>] {
        &self.forwarded
    }
}

/// A claim as the text of a header: strings as they are, numbers and booleans in JSON, lists of those joined by spaces.
/// Other values, and a claim that is not there, give `None`.
fn claim_text(claims: &Claims, scopes: &ScopeSet, name: &str) -> Option<String> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    if name == "scope" && !claims.contains("scope") && !scopes.is_empty() {
        return Some(scopes.to_string());
    }
    match claims.get(name)? {
        Value::Array(items) => Some(items.iter().map(scalar).collect::<Option<Vec<_>>>()?.join(" ")),
        value => scalar(value),
    }
}
