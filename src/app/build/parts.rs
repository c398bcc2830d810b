//! The living parts of a generation.

use std::net::SocketAddr;
use std::sync::Arc;

use super::super::part::{Living, Registry};
use super::admin_token::AdminIdentity;
use super::authorities::AuthorityIdentity;
use super::issuer::{IssuerIdentity, OpenIssuer};
use super::listeners::ListenerId;
use crate::endpoints::admin::Guard;
use crate::limits::throttle::{self, Throttle};
use crate::limits::{self, Limits};
use crate::proxy::inbound::{CredentialConfig, UpstreamCredential};
use crate::proxy::loop_mark::LoopMark;
use crate::proxy::tls::{self, ServerTls};
use crate::proxy::upstream::{self, Upstream};
use crate::store::{self, Store};
use crate::token_source::{self, TokenSource};
use crate::verifier::Authority;

/// An upstream is known by its listener, its configuration, and the addresses it must not lead to.
#[derive(PartialEq)]
pub(super) struct UpstreamIdentity {
    pub listener: ListenerId,
    pub config: upstream::Config,
    pub own: Vec<SocketAddr>,
}

/// Counters are known by their listener, its limits, and its authorities: a key holds the index of
/// an authority.
#[derive(PartialEq)]
pub(super) struct LimitsIdentity {
    pub listener: String,
    pub config: limits::Config,
    pub authorities: Vec<String>,
}

/// A quota of calls is known by its owner and its configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Throttled {
    Listener(String),
    Credential(String),
}

/// The TLS of a listener is known by its files and settings.
pub(super) type TlsIdentity = (ListenerId, tls::Config);

/// Every living part, by kind and identity.
#[derive(Default)]
pub(in crate::app) struct Parts {
    pub(super) store: Registry<store::Config, Arc<dyn Store>>,
    pub(super) issuer: Registry<IssuerIdentity, OpenIssuer>,
    pub(super) authorities: Registry<AuthorityIdentity, Arc<Authority>>,
    pub(super) credentials: Registry<token_source::Config, TokenSource>,
    pub(super) upstreams: Registry<UpstreamIdentity, Arc<Upstream>>,
    pub(super) upstream_credentials:
        Registry<(ListenerId, CredentialConfig), Arc<UpstreamCredential>>,
    pub(super) limits: Registry<LimitsIdentity, Arc<Limits>>,
    pub(super) throttles: Registry<(Throttled, throttle::Config), Arc<Throttle>>,
    pub(super) marks: Registry<ListenerId, Arc<LoopMark>>,
    pub(super) admin: Registry<AdminIdentity, Arc<Guard>>,
    pub(super) tls: Registry<TlsIdentity, Arc<ServerTls>>,
}

impl Parts {
    /// Every part, in the order in which they begin.
    pub(in crate::app) fn each(&self) -> impl Iterator<Item = &dyn Living> {
        (self.store.each())
            .chain(self.issuer.each())
            .chain(self.authorities.each())
            .chain(self.credentials.each())
            .chain(self.upstreams.each())
            .chain(self.upstream_credentials.each())
            .chain(self.limits.each())
            .chain(self.throttles.each())
            .chain(self.marks.each())
            .chain(self.admin.each())
            .chain(self.tls.each())
    }
}
