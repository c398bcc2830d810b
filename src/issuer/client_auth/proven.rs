//! Secrets that were right before, so that neither a slow hash nor a delay stands in the way of a client at work.

use aws_lc_rs::hmac;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::domain::hash::sha256_parts;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::issuer::client_secret;

/// So many clients at work are remembered.
const MOST: u64 = 10_000;

/// A presented client id and secret, in a form that means nothing outside this process.
pub(super) type Presented = [u8; 32];

/// Which presented secret was which stored one. Says nothing of whether that one is still live.
pub(super) struct Proven {
    key: hmac::Key,
    known: Cache<Presented, [u8; 32]>,
}

impl Proven {
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        client_secret::fill(&mut key);
        let known = Cache::builder().max_capacity(MOST).eviction_policy(EvictionPolicy::lru()).build();
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), known }
    }

    pub(super) fn presented(&self, client_id: &str, secret: &SecretString) -> Presented {
        let parts = sha256_parts(&[client_id.as_bytes(), secret.expose_secret().as_bytes()]);
        let mut presented = [0; 32];
        presented.copy_from_slice(hmac::sign(&self.key, &parts).as_ref());
        presented
    }

    /// The identity of the stored secret that it was.
    pub(super) fn get(&self, presented: &Presented) -> Option<[u8; 32]> {
        self.known.get(presented)
    }

    pub(super) fn remember(&self, presented: Presented, identity: [u8; 32]) {
        self.known.insert(presented, identity);
    }

    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.known.invalidate_all();
    }
}
