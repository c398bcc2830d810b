//! Revocation requests (RFC 7009).

use std::sync::Arc;

use http::HeaderMap;

use super::authenticator::Authenticator;
use super::client_auth::AuthenticatedClient;
use super::error::TokenError;
use super::own_token::OwnToken;
use super::refresh_tokens;
use super::refused::{Attempt, Refusals};
use super::revocations::known::LONGEST_SKEW;
use super::revocations::{Revocable, RevocationList};
use super::state::State;
use super::token_parameters::TokenParameters;
use crate::domain::client_certificate::ClientConnection;
use crate::domain::clock::UnixTime;
use crate::domain::secret::ExposeSecret;
use crate::domain::settings::ListedClients;
use crate::store::RevokedToken;

/// Answers revocation requests, and publishes what is revoked.
pub struct Revocation {
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) listed_clients: ListedClients,
    pub(super) state: Arc<State>,
}

impl Revocation {
    /// Revokes an access token, or a refresh token with its family and their access tokens (RFC
    /// 7009 §2). Gives the access token's `jti` or the family's id. `None`: it is no valid token of
    /// this client, or not of the user whose JWT the client brought. That is no error (§2.2).
    pub async fn answer(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        body: &[u8],
        from: &ClientConnection,
    ) -> Attempt<Option<String>> {
        let now = self.state.clock.now();
        let parameters = match TokenParameters::parse(headers, query, body) {
            Ok(parameters) => parameters,
            Err(error) => return self.refusals.unread(headers, body, error),
        };
        let credentials = parameters.credentials();
        match self
            .authenticator
            .authenticate(credentials, from, now)
            .await
        {
            Ok(caller) => {
                let result = self.revoke(&parameters, &caller, now).await;
                self.refusals
                    .attempt(Some(caller.identity()), credentials, result)
            }
            Err(error) => self.refusals.attempt(None, credentials, Err(error)),
        }
    }

    /// The signed list of revoked tokens, for other verifiers.
    ///
    /// # Errors
    /// [`TokenError::Signing`].
    pub async fn list(&self) -> Result<RevocationList, TokenError> {
        self.state
            .revocations
            .list(
                &self.state.policy.issuer,
                self.listed_clients,
                &self.state.keys,
            )
            .await
    }

    async fn revoke(
        &self,
        parameters: &TokenParameters,
        caller: &AuthenticatedClient,
        now: UnixTime,
    ) -> Result<Option<String>, TokenError> {
        if let Some(hash) = refresh_tokens::hash_of(parameters.token()) {
            return self.revoke_family(&hash, caller, now).await;
        }
        let token = parameters.token().expose_secret();
        let Some(revocable) = self.revocable(token, caller, now) else {
            return Ok(None);
        };
        let jti = revocable.token.jti.clone();
        self.state.revocations.revoke(revocable).await?;
        Ok(Some(jti))
    }

    /// A token that was issued to the caller and that a verifier may still accept.
    fn revocable(
        &self,
        text: &str,
        caller: &AuthenticatedClient,
        now: UnixTime,
    ) -> Option<Revocable> {
        let token = OwnToken::verify(text, &self.state.keys, &self.state.policy)?;
        let (issued, expires_at) = token.issued().zip(token.expires_at())?;
        let client_id = &caller.registration().id;
        let is_own =
            issued.client_id == Some(client_id) && token.is_of_user(caller, &self.state.policy);
        let is_accepted = self.state.forgetting.time() < expires_at.plus(LONGEST_SKEW);
        (is_own && is_accepted).then_some(Revocable {
            token: RevokedToken {
                jti: token.text("jti")?.to_owned(),
                client_id: client_id.clone(),
                expires_at,
                revoked_at: now,
            },
            issued_at: issued.at,
            after_end: issued.after_end,
        })
    }

    async fn revoke_family(
        &self,
        hash: &[u8; 32],
        caller: &AuthenticatedClient,
        now: UnixTime,
    ) -> Result<Option<String>, TokenError> {
        let stored = self
            .state
            .store
            .refresh_token(hash)
            .await?
            .filter(|stored| {
                stored.client_id == caller.registration().id
                    && refresh_tokens::is_of_user(stored, caller, &self.state.policy)
            });
        let Some(stored) = stored else {
            return Ok(None);
        };
        let (family, proven) = (&stored.family_id, self.state.forgetting.time());
        if !self
            .state
            .store
            .delete_refresh_family(family, now, proven)
            .await?
        {
            return Ok(None);
        }
        self.state.revocations.catch_up_or_warn().await;
        Ok(Some(stored.family_id))
    }
}
