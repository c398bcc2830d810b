//! Connects to an upstream: takes a kept connection, or opens one at the first address that
//! answers.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{LazyLock, OnceLock};

use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::{Digest, Stream};
use pingora::upstreams::peer::HttpPeer;

use super::connection::UpstreamConnection;
use super::error::UpstreamError;
use super::pin::{Pin, Shown};
use super::pool::{Pool, PoolKey};
use super::{Config, Timeouts, Tries, Upstream};
use crate::domain::hash::sha256_parts;
use crate::domain::reason::Reason;
use crate::files::blocking;
use crate::proxy::fault::Fault;

/// The settings of connections without TLS.
pub(in crate::proxy) const PLAIN: u128 = 0;
/// Holds no certificates.
const NO_ROOTS: &str = "/dev/null";

/// For connections without TLS, and for those with certificates of their own.
static WITHOUT_ROOTS: LazyLock<TransportConnector> =
    LazyLock::new(|| connector(Some(NO_ROOTS.to_owned())));
/// For connections that trust the platform's certificates. Reading them takes long.
static WITH_ROOTS: OnceLock<TransportConnector> = OnceLock::new();

/// Why a request has no connection.
#[derive(Debug)]
pub enum Unconnected {
    /// There is no address that may be tried.
    Refused(Reason),
    Failed(UpstreamError),
}

fn connector(ca_file: Option<String>) -> TransportConnector {
    // Its own pool stays empty.
    let mut options = ConnectorOptions::new(1);
    options.ca_file = ca_file;
    TransportConnector::new(Some(options))
}

/// Opens a connection without TLS.
///
/// # Errors
/// [`UpstreamError::Connect`].
pub(in crate::proxy) async fn open_plain(
    template: &HttpPeer,
    address: SocketAddr,
) -> Result<Stream, UpstreamError> {
    let mut peer = template.clone();
    peer._address = address.into();
    WITHOUT_ROOTS
        .new_stream(&peer)
        .await
        .map_err(UpstreamError::Connect)
}

/// Distinguishes connections with other TLS settings.
pub(super) fn settings(config: &Config) -> u128 {
    if !config.tls {
        return PLAIN;
    }
    let ca: [&[u8]; 2] = match &config.ca_pem {
        Some(pem) => [b"own", pem],
        None => [b"platform", b""],
    };
    let id = sha256_parts(&[config.server_name.as_bytes(), ca[0], ca[1]]);
    let mut first = [0; 16];
    first.copy_from_slice(id.first_chunk::<16>().unwrap_or(&[0; 16]));
    u128::from_be_bytes(first)
}

