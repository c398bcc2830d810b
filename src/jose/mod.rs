//! JOSE: keys, signatures and key sets, shared by the roles.
//!
//! [`verify`] parses a compact JWS and checks its signature, [`sign`] makes one, [`key_set`] holds
//! an authority's public keys, and [`live_keys`] keeps such a set fresh with [`refresh`]. [`dpop`]
//! proves that a client holds a key. The cryptography is aws-lc-rs, through the jsonwebtoken
//! provider of [`provider`].

pub mod bundle;
pub mod dpop;
pub mod kept_record;
mod kept_set;
pub mod key_set;
pub mod live_keys;
pub mod provider;
pub mod refresh;
mod renewal_limit;
pub mod sign;
mod source;
pub mod verify;

pub use jsonwebtoken::Algorithm;

/// Every algorithm this project signs or verifies with; all asymmetric.
pub const ALGORITHMS: &[Algorithm] = &[
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::EdDSA,
];

/// The `alg` value of an algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
#[must_use]
pub fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES256 => "ES256",
        Algorithm::ES384 => "ES384",
        Algorithm::RS256 => "RS256",
        Algorithm::RS384 => "RS384",
        Algorithm::RS512 => "RS512",
        Algorithm::PS256 => "PS256",
        Algorithm::PS384 => "PS384",
        Algorithm::PS512 => "PS512",
        Algorithm::EdDSA => "EdDSA",
        _ => "none",
    }
}

/// The algorithm of an `alg` value. HMAC is never supported: a public key set cannot hold a shared
/// secret. `Ed25519` is the newer name of the one EdDSA curve that is supported (RFC 9864 §2.2).
#[must_use]
pub fn parse_algorithm(name: &str) -> Option<Algorithm> {
    if name == "Ed25519" {
        return Some(Algorithm::EdDSA);
    }
    ALGORITHMS
        .iter()
        .copied()
        .find(|algorithm| algorithm_name(*algorithm) == name)
}
