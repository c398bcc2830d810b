//! The registry of kept tokens: how an owner finds and revokes them.

use std::sync::Arc;

use super::state::State;
use crate::store::StoreError;
use crate::store::tokens::{Ended, OwnerFilter, TokenFilter, TokenRecord};

/// The kept tokens.
pub struct Registry {
    pub(super) state: Arc<State>,
}

impl Registry {
    /// The unexpired tokens that match, the oldest first.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn list(&self, filter: &TokenFilter) -> Result<Vec<TokenRecord>, StoreError> {
        let filter = TokenFilter {
            unexpired_at: Some(self.state.clock.now()),
            oldest_first: true,
            ..filter.clone()
        };
        self.state.store.tokens(&filter).await
    }

    /// Matches the tokens of an owner and the owner's issuer. Tokens that were stored without an
    /// issuer match only if users of no other issuer are trusted.
    #[must_use]
    pub fn of_owner(&self, owner: String, issuer: &str) -> TokenFilter {
        let owner = OwnerFilter::Of {
            owner,
            issuers: self.state.policy.spellings(issuer),
            without_issuer: self.state.policy.is_only_user_issuer(issuer),
        };
        TokenFilter {
            owner: Some(owner),
            ..TokenFilter::default()
        }
    }

    /// Revokes the live tokens that match, at once for verifiers in this process, and deletes the
    /// expired ones.
    ///
    /// # Errors
    /// If the store does not commit it; nothing was changed.
    pub async fn end(&self, filter: &TokenFilter) -> Result<Ended, StoreError> {
        self.state
            .revocations
            .end_tokens(filter, self.state.forgetting.time())
            .await
    }
}
