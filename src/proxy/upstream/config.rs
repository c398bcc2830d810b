//! The configuration of an upstream.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::http_client::EgressProxy;
use crate::proxy::tls::PairFiles;

/// The configuration of one upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Whether to use TLS. Certificate and name are then always verified.
    pub tls: bool,
    /// Host name or IP address, without brackets.
    pub host: String,
    pub port: u16,
    /// The Unix socket to connect to, instead of the host and port, which only name the upstream.
    pub socket: Option<PathBuf>,
    /// Whether it speaks HTTP/2 without TLS, without being asked (RFC 9113 §3.3).
    pub h2c: bool,
    /// The file of certificates (PEM) that are trusted instead of the platform's.
    pub ca_file: Option<PathBuf>,
    /// The name for SNI and for the verification; usually `host`.
    pub server_name: String,
    /// The client certificate for an upstream that demands one.
    pub identity: Option<PairFiles>,
    /// The proxy on the way, for https only.
    pub proxy: Option<Arc<EgressProxy>>,
    pub timeouts: Timeouts,
}

impl Config {
    /// The host and port that are connected to: those of the proxy, if there is one.
    #[must_use]
    pub fn next_hop(&self) -> (String, u16) {
        let proxy = self.proxy.as_ref().map(|proxy| proxy.place());
        proxy.unwrap_or_else(|| (self.host.clone(), self.port))
    }

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

    /// The upstream as the configuration writes it.
    #[must_use]
    pub fn url(&self) -> String {
        let path = self.socket.as_ref().map(|path| path.display());
        match (path, self.h2c) {
            (Some(path), true) => format!("h2c+unix:{path}"),
            (Some(path), false) => format!("unix:{path}"),
            (None, true) => format!("h2c://{}", self.authority()),
            (None, false) if self.tls => format!("https://{}", self.authority()),
            (None, false) => format!("http://{}", self.authority()),
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
    /// The client certificate or its key cannot be used.
    #[error("the upstream's client certificate cannot be used")]
    Identity,
    /// The TLS of its proxy cannot be set up.
    #[error("the TLS of the egress proxy cannot be set up")]
    Proxy,
    /// The path of the Unix socket is too long.
    #[error("the upstream's socket has a path that is too long")]
    Socket,
    /// An empty name would disable certificate verification.
    #[error("an https upstream needs a server name")]
    NoServerName,
}
