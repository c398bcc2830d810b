//! The proof of a client.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::{TYPE, thumbprint};
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256;
use crate::domain::secret::{self, SecretString};
use crate::jose::sign::{SigningKey, SigningKeyError};

/// The request that a new proof is for.
#[derive(Clone, Copy)]
pub struct NewProof<'a> {
    pub method: &'a str,
    /// The URL; its query and fragment are left out.
    pub url: &'a str,
    /// The access token that the request carries; none at the token endpoint.
    pub token: Option<&'a str>,
    /// The nonce that the server gave last.
    pub nonce: Option<&'a str>,
    pub now: UnixTime,
}

/// RFC 9449 §4.2.
#[derive(Serialize)]
struct ProofClaims<'a> {
    jti: String,
    htm: &'a str,
    htu: &'a str,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

impl NewProof<'_> {
    /// Makes the proof, for the `DPoP` header of one request.
    ///
    /// # Errors
    /// [`SigningKeyError::Failed`] when the key cannot sign.
    pub fn sign(&self, key: &SigningKey) -> Result<SecretString, SigningKeyError> {
        let mut id = [0; 16];
        secret::fill(&mut id);
        let claims = ProofClaims {
            jti: URL_SAFE_NO_PAD.encode(id),
            htm: self.method,
            htu: self.url.split(['?', '#']).next().unwrap_or_default(),
            iat: self.now.0,
            ath: self.token.map(token_hash),
            nonce: self.nonce,
        };
        key.sign_with_jwk(TYPE, &claims)
    }
}

impl SigningKey {
    /// The thumbprint of the public key (RFC 7638): the `jkt` of tokens that are bound to it.
    #[must_use]
    pub fn thumbprint(&self) -> Option<String> {
        thumbprint::of_jwk(&self.public_jwk())
    }
}

/// The `ath` of a token.
pub(super) fn token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()))
}
