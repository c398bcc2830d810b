//! Upstreams and their addresses.
//!
//! Pingora resolves no names, and panics when it must. A task resolves them every few seconds and
//! keeps the last good result. A failed connect moves all requests on to the next address. When
//! none is left, the name is resolved again at once, for services that return at another address.

mod body;
mod config;
mod connect;
pub mod connection;
mod egress;
pub mod error;
mod http1;
mod http2;
mod key;
pub mod pool;
mod stream;
mod switched;
mod tls;
mod tries;
mod trouble;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{fmt, io};

use http::HeaderValue;
use pingora::Error;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::{Notify, watch};

pub use self::config::{Config, Timeouts, UnusableUpstream};
pub use self::connect::Unconnected;
pub(in crate::proxy) use self::connect::{PLAIN, open_plain, plain_template};
pub use self::connection::{RequestBody, UpstreamConnection};
use self::egress::Tunnel;
pub use self::error::{EndedBy, UpstreamError};
pub use self::pool::Pool;
pub use self::switched::SwitchedStream;
use self::tls::Tls;
pub use self::tls::TlsFiles;
pub use self::tries::Tries;
use self::trouble::Trouble;
use super::own::OwnAddresses;
use super::tls::Expiring;
use crate::files::blocking;
use crate::http_client::demanded_certificate;

/// How often a name is resolved.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);

/// The shorter interval when no address answers. It protects the name server while a service with
/// many clients is down.
const RESOLVE_AGAIN: Duration = Duration::from_millis(500);

/// Stands for the address of a Unix socket.
const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// An upstream and its addresses.
pub struct Upstream {
    config: Config,
    authority: String,
    /// The value of `Host`.
    host_value: HeaderValue,
    /// Everything of a connection without TLS except its address.
    template: HttpPeer,
    tls: Option<Tls>,
    /// The way through a proxy.
    tunnel: Option<Tunnel>,
    /// Distinguishes its connections without TLS in a [`pool::Pool`].
    settings: u128,
    /// How many streams its last HTTP/2 connection permits; 0: it has not agreed on HTTP/2.
    http2_streams: AtomicUsize,
    /// Whether its last HTTP/2 connection carries no WebSockets.
    lacks_websockets: AtomicBool,
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
        let authority = config.authority();
        let tls = config.tls.then(|| Tls::new(&config)).transpose()?;
        let upstream = Self {
            host_value: HeaderValue::from_str(&authority).map_err(|_| UnusableUpstream::Host)?,
            authority,
            template: connect::template(&config)?,
            tls,
            tunnel: Tunnel::new(&config)?,
            settings: connect::settings(&config),
            http2_streams: AtomicUsize::new(0),
            lacks_websockets: AtomicBool::new(false),
            trouble: Trouble::default(),
            addresses: watch::Sender::new(Arc::new([])),
            preferred: AtomicUsize::new(0),
            all_failed: Notify::new(),
            own,
            leads_back: AtomicBool::new(false),
            config,
        };
        match upstream.fixed_address() {
            Some(NO_ADDRESS) => drop(upstream.addresses.send_replace(Arc::new([NO_ADDRESS]))),
            Some(fixed) => upstream.take(vec![fixed]),
            None => {}
        }
        Ok(Arc::new(upstream))
    }

    /// The address of an upstream, or of its proxy, without a name.
    fn fixed_address(&self) -> Option<SocketAddr> {
        if self.config.socket.is_some() {
            return Some(NO_ADDRESS);
        }
        let (host, port) = self.config.next_hop();
        let address = host.parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(address, port))
    }

    /// The files of its TLS, in the groups in which they are read again.
    #[must_use]
    pub fn watched(&self) -> Vec<(TlsFiles, Vec<PathBuf>)> {
        self.tls.as_ref().map(Tls::watched).unwrap_or_default()
    }

    /// Reads files of its TLS again, and uses them for new connections. Returns whether their
    /// content is new. Blocks.
    ///
    /// # Errors
    /// Why the files cannot be used. Their old content stays.
    pub fn reload(&self, files: TlsFiles) -> Result<bool, String> {
        self.tls.as_ref().map_or(Ok(false), |tls| tls.reload(files))
    }

    /// The client certificate with the end of its validity.
    #[must_use]
    pub fn expiring(&self) -> Option<Expiring> {
        self.tls.as_ref()?.expiring()
    }

    /// The problems of files whose old content is in use.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.tls.as_ref().map(Tls::faults).unwrap_or_default()
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

    /// The alert by which the upstream refuses this client and its certificate; determined at most
    /// once a minute.
    async fn demand(&self, address: SocketAddr) -> Option<&'static str> {
        if let Some(known) = self.trouble.demand() {
            return known;
        }
        let name = self.config.server_name.clone();
        let ca_pem = self.tls.as_ref().and_then(Tls::ca_pem);
        let own = self.tls.as_ref().and_then(Tls::certified_key);
        let probe = move || demanded_certificate(address, name, ca_pem.as_deref(), own);
        let alert = blocking(probe).await;
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
        let address = self.config.next_hop();
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
        if self.fixed_address().is_some() {
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
        f.write_str(&self.config.url())
    }
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
