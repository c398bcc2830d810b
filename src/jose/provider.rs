//! The jsonwebtoken crypto provider: aws-lc-rs with private keys that are parsed once.
//!
//! jsonwebtoken's own providers parse the key at every operation, which costs several times as much
//! as a signature. This one caches the parsed key under a digest of algorithm and bytes. The cache
//! is bounded. It only signs: `key_set` verifies.

use std::sync::{Arc, LazyLock, Once};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self as aws, EcdsaKeyPair, Ed25519KeyPair, ParsedPublicKey, RsaKeyPair,
};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer};
use jsonwebtoken::{Algorithm, EncodingKey};
use moka::sync::Cache;

use crate::domain::hash::sha256_parts;

/// How many parsed keys are cached: far more than one sidecar signs with.
const CACHED_KEYS: u64 = 512;

static PRIVATE_KEYS: LazyLock<Cache<[u8; 32], Arc<PrivateKey>>> =
    LazyLock::new(|| Cache::new(CACHED_KEYS));

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        Ok(Box::new(Signing {
            algorithm: *algorithm,
            key: private_key(*algorithm, key)?,
        }))
    },
    verifier_factory: |_, _| Err(unsupported()),
    // Only jsonwebtoken's own JWK conversions use these; `key_set` and `sign` do that work here.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes aws-lc-rs the process's cryptography, for TLS (rustls) and JOSE (jsonwebtoken). Everything
/// that makes a key calls it, because jsonwebtoken would panic at the first use otherwise.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // `Err` means that one is installed already. Pingora would install ring, but runs after
        // `app`.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let _ = PROVIDER.install_default();
    });
}

/// A private key ready for use.
enum PrivateKey {
    Rsa(RsaKeyPair, &'static dyn aws::RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

struct Signing {
    algorithm: Algorithm,
    key: Arc<PrivateKey>,
}

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let failed = |_| signature::Error::new();
        match &*self.key {
            PrivateKey::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &SystemRandom::new(), message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            PrivateKey::Ecdsa(key) => Ok(key
                .sign(&SystemRandom::new(), message)
                .map_err(failed)?
                .as_ref()
                .to_vec()),
            PrivateKey::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn unsupported() -> Error {
    ErrorKind::UnsupportedAlgorithm.into()
}

fn invalid_key() -> Error {
    ErrorKind::InvalidKeyFormat.into()
}

/// The aws-lc-rs parameters of an algorithm. They refuse RSA keys under 2048 bits.
fn verification(algorithm: Algorithm) -> Option<&'static dyn aws::VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::RS256 => &aws::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &aws::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &aws::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &aws::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &aws::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &aws::RSA_PSS_2048_8192_SHA512,
        Algorithm::ES256 => &aws::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &aws::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &aws::ED25519,
        _ => return None,
    })
}

/// Parses a public key: SubjectPublicKeyInfo, or the bare form that aws-lc-rs accepts.
pub(super) fn parse_public_key(algorithm: Algorithm, bytes: &[u8]) -> Option<ParsedPublicKey> {
    ParsedPublicKey::new(verification(algorithm)?, bytes).ok()
}

fn private_key(algorithm: Algorithm, key: &EncodingKey) -> Result<Arc<PrivateKey>, Error> {
    let bytes = key.as_bytes();
    let id = sha256_parts(&[super::algorithm_name(algorithm).as_bytes(), bytes]);
    if let Some(known) = PRIVATE_KEYS.get(&id) {
        return Ok(known);
    }
    if key.family() != algorithm.family() {
        return Err(invalid_key());
    }
    let parsed = Arc::new(parse_private_key(algorithm, bytes)?);
    PRIVATE_KEYS.insert(id, parsed.clone());
    Ok(parsed)
}

fn parse_private_key(algorithm: Algorithm, pkcs8: &[u8]) -> Result<PrivateKey, Error> {
    let rsa = |encoding| RsaKeyPair::from_pkcs8(pkcs8).map(|key| PrivateKey::Rsa(key, encoding));
    let ecdsa = |params| EcdsaKeyPair::from_pkcs8(params, pkcs8).map(PrivateKey::Ecdsa);
    match algorithm {
        Algorithm::RS256 => rsa(&aws::RSA_PKCS1_SHA256),
        Algorithm::RS384 => rsa(&aws::RSA_PKCS1_SHA384),
        Algorithm::RS512 => rsa(&aws::RSA_PKCS1_SHA512),
        Algorithm::PS256 => rsa(&aws::RSA_PSS_SHA256),
        Algorithm::PS384 => rsa(&aws::RSA_PSS_SHA384),
        Algorithm::PS512 => rsa(&aws::RSA_PSS_SHA512),
        Algorithm::ES256 => ecdsa(&aws::ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::ES384 => ecdsa(&aws::ECDSA_P384_SHA384_FIXED_SIGNING),
        Algorithm::EdDSA => Ed25519KeyPair::from_pkcs8(pkcs8).map(PrivateKey::Ed25519),
        _ => return Err(unsupported()),
    }
    .map_err(|_| invalid_key())
}
