use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use rustls::SignatureScheme;

use super::certificates::Certificates;
use super::x509::Facts;
use super::*;
use crate::domain::client_certificate::AlternativeName;
use crate::files::MAX_SECRET;

/// Writes a self-signed certificate and its key.
fn write_pair(dir: &Path, file: &str, names: &[&str], key: &KeyPair) -> PairFiles {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names)
        .unwrap()
        .self_signed(key)
        .unwrap();
    let files = PairFiles {
        certificate: dir.join(format!("{file}.crt")),
        key: dir.join(format!("{file}.key")),
    };
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

fn pair(dir: &Path, file: &str, names: &[&str]) -> Pair {
    Pair::read(&write_pair(dir, file, names, &KeyPair::generate().unwrap())).unwrap()
}

#[test]
fn a_name_chooses_its_certificate_and_the_first_one_serves_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let rsa = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let first = write_pair(dir.path(), "p384", &["first.test"], &rsa);
    let pairs = [
        Pair::read(&first).unwrap(),
        pair(dir.path(), "wildcard", &["*.wild.test"]),
        pair(dir.path(), "exact", &["exact.wild.test", "10.0.0.1"]),
    ];
    let certificates = Certificates::new(&pairs);
    let p256 = SignatureScheme::ECDSA_NISTP256_SHA256;
    let both = [p256, SignatureScheme::ECDSA_NISTP384_SHA384];
    let chosen = |name: Option<&str>, schemes: &[SignatureScheme]| {
        let chosen = certificates.choose(name, schemes)?;
        pairs.iter().position(|pair| pair.key.cert == chosen.cert)
    };
    for (name, expected) in [
        (None, 0),
        (Some("first.test"), 0),
        (Some("unknown.test"), 0),
        (Some("a.wild.test"), 1),
        (Some("A.Wild.TEST"), 1),
        (Some("exact.wild.test"), 2),
        (Some("wild.test"), 0),
        (Some("a.b.wild.test"), 0),
        (Some("10.0.0.1"), 0),
        (Some(""), 0),
        (Some("."), 0),
    ] {
        assert_eq!(chosen(name, &both), Some(expected), "{name:?}");
    }
    assert_eq!(chosen(None, &[p256]), Some(1), "the first one it supports");
    assert_eq!(
        chosen(Some("first.test"), &[SignatureScheme::ED25519]),
        None
    );
}

#[test]
fn a_pair_is_a_certificate_and_its_own_key() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let files = write_pair(dir.path(), "a", &["a.test", "127.0.0.1"], &key);
    let read = Pair::read(&files).unwrap();
    assert_eq!(read.facts.name(), "a.test");
    assert_eq!(
        read.facts.names,
        [
            AlternativeName::Dns("a.test".to_owned()),
            AlternativeName::Ip([127, 0, 0, 1].into())
        ]
    );
    let problem = |certificate: &[u8], key: &[u8]| {
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        Pair::read(&files).unwrap_err().to_string()
    };
    let certificate = std::fs::read(&files.certificate).unwrap();
    let key = std::fs::read(&files.key).unwrap();
    let other = KeyPair::generate().unwrap().serialize_pem().into_bytes();
    assert_eq!(
        problem(&certificate, &other),
        "certificate and key do not belong together"
    );
    assert_eq!(
        problem(&key, &key),
        "the certificate's file contains no PEM certificate"
    );
    assert!(problem(&certificate, &certificate).contains("contains no private key"));
    assert!(problem(b"", &key).contains("contains no PEM certificate"));
    let half = &certificate[..certificate.len() / 2];
    assert!(problem(half, &key).starts_with("the certificate's file "));
    let invalid = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(problem(invalid, &key).contains("contains an invalid certificate"));
    let encrypted =
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert!(problem(&certificate, encrypted).contains("encrypted private key"));
    let large = vec![b'a'; usize::try_from(MAX_SECRET).unwrap() + 1];
    assert!(problem(&certificate, &large).contains("is larger than 64 KiB"));
    std::fs::remove_file(&files.key).unwrap();
    let missing = Pair::read(&files).unwrap_err().to_string();
    assert!(
        missing.starts_with("the key's file cannot be read"),
        "{missing}"
    );
}

#[test]
fn no_bytes_break_the_readers_of_certificates_and_lists() {
    for length in 0..64 {
        let bytes: Vec<u8> = (0..length).map(|byte| byte ^ 0x30).collect();
        assert!(Facts::of(&bytes).is_none());
        assert!(x509::next_update(&bytes).is_none());
    }
}
