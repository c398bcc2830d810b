//! Decides which server certificates are trusted, and explains rejections.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::alert::alert_in;

/// Longest shown foreign text.
const SHOWN: usize = 200;

/// A `caFile` without a certificate, or with an unreadable one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds no valid certificate")]
pub struct UnusableCertificates;

/// The trusted certificates of authorities and servers.
///
/// A server's certificate is accepted when a trusted authority has issued it, or when the `caFile`
/// contains it, whatever its issuer and even if it is a CA certificate (CA:TRUE). In both cases its
/// name and validity are checked.
#[derive(Debug)]
pub struct Trust {
    /// The authorities of the `caFile`; `None` without one.
    own: Option<Arc<WebPkiServerVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    /// The authorities of the platform and of the `caFile`; `None`: only those of the `caFile`.
    all: Option<WithPlatform>,
    /// Whether only the first pinned certificate is accepted, whatever its names and validity.
    is_exact: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Read when a server's certificate first needs it, because it costs files and time.
type WithPlatform = OnceLock<Arc<WebPkiServerVerifier>>;

impl Trust {
    /// Only the certificates of a `caFile` (PEM).
    ///
    /// # Errors
    /// [`UnusableCertificates`].
    pub fn only(ca_pem: &[u8]) -> Result<Self, UnusableCertificates> {
        Self::new(Some(ca_pem), None)
    }

    /// The platform's certificates and those of an optional `caFile` (PEM). The platform's are read
    /// once per process, and only if a server's certificate needs them.
    ///
    /// # Errors
    /// [`UnusableCertificates`] of the `caFile`.
    pub fn with_platform(ca_pem: Option<&[u8]>) -> Result<Self, UnusableCertificates> {
        Self::new(ca_pem, Some(WithPlatform::new()))
    }

    /// Only the first certificate of a PEM text, whatever its names and validity.
    ///
    /// # Errors
    /// [`UnusableCertificates`].
    pub fn exactly(pem: &[u8]) -> Result<Self, UnusableCertificates> {
        Ok(Self {
            own: None,
            pinned: certificates(pem)?,
            all: None,
            is_exact: true,
            algorithms: provider().signature_verification_algorithms,
        })
    }

    fn new(ca_pem: Option<&[u8]>, all: Option<WithPlatform>) -> Result<Self, UnusableCertificates> {
        let pinned = ca_pem.map(certificates).transpose()?.unwrap_or_default();
        let mut roots = RootCertStore::empty();
        add(&mut roots, &pinned)?;
        Ok(Self {
            own: verifier(roots),
            pinned,
            all,
            is_exact: false,
            algorithms: provider().signature_verification_algorithms,
        })
    }

    /// Whether no certificate is trusted. Reads the platform's unless there is a `caFile`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.is_none() && self.all().is_none()
    }

    /// The authorities of the platform and of the `caFile`, if they are trusted and there are any.
    fn all(&self) -> Option<Arc<WebPkiServerVerifier>> {
        let all = self.all.as_ref()?;
        if let Some(known) = all.get() {
            return Some(known.clone());
        }
        let mut roots = RootCertStore::clone(&*platform()?);
        // The `caFile` has been read without an error.
        add(&mut roots, &self.pinned).ok()?;
        let verifier = verifier(roots)?;
        Some(all.get_or_init(|| verifier).clone())
    }
}

/// The platform's certificates, or `None` if there are none. They are read once per process; an
/// empty set may be one in the middle of a change, so it is read again.
fn platform() -> Option<Arc<RootCertStore>> {
    static READ: Mutex<Option<Arc<RootCertStore>>> = Mutex::new(None);
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if read.is_none() {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            // Some images have no CA bundle.
            tracing::warn!("the platform has no CA certificates: https authorities need a caFile");
            return None;
        }
        *read = Some(Arc::new(roots));
    }
    read.clone()
}

fn add(
    roots: &mut RootCertStore,
    certificates: &[CertificateDer<'static>],
) -> Result<(), UnusableCertificates> {
    certificates.iter().try_for_each(|certificate| {
        let added = roots.add(certificate.clone());
        added.map_err(|_| UnusableCertificates)
    })
}

/// `None` for an empty set.
fn verifier(roots: RootCertStore) -> Option<Arc<WebPkiServerVerifier>> {
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    builder.build().ok()
}

/// The process's cryptography provider, or the default.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    let default = || Arc::new(crypto::aws_lc_rs::default_provider());
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(default)
}

