//! Log messages about a failing upstream: at the start, at a change of the cause, and at the end.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pingora::{Error, ErrorType};
use tokio::time::Instant;

use super::Timeouts;
use crate::domain::duration;
use crate::http_client::{alert_in, trust};

/// The shortest interval between repeated messages, so that a dead upstream does not fill the log.
const SAY_AGAIN: Duration = Duration::from_mins(1);
/// The number of addresses that are tracked separately.
const MOST: usize = 16;
/// Longest foreign text in a message, in bytes.
const SHOWN: usize = 200;

/// The last messages about an upstream.
#[derive(Default)]
pub(super) struct Trouble {
    /// One entry per failing address, at most [`MOST`].
    said: Mutex<Vec<Said>>,
    /// Whether the recovery is still to be logged.
    is_open: AtomicBool,
    /// When the demand for a client certificate was last determined, and the alert.
    demand: Mutex<Option<(Instant, Option<&'static str>)>>,
}

struct Said {
    address: SocketAddr,
    why: String,
    at: Instant,
    /// The failures since that message.
    since: u64,
}

impl Trouble {
    /// Records a failed request or connection.
    pub fn begin(&self, upstream: &dyn Display, address: SocketAddr, why: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let last = said.iter().position(|said| said.address == address);
        let mut failures = 1;
        if let Some(last) = last
            .and_then(|at| said.get_mut(at))
            .filter(|last| last.why == why)
        {
            last.since += 1;
            if last.at.elapsed() < SAY_AGAIN {
                return;
            }
            failures = last.since;
        }
        // A Unix socket has none.
        let shown = (address.port() != 0).then(|| tracing::field::display(address));
        tracing::warn!(%upstream, address = shown, error = why, failures, "the upstream does not \
            serve");
        said.retain(|said| said.address != address);
        if said.len() == MOST {
            said.remove(0);
        }
        said.push(Said {
            address,
            why,
            at: Instant::now(),
            since: 0,
        });
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// The alert as last determined. `None`: it is unknown or outdated, and the caller must
    /// determine it now.
    #[expect(
        clippy::option_option,
        reason = "an unknown alert differs from a known absence"
    )]
    pub fn demand(&self) -> Option<Option<&'static str>> {
        let mut demand = self.demand.lock().unwrap_or_else(PoisonError::into_inner);
        match *demand {
            Some((at, alert)) if at.elapsed() < SAY_AGAIN => Some(alert),
            _ => {
                // Other callers do not query meanwhile.
                *demand = Some((Instant::now(), None));
                None
            }
        }
    }

    /// Records the alert.
    pub fn note_demand(&self, alert: Option<&'static str>) {
        *self.demand.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), alert));
    }

    /// Records a response.
    pub fn end(&self, upstream: &dyn Display) {
        if self.is_open.load(Ordering::Relaxed) && self.is_open.swap(false, Ordering::Relaxed) {
            *self.demand.lock().unwrap_or_else(PoisonError::into_inner) = None;
            tracing::info!(%upstream, "the upstream serves again");
        }
    }
}

/// The TLS alert by which an upstream ended a connection: in the handshake or, for client
/// certificates in TLS 1.3, when its response was read. A constant.
#[must_use]
pub fn tls_alert(error: &Error) -> Option<&'static str> {
    // Texts of other errors contain bytes from the upstream, which could say anything.
    let is_of_the_connection = matches!(
        error.etype(),
        ErrorType::TLSHandshakeFailure
            | ErrorType::HandshakeError
            | ErrorType::ReadError
            | ErrorType::WriteError
    );
    is_of_the_connection
        .then(|| alert_in(&error.to_string()))
        .flatten()
}

