//! A table in front of moka that finds recently used tokens faster.
//!
//! A hit in moka reads a dozen separate places of memory. With tens of thousands of tokens none of
//! them is in the processor's caches. Here a hit reads one place, then the token's facts. Tokens
//! that moka has evicted are not found; the table keeps only their empty allocation (128 bytes)
//! until it is reused.

use std::array;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::token::TokenFacts;
use crate::domain::keyed_digest::KeyedDigest;

/// How many tokens share a set: they fit into one cache line together with their lock.
const WAYS: usize = 4;
/// At most 4 MiB for any number of tokens, and 32 MiB of empty allocations.
const MAX_SETS: usize = 1 << 16;

/// The tokens used lately, in sets chosen by their digest.
pub struct RecentTokens(Box<[Set]>);

/// In a cache line of its own.
#[repr(align(64))]
struct Set(Mutex<Ways>);

/// The last used first.
struct Ways {
    /// A part of each token's digest, so that the facts of other tokens are seldom read.
    tags: [u32; WAYS],
    tokens: [Weak<TokenFacts>; WAYS],
}

impl Ways {
    fn empty() -> Self {
        Self {
            tags: [0; WAYS],
            tokens: array::from_fn(|_| Weak::new()),
        }
    }

    fn move_to_front(&mut self, way: usize) {
        self.tags[..=way].rotate_right(1);
        self.tokens[..=way].rotate_right(1);
    }
}

impl RecentTokens {
    /// A table for a cache of `capacity` tokens.
    pub fn new(capacity: u64) -> Self {
        // With half as many sets as tokens, few sets have more tokens than ways.
        let wanted = usize::try_from(capacity.div_ceil(2)).unwrap_or(MAX_SETS);
        let count = wanted.min(MAX_SETS).next_power_of_two();
        Self((0..count).map(|_| Set(Mutex::new(Ways::empty()))).collect())
    }

    /// The facts of a recently used token. Never waits.
    pub fn get(&self, digest: &KeyedDigest) -> Option<Arc<TokenFacts>> {
        let (set, tag) = self.place(digest);
        let mut ways = set.0.try_lock().ok()?;
        let (way, facts) = ways.tags.iter().enumerate().find_map(|(way, candidate)| {
            let facts = if *candidate == tag {
                ways.tokens[way].upgrade()?
            } else {
                return None;
            };
            (facts.digest == *digest).then_some((way, facts))
        })?;
        ways.move_to_front(way);
        Some(facts)
    }

    /// Records the use of a token.
    pub fn put(&self, facts: &Arc<TokenFacts>) {
        let (set, tag) = self.place(&facts.digest);
        let Ok(mut ways) = set.0.try_lock() else {
            return;
        };
        let known = ways
            .tokens
            .iter()
            .position(|token| token.as_ptr() == Arc::as_ptr(facts));
        let way = known.unwrap_or(WAYS - 1);
        ways.tags[way] = tag;
        ways.tokens[way] = Arc::downgrade(facts);
        ways.move_to_front(way);
    }

    /// Removes a token.
    pub fn remove(&self, digest: &KeyedDigest) {
        let (set, tag) = self.place(digest);
        let mut ways = set.0.lock().unwrap_or_else(PoisonError::into_inner);
        for way in 0..WAYS {
            if ways.tags[way] == tag {
                ways.tokens[way] = Weak::new();
            }
        }
    }

    fn place(&self, digest: &KeyedDigest) -> (&Set, u32) {
        let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
        let number = u32::from_le_bytes([a, b, c, d]) as usize;
        (
            &self.0[number & (self.0.len() - 1)],
            u32::from_le_bytes([e, f, g, h]),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifier::token::tests::facts;

    /// A digest that is in the first set, with this tag, and differs from others of that tag by
    /// `rest`.
    fn digest(tag: u8, rest: u8) -> KeyedDigest {
        let mut bytes = [0; 16];
        (bytes[4], bytes[15]) = (tag, rest);
        KeyedDigest::made_of(bytes)
    }

    #[test]
    fn the_last_four_of_a_set_are_found() {
        let recent = RecentTokens::new(100);
        let all: Vec<_> = (1..=5).map(|tag| facts(digest(tag, 0))).collect();
        all[..4].iter().for_each(|facts| recent.put(facts));
        assert!(recent.get(&digest(1, 0)).is_some());
        recent.put(&all[4]);
        let found = |tag| recent.get(&digest(tag, 0)).is_some();
        assert_eq!([1, 2, 3, 4, 5].map(found), [true, false, true, true, true]);
    }

    #[test]
    fn only_the_whole_digest_finds_a_token() {
        let recent = RecentTokens::new(100);
        let (one, other) = (facts(digest(1, 1)), facts(digest(1, 2)));
        recent.put(&one);
        assert!(recent.get(&other.digest).is_none());
        recent.put(&other);
        for facts in [&one, &other] {
            assert!(
                recent
                    .get(&facts.digest)
                    .is_some_and(|found| Arc::ptr_eq(&found, facts))
            );
        }
    }

    #[test]
    fn removed_and_evicted_tokens_are_not_found() {
        let recent = RecentTokens::new(1);
        let (one, other) = (facts(digest(1, 0)), facts(digest(2, 0)));
        recent.put(&one);
        recent.put(&one);
        recent.put(&other);
        drop(other);
        assert!(recent.get(&digest(2, 0)).is_none());
        recent.remove(&one.digest);
        assert!(recent.get(&one.digest).is_none());
    }

    #[test]
    fn the_table_is_bounded_and_a_set_is_one_cache_line() {
        assert_eq!(size_of::<Set>(), 64);
        for (capacity, sets) in [
            (1, 1),
            (10_000, 8192),
            (60_000, 32_768),
            (u64::MAX, MAX_SETS),
        ] {
            assert_eq!(RecentTokens::new(capacity).0.len(), sets);
        }
    }
}
