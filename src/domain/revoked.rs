//! What an issuer has taken back, as verifiers look at it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::clock::UnixTime;
use super::hash::sha256;

/// A token's `jti` (RFC 7519 §4.1.7), shortened to 128 bits of its SHA-256: tens of thousands are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId([u8; 16]);

impl TokenId {
    /// The id of a token with this `jti`.
    #[must_use]
    pub fn of(jti: &str) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&sha256(jti.as_bytes())[..16]);
        Self(id)
    }
}

/// The revoked tokens of one issuer: single ones, and per client all that were issued up to a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    tokens: HashSet<TokenId>,
    clients: HashMap<String, UnixTime>,
}

impl Revoked {
    /// Revoked are the tokens with these ids, and each client's tokens whose `iat` is not after the client's time.
    #[must_use]
    pub fn new(tokens: HashSet<TokenId>, clients: HashMap<String, UnixTime>) -> Self {
        Self { tokens, clients }
    }

    /// Whether a token is revoked. One without `iat` counts as issued at the beginning of time.
    #[must_use]
    pub fn covers(&self, token: TokenId, client_id: Option<&str>, issued_at: UnixTime) -> bool {
        self.tokens.contains(&token)
            || client_id.and_then(|id| self.clients.get(id)).is_some_and(|until| issued_at <= *until)
    }
}

/// An issuer's revoked tokens as they are now. Clones see the same.
#[derive(Clone, Debug, Default)]
pub struct RevokedNow(Arc<ArcSwap<Revoked>>);

impl RevokedNow {
    /// What is revoked now.
    #[must_use]
    pub fn current(&self) -> arc_swap::Guard<Arc<Revoked>> {
        self.0.load()
    }

    /// From now on this is revoked.
    pub fn replace(&self, revoked: Revoked) {
        self.0.store(Arc::new(revoked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_revoked_by_its_id_or_with_all_of_its_client_up_to_a_time() {
        let clients = HashMap::from([("a".to_owned(), UnixTime(100))]);
        let revoked = Revoked::new(HashSet::from([TokenId::of("one")]), clients);
        let covers = |jti, client, issued_at| revoked.covers(TokenId::of(jti), client, UnixTime(issued_at));
        assert!(covers("one", None, 500) && covers("one", Some("b"), 500));
        assert!(covers("two", Some("a"), 100) && covers("two", Some("a"), i64::MIN));
        assert!(!covers("two", Some("a"), 101) && !covers("two", Some("b"), 1) && !covers("two", None, 1));
        assert!(!Revoked::default().covers(TokenId::of("one"), Some("a"), UnixTime(1)));
    }
}
