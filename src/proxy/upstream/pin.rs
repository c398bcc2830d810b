//! Upstreams whose own certificate is in their `caFile`.
//!
//! Pingora's verifier rejects a CA certificate (CA:TRUE) as a server's own, and accepts no custom
//! verifier. So connections to such an upstream are made without it, and the certificate is
//! verified before the first byte of a request is sent: see
//! [`Upstream::connect`](super::Upstream::connect). When the server shows another certificate, a new
//! connection uses the standard verification.

use std::sync::atomic::{AtomicBool, Ordering};

use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::domain::hash::sha256;
use crate::http_client::trust::Trust;

pub(super) struct Pin {
    /// The upstream's template, without Pingora's verifier.
    template: HttpPeer,
    trust: Trust,
    name: ServerName<'static>,
    /// Whether the next connection is made this way.
    is_next: AtomicBool,
}

/// The certificate of a connection.
pub(super) enum Shown {
    /// The upstream's own certificate, or one that Pingora has verified.
    Good,
    /// Not a certificate of the `caFile`; Pingora's verifier must decide.
    Another,
    /// A certificate of the `caFile` that is no longer valid.
    Bad(rustls::Error),
}

impl Pin {
    /// `None` when no certificate of the `caFile` is for this name.
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

    /// The peer of the next connection, if it is made this way.
    pub fn template(&self) -> Option<&HttpPeer> {
        self.is_next
            .load(Ordering::Relaxed)
            .then_some(&self.template)
    }

    /// Sets whether the next connection is made this way.
    pub fn set_next(&self, is_next: bool) {
        self.is_next.store(is_next, Ordering::Relaxed);
    }

    /// Checks the certificate of a connection. Connections that Pingora verified are good.
    pub fn check(&self, peer: &HttpPeer, digest: Option<&Digest>) -> Shown {
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
