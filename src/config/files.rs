//! Files that a configuration names: secrets, keys, certificates, key sets.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::domain::secret::SecretString;
use crate::issuer::client::MAX_CLIENT_KEYS;
use crate::jose::key_set::KeySet;

/// Far more than any secret or key; a file beyond it is the wrong file.
const MAX_SECRET: u64 = 64 * 1024;
/// Far more than the certificates of any platform, or than any key set.
const MAX_PUBLIC: u64 = 4 * 1024 * 1024;
/// A configuration with thousands of clients stays far below.
const MAX_CONFIG: u64 = 16 * 1024 * 1024;

/// Why a file is of no use. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is larger than {} KiB", .0 / 1024)]
    TooLarge(u64),
    #[error("is empty")]
    Empty,
    #[error("is not UTF-8 text")]
    NotText,
    #[error("holds no certificate in PEM form")]
    NoCertificate,
    #[error("holds a certificate that cannot be read")]
    BadCertificate,
    #[error("is not a JSON object with a list of `keys`")]
    NotKeySet,
    #[error("is not a JWK set with a public key that can verify a signature")]
    NoVerifyingKey,
}

/// A secret: the file without one newline at its end.
pub(super) fn read_secret(path: &Path) -> Result<SecretString, FileError> {
    let bytes = Zeroizing::new(read(path, MAX_SECRET)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| FileError::NotText)?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() { Err(FileError::Empty) } else { Ok(SecretString::from(text)) }
}

/// A secret exactly as it stands in its file, a newline at the end included; it may be empty.
pub(super) fn read_verbatim(path: &Path) -> Result<SecretString, FileError> {
    let bytes = Zeroizing::new(read(path, MAX_SECRET)?);
    std::str::from_utf8(&bytes).map(SecretString::from).map_err(|_| FileError::NotText)
}

/// Certificates in PEM form: at least one, and none that cannot be read.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<u8>, FileError> {
    let pem = read(path, MAX_PUBLIC)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| FileError::BadCertificate)?;
        roots.add(certificate).map_err(|_| FileError::BadCertificate)?;
    }
    if roots.is_empty() { Err(FileError::NoCertificate) } else { Ok(pem) }
}

/// Whether a file looks like a JWKS (RFC 7517 §5). Its keys are judged where they are used, and again when it changes.
pub(super) fn check_key_set(path: &Path) -> Result<(), FileError> {
    let bytes = read(path, MAX_PUBLIC)?;
    let set: Value = serde_json::from_slice(&bytes).map_err(|_| FileError::NotKeySet)?;
    set.get("keys").and_then(Value::as_array).map(|_| ()).ok_or(FileError::NotKeySet)
}

/// A client's public keys, judged as they will be when they are used.
pub(super) fn check_client_keys(path: &Path) -> Result<(), FileError> {
    let bytes = read(path, MAX_CLIENT_KEYS as u64)?;
    match KeySet::parse(&bytes) {
        Ok(set) if !set.is_empty() => Ok(()),
        _ => Err(FileError::NoVerifyingKey),
    }
}

/// The configuration file itself.
pub(super) fn read_config(path: &Path) -> Result<String, FileError> {
    String::from_utf8(read(path, MAX_CONFIG)?).map_err(|_| FileError::NotText)
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let file = File::open(path)?;
    // Room for small files from the start, so that a secret is not left behind where the buffer grew from.
    let mut bytes = Vec::with_capacity(if limit == MAX_SECRET { 64 * 1024 + 1 } else { 8192 });
    let read = file.take(limit + 1).read_to_end(&mut bytes)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > limit { Err(FileError::TooLarge(limit)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::ExposeSecret;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn one_newline_at_the_end_of_a_secret_is_not_part_of_it() {
        for (content, expected) in [
            ("s", "s"),
            ("s\n", "s"),
            ("s\r\n", "s"),
            ("s\n\n", "s\n"),
            ("s\r", "s\r"),
            (" s ", " s "),
            ("a\nb\n", "a\nb"),
        ] {
            let secret = read_secret(file(content.as_bytes()).path()).unwrap();
            assert_eq!(secret.expose_secret(), expected, "{content:?}");
        }
    }

    #[test]
    fn empty_huge_binary_and_missing_secrets_are_refused() {
        assert!(matches!(read_secret(file(b"").path()), Err(FileError::Empty)));
        assert!(matches!(read_secret(file(b"\r\n").path()), Err(FileError::Empty)));
        assert!(matches!(read_secret(file(b"\xff").path()), Err(FileError::NotText)));
        assert!(read_secret(file(&vec![b'x'; 65_536]).path()).is_ok());
        assert!(matches!(read_secret(file(&vec![b'x'; 65_537]).path()), Err(FileError::TooLarge(_))));
        assert!(matches!(read_secret(Path::new("/nonexistent/x")), Err(FileError::Unreadable(_))));
        assert!(matches!(read_secret(Path::new("/")), Err(FileError::Unreadable(_))));
    }

    #[test]
    fn certificates_are_really_certificates() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem =
            rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        assert_eq!(read_certificates(file(pem.as_bytes()).path()).unwrap(), pem.as_bytes());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(read_certificates(file(broken.as_bytes()).path()), Err(FileError::BadCertificate)));
        assert!(matches!(read_certificates(file(b"x").path()), Err(FileError::NoCertificate)));
        let key_only = key.serialize_pem();
        assert!(matches!(read_certificates(file(key_only.as_bytes()).path()), Err(FileError::NoCertificate)));
    }

    #[test]
    fn key_sets_have_keys() {
        assert!(check_key_set(file(br#"{"keys":[]}"#).path()).is_ok());
        for bad in ["", "{}", "[]", r#"{"keys":{}}"#, "x"] {
            assert!(matches!(check_key_set(file(bad.as_bytes()).path()), Err(FileError::NotKeySet)), "{bad}");
        }
    }
}
