//! A keyed digest for the keys of caches.

use std::sync::OnceLock;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::hash::sha256;
use super::secret;

/// The length of a [`KeyedDigest`].
const DIGEST_LEN: usize = 16;

/// A digest under a random key of this process: the key of caches in memory. It is five times as
/// fast as SHA-256.
///
/// It is the tag of AES-GCM over an empty text: a polynomial at a secret point. Without the key,
/// two texts of up to 64 KiB have the same digest with a probability of at most 2^-115. No digest
/// may leave the process: the nonce is constant, so digests of known texts reveal the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyedDigest([u8; DIGEST_LEN]);

impl KeyedDigest {
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        static KEY: OnceLock<Option<LessSafeKey>> = OnceLock::new();
        let tag = KEY.get_or_init(new_key).as_ref().and_then(|key| {
            let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
            let tag = key.seal_in_place_separate_tag(nonce, Aad::from(data), &mut []);
            tag.ok()?.as_ref().first_chunk().map(|tag| Self(*tag))
        });
        // The library fails for no such length. SHA-256 is slower and as safe.
        tag.unwrap_or_else(|| {
            let mut digest = [0; DIGEST_LEN];
            digest.copy_from_slice(&sha256(data)[..DIGEST_LEN]);
            Self(digest)
        })
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; DIGEST_LEN] {
        &self.0
    }

    /// A digest of these bytes, for tests of caches.
    #[cfg(test)]
    pub fn made_of(bytes: [u8; DIGEST_LEN]) -> Self {
        Self(bytes)
    }
}

fn new_key() -> Option<LessSafeKey> {
    let mut key = [0; 16];
    secret::fill(&mut key);
    UnboundKey::new(&AES_128_GCM, &key)
        .ok()
        .map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_one_bit_or_in_length_have_different_keyed_digests() {
        let text = vec![b'a'; 900];
        let digest = KeyedDigest::of(&text);
        assert_eq!(KeyedDigest::of(&text.clone()), digest);
        assert_ne!(digest.0, [0; DIGEST_LEN]);
        for at in 0..text.len() {
            let mut other = text.clone();
            other[at] ^= 1;
            assert_ne!(KeyedDigest::of(&other), digest, "{at}");
            assert_ne!(KeyedDigest::of(&text[..at]), digest, "{at}");
        }
        assert_ne!(KeyedDigest::of(b""), KeyedDigest::of(b"\0"));
    }
}
