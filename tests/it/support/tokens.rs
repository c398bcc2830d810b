//! Access tokens of a fake authority: valid by default, invalid as a test asks.

use aws_lc_rs::hmac;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::keys::{Alg, TestKey, base64url};
use super::{AUDIENCE, logs, now};

/// How a token is signed.
#[derive(Clone, Debug)]
enum Signer {
    /// A key, with the algorithm it is published for or another that its kind allows.
    Key(TestKey, Alg),
    /// HMAC-SHA-256 with these bytes: the confusion of RFC 8725 §2.1.
    Hmac(Vec<u8>),
    /// `alg: none`, with an empty signature.
    Unsigned,
}

/// Builds a token, from a valid access token of RFC 9068.
#[derive(Clone, Debug)]
pub struct TokenBuilder {
    keys: Vec<TestKey>,
    signer: Signer,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl TokenBuilder {
    /// A valid token of this issuer; signed by the last of its keys.
    pub(super) fn new(issuer: &str, keys: Vec<TestKey>) -> Self {
        let key = keys.last().expect("an authority has a key").clone();
        let now = now();
        let claims = json!({
            "iss": issuer,
            "sub": "tester",
            "aud": [AUDIENCE],
            "client_id": "tester",
            "scope": "devices:read",
            "iat": now - 10,
            "exp": now + 3600,
            "jti": Uuid::new_v4().to_string(),
        });
        let Value::Object(claims) = claims else {
            unreachable!("an object literal")
        };
        let mut header = Map::new();
        header.insert("typ".to_owned(), "at+jwt".into());
        Self {
            keys,
            signer: Signer::Unsigned,
            header,
            claims,
        }
        .signed_by(&key)
    }

    /// Signs with the authority's key of this id, published or not.
    pub fn kid(self, kid: &str) -> Self {
        let key = self.keys.iter().rev().find(|key| key.kid == kid);
        let key = key
            .unwrap_or_else(|| panic!("no key {kid} in {:?}", self.keys))
            .clone();
        self.signed_by(&key)
    }

    /// Signs with this algorithm, by the newest of the authority's keys published for it, else the
    /// newest that can.
    pub fn alg(self, alg: Alg) -> Self {
        let mut newest_first = self.keys.iter().rev();
        let key = newest_first
            .clone()
            .find(|key| key.alg == alg)
            .or_else(|| newest_first.find(|k| k.can_sign(alg)));
        let key = key
            .unwrap_or_else(|| panic!("no key for {alg:?} in {:?}", self.keys))
            .clone();
        self.signed_by(&key).signed_as(alg)
    }

    /// Signs with this key, which may be another authority's; `kid` and `alg` become the key's.
    pub fn signed_by(mut self, key: &TestKey) -> Self {
        self.signer = Signer::Key(key.clone(), key.alg);
        self.header("kid", key.kid.clone())
            .header("alg", key.alg.name())
    }

    /// Signs with the same key but this algorithm.
    pub fn signed_as(mut self, alg: Alg) -> Self {
        if let Signer::Key(_, signing) = &mut self.signer {
            *signing = alg;
        }
        self.header("alg", alg.name())
    }

    /// Signs with HMAC-SHA-256 and these bytes.
    pub fn hmac(mut self, secret: &[u8]) -> Self {
        self.signer = Signer::Hmac(secret.to_vec());
        self.header("alg", "HS256")
    }

    /// Leaves the signature empty, with `alg: none`.
    pub fn unsigned(mut self) -> Self {
        self.signer = Signer::Unsigned;
        self.header("alg", "none")
    }

    /// Sets a header member, after everything that follows from the key.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a header member.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Sets a claim.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a claim.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Expires so many seconds from now; a negative number is in the past.
    pub fn expires_in(self, seconds: i64) -> Self {
        self.claim("exp", now() + seconds)
    }

    /// The token in compact form.
    pub fn sign(self) -> String {
        let Self {
            signer,
            header,
            claims,
            ..
        } = self;
        signer.compact(
            &Value::Object(header).to_string(),
            &Value::Object(claims).to_string(),
        )
    }

    /// The header with this payload instead of the claims.
    pub fn sign_payload(self, payload: &Value) -> String {
        let header = Value::Object(self.header.clone()).to_string();
        self.signer.compact(&header, &payload.to_string())
    }

    /// These texts as header and payload, with a valid signature.
    pub fn sign_raw(self, header_json: &str, payload_json: &str) -> String {
        self.signer.compact(header_json, payload_json)
    }
}

impl Signer {
    fn compact(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", base64url(header), base64url(payload));
        let signature = match self {
            Self::Key(key, alg) => key.sign(*alg, message.as_bytes()),
            Self::Hmac(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
            }
            Self::Unsigned => Vec::new(),
        };
        let token = format!("{message}.{}", base64url(signature));
        logs::remember_secret(&token);
        token
    }
}
