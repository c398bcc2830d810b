//! Signing keys: generated or read from PEM, and published as JWK.
//!
//! A key id is the UUIDv5, in the X.500 namespace, of the DER SubjectPublicKeyInfo. plgd's servers
//! compute it the same way, so a key file of theirs keeps its `kid` here.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self as aws, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{AlgorithmFamily, EncodingKey, Header};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Algorithm, algorithm_name, provider};
use crate::domain::secret::{ExposeSecret, SecretString};

/// A key cannot be generated, read or used. The texts hold nothing of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// The text holds no private key in PEM (PKCS#8, SEC1 or PKCS#1).
    #[error("no private key in PEM form (PKCS#8, SEC1 or PKCS#1)")]
    NotPem,
    /// The key is of another kind than the algorithm, of an unsupported curve, or an RSA key under
    /// 2048 bits.
    #[error("the key does not fit the algorithm")]
    WrongKind,
    /// The algorithm is not supported for signing.
    #[error("the algorithm is not supported for signing")]
    Unsupported,
    /// Signing failed.
    #[error("signing failed")]
    Failed,
}

/// A private key with its algorithm and key id.
pub struct SigningKey {
    algorithm: Algorithm,
    kid: String,
    pkcs8: Zeroizing<Vec<u8>>,
    encoding: EncodingKey,
    public_jwk: Value,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish()
    }
}

