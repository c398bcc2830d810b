//! Tokens whose signature and claims were checked, remembered under a hash of the whole token.
//!
//! Only what never changes is remembered: signature and claims. Time, whether the key is still published, audience
//! and rule are judged on every request. A token that was refused is not remembered: a flood of bad tokens must not
//! push good ones out.

use std::sync::Arc;

use moka::sync::Cache;

use super::token::TokenFacts;

/// The verified tokens of one listener.
pub struct VerifiedTokens(Option<Cache<[u8; 32], Arc<TokenFacts>>>);

impl VerifiedTokens {
    /// Remembers up to `capacity` tokens; 0: none.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self((capacity > 0).then(|| Cache::new(capacity)))
    }

    /// What is known of the token with this hash.
    #[must_use]
    pub fn get(&self, hash: &[u8; 32]) -> Option<Arc<TokenFacts>> {
        self.0.as_ref()?.get(hash)
    }

    /// Remembers a token.
    pub fn insert(&self, hash: [u8; 32], facts: Arc<TokenFacts>) {
        if let Some(cache) = &self.0 {
            cache.insert(hash, facts);
        }
    }

    /// Forgets a token that is dead for good.
    pub fn remove(&self, hash: &[u8; 32]) {
        if let Some(cache) = &self.0 {
            cache.invalidate(hash);
        }
    }
}
