//! Upstreams and their addresses.
//!
//! Pingora resolves no names, and panics when it must. A task resolves them every few seconds and
//! keeps the last good result. A failed connect moves all requests on to the next address. When
//! none is left, the name is resolved again at once, for services that return at another address.

mod config;
mod connect;
pub mod connection;
pub mod error;
mod http1;
mod peers;
mod pin;
pub mod pool;
mod tries;
mod trouble;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{fmt, io};

use http::HeaderValue;
use pingora::Error;
use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::{Notify, watch};

pub use self::config::{Config, Timeouts, UnusableUpstream};
pub use self::connect::Unconnected;
pub(in crate::proxy) use self::connect::{PLAIN, open_plain};
pub use self::connection::{RequestBody, UpstreamConnection};
pub use self::error::UpstreamError;
pub(in crate::proxy) use self::peers::plain_template;
use self::peers::templates;
use self::pin::Pin;
pub use self::pool::Pool;
pub use self::tries::Tries;
use self::trouble::Trouble;
use super::own::OwnAddresses;
use crate::files::blocking;
use crate::http_client::demanded_certificate;

/// How often a name is resolved.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);

/// The shorter interval when no address answers. It protects the name server while a service with
/// many clients is down.
const RESOLVE_AGAIN: Duration = Duration::from_millis(500);

/// An upstream and its addresses.
pub struct Upstream {
    config: Config,
    authority: String,
    /// The value of `Host`.
    host_value: HeaderValue,
    template: HttpPeer,
    /// The way to connect when `caFile` holds the upstream's own certificate.
    pin: Option<Pin>,
    /// Distinguishes its connections in a [`pool::Pool`].
    settings: u128,
    trouble: Trouble,
    addresses: watch::Sender<Arc<[SocketAddr]>>,
    /// The address to try first; moves on when a connect fails.
    preferred: AtomicUsize,
    /// Signals that no address answers.
    all_failed: Notify,
    /// Addresses that it must not lead to.
    own: Arc<OwnAddresses>,
    /// Whether all resolved addresses are the sidecar's own.
    leads_back: AtomicBool,
}

impl Upstream {
    /// An upstream at none of the addresses in `own`. [`Upstream::run`] resolves its name.
    ///
    /// # Errors
    /// [`UnusableUpstream`].
    pub fn new(config: Config, own: Arc<OwnAddresses>) -> Result<Arc<Self>, UnusableUpstream> {
        if config.tls && config.server_name.is_empty() {
            return Err(UnusableUpstream::NoServerName);
        }
        let fixed = config
            .host
            .parse::<IpAddr>()
            .map(|address| vec![SocketAddr::new(address, config.port)]);
        let authority = config.authority();
        let (template, pin) = templates(&config)?;
        let upstream = Self {
            host_value: HeaderValue::from_str(&authority).map_err(|_| UnusableUpstream::Host)?,
            authority,
            template,
            pin,
            settings: connect::settings(&config),
            trouble: Trouble::default(),
            addresses: watch::Sender::new(Arc::new([])),
            preferred: AtomicUsize::new(0),
            all_failed: Notify::new(),
            own,
            leads_back: AtomicBool::new(false),
            config,
        };
        if let Ok(fixed) = fixed {
            upstream.take(fixed);
        }
        Ok(Arc::new(upstream))
    }

    /// Takes over resolved addresses, without the sidecar's own.
    fn take(&self, found: Vec<SocketAddr>) {
        let found_any = !found.is_empty();
        let others: Vec<_> = found
            .into_iter()
            .filter(|address| !self.own.contain(*address))
            .collect();
        let leads_back = found_any && others.is_empty();
        if leads_back && !self.leads_back.swap(true, Ordering::Relaxed) {
            tracing::error!(host = %self.config.host, "the upstream is this sidecar's own \
                listener; requests are refused");
        }
        if !others.is_empty() {
            self.leads_back.store(false, Ordering::Relaxed);
        }
        if (leads_back || !others.is_empty()) && **self.addresses.borrow() != *others {
            tracing::debug!(host = %self.config.host, addresses = others.len(), "upstream \
                resolved");
            self.addresses.send_replace(others.into());
        }
    }

