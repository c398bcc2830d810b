//! Reads requests: HTTP/1.1 and HTTP/1.0 (RFC 9112), strictly.
//!
//! Request smuggling exploits parsers that disagree. So every request that two parsers could read
//! in two ways is refused: a bare LF as a line end, repeated lengths, a length beside chunks, a
//! chunk without a size. No other parser reads a request after this one. A head becomes a
//! [`RequestHeader`] in normal form (see `head`), and its values are slices of the received bytes.

mod body;
mod head;
mod host;
mod target;

use bytes::{Bytes, BytesMut};
use pingora::http::RequestHeader;

pub use self::body::{BodyReader, Unread};
pub(super) use self::head::{check_method, field, is_token, length, normal_target};
pub(super) use self::host::is_host;
use super::fault::{Fault, Place};
use crate::domain::error_form::{ErrorForm, ErrorForms};
use crate::domain::reason::Reason;

/// Largest request head, in bytes, of a listener that accepts no tokens beyond 8 KiB.
pub const MAX_HEAD: usize = 32 * 1024;
/// Largest target, in bytes: the limit of the URI type.
const MAX_TARGET: usize = 65_534;
/// Most header fields of a request.
const MAX_FIELDS: usize = 200;

/// The beginning of HTTP/2 as an HTTP/1.1 parser reads it (RFC 9113 §3.4).
pub const HTTP_2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// The first byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

const TLS: &str =
    "the client sent a TLS handshake to a plain HTTP port; use http:// instead of https://";
const BARE_LF: &str = "a line ends in a bare line feed; end every line with CR LF";
const EMPTY_LINES: &str = "there is more than one empty line before the request line";
const FIELDS: &str = "the head has more than 200 fields";
const CUT_OFF: &str = "the client stopped sending inside the head";

/// A complete head.
pub struct Head {
    /// The request in normal form.
    pub request: RequestHeader,
    /// The received bytes.
    pub raw: Bytes,
    /// Reads what follows.
    pub body: BodyReader,
}

/// Reads the heads of one connection.
pub struct HeadReader {
    max_head: usize,
    /// How many received bytes of an incomplete head have been searched for line ends.
    searched: usize,
    /// How many line ends they hold.
    lines: usize,
    forms: ErrorForms,
    /// Whether CONNECT is read.
    tunnels: bool,
    /// The reason against TLS here, if it is another one than that the port has no TLS.
    no_tls: Option<String>,
    /// The error form for the head that was read or refused last.
    form: ErrorForm,
}

impl HeadReader {
    /// Reads heads up to `max_head` bytes. Clients receive errors in these forms.
    #[must_use]
    pub fn new(forms: ErrorForms, max_head: usize) -> Self {
        Self {
            max_head,
            searched: 0,
            lines: 0,
            form: forms.of_no_request(),
            forms,
            tunnels: false,
            no_tls: None,
        }
    }

    /// Reads CONNECT too (RFC 9110 §9.3.6). Its target is the `Host` of a request for `/`.
    pub fn permit_tunnels(&mut self, permit: bool) {
        self.tunnels = permit;
    }

    /// Refuses the beginning of TLS for this reason from now on.
    pub fn refuse_tls(&mut self, why: String) {
        self.no_tls = Some(why);
    }

    /// The error form for the client of the current or last head.
    #[must_use]
    pub fn error_form(&self) -> ErrorForm {
        self.form
    }

    /// Whether a part of a head has been read.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.searched > 0
    }

    /// How many bytes of an incomplete head are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.searched
    }

    /// The fault when the input ends here; `None` between two heads.
    #[must_use]
    pub fn cut_off(&self) -> Option<Fault> {
        self.is_inside().then(|| Fault::malformed(CUT_OFF))
    }

    /// Takes a head from the front of the received bytes; `None` if it is incomplete.
    ///
    /// # Errors
    /// [`Reason::MalformedRequest`], [`Reason::HeadTooLarge`], [`Reason::Expectation`],
    /// [`Reason::Tunnel`], [`Reason::Encrypted`] or, for a target with a fragment,
    /// [`Reason::AmbiguousPath`]. The connection must be closed then: the start of the next request
    /// is unknown.
    pub fn read(&mut self, received: &mut BytesMut) -> Result<Option<Head>, Fault> {
        if received.len() == self.searched {
            return Ok(None);
        }
        self.form = self.forms.of_head(received);
        if received.first() == Some(&TLS_HANDSHAKE) {
            return Err(match &self.no_tls {
                Some(why) => Fault::because(Reason::Encrypted, why.clone()),
                None => Fault::malformed(TLS),
            });
        }
        let Some(end) = end_of_head(received, self.searched, &mut self.lines)? else {
            self.searched = received.len();
            return if self.searched > self.max_head {
                Err(self.too_large())
            } else {
                Ok(None)
            };
        };
        let fields = self.lines.saturating_sub(1);
        (self.searched, self.lines) = (0, 0);
        if end > self.max_head {
            return Err(self.too_large());
        }
        let raw = received.split_to(end).freeze();
        let head = head::parse(&raw, fields, self.tunnels)?;
        if head.length > self.max_head {
            return Err(self.too_large());
        }
        Ok(Some(Head {
            request: head.request,
            body: head.body,
            raw,
        }))
    }

    fn too_large(&self) -> Fault {
        let rule = format!(
            "the head has more than {} bytes, the limit of this listener",
            self.max_head
        );
        Fault::because(Reason::HeadTooLarge, rule)
    }
}

/// Parses a head again that has been parsed before.
#[must_use]
pub fn parse_again(raw: &Bytes) -> Option<RequestHeader> {
    head::parse(raw, 0, true).ok().map(|head| head.request)
}

/// Finds the end of a head: its first empty line. One empty line before the head is skipped (RFC
/// 9112 §2.2).
///
/// Every line must end in CR LF. A recipient may accept a bare LF (§2.2), and two recipients that
/// differ in this parse two different heads.
fn end_of_head(head: &[u8], from: usize, lines: &mut usize) -> Result<Option<usize>, Fault> {
    let ends = memchr::memchr_iter(b'\n', head.get(from..).unwrap_or_default());
    for at in ends.map(|at| from + at) {
        let line = head.get(..at).unwrap_or_default();
        if !line.ends_with(b"\r") {
            return Err(Fault::malformed(BARE_LF).at(Place::Line(*lines + 1)));
        }
        if line.ends_with(b"\r\n\r") {
            // A second empty line before the head.
            return if at == 3 {
                Err(Fault::malformed(EMPTY_LINES))
            } else {
                Ok(Some(at + 1))
            };
        }
        *lines += 1;
        // The leading empty line and the request line are not fields.
        if *lines > MAX_FIELDS + 2 {
            return Err(Fault::because(Reason::HeadTooLarge, FIELDS));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
