//! The grants: each decides which part of its request an authenticated client gets.
//!
//! A grant is a function from a [`GrantRequest`] to [`Terms`], in a file of its own, and one line
//! in [`grant`]. It neither signs nor stores.

mod choice;
mod client_credentials;
mod refresh_token;
mod token_exchange;

use crate::domain::actors::Actor;
use crate::domain::clock::UnixTime;
use crate::domain::oauth::{GrantType, TokenTypeUri};
use crate::domain::scope::ScopeSet;
use crate::issuer::choice::Choice;
use crate::issuer::client_auth::AuthenticatedClient;
use crate::issuer::client_auth::exchange::Exchanged;
use crate::issuer::error::TokenError;
use crate::issuer::excerpt::Excerpt;
use crate::issuer::policy::Policy;
use crate::issuer::state::State;
use crate::issuer::token::confirmation::Confirmation;
use crate::issuer::token::request::TokenRequest;
use crate::issuer::token_format::TokenFormat;
use crate::issuer::{Client, uri};
use crate::store::Store;
use crate::store::tokens::RefreshToken;

/// The largest integer that every JSON reader represents exactly (RFC 8259 §6).
const LAST: UnixTime = UnixTime((1 << 53) - 1);

/// An access token that may be issued, and how it is kept. Only a grant makes one.
#[derive(Debug)]
pub(in crate::issuer) struct Granted {
    client: AuthenticatedClient,
    terms: Terms,
    confirmation: Confirmation,
    format: TokenFormat,
    expires_at: Option<UnixTime>,
    is_kept: bool,
}

/// The decisions of a grant.
#[derive(Debug)]
struct Terms {
    scope: ScopeSet,
    /// At least one.
    audiences: Vec<String>,
    token_name: Option<String>,
    choice: Choice,
    refresh: Refresh,
    /// Of a token exchange.
    delegation: Option<Delegation>,
}

/// The party for which a client acts after a token exchange, and the actors.
#[derive(Debug)]
pub(in crate::issuer) struct Delegation {
    /// The `sub` of the exchanged token.
    pub(in crate::issuer) subject: String,
    /// The owner that it names.
    pub(in crate::issuer) owner: Option<String>,
    /// The issuer of subject and owner, unless it is this one.
    pub(in crate::issuer) owner_issuer: Option<String>,
    /// The device that the exchanged token names: the new one is not for other devices either.
    pub(in crate::issuer) device_id: Option<String>,
    /// The current one first.
    pub(in crate::issuer) actors: Vec<Actor>,
    /// The latest end of the new token; `None`: the exchanged one is endless.
    pub(in crate::issuer) ends_by: Option<UnixTime>,
    /// The `issued_token_type` of the answer.
    pub(in crate::issuer) issued: TokenTypeUri,
    /// The `jti` of the exchanged token, for the audit log.
    pub(in crate::issuer) subject_jti: Option<String>,
}

/// How the refresh token that comes with an access token is kept.
#[derive(Debug)]
pub(in crate::issuer) enum Refresh {
    /// There is no refresh token.
    None,
    /// It is the first one of a family.
    First,
    /// It replaces this one.
    Replaces(Box<RefreshToken>),
}

impl Refresh {
    /// The refresh token of a grant that uses none: the first one, if the client may use it.
    fn first_of(client: &Client) -> Self {
        if client
            .allowed_grant_types
            .contains(&GrantType::RefreshToken)
        {
            Self::First
        } else {
            Self::None
        }
    }
}

/// An authenticated client's request to a grant.
struct GrantRequest<'a> {
    client: &'a AuthenticatedClient,
    request: &'a TokenRequest,
    policy: &'a Policy,
    store: &'a dyn Store,
}

/// Grants a request by the grant that it names.
///
/// # Errors
/// If the client is not allowed the grant, or its request.
pub(super) async fn grant(
    client: AuthenticatedClient,
    request: &TokenRequest,
    confirmation: Confirmation,
    state: &State,
    now: UnixTime,
) -> Result<Granted, TokenError> {
    let grant_type = request
        .grant_type()
        .ok_or(TokenError::UnsupportedGrantType)?;
    let registration = client.registration();
    if !registration.allowed_grant_types.contains(&grant_type) {
        return Err(TokenError::UnauthorizedClient);
    }
    let policy = &*state.policy;
    let asked = GrantRequest {
        client: &client,
        request,
        policy,
        store: &*state.store,
    };
    let terms = match grant_type {
        GrantType::ClientCredentials => client_credentials::terms(&asked),
        GrantType::RefreshToken => refresh_token::terms(&asked).await,
        GrantType::TokenExchange => token_exchange::terms(&asked, state, now).await,
    }?;
    let format = policy.format(registration, &terms.audiences)?;
    let ends_by = terms.delegation.as_ref().and_then(|it| it.ends_by);
    let expires_at = expires_at(&asked, &format, now)?;
    let expires_at = [expires_at, ends_by].into_iter().flatten().min();
    let is_kept =
        policy.profile.keep_all || terms.token_name.is_some() || client.exchanged().is_some();
    Ok(Granted {
        client,
        terms,
        confirmation,
        format,
        expires_at,
        is_kept,
    })
}

