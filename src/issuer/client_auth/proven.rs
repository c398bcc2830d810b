//! Secrets that were right before. They need no slow hash again, and are accepted during a delay
//! from the network from which they were right.

use std::net::IpAddr;

use aws_lc_rs::hmac;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::domain::hash::sha256_parts;
use crate::domain::secret::{ExposeSecret, SecretString};

/// The number of remembered clients, and of pairs of a client and a network.
const MOST: u64 = 10_000;

/// A presented client id and secret, in a form that is meaningless outside this process.
pub(super) type Presented = [u8; 32];

/// The stored secret that each presented one was. That one may have expired since.
pub(super) struct Proven {
    key: hmac::Key,
    known: Cache<Presented, [u8; 32]>,
    /// The same, per network.
    known_from: Cache<[u8; 32], [u8; 32]>,
}

impl Proven {
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        crate::domain::secret::fill(&mut key);
        let cache = || {
            Cache::builder()
                .max_capacity(MOST)
                .eviction_policy(EvictionPolicy::lru())
                .build()
        };
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            known: cache(),
            known_from: cache(),
        }
    }

    pub(super) fn presented(&self, client_id: &str, secret: &SecretString) -> Presented {
        let parts = sha256_parts(&[client_id.as_bytes(), secret.expose_secret().as_bytes()]);
        let mut presented = [0; 32];
        presented.copy_from_slice(hmac::sign(&self.key, &parts).as_ref());
        presented
    }

    /// The identity of the stored secret that it was, from any network.
    pub(super) fn get(&self, presented: &Presented) -> Option<[u8; 32]> {
        self.known.get(presented)
    }

    /// The same, if it was right from this network.
    pub(super) fn get_from(&self, presented: &Presented, network: IpAddr) -> Option<[u8; 32]> {
        self.known_from.get(&from(presented, network))
    }

    pub(super) fn remember(&self, presented: Presented, network: IpAddr, identity: [u8; 32]) {
        self.known.insert(presented, identity);
        self.known_from.insert(from(&presented, network), identity);
    }

    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.known.invalidate_all();
        self.known_from.invalidate_all();
    }
}

fn from(presented: &Presented, network: IpAddr) -> [u8; 32] {
    sha256_parts(&[presented, network.to_string().as_bytes()])
}
