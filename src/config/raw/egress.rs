//! Ways out, as the file has them.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::address::{ProxyUrl, StraightText};
use crate::config::value::FilePath;

/// The proxy for requests to authorities.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum EgressProxy {
    /// A word.
    Word(EgressWord),
    /// This proxy.
    Proxy(Proxy),
}

/// Where requests to authorities go first.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::config) enum EgressWord {
    /// To the proxies of the variables `HTTPS_PROXY` and `HTTP_PROXY`, except for the hosts of
    /// `NO_PROXY`.
    Environment,
    /// Straight to the authority.
    None,
}

/// The proxy of one part, instead of the top-level `egressProxy`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum OwnEgressProxy {
    /// A word.
    Word(OwnEgressWord),
    /// This proxy.
    Proxy(Proxy),
}

/// Where requests of one part go first.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::config) enum OwnEgressWord {
    /// To the proxy of the top-level `egressProxy`.
    Shared,
    /// Straight to the destination.
    None,
}

/// A proxy: `CONNECT` for https, absolute form for http.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Proxy {
    /// The URL of the proxy, such as `http://proxy.example:3128`, without a password. With
    /// `passwordFile`, it names the user: `http://USER@proxy.example:3128`. The certificate of an
    /// https proxy is verified by the platform's certificates, and by the `caFile` of the authority
    /// or credential.
    pub url: ProxyUrl,
    /// Hosts that are reached without the proxy: `idp.example` or `.example` (with all names
    /// below), addresses, networks such as `10.0.0.0/8`, each perhaps with a port, or `*`. Networks
    /// mean addresses in URLs; names are not resolved for them. `localhost`, loopback and
    /// link-local addresses never use a proxy.
    #[serde(default)]
    pub no_proxy: Vec<StraightText>,
    /// A file with the password of the URL's user (Basic, RFC 7617): one line. It is read for each
    /// connection to the proxy.
    pub password_file: Option<FilePath>,
}