    /// The `Host` header for this upstream.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The `Host` header as a value. Cloning it clones a reference.
    #[must_use]
    pub fn host_value(&self) -> HeaderValue {
        self.host_value.clone()
    }

    /// Host name or IP address, without port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.config.host
    }

    /// Whether it uses https, its host without brackets, and its port.
    #[must_use]
    pub fn origin(&self) -> (bool, &str, u16) {
        (self.config.tls, &self.config.host, self.config.port)
    }

    /// The alert by which the upstream refuses a client without a certificate; determined at most
    /// once a minute.
    async fn demand(&self, address: SocketAddr) -> Option<&'static str> {
        if let Some(known) = self.trouble.demand() {
            return known;
        }
        let (name, ca_pem) = (self.config.server_name.clone(), self.config.ca_pem.clone());
        let alert = blocking(move || demanded_certificate(address, name, ca_pem.as_deref())).await;
        self.trouble.note_demand(alert);
        alert
    }

    /// The first untried address, starting at the preferred one.
    fn pick(&self, tries: &Tries) -> Option<SocketAddr> {
        let addresses = self.addresses.borrow();
        let first = self
            .preferred
            .load(Ordering::Relaxed)
            .checked_rem(addresses.len())?;
        let (before, after) = addresses.split_at(first);
        after
            .iter()
            .chain(before)
            .find(|address| !tries.failed.contains(address))
            .copied()
    }

    /// Handles a failed connect. Returns whether another address is left.
    pub fn connect_failed(&self, tries: &mut Tries, error: &Error) -> bool {
        let Some(failed) = tries.current.take() else {
            return false;
        };
        self.trouble
            .begin(self, failed, trouble::why(error, &self.config.timeouts));
        if let Some(pin) = &self.pin {
            pin.set_next(true);
        }
        tries.failed.push(failed);
        let addresses = self.addresses.borrow();
        let preferred = self.preferred.load(Ordering::Relaxed);
        let is_preferred = preferred
            .checked_rem(addresses.len())
            .and_then(|i| addresses.get(i))
            == Some(&failed);
        if is_preferred {
            // Another request may have moved it on already.
            let next = preferred.wrapping_add(1);
            let _ = self.preferred.compare_exchange(
                preferred,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        let another = addresses
            .iter()
            .any(|address| !tries.failed.contains(address));
        if !another {
            self.all_failed.notify_one();
        }
        another
    }

    /// Resolves the name until it is dropped; returns at once when the upstream is an IP address.
    pub async fn run(self: Arc<Self>) {
        let address = (self.config.host.clone(), self.config.port);
        let resolve = || {
            let address = address.clone();
            async move {
                tokio::net::lookup_host(address)
                    .await
                    .map(Iterator::collect)
            }
        };
        self.resolve_with(resolve).await;
    }

    async fn resolve_with<F>(&self, resolve: impl Fn() -> F)
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>>,
    {
        if self.config.host.parse::<IpAddr>().is_ok() {
            return;
        }
        let mut failing = false;
        loop {
            match resolve().await {
                Ok(found) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!(upstream = %self, "the upstream's name can be resolved \
                            again");
                    }
                    self.take(found);
                }
                // The last good addresses stay. The failure is logged once.
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(upstream = %self, %error, "the upstream's name cannot be \
                        resolved");
                }
                Err(_) => {}
            }
            tokio::time::sleep(RESOLVE_AGAIN).await;
            let rest = RESOLVE_EVERY.saturating_sub(RESOLVE_AGAIN);
            let _ = tokio::time::timeout(rest, self.all_failed.notified()).await;
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            if self.config.tls { "https" } else { "http" },
            self.authority
        )
    }
}

fn base_template(tls: bool, server_name: String, timeouts: &Timeouts) -> HttpPeer {
    let unset = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut peer = HttpPeer::new(unset, tls, server_name);
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect * if tls { 2 } else { 1 });
    peer.options.alpn = ALPN::H1;
    peer
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
