//! The inbound role: verify, authorize, forward identity.

use std::net::SocketAddr;

use http::HeaderName;

use super::upstream;
use crate::verifier;

/// What one inbound listener is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name: the `realm` of challenges, a metrics label.
    pub name: String,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether it answers the issuer's endpoints too.
    pub issuer: bool,
    /// Where accepted requests go.
    pub upstream: upstream::Config,
    /// Whether the token itself is passed to the upstream.
    pub keep_authorization: bool,
    /// Header → claim: the identity the upstream sees.
    pub identity_headers: Vec<(HeaderName, String)>,
    /// Whether the upstream sees the client's `Host`.
    pub preserve_host: bool,
    /// The largest body passed on, in bytes; none: unlimited.
    pub max_body: Option<u64>,
    /// What is checked.
    pub verifier: verifier::Config,
}
