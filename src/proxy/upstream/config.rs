//! The configuration of an upstream.

use std::time::Duration;

/// The configuration of one upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Whether to use TLS. Certificate and name are then always verified.
    pub tls: bool,
    /// Host name or IP address, without brackets.
    pub host: String,
    pub port: u16,
    /// Certificates (PEM) trusted instead of the platform's.
    pub ca_pem: Option<Vec<u8>>,
    /// The name for SNI and for the verification; usually `host`.
    pub server_name: String,
    pub timeouts: Timeouts,
}

impl Config {
    /// The `Host` header for this upstream (RFC 9110 §7.2), without the scheme's default port.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == if self.tls { 443 } else { 80 } {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connect; with TLS, twice as long.
    pub connect: Duration,
    /// Between two reads of the response.
    pub read: Duration,
    /// Between two writes of the request.
    pub write: Duration,
    /// How long an idle connection is kept.
    pub idle: Duration,
}

/// Why an upstream's configuration is unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableUpstream {
    /// `caFile` holds no usable certificate.
    #[error("the upstream's CA file holds no usable certificate")]
    Certificates,
    /// The host is not a valid header value.
    #[error("the upstream's host cannot be sent as `Host`")]
    Host,
    /// An empty name would disable certificate verification.
    #[error("an https upstream needs a server name")]
    NoServerName,
}