/// The certificates of a PEM text, at least one.
///
/// # Errors
/// [`UnusableCertificates`].
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, UnusableCertificates> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or(UnusableCertificates)
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.is_exact {
            return match self.pinned.first() {
                Some(pinned) if pinned == end_entity => Ok(ServerCertVerified::assertion()),
                _ => Err(CertificateError::UnknownIssuer.into()),
            };
        }
        let by = |authorities: &WebPkiServerVerifier| {
            let verified = authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
            match verified {
                // The validity is good by then: webpki builds the path to an authority last.
                Err(error) if is_about_its_issuer(&error) && self.pinned.contains(end_entity) => {
                    verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                    Ok(ServerCertVerified::assertion())
                }
                verified => verified,
            }
        };
        let own = self.own.as_deref().map(by);
        if let Some(Ok(verified)) = own {
            return Ok(verified);
        }
        match self.all() {
            Some(all) => by(&all),
            None => own.unwrap_or_else(|| Err(CertificateError::UnknownIssuer.into())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a certificate is rejected only because of its issuer, or because it is a CA certificate.
fn is_about_its_issuer(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer
            // The issuer has the name of a trusted certificate, but another key.
            | CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
        ) => true,
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.to_string().contains("CaUsedAsEndEntity")
        }
        _ => false,
    }
}

/// Explanations of rustls' and webpki's failures, by a part of their text.
const CAUSES: [(&str, &str); 11] = [
    (
        "UnknownIssuer",
        "no trusted authority has issued its certificate; put the certificate of its authority, or \
         its own, into `caFile`",
    ),
    (
        "CaUsedAsEndEntity",
        "its certificate is one of an authority (CA:TRUE), which is accepted only when this very \
         certificate stands in \
         `caFile`",
    ),
    (
        "UnsupportedCertVersion",
        "its certificate is X.509 version 1, which has no subjectAltName; make one of version 3 \
         for it, with its name in \
         subjectAltName",
    ),
    (
        "is not valid for any names",
        "its certificate has no subjectAltName, and a name in the subject's CN does not count (RFC \
         9525 §2); make one with \
         its name in subjectAltName",
    ),
    (
        "BadSignature",
        "its certificate is signed with another key than that of the trusted certificate of the \
         same name: `caFile` holds an \
         older or another one; put the present one into it",
    ),
    ("Revoked", "its certificate is revoked"),
    (
        "does not allow extended key usage",
        "its certificate is not for servers: its extended key usage lacks serverAuth",
    ),
    ("BadEncoding", "its certificate cannot be read"),
    (
        "InvalidContentType",
        "it answers without TLS: its URL must begin with `http://`, or another program listens on \
         this port",
    ),
    (
        "peer is incompatible",
        "it and the sidecar have no version or cipher of TLS in common",
    ),
    (
        "eof",
        "it closed the connection during the TLS handshake: perhaps it speaks no TLS on this port",
    ),
];

/// Explains a TLS failure. `error` is rustls' text, alone or within another text.
#[must_use]
pub fn explain(error: &str) -> String {
    if let Some(alert) = alert_in(error) {
        return alert.to_owned();
    }
    let from = |part: &str| error.find(part).and_then(|at| error.get(at + part.len()..));
    let cause: Cow<'static, str> = if let Some(rest) = from("certificate is not valid after ") {
        format!(
            "its certificate has expired: it was valid until {}",
            moment(rest)
        )
        .into()
    } else if let Some(rest) = from("certificate is not valid before ") {
        format!(
            "its certificate is not valid yet, only from {} on; compare the clocks",
            moment(rest)
        )
        .into()
    } else if let Some((_, cause)) = CAUSES.iter().find(|(part, _)| error.contains(part)) {
        (*cause).into()
    } else if let Some(rest) = from("certificate not valid for name ") {
        let names = rest.replace("; certificate is only valid for ", ", only for ");
        format!(
            "its certificate is not for {}",
            shown(names.split(", SNI:").next().unwrap_or_default())
        )
        .into()
    } else {
        shown(error).into()
    };
    format!("TLS: {cause}")
}

/// Converts a leading number of seconds to a date and time (RFC 3339).
fn moment(text: &str) -> String {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let at = digits
        .parse()
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    let written = at.and_then(|at| {
        at.format(&time::format_description::well_known::Rfc3339)
            .ok()
    });
    written.unwrap_or(digits)
}

/// The beginning of a foreign text on one line.
fn shown(text: &str) -> String {
    let beginning: String = text.chars().take(SHOWN).collect();
    let more = if beginning.len() < text.len() {
        "…"
    } else {
        ""
    };
    format!(
        "{}{more}",
        beginning.escape_debug().to_string().replace("\\\"", "\"")
    )
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
