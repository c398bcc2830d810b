//! Connects to an upstream: takes a kept connection or a stream of a shared one, or opens a
//! connection at the first address that answers.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::protocols::{ALPN, Stream};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use super::config::UnusableUpstream;
use super::connection::UpstreamConnection;
use super::error::UpstreamError;
use super::http1::Http1Connection;
use super::http2::{self, Http2Connection};
use super::pool::{Opening, Pool, PoolKey};
use super::stream::UpstreamStream;
use super::{Config, Timeouts, Tls, Tries, Upstream};
use crate::domain::hash::sha256_parts;
use crate::domain::reason::Reason;
use crate::proxy::fault::Fault;

/// The settings of HTTP/1.1 connections over TCP without TLS.
pub(in crate::proxy) const PLAIN: u128 = 0;
/// Holds no certificates: TLS is not Pingora's part here.
const NO_ROOTS: &str = "/dev/null";

static CONNECTOR: LazyLock<TransportConnector> = LazyLock::new(|| {
    // Its own pool stays empty.
    let mut options = ConnectorOptions::new(1);
    options.ca_file = Some(NO_ROOTS.to_owned());
    TransportConnector::new(Some(options))
});

/// Why a request has no connection.
#[derive(Debug)]
pub enum Unconnected {
    /// There is no address that may be tried.
    Refused(Reason),
    Failed(UpstreamError),
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
    // The template of a Unix socket has its path.
    if matches!(peer._address, PeerAddress::Inet(_)) {
        peer._address = address.into();
    }
    CONNECTOR
        .new_stream(&peer)
        .await
        .map_err(UpstreamError::Connect)
}

/// Everything of a connection without TLS except its address.
pub(in crate::proxy) fn plain_template(timeouts: &Timeouts) -> HttpPeer {
    let unset = SocketAddr::from(([0, 0, 0, 0], 0));
    with_timeouts(HttpPeer::new(unset, false, String::new()), timeouts)
}

/// The same for an upstream, which may be a Unix socket.
pub(super) fn template(config: &Config) -> Result<HttpPeer, UnusableUpstream> {
    let Some(path) = &config.socket else {
        return Ok(plain_template(&config.timeouts));
    };
    let path = path.to_str().ok_or(UnusableUpstream::Socket)?;
    let peer = HttpPeer::new_uds(path, false, String::new());
    let peer = peer.map_err(|_| UnusableUpstream::Socket)?;
    Ok(with_timeouts(peer, &config.timeouts))
}

fn with_timeouts(mut peer: HttpPeer, timeouts: &Timeouts) -> HttpPeer {
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.alpn = ALPN::H1;
    peer
}

