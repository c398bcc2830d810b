//! Where one request ends and the next begins: a strict reading of HTTP/1.1 (RFC 9112) before
//! Pingora's own.
//!
//! Request smuggling lives on what two readers read differently. Pingora's parser is lenient where
//! others are: it takes a bare LF for a line end, joins equal `Content-Length`s, lets
//! `Transfer-Encoding` win over `Content-Length`, reads a chunk without a size as the last one, and
//! takes any octet in a chunk extension. Here whatever a second reader could read in another way is
//! refused, so that Pingora only sees requests that have one reading. A refusal is a veto: nothing
//! is ever let through because of what is found here. Where a request has one reading but not its
//! normal form, Pingora gets the normal form: see `head`.

mod head;
mod target;

pub(super) use self::head::is_host;
use self::head::{field, is_control, strip_line_end};
use super::fault::{Fault, Place};
use crate::domain::error_form::{ErrorForm, ErrorForms};
use crate::domain::reason::Reason;

/// The largest request head of a listener whose requests carry no tokens beyond 8 KiB, in bytes.
pub const MAX_HEAD: usize = 32 * 1024;
/// The largest target: that of Pingora's and axum's URIs, in bytes.
const MAX_TARGET: usize = 65_534;
/// The most header fields of a request. Fewer than the 256 of Pingora's parser, which would call it
/// a malformed one.
const MAX_FIELDS: usize = 200;
/// How many bytes all chunk extensions, and all trailers, of a body may have. Nobody uses either;
/// both are dropped.
const MAX_CHUNK_EXTRAS: usize = 8 * 1024;
/// The longest chunk size in hexadecimal digits: cannot overflow 64 bits.
const MAX_SIZE_DIGITS: u8 = 15;

/// The first byte of a TLS record that carries a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

const TLS: &str =
    "a TLS handshake came to a port that speaks plain HTTP; use http:// instead of https://";
const BARE_LF: &str = "a line ends in a bare line feed; end every line with CR LF";
const EMPTY_LINES: &str = "empty lines stand before the request line";
const FIELDS: &str = "the head has more than 200 fields";
const CUT_OFF: &str = "the client stopped sending inside the head";
const CHUNK_SIZE: &str = "a chunk does not begin with its size as a hexadecimal number";
const CHUNK_END: &str = "a chunk is not as long as it says, or does not end in CR LF";
const EXTENSION: &str = "a chunk extension has a control character";
const EXTRAS: &str = "chunk extensions or trailers are longer than 8 KiB";

/// What a client has not sent yet of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// So many bytes of the body; 0 when the request came whole.
    Bytes(u64),
    /// The rest of a chunked body, or of a head: it does not say how much.
    Unknown,
}

/// The reading of one connection's bytes, request by request.
pub struct Framing {
    /// The largest head, in bytes.
    max_head: usize,
    part: Part,
    /// The part of a head, or of a trailer line, that has come so far; empty as long as heads come
    /// in one piece.
    partial: Vec<u8>,
    /// How much of `partial` holds no line end that was not looked at.
    searched: usize,
    /// How many line ends were found in there.
    lines: usize,
    /// Whether a byte of the body was read.
    has_begun_body: bool,
    forms: ErrorForms,
    /// The form of errors of the head that was read or refused last.
    form: ErrorForm,
}

/// What became of bytes that were read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many of them are the request's: the others are the next one's.
    pub taken: usize,
    /// How many of those belong to the head.
    pub of_head: usize,
    /// The head, where Pingora must read it from here: it came in several pieces, or in another
    /// form than its normal one.
    pub head: Option<Vec<u8>>,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Head,
    /// A body of which so many bytes are to come.
    Counted(u64),
    Chunked {
        at: Chunk,
        extras: usize,
    },
    /// The next request: this one has come whole.
    End,
}

