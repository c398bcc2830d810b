//! The outbound role: match the destination, then attach a token.

use std::net::SocketAddr;

use http::HeaderName;

use super::upstream;

/// What one outbound listener is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name, a metrics label.
    pub name: String,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where requests go.
    pub upstream: upstream::Config,
    /// Name of the credential whose token is attached.
    pub credential: String,
    /// The header that carries the token.
    pub header: HeaderName,
    /// What stands before the token in it.
    pub prefix: String,
    /// Whether a header of the request's own is replaced; else such a request passes as it is.
    pub overwrite: bool,
    /// Whether the upstream sees the client's `Host`.
    pub preserve_host: bool,
    /// `Host` values accepted beside IP literals, `localhost` and the upstream's.
    pub hosts: Vec<String>,
}
