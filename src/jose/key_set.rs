//! An authority's public keys (RFC 7517 §5), each parsed and bound to the algorithms it may verify.
//!
//! Keys are read one by one: one that is broken, symmetric or of an unknown kind is left out and
//! never spoils the others; the set remembers which and why. A set without a single usable key is
//! an error, so that it can never replace a good one.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature as aws;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{AlgorithmFamily, DecodingKey};
use serde_json::Value;

use super::provider::{self, parse_public_key};
use super::{Algorithm, parse_algorithm};
use crate::domain::claims::{Claims, DocumentFault};
use crate::domain::hash::sha256;

/// How many keys are tried for one token at most: a stranger's token must not cost more than two
/// signatures.
pub const MAX_CANDIDATES: usize = 2;
/// Where more keys fit a token that does not tell them apart, one in so many tokens is tried with
/// another key than those that verified lately: a key that has just begun to sign is found.
const EXPLORE: usize = 4;

/// How many keys of a document are read at most.
const MAX_KEYS: usize = 256;

/// How much of a foreign text is shown, and how many keys in one message.
const SHOWN: usize = 64;
const SHOWN_KEYS: usize = 3;

/// The text is no JWKS with a usable key. What an error shows of it is cut and escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    /// Not a JSON object.
    #[error("not a JWKS document: {0}")]
    NotJson(DocumentFault),
    /// No list `keys`.
    #[error("not a JWKS document: it has no list `keys`")]
    NotAKeySet,
    /// There are no keys in it.
    #[error("the JWKS holds no key")]
    Empty,
    /// No key in it can verify a signature here.
    #[error("the JWKS holds no usable key: {}", join(.0))]
    NoUsableKey(Vec<LeftOut>),
}

/// A key of a document that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its place in `keys` and its `kid`.
    pub key: String,
    /// Why it is not used.
    pub why: String,
    /// Whether the authority says itself that the key is not for signatures.
    pub is_meant: bool,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

/// The first of these, and how many there are beside them.
#[must_use]
pub fn join(left_out: &[LeftOut]) -> String {
    let mut text = left_out
        .iter()
        .take(SHOWN_KEYS)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    if left_out.len() > SHOWN_KEYS {
        text.push_str(&format!("; and {} more", left_out.len() - SHOWN_KEYS));
    }
    text
}

/// Why a key is left out.
struct Unfit {
    why: Cow<'static, str>,
    is_meant: bool,
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

fn shown(text: &str) -> String {
    text.chars()
        .take(SHOWN)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

/// Why no key of a set can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCandidate {
    /// No key has the token's `kid`.
    UnknownKid,
    /// There are keys, but none may verify with the token's algorithm.
    Algorithm,
}

/// What tells a key from every other: 128 bits of the SHA-256 of its SubjectPublicKeyInfo. Tens of
/// thousands of verified tokens carry one.
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

    /// Reads one JWK.
    fn parse(jwk: &Value) -> Result<Self, Unfit> {
        if !jwk.is_object() {
            return Err(fault("it is no JSON object"));
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
                point.ok_or_else(|| fault("`x` and `y` are no point of the curve"))?
            }
            _ => parse_public_key(first, &coordinate(jwk, "x", 32)?)
                .ok_or_else(|| fault("`x` is no point of the curve"))?,
        };
        let unreadable = || fault("it cannot be read");
        let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(&parsed).map_err(|_| unreadable())?;
        let spki = spki.as_ref();
        let decoding = match first.family() {
            AlgorithmFamily::Rsa => DecodingKey::from_rsa_der(spki),
            AlgorithmFamily::Ec => DecodingKey::from_ec_der(spki),
            _ => DecodingKey::from_ed_der(spki),
        };
        let kid = match jwk.get("kid") {
            None | Some(Value::Null) => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(fault("`kid` is no text")),
        };
        let fingerprint = *sha256(spki).first_chunk().ok_or_else(unreadable)?;
        Ok(Self {
            kid,
            algorithms,
            decoding,
            fingerprint,
        })
    }
}

/// A member that says something: `null`, an empty text and an empty list do not, and some
/// authorities write them for what they have not set.
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
        Some(_) => Err(fault(format!("`{name}` is no text"))),
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
        return Err(fault("`key_ops` is no list"));
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
    // Some authorities write the sign byte of a DER integer; the components are numbers all the
    // same.
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
    // RFC 8017 §3.1: the exponent is odd and at least 3. aws-lc-rs would notice only with the first
    // signature.
    if components.e.last().is_none_or(|last| last % 2 == 0) || components.e == [1] {
        return Err(fault("`e` is no public exponent"));
    }
    if components.n.len() < 256 {
        return Err(fault(format!(
            "`n` has {} bits, fewer than 2048",
            components.n.len() * 8
        )));
    }
    let parsed = components.to_parsed_public_key(&aws::RSA_PKCS1_2048_8192_SHA256);
    parsed.map_err(|_| fault("`n` and `e` are no RSA key of 2048 to 8192 bits"))
}

