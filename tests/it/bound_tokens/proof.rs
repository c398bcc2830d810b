//! Proofs that a test writes itself, right by default.

use aws_lc_rs::hmac;
use m2m_sidecar::for_tests::domain::hash::sha256;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::keys::{Alg, TestKey, base64url};

/// The public key without the members that a proof does not need.
pub fn bare_jwk(key: &TestKey) -> Value {
    let mut jwk = key.public_jwk();
    let members = jwk.as_object_mut().expect("an object");
    members.retain(|name, _| !["kid", "alg", "use"].contains(&name.as_str()));
    jwk
}

/// The thumbprint of an ES256 key (RFC 7638 §3).
pub fn thumbprint(key: &TestKey) -> String {
    let jwk = key.public_jwk();
    let member = |name: &str| jwk[name].as_str().expect("a text").to_owned();
    let canonical = format!(
        r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
        member("x"),
        member("y")
    );
    base64url(sha256(canonical.as_bytes()))
}

/// A proof that is not signed yet.
#[derive(Clone)]
pub struct Draft {
    key: TestKey,
    header: Value,
    claims: Value,
}

impl Draft {
    /// A right proof for a request with this token.
    pub fn new(key: &TestKey, method: &str, url: &str, token: &str, now: i64) -> Self {
        Self {
            key: key.clone(),
            header: json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": bare_jwk(key) }),
            claims: json!({
                "jti": Uuid::new_v4().to_string(), "htm": method, "htu": url, "iat": now,
                "ath": base64url(sha256(token.as_bytes())),
            }),
        }
    }

    /// Sets a claim; `null` removes it.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.claims, name, value.into());
        self
    }

    /// Sets a member of the header; `null` removes it.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.header, name, value.into());
        self
    }

    pub fn sign(&self) -> String {
        let message = self.message();
        let signature = self.key.sign(Alg::ES256, message.as_bytes());
        format!("{message}.{}", base64url(signature))
    }

    /// With an HMAC under the public key, and an empty signature.
    pub fn forged(&self) -> [String; 2] {
        let jwk = self.header["jwk"].to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, jwk.as_bytes());
        let mac = self.clone().header("alg", "HS256").message();
        let tag = base64url(hmac::sign(&key, mac.as_bytes()));
        let none = self.clone().header("alg", "none").message();
        [format!("{mac}.{tag}"), format!("{none}.")]
    }

    fn message(&self) -> String {
        let part = |value: &Value| base64url(value.to_string());
        format!("{}.{}", part(&self.header), part(&self.claims))
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    let members = object.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
}
