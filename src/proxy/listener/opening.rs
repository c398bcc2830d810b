//! From an accepted socket to a connection that can carry requests.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::accepting::Ends;
use super::{Reported, is_first};
use crate::proxy::access;
use crate::proxy::connection::{Admitted, Clients, Connection, FIRST_BYTE_TIMEOUT, Way, late};
use crate::proxy::fault::Fault;
use crate::proxy::tls::{self, Failure, First, ServerTls, TlsClient, TlsPeer, Turns};
use crate::telemetry::{ClosedConnection, RequestMetrics};

/// An accepted socket with a seat.
pub(super) struct Accepted {
    pub stream: TcpStream,
    pub ends: Ends,
    pub way: Way,
    pub clients: Arc<Clients>,
    pub seat: Admitted,
    /// Cancelled when the listener ends.
    pub ending: CancellationToken,
}

/// The end of a connection before its handshake is complete.
enum NotOpened {
    /// The client has disconnected without a byte, or another connection needs the seat.
    Silently,
    /// No byte arrived in time.
    Silent,
    /// The first byte is one of plain HTTP.
    PlainHttp(Accepted),
    Failed(Failure),
}

impl Accepted {
    /// A connection without TLS.
    pub fn plain(self) -> Connection {
        let Ends {
            peer,
            local,
            process,
        } = self.ends;
        let stream = Box::new(self.stream);
        Connection::new(stream, (peer, local), self.clients, self.seat, self.ending)
            .of_process(process)
            .on(self.way)
    }

    /// A connection over TLS; `None` if the handshake fails, which is counted and logged.
    pub async fn over_tls(
        self,
        tls: &ServerTls,
        turns: &Turns,
        metrics: &RequestMetrics,
        reported: &Reported,
    ) -> Option<Connection> {
        let peer = self.ends.peer;
        let failure = match self.open(tls, turns).await {
            Ok(connection) => {
                metrics.handshake_ended("ok");
                return Some(connection);
            }
            Err(NotOpened::Silently) => return None,
            Err(NotOpened::Silent) => {
                metrics.connection_closed(ClosedConnection::Silent);
                return None;
            }
            Err(NotOpened::PlainHttp(accepted)) => {
                accepted.refuse_plain_http(metrics).await;
                Failure::PLAINTEXT
            }
            Err(NotOpened::Failed(failure)) => failure,
        };
        metrics.handshake_ended(failure.code);
        report(failure, peer, metrics.listener(), reported);
        None
    }

    async fn open(self, tls: &ServerTls, turns: &Turns) -> Result<Connection, NotOpened> {
        let end = Instant::now() + FIRST_BYTE_TIMEOUT;
        let first = tokio::select! {
            first = timeout_at(end, tls::first_byte(&self.stream)) => first,
            () = self.is_unwanted() => return Err(NotOpened::Silently),
        };
        match first {
            Err(_) => return Err(NotOpened::Silent),
            Ok(First::None) => return Err(NotOpened::Silently),
            Ok(First::PlainHttp) => return Err(NotOpened::PlainHttp(self)),
            Ok(First::Tls) => {}
        }
        let Self {
            stream,
            ends,
            way,
            clients,
            seat,
            ending,
        } = self;
        let opened = tokio::select! {
            opened = timeout_at(end, tls::handshake(tls, stream, turns)) => opened,
            () = seat.dismissed() => return Err(NotOpened::Silently),
            () = late(&ending) => return Err(NotOpened::Silently),
        };
        let opened: Result<(TlsClient, TlsPeer), _> = opened
            .unwrap_or(Err(Failure::TIMEOUT))
            .map_err(NotOpened::Failed);
        let (stream, peer) = opened?;
        let connection = Connection::new(
            Box::new(stream),
            (ends.peer, ends.local),
            clients,
            seat,
            ending,
        );
        Ok(connection.of_process(ends.process).on(way).over_tls(peer))
    }

    /// Waits until another connection needs the seat, or the listener ends.
    async fn is_unwanted(&self) {
        tokio::select! {
            () = self.seat.dismissed() => {}
            () = late(&self.ending) => {}
        }
    }

    async fn refuse_plain_http(self, metrics: &RequestMetrics) {
        let fault = Fault::malformed(Failure::PLAINTEXT.text);
        access::refused_head(metrics, self.ends.peer, &fault);
        let mut connection = self.plain();
        connection.write_refusal(&fault);
        connection.close().await;
    }
}

/// Logs a failed handshake; the first one of a listener as a warning.
fn report(failure: Failure, peer: SocketAddr, listener: &str, reported: &Reported) {
    let Failure { code, text } = failure;
    if is_first(&reported.handshake) {
        tracing::warn!(
            listener,
            %peer,
            reason = code,
            "a TLS handshake failed: {text}; `m2m_tls_handshakes_total` counts them, and level \
             debug logs each"
        );
    } else {
        tracing::debug!(listener, %peer, reason = code, "a TLS handshake failed: {text}");
    }
}
