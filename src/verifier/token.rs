//! What a verified token says, read once into types.

use std::time::Duration;

use serde_json::Value;

use crate::domain::claims::{Claims, WrongType};
use crate::domain::clock::UnixTime;
use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;

use super::Audiences;

/// Signature and claims of a token, checked; nothing here depends on when or where it is used.
pub struct TokenFacts {
    /// Index of the authority among the listener's.
    pub(super) authority: usize,
    /// The key that made the signature.
    pub(super) key: [u8; 32],
    claims: Claims,
    scopes: ScopeSet,
    audiences: Vec<String>,
    expires_at: i64,
    not_before: Option<i64>,
    issued_at: Option<i64>,
}

impl TokenFacts {
    /// Reads the claims of a token whose signature was checked.
    ///
    /// # Errors
    /// [`Reason::NoExpiry`], [`Reason::SenderConstrained`] or [`Reason::MalformedClaims`].
    pub(super) fn read(claims: Claims, authority: usize, key: [u8; 32]) -> Result<Self, Reason> {
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
        let audiences = claims.strings("aud").map_err(wrong)?.into_iter().map(str::to_owned).collect();
        Ok(Self { authority, key, scopes, audiences, expires_at, not_before, issued_at, claims })
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
            Audiences::OneOf(accepted) => self.audiences.iter().any(|aud| accepted.contains(aud)),
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
        let text = |name| self.claims.get(name).and_then(Value::as_str);
        text("client_id").or_else(|| text("azp"))
    }

    /// A claim as the text of a header: strings as they are, numbers and booleans in JSON, lists of those joined by
    /// spaces. Other values, and a claim that is not there, give `None`.
    #[must_use]
    pub fn claim_text(&self, name: &str) -> Option<String> {
        let scalar = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        };
        if name == "scope" && !self.claims.contains("scope") && !self.scopes.is_empty() {
            return Some(self.scopes.to_string());
        }
        match self.claims.get(name)? {
            Value::Array(items) => Some(items.iter().map(scalar).collect::<Option<Vec<_>>>()?.join(" ")),
            value => scalar(value),
        }
    }
}
