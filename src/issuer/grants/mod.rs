//! The grants: each narrows what an authenticated client asks for to what it may have.

pub(super) mod client_credentials;
pub(super) mod refresh_token;

use super::client_auth::AuthenticatedClient;
use super::client_auth::exchange::Exchanged;
use super::policy::Policy;
use super::token_format::TokenFormat;
use super::{TokenError, TokenRequest};
use crate::domain::clock::UnixTime;
use crate::domain::scope::ScopeSet;
use crate::issuer::excerpt::Excerpt;
use crate::issuer::uri;

/// The last whole number that every reader of JSON holds (RFC 8259 §6).
const LAST: UnixTime = UnixTime((1 << 53) - 1);

/// What an access token may say. Only a grant makes one.
#[derive(Debug)]
pub(super) struct Granted {
    client: AuthenticatedClient,
    scope: ScopeSet,
    audiences: Vec<String>,
    format: TokenFormat,
    expires_at: Option<UnixTime>,
    token_name: Option<String>,
}

impl Granted {
    /// The client it is for.
    pub(super) fn client(&self) -> &AuthenticatedClient {
        &self.client
    }

    /// What it is good for.
    pub(super) fn scope(&self) -> &ScopeSet {
        &self.scope
    }

    /// Whom it is for; at least one.
    pub(super) fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Its form.
    pub(super) fn format(&self) -> &TokenFormat {
        &self.format
    }

    /// When it ends; never, when none.
    pub(super) fn expires_at(&self) -> Option<UnixTime> {
        self.expires_at
    }

    /// Whether the token gets a row in the store.
    pub(super) fn is_kept(&self, policy: &Policy) -> bool {
        policy.profile.keep_all || self.token_name.is_some() || self.client.exchanged().is_some()
    }

    /// What the client calls it.
    pub(super) fn token_name(&self) -> Option<&str> {
        self.token_name.as_deref()
    }
}

/// The scopes that are asked for, if all of them are allowed.
fn allowed_scopes(asked: &ScopeSet, allowed: &ScopeSet) -> Result<ScopeSet, TokenError> {
    match asked.iter().find(|scope| !allowed.contains(scope)) {
        Some(scope) => Err(TokenError::InvalidScope(Excerpt::of(scope))),
        None => Ok(asked.clone()),
    }
}

/// The audiences that are asked for, as they are spelt where they are allowed: verifiers compare
/// texts.
fn allowed_audiences(asked: &[String], allowed: &[String]) -> Result<Vec<String>, TokenError> {
    let mut audiences: Vec<String> = Vec::new();
    for asked in asked {
        let exact = allowed.iter().find(|allowed| *allowed == asked);
        let Some(audience) =
            exact.or_else(|| allowed.iter().find(|allowed| uri::is_same(allowed, asked)))
        else {
            return Err(TokenError::InvalidTarget(Excerpt::of_uri(asked)));
        };
        if !audiences.contains(audience) {
            audiences.push(audience.clone());
        }
    }
    Ok(audiences)
}

/// A token ends with its client at the latest, and with the JWT that it was exchanged for where the
/// client is registered so: then also what `expiration` asks for, as `expires_in` tells.
/// `expiration` may only shorten its life; a time that is over is an error, not "no time given":
/// what asks for a dead token must not get the longest-living one.
fn expires_at(
    client: &AuthenticatedClient,
    format: &TokenFormat,
    request: &TokenRequest,
    policy: &Policy,
    now: UnixTime,
) -> Result<Option<UnixTime>, TokenError> {
    let registration = client.registration();
    let latest = policy
        .lifetime(registration, format)
        .map(|lifetime| now.plus(lifetime));
    let latest = latest.into_iter().chain(registration.expires_at).min();
    let end = match request.expiration(now) {
        None => latest,
        // A verifier would read another time, or none.
        Some(asked) if LAST < asked && latest.is_none() => None,
        Some(asked) if now < asked && latest.is_none_or(|latest| asked <= latest) => Some(asked),
        Some(_) => return Err(TokenError::Expiration),
    };
    Ok(end
        .into_iter()
        .chain(client.exchanged().and_then(Exchanged::ends_by))
        .min())
}
