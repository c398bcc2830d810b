//! Signing keys of fake authorities.
//! RSA keys are slow to generate, so the process keeps a pool. Only one authority at a time uses a
//! key: with a shared key, a token of the wrong issuer would verify.

use std::fmt;
use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{lock, logs};

/// A JWS algorithm of RFC 7518 §3.1 or RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the RFCs' names")]
pub enum Alg {
    ES256,
    ES384,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    EdDSA,
}

impl Alg {
    /// Every algorithm.
    pub const ALL: [Self; 9] = [
        Self::ES256,
        Self::ES384,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::EdDSA,
    ];

    /// The `alg` value.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    fn rsa_encoding(self) -> Option<&'static dyn RsaEncoding> {
        Some(match self {
            Self::RS256 => &signature::RSA_PKCS1_SHA256,
            Self::RS384 => &signature::RSA_PKCS1_SHA384,
            Self::RS512 => &signature::RSA_PKCS1_SHA512,
            Self::PS256 => &signature::RSA_PSS_SHA256,
            Self::PS384 => &signature::RSA_PSS_SHA384,
            Self::PS512 => &signature::RSA_PSS_SHA512,
            Self::ES256 | Self::ES384 | Self::EdDSA => return None,
        })
    }
}

enum Material {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A private key, its id and the algorithm it is published for.
#[derive(Clone)]
pub struct TestKey {
    /// The `kid`.
    pub kid: String,
    /// The algorithm its JWK names.
    pub alg: Alg,
    material: Arc<Material>,
}

impl fmt::Debug for TestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} key {}", self.alg, self.kid)
    }
}

/// The generated RSA keys; a key that only the pool owns is free.
static RSA_POOL: Mutex<Vec<Arc<Material>>> = Mutex::new(Vec::new());

impl TestKey {
    /// A key that no other authority uses.
    pub fn generate(kid: &str, alg: Alg) -> Self {
        let material = match alg {
            Alg::ES256 => Arc::new(Material::P256(
                EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
            )),
            Alg::ES384 => Arc::new(Material::P384(
                EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key"),
            )),
            Alg::EdDSA => Arc::new(Material::Ed25519(
                Ed25519KeyPair::generate().expect("a key"),
            )),
            _ => lend_rsa(),
        };
        let key = Self {
            kid: kid.to_owned(),
            alg,
            material,
        };
        logs::remember_private_key(&key.private_pem());
        key
    }

    /// The public half, as an authority publishes it.
    pub fn public_jwk(&self) -> Value {
        let mut jwk = match &*self.material {
            Material::P256(pair) => ec_jwk("P-256", pair.public_key().as_ref()),
            Material::P384(pair) => ec_jwk("P-384", pair.public_key().as_ref()),
            Material::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())})
            }
            Material::Rsa(pair) => {
                let (n, e) = rsa_components(pair.public_key().as_ref());
                json!({"kty": "RSA", "n": base64url(n), "e": base64url(e)})
            }
        };
        jwk["kid"] = self.kid.clone().into();
        jwk["alg"] = self.alg.name().into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// The private key in PEM (PKCS#8), as a `privateKeyFile` holds it.
    pub fn private_pem(&self) -> String {
        let der = match &*self.material {
            Material::P256(pair) | Material::P384(pair) => {
                pair.to_pkcs8v1().expect("DER").as_ref().to_vec()
            }
            Material::Ed25519(pair) => pair.to_pkcs8v1().expect("DER").as_ref().to_vec(),
            Material::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(pair)
                .expect("DER")
                .as_ref()
                .to_vec(),
        };
        let encoded = STANDARD.encode(der);
        let lines: Vec<&str> = encoded
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
            .collect();
        format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            lines.join("\n")
        )
    }

    /// Whether the key can sign with this algorithm, published for it or not.
    pub fn can_sign(&self, alg: Alg) -> bool {
        match &*self.material {
            Material::P256(_) => alg == Alg::ES256,
            Material::P384(_) => alg == Alg::ES384,
            Material::Ed25519(_) => alg == Alg::EdDSA,
            Material::Rsa(_) => alg.rsa_encoding().is_some(),
        }
    }

    /// Header and claims of a JWS in compact form that this ES256 key has signed.
    pub fn open(&self, jws: &str) -> (Value, Value) {
        let (message, signature) = jws.rsplit_once('.').expect("three parts");
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
        let Material::P256(pair) = &*self.material else {
            panic!("an ES256 key")
        };
        let public = signature::UnparsedPublicKey::new(
            &signature::ECDSA_P256_SHA256_FIXED,
            pair.public_key().as_ref(),
        );
        public
            .verify(message.as_bytes(), &decode(signature))
            .expect("this key's signature");
        let (header, claims) = message.split_once('.').expect("three parts");
        let json = |part| serde_json::from_slice(&decode(part)).expect("JSON");
        (json(header), json(claims))
    }

    /// A signature; the algorithm need not be the published one, but must fit the kind of key.
    pub fn sign(&self, alg: Alg, message: &[u8]) -> Vec<u8> {
        assert!(self.can_sign(alg), "{self:?} cannot sign {alg:?}");
        let random = SystemRandom::new();
        match &*self.material {
            Material::P256(pair) | Material::P384(pair) => pair
                .sign(&random, message)
                .expect("a signature")
                .as_ref()
                .to_vec(),
            Material::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Material::Rsa(pair) => {
                let encoding = alg.rsa_encoding().expect("asserted above");
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut out)
                    .expect("a signature");
                out
            }
        }
    }
}

fn lend_rsa() -> Arc<Material> {
    let mut pool = lock(&RSA_POOL);
    if let Some(free) = pool.iter().find(|key| Arc::strong_count(key) == 1) {
        return free.clone();
    }
    let key = Arc::new(Material::Rsa(
        RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
    ));
    pool.push(key.clone());
    key
}

fn ec_jwk(curve: &str, point: &[u8]) -> Value {
    // SEC 1 §2.3.3, uncompressed: 0x04, then both coordinates in full length.
    let (x, y) = point[1..].split_at((point.len() - 1) / 2);
    json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
}

/// Modulus and exponent of a DER `RSAPublicKey` (RFC 8017 §A.1.1).
fn rsa_components(der: &[u8]) -> (&[u8], &[u8]) {
    let (sequence, _) = der_value(der);
    let (n, rest) = der_value(sequence);
    let (e, _) = der_value(rest);
    // A leading zero marks a positive number.
    (n.strip_prefix(&[0]).unwrap_or(n), e)
}

/// The content of the first DER value, and what follows it.
fn der_value(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, start) = match usize::from(der[1]) {
        short @ 0..=0x7f => (short, 2),
        long => {
            let bytes = long & 0x7f;
            (
                der[2..2 + bytes]
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte)),
                2 + bytes,
            )
        }
    };
    der[start..].split_at(length)
}

/// Base64url without padding (RFC 7515 §2).
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
