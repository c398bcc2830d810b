//! Signing keys (ES256 only: a stand-in until the real room is merged; same signatures).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Value, json};

use super::Algorithm;
use crate::domain::hash::sha256;
use crate::domain::secret::{ExposeSecret, SecretString};

/// A key could not be made, read or used. Says nothing of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key cannot be used")]
pub struct SigningKeyError;

/// A private key, parsed once.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    pem: SecretString,
    kid: String,
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// When the algorithm cannot be used for signing here.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SigningKeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| SigningKeyError)?;
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(document.as_ref())
        );
        Self::from_pem(&pem.into(), algorithm)
    }
    /// Reads PEM.
    ///
    /// # Errors
    /// When it is no private key for the algorithm.
    pub fn from_pem(pem: &SecretString, algorithm: Algorithm) -> Result<Self, SigningKeyError> {
        if algorithm != Algorithm::ES256 {
            return Err(SigningKeyError);
        }
        let body: String = pem
            .expose_secret()
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let der = STANDARD.decode(body).map_err(|_| SigningKeyError)?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).map_err(|_| SigningKeyError)?;
        let kid = URL_SAFE_NO_PAD.encode(sha256(pair.public_key().as_ref()));
        Ok(Self {
            pair,
            pem: pem.clone(),
            kid,
        })
    }
    /// PKCS#8 PEM.
    #[must_use]
    pub fn to_pem(&self) -> SecretString {
        self.pem.clone()
    }
    /// The key id.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }
    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
    /// The public key as a JWK.
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..]), "kid": self.kid, "alg": "ES256", "use": "sig"})
    }
    /// Signs claims as a compact JWS.
    ///
    /// # Errors
    /// When the claims cannot be serialised or the key cannot sign.
    pub fn sign<T: Serialize>(&self, typ: &str, claims: &T) -> Result<SecretString, SigningKeyError> {
        let header = json!({"typ": typ, "alg": "ES256", "kid": self.kid}).to_string();
        let claims = serde_json::to_vec(claims).map_err(|_| SigningKeyError)?;
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = self
            .pair
            .sign(&SystemRandom::new(), input.as_bytes())
            .map_err(|_| SigningKeyError)?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
    }
}
