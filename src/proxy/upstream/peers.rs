//! The parts of a peer that are the same for every request.

use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{WrappedX509, parse_x509};

use super::base_template;
use super::config::{Config, Timeouts, UnusableUpstream};
use super::pin::Pin;
use crate::http_client::trust::Trust;

/// Everything of a peer without TLS except its address.
pub(in crate::proxy) fn plain_template(timeouts: &Timeouts) -> HttpPeer {
    base_template(false, String::new(), timeouts)
}

/// Everything of a peer except its address, and the way to connect when `caFile` holds its own
/// certificate.
pub(super) fn templates(config: &Config) -> Result<(HttpPeer, Option<Pin>), UnusableUpstream> {
    let mut peer = base_template(config.tls, config.server_name.clone(), &config.timeouts);
    let trust = config
        .ca_pem
        .as_ref()
        .map(|pem| Trust::only(pem))
        .transpose();
    // Parsed here first, because Pingora panics on an invalid certificate.
    let trust = trust.map_err(|_| UnusableUpstream::Certificates)?;
    if let Some(trust) = &trust {
        let certificates = trust
            .pinned()
            .iter()
            .map(|der| WrappedX509::new(der.to_vec(), parse_x509));
        peer.options.ca = Some(certificates.collect());
    }
    let pin = trust
        .filter(|_| config.tls)
        .and_then(|trust| Pin::new(&peer, trust, &config.server_name));
    Ok((peer, pin))
}
