//! One JWK (RFC 7517 §4), parsed and bound to the algorithms that it may verify.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature as aws;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::AlgorithmFamily;
use serde_json::Value;

use crate::domain::hash::sha256;
use crate::jose::provider::parse_public_key;
use crate::jose::{Algorithm, parse_algorithm};

/// How much of a foreign text is shown.
const SHOWN: usize = 64;

/// Why a key is left out.
pub(super) struct Unfit {
    pub why: Cow<'static, str>,
    /// Whether the authority itself says that the key is not for signatures.
    pub is_meant: bool,
}

fn fault(why: impl Into<Cow<'static, str>>) -> Unfit {
    Unfit {
        why: why.into(),
        is_meant: false,
    }
}

fn meant(why: impl Into<Cow<'static, str>>) -> Unfit {
    Unfit {
        why: why.into(),
        is_meant: true,
    }
}

pub(super) fn shown(text: &str) -> String {
    text.chars()
        .take(SHOWN)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

/// Identifies a key: 128 bits of the SHA-256 of its SubjectPublicKeyInfo. Tens of thousands of
/// cached tokens hold one.
pub type Fingerprint = [u8; 16];

/// A public key.
#[derive(Clone)]
pub struct VerifyingKey {
    pub(super) kid: Option<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) fingerprint: Fingerprint,
    /// The thumbprint of its certificate, if the JWK has one.
    certificate: Option<String>,
    /// The issuer whose tokens it signs, if the JWK names one: key sets of several issuers do.
    pub(super) issuer: Option<Arc<str>>,
    prepared: Arc<Prepared>,
}

/// A key parsed for each of its algorithms at the first use: that costs half of an RSA
/// verification.
struct Prepared {
    /// Its SubjectPublicKeyInfo.
    spki: Box<[u8]>,
    /// In the order of [`VerifyingKey::algorithms`].
    keys: Box<[OnceLock<Option<aws::ParsedPublicKey>>]>,
}

impl VerifyingKey {
    /// Whether the key may verify with this algorithm.
    #[must_use]
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether the key may verify tokens with this `kid`. One without `kid` may have any key.
    pub(super) fn fits(&self, kid: Option<&str>) -> bool {
        kid.is_none() || self.kid.as_deref() == kid
    }

    /// Identifies this key, also in later editions of the set.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether this is the key of a certificate, given by the SHA-256 of its public key and its
    /// thumbprint. A key with a certificate of its own is the key of that certificate only.
    pub(super) fn is_of_certificate(&self, key_hash: &[u8; 32], thumbprint: &str) -> bool {
        key_hash.starts_with(&self.fingerprint)
            && self
                .certificate
                .as_ref()
                .is_none_or(|own| own == thumbprint)
    }

    /// Whether the key made this signature of the message with this algorithm.
    pub(in crate::jose) fn verifies(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.prepared_for(algorithm)
            .is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }

    pub(super) fn prepared_for(&self, algorithm: Algorithm) -> Option<&aws::ParsedPublicKey> {
        let place = self.algorithms.iter().position(|one| *one == algorithm)?;
        let key = self.prepared.keys.get(place)?;
        key.get_or_init(|| parse_public_key(algorithm, &self.prepared.spki))
            .as_ref()
    }

    /// The key of one JWK; `None` if it is no public key that is supported.
    #[must_use]
    pub fn of_jwk(jwk: &Value) -> Option<Self> {
        Self::parse(jwk).ok()
    }

