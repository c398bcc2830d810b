//! What outbound listeners are made of.

use http::HeaderName;

use super::pages::Pages;
use crate::domain::listen::Listen;
use crate::domain::pattern::Pattern;
use crate::proxy::connection::{ClientTimeouts, MaxConnections};
use crate::proxy::upstream::{self, Timeouts};

/// What one outbound listener is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name, a metrics label.
    pub name: String,
    /// Where it listens; port 0 takes a free one.
    pub listen: Listen,
    /// How long it is waited for clients.
    pub client_timeouts: ClientTimeouts,
    /// How many client connections it holds.
    pub max_connections: MaxConnections,
    /// What it is in front of.
    pub kind: Kind,
    /// Which web pages may use it.
    pub pages: Pages,
    /// How tokens are attached.
    pub attach: Attach,
    /// Whether the upstream is told by which name and scheme the listener was called.
    pub forwarded_headers: bool,
}

/// What an outbound listener is in front of.
#[derive(Clone, Debug)]
pub enum Kind {
    /// One upstream.
    Reverse(ReverseConfig),
    /// Whatever URLs the program names.
    Forward(ForwardConfig),
}

/// Where requests go, and with which credential's token.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where requests go.
    pub upstream: upstream::Config,
    /// Name of the credential.
    pub credential: String,
}

/// A listener in front of one upstream.
#[derive(Clone, Debug)]
pub struct ReverseConfig {
    /// The upstream.
    pub target: Target,
    /// Whether the upstream sees the client's `Host`.
    pub preserve_host: bool,
    /// `Host` values accepted beside IP literals, `localhost` and the upstream's.
    pub hosts: Vec<String>,
    /// Whether URLs in the head of an answer that name the upstream are made to name the listener.
    pub map_location: bool,
}

/// A forward proxy.
#[derive(Clone, Debug)]
pub struct ForwardConfig {
    /// Where tokens are attached; the first that fits decides.
    pub targets: Vec<ForwardTarget>,
    /// Whether other requests pass without a token; else they are refused.
    pub pass_through: bool,
    /// Timeouts of those.
    pub timeouts: Timeouts,
}

/// What a program calls, and where that goes.
#[derive(Clone, Debug)]
pub struct ForwardTarget {
    /// The host of the program's URL.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The paths that may be called; none: all.
    pub paths: Option<Vec<Pattern>>,
    /// Where it goes.
    pub target: Target,
}

/// How tokens are attached.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The header that carries the token.
    pub header: HeaderName,
    /// What stands before the token in it.
    pub prefix: String,
    /// Whether a header of the request's own is replaced; else such a request passes as it is.
    pub overwrite: bool,
    /// Which answers refuse the token, so that the request is sent once more with a new one; none:
    /// it never is.
    pub retry_on: Vec<TokenRefusal>,
}

/// An answer that refuses the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRefusal {
    /// Its status.
    pub status: u16,
    /// The `error` of a challenge that it must have (RFC 6750 §3); none: any answer with the
    /// status.
    pub error: Option<String>,
}

impl Config {
    /// Everywhere that requests with a token may go.
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
