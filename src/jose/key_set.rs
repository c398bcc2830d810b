//! An authority's public keys (RFC 7517 §5), each parsed and bound to the algorithms it may verify.
//!
//! A key that is broken, symmetric or of an unknown kind is left out, with its reason; the others
//! are used. A set without a usable key is an error, so that it never replaces a good one.

mod jwk;

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::{Algorithm, provider};
use crate::domain::claims::{Claims, DocumentFault};
pub use jwk::{Fingerprint, VerifyingKey};
use jwk::{Unfit, shown};

/// How many keys are tried for one token at most: an unauthenticated token must not cost more than
/// two signature checks.
pub const MAX_CANDIDATES: usize = 2;
/// If more keys fit a token without `kid`, one in so many tokens also tries a key that has not
/// verified lately. So a key that has just begun to sign is found.
const EXPLORE: usize = 4;

/// How many keys of a document are read at most.
const MAX_KEYS: usize = 256;

/// How many keys a message names.
const SHOWN_KEYS: usize = 3;

/// The text is not a JWKS with a usable key. Foreign text in an error is cut and escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    /// Not a JSON object.
    #[error("not a JWKS document: {0}")]
    NotJson(DocumentFault),
    /// No list `keys`.
    #[error("not a JWKS document: it has no list `keys`")]
    NotAKeySet,
    /// The list `keys` is empty.
    #[error("the JWKS holds no key")]
    Empty,
    /// No key can verify a signature here.
    #[error("the JWKS holds no usable key: {}", join(.0))]
    NoUsableKey(Vec<LeftOut>),
}

/// A key of a document that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its index in `keys` and its `kid`.
    pub key: String,
    /// Why it is not used.
    pub why: String,
    /// Whether the authority itself says that the key is not for signatures.
    pub is_meant: bool,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

/// The first of these, and how many more there are.
#[must_use]
pub fn join(left_out: &[LeftOut]) -> String {
    let mut text = left_out
        .iter()
        .take(SHOWN_KEYS)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    if left_out.len() > SHOWN_KEYS {
        text.push_str(&format!("; and {} more", left_out.len() - SHOWN_KEYS));
    }
    text
}

/// Why no key of a set can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCandidate {
    /// No key has the token's `kid`.
    UnknownKid,
    /// There are keys, but none may verify with the token's algorithm.
    Algorithm,
}

/// The keys that verified tokens without `kid` lately; the last first.
#[derive(Default)]
struct Lately(Mutex<Vec<Fingerprint>>);

/// The keys of one authority.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    lately: Arc<Lately>,
    left_out: Vec<LeftOut>,
    unread: usize,
}

/// Two sets are equal when their keys are, whatever else their documents hold.
impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        let identities = |set: &Self| {
            let keys = set.keys.iter();
            keys.map(|key| (key.kid.clone(), key.algorithms.clone(), key.fingerprint))
                .collect::<Vec<_>>()
        };
        identities(self) == identities(other)
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.kid))
            .finish()
    }
}

