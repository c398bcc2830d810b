//! DPoP (RFC 9449): the key of a credential, and the proofs of its requests.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue};

use super::Config;
use crate::domain::secret::ExposeSecret;
use crate::jose::dpop::{DPOP_NONCE, NewProof};
use crate::jose::sign::SigningKey;

/// The longest nonce that is sent back, in bytes.
const MAX_NONCE: usize = 1024;

/// The key that the tokens of a credential are bound to. It is in memory only.
pub(super) struct ProofKey(SigningKey);

impl ProofKey {
    /// A new key, if the credential uses DPoP. Without random numbers there is none, and no token.
    pub fn of(config: &Config) -> Option<Arc<Self>> {
        let key = SigningKey::generate(config.dpop?).ok()?;
        Some(Arc::new(Self(key)))
    }

    /// The header `DPoP` of one request.
    pub fn prove(&self, proof: &NewProof<'_>) -> Option<HeaderValue> {
        let proof = proof.sign(&self.0).ok()?;
        let mut value = HeaderValue::from_str(proof.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// The newest nonce of a server (RFC 9449 §8).
#[derive(Debug, Default)]
pub struct Nonce(ArcSwapOption<String>);

impl Nonce {
    /// The nonce for the next proof.
    #[must_use]
    pub fn get(&self) -> Option<Arc<String>> {
        self.0.load_full()
    }

    /// Notes the nonce of a response. Gives whether it has one.
    pub fn note(&self, response: &HeaderMap) -> bool {
        let sent = response.get(DPOP_NONCE);
        let sent = sent.and_then(|nonce| nonce.to_str().ok());
        let Some(nonce) = sent.filter(|it| (1..=MAX_NONCE).contains(&it.len())) else {
            return false;
        };
        if self.0.load().as_ref().is_none_or(|known| **known != nonce) {
            self.0.store(Some(Arc::new(nonce.to_owned())));
        }
        true
    }
}
