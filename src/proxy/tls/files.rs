//! The files of a listener's TLS: certificates with their keys, authorities, revocation lists.
//!
//! Reading blocks. No error shows the content of a file.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use zeroize::Zeroizing;

use super::PairFiles;
use super::x509::{Facts, next_update};
use crate::domain::clock::UnixTime;
use crate::files::{MAX_PUBLIC, MAX_SECRET, ReadError, read};

/// The problem of a file.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("contains no PEM certificate")]
    NoCertificate,
    #[error("contains an invalid certificate, or one of X.509 version 1")]
    BadCertificate,
    #[error("contains no private key in PEM form (PKCS#8, SEC1 or PKCS#1)")]
    NoKey,
    #[error("contains an encrypted private key: decrypt it, for example with `openssl pkey`")]
    EncryptedKey,
    #[error("contains a private key that TLS cannot use: take ECDSA P-256, Ed25519 or RSA")]
    BadKey,
    #[error("contains no PEM certificate revocation list (X509 CRL)")]
    NoList,
    #[error(
        "contains an invalid certificate revocation list, or one of version 1: it must have a \
         number (with openssl: `crlnumber`)"
    )]
    BadList,
}

/// The problem of a certificate and its key.
#[derive(Debug, thiserror::Error)]
pub enum PairFault {
    #[error("the certificate's file {0}")]
    Certificate(FileFault),
    #[error("the key's file {0}")]
    Key(FileFault),
    #[error("certificate and key do not belong together")]
    Mismatch,
}

/// A file with an end of its validity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// The first name of the certificate, or the key of the file.
    pub name: String,
    /// The begin of the validity; `None` for a revocation list.
    pub not_before: Option<UnixTime>,
    pub not_after: UnixTime,
}

/// A certificate that a listener shows to its clients, or the sidecar to an upstream, with its key.
#[derive(Clone, Debug)]
pub struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) facts: Facts,
}

impl Pair {
    /// Reads and checks a certificate and its key.
    ///
    /// # Errors
    /// [`PairFault`].
    pub fn read(files: &PairFiles) -> Result<Self, PairFault> {
        let chain = read_certificates(&files.certificate).map_err(PairFault::Certificate)?;
        let leaf = chain.first().and_then(|leaf| Facts::of(leaf));
        let facts = leaf.ok_or(PairFault::Certificate(FileFault::BadCertificate))?;
        let key = read_key(&files.key).map_err(PairFault::Key)?;
        let pair = CertifiedKey::from_der(chain, key, &super::provider());
        let key = pair.map(Arc::new).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => PairFault::Mismatch,
            Error::InvalidCertificate(_) => PairFault::Certificate(FileFault::BadCertificate),
            _ => PairFault::Key(FileFault::BadKey),
        })?;
        Ok(Self { key, facts })
    }

    /// The end of the certificate's validity.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.facts.not_after
    }

    /// The certificate's first name and its validity.
    #[must_use]
    pub fn expiring(&self) -> Expiring {
        Expiring {
            name: self.facts.name(),
            not_before: Some(self.facts.not_before),
            not_after: self.facts.not_after,
        }
    }

    /// The certificate with its key, as rustls uses it.
    #[must_use]
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        self.key.clone()
    }

    /// Whether both show the same certificates.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    let pem = read(path, MAX_PUBLIC)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(FileFault::NoCertificate),
        found => found.map_err(|_| FileFault::BadCertificate),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileFault> {
    const ENCRYPTED: &[u8] = b"ENCRYPTED";
    let pem = Zeroizing::new(read(path, MAX_SECRET)?);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        let is_encrypted = pem.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED);
        match is_encrypted {
            true => FileFault::EncryptedKey,
            false => FileFault::NoKey,
        }
    })
}

/// The authorities of client certificates.
#[derive(Clone, Debug)]
pub struct Authorities {
    pub(super) roots: Arc<RootCertStore>,
}

impl Authorities {
    /// Reads and checks the certificates of authorities.
    ///
    /// # Errors
    /// [`FileFault`].
    pub fn read(path: &Path) -> Result<Self, FileFault> {
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(path)? {
            let added = roots.add(certificate);
            added.map_err(|_| FileFault::BadCertificate)?;
        }
        Ok(Self {
            roots: Arc::new(roots),
        })
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.roots.roots == other.roots.roots
    }
}

/// The client certificates that their authorities have withdrawn (RFC 5280 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationLists {
    pub(super) lists: Vec<CertificateRevocationListDer<'static>>,
    /// The earliest time by which a list must be replaced.
    pub(super) next_update: Option<UnixTime>,
}

impl RevocationLists {
    /// Reads and checks revocation lists, for certificates of these authorities.
    ///
    /// # Errors
    /// [`FileFault`].
    pub fn read(path: &Path, authorities: &Authorities) -> Result<Self, FileFault> {
        let pem = read(path, MAX_PUBLIC)?;
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
        let lists = lists.map_err(|_| FileFault::BadList)?;
        if lists.is_empty() {
            return Err(FileFault::NoList);
        }
        let due: Option<Vec<_>> = lists.iter().map(|list| next_update(list)).collect();
        let due = due.ok_or(FileFault::BadList)?;
        let roots = authorities.roots.clone();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, super::provider());
        let checked = verifier.with_crls(lists.iter().cloned()).build();
        checked.map_err(|_| FileFault::BadList)?;
        Ok(Self {
            next_update: due.into_iter().flatten().min(),
            lists,
        })
    }

    /// The earliest time by which a list must be replaced.
    #[must_use]
    pub fn next_update(&self) -> Option<UnixTime> {
        self.next_update
    }
}
