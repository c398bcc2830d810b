//! The configuration of outbound listeners.

use std::time::Duration;

use http::HeaderName;

use super::pages::Pages;
use crate::domain::listen::Listen;
use crate::domain::pattern::Pattern;
use crate::domain::settings::OutboundSettings;
use crate::domain::tunnel_host::TunnelHost;
use crate::limits::throttle;
use crate::proxy::connection::{ClientTimeouts, MaxConnections};
use crate::proxy::tls;
use crate::proxy::upstream::{self, Timeouts};

/// The configuration of one outbound listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// The listener's name, a metrics label.
    pub name: String,
    /// The listening address; port 0 takes a free port.
    pub listen: Listen,
    /// Whether other machines may connect.
    pub allow_remote: bool,
    pub tls: Option<tls::Config>,
    pub client_timeouts: ClientTimeouts,
    pub max_connections: MaxConnections,
    pub kind: Kind,
    /// The web pages that may use it.
    pub pages: Pages,
    pub attach: Attach,
    /// The quota of the listener's calls.
    pub throttle: Option<throttle::Config>,
    pub settings: OutboundSettings,
    /// How long a WebSocket may carry no byte; `None`: no limit.
    pub websocket_idle: Option<Duration>,
}

/// The kinds of outbound listeners.
#[derive(Clone, Debug)]
pub enum Kind {
    /// In front of one upstream.
    Reverse(ReverseConfig),
    /// A forward proxy for any URL.
    Forward(ForwardConfig),
}

/// A destination and the credential for its token.
#[derive(Clone, Debug)]
pub struct Target {
    pub upstream: upstream::Config,
    /// Name of the credential.
    pub credential: String,
}

/// A listener in front of one upstream.
#[derive(Clone, Debug)]
pub struct ReverseConfig {
    pub target: Target,
    /// Whether the upstream receives the client's `Host`.
    pub preserve_host: bool,
    /// Accepted `Host` values beside IP literals, `localhost` and the upstream's.
    pub hosts: Vec<String>,
    /// Whether URLs of the upstream in response heads are replaced by URLs of the listener.
    pub map_location: bool,
}

/// A forward proxy.
#[derive(Clone, Debug)]
pub struct ForwardConfig {
    /// The destinations with tokens; the first match decides.
    pub targets: Vec<ForwardTarget>,
    /// The hosts to which tunnels without a token may be opened.
    pub tunnels: Vec<TunnelHost>,
    /// Whether it takes connections that the system redirected, instead of those to itself.
    pub transparent: bool,
    /// Whether other requests pass without a token instead of being refused.
    pub pass_through: bool,
    /// Timeouts of requests without a token.
    pub timeouts: Timeouts,
}

/// The URLs of a destination.
#[derive(Clone, Debug)]
pub struct ForwardTarget {
    /// The host of the URL.
    pub host: String,
    /// The port of the URL.
    pub port: u16,
    /// The permitted paths; `None`: all.
    pub paths: Option<Vec<Pattern>>,
    pub target: Target,
}

/// How tokens are attached.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The header that carries the token.
    pub header: HeaderName,
    /// The cookie that carries it with requests for a WebSocket, instead of the header.
    pub websocket_cookie: Option<String>,
    /// The text before the token.
    pub prefix: String,
    /// The parameter of the query that carries the token, instead of the header.
    pub query: Option<String>,
    /// The responses that refuse a token, after which the request is repeated with a new one.
    pub retry_on: Vec<TokenRefusal>,
}

/// A response that refuses the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRefusal {
    pub status: u16,
    /// The required `error` of its challenge (RFC 6750 §3); `None`: any response with the status.
    pub error: Option<String>,
}

impl Config {
    /// Every destination that receives a token.
    #[must_use]
    pub fn targets(&self) -> Vec<&Target> {
        match &self.kind {
            Kind::Reverse(reverse) => vec![&reverse.target],
            Kind::Forward(forward) => forward
                .targets
                .iter()
                .map(|target| &target.target)
                .collect(),
        }
    }
}
