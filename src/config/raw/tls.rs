//! TLS of a listener, as the file has it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::value::FilePath;
use crate::domain::settings::{ClientCertificate, TlsVersion};

/// TLS of a listener. A changed file takes effect for new connections within seconds. A file that
/// cannot be used is reported, and the old content stays in use.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct ServerTls {
    /// A file with the certificate and its chain (PEM), the certificate first.
    pub cert_file: FilePath,
    /// A file with the private key of the certificate (PEM).
    pub key_file: FilePath,
    /// Further certificates. A client gets the one for the name that it calls (SNI), else the one
    /// of `certFile`.
    #[serde(default)]
    pub certificates: Vec<CertificatePair>,
    /// The oldest version that clients may use.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Whether a client needs a certificate that an authority of `clientCaFile` has issued.
    #[serde(default)]
    pub client_certificate: ClientCertificate,
    /// Certificates (PEM) of the authorities that issue client certificates. Only these are
    /// trusted.
    pub client_ca_file: Option<FilePath>,
    /// Whether self-signed client certificates pass the handshake, for clients that register their
    /// keys (`self_signed_tls_client_auth`, RFC 8705 §2.2). Such a certificate proves only its key:
    /// nothing else accepts it. Only for the issuer and `inbound`, and with
    /// `clientCertificate: optional`; `clientCaFile` may then be left out.
    #[serde(default)]
    pub self_signed_clients: bool,
    /// A file with the revoked client certificates (PEM, X509 CRL). It needs a list of each
    /// authority in a client's chain. A list that is older than its next update ends every
    /// handshake with a certificate of its authority.
    pub client_crl_file: Option<FilePath>,
}

/// A certificate and its private key.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct CertificatePair {
    /// A file with the certificate and its chain (PEM), the certificate first.
    pub cert_file: FilePath,
    /// A file with the private key of the certificate (PEM).
    pub key_file: FilePath,
}
