//! The files of a configuration: secrets, keys, certificates, key sets.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::domain::secret::{ExposeSecret, LineEnd, SecretString};
use crate::files::{self, MAX_PUBLIC, MAX_SECRET, ReadError, read};
use crate::issuer::client::{InvalidClientKeys, MAX_CLIENT_KEYS, read_key_set};
use crate::jose::Algorithm;
use crate::jose::bundle::bundle_of;
use crate::jose::key_set::{InvalidKeySet, KeySet};
use crate::jose::sign::{SigningKey, SigningKeyError};
use crate::token_source::is_jwt;

/// A configuration with thousands of clients is far smaller.
const MAX_CONFIG: u64 = 16 * 1024 * 1024;

/// The problem of a file. It never shows the content.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("contains no PEM certificate")]
    NoCertificate,
    #[error("contains an invalid certificate")]
    BadCertificate,
    #[error("is not a JSON object with a list of usable `keys`: {0}")]
    NotKeySet(InvalidKeySet),
    #[error(transparent)]
    ClientKeys(#[from] InvalidClientKeys),
    #[error("contains no JWT")]
    NoJwt,
}

/// A secret of one line.
pub(super) fn read_secret(path: &Path) -> Result<SecretString, FileError> {
    Ok(files::read_secret(path)?)
}

/// A secret of one line, and its line ending in the file.
pub(super) fn read_secret_with_line_end(path: &Path) -> Result<(SecretString, LineEnd), FileError> {
    Ok(files::read_secret_with_line_end(path)?)
}

/// The mode of a file, if every user of the machine can read it.
pub(super) fn read_by_others(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    Some(mode).filter(|mode| mode & 0o004 != 0)
}

/// A key or certificates in PEM form.
pub(super) fn read_secret_lines(path: &Path) -> Result<SecretString, FileError> {
    Ok(files::read_secret_lines(path)?)
}

/// A secret with the exact content of its file, including a newline at the end. It may be empty.
pub(super) fn read_verbatim(path: &Path) -> Result<SecretString, FileError> {
    let bytes = Zeroizing::new(read(path, MAX_SECRET)?);
    Ok(std::str::from_utf8(&bytes)
        .map(SecretString::from)
        .map_err(|_| ReadError::NotText)?)
}

/// PEM certificates: at least one, all valid.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<u8>, FileError> {
    let pem = read(path, MAX_PUBLIC)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| FileError::BadCertificate)?;
        roots
            .add(certificate)
            .map_err(|_| FileError::BadCertificate)?;
    }
    if roots.is_empty() {
        Err(FileError::NoCertificate)
    } else {
        Ok(pem)
    }
}

/// The key set in a file (RFC 7517 §5), or a SPIFFE trust domain's part of it.
pub(super) fn read_authority_keys(
    path: &Path,
    trust_domain: Option<&str>,
) -> Result<KeySet, FileError> {
    let document = read(path, MAX_PUBLIC)?;
    KeySet::parse(&bundle_of(&document, trust_domain)).map_err(FileError::NotKeySet)
}

/// Checks a client's public keys.
pub(super) fn check_client_keys(path: &Path) -> Result<(), FileError> {
    read_key_set(&read(path, MAX_CLIENT_KEYS as u64)?)?;
    Ok(())
}

/// Checks that a file contains a JWT. It is read again for each use.
pub(super) fn check_assertion(path: &Path) -> Result<(), FileError> {
    let text = read_secret_lines(path)?;
    if is_jwt(text.expose_secret().trim_ascii()) {
        Ok(())
    } else {
        Err(FileError::NoJwt)
    }
}

/// Checks that a private key can sign with this algorithm, or with the default of its type.
pub(super) fn check_private_key(
    pem: &SecretString,
    algorithm: Option<Algorithm>,
) -> Result<(), SigningKeyError> {
    let key = match algorithm {
        Some(algorithm) => SigningKey::from_pem(pem, algorithm),
        None => SigningKey::from_any_pem(pem),
    };
    key.map(drop)
}

/// The configuration file itself.
pub(super) fn read_config(path: &Path) -> Result<String, FileError> {
    Ok(String::from_utf8(files::read_stream(path, MAX_CONFIG)?).map_err(|_| ReadError::NotText)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn certificates_are_really_certificates() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::new(["a.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .pem();
        assert_eq!(
            read_certificates(file(pem.as_bytes()).path()).unwrap(),
            pem.as_bytes()
        );
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            read_certificates(file(broken.as_bytes()).path()),
            Err(FileError::BadCertificate)
        ));
        assert!(matches!(
            read_certificates(file(b"x").path()),
            Err(FileError::NoCertificate)
        ));
        let key_only = key.serialize_pem();
        assert!(matches!(
            read_certificates(file(key_only.as_bytes()).path()),
            Err(FileError::NoCertificate)
        ));
    }

    #[test]
    fn key_sets_have_keys() {
        let key = SigningKey::generate(Algorithm::ES256).unwrap().public_jwk();
        let good = serde_json::json!({ "keys": [key] }).to_string();
        assert_eq!(
            read_authority_keys(file(good.as_bytes()).path(), None)
                .unwrap()
                .len(),
            1
        );
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"keys":{}}"#,
            "x",
            r#"{"keys":[]}"#,
            r#"{"keys":[{"kty":"oct"}]}"#,
        ] {
            let refused = read_authority_keys(file(bad.as_bytes()).path(), None);
            assert!(matches!(refused, Err(FileError::NotKeySet(_))), "{bad}");
        }
    }
}