/// The end of a token: at most that of its client, and of the JWT that it was exchanged for if the
/// client is registered so. `expiration` may only shorten its lifetime. A past `expiration` is an
/// error: a request for an expired token must not get the longest one.
fn expires_at(
    asked: &GrantRequest<'_>,
    format: &TokenFormat,
    now: UnixTime,
) -> Result<Option<UnixTime>, TokenError> {
    let registration = asked.client.registration();
    let lifetime = asked.policy.lifetime(registration, format);
    let ends = [
        lifetime.map(|lifetime| now.plus(lifetime)),
        registration.expires_at,
    ];
    let latest = ends.into_iter().flatten().min();
    let end = match asked.request.expiration(now) {
        None => latest,
        // A verifier could not represent it.
        Some(end) if LAST < end && latest.is_none() => None,
        Some(end) if now < end && latest.is_none_or(|latest| end <= latest) => Some(end),
        Some(_) => return Err(TokenError::Expiration),
    };
    let assertion_end = asked.client.exchanged().and_then(Exchanged::ends_by);
    Ok([end, assertion_end].into_iter().flatten().min())
}

impl Granted {
    /// The keys that the token is bound to.
    pub(super) fn confirmation(&self) -> &Confirmation {
        &self.confirmation
    }

    pub(in crate::issuer) fn client(&self) -> &AuthenticatedClient {
        &self.client
    }

    pub(in crate::issuer) fn scope(&self) -> &ScopeSet {
        &self.terms.scope
    }

    /// At least one.
    pub(in crate::issuer) fn audiences(&self) -> &[String] {
        &self.terms.audiences
    }

    /// The name that the client gives the token.
    pub(in crate::issuer) fn token_name(&self) -> Option<&str> {
        self.terms.token_name.as_deref()
    }

    /// The party for which the client acts, after a token exchange.
    pub(in crate::issuer) fn delegation(&self) -> Option<&Delegation> {
        self.terms.delegation.as_ref()
    }

    /// The owner and the device that the request chose.
    pub(in crate::issuer) fn choice(&self) -> &Choice {
        &self.terms.choice
    }

    pub(in crate::issuer) fn refresh(&self) -> &Refresh {
        &self.terms.refresh
    }

    pub(in crate::issuer) fn format(&self) -> &TokenFormat {
        &self.format
    }

    /// `None`: endless.
    pub(in crate::issuer) fn expires_at(&self) -> Option<UnixTime> {
        self.expires_at
    }

    /// Whether the access token gets a row in the store.
    pub(in crate::issuer) fn is_kept(&self) -> bool {
        self.is_kept
    }
}

/// The requested scopes, if all of them are allowed.
fn allowed_scopes(asked: &ScopeSet, allowed: &ScopeSet) -> Result<ScopeSet, TokenError> {
    match asked.iter().find(|scope| !allowed.contains(scope)) {
        Some(scope) => Err(TokenError::InvalidScope(Excerpt::of(scope))),
        None => Ok(asked.clone()),
    }
}

/// The requested audiences, in the spelling of the registration: verifiers compare texts.
fn allowed_audiences(asked: &[String], allowed: &[String]) -> Result<Vec<String>, TokenError> {
    let mut audiences: Vec<String> = Vec::new();
    for asked in asked {
        let exact = allowed.iter().find(|allowed| *allowed == asked);
        let found = exact.or_else(|| allowed.iter().find(|allowed| uri::is_same(allowed, asked)));
        let audience = found.ok_or_else(|| TokenError::InvalidTarget(Excerpt::of_uri(asked)))?;
        if !audiences.contains(audience) {
            audiences.push(audience.clone());
        }
    }
    Ok(audiences)
}

/// The audiences of a registration. A client without a list may name this issuer only.
fn audiences_of<'a>(client: &'a Client, policy: &'a Policy) -> &'a [String] {
    match client.allowed_audiences.as_slice() {
        [] => std::slice::from_ref(&policy.issuer),
        allowed => allowed,
    }
}
