//! The token endpoint, a pipeline: request → authenticate → grant → issue → answer.
//!
//! Each phase has a file of its own and gives the next one a value that only it can make:
//! [`request`] parses headers and body into a [`TokenRequest`], the authenticator turns its
//! credentials into an `AuthenticatedClient`, [`grants`] decide what the client gets and how it is
//! kept (`Granted`), [`issue`] signs and stores that, and the result is a [`TokenResponse`].

pub(super) mod access_token;
mod confirmation;
pub(super) mod grants;
mod issue;
mod quota;
pub(super) mod request;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use self::confirmation::Confirmation;
use self::request::TokenRequest;
use super::authenticator::Authenticator;
use super::choice::Choice;
use super::client_auth::AuthenticatedClient;
use super::error::TokenError;
use super::metadata::TOKEN_PATH;
use super::refused::{Attempt, Refusals};
use super::state::State;
use crate::domain::client_certificate::ClientConnection;
use crate::domain::clock::UnixTime;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;

/// Answers token requests.
pub struct TokenService {
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) state: Arc<State>,
}

impl TokenService {
    /// Answers a request for this path that was parsed from `headers` and `body`. Signs on the
    /// calling thread.
    pub async fn answer(
        &self,
        request: &Result<TokenRequest, TokenError>,
        headers: &HeaderMap,
        body: &[u8],
        (path, from): (&str, &ClientConnection),
    ) -> Attempt<TokenResponse> {
        let now = self.state.clock.now();
        let request = match request {
            Ok(request) => request,
            Err(error) => return self.refusals.unread(headers, body, *error),
        };
        let (client, result) = match self.authenticate(request, from, now).await {
            Ok(client) => (
                Some(client.identity()),
                self.issue(client, request, (path, from), now).await,
            ),
            Err(error) => (None, Err(error)),
        };
        self.refusals.token_attempt(client, request, result)
    }

    /// Issues a token, or gives the error that the client gets.
    ///
    /// # Errors
    /// The refusal of any phase.
    pub async fn issue_to(
        &self,
        request: &TokenRequest,
        from: &ClientConnection,
    ) -> Result<TokenResponse, TokenError> {
        let now = self.state.clock.now();
        let client = self.authenticate(request, from, now).await?;
        self.issue(client, request, (TOKEN_PATH, from), now).await
    }

    async fn authenticate(
        &self,
        request: &TokenRequest,
        from: &ClientConnection,
        now: UnixTime,
    ) -> Result<AuthenticatedClient, TokenError> {
        // The credentials of another grant's client may be of a kind that is unsupported here.
        if request.grant_type().is_none() {
            return Err(TokenError::UnsupportedGrantType);
        }
        self.authenticator
            .authenticate(request.credentials(), from, now)
            .await
    }

    async fn issue(
        &self,
        client: AuthenticatedClient,
        request: &TokenRequest,
        at: (&str, &ClientConnection),
        now: UnixTime,
    ) -> Result<TokenResponse, TokenError> {
        let registration = client.registration();
        let confirmation = Confirmation::of(registration, request, at, &self.state, now)?;
        if request.has_superseded_audience() {
            tracing::warn!(
                client_id = client.registration().id,
                "the token request has `audience` or `resource` beside `aud`: `aud` counts, the \
                 others are ignored"
            );
        }
        let granted = grants::grant(client, request, confirmation, &self.state, now).await?;
        issue::issue(&granted, &self.state, now).await
    }
}

#[cfg(test)]
impl TokenService {
    /// The first phases of a request.
    pub(super) async fn grant_to(
        &self,
        request: &TokenRequest,
        now: UnixTime,
    ) -> Result<grants::Granted, TokenError> {
        let from = ClientConnection::default();
        let client = self.authenticate(request, &from, now).await?;
        let (registration, at) = (client.registration(), (TOKEN_PATH, &from));
        let confirmation = Confirmation::of(registration, request, at, &self.state, now)?;
        grants::grant(client, request, confirmation, &self.state, now).await
    }

    /// The last phase.
    pub(super) async fn issue_granted(
        &self,
        granted: &grants::Granted,
        now: UnixTime,
    ) -> Result<TokenResponse, TokenError> {
        issue::issue(granted, &self.state, now).await
    }
}

/// A successful answer of the token endpoint (RFC 6749 §5.1).
#[derive(Debug)]
pub struct TokenResponse {
    pub access_token: SecretString,
    /// `Bearer`, or `DPoP` for a token that needs a proof.
    pub token_type: &'static str,
    /// The remaining lifetime of the access token; `None`: endless.
    pub expires_in: Option<Duration>,
    /// May be empty.
    pub scope: ScopeSet,
    /// The `jti` of the access token, for the audit log.
    pub jti: String,
    /// The owner and the device that the request chose, for the audit log.
    pub chosen: Choice,
    /// For a client that may use one.
    pub refresh_token: Option<SecretString>,
    /// Of a token exchange.
    pub exchanged: Option<ExchangedFor>,
}

/// The token exchange that an access token comes from (RFC 8693).
#[derive(Debug)]
pub struct ExchangedFor {
    /// The `issued_token_type` of the answer.
    pub issued_token_type: &'static str,
    /// The subject of both tokens, for the audit log.
    pub subject: String,
    /// The `jti` of the exchanged token, for the audit log.
    pub subject_jti: Option<String>,
    /// The actors in the order in which they acted, for the audit log.
    pub actors: Option<String>,
}
