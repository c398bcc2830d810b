//! The signing key and its algorithm.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::ReadFile;
use super::source::Source;
use crate::config::tree::KeyPath;
use crate::domain::secret::SecretString;
use crate::jose::sign::SigningKey;
use crate::jose::{Algorithm, algorithm_name};

/// `signing.privateKeyFile` and `signing.algorithm`, if plgd's key is supported.
pub(super) fn signing(
    source: &mut Source<'_>,
    path: &KeyPath,
    read: ReadFile<'_>,
) -> (Option<String>, Option<&'static str>) {
    let Some(file) = source.text(path) else {
        source.lost(
            path,
            "the signing key is missing: a new one is generated at the first start",
        );
        return (None, None);
    };
    let file = file_path(&file, "signing-key.pem").unwrap_or_else(|instead| {
        let message = format!(
            "the key is part of the configuration: write it to {instead}, readable only by the \
             sidecar"
        );
        source.lost(path, message);
        instead
    });
    let Some(pem) = read(Path::new(&file)) else {
        let message = "the file cannot be read here, so the algorithm is unknown: add \
                       `signing.algorithm` unless it is ES256 (RSA of 2048 bits: RS256, 3072: \
                       RS384, 4096: RS512; P-384: ES384)";
        source.lost(path, message);
        return (Some(file), None);
    };
    if let Some(algorithm) = algorithm(&pem) {
        return (Some(file), Some(algorithm_name(algorithm)));
    }
    let message = "the file contains no supported signing key (P-256, P-384 or RSA of at least \
                   2048 bits, in PEM): a new one is generated at the first start, and tokens of \
                   the old key are then refused";
    source.lost(path, message);
    (None, None)
}

/// plgd's algorithm for a key: it depends on the curve, or on the length of the modulus.
fn algorithm(pem: &SecretString) -> Option<Algorithm> {
    let kinds = [
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::RS256,
        Algorithm::EdDSA,
    ];
    let key = kinds
        .into_iter()
        .find_map(|kind| SigningKey::from_pem(pem, kind).ok())?;
    let jwk = key.public_jwk();
    let modulus = jwk
        .get("n")
        .and_then(|n| n.as_str())
        .and_then(|n| URL_SAFE_NO_PAD.decode(n).ok());
    Some(match modulus.map(|modulus| modulus.len()) {
        Some(384) => Algorithm::RS384,
        Some(512) => Algorithm::RS512,
        _ => key.algorithm(),
    })
}

/// The path of a file value: plgd accepts a path, a `file:` URI, or the content as a `data:` URI.
///
/// # Errors
/// The value is the content; the error is the path to write it to.
pub(super) fn file_path(value: &str, instead: &str) -> Result<String, String> {
    if value.starts_with("data:") {
        return Err(format!("/etc/m2m-sidecar/{instead}"));
    }
    Ok(value.strip_prefix("file://").unwrap_or(value).to_owned())
}