impl SigningKey {
    /// A new random key; RSA keys have 2048 bits.
    ///
    /// # Errors
    /// [`SigningKeyError::Unsupported`] when the algorithm is not supported for signing.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SigningKeyError> {
        let failed = |_| SigningKeyError::Failed;
        let pkcs8: Vec<u8> = match algorithm.family() {
            AlgorithmFamily::Ec => EcdsaKeyPair::generate(curve(algorithm)?)
                .and_then(|k| k.to_pkcs8v1())
                .map_err(failed)?
                .as_ref()
                .to_vec(),
            AlgorithmFamily::Ed => Ed25519KeyPair::generate()
                .and_then(|k| k.to_pkcs8v1())
                .map_err(failed)?
                .as_ref()
                .to_vec(),
            AlgorithmFamily::Rsa => {
                let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                AsDer::<Pkcs8V1Der<'_>>::as_der(&key)
                    .map_err(failed)?
                    .as_ref()
                    .to_vec()
            }
            AlgorithmFamily::Hmac => return Err(SigningKeyError::Unsupported),
        };
        Self::from_pkcs8(Zeroizing::new(pkcs8), algorithm)
    }

    /// Reads the first private key of a PEM text: PKCS#8, SEC1 (`EC PRIVATE KEY`) or PKCS#1 (`RSA
    /// PRIVATE KEY`).
    ///
    /// # Errors
    /// [`SigningKeyError::NotPem`] or [`SigningKeyError::WrongKind`].
    pub fn from_pem(pem: &SecretString, algorithm: Algorithm) -> Result<Self, SigningKeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes())
            .map_err(|_| SigningKeyError::NotPem)?;
        let wrong = |_| SigningKeyError::WrongKind;
        let pkcs8 = match &der {
            PrivateKeyDer::Pkcs8(der) => der.secret_pkcs8_der().to_vec(),
            PrivateKeyDer::Sec1(der) => {
                EcdsaKeyPair::from_private_key_der(curve(algorithm)?, der.secret_sec1_der())
                    .map_err(wrong)?
                    .to_pkcs8v1()
                    .map_err(|_| SigningKeyError::WrongKind)?
                    .as_ref()
                    .to_vec()
            }
            PrivateKeyDer::Pkcs1(der) => {
                let key = RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(wrong)?;
                AsDer::<Pkcs8V1Der<'_>>::as_der(&key)
                    .map_err(|_| SigningKeyError::WrongKind)?
                    .as_ref()
                    .to_vec()
            }
            _ => return Err(SigningKeyError::NotPem),
        };
        Self::from_pkcs8(Zeroizing::new(pkcs8), algorithm)
    }

    /// [`from_pem`](Self::from_pem) with the usual algorithm of the key's kind: ES256, ES384, EdDSA
    /// or RS256.
    ///
    /// # Errors
    /// [`SigningKeyError::NotPem`] or [`SigningKeyError::WrongKind`].
    pub fn from_any_pem(pem: &SecretString) -> Result<Self, SigningKeyError> {
        let usual = [
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
            Algorithm::RS256,
        ];
        let mut tried = usual
            .iter()
            .map(|algorithm| Self::from_pem(pem, *algorithm));
        tried
            .find(|key| !matches!(key, Err(SigningKeyError::WrongKind)))
            .unwrap_or(Err(SigningKeyError::WrongKind))
    }

    fn from_pkcs8(
        pkcs8: Zeroizing<Vec<u8>>,
        algorithm: Algorithm,
    ) -> Result<Self, SigningKeyError> {
        provider::install();
        let wrong = |_| SigningKeyError::WrongKind;
        let (spki, mut jwk, encoding) = match algorithm.family() {
            AlgorithmFamily::Ec => {
                let key = EcdsaKeyPair::from_pkcs8(curve(algorithm)?, &pkcs8).map_err(wrong)?;
                let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key())
                    .map_err(|_| SigningKeyError::WrongKind)?;
                (
                    spki.as_ref().to_vec(),
                    ec_jwk(algorithm, key.public_key().as_ref())?,
                    EncodingKey::from_ec_der(&pkcs8),
                )
            }
            AlgorithmFamily::Ed => {
                let key = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(wrong)?;
                let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key())
                    .map_err(|_| SigningKeyError::WrongKind)?;
                let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
                (
                    spki.as_ref().to_vec(),
                    json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
                    EncodingKey::from_ed_der(&pkcs8),
                )
            }
            AlgorithmFamily::Rsa => {
                let key = RsaKeyPair::from_pkcs8(&pkcs8).map_err(wrong)?;
                if key.public_modulus_len() < 256 {
                    return Err(SigningKeyError::WrongKind);
                }
                let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key())
                    .map_err(|_| SigningKeyError::WrongKind)?;
                let public = aws::RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                let (n, e) = (
                    URL_SAFE_NO_PAD.encode(&public.n),
                    URL_SAFE_NO_PAD.encode(&public.e),
                );
                (
                    spki.as_ref().to_vec(),
                    json!({"kty": "RSA", "n": n, "e": e}),
                    EncodingKey::from_rsa_der(&pkcs8),
                )
            }
            AlgorithmFamily::Hmac => return Err(SigningKeyError::Unsupported),
        };
        let kid = Uuid::new_v5(&Uuid::NAMESPACE_X500, &spki).to_string();
        jwk["kid"] = json!(kid);
        jwk["alg"] = json!(algorithm_name(algorithm));
        jwk["use"] = json!("sig");
        Ok(Self {
            algorithm,
            kid,
            pkcs8,
            encoding,
            public_jwk: jwk,
        })
    }

    /// The key in PKCS#8 PEM.
    #[must_use]
    pub fn to_pem(&self) -> SecretString {
        let body = Zeroizing::new(STANDARD.encode(&*self.pkcs8));
        let mut pem = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
        for line in body.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|b| char::from(*b)));
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        SecretString::from(pem.as_str())
    }

    /// The key id.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key as a JWK with `kid`, `alg` and `use` (RFC 7517 §4).
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        self.public_jwk.clone()
    }

    /// Signs claims as a compact JWS with the given `typ`.
    ///
    /// # Errors
    /// [`SigningKeyError::Failed`] when the claims cannot be serialised or the key cannot sign.
    pub fn sign<T: Serialize>(
        &self,
        typ: &str,
        claims: &T,
    ) -> Result<SecretString, SigningKeyError> {
        self.sign_as(typ, Some(&self.kid), claims)
    }

    /// [`sign`](Self::sign) with another key id, or with none.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn sign_as<T: Serialize>(
        &self,
        typ: &str,
        kid: Option<&str>,
        claims: &T,
    ) -> Result<SecretString, SigningKeyError> {
        let mut header = Header::new(self.algorithm);
        header.typ = Some(typ.to_owned());
        header.kid = kid.map(str::to_owned);
        self.sign_with(&header, claims)
    }

    /// Signs claims with the public key itself in the header (RFC 7515 §4.1.3).
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn sign_with_jwk<T: Serialize>(
        &self,
        typ: &str,
        claims: &T,
    ) -> Result<SecretString, SigningKeyError> {
        let mut jwk = self.public_jwk();
        if let Some(members) = jwk.as_object_mut() {
            members.retain(|name, _| !matches!(name.as_str(), "kid" | "alg" | "use"));
        }
        let mut header = Header::new(self.algorithm);
        header.typ = Some(typ.to_owned());
        header.jwk = Some(serde_json::from_value(jwk).map_err(|_| SigningKeyError::Failed)?);
        self.sign_with(&header, claims)
    }

    fn sign_with<T: Serialize>(
        &self,
        header: &Header,
        claims: &T,
    ) -> Result<SecretString, SigningKeyError> {
        jsonwebtoken::encode(header, claims, &self.encoding)
            .map(SecretString::from)
            .map_err(|_| SigningKeyError::Failed)
    }
}

