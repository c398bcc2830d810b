//! Verified tokens, cached under a digest of the whole token.
//!
//! Only signature and claims are cached, which never change. Times, key, audience and rule are
//! checked on every request. Refused tokens are not cached, so a flood of them evicts no valid one.
//!
//! moka holds the cache; [`super::recent`] finds most tokens faster.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::recent::RecentTokens;
use super::token::TokenFacts;
use crate::domain::keyed_digest::KeyedDigest;

/// One use in so many reaches moka, which orders the tokens by use.
const REPORTED: u8 = 32;

/// Uses the first bytes of a digest, which are evenly spread.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        // `write_usize` gets the length of the array first.
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

type Tokens = Cache<KeyedDigest, Arc<TokenFacts>, BuildHasherDefault<DigestHasher>>;

/// The verified tokens of one listener.
pub struct VerifiedTokens(Option<Kept>);

struct Kept {
    tokens: Tokens,
    recent: RecentTokens,
}

impl VerifiedTokens {
    /// Caches up to `capacity` tokens; 0 turns the cache off.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        // Only valid tokens are cached, so an admission policy by frequency would only cost time.
        let build = || {
            let cache = Cache::builder()
                .max_capacity(capacity)
                .eviction_policy(EvictionPolicy::lru());
            let tokens = cache.build_with_hasher(BuildHasherDefault::default());
            Kept {
                tokens,
                recent: RecentTokens::new(capacity),
            }
        };
        Self((capacity > 0).then(build))
    }

    /// Whether the cache is on.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// The cached token with this digest.
    #[must_use]
    pub fn get(&self, digest: &KeyedDigest) -> Option<Arc<TokenFacts>> {
        let Kept { tokens, recent } = self.0.as_ref()?;
        if let Some(facts) = recent.get(digest)
            && fastrand::u8(..REPORTED) != 0
        {
            return Some(facts);
        }
        // `get` would report the miss, and a flood of new tokens fill the queue of reports.
        if !tokens.contains_key(digest) {
            return None;
        }
        let facts = tokens.get(digest)?;
        recent.put(&facts);
        Some(facts)
    }

    /// Caches a token.
    pub fn insert(&self, facts: Arc<TokenFacts>) {
        if let Some(Kept { tokens, recent }) = &self.0 {
            recent.put(&facts);
            tokens.insert(facts.digest, facts);
        }
    }

    /// Removes a token that is no longer valid.
    pub fn remove(&self, digest: &KeyedDigest) {
        if let Some(Kept { tokens, recent }) = &self.0 {
            tokens.invalidate(digest);
            recent.remove(digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifier::token::tests::facts;

    #[test]
    fn tokens_are_cached_up_to_the_capacity() {
        let tokens = VerifiedTokens::new(1000);
        let digests: Vec<_> = (0..5000_u32)
            .map(|n| KeyedDigest::of(&n.to_be_bytes()))
            .collect();
        for digest in &digests[..1000] {
            tokens.insert(facts(*digest));
        }
        assert!(digests[..1000].iter().all(|digest| {
            tokens
                .get(digest)
                .is_some_and(|facts| facts.digest == *digest)
        }));
        assert!(tokens.get(&digests[1000]).is_none());
        for digest in &digests {
            tokens.insert(facts(*digest));
        }
        let cache = &tokens.0.as_ref().unwrap().tokens;
        cache.run_pending_tasks();
        assert!(cache.entry_count() <= 1000);
        tokens.remove(&digests[4999]);
        assert!(tokens.get(&digests[4999]).is_none());
        let none = VerifiedTokens::new(0);
        none.insert(facts(digests[0]));
        assert!(none.get(&digests[0]).is_none());
    }

    #[test]
    fn a_token_in_use_is_enabled_while_others_come_and_go() {
        let tokens = VerifiedTokens::new(100);
        let used = KeyedDigest::of(b"used");
        tokens.insert(facts(used));
        for n in 0..5000_u32 {
            tokens.insert(facts(KeyedDigest::of(&n.to_be_bytes())));
            // Often enough to reach moka before a hundred other tokens.
            for _ in 0..REPORTED {
                assert!(tokens.get(&used).is_some(), "{n}");
            }
        }
    }
}
