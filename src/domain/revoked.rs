//! The revocations of an issuer, as verifiers check them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::clock::UnixTime;
use super::hash::sha256;

/// The claim of a token that was issued after its client's tokens were revoked, but with an earlier
/// `iat`, because the clock was set back. Its value is the mark of that revocation.
pub const AFTER_END: &str = "m2m_after_end";

/// A token's `jti` (RFC 7519 §4.1.7) as 128 bits of its SHA-256, because tens of thousands are
/// kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId([u8; 16]);

impl TokenId {
    #[must_use]
    pub fn of(jti: &str) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&sha256(jti.as_bytes())[..16]);
        Self(id)
    }
}

/// A client id in a public list: its SHA-256, so that the list does not reveal the clients. It is
/// written in base64url without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashedClientId([u8; 32]);

impl HashedClientId {
    #[must_use]
    pub fn of(client_id: &str) -> Self {
        Self(sha256(client_id.as_bytes()))
    }

    /// Parses the output of [`Display`](fmt::Display).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }
}

impl fmt::Display for HashedClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// The identity of one revocation of all tokens of a client, written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndMark(u64);

impl EndMark {
    /// The mark of unique bytes.
    #[must_use]
    pub fn of(unique: &[u8]) -> Self {
        let mut mark = [0; 8];
        mark.copy_from_slice(&sha256(unique)[..8]);
        Self(u64::from_be_bytes(mark))
    }

    /// Parses exactly the output of [`Display`](fmt::Display).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mark = Self(u64::from_str_radix(text, 16).ok()?);
        (mark.to_string() == text).then_some(mark)
    }
}

impl fmt::Display for EndMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The properties of a token that decide whether it is revoked.
#[derive(Clone, Copy, Debug)]
pub struct Issued<'a> {
    pub token: TokenId,
    pub client_id: Option<&'a str>,
    /// Its `iat`; the earliest time if it has none.
    pub at: UnixTime,
    /// Its claim [`AFTER_END`].
    pub after_end: Option<EndMark>,
}

/// The revocation of all tokens of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientEnd {
    /// Tokens whose `iat` is not after this time are revoked.
    pub until: UnixTime,
    /// The exception: tokens that were issued after the revocation, whatever their `iat`.
    pub marked: Option<Marked>,
}

/// The tokens that carry the mark of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    pub mark: EndMark,
    /// These tokens are revoked if their `iat` is not after this time.
    pub until: UnixTime,
}

impl ClientEnd {
    /// Whether this revocation covers a token.
    #[must_use]
    pub fn covers(&self, at: UnixTime, after_end: Option<EndMark>) -> bool {
        let marked = self.marked.filter(|marked| after_end == Some(marked.mark));
        at <= marked.map_or(self.until, |marked| marked.until)
    }
}

/// The revoked tokens of one issuer: single tokens, and all tokens of a client up to a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    tokens: HashSet<TokenId>,
    clients: HashMap<String, ClientEnd>,
    hashed: HashMap<HashedClientId, ClientEnd>,
    expiries: Arc<HashMap<String, UnixTime>>,
}

impl Revoked {
    /// The revoked ids, and the revocations of all tokens of clients.
    #[must_use]
    pub fn new(tokens: HashSet<TokenId>, clients: HashMap<String, ClientEnd>) -> Self {
        Self {
            tokens,
            clients,
            hashed: HashMap::new(),
            expiries: Arc::default(),
        }
    }

    /// Adds clients of whose ids only the hash is known.
    #[must_use]
    pub fn with_hashed(self, hashed: HashMap<HashedClientId, ClientEnd>) -> Self {
        Self { hashed, ..self }
    }

    /// Adds clients whose tokens are all revoked from a time on.
    #[must_use]
    pub fn with_expiries(self, expiries: Arc<HashMap<String, UnixTime>>) -> Self {
        Self { expiries, ..self }
    }

    /// Whether a token is revoked at a time.
    #[must_use]
    pub fn covers(&self, token: &Issued<'_>, now: UnixTime) -> bool {
        self.tokens.contains(&token.token)
            || token.client_id.is_some_and(|id| {
                let covers = |end: &ClientEnd| end.covers(token.at, token.after_end);
                self.clients.get(id).is_some_and(covers)
                    || self.hashed_end(id).is_some_and(covers)
                    || self.expiries.get(id).is_some_and(|expiry| *expiry <= now)
            })
    }

    fn hashed_end(&self, client_id: &str) -> Option<&ClientEnd> {
        // Most lists name no client, so nothing is hashed.
        if self.hashed.is_empty() {
            None
        } else {
            self.hashed.get(&HashedClientId::of(client_id))
        }
    }

    /// The mark that a token of a client needs for this `iat`; `None` if it needs none.
    #[must_use]
    pub fn mark_for(&self, client_id: &str, issued_at: UnixTime) -> Option<EndMark> {
        let end = self
            .clients
            .get(client_id)
            .filter(|end| issued_at <= end.until)?;
        Some(end.marked?.mark)
    }
}

/// An issuer's currently revoked tokens. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct RevokedNow(Arc<ArcSwap<Revoked>>);

impl RevokedNow {
    #[must_use]
    pub fn current(&self) -> arc_swap::Guard<Arc<Revoked>> {
        self.0.load()
    }

    /// Replaces the revocations.
    pub fn replace(&self, revoked: Revoked) {
        self.0.store(Arc::new(revoked));
    }
}

#[cfg(test)]
mod tests;