impl KeySet {
    /// Reads a JWKS document.
    ///
    /// # Errors
    /// [`InvalidKeySet`] when it is none, or holds no usable key.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidKeySet> {
        provider::install();
        let document = Claims::parse(json).map_err(|_| {
            DocumentFault::of(json).map_or(InvalidKeySet::NotAKeySet, InvalidKeySet::NotJson)
        })?;
        let documents = document
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(InvalidKeySet::NotAKeySet)?;
        let (mut keys, mut left_out) = (Vec::new(), Vec::new());
        for (place, jwk) in documents.iter().take(MAX_KEYS).enumerate() {
            match VerifyingKey::parse(jwk) {
                Ok(key) => keys.push(key),
                Err(Unfit { why, is_meant }) => {
                    let kid = jwk.get("kid").and_then(Value::as_str);
                    let kid = kid.map_or(String::new(), |kid| format!(" (kid `{}`)", shown(kid)));
                    left_out.push(LeftOut {
                        key: format!("keys[{place}]{kid}"),
                        why: why.into_owned(),
                        is_meant,
                    });
                }
            }
        }
        match (keys.is_empty(), documents.is_empty()) {
            (true, true) => Err(InvalidKeySet::Empty),
            (true, false) => Err(InvalidKeySet::NoUsableKey(left_out)),
            (false, _) => Ok(Self {
                keys,
                lately: Arc::default(),
                left_out,
                unread: documents.len().saturating_sub(MAX_KEYS),
            }),
        }
    }

    /// The issuers that the document binds a key to; none if the key may sign for every issuer of
    /// the set.
    pub fn issuers_of(&self, key: &Fingerprint) -> impl Iterator<Item = &str> {
        let same = self.keys.iter().filter(move |it| it.fingerprint == *key);
        let is_free = same.clone().any(|it| it.issuer.is_none());
        same.filter(move |_| !is_free)
            .filter_map(|it| it.issuer.as_deref())
    }

    /// The keys of the document that are not used.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// How many keys of the document were skipped: those beyond the first 256.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// The keys to try for a token: those with its `kid`, or all if it has none, that allow its
    /// algorithm. Of more than [`MAX_CANDIDATES`], those that verified lately.
    ///
    /// # Errors
    /// [`NoCandidate`] says why there is none.
    pub fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<&VerifyingKey>, NoCandidate> {
        if !self.has(kid) {
            return Err(NoCandidate::UnknownKid);
        }
        let mut fitting: Vec<_> = self
            .keys
            .iter()
            .filter(|key| key.fits(kid) && key.allows(algorithm))
            .collect();
        match fitting.len() {
            0 => return Err(NoCandidate::Algorithm),
            1 => {}
            _ => self.choose(&mut fitting),
        }
        Ok(fitting)
    }

    /// Whether the set has a key for tokens with this `kid`, or without one.
    #[must_use]
    pub fn has(&self, kid: Option<&str>) -> bool {
        self.keys.iter().any(|key| key.fits(kid))
    }

    /// Keeps the keys that verified lately, the last first, and fills up with random other ones.
    /// Now and then a random one takes the second place.
    fn choose(&self, fitting: &mut Vec<&VerifyingKey>) {
        let lately = self.lately.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |key: &VerifyingKey| lately.iter().position(|known| *known == key.fingerprint);
        let known = fitting
            .iter()
            .filter(|key| place(key).is_some())
            .count()
            .min(MAX_CANDIDATES);
        fitting.sort_by_key(|key| place(key).unwrap_or(usize::MAX));
        if fitting.len() <= MAX_CANDIDATES {
            return;
        }
        let kept = if known == MAX_CANDIDATES && fastrand::usize(..EXPLORE) == 0 {
            1
        } else {
            known
        };
        for place in kept..MAX_CANDIDATES {
            let other = fastrand::usize(place..fitting.len());
            fitting.swap(place, other);
        }
        fitting.truncate(MAX_CANDIDATES);
    }

    /// Records that a key verified a token that other keys fitted too.
    pub fn verified_by(&self, key: &VerifyingKey) {
        let mut lately = self.lately.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.first() != Some(&key.fingerprint) {
            lately.retain(|known| *known != key.fingerprint);
            lately.insert(0, key.fingerprint);
            lately.truncate(MAX_CANDIDATES);
        }
    }

    /// Takes over the record of an earlier edition.
    #[must_use]
    pub fn after(mut self, earlier: &Self) -> Self {
        self.lately = Arc::clone(&earlier.lately);
        self
    }

    /// Whether the key with this fingerprint is in the set.
    #[must_use]
    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.keys.iter().any(|key| key.fingerprint == *fingerprint)
    }

    /// Whether the set has the key of a certificate, given by the SHA-256 of its public key and its
    /// thumbprint (`x5t#S256`).
    #[must_use]
    pub fn has_key_of(&self, key_hash: &[u8; 32], thumbprint: &str) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|key| key.is_of_certificate(key_hash, thumbprint))
    }

    /// How many usable keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether the set is empty, which only the default value is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests;
