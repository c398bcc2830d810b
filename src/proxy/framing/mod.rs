//! Finds the boundaries of requests by parsing HTTP/1.1 (RFC 9112) strictly before Pingora does.
//!
//! Request smuggling exploits parsers that disagree. Pingora's parser is lenient: it takes a bare
//! LF as a line end, joins equal `Content-Length`s, prefers `Transfer-Encoding` to
//! `Content-Length`, takes a chunk without a size as the last one, and any octet in a chunk
//! extension. Here every ambiguous request is refused, so that Pingora only receives requests with
//! one interpretation. This parser only vetoes: its result never permits a request. If an
//! unambiguous request is not in normal form, Pingora receives the normal form (see `head`).

mod head;
mod host;
mod target;

pub(super) use self::head::field;
use self::head::{is_control, strip_line_end};
pub(super) use self::host::is_host;
use super::fault::{Fault, Place};
use crate::domain::error_form::{ErrorForm, ErrorForms};
use crate::domain::reason::Reason;

/// Largest request head, in bytes, of a listener that accepts no tokens beyond 8 KiB.
pub const MAX_HEAD: usize = 32 * 1024;
/// Largest target, in bytes: the limit of Pingora's and axum's URI types.
const MAX_TARGET: usize = 65_534;
/// Most header fields of a request. Pingora's parser takes 256 and would report more as malformed.
const MAX_FIELDS: usize = 200;
/// Most bytes of all chunk extensions, and of all trailers, of a body. Both are dropped; clients
/// hardly use them.
const MAX_CHUNK_EXTRAS: usize = 8 * 1024;
/// The longest chunk size, in hexadecimal digits, which cannot overflow 64 bits.
const MAX_SIZE_DIGITS: u8 = 15;

/// The first byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

const TLS: &str =
    "the client sent a TLS handshake to a plain HTTP port; use http:// instead of https://";
const BARE_LF: &str = "a line ends in a bare line feed; end every line with CR LF";
const EMPTY_LINES: &str = "there is more than one empty line before the request line";
const FIELDS: &str = "the head has more than 200 fields";
const CUT_OFF: &str = "the client stopped sending inside the head";
const CHUNK_SIZE: &str = "a chunk does not begin with its size as a hexadecimal number";
const CHUNK_END: &str = "a chunk differs from its announced size, or does not end in CR LF";
const EXTENSION: &str = "a chunk extension has a control character";
const EXTRAS: &str = "chunk extensions or trailers are longer than 8 KiB";

/// The part of a request that the client has not sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// So many bytes of the body; 0 for a complete request.
    Bytes(u64),
    /// An unknown amount: the rest of a chunked body or of a head.
    Unknown,
}

/// Parses the bytes of one connection, request by request.
pub struct Framing {
    max_head: usize,
    part: Part,
    /// The received part of a head or of a trailer line; empty as long as heads arrive in one
    /// piece.
    partial: Vec<u8>,
    /// How many bytes of `partial` have been searched for line ends.
    searched: usize,
    /// How many line ends that part holds.
    lines: usize,
    has_begun_body: bool,
    forms: ErrorForms,
    /// The error form for the head that was read or refused last.
    form: ErrorForm,
}

/// The result of parsing received bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many bytes belong to this request; the rest belongs to the next one.
    pub taken: usize,
    /// How many of those belong to the head.
    pub of_head: usize,
    /// The head that Pingora must read instead of the received bytes, if it arrived in pieces or is
    /// not in normal form.
    pub head: Option<Vec<u8>>,
}

/// The part of the request that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Head,
    /// A body with this many bytes left.
    Counted(u64),
    Chunked {
        at: Chunk,
        extras: usize,
    },
    /// The request is complete; the next byte belongs to another one.
    End,
}

/// The position in a chunked body (RFC 9112 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size { digits: u8, size: u64 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailer,
}

const FIRST_CHUNK: Chunk = Chunk::Size { digits: 0, size: 0 };

