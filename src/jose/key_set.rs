//! An authority's public keys (RFC 7517 §5), each parsed and bound to the algorithms it may verify.
//!
//! Keys are read one by one: one that is broken, symmetric or of an unknown kind is left out and never spoils the
//! others. A set without a single usable key is an error, so that it can never replace a good one.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature as aws;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::Value;

use super::provider::{self, parse_public_key};
use super::{Algorithm, parse_algorithm};
use crate::domain::claims::Claims;
use crate::domain::hash::sha256;

/// How many keys are tried for one token at most: those with its `kid`, or all that fit when it names none.
pub const MAX_CANDIDATES: usize = 5;

/// How many keys of a document are read at most.
const MAX_KEYS: usize = 256;

/// The text is no JWKS with a usable key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    /// Not a JSON object with a `keys` list.
    #[error("not a JWKS document")]
    NotAKeySet,
    /// No key in it can verify a signature here.
    #[error("the JWKS holds no usable key")]
    NoUsableKey,
}

/// Why no key of a set can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCandidate {
    /// No key has the token's `kid`.
    UnknownKid,
    /// There are keys, but none may verify with the token's algorithm.
    Algorithm,
}

/// What tells a key from every other: 128 bits of the SHA-256 of its SubjectPublicKeyInfo. Tens of thousands of verified
/// tokens carry one.
pub type Fingerprint = [u8; 16];

/// A public key.
#[derive(Clone)]
pub struct VerifyingKey {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
    /// By it the same key is recognised in another edition of the set.
    fingerprint: Fingerprint,
}

impl VerifyingKey {
    /// Whether the key may verify with this algorithm.
    #[must_use]
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// What tells this key from every other.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(super) fn decoding_key(&self) -> &DecodingKey {
        &self.decoding
    }

    /// Reads one JWK; `None` when it cannot verify a signature here.
    fn parse(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
        if !matches!(jwk.get("use"), None | Some(Value::Null)) && text("use") != Some("sig") {
            return None;
        }
        if let Some(operations) = jwk.get("key_ops")
            && !operations.as_array()?.iter().any(|op| op == "verify")
        {
            return None;
        }
        let fitting: &[Algorithm] = match (text("kty")?, text("crv")) {
            ("RSA", _) => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            ("EC", Some("P-256")) => &[Algorithm::ES256],
            ("EC", Some("P-384")) => &[Algorithm::ES384],
            ("OKP", Some("Ed25519")) => &[Algorithm::EdDSA],
            _ => return None,
        };
        let algorithms = match jwk.get("alg") {
            None | Some(Value::Null) => fitting.to_vec(),
            Some(alg) => vec![parse_algorithm(alg.as_str()?).filter(|alg| fitting.contains(alg))?],
        };
        let (first, rsa) = (*algorithms.first()?, text("kty") == Some("RSA"));
        let parsed = if rsa {
            // Some authorities write the sign byte of a DER integer; the components are numbers all the same.
            let number =
                |name: &str| bytes(name).map(|b| b.into_iter().skip_while(|b| *b == 0).collect::<Vec<u8>>());
            let components = aws::RsaPublicKeyComponents { n: number("n")?, e: number("e")? };
            // RFC 8017 §3.1: the exponent is odd and at least 3. aws-lc-rs would notice only with the first signature.
            let usable = components.e.last().is_some_and(|last| last % 2 == 1) && components.e != [1];
            if components.n.len() < 256 || !usable {
                return None;
            }
            components.to_parsed_public_key(&aws::RSA_PKCS1_2048_8192_SHA256).ok()?
        } else if text("kty") == Some("EC") {
            let size = if first == Algorithm::ES256 { 32 } else { 48 };
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != size || y.len() != size {
                return None;
            }
            parse_public_key(first, &[&[4], x.as_slice(), y.as_slice()].concat())?
        } else {
            parse_public_key(first, &bytes("x")?)?
        };
        let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(&parsed).ok()?;
        let spki = spki.as_ref();
        let decoding = match first.family() {
            jsonwebtoken::AlgorithmFamily::Rsa => DecodingKey::from_rsa_der(spki),
            jsonwebtoken::AlgorithmFamily::Ec => DecodingKey::from_ec_der(spki),
            _ => DecodingKey::from_ed_der(spki),
        };
        let kid = match jwk.get("kid") {
            None | Some(Value::Null) => None,
            Some(kid) => Some(kid.as_str()?.to_owned()),
        };
        Some(Self { kid, algorithms, decoding, fingerprint: *sha256(spki).first_chunk()? })
    }
}

/// The keys of one authority.
#[derive(Clone, Default)]
pub struct KeySet(Vec<VerifyingKey>);

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.kid)).finish()
    }
}

