//! Upstreams: where a request is sent on to.

use std::time::Duration;

/// One upstream.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether to speak TLS; certificate and name are always verified then.
    pub tls: bool,
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Certificates (PEM) trusted instead of the platform's.
    pub ca_pem: Option<Vec<u8>>,
    /// The name sent as SNI and looked for in the certificate; usually `host`.
    pub server_name: String,
    /// Timeouts.
    pub timeouts: Timeouts,
}

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connect; connect with TLS may take twice that.
    pub connect: Duration,
    /// Between two reads of the answer.
    pub read: Duration,
    /// Between two writes of the request.
    pub write: Duration,
}
