//! Why a request to an upstream failed: the fault for its client, and the cause for the log.

use std::io;

use pingora::{Error, ErrorType};

use super::Timeouts;
use super::trouble;
use crate::domain::duration;
use crate::domain::reason::Reason;
use crate::http_client::alert_in;
use crate::http_client::tunnel::ProxyFault;
use crate::proxy::fault::Fault;
use crate::proxy::http1::chunked::ChunkFault;
use crate::proxy::http1::response::HeadFault;

const UNVERIFIED: &str = "its certificate or name could not be verified";
const NO_HANDSHAKE: &str =
    "its certificate or name could not be verified, or the handshake broke off";
const UPGRADED: &str = "it agrees to an upgrade that was not asked for";
const NO_WEBSOCKET: &str = "its `Sec-WebSocket-Accept` is not that of a WebSocket server";
const UNSWITCHED: &str = "it answers a WebSocket handshake with success, but opens no WebSocket";
const INTERIM: &str = "it sends interim responses without end";
const TOO_MANY: &str = "it has more than 256 header fields";
const LENGTH: &str = "its Content-Length is no plain number, or there are two that differ";
const CODING: &str = "its Transfer-Encoding names `chunked` twice";
const TOO_LARGE: &str = "its head is larger than 1 MiB";
const HEAD: &str = "its head is not HTTP/1.1";
const NO_TUNNEL: &str = "the egress proxy opens no tunnel";
const UNSENT: &str = "the connection ended while the request was sent";
const CUT_OFF: &str = "the connection ended before the answer was complete";
const BODY: &str = "its body framing is not valid HTTP/1.1";
const NO_HTTP2: &str = "it does not answer in HTTP/2";
const RESET: &str = "it has reset the stream";
const GOAWAY: &str = "it has ended the connection";
const RULES: &str = "its frames are not valid HTTP/2";
const TARGET: &str = "the target has a character that cannot be sent";

#[derive(Debug)]
pub enum UpstreamError {
    /// There is no connection.
    Connect(Box<Error>),
    /// The proxy on the way, without credentials, opens no tunnel.
    Proxy(String, ProxyFault),
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
    /// The connection ended before a byte of the request was written.
    Unsent(io::Error),
    /// The upstream does not speak HTTP/2, by its first bytes.
    NoHttp2(Spoken),
    /// An HTTP/2 stream or its connection ended with this code.
    Http2(EndedBy, h2::Reason, Processed),
    /// The response's head is not valid.
    Head(HeadFault),
    /// The response's body is not validly chunked.
    Body(ChunkFault),
    /// The upstream agrees to an upgrade that was not asked for.
    Upgrade,
    /// The upstream agrees to a WebSocket, but does not prove that it is a WebSocket server.
    WebSocket,
    /// The upstream answers the handshake of a WebSocket with success, but without a switch.
    Unswitched,
    /// Too many interim responses.
    Interim,
    ReadTimeout,
    WriteTimeout,
    /// The request's target cannot be sent.
    Target,
}

/// The protocol of a server that was expected to speak HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    Http1,
    Tls,
    Other,
}

/// The cause of the end of an HTTP/2 stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The upstream has reset the stream (RFC 9113 §6.4).
    Stream,
    /// The upstream has ended the connection (RFC 9113 §6.8).
    Connection,
    /// The upstream has broken the rules of HTTP/2.
    Rules,
}

/// Whether the upstream has processed a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processed {
    Perhaps,
    /// The protocol guarantees it.
    No,
}

impl UpstreamError {
    /// The error of an HTTP/2 stream. `begun`: a part of the response had arrived. `has_not_left`:
    /// the connection has written no byte since the request began.
    #[must_use]
    pub fn of_http2(error: h2::Error, begun: bool, has_not_left: bool) -> Self {
        let by = match (error.is_remote(), error.is_go_away()) {
            (true, true) => EndedBy::Connection,
            (true, false) => EndedBy::Stream,
            (false, _) => EndedBy::Rules,
        };
        let Some(code) = error.reason() else {
            let error = error.into_io();
            let error = error.unwrap_or_else(|| io::ErrorKind::InvalidData.into());
            return if has_not_left && !begun {
                Self::Unsent(error)
            } else {
                Self::Read { error, begun }
            };
        };
        // RFC 9113 §8.7: refused streams, and those beyond the last one of a GOAWAY. Only such
        // streams end by a GOAWAY of the upstream.
        let is_refused = match by {
            EndedBy::Stream => code == h2::Reason::REFUSED_STREAM,
            EndedBy::Connection => true,
            EndedBy::Rules => false,
        };
        let processed = if !begun && (is_refused || has_not_left) {
            Processed::No
        } else {
            Processed::Perhaps
        };
        Self::Http2(by, code, processed)
    }

