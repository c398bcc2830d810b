//! The kept access tokens: listed and revoked.

use super::{ClientAdmin, ManagementError};
use crate::domain::clock::UnixTime;
use crate::store::tokens::{OwnerFilter, TokenFilter, TokenRecord};

/// A selection of kept tokens.
#[derive(Clone, Debug, Default)]
pub struct TokenQuery {
    /// Only this client's.
    pub client_id: Option<String>,
    /// Only those of owners of this name, of any issuer.
    pub owner: Option<String>,
    /// Only those that are (or are not) neither revoked nor expired.
    pub active: Option<bool>,
    /// Those that come after this one: its `iat` and `jti`.
    pub after: Option<(UnixTime, String)>,
}

/// Some of the tokens.
#[derive(Debug)]
pub struct TokenPage {
    /// The newest first.
    pub tokens: Vec<TokenRecord>,
    /// The last one's `iat` and `jti`, when there are more.
    pub next: Option<(UnixTime, String)>,
    /// The time by which they are active or not.
    pub now: UnixTime,
}

impl ClientAdmin {
    /// The matching tokens, at most `limit`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn tokens(
        &self,
        query: TokenQuery,
        limit: u32,
    ) -> Result<TokenPage, ManagementError> {
        let now = self.clock.now();
        let filter = TokenFilter {
            client_id: query.client_id,
            owner: query.owner.map(OwnerFilter::Named),
            active: query.active.map(|active| (active, now)),
            after: query.after,
            limit: Some(limit.saturating_add(1)),
            ..TokenFilter::default()
        };
        let mut tokens = self.store.tokens(&filter).await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = tokens.len() > limit;
        tokens.truncate(limit);
        let next = tokens
            .last()
            .filter(|_| more)
            .map(|last| (last.issued_at, last.jti.clone()));
        Ok(TokenPage { tokens, next, now })
    }

    /// Revokes a kept token, and returns its client's id. An earlier revocation stays as it is.
    ///
    /// # Errors
    /// When no such token is kept, or the store fails.
    pub async fn end_token(&self, jti: &str) -> Result<String, ManagementError> {
        let filter = TokenFilter {
            jtis: vec![jti.to_owned()],
            ..TokenFilter::default()
        };
        let kept = self.store.tokens(&filter).await?;
        let token = kept.first().ok_or(ManagementError::NotFound(
            "no token of this id is kept: short-lived ones without a name are not. End all tokens \
             of its client: POST \
             /clients/{id}/revoke, `m2m-sidecar client revoke`",
        ))?;
        self.revocations
            .end_tokens(&filter, self.forgetting.time())
            .await?;
        Ok(token.client_id.clone())
    }
}
