//! Why a handshake failed.

use std::io;

use rustls::{CertificateError, Error, PeerIncompatible};

/// Why a handshake failed: a code for the metrics, and a text for the log. Neither has a value that
/// the client chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: &'static str,
    pub text: &'static str,
}

const fn failure(code: &'static str, text: &'static str) -> Failure {
    Failure { code, text }
}

impl Failure {
    pub const PLAINTEXT: Self = failure(
        "plaintext",
        "the client sent plain HTTP to a TLS port; use https:// instead of http://",
    );
    pub const TIMEOUT: Self = failure("timeout", "the handshake took longer than 10s");
    pub const DISCONNECTED: Self = failure(
        "disconnected",
        "the client disconnected within the handshake; it may not trust the certificate",
    );
    const OTHER: Self = failure("other", "the client violates TLS");

    /// The reason in an error of a handshake.
    pub(super) fn of(error: &io::Error) -> Self {
        let inner = error.get_ref();
        match inner.and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => Self::of_tls(error),
            None => Self::DISCONNECTED,
        }
    }

    /// The reason in an error of rustls.
    pub(super) fn of_tls(error: &Error) -> Self {
        match error {
            Error::NoCertificatesPresented => failure(
                "no_certificate",
                "the client has no certificate, and the listener requires one",
            ),
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::PeerIncompatible(error) => Self::of_incompatible(error),
            Error::NoApplicationProtocol => failure(
                "protocol",
                "the client offers no application protocol (ALPN) that the listener supports",
            ),
            Error::AlertReceived(_) => failure(
                "alert",
                "the client ended the handshake with an alert; it may not trust the certificate",
            ),
            _ => Self::OTHER,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        use CertificateError as E;
        match error {
            E::Revoked => failure("revoked", "the client's certificate is revoked"),
            E::Expired | E::ExpiredContext { .. } => {
                failure("expired", "the client's certificate has expired")
            }
            E::NotValidYet | E::NotValidYetContext { .. } => failure(
                "not_yet_valid",
                "the client's certificate is not valid yet; compare the clocks",
            ),
            E::UnknownIssuer => failure(
                "unknown_ca",
                "no authority of `clientCaFile` has issued the client's certificate",
            ),
            E::BadSignature => failure(
                "bad_signature",
                "the client's certificate is not signed by the authority that it names",
            ),
            E::UnknownRevocationStatus => failure(
                "unknown_revocation",
                "`clientCrlFile` has no list of the authority of the client's certificate",
            ),
            E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => failure(
                "expired_crl",
                "a list of `clientCrlFile` is older than its next update: replace it",
            ),
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => failure(
                "purpose",
                "the client's certificate is not for clients: its extended key usage lacks \
                 clientAuth",
            ),
            _ => failure("bad_certificate", "the client's certificate cannot be used"),
        }
    }

    fn of_incompatible(error: &PeerIncompatible) -> Self {
        use PeerIncompatible as E;
        match error {
            E::ServerTlsVersionIsDisabledByOurConfig
            | E::SupportedVersionsExtensionRequired
            | E::ServerDoesNotSupportTls12Or13
            | E::Tls12NotOffered
            | E::Tls12NotOfferedOrEnabled => failure(
                "version",
                "the client and the listener have no version of TLS in common",
            ),
            E::NoCipherSuitesInCommon | E::NoKxGroupsInCommon | E::NoSignatureSchemesInCommon => {
                failure(
                    "cipher",
                    "the client and the listener have no cipher, group or signature scheme in \
                     common",
                )
            }
            _ => Self::OTHER,
        }
    }
}
