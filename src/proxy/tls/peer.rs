//! The facts of a finished handshake.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{ProtocolVersion, ServerConnection};

use super::self_signed::SelfSigned;
use super::x509::Facts;
use crate::domain::client_certificate::ClientCertificate;
use crate::domain::hash::sha256;
use crate::domain::settings::TlsVersion;

/// The TLS of a client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPeer {
    pub version: TlsVersion,
    /// The name that the client called (SNI).
    pub server_name: Option<String>,
    /// The application protocol that both support (ALPN).
    pub protocol: Option<Vec<u8>>,
    /// The client's certificate, which the listener has verified unless it is self-signed.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl TlsPeer {
    /// The facts of a session. With `self_signed`, its certificate may not be verified.
    pub(super) fn of(session: &ServerConnection, self_signed: Option<&SelfSigned>) -> Self {
        let certificates = session.peer_certificates().unwrap_or_default();
        Self {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
                _ => TlsVersion::Tls13,
            },
            server_name: session.server_name().map(str::to_owned),
            protocol: session.alpn_protocol().map(<[u8]>::to_vec),
            certificate: match certificates {
                [leaf, chain @ ..] => Some(Arc::new(certificate(leaf, chain, self_signed))),
                [] => None,
            },
        }
    }
}

fn certificate(
    leaf: &CertificateDer<'_>,
    chain: &[CertificateDer<'_>],
    self_signed: Option<&SelfSigned>,
) -> ClientCertificate {
    let thumbprint = URL_SAFE_NO_PAD.encode(sha256(leaf));
    let Some(facts) = Facts::of(leaf) else {
        return ClientCertificate {
            thumbprint,
            subject: String::new(),
            name: Default::default(),
            names: Vec::new(),
            key_hash: [0; 32],
            is_verified: false,
        };
    };
    // Every other certificate has passed the handshake by the authorities.
    let is_verified = match self_signed {
        Some(verifier) if facts.is_self_issued => {
            verifier.verify(leaf, chain, UnixTime::now()).is_ok()
        }
        _ => true,
    };
    ClientCertificate {
        thumbprint,
        subject: facts.subject.to_string(),
        name: facts.subject,
        names: facts.names,
        key_hash: facts.key_hash,
        is_verified,
    }
}