fn curve(algorithm: Algorithm) -> Result<&'static EcdsaSigningAlgorithm, SigningKeyError> {
    match algorithm {
        Algorithm::ES256 => Ok(&aws::ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::ES384 => Ok(&aws::ECDSA_P384_SHA384_FIXED_SIGNING),
        _ => Err(SigningKeyError::WrongKind),
    }
}

/// The JWK of an uncompressed point (`04 || x || y`).
fn ec_jwk(algorithm: Algorithm, point: &[u8]) -> Result<Value, SigningKeyError> {
    let (curve, size) = if algorithm == Algorithm::ES256 {
        ("P-256", 32)
    } else {
        ("P-384", 48)
    };
    match point.split_first() {
        Some((4, xy)) if xy.len() == 2 * size => {
            let (x, y) = xy.split_at(size);
            Ok(json!({
                "kty": "EC", "crv": curve,
                "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
            }))
        }
        _ => Err(SigningKeyError::WrongKind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::ALGORITHMS;
    use crate::jose::key_set::KeySet;
    use crate::jose::verify::Jws;

    #[test]
    fn every_algorithm_signs_what_its_own_jwk_verifies_also_after_a_round_trip_through_pem() {
        for algorithm in ALGORITHMS.iter().copied() {
            let key = SigningKey::generate(algorithm).unwrap();
            let again = SigningKey::from_pem(&key.to_pem(), algorithm).unwrap();
            assert_eq!(key.kid(), again.kid());
            assert_eq!(
                SigningKey::from_any_pem(&key.to_pem()).unwrap().kid(),
                key.kid()
            );
            let token = again.sign("at+jwt", &json!({"sub": "x"})).unwrap();
            let keys =
                KeySet::parse(json!({"keys": [key.public_jwk()]}).to_string().as_bytes()).unwrap();
            let jws = Jws::parse(token.expose_secret()).unwrap();
            assert_eq!((jws.algorithm(), jws.kid()), (algorithm, Some(key.kid())));
            let fitting = keys.candidates(jws.kid(), algorithm).unwrap();
            assert!(fitting.iter().any(|k| jws.verify(k)), "{algorithm:?}");
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused_and_debug_shows_no_key() {
        let key = SigningKey::generate(Algorithm::ES256).unwrap();
        for other in [Algorithm::ES384, Algorithm::RS256, Algorithm::EdDSA] {
            assert_eq!(
                SigningKey::from_pem(&key.to_pem(), other).unwrap_err(),
                SigningKeyError::WrongKind
            );
        }
        assert_eq!(
            SigningKey::from_pem(&"x".into(), Algorithm::ES256).unwrap_err(),
            SigningKeyError::NotPem
        );
        assert_eq!(
            SigningKey::generate(Algorithm::HS256).unwrap_err(),
            SigningKeyError::Unsupported
        );
        assert_eq!(
            format!("{key:?}"),
            format!("SigningKey {{ algorithm: ES256, kid: {:?} }}", key.kid())
        );
    }

    #[test]
    fn the_key_id_is_the_one_plgd_computes() {
        // UUIDv5(X.500, DER SubjectPublicKeyInfo); computed with Python's uuid.uuid5 for this fixed
        // key.
        let pem = "-----BEGIN PRIVATE \
            KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAAAAAAAAAAAAAAAA\nAAAAAAAAAAAAAAAAAAAAAAAAAAGhRANCAARrF9Hy4SxCR/i85uVjpEDydwN9gS3r\nM6D0oTlF2JjClk/jQuL+Gn+bjufrSnwPnhYrzjNXazFezsu2QGg3v1H1\n-----END PRIVATE KEY-----\n";
        let key = SigningKey::from_pem(&pem.into(), Algorithm::ES256).unwrap();
        assert_eq!(key.kid(), "dd416671-8cad-57bb-9438-64e47615e976");
    }

    #[test]
    fn a_key_in_the_forms_that_openssl_writes_keeps_the_key_id_of_plgd() {
        // The ids were computed with Python's hashlib over the SubjectPublicKeyInfo that `openssl
        // -pubout` writes.
        for (pem, algorithm, kid) in [
            (
                include_str!("vectors/rsa-pkcs1.pem"),
                Algorithm::RS256,
                "04574634-d051-57b5-93fe-5c06d9dae4a1",
            ),
            (
                include_str!("vectors/ec-parameters-sec1.pem"),
                Algorithm::ES384,
                "0184b5db-b078-5d45-a275-01547d89a7e3",
            ),
        ] {
            let key = SigningKey::from_pem(&pem.into(), algorithm).unwrap();
            assert_eq!(key.kid(), kid);
            let again = SigningKey::from_pem(&key.to_pem(), algorithm).unwrap();
            assert_eq!(again.kid(), kid, "as PKCS#8");
        }
    }
}