    /// Reads one JWK.
    pub(super) fn parse(jwk: &Value) -> Result<Self, Unfit> {
        if !jwk.is_object() {
            return Err(fault("it is not a JSON object"));
        }
        check_use(jwk)?;
        check_operations(jwk)?;
        let fitting = fitting(jwk)?;
        let algorithms = algorithms(jwk, fitting)?;
        let first = *algorithms
            .first()
            .ok_or_else(|| fault("no algorithm fits it"))?;
        let parsed = match first.family() {
            AlgorithmFamily::Rsa => rsa(jwk)?,
            AlgorithmFamily::Ec => {
                let size = if first == Algorithm::ES256 { 32 } else { 48 };
                let (x, y) = (coordinate(jwk, "x", size)?, coordinate(jwk, "y", size)?);
                let point = parse_public_key(first, &[&[4], x.as_slice(), y.as_slice()].concat());
                point.ok_or_else(|| fault("`x` and `y` are not a point on the curve"))?
            }
            _ => parse_public_key(first, &coordinate(jwk, "x", 32)?)
                .ok_or_else(|| fault("`x` is not a point on the curve"))?,
        };
        let unreadable = || fault("it cannot be read");
        let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(&parsed).map_err(|_| unreadable())?;
        let spki = spki.as_ref();
        let prepared = Prepared {
            spki: spki.into(),
            keys: algorithms.iter().map(|_| OnceLock::new()).collect(),
        };
        let kid = match jwk.get("kid") {
            None | Some(Value::Null) => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(fault("`kid` is not a string")),
        };
        let fingerprint = *sha256(spki).first_chunk().ok_or_else(unreadable)?;
        Ok(Self {
            kid,
            algorithms,
            fingerprint,
            certificate: certificate(jwk),
            issuer: stated_text(jwk, "issuer")?.map(Into::into),
            prepared: Arc::new(prepared),
        })
    }
}

/// The thumbprint of a key's certificate (RFC 7517 §4.7, §4.9). An unreadable certificate has one
/// that no certificate has.
fn certificate(jwk: &Value) -> Option<String> {
    if let Some(thumbprint) = stated(jwk, "x5t#S256") {
        let thumbprint = thumbprint.as_str().unwrap_or_default();
        return Some(thumbprint.trim_end_matches('=').to_owned());
    }
    let first = stated(jwk, "x5c")?.get(0).and_then(Value::as_str);
    let der = first.and_then(|first| STANDARD.decode(first).ok());
    Some(der.map_or(String::new(), |der| URL_SAFE_NO_PAD.encode(sha256(&der))))
}

/// A member with a value. Some authorities write `null`, an empty string or an empty list for a
/// member that is not set.
fn stated<'j>(jwk: &'j Value, name: &str) -> Option<&'j Value> {
    match jwk.get(name)? {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) if items.is_empty() => None,
        value => Some(value),
    }
}

fn stated_text<'j>(jwk: &'j Value, name: &'static str) -> Result<Option<&'j str>, Unfit> {
    match stated(jwk, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(fault(format!("`{name}` is not a string"))),
    }
}

/// RFC 7517 §4.2. SPIFFE bundles call signature keys `jwt-svid` (SPIFFE Trust Domain and Bundle
/// §4.2.1).
fn check_use(jwk: &Value) -> Result<(), Unfit> {
    match stated_text(jwk, "use")? {
        None | Some("sig" | "jwt-svid") => Ok(()),
        Some("enc") => Err(meant("`use` is `enc`: it is for encryption")),
        Some("x509-svid") => Err(meant("`use` is `x509-svid`: it is for certificates")),
        Some(other) => Err(fault(format!(
            "`use` is `{}`, neither `sig` nor `jwt-svid`",
            shown(other)
        ))),
    }
}

/// RFC 7517 §4.3.
fn check_operations(jwk: &Value) -> Result<(), Unfit> {
    const ENCRYPTION: [&str; 6] = [
        "encrypt",
        "decrypt",
        "wrapKey",
        "unwrapKey",
        "deriveKey",
        "deriveBits",
    ];
    let Some(operations) = stated(jwk, "key_ops") else {
        return Ok(());
    };
    let Some(operations) = operations.as_array() else {
        return Err(fault("`key_ops` is not a list"));
    };
    if operations.iter().any(|operation| operation == "verify") {
        return Ok(());
    }
    let encrypts = |operation: &Value| {
        operation
            .as_str()
            .is_some_and(|name| ENCRYPTION.contains(&name))
    };
    if operations.iter().all(encrypts) {
        return Err(meant("`key_ops` names operations of encryption only"));
    }
    Err(fault("`key_ops` does not name `verify`"))
}

