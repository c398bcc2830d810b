//! Why a request to an upstream failed: the fault for its client, and the cause for the log.

use std::io;

use pingora::{Error, ErrorType};

use super::Timeouts;
use super::trouble;
use crate::domain::duration;
use crate::domain::reason::Reason;
use crate::http_client::{alert_in, trust};
use crate::proxy::fault::Fault;
use crate::proxy::http1::chunked::ChunkFault;
use crate::proxy::http1::response::HeadFault;

const UNVERIFIED: &str = "its certificate or name could not be verified";
const NO_HANDSHAKE: &str =
    "its certificate or name could not be verified, or the handshake broke off";
const UPGRADED: &str = "it agrees to an upgrade that was not asked for";
const INTERIM: &str = "it sends interim responses without end";
const TOO_MANY: &str = "it has more than 256 header fields";
const LENGTH: &str = "its Content-Length is no plain number, or there are two that differ";
const CODING: &str = "its Transfer-Encoding names `chunked` twice";
const TOO_LARGE: &str = "its head is larger than 1 MiB";
const HEAD: &str = "its head is not HTTP/1.1";
const UNSENT: &str = "the connection ended while the request was sent";
const CUT_OFF: &str = "the connection ended before the answer was complete";
const BODY: &str = "its body framing is not valid HTTP/1.1";
const TARGET: &str = "the target has a character that cannot be sent";

#[derive(Debug)]
pub enum UpstreamError {
    /// There is no connection.
    Connect(Box<Error>),
    /// The upstream's certificate is not trusted, for this reason.
    Certificate(String),
    /// The upstream ended the connection. `begun`: a part of the response had arrived.
    Closed {
        begun: bool,
    },
    /// Reading failed. `begun`: a part of the response had arrived.
    Read {
        error: io::Error,
        begun: bool,
    },
    Write(io::Error),
    /// The response's head is not valid.
    Head(HeadFault),
    /// The response's body is not validly chunked.
    Body(ChunkFault),
    /// The upstream agrees to an upgrade that was not asked for.
    Upgrade,
    /// Too many interim responses.
    Interim,
    ReadTimeout,
    WriteTimeout,
    /// The request's target cannot be sent.
    Target,
}

impl UpstreamError {
    /// The fault of the request.
    #[must_use]
    pub fn fault(&self) -> Fault {
        let tls = |rule| Fault::because(Reason::UpstreamTls, rule);
        let broken = |rule| Fault::because(Reason::UpstreamBroken, rule);
        if let Some(alert) = self.tls_alert() {
            return tls(alert);
        }
        match self {
            Self::Connect(error) => match error.etype() {
                ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
                    Reason::UpstreamTimeout.into()
                }
                ErrorType::TLSHandshakeFailure | ErrorType::HandshakeError => tls(NO_HANDSHAKE),
                ErrorType::InvalidCert => tls(UNVERIFIED),
                _ => Reason::UpstreamUnreachable.into(),
            },
            Self::Certificate(_) => tls(UNVERIFIED),
            Self::ReadTimeout | Self::WriteTimeout => Reason::UpstreamTimeout.into(),
            Self::Closed { .. } | Self::Read { .. } => broken(CUT_OFF),
            Self::Write(_) => broken(UNSENT),
            Self::Head(fault) => broken(broken_head(*fault)),
            Self::Body(_) => broken(BODY),
            Self::Upgrade => broken(UPGRADED),
            Self::Interim => broken(INTERIM),
            Self::Target => Fault::malformed(TARGET),
        }
    }

    /// The cause and the remedy, for the log.
    #[must_use]
    pub fn why(&self, timeouts: &Timeouts) -> String {
        let within = |time| duration::written(time);
        if let Some(alert) = self.tls_alert() {
            return alert.to_owned();
        }
        match self {
            Self::Connect(error) => trouble::why(error, timeouts),
            Self::Certificate(error) => trust::explain(error),
            Self::ReadTimeout => format!(
                "no next part of its answer within {} (`upstreamTimeouts.read`)",
                within(timeouts.read)
            ),
            Self::WriteTimeout => format!(
                "it took no next part of the request within {} (`upstreamTimeouts.write`)",
                within(timeouts.write)
            ),
            Self::Closed { .. } | Self::Read { .. } | Self::Write(_) => {
                "it closed the connection before its answer was complete".to_owned()
            }
            Self::Head(fault) => no_http(*fault).to_owned(),
            Self::Interim => INTERIM.to_owned(),
            Self::Upgrade => "its answer is not valid HTTP/1.1".to_owned(),
            Self::Body(fault) => format!("{BODY}: {}", fault.rule()),
            Self::Target => TARGET.to_owned(),
        }
    }

    /// The TLS alert by which the upstream ended the connection: in the handshake or, for client
    /// certificates in TLS 1.3, when its response was read. A constant.
    #[must_use]
    pub fn tls_alert(&self) -> Option<&'static str> {
        match self {
            Self::Connect(error) => trouble::tls_alert(error),
            Self::Read { error, .. } | Self::Write(error) => alert_in(&error.to_string()),
            _ => None,
        }
    }

    /// Whether the connection ended without a byte of a response. The request was perhaps not
    /// processed.
    #[must_use]
    pub fn has_swallowed(&self) -> bool {
        match self {
            Self::Closed { begun } | Self::Read { begun, .. } => !begun,
            Self::Write(_) => true,
            _ => false,
        }
    }

    /// Whether the connection ended while the request was sent.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Write(_))
    }
}

fn broken_head(fault: HeadFault) -> &'static str {
    match fault {
        HeadFault::TooManyFields => TOO_MANY,
        HeadFault::Length => LENGTH,
        HeadFault::Coding => CODING,
        HeadFault::TooLarge => TOO_LARGE,
        HeadFault::Tls | HeadFault::Http2 | HeadFault::Malformed => HEAD,
    }
}

fn no_http(fault: HeadFault) -> &'static str {
    match fault {
        HeadFault::Tls => "it answers with TLS, not with HTTP: its URL must begin with `https://`",
        HeadFault::Http2 => "it answers with HTTP/2 instead of HTTP/1.1",
        _ => "its answer is not valid HTTP/1.1",
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