impl Upstream {
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.config.timeouts
    }

    /// A connection for the next attempt of a request: a kept one, unless `tries` requires a new
    /// one, or a new one at the first address that answers. Failed connects are logged.
    ///
    /// # Errors
    /// [`Unconnected::Refused`] with [`Reason::UpstreamUnreachable`] when the name has no address
    /// within the connect timeout, or with [`Reason::Loop`] when its address is the sidecar's own;
    /// [`Unconnected::Failed`] when no address answers or is trusted.
    pub async fn connect(
        &self,
        pool: &Pool,
        tries: &mut Tries,
    ) -> Result<UpstreamConnection, Unconnected> {
        let kept = self
            .pick(tries)
            .and_then(|address| self.take_kept(address, pool, tries));
        match kept {
            Some(kept) => Ok(kept),
            // Rare, and large.
            None => Box::pin(self.connect_somewhere(pool, tries)).await,
        }
    }

    fn key(&self, address: SocketAddr) -> PoolKey {
        let settings = self.settings;
        PoolKey { address, settings }
    }

    fn take_kept(
        &self,
        address: SocketAddr,
        pool: &Pool,
        tries: &mut Tries,
    ) -> Option<UpstreamConnection> {
        if tries.fresh || !tries.may_try() {
            return None;
        }
        let kept = pool.take(&self.key(address))?;
        tries.begin(address);
        Some(kept)
    }

    async fn connect_somewhere(
        &self,
        pool: &Pool,
        tries: &mut Tries,
    ) -> Result<UpstreamConnection, Unconnected> {
        while tries.may_try() {
            let address = self
                .next_address(tries)
                .await
                .map_err(Unconnected::Refused)?;
            if let Some(kept) = self.take_kept(address, pool, tries) {
                return Ok(kept);
            }
            tries.begin(address);
            match self.open(address, tries).await {
                Ok(stream) => {
                    let idle = self.config.timeouts.idle;
                    return Ok(UpstreamConnection::http1(stream, self.key(address), idle));
                }
                Err(error) if self.goes_on(&error, address, tries) => {}
                Err(error) => return Err(Unconnected::Failed(error)),
            }
        }
        Err(Unconnected::Refused(Reason::UpstreamUnreachable))
    }

    /// The first untried address; waits for one while the name is being resolved.
    pub(super) async fn next_address(&self, tries: &Tries) -> Result<SocketAddr, Reason> {
        if let Some(address) = self.pick(tries) {
            return Ok(address);
        }
        if self.leads_back.load(Ordering::Relaxed) {
            return Err(Reason::Loop);
        }
        let mut addresses = self.addresses.subscribe();
        let resolved = addresses.wait_for(|addresses| !addresses.is_empty());
        let _ = tokio::time::timeout(self.config.timeouts.connect, resolved).await;
        self.pick(tries).ok_or(Reason::UpstreamUnreachable)
    }

    /// Opens a connection and verifies its certificate.
    async fn open(&self, address: SocketAddr, tries: &mut Tries) -> Result<Stream, UpstreamError> {
        let pinned = self.pin.as_ref().and_then(Pin::template);
        let mut peer = pinned.unwrap_or(&self.template).clone();
        peer._address = address.into();
        let connector = if self.config.tls && self.config.ca_pem.is_none() {
            with_roots().await
        } else {
            &WITHOUT_ROOTS
        };
        let stream = connector
            .new_stream(&peer)
            .await
            .map_err(UpstreamError::Connect)?;
        let digest = Digest {
            ssl_digest: stream.get_ssl_digest(),
            ..Digest::default()
        };
        match self
            .pin
            .as_ref()
            .map(|pin| (pin, pin.check(&peer, Some(&digest))))
        {
            None | Some((_, Shown::Good)) => Ok(stream),
            Some((_, Shown::Bad(error))) => Err(UpstreamError::Certificate(error.to_string())),
            Some((pin, Shown::Another)) => {
                pin.set_next(false);
                tries.verifies_otherwise = true;
                let why = "another certificate than the one in the CA file";
                Err(UpstreamError::Certificate(why.to_owned()))
            }
        }
    }

    /// Whether another attempt follows a failed one. Logs the failure, unless the same address is
    /// verified in the other way.
    fn goes_on(&self, error: &UpstreamError, address: SocketAddr, tries: &mut Tries) -> bool {
        if std::mem::take(&mut tries.verifies_otherwise) && tries.may_try() {
            return true;
        }
        if let UpstreamError::Connect(error) = error {
            return self.connect_failed(tries, error) && tries.may_try();
        }
        let why = error.why(&self.config.timeouts);
        self.trouble.begin(self, address, why);
        false
    }

    /// Records that a response has begun.
    pub fn serves(&self) {
        self.trouble.end(self);
    }

    /// Logs a request that failed after its connection was made. `is_answered`: a response had
    /// begun. Returns the TLS alert behind the failure if the error lacks it, because the
    /// connection ended while the request was sent.
    pub async fn broke_off(
        &self,
        tries: &Tries,
        error: &UpstreamError,
        is_answered: bool,
    ) -> Option<Fault> {
        let address = tries.current?;
        let is_lost = error.is_unsent() && self.config.tls && !is_answered;
        let alert = if is_lost && error.tls_alert().is_none() {
            self.demand(address).await
        } else {
            None
        };
        let why = alert.map_or_else(|| error.why(&self.config.timeouts), str::to_owned);
        self.trouble.begin(self, address, why);
        alert.map(|alert| Fault::because(Reason::UpstreamTls, alert))
    }
}

/// The connector that trusts the platform's certificates, which are read once.
async fn with_roots() -> &'static TransportConnector {
    match WITH_ROOTS.get() {
        Some(connector) => connector,
        None => blocking(|| WITH_ROOTS.get_or_init(|| connector(None))).await,
    }
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