/// Where in a chunked body (RFC 9112 §7.1) the next byte stands.
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
    /// The reading of a connection whose client gets errors in these forms, with heads of up to so
    /// many bytes.
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

    /// A reading that takes heads of so many bytes.
    #[must_use]
    pub fn with_heads_up_to(max_head: usize) -> Self {
        Self::new(ErrorForms::default(), max_head)
    }

    /// The request has been answered: what comes now is the next one's head.
    pub fn next_request(&mut self) {
        *self = Self::new(std::mem::take(&mut self.forms), self.max_head);
    }

    /// The form in which the client of the head that is being read, or was read last, gets an
    /// error.
    #[must_use]
    pub fn error_form(&self) -> ErrorForm {
        let is_inside = self.part == Part::Head && !self.partial.is_empty();
        if is_inside {
            self.forms.of_head(&self.partial)
        } else {
            self.form
        }
    }

    /// Whether a request has come whole.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.part == Part::End
    }

    /// Whether the request's head has not come whole.
    #[must_use]
    pub fn awaits_head(&self) -> bool {
        self.part == Part::Head
    }

    /// How much of a head is held that has not come whole, in bytes.
    #[must_use]
    pub fn held(&self) -> usize {
        if self.awaits_head() {
            self.partial.len()
        } else {
            0
        }
    }

    /// The client sends no more. Gives what is wrong when that is inside a head.
    #[must_use]
    pub fn cut_off(&self) -> Option<Fault> {
        let is_inside = self.part == Part::Head && !self.partial.is_empty();
        is_inside.then(|| Fault::malformed(CUT_OFF))
    }

    /// What has not come yet of a request.
    #[must_use]
    pub fn unread(&self) -> Unread {
        match self.part {
            Part::End => Unread::Bytes(0),
            Part::Counted(left) => Unread::Bytes(left),
            Part::Head | Part::Chunked { .. } => Unread::Unknown,
        }
    }

    /// Whether a byte of the request's body has come.
    #[must_use]
    pub fn has_begun_body(&self) -> bool {
        self.has_begun_body
    }

    /// Reads on.
    ///
    /// # Errors
    /// [`Reason::MalformedRequest`], [`Reason::HeadTooLarge`], [`Reason::Expectation`],
    /// [`Reason::Tunnel`] or, for a target with a fragment, [`Reason::AmbiguousPath`]. The
    /// connection is of no use after that: where the next request begins is not certain.
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
        let judged = head::judge(
            if known == 0 { bytes } else { &partial }
                .get(..end)
                .unwrap_or_default(),
        )?;
        self.part = judged.body;
        *ready = judged.settled.or_else(|| {
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

    /// One step through a chunked body.
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

/// Where a head ends, if it does: behind its first empty line. One empty line before it is nothing
/// (RFC 9112 §2.2).
///
/// Every line must end in CR LF. A recipient may take a bare LF for a line end (§2.2); one that
/// does and one that does not see two different heads.
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
        // The empty line in front and the request line are no fields.
        if *lines > MAX_FIELDS + 2 {
            return Err(Fault::because(Reason::HeadTooLarge, FIELDS));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads all bytes as one piece; gives what was left over, or the refusal.
    fn rest_of(bytes: &[u8]) -> Result<(bool, Vec<u8>), Fault> {
        let mut framing = Framing::default();
        let read = framing.read(bytes)?;
        Ok((framing.is_ended(), bytes[read.taken..].to_vec()))
    }

    /// Reads the same bytes in pieces that end at these places.
    fn rest_of_pieces(bytes: &[u8], ends: &[usize]) -> Result<(bool, Vec<u8>), Fault> {
        let mut framing = Framing::default();
        let mut at = 0;
        for end in ends.iter().copied().chain([bytes.len()]) {
            let end = end.clamp(at, bytes.len());
            while at < end && !framing.is_ended() {
                at += framing.read(&bytes[at..end])?.taken;
            }
        }
        Ok((framing.is_ended(), bytes[at..].to_vec()))
    }

    #[test]
    fn a_request_ends_where_its_framing_says() {
        for (request, rest) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2", "GET /2"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET",
                "GET",
            ),
            (
                "POST / HTTP/1.0\r\nHost: a:80\r\nContent-Length: 0\r\n\r\nx",
                "x",
            ),
            (
                "POST / HTTP/1.1\r\nHost: [::1]:8080\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx",
                "x",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:Chunked \r\n\r\n3;a=\"b\"\r\nabc\r\n00\r\nT: v\r\n\r\nx",
                "x",
            ),
        ] {
            assert_eq!(
                rest_of(request.as_bytes()),
                Ok((true, rest.as_bytes().to_vec())),
                "{request}"
            );
        }
    }

    #[test]
    fn a_tls_handshake_is_recognised_by_its_first_byte() {
        assert_eq!(rest_of(b"\x16\x03\x01\x02\x00"), Err(Fault::malformed(TLS)));
    }

    #[test]
    fn a_head_that_grows_too_large_in_its_normal_form_is_too_large() {
        let head = format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "\"".repeat(MAX_HEAD / 2)
        );
        assert_eq!(
            rest_of(head.as_bytes()).unwrap_err().reason,
            Reason::HeadTooLarge
        );
    }

    #[test]
    fn each_reading_has_a_limit_of_its_own_also_for_its_next_request() {
        let mut framing = Framing::with_heads_up_to(100);
        let head = |length: usize| {
            format!(
                "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
                "x".repeat(length - 27)
            )
        };
        for _ in 0..2 {
            assert_eq!(
                framing.read(head(100).as_bytes()).map(|read| read.taken),
                Ok(100)
            );
            framing.next_request();
        }
        let fault = framing.read(head(101).as_bytes()).unwrap_err();
        assert_eq!(fault.reason, Reason::HeadTooLarge);
        assert_eq!(
            fault.detail().as_deref(),
            Some("the head has more than 100 bytes, the limit of this listener")
        );
        // And when it comes in pieces, as soon as it is known.
        let mut framing = Framing::with_heads_up_to(100);
        assert!(framing.read(&head(200).as_bytes()[..100]).is_ok());
        assert_eq!(framing.held(), 100);
        assert_eq!(framing.read(b"x").unwrap_err().reason, Reason::HeadTooLarge);
    }

    #[test]
    fn a_target_that_is_no_uri_for_its_length_is_too_large() {
        let read = |length: usize| {
            let head = format!(
                "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
                "x".repeat(length - 1)
            );
            Framing::with_heads_up_to(100_000)
                .read(head.as_bytes())
                .map(|_| ())
                .map_err(|fault| fault.reason)
        };
        assert_eq!(read(MAX_TARGET), Ok(()));
        assert_eq!(read(MAX_TARGET + 1), Err(Reason::HeadTooLarge));
        assert!(
            http::uri::PathAndQuery::try_from(format!("/{}", "x".repeat(MAX_TARGET - 1))).is_ok()
        );
    }

    proptest! {
        /// Nobody reads a request in another way because it came in other packets.
        #[test]
        fn pieces_do_not_matter(
            bytes in "(GET|POST) /x HTTP/1.1\r\nHost: a\r\n(Content-Length: [0-9]\r\n|Transfer-Encoding: chunked\r\n|X: [ -~]{0,5}\r?\n){0,3}\r\n([0-4](;[a-z]{0,3})?\r\n[a-z]{0,4}\r\n|0\r\n(T: v\r\n)?\r\n|[a-z0-9\r\n;]{0,8}){0,4}",
            ends in proptest::collection::vec(0_usize..200, 0..6),
        ) {
            let mut ends = ends;
            ends.sort_unstable();
            prop_assert_eq!(rest_of(bytes.as_bytes()), rest_of_pieces(bytes.as_bytes(), &ends));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = rest_of(&bytes);
        }
    }
}
