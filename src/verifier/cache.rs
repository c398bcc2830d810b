//! Tokens whose signature and claims were checked, remembered under a hash of the whole token.
//!
//! Only what never changes is remembered: signature and claims. Time, whether the key is still
//! published, audience and rule are judged on every request. A token that was refused is not
//! remembered: a flood of bad tokens must not push good ones out.
//!
//! moka decides what is remembered; [`super::recent`] finds most of it faster.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::recent::RecentTokens;
use super::token::TokenFacts;

/// One use in so many is told to moka, which so learns which tokens are in use.
const TOLD: u8 = 32;

/// Takes the first bytes of a SHA-256 as they are: they are as evenly spread as any hash of them
/// would be.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        // The length of the array comes first, by `write_usize`; the digest itself is 32 bytes.
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

type Remembered = Cache<[u8; 32], Arc<TokenFacts>, BuildHasherDefault<DigestHasher>>;

/// The verified tokens of one listener.
pub struct VerifiedTokens(Option<Kept>);

struct Kept {
    tokens: Remembered,
    recent: RecentTokens,
}

impl VerifiedTokens {
    /// Remembers up to `capacity` tokens; 0: none.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        // Least recently used: only good tokens get in, so there is nothing to guard the cache
        // against, and counting how often each is used would cost more than it brings.
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

    /// Whether any token is remembered.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// What is known of the token with this hash.
    #[must_use]
    pub fn get(&self, hash: &[u8; 32]) -> Option<Arc<TokenFacts>> {
        let Kept { tokens, recent } = self.0.as_ref()?;
        if let Some(facts) = recent.get(hash)
            && fastrand::u8(..TOLD) != 0
        {
            return Some(facts);
        }
        let facts = tokens.get(hash)?;
        recent.put(&facts);
        Some(facts)
    }

    /// Remembers a token.
    pub fn insert(&self, facts: Arc<TokenFacts>) {
        if let Some(Kept { tokens, recent }) = &self.0 {
            recent.put(&facts);
            tokens.insert(facts.hash, facts);
        }
    }

    /// Forgets a token that is dead for good.
    pub fn remove(&self, hash: &[u8; 32]) {
        if let Some(Kept { tokens, recent }) = &self.0 {
            tokens.invalidate(hash);
            recent.remove(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hash::sha256;
    use crate::verifier::token::tests::facts;

    #[test]
    fn what_fits_is_remembered_and_what_is_too_much_is_not_kept() {
        let tokens = VerifiedTokens::new(1000);
        let hashes: Vec<_> = (0..5000_u32).map(|n| sha256(&n.to_be_bytes())).collect();
        for hash in &hashes[..1000] {
            tokens.insert(facts(*hash));
        }
        assert!(
            hashes[..1000]
                .iter()
                .all(|hash| tokens.get(hash).is_some_and(|facts| facts.hash == *hash))
        );
        assert!(tokens.get(&hashes[1000]).is_none());
        for hash in &hashes {
            tokens.insert(facts(*hash));
        }
        let cache = &tokens.0.as_ref().unwrap().tokens;
        cache.run_pending_tasks();
        assert!(cache.entry_count() <= 1000);
        tokens.remove(&hashes[4999]);
        assert!(tokens.get(&hashes[4999]).is_none());
        let none = VerifiedTokens::new(0);
        none.insert(facts(hashes[0]));
        assert!(none.get(&hashes[0]).is_none());
    }

    #[test]
    fn a_token_in_use_is_enabled_while_others_come_and_go() {
        let tokens = VerifiedTokens::new(100);
        let used = sha256(b"used");
        tokens.insert(facts(used));
        for n in 0..5000_u32 {
            tokens.insert(facts(sha256(&n.to_be_bytes())));
            // Often enough that moka hears of it before a hundred others have come.
            for _ in 0..TOLD {
                assert!(tokens.get(&used).is_some(), "{n}");
            }
        }
    }
}