impl KeySet {
    /// Reads a JWKS document.
    ///
    /// # Errors
    /// [`InvalidKeySet`] when it is none, or holds no usable key.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidKeySet> {
        provider::install();
        let document = Claims::parse(json).map_err(|_| InvalidKeySet::NotAKeySet)?;
        let keys = document.get("keys").and_then(Value::as_array).ok_or(InvalidKeySet::NotAKeySet)?;
        let keys: Vec<_> = keys.iter().take(MAX_KEYS).filter_map(VerifyingKey::parse).collect();
        if keys.is_empty() { Err(InvalidKeySet::NoUsableKey) } else { Ok(Self(keys)) }
    }

    /// The keys to try for a token: those with its `kid`, or all when it names none, that allow its algorithm; at
    /// most [`MAX_CANDIDATES`].
    ///
    /// # Errors
    /// [`NoCandidate`] says why there is none.
    pub fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<&VerifyingKey>, NoCandidate> {
        let named = |key: &&VerifyingKey| kid.is_none() || key.kid.as_deref() == kid;
        if !self.0.iter().any(|key| named(&key)) {
            return Err(NoCandidate::UnknownKid);
        }
        let fitting: Vec<_> =
            self.0.iter().filter(named).filter(|key| key.allows(algorithm)).take(MAX_CANDIDATES).collect();
        if fitting.is_empty() { Err(NoCandidate::Algorithm) } else { Ok(fitting) }
    }

    /// Whether the key with this fingerprint is in the set.
    #[must_use]
    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.0.iter().any(|key| key.fingerprint == *fingerprint)
    }

    /// How many usable keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none; true only of the default value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::sign::SigningKey;

    fn jwk(algorithm: Algorithm) -> Value {
        SigningKey::generate(algorithm).unwrap().public_jwk()
    }

    fn parse(keys: &[Value]) -> Result<KeySet, InvalidKeySet> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn one_broken_key_does_not_spoil_the_others() {
        let good = jwk(Algorithm::ES256);
        let broken = [
            json!({"kty": "oct", "k": "c2VjcmV0", "kid": "a"}),
            json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
            json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
            json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
            json!({"kty": 5}),
            json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
            json!(null),
            json!("x"),
        ];
        for bad in &broken {
            assert_eq!(parse(std::slice::from_ref(bad)).unwrap_err(), InvalidKeySet::NoUsableKey, "{bad}");
        }
        let mut all = broken.to_vec();
        all.push(good);
        assert_eq!(parse(&all).unwrap().len(), 1);
    }

    #[test]
    fn numbers_that_are_no_key_make_none() {
        let (mut rsa, mut ec) = (jwk(Algorithm::RS256), jwk(Algorithm::ES256));
        // With exponent 1 every message is its own signature.
        for exponent in ["AQ", "AA", "", "Ag", "AQAA"] {
            rsa["e"] = exponent.into();
            assert!(parse(std::slice::from_ref(&rsa)).is_err(), "{exponent}");
        }
        // Coordinates of two keys: a point beside the curve.
        ec["y"] = jwk(Algorithm::ES256)["y"].clone();
        assert!(parse(&[ec]).is_err());
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        for bad in
            ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":null}"#, r#"{"keys":[],"keys":[]}"#, "<html>"]
        {
            assert_eq!(KeySet::parse(bad.as_bytes()).unwrap_err(), InvalidKeySet::NotAKeySet, "{bad}");
        }
        assert_eq!(KeySet::parse(br#"{"keys":[]}"#).unwrap_err(), InvalidKeySet::NoUsableKey);
    }

    #[test]
    fn a_key_verifies_only_what_its_alg_use_and_key_ops_allow() {
        let mut key = jwk(Algorithm::RS256);
        let set = parse(std::slice::from_ref(&key)).unwrap();
        assert_eq!(set.candidates(None, Algorithm::PS256).err(), Some(NoCandidate::Algorithm));
        key.as_object_mut().unwrap().remove("alg");
        assert!(parse(std::slice::from_ref(&key)).unwrap().candidates(None, Algorithm::PS256).is_ok());
        for (name, value) in [
            ("use", json!("enc")),
            ("use", json!(7)),
            ("key_ops", json!(["sign"])),
            ("key_ops", json!("verify")),
            ("alg", json!("ES256")),
            ("alg", json!("HS256")),
            ("alg", json!(1)),
            ("kid", json!(1)),
        ] {
            let mut bad = key.clone();
            bad[name] = value;
            assert!(parse(&[bad]).is_err(), "{name}");
        }
    }

    #[test]
    fn a_named_key_is_the_only_candidate_and_without_a_name_at_most_five_are() {
        let keys: Vec<_> = (0..8).map(|_| jwk(Algorithm::ES256)).collect();
        let set = parse(&keys).unwrap();
        let kid = keys[3]["kid"].as_str().unwrap();
        assert_eq!(set.candidates(Some(kid), Algorithm::ES256).unwrap().len(), 1);
        assert_eq!(set.candidates(None, Algorithm::ES256).unwrap().len(), MAX_CANDIDATES);
        assert_eq!(set.candidates(Some("other"), Algorithm::ES256).err(), Some(NoCandidate::UnknownKid));
        assert_eq!(set.candidates(Some(kid), Algorithm::RS256).err(), Some(NoCandidate::Algorithm));
    }
}
