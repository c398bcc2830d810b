//! Access tokens: JWTs of the profile of RFC 9068.

use std::time::Duration;

use serde_json::{Map, Value};

use super::grants::Granted;
use super::signing_keys::SigningKeys;
use super::{Client, Config, OpenError, TokenError, TokenResponse};
use crate::domain::clock::UnixTime;

/// `typ` of an access token (RFC 9068 §2.1).
const TYP: &str = "at+jwt";

/// By how much `iat` lies in the past, so that a verifier whose clock is a little behind, and that allows no leeway,
/// accepts a fresh token.
pub(super) const BACKDATED: Duration = Duration::from_secs(10);

/// Claims that only the issuer sets. A configured claim of one of these names is left out even where the issuer
/// itself has nothing to say: an inserted `scope` would widen a client that was given none.
pub const RESERVED: [&str; 10] =
    ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "cnf"];

/// What holds for every token of this issuer.
pub(super) struct Policy {
    issuer: String,
    owner_claim: String,
    lifetime: Duration,
}

impl Policy {
    pub(super) fn new(config: &Config) -> Result<Self, OpenError> {
        if config.owner_claim.is_empty() || RESERVED.contains(&config.owner_claim.as_str()) {
            return Err(OpenError::OwnerClaim);
        }
        let lifetimes = config.clients.iter().filter_map(|client| client.access_token_lifetime);
        // Below a second `exp` and `expires_in` would be zero, which means "never" to some.
        if lifetimes.chain([config.access_token_lifetime]).any(|lifetime| lifetime.as_secs() == 0) {
            return Err(OpenError::Lifetime);
        }
        for client in &config.clients {
            for claim in client.insert_token_claims.keys().filter(|claim| RESERVED.contains(&claim.as_str()))
            {
                tracing::warn!(
                    client_id = client.id,
                    claim,
                    "this inserted claim is the issuer's own and is left out"
                );
            }
        }
        Ok(Self {
            issuer: config.url.clone(),
            owner_claim: config.owner_claim.clone(),
            lifetime: config.access_token_lifetime,
        })
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn lifetime(&self, client: &Client) -> Duration {
        client.access_token_lifetime.unwrap_or(self.lifetime)
    }
}

/// Writes and signs the token that was granted.
///
/// # Errors
/// [`TokenError::Signing`] when the key does not sign.
pub(super) fn sign(
    granted: &Granted,
    policy: &Policy,
    keys: &SigningKeys,
    now: UnixTime,
) -> Result<TokenResponse, TokenError> {
    let jti = uuid::Uuid::new_v4().to_string();
    let claims = claims(granted, policy, &jti, now);
    let expires_in = now.until(granted.expires_at());
    let access_token = keys.sign(TYP, &claims, expires_in).map_err(|_| TokenError::Signing)?;
    Ok(TokenResponse { access_token, expires_in, scope: granted.scope().clone(), jti })
}

fn claims(granted: &Granted, policy: &Policy, jti: &str, now: UnixTime) -> Map<String, Value> {
    let client = granted.client().registration();
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("iss", policy.issuer.as_str().into());
    set("sub", client.id.as_str().into());
    set("aud", granted.audiences().into());
    set("exp", granted.expires_at().0.into());
    set("iat", now.minus(BACKDATED).0.into());
    set("jti", jti.into());
    set("client_id", client.id.as_str().into());
    if !granted.scope().is_empty() {
        set("scope", granted.scope().to_string().into());
    }
    if let Some(owner) = &client.owner {
        set(&policy.owner_claim, owner.as_str().into());
    }
    // What follows never overrides what is there; the client's own words come last, so that a token's name poses
    // neither as its owner nor as what the operator inserts.
    for (name, value) in &client.insert_token_claims {
        if !RESERVED.contains(&name.as_str()) {
            claims.entry(name).or_insert_with(|| value.clone());
        }
    }
    if let Some(name) = granted.token_name() {
        claims.entry("name").or_insert_with(|| name.into());
    }
    claims
}
