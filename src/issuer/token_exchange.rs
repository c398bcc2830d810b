//! Token exchange (RFC 8693): which tokens a client may exchange, and for what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::actors;
use crate::domain::claims::Claims;
use crate::domain::reason::Reason;

/// Names this issuer among the authorities of a policy.
pub const OWN: &str = "self";
/// The default of [`ExchangePolicy::max_depth`].
pub const DEFAULT_DEPTH: u8 = 1;
/// The highest [`ExchangePolicy::max_depth`].
#[expect(clippy::cast_possible_truncation, reason = "it is 8")]
pub const MAX_DEPTH: u8 = actors::MOST as u8;

/// The tokens that a client may exchange, and what it may get for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExchangePolicy {
    /// The tokens that it may exchange (`subject_token`): each must fit one of these.
    #[schema(min_items = 1, max_items = 100)]
    pub subjects: Vec<ExchangedTokens>,
    /// The tokens that may name the actor (`actor_token`). Without any, the client is the actor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 100)]
    pub actors: Vec<ExchangedTokens>,
    /// The audiences of the new tokens, some of those of the client; all of them when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 100)]
    pub audiences: Vec<String>,
    /// Scopes of the client that a new token may have although the exchanged token of this issuer
    /// lacks them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 100)]
    pub added_scopes: Vec<String>,
    /// The most actors in the claim `act` of a new token. With 1, the client cannot exchange an
    /// exchanged token.
    #[serde(default = "default_depth")]
    #[schema(required = false, minimum = 1, maximum = 8, default = 1)]
    pub max_depth: u8,
}

fn default_depth() -> u8 {
    DEFAULT_DEPTH
}

/// Tokens of one authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExchangedTokens {
    /// The name of the authority in the configuration; `self` is this issuer.
    pub authority: String,
    /// The `sub` that they have, or its beginning and a `*`. Any when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The audiences that they may have, beside the client's id and this issuer: those of the
    /// service that exchanges them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 100)]
    pub audiences: Vec<String>,
    /// The claims that they need, each with its accepted values. A dotted name selects a member of
    /// an object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub claims: BTreeMap<String, Vec<String>>,
    /// Whether ID tokens of the authority are accepted too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub id_tokens: bool,
}

/// The claims by which an ID token differs from an access token (OpenID Connect Core 1.0 §2).
const OF_ID_TOKENS: [&str; 4] = ["nonce", "at_hash", "c_hash", "s_hash"];

/// Whether the claims are those of an ID token. Keycloak and Cognito say so in a claim.
pub(super) fn is_id_token(claims: &Claims) -> bool {
    let says = |name: &str, text: &str| {
        let value = claims.get(name).and_then(Value::as_str);
        value.is_some_and(|value| value.eq_ignore_ascii_case(text))
    };
    OF_ID_TOKENS.iter().any(|name| claims.contains(name))
        || says("typ", "id")
        || says("token_use", "id")
}

impl ExchangedTokens {
    /// Checks the claims of a verified token against this entry. `audiences` are accepted beside
    /// those of the entry.
    pub(super) fn check(
        &self,
        claims: &Claims,
        subject: &str,
        is_id_token: bool,
        audiences: [&str; 2],
    ) -> Result<(), TokenFault> {
        if is_id_token && !self.id_tokens {
            return Err(TokenFault::IdToken);
        }
        let has_subject = self.subject.as_deref().is_none_or(|wanted| {
            wanted
                .strip_suffix('*')
                .map_or(wanted == subject, |start| subject.starts_with(start))
        });
        let has_claim = |(name, values): (&String, &Vec<String>)| {
            claims
                .find(name)
                .is_some_and(|claim| has_one(claim, values))
        };
        if !(has_subject && self.claims.iter().all(has_claim)) {
            return Err(TokenFault::Policy);
        }
        let named = claims.strings("aud").map_err(|_| TokenFault::Claims)?;
        let is_for_client = named.iter().any(|audience| {
            audiences.contains(audience) || self.audiences.iter().any(|it| it == audience)
        });
        is_for_client.then_some(()).ok_or(TokenFault::Audience)
    }
}

/// Whether a claim, or one item of a list, has one of these values. Numbers and booleans are
/// compared in their JSON form.
fn has_one(claim: &Value, values: &[String]) -> bool {
    match claim {
        Value::Array(items) => items.iter().any(|item| is_one(item, values)),
        one => is_one(one, values),
    }
}

fn is_one(value: &Value, values: &[String]) -> bool {
    match value {
        Value::String(text) => values.contains(text),
        Value::Number(_) | Value::Bool(_) => values.contains(&value.to_string()),
        _ => false,
    }
}

/// Why a subject token or an actor token is not accepted. The texts are constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("it is no signed JWT")]
    NoJwt,
    #[error("it is longer than issuer.maxTokenSize")]
    TooLarge,
    #[error("no authority of the client's exchange policy issued it")]
    UnknownIssuer,
    /// It is of this issuer.
    #[error("it is not valid: it has expired or was revoked, or its client may not use it now")]
    Invalid,
    #[error("it has expired")]
    Expired,
    #[error("it has no exp")]
    NoExpiry,
    #[error("its check failed: {}", .0.code())]
    Foreign(Reason),
    #[error("a claim of it has a wrong type or is too long")]
    Claims,
    #[error("it has no sub")]
    NoSubject,
    #[error("it is an ID token, and the client's exchange policy accepts none of its authority")]
    IdToken,
    #[error("the client's exchange policy does not accept its sub or its claims")]
    Policy,
    #[error(
        "its aud names neither this issuer, nor the client, nor an audience of the client's \
         exchange policy"
    )]
    Audience,
    #[error("it is bound to a key (cnf)")]
    Bound,
    #[error("it has as many actors (act) as the client's exchange policy allows")]
    Depth,
    #[error("its may_act does not name the actor")]
    MayAct,
    #[error("the client's exchange policy accepts no actor token")]
    NoActors,
    #[error("it has actors of its own (act)")]
    Delegated,
}