/// Which keys verified lately, of those that tokens do not tell apart; the last first.
#[derive(Default)]
struct Lately(Mutex<Vec<Fingerprint>>);

/// The keys of one authority.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    lately: Arc<Lately>,
    left_out: Vec<LeftOut>,
    unread: usize,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.kid))
            .finish()
    }
}

impl KeySet {
    /// Reads a JWKS document.
    ///
    /// # Errors
    /// [`InvalidKeySet`] when it is none, or holds no usable key.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidKeySet> {
        provider::install();
        let document = Claims::parse(json).map_err(|_| {
            DocumentFault::of(json).map_or(InvalidKeySet::NotAKeySet, InvalidKeySet::NotJson)
        })?;
        let documents = document
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(InvalidKeySet::NotAKeySet)?;
        let (mut keys, mut left_out) = (Vec::new(), Vec::new());
        for (place, jwk) in documents.iter().take(MAX_KEYS).enumerate() {
            match VerifyingKey::parse(jwk) {
                Ok(key) => keys.push(key),
                Err(Unfit { why, is_meant }) => {
                    let kid = jwk.get("kid").and_then(Value::as_str);
                    let kid = kid.map_or(String::new(), |kid| format!(" (kid `{}`)", shown(kid)));
                    left_out.push(LeftOut {
                        key: format!("keys[{place}]{kid}"),
                        why: why.into_owned(),
                        is_meant,
                    });
                }
            }
        }
        match (keys.is_empty(), documents.is_empty()) {
            (true, true) => Err(InvalidKeySet::Empty),
            (true, false) => Err(InvalidKeySet::NoUsableKey(left_out)),
            (false, _) => Ok(Self {
                keys,
                lately: Arc::default(),
                left_out,
                unread: documents.len().saturating_sub(MAX_KEYS),
            }),
        }
    }

    /// The keys of the document that are not used.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// How many keys of the document were not even read: those beyond the first 256.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// The keys to try for a token: those with its `kid`, or all when it names none, that allow its
    /// algorithm. Of more than [`MAX_CANDIDATES`], those that verified lately.
    ///
    /// # Errors
    /// [`NoCandidate`] says why there is none.
    pub fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<&VerifyingKey>, NoCandidate> {
        let named = |key: &&VerifyingKey| kid.is_none() || key.kid.as_deref() == kid;
        if !self.keys.iter().any(|key| named(&key)) {
            return Err(NoCandidate::UnknownKid);
        }
        let mut fitting: Vec<_> = self
            .keys
            .iter()
            .filter(named)
            .filter(|key| key.allows(algorithm))
            .collect();
        match fitting.len() {
            0 => return Err(NoCandidate::Algorithm),
            1 => {}
            _ => self.choose(&mut fitting),
        }
        Ok(fitting)
    }

    /// Leaves the keys that verified lately, the last first; where fewer did, and now and then, any
    /// other one.
    fn choose(&self, fitting: &mut Vec<&VerifyingKey>) {
        let lately = self.lately.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |key: &VerifyingKey| lately.iter().position(|known| *known == key.fingerprint);
        let known = fitting
            .iter()
            .filter(|key| place(key).is_some())
            .count()
            .min(MAX_CANDIDATES);
        fitting.sort_by_key(|key| place(key).unwrap_or(usize::MAX));
        if fitting.len() <= MAX_CANDIDATES {
            return;
        }
        let kept = if known == MAX_CANDIDATES && fastrand::usize(..EXPLORE) == 0 {
            1
        } else {
            known
        };
        for place in kept..MAX_CANDIDATES {
            let other = fastrand::usize(place..fitting.len());
            fitting.swap(place, other);
        }
        fitting.truncate(MAX_CANDIDATES);
    }

    /// Notes that a key verified a token that does not tell it from others.
    pub fn verified_by(&self, key: &VerifyingKey) {
        let mut lately = self.lately.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.first() != Some(&key.fingerprint) {
            lately.retain(|known| *known != key.fingerprint);
            lately.insert(0, key.fingerprint);
            lately.truncate(MAX_CANDIDATES);
        }
    }

    /// Takes over from an earlier edition which keys verified lately.
    #[must_use]
    pub fn after(mut self, earlier: &Self) -> Self {
        self.lately = Arc::clone(&earlier.lately);
        self
    }

    /// Whether the key with this fingerprint is in the set.
    #[must_use]
    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.keys.iter().any(|key| key.fingerprint == *fingerprint)
    }

    /// How many usable keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none; true only of the default value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
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
            let refused = parse(std::slice::from_ref(bad)).unwrap_err();
            assert!(matches!(refused, InvalidKeySet::NoUsableKey(_)), "{bad}");
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
        for (bad, why) in [
            ("", "it is empty"),
            ("{}", "it has no list `keys`"),
            ("[]", "JSON, but not an object"),
            (r#"{"keys":{}}"#, "it has no list `keys`"),
            (r#"{"keys":null}"#, "it has no list `keys`"),
            (r#"{"keys":[],"keys":[]}"#, "repeats the member `keys`"),
            (
                r#"{"keys":[{"kid":"a","kid":"a"}]}"#,
                "repeats the member `kid`",
            ),
            ("<html>", "HTML"),
            ("\u{feff}{\"keys\":[]}", "byte order mark"),
            (r#"{"keys":[]}"#, "holds no key"),
        ] {
            let refused = KeySet::parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(why), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_member_that_says_nothing_is_as_good_as_none() {
        for name in ["use", "key_ops", "alg", "kid", "crv", "x5c", "x5t"] {
            for nothing in [json!(null), json!(""), json!([])] {
                for algorithm in [Algorithm::RS256, Algorithm::ES256] {
                    // What no key can do without, and a list where a text belongs that names the
                    // key.
                    if (name, algorithm) == ("crv", Algorithm::ES256)
                        || (name == "kid" && nothing.is_array())
                    {
                        continue;
                    }
                    let mut key = jwk(algorithm);
                    key[name] = nothing.clone();
                    let set = parse(&[key]).unwrap();
                    assert!(
                        set.candidates(None, algorithm).is_ok() && set.left_out().is_empty(),
                        "{name}"
                    );
                }
            }
        }
        let mut svid = jwk(Algorithm::ES256);
        svid["use"] = "jwt-svid".into();
        assert!(parse(&[svid]).is_ok());
    }

    #[test]
    fn what_is_left_out_is_named_with_its_reason() {
        let changed = |name: &str, value: Value| {
            let mut key = jwk(Algorithm::ES256);
            key["kid"] = "k\u{1b}".into();
            key[name] = value;
            key
        };
        let mut short = jwk(Algorithm::RS256);
        short["n"] = "AQAB".into();
        for (bad, why, is_meant) in [
            (json!(null), "it is no JSON object", false),
            (
                json!({"kty": "oct", "k": "c2VjcmV0"}),
                "a shared secret",
                false,
            ),
            (json!({"kty": "XX"}), "`kty` `XX` is not supported", false),
            (json!({"use": "sig"}), "`kty` is missing", false),
            (
                json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
                "for encryption",
                true,
            ),
            (
                changed("crv", "P-521".into()),
                "its curve `P-521` is not supported",
                false,
            ),
            (
                changed("use", "enc".into()),
                "`use` is `enc`: it is for encryption",
                true,
            ),
            (
                changed("use", "tls".into()),
                "`use` is `tls`, neither `sig` nor `jwt-svid`",
                false,
            ),
            (changed("use", 7.into()), "`use` is no text", false),
            (
                changed("key_ops", json!(["sign"])),
                "`key_ops` does not name `verify`",
                false,
            ),
            (
                changed("key_ops", json!(["wrapKey"])),
                "encryption only",
                true,
            ),
            (
                changed("key_ops", "verify".into()),
                "`key_ops` is no list",
                false,
            ),
            (
                changed("alg", "RS256".into()),
                "`alg` `RS256` does not fit its kind",
                false,
            ),
            (
                changed("alg", "ES256K".into()),
                "`alg` `ES256K` is not supported",
                false,
            ),
            (
                changed("alg", "RSA-OAEP-256".into()),
                "`alg` `RSA-OAEP-256` is for encryption",
                true,
            ),
            (changed("x", "AA".into()), "`x` has 1 bytes, not 32", false),
            (changed("y", "!".into()), "`y` is not base64url", false),
            (changed("y", "".into()), "`y` is missing", false),
            (short, "`n` has 24 bits, fewer than 2048", false),
        ] {
            let set = parse(&[bad, jwk(Algorithm::ES256)]).unwrap();
            let [left_out] = set.left_out() else {
                panic!("{why}")
            };
            assert!(left_out.why.contains(why), "{left_out}");
            assert_eq!(left_out.is_meant, is_meant, "{left_out}");
            assert!(
                left_out.key.starts_with("keys[0]") && !left_out.to_string().contains('\u{1b}')
            );
        }
        let all = parse(&vec![json!({"kty": "oct"}); 5])
            .unwrap_err()
            .to_string();
        assert!(
            all.contains("keys[2]: ") && all.ends_with("; and 2 more"),
            "{all}"
        );
    }

    #[test]
    fn keys_beyond_the_first_256_are_counted() {
        let mut keys = vec![json!({"kty": "oct"}); 255];
        keys.push(jwk(Algorithm::ES256));
        assert_eq!(parse(&keys).unwrap().unread(), 0);
        keys.push(jwk(Algorithm::ES256));
        let set = parse(&keys).unwrap();
        assert_eq!((set.len(), set.unread()), (1, 1));
    }

    #[test]
    fn a_key_verifies_only_what_its_alg_use_and_key_ops_allow() {
        let mut key = jwk(Algorithm::RS256);
        let set = parse(std::slice::from_ref(&key)).unwrap();
        assert_eq!(
            set.candidates(None, Algorithm::PS256).err(),
            Some(NoCandidate::Algorithm)
        );
        key.as_object_mut().unwrap().remove("alg");
        assert!(
            parse(std::slice::from_ref(&key))
                .unwrap()
                .candidates(None, Algorithm::PS256)
                .is_ok()
        );
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
    fn a_named_key_is_the_only_candidate_and_without_a_name_at_most_two_are() {
        let keys: Vec<_> = (0..8).map(|_| jwk(Algorithm::ES256)).collect();
        let set = parse(&keys).unwrap();
        let kid = keys[3]["kid"].as_str().unwrap();
        assert_eq!(
            set.candidates(Some(kid), Algorithm::ES256).unwrap().len(),
            1
        );
        assert_eq!(
            set.candidates(None, Algorithm::ES256).unwrap().len(),
            MAX_CANDIDATES
        );
        assert_eq!(
            set.candidates(Some("other"), Algorithm::ES256).err(),
            Some(NoCandidate::UnknownKid)
        );
        assert_eq!(
            set.candidates(Some(kid), Algorithm::RS256).err(),
            Some(NoCandidate::Algorithm)
        );
    }

    #[test]
    fn of_many_keys_that_fit_those_are_tried_that_verified_lately_and_each_gets_its_turn() {
        let keys: Vec<_> = (0..6).map(|_| jwk(Algorithm::ES256)).collect();
        let set = parse(&keys).unwrap();
        let print = |n: usize| set.keys[n].fingerprint;
        let tried = || {
            let candidates = set.candidates(None, Algorithm::ES256).unwrap();
            assert_eq!(candidates.len(), 2);
            candidates
                .iter()
                .map(|key| key.fingerprint)
                .collect::<Vec<_>>()
        };
        let all = |tries: usize| {
            (0..tries)
                .flat_map(|_| tried())
                .collect::<std::collections::HashSet<_>>()
        };
        // In a thousand tries a key that has one chance in 24 is left out less than once in 10^18.
        assert_eq!(
            all(1000).len(),
            6,
            "no key has verified yet: all get their turn"
        );
        set.verified_by(&set.keys[4]);
        assert_eq!(tried()[0], print(4));
        assert_eq!(all(1000).len(), 6);
        set.verified_by(&set.keys[2]);
        let pairs: Vec<_> = (0..1000).map(|_| tried()).collect();
        assert!(pairs.iter().all(|pair| pair[0] == print(2)));
        assert!(pairs.iter().filter(|pair| pair[1] == print(4)).count() > 600);
        assert_eq!(
            pairs
                .concat()
                .iter()
                .collect::<std::collections::HashSet<_>>()
                .len(),
            6
        );
        // The next edition of the set knows too, also of keys that are gone.
        let next = parse(&keys[1..]).unwrap().after(&set);
        let candidates = next.candidates(None, Algorithm::ES256).unwrap();
        assert_eq!(candidates[0].fingerprint, print(2));
        // Two keys are both tried, the one that verified last first.
        let two = parse(&keys[1..3]).unwrap();
        two.verified_by(&two.keys[1]);
        let candidates = two.candidates(None, Algorithm::ES256).unwrap();
        assert_eq!(
            candidates
                .iter()
                .map(|key| key.fingerprint)
                .collect::<Vec<_>>(),
            [print(2), print(1)]
        );
    }
}
