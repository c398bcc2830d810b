//! The facts of a finished handshake.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::{ProtocolVersion, ServerConnection};

use super::x509::{AlternativeName, Facts};
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
    /// The client's certificate, which the listener has verified.
    pub certificate: Option<ClientCertificate>,
}

/// The certificate of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The SHA-256 of the certificate in base64url form: `x5t#S256` (RFC 8705 §3.1).
    pub thumbprint: String,
    /// The subject's distinguished name.
    pub subject: String,
    pub names: Vec<AlternativeName>,
}

impl TlsPeer {
    pub(super) fn of(session: &ServerConnection) -> Self {
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        Self {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
                _ => TlsVersion::Tls13,
            },
            server_name: session.server_name().map(str::to_owned),
            protocol: session.alpn_protocol().map(<[u8]>::to_vec),
            certificate: leaf.map(|leaf| {
                let facts = Facts::of(leaf);
                let (subject, names) = facts.map(|it| (it.subject, it.names)).unwrap_or_default();
                ClientCertificate {
                    thumbprint: URL_SAFE_NO_PAD.encode(sha256(leaf)),
                    subject,
                    names,
                }
            }),
        }
    }
}
