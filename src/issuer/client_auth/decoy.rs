//! Verification with keys that belong to no client, so that the time of a refusal does not reveal
//! whether a client exists.

use crate::jose::key_set::KeySet;
use crate::jose::verify::Jws;

/// One key of each type, whose private key was destroyed.
const KEYS: &[u8] = include_bytes!("decoy_keys.json");
/// The minimum number of keys that are tried for a refused assertion. A client that changes its key
/// has two.
const LEAST: usize = 2;

/// Keys that belong to no client.
pub(super) struct DecoyKeys {
    keys: Option<KeySet>,
    #[cfg(test)]
    pub(super) verified: std::sync::atomic::AtomicUsize,
}

impl DecoyKeys {
    pub(super) fn new() -> Self {
        Self {
            keys: KeySet::parse(KEYS).ok(),
            #[cfg(test)]
            verified: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// Repeats the verification until, with the `tried` keys, [`LEAST`] keys were used.
    pub(super) fn verify(&self, jws: &Jws<'_>, tried: usize) {
        let candidates = self
            .keys
            .as_ref()
            .and_then(|keys| keys.candidates(None, jws.algorithm()).ok());
        let Some(&key) = candidates.as_ref().and_then(|keys| keys.first()) else {
            return;
        };
        for _ in tried..LEAST {
            let _ = std::hint::black_box(jws.verified_claims(&[key]));
            #[cfg(test)]
            self.verified
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::ALGORITHMS;

    #[test]
    fn there_is_a_key_for_every_algorithm() {
        let decoy = DecoyKeys::new();
        for algorithm in ALGORITHMS {
            assert!(
                decoy
                    .keys
                    .as_ref()
                    .unwrap()
                    .candidates(None, *algorithm)
                    .is_ok(),
                "{algorithm:?}"
            );
        }
    }
}