/// Why a connection or a request to an upstream failed, and the remedy.
pub(super) fn why(error: &Error, timeouts: &Timeouts) -> String {
    let within = |time| duration::written(time);
    if let Some(alert) = tls_alert(error) {
        return alert.to_owned();
    }
    match error.etype() {
        ErrorType::ConnectRefused => "nothing listens there: the connection was refused".to_owned(),
        ErrorType::ConnectNoRoute => "there is no route to it".to_owned(),
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
            format!(
                "no connection within {} (`upstreamTimeouts.connect`)",
                within(timeouts.connect)
            )
        }
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => {
            trust::explain(&error.to_string())
        }
        ErrorType::ReadTimedout => {
            format!(
                "no next part of its answer within {} (`upstreamTimeouts.read`)",
                within(timeouts.read)
            )
        }
        ErrorType::WriteTimedout => {
            format!(
                "it took no next part of the request within {} (`upstreamTimeouts.write`)",
                within(timeouts.write)
            )
        }
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => {
            "it closed the connection before its answer was complete".to_owned()
        }
        ErrorType::InvalidHTTPHeader | ErrorType::H1Error => no_http(&error.to_string()).to_owned(),
        other => {
            let text: String = error.to_string().chars().take(SHOWN).collect();
            format!("{}: {}", other.as_str(), text.escape_debug())
        }
    }
}

/// Identifies a response that is not HTTP/1.1 by its first bytes, which Pingora shows escaped.
fn no_http(text: &str) -> &'static str {
    if text.contains(r"buf: \x15\x03") {
        "it answers with TLS, not with HTTP: its URL must begin with `https://`"
    } else if text.contains(r"buf: \x00\x00") {
        "it answers with HTTP/2 instead of HTTP/1.1"
    } else {
        "its answer is not valid HTTP/1.1"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_words() {
        let second = Duration::from_secs(1);
        let timeouts = Timeouts {
            connect: second,
            read: second * 60,
            write: second,
            idle: second,
        };
        let why = |kind: ErrorType, text: &'static str| why(&Error::explain(kind, text), &timeouts);
        assert!(why(ErrorType::ConnectRefused, "").contains("refused"));
        assert!(why(ErrorType::ConnectTimedout, "").contains("within 1s"));
        assert!(why(ErrorType::ReadTimedout, "").contains("within 1m"));
        assert!(
            why(ErrorType::InvalidHTTPHeader, r"buf: \x15\x03\x03\x00\x02").contains("https://")
        );
        assert!(why(ErrorType::InvalidHTTPHeader, r"buf: \x00\x00\x12\x04").contains("HTTP/2"));
        assert!(why(ErrorType::InvalidHTTPHeader, "buf: SSH-2.0").contains("not valid HTTP/1.1"));
        let tls = "tls connect error cause: invalid peer certificate: UnknownIssuer";
        assert!(why(ErrorType::TLSHandshakeFailure, tls).contains("caFile"));
        assert!(why(ErrorType::ReadError, "").contains("before its answer was complete"));
    }

    #[test]
    fn an_alert_counts_wherever_it_is_read_and_never_in_an_answers_bytes() {
        const ALERT: &str = "received fatal alert: CertificateRequired";
        let read = |kind: ErrorType, text: &'static str| tls_alert(&Error::explain(kind, text));
        for kind in [
            ErrorType::TLSHandshakeFailure,
            ErrorType::ReadError,
            ErrorType::WriteError,
        ] {
            assert!(
                read(kind.clone(), ALERT).is_some_and(|it| it.contains("certificate required")),
                "{kind:?}"
            );
            assert_eq!(read(kind, "broken pipe"), None);
        }
        let cause = std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            rustls::Error::AlertReceived(rustls::AlertDescription::AccessDenied),
        );
        let error = Error::because(ErrorType::ReadError, "bytes already read: 0", cause);
        assert!(tls_alert(&error).is_some_and(|it| it.contains("access denied")));
        assert_eq!(
            read(
                ErrorType::InvalidHTTPHeader,
                "buf: received fatal alert: AccessDenied"
            ),
            None
        );
    }
}
