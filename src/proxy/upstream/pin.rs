//! Upstreams whose own certificate stands in their `caFile`.
//!
//! Pingora's verifier takes no certificate of an authority (CA:TRUE) as a server's own, and takes
//! no verifier of ours. So the connections to such an upstream are made without it, and the
//! certificate is compared and judged before the first byte of a request is sent: see
//! [`Upstream::check`](super::Upstream::check). When the server shows another certificate, the
//! usual verification follows on a new connection.

use std::sync::atomic::{AtomicBool, Ordering};

use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::domain::hash::sha256;
use crate::http_client::trust::Trust;

pub(super) struct Pin {
    /// As the upstream's, without Pingora's verifier.
    template: HttpPeer,
    trust: Trust,
    name: ServerName<'static>,
    /// Whether the next connection is made this way.
    is_next: AtomicBool,
}

/// What a connection to an upstream has shown.
pub(super) enum Shown {
    /// The upstream's own certificate, or Pingora has verified it.
    Good,
    /// Another certificate than those of the `caFile`: it is for Pingora's verifier to judge.
    Another,
    /// The certificate of the `caFile`, which is not good any more.
    Bad(rustls::Error),
}

impl Pin {
    /// `None` when no certificate of the `caFile` is for this name: then none is the server's own.
    pub fn new(template: &HttpPeer, trust: Trust, server_name: &str) -> Option<Self> {
        let name = ServerName::try_from(server_name.to_owned()).ok()?;
        trust
            .pinned()
            .iter()
            .any(|certificate| Trust::is_for(certificate, &name))
            .then(|| {
                let mut template = template.clone();
                template.options.verify_cert = false;
                Self {
                    template,
                    trust,
                    name,
                    is_next: AtomicBool::new(true),
                }
            })
    }

    /// The peer of the next connection, when it is to be made this way.
    pub fn template(&self) -> Option<&HttpPeer> {
        self.is_next
            .load(Ordering::Relaxed)
            .then_some(&self.template)
    }

    /// Whether the next connection is made this way.
    pub fn set_next(&self, is_next: bool) {
        self.is_next.store(is_next, Ordering::Relaxed);
    }

    /// Judges what a connection has shown. A connection of Pingora's verifier is good.
    pub fn judge(&self, peer: &HttpPeer, digest: Option<&Digest>) -> Shown {
        if peer.options.verify_cert {
            return Shown::Good;
        }
        let shown = digest
            .and_then(|digest| digest.ssl_digest.as_ref())
            .map(|tls| &tls.cert_digest);
        let is_shown = |known: &&CertificateDer<'static>| {
            shown.is_some_and(|shown| shown[..] == sha256(known)[..])
        };
        match self.trust.pinned().iter().find(is_shown) {
            None => Shown::Another,
            Some(own) => {
                match self
                    .trust
                    .verify_server_cert(own, &[], &self.name, &[], UnixTime::now())
                {
                    Ok(_) => Shown::Good,
                    Err(error) => Shown::Bad(error),
                }
            }
        }
    }
}
