//! The options of a client, and the reasons why it cannot be built.

use std::time::Duration;

use super::Egress;
use crate::domain::secret::SecretString;

/// The time limits of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchTimeouts {
    /// Name resolution, TCP and TLS together.
    pub connect: Duration,
    /// From the start to the last byte of the response.
    pub total: Duration,
}

#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the start to the last byte of the response.
    pub total_timeout: Duration,
    /// Certificates (PEM) trusted in addition to the platform's.
    pub ca_pem: Option<Vec<u8>>,
    /// The client's private key and certificates (PEM), for servers that request them.
    pub identity_pem: Option<SecretString>,
    /// Largest response body, in bytes.
    pub max_body: usize,
    /// The proxies on the way.
    pub egress: Egress,
}

/// Why a client cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The PEM has no certificate or an invalid one.
    #[error("the CA file holds no valid certificate")]
    Certificate,
    /// The PEM has no private key or no certificate, or the two do not match.
    #[error("the client's certificate and private key cannot be used together")]
    Identity,
    #[error("the platform has no CA certificates, and there is no caFile")]
    NoRoots,
    #[error("the TLS client could not be set up")]
    Tls,
}
