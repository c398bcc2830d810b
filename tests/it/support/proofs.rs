//! DPoP proofs (RFC 9449), made and read without the sidecar's own code.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use m2m_sidecar::for_tests::domain::hash::sha256;
use serde_json::{Value, json};
use uuid::Uuid;

use super::keys::{TestKey, base64url};
use super::now;

/// The claims of a valid proof for a request without a token.
pub fn claims(method: &str, url: &str) -> Value {
    json!({ "jti": Uuid::new_v4().to_string(), "htm": method, "htu": url, "iat": now() })
}

/// A proof with these claims.
pub fn proof(key: &TestKey, claims: &Value) -> String {
    let mut jwk = key.public_jwk();
    let members = jwk.as_object_mut().expect("an object");
    members.retain(|name, _| !["kid", "alg", "use"].contains(&name.as_str()));
    let header = json!({ "typ": "dpop+jwt", "alg": key.alg.name(), "jwk": jwk });
    let message = format!(
        "{}.{}",
        base64url(header.to_string()),
        base64url(claims.to_string())
    );
    let signature = key.sign(key.alg, message.as_bytes());
    format!("{message}.{}", base64url(signature))
}

/// The thumbprint of an EC key (RFC 7638): its `jkt`.
pub fn thumbprint(jwk: &Value) -> String {
    let member = |name: &str| jwk[name].as_str().expect("a text");
    let text = format!(
        r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#,
        member("crv"),
        member("x"),
        member("y")
    );
    base64url(sha256(text.as_bytes()))
}

/// The `ath` of a token.
pub fn token_hash(token: &str) -> String {
    base64url(sha256(token.as_bytes()))
}

/// Header and claims of a proof. Its signature is verified by tests of the verifier.
pub fn opened(proof: &str) -> (Value, Value) {
    let mut parts = proof.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
        serde_json::from_slice(&bytes).unwrap_or_default()
    });
    let [header, claims] = [(); 2].map(|()| parts.next().expect("three parts"));
    (header, claims)
}
