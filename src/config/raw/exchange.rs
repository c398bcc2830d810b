//! Token exchange of a client, as the file has it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::ClaimValues;
use crate::config::name::{Audience, ClaimName, ClaimValue, Name, Scope};
use crate::issuer::token_exchange::DEFAULT_DEPTH;

/// The tokens that a client may exchange (RFC 8693), and what it may get for them.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct TokenExchange {
    /// The tokens that the client may exchange (`subject_token`). A token must fit one entry.
    #[schemars(length(min = 1))]
    pub subjects: Vec<ExchangedTokens>,
    /// The tokens that may name the actor (`actor_token`). Default: none; the client is the actor.
    #[serde(default)]
    pub actors: Vec<ExchangedTokens>,
    /// The audiences of the new tokens, some of `allowedAudiences`. Default: all of them. A request
    /// without an audience is refused if there is more than one.
    #[serde(default)]
    pub audiences: Vec<Audience>,
    /// Scopes of `allowedScopes` that the new token may have although the exchanged token lacks
    /// them. Otherwise a token of this issuer limits the scopes.
    #[serde(default)]
    pub added_scopes: Vec<Scope>,
    /// The maximum number of actors in the claim `act` of a new token: 1 to 8. With 1, the client
    /// cannot exchange a token that another client got by an exchange.
    #[serde(default = "default_depth")]
    #[schemars(range(min = 1, max = 8))]
    pub max_depth: u8,
}

fn default_depth() -> u8 {
    DEFAULT_DEPTH
}

/// Tokens of one authority.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct ExchangedTokens {
    /// The name of the authority that issued the token. `self` is this issuer.
    pub authority: Name,
    /// The `sub` of the token, or its beginning and a `*`. Default: any.
    pub subject: Option<ClaimValue>,
    /// The audiences that the token may have, in addition to the client's id and the issuer's URL:
    /// those of the service that exchanges it. A token for another service is refused.
    #[serde(default)]
    pub audiences: Vec<Audience>,
    /// Claims that the token must have, as in `inbound[].rules[].claims`.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "claim-name" }))]
    pub claims: BTreeMap<ClaimName, ClaimValues>,
    /// Whether ID tokens are accepted too.
    #[serde(default)]
    pub id_tokens: bool,
}
