//! Signing keys.

use serde::Serialize;
use serde_json::Value;

use super::Algorithm;
use crate::domain::secret::SecretString;

/// A key could not be made, read or used. Says nothing of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key cannot be used")]
pub struct SigningKeyError;

/// A private key, parsed once.
pub struct SigningKey;

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// When the algorithm cannot be used for signing here.
    pub fn generate(_algorithm: Algorithm) -> Result<Self, SigningKeyError> {
        Err(SigningKeyError)
    }
    /// Reads PEM.
    ///
    /// # Errors
    /// When it is no private key for the algorithm.
    pub fn from_pem(_pem: &SecretString, _algorithm: Algorithm) -> Result<Self, SigningKeyError> {
        Err(SigningKeyError)
    }
    /// PKCS#8 PEM.
    #[must_use]
    pub fn to_pem(&self) -> SecretString {
        String::new().into()
    }
    /// The key id.
    #[must_use]
    pub fn kid(&self) -> &str {
        ""
    }
    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
    /// The public key as a JWK.
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        Value::Null
    }
    /// Signs claims as a compact JWS.
    ///
    /// # Errors
    /// When the claims cannot be serialised or the key cannot sign.
    pub fn sign<T: Serialize>(&self, _typ: &str, _claims: &T) -> Result<SecretString, SigningKeyError> {
        Err(SigningKeyError)
    }
}
