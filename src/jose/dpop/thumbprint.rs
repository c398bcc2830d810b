//! The thumbprint of a key (RFC 7638), which `cnf.jkt` of a token holds.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::domain::hash::sha256;

/// The length of a SHA-256 in base64url form.
const LENGTH: usize = 43;

/// The thumbprint of a public key, by SHA-256, in base64url form. `None` if the JWK lacks a member
/// of its kind.
#[must_use]
pub fn of_jwk(jwk: &Value) -> Option<String> {
    // The members of each kind in the order of their names (RFC 7638 §3.2, RFC 8037 §2).
    let names: &[&str] = match jwk.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "RSA" => &["e", "kty", "n"],
        "OKP" => &["crv", "kty", "x"],
        _ => return None,
    };
    let members: Option<Vec<String>> = names
        .iter()
        .map(|name| {
            let text = jwk.get(*name)?.as_str()?;
            Some(format!("\"{name}\":{}", Value::from(text)))
        })
        .collect();
    let canonical = format!("{{{}}}", members?.join(","));
    Some(URL_SAFE_NO_PAD.encode(sha256(canonical.as_bytes())))
}

/// Whether a text is a SHA-256 in the one base64url form of it.
#[must_use]
pub fn is_thumbprint(text: &str) -> bool {
    text.len() == LENGTH && URL_SAFE_NO_PAD.decode(text).is_ok()
}
