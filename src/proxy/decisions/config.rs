//! The configuration of a listener that decides for a proxy.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::domain::settings::OriginalRequest;
use crate::proxy::client::Client;
use crate::proxy::inbound;

/// The configuration of a listener that decides for a proxy.
#[derive(Clone, Debug)]
pub struct Config {
    /// The checks, without a service. Its trusted proxies may report clients.
    pub listener: inbound::Config,
    /// Where a question has the original request.
    pub from: OriginalRequest,
    /// The path before the original path in a question of [`OriginalRequest::Request`].
    pub path_prefix: String,
    pub peers: Peers,
}

/// The peers that may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    pub networks: Vec<IpNet>,
    /// Whether a client certificate, which the handshake has verified, stands for an address.
    pub by_certificate: bool,
}

impl Peers {
    /// Whether the peer of a connection may ask.
    pub(super) fn admit(&self, client: &Client<'_>) -> bool {
        let certificate = client.tls().and_then(|tls| tls.certificate.as_ref());
        // Everyone can make a self-signed certificate.
        let is_verified = certificate.is_some_and(|it| it.is_verified);
        // The file of a Unix socket has its own permissions.
        client.process().is_some() || self.admit_at(client.peer().ip(), is_verified)
    }

    fn admit_at(&self, address: IpAddr, has_certificate: bool) -> bool {
        let address = address.to_canonical();
        let is_named = self.networks.iter().any(|it| it.contains(&address));
        is_named || self.by_certificate && has_certificate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_named_or_shows_a_certificate_where_none_is_named() {
        let peers = |by_certificate| Peers {
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            by_certificate,
        };
        for (address, certificate, by_certificate, expected) in [
            ("192.0.2.7", false, false, true),
            ("::ffff:192.0.2.7", false, false, true),
            ("198.51.100.1", false, true, false),
            ("198.51.100.1", true, true, true),
            ("198.51.100.1", true, false, false),
        ] {
            let admitted = peers(by_certificate).admit_at(address.parse().unwrap(), certificate);
            assert_eq!(
                admitted, expected,
                "{address} {certificate} {by_certificate}"
            );
        }
    }
}
