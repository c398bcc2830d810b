//! Self-signed client certificates (RFC 8705 §2.2): the handshake accepts them, and marks them as
//! not verified.
//!
//! Such a certificate proves that the client has its private key, and nothing else. Only client
//! authentication by a registered key and the binding of tokens use it.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::provider;
use super::x509::Facts;

/// Verifies the certificates of authorities, and accepts self-signed ones as they are.
pub(super) struct SelfSigned {
    /// The verification by the listener's authorities, if it has any.
    verified: Option<Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl SelfSigned {
    pub fn beside(verified: Option<Arc<dyn ClientCertVerifier>>) -> Self {
        Self {
            verified,
            algorithms: provider().signature_verification_algorithms,
        }
    }

    /// Verifies a certificate by the listener's authorities.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match &self.verified {
            Some(verifier) => verifier.verify_client_cert(leaf, chain, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }
}

/// Whether a certificate names itself as its issuer and is valid now. Its signature proves nothing
/// beside the handshake, which uses the same key.
fn check(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<bool, CertificateError> {
    let facts = Facts::of(leaf).ok_or(CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    match () {
        () if !facts.is_self_issued => Ok(false),
        () if now < facts.not_before.0 => Err(CertificateError::NotValidYet),
        () if now > facts.not_after.0 => Err(CertificateError::Expired),
        () => Ok(true),
    }
}

impl ClientCertVerifier for SelfSigned {
    /// The names of authorities would make clients hold self-signed certificates back.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let refused = match self.verify(leaf, chain, now) {
            Ok(verified) => return Ok(verified),
            Err(refused) => refused,
        };
        match check(leaf, now) {
            Ok(true) => Ok(ClientCertVerified::assertion()),
            Ok(false) => Err(refused),
            Err(error) => Err(error.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfSigned").finish_non_exhaustive()
    }
}