impl Default for Framing {
    fn default() -> Self {
        Self::with_heads_up_to(MAX_HEAD)
    }
}

impl Framing {
    /// A parser for a connection whose clients receive errors in these forms, with heads up to
    /// `max_head` bytes.
    #[must_use]
    pub fn new(forms: ErrorForms, max_head: usize) -> Self {
        let form = forms.of_no_request();
        let (partial, searched, lines) = (Vec::new(), 0, 0);
        Self {
            max_head,
            part: Part::Head,
            partial,
            searched,
            lines,
            has_begun_body: false,
            forms,
            form,
        }
    }

    /// A parser for heads up to this size.
    #[must_use]
    pub fn with_heads_up_to(max_head: usize) -> Self {
        Self::new(ErrorForms::default(), max_head)
    }

    /// The request has been answered; the next bytes are another head.
    pub fn next_request(&mut self) {
        *self = Self::new(std::mem::take(&mut self.forms), self.max_head);
    }

    /// The error form for the client of the current or last head.
    #[must_use]
    pub fn error_form(&self) -> ErrorForm {
        let is_inside = self.part == Part::Head && !self.partial.is_empty();
        if is_inside {
            self.forms.of_head(&self.partial)
        } else {
            self.form
        }
    }

    /// Whether the request is complete.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.part == Part::End
    }

    /// Whether the head is incomplete.
    #[must_use]
    pub fn awaits_head(&self) -> bool {
        self.part == Part::Head
    }

    /// How many bytes of an incomplete head are held.
    #[must_use]
    pub fn held(&self) -> usize {
        if self.awaits_head() {
            self.partial.len()
        } else {
            0
        }
    }

    /// Handles the end of input. Returns the fault if it occurs inside a head.
    #[must_use]
    pub fn cut_off(&self) -> Option<Fault> {
        let is_inside = self.part == Part::Head && !self.partial.is_empty();
        is_inside.then(|| Fault::malformed(CUT_OFF))
    }

    /// The part of the request that has not arrived.
    #[must_use]
    pub fn unread(&self) -> Unread {
        match self.part {
            Part::End => Unread::Bytes(0),
            Part::Counted(left) => Unread::Bytes(left),
            Part::Head | Part::Chunked { .. } => Unread::Unknown,
        }
    }

    #[must_use]
    pub fn has_begun_body(&self) -> bool {
        self.has_begun_body
    }

    /// Parses further bytes.
    ///
    /// # Errors
    /// [`Reason::MalformedRequest`], [`Reason::HeadTooLarge`], [`Reason::Expectation`],
    /// [`Reason::Tunnel`] or, for a target with a fragment, [`Reason::AmbiguousPath`]. The
    /// connection must be closed then: the start of the next request is unknown.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        let mut progress = Progress::default();
        while let Some(rest) = bytes.get(progress.taken..).filter(|rest| !rest.is_empty()) {
            self.has_begun_body |= matches!(self.part, Part::Counted(_) | Part::Chunked { .. });
            progress.taken += match self.part {
                Part::Head => {
                    let taken = self.head(rest, &mut progress.head)?;
                    progress.of_head += taken;
                    taken
                }
                Part::Counted(left) => self.counted(left, rest.len()),
                Part::Chunked { at, extras } => self
                    .chunked(at, extras, rest)
                    .map_err(|fault| fault.at(Place::Body))?,
                Part::End => break,
            };
        }
        Ok(progress)
    }

    fn counted(&mut self, left: u64, available: usize) -> usize {
        let taken = usize::try_from(left).map_or(available, |left| left.min(available));
        let left = left - taken as u64;
        self.part = if left == 0 {
            Part::End
        } else {
            Part::Counted(left)
        };
        taken
    }

    fn head(&mut self, bytes: &[u8], ready: &mut Option<Vec<u8>>) -> Result<usize, Fault> {
        let known = self.partial.len();
        if known == 0 {
            self.form = self.forms.of_head(bytes);
        }
        if known == 0 && bytes.first() == Some(&TLS_HANDSHAKE) {
            return Err(Fault::malformed(TLS));
        }
        let whole = if known == 0 {
            end_of_head(bytes, 0, &mut self.lines)?
        } else {
            self.partial.extend_from_slice(bytes);
            end_of_head(&self.partial, self.searched, &mut self.lines)?
        };
        let Some(end) = whole else {
            if known == 0 {
                self.partial.extend_from_slice(bytes);
            }
            self.searched = self.partial.len();
            return if self.partial.len() > self.max_head {
                Err(self.too_large())
            } else {
                Ok(bytes.len())
            };
        };
        let mut partial = std::mem::take(&mut self.partial);
        if known > 0 {
            self.form = self.forms.of_head(&partial);
        }
        let parsed = head::parse(
            if known == 0 { bytes } else { &partial }
                .get(..end)
                .unwrap_or_default(),
        )?;
        self.part = parsed.body;
        *ready = parsed.settled.or_else(|| {
            partial.truncate(end);
            (known > 0).then_some(partial)
        });
        if end.max(ready.as_ref().map_or(0, Vec::len)) > self.max_head {
            return Err(self.too_large());
        }
        Ok(end - known)
    }

    fn too_large(&self) -> Fault {
        let rule = format!(
            "the head has more than {} bytes, the limit of this listener",
            self.max_head
        );
        Fault::because(Reason::HeadTooLarge, rule)
    }

    /// Advances through a chunked body.
    fn chunked(&mut self, at: Chunk, extras: usize, bytes: &[u8]) -> Result<usize, Fault> {
        let Some(&byte) = bytes.first() else {
            return Ok(0);
        };
        let (mut extras, mut taken) = (extras, 1);
        let next = match (at, byte) {
            (Chunk::Data { left }, _) => {
                taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                match left - taken as u64 {
                    0 => Chunk::DataCr,
                    left => Chunk::Data { left },
                }
            }
            (Chunk::DataCr, b'\r') => Chunk::DataLf,
            (Chunk::DataLf, b'\n') => FIRST_CHUNK,
            (Chunk::Size { digits: 1.., size } | Chunk::Extension { size }, b'\r') => {
                Chunk::SizeLf { size }
            }
            (Chunk::Size { digits: 1.., size }, b';') => Chunk::Extension { size },
            (Chunk::Size { digits, size }, _) => match char::from(byte).to_digit(16) {
                Some(digit) if digits < MAX_SIZE_DIGITS => Chunk::Size {
                    digits: digits + 1,
                    size: size << 4 | u64::from(digit),
                },
                _ => return Err(Fault::malformed(CHUNK_SIZE)),
            },
            (Chunk::Extension { .. }, byte) if !is_control(byte) => {
                extras += 1;
                at
            }
            (Chunk::SizeLf { size: 0 }, b'\n') => Chunk::Trailer,
            (Chunk::SizeLf { size }, b'\n') => Chunk::Data { left: size },
            (Chunk::Trailer, byte) => {
                extras += 1;
                self.partial.push(byte);
                if byte == b'\n' {
                    let ended = self.partial == b"\r\n";
                    if !ended {
                        field(strip_line_end(&self.partial)?)?;
                    }
                    self.partial.clear();
                    if ended {
                        self.part = Part::End;
                        return Ok(1);
                    }
                }
                at
            }
            (Chunk::Extension { .. }, _) => return Err(Fault::malformed(EXTENSION)),
            (Chunk::SizeLf { .. }, _) => return Err(Fault::malformed(CHUNK_SIZE)),
            (Chunk::DataCr | Chunk::DataLf, _) => return Err(Fault::malformed(CHUNK_END)),
        };
        if extras > MAX_CHUNK_EXTRAS {
            return Err(Fault::malformed(EXTRAS));
        }
        self.part = Part::Chunked { at: next, extras };
        Ok(taken)
    }
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