/// The algorithms that fit a key's kind (RFC 7518 §6, RFC 8037 §2).
fn fitting(jwk: &Value) -> Result<&'static [Algorithm], Unfit> {
    let kty = stated_text(jwk, "kty")?.ok_or_else(|| fault("`kty` is missing"))?;
    let curve = || stated_text(jwk, "crv")?.ok_or_else(|| fault("`crv` is missing"));
    Ok(match kty {
        "RSA" => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        "EC" => match curve()? {
            "P-256" => &[Algorithm::ES256],
            "P-384" => &[Algorithm::ES384],
            other => {
                return Err(fault(format!(
                    "its curve `{}` is not supported",
                    shown(other)
                )));
            }
        },
        "OKP" => match curve()? {
            "Ed25519" => &[Algorithm::EdDSA],
            "X25519" | "X448" => return Err(meant("its curve is for encryption")),
            other => {
                return Err(fault(format!(
                    "its curve `{}` is not supported",
                    shown(other)
                )));
            }
        },
        "oct" => {
            return Err(fault(
                "`kty` is `oct`: a shared secret is never used to verify",
            ));
        }
        other => return Err(fault(format!("`kty` `{}` is not supported", shown(other)))),
    })
}

/// The algorithms that a key may verify: its `alg` (RFC 7517 §4.4), or all that fit it.
fn algorithms(jwk: &Value, fitting: &[Algorithm]) -> Result<Vec<Algorithm>, Unfit> {
    const ENCRYPTION: [&str; 3] = ["RSA-OAEP", "RSA1_5", "ECDH-ES"];
    let Some(name) = stated_text(jwk, "alg")? else {
        return Ok(fitting.to_vec());
    };
    match parse_algorithm(name) {
        Some(algorithm) if fitting.contains(&algorithm) => Ok(vec![algorithm]),
        Some(_) => Err(fault(format!("`alg` `{name}` does not fit its kind"))),
        None if ENCRYPTION.iter().any(|prefix| name.starts_with(prefix)) => {
            Err(meant(format!("`alg` `{}` is for encryption", shown(name))))
        }
        None => Err(fault(format!("`alg` `{}` is not supported", shown(name)))),
    }
}

fn bytes(jwk: &Value, name: &'static str) -> Result<Vec<u8>, Unfit> {
    let text = stated_text(jwk, name)?.ok_or_else(|| fault(format!("`{name}` is missing")))?;
    let decoded = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    decoded.map_err(|_| fault(format!("`{name}` is not base64url")))
}

fn coordinate(jwk: &Value, name: &'static str, size: usize) -> Result<Vec<u8>, Unfit> {
    let bytes = bytes(jwk, name)?;
    if bytes.len() == size {
        return Ok(bytes);
    }
    Err(fault(format!(
        "`{name}` has {} bytes, not {size}",
        bytes.len()
    )))
}

fn rsa(jwk: &Value) -> Result<aws::ParsedPublicKey, Unfit> {
    // Some authorities write the sign byte of a DER integer.
    let number = |name| {
        Ok(bytes(jwk, name)?
            .into_iter()
            .skip_while(|byte| *byte == 0)
            .collect::<Vec<u8>>())
    };
    let components = aws::RsaPublicKeyComponents {
        n: number("n")?,
        e: number("e")?,
    };
    // RFC 8017 §3.1: the exponent is odd and at least 3. aws-lc-rs checks that only with the first
    // signature.
    if components.e.last().is_none_or(|last| last % 2 == 0) || components.e == [1] {
        return Err(fault("`e` is not a valid public exponent"));
    }
    if components.n.len() < 256 {
        return Err(fault(format!(
            "`n` has {} bits, fewer than 2048",
            components.n.len() * 8
        )));
    }
    let parsed = components.to_parsed_public_key(&aws::RSA_PKCS1_2048_8192_SHA256);
    parsed.map_err(|_| fault("`n` and `e` are not an RSA key of 2048 to 8192 bits"))
}