/// Distinguishes connections without TLS: by their protocol and their socket.
pub(super) fn settings(config: &Config) -> u128 {
    if !config.h2c && config.socket.is_none() {
        return PLAIN;
    }
    super::tls::first_bytes(&sha256_parts(&[config.url().as_bytes()]))
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
        let settings = self.tls.as_ref().map_or(self.settings, Tls::settings);
        PoolKey { address, settings }
    }

    /// How many streams a new connection probably carries; 0: it is not known to speak HTTP/2.
    fn expected_streams(&self, tries: &Tries) -> usize {
        match self.http2_streams.load(Ordering::Relaxed) {
            _ if self.needs_http1(tries) => 0,
            0 if self.config.h2c => http2::MOST_STREAMS,
            known => known,
        }
    }

    /// Whether the request asks for a WebSocket, which the upstream serves in HTTP/1.1 only.
    fn needs_http1(&self, tries: &Tries) -> bool {
        self.has_choice(tries) && self.lacks_websockets.load(Ordering::Relaxed)
    }

    /// Whether the request asks for a WebSocket, and the protocol is not fixed.
    fn has_choice(&self, tries: &Tries) -> bool {
        tries.asks_for_websocket && !self.config.h2c
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
        let key = self.key(address);
        let stream = if self.expected_streams(tries) > 0 {
            pool.take_stream(&key, self.has_choice(tries))
        } else {
            None
        };
        let kept = match stream {
            Some(stream) => UpstreamConnection::Http2(Box::new(stream)),
            None => pool.take(&key)?,
        };
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
            // Requests that come together share one new connection.
            let mut opening = pool.opening(self.key(address), self.expected_streams(tries));
            if let Opening::ByAnother(opened) = &opening {
                opened.cancelled().await;
                if let Some(kept) = self.take_kept(address, pool, tries) {
                    return Ok(kept);
                }
                opening = Opening::Alone;
            }
            tries.begin(address);
            let opened = self.open(address, pool, tries).await;
            drop(opening);
            match opened {
                Ok(connection) => return Ok(connection),
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

    /// Opens a connection in the protocol that the upstream speaks; for a WebSocket, in one that
    /// carries it.
    async fn open(
        &self,
        address: SocketAddr,
        pool: &Pool,
        tries: &Tries,
    ) -> Result<UpstreamConnection, UpstreamError> {
        let is_http1 = self.needs_http1(tries);
        match self.open_in(address, pool, is_http1).await? {
            UpstreamConnection::Http2(stream)
                if self.has_choice(tries) && !stream.carries_websockets() =>
            {
                // Other requests use that one.
                drop(stream);
                self.open_in(address, pool, true).await
            }
            opened => Ok(opened),
        }
    }

    /// Opens a connection, in HTTP/1.1 if the upstream has a choice and `http1` says so.
    async fn open_in(
        &self,
        address: SocketAddr,
        pool: &Pool,
        http1: bool,
    ) -> Result<UpstreamConnection, UpstreamError> {
        let (stream, key) = self.open_stream(address, http1).await?;
        let idle = self.config.timeouts.idle;
        if !self.config.h2c && !stream.has_agreed_on_http2() {
            if !http1 {
                self.http2_streams.store(0, Ordering::Relaxed);
            }
            let connection = Http1Connection::over(stream, key, idle);
            return Ok(UpstreamConnection::Http1(connection));
        }
        let begun = self
            .in_time(Http2Connection::begin(stream, key, idle))
            .await;
        let connection = begun?;
        let streams = connection.most_streams().max(1);
        self.http2_streams.store(streams, Ordering::Relaxed);
        self.lacks_websockets
            .store(!connection.carries_websockets(), Ordering::Relaxed);
        let stream = connection.stream();
        pool.share(connection);
        Ok(UpstreamConnection::Http2(Box::new(stream)))
    }

    /// Opens a connection, and verifies the upstream's certificate if it uses TLS.
    async fn open_stream(
        &self,
        address: SocketAddr,
        http1: bool,
    ) -> Result<(UpstreamStream, PoolKey), UpstreamError> {
        let stream = open_plain(&self.template, address).await?;
        let Some(tls) = &self.tls else {
            return Ok((UpstreamStream::Plain(stream), self.key(address)));
        };
        let (stream, settings) = match &self.tunnel {
            None => {
                let (tls, settings) = self.in_time(tls.connect(stream, http1)).await?;
                (UpstreamStream::Tls(Box::new(tls)), settings)
            }
            Some(tunnel) => {
                let way = self.in_time(tunnel.open(stream)).await?;
                let (tls, settings) = self.in_time(tls.connect(way, http1)).await?;
                (UpstreamStream::Tunneled(Box::new(tls)), settings)
            }
        };
        Ok((stream, PoolKey { address, settings }))
    }

    /// Limits a step of connecting.
    async fn in_time<T>(
        &self,
        step: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        let step = tokio::time::timeout(self.config.timeouts.connect, step).await;
        step.unwrap_or_else(|_| {
            let late = Error::new(ErrorType::TLSHandshakeTimedout);
            Err(UpstreamError::Connect(late))
        })
    }

    /// Whether another attempt follows a failed one. Logs the failure.
    fn goes_on(&self, error: &UpstreamError, address: SocketAddr, tries: &mut Tries) -> bool {
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
    /// begun. Returns the TLS alert behind the failure if the error lacks it: an upstream that ends
    /// the connection before it has read the request takes its alert back.
    pub async fn broke_off(
        &self,
        tries: &Tries,
        error: &UpstreamError,
        is_answered: bool,
    ) -> Option<Fault> {
        let address = tries.current?;
        // A probe would ask the proxy instead of the upstream.
        let is_direct = self.config.tls && self.tunnel.is_none();
        let is_lost = error.has_swallowed() && is_direct && !is_answered;
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

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