    /// The error of a connection that begins HTTP/2, with the first bytes of the upstream.
    #[must_use]
    pub fn of_http2_begin(error: h2::Error, first: [u8; 4]) -> Self {
        match &first {
            b"HTTP" => Self::NoHttp2(Spoken::Http1),
            [0x15, 3, ..] => Self::NoHttp2(Spoken::Tls),
            _ if error.is_io() => Self::of_http2(error, false, false),
            _ => Self::NoHttp2(Spoken::Other),
        }
    }

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
            Self::Proxy(..) => Fault::because(Reason::UpstreamUnreachable, NO_TUNNEL),
            Self::ReadTimeout | Self::WriteTimeout => Reason::UpstreamTimeout.into(),
            Self::Closed { .. } | Self::Read { .. } => broken(CUT_OFF),
            Self::Write(_) | Self::Unsent(_) => broken(UNSENT),
            Self::NoHttp2(_) => broken(NO_HTTP2),
            Self::Http2(EndedBy::Stream, ..) => broken(RESET),
            Self::Http2(EndedBy::Connection, ..) => broken(GOAWAY),
            Self::Http2(EndedBy::Rules, ..) => broken(RULES),
            Self::Head(fault) => broken(broken_head(*fault)),
            Self::Body(_) => broken(BODY),
            Self::Upgrade => broken(UPGRADED),
            Self::WebSocket => broken(NO_WEBSOCKET),
            Self::Unswitched => broken(UNSWITCHED),
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
            Self::Proxy(proxy, fault) => format!("the proxy {proxy}: {fault}"),
            Self::ReadTimeout => format!(
                "no next part of its answer within {} (`upstreamTimeouts.read`)",
                within(timeouts.read)
            ),
            Self::WriteTimeout => format!(
                "it took no next part of the request within {} (`upstreamTimeouts.write`)",
                within(timeouts.write)
            ),
            Self::NoHttp2(Spoken::Http1) => {
                "it answers with HTTP/1.1, not with HTTP/2: its URL must begin with `http://`"
                    .to_owned()
            }
            Self::NoHttp2(Spoken::Tls) => {
                "it answers with TLS, not with HTTP/2: its URL must begin with `https://`"
                    .to_owned()
            }
            Self::NoHttp2(Spoken::Other) => "its answer is not valid HTTP/2".to_owned(),
            Self::Http2(EndedBy::Stream, code, _) => format!("{RESET}: {}", named(*code)),
            Self::Http2(EndedBy::Connection, code, _) => format!("{GOAWAY}: {}", named(*code)),
            Self::Http2(EndedBy::Rules, code, _) => format!("{RULES}: {}", named(*code)),
            Self::Closed { .. } | Self::Read { .. } | Self::Write(_) | Self::Unsent(_) => {
                "it closed the connection before its answer was complete".to_owned()
            }
            Self::Head(fault) => no_http(*fault).to_owned(),
            Self::Interim => INTERIM.to_owned(),
            Self::WebSocket => NO_WEBSOCKET.to_owned(),
            Self::Unswitched => UNSWITCHED.to_owned(),
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
            Self::Read { error, .. } | Self::Write(error) | Self::Unsent(error) => {
                alert_in(&error.to_string())
            }
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

    /// Whether the protocol guarantees that the upstream has processed nothing of the request, so
    /// that even one that is not idempotent may be sent again.
    #[must_use]
    pub fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Unsent(_) | Self::Http2(_, _, Processed::No))
    }
}

/// The name of a code (RFC 9113 §7).
fn named(code: h2::Reason) -> &'static str {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    let number = usize::try_from(u32::from(code)).unwrap_or(usize::MAX);
    NAMES.get(number).unwrap_or(&"an unknown code")
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
