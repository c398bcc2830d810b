//! Where one request ends and the next begins: a strict reading of HTTP/1.1 (RFC 9112) before Pingora's own.
//!
//! Request smuggling lives on what two readers read differently. Pingora's parser is lenient where others are: it takes
//! a bare LF for a line end, joins equal `Content-Length`s, lets `Transfer-Encoding` win over `Content-Length`, reads a
//! chunk without a size as the last one, and takes any octet in a chunk extension. Here whatever a second reader could
//! read in another way is refused, so that Pingora only sees requests that have one reading. A refusal is a veto: nothing
//! is ever let through because of what is found here.

use http::Version;

use crate::domain::reason::Reason;

/// The largest request head that is served.
pub const MAX_HEAD: usize = 32 * 1024;
/// The most header fields of a request. Fewer than the 256 of Pingora's parser, which would call it a malformed one.
const MAX_FIELDS: usize = 200;
/// The longest method. The registered ones have at most 17 letters.
const MAX_METHOD: usize = 32;
/// How many bytes all chunk extensions, and all trailers, of a body may have. Nobody uses either; both are dropped.
const MAX_CHUNK_EXTRAS: usize = 8 * 1024;
/// The longest chunk size in hexadecimal digits: cannot overflow 64 bits.
const MAX_SIZE_DIGITS: u8 = 15;

/// The reading of one connection's bytes, request by request.
pub struct Framing {
    part: Part,
    /// The part of a head, or of a trailer line, that has come so far; empty as long as heads come in one piece.
    partial: Vec<u8>,
    /// How much of `partial` holds no line end that was not looked at.
    searched: usize,
    /// How many line ends were found in there.
    lines: usize,
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
        Self { part: Part::Head, partial: Vec::new(), searched: 0, lines: 0 }
    }
}

impl Framing {
    /// The request has been answered: what comes now is the next one's head.
    pub fn next_request(&mut self) {
        *self = Self::default();
    }

    /// Whether a request has come whole.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.part == Part::End
    }

    /// Reads on. Gives how many of these bytes are the request's: the others are the next one's.
    ///
    /// # Errors
    /// [`Reason::MalformedRequest`], [`Reason::HeadTooLarge`], [`Reason::Expectation`] or, for a target with a fragment,
    /// [`Reason::AmbiguousPath`]. The connection is of no use
    /// after that: where the next request begins is not certain.
    pub fn read(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let mut read = 0;
        while let Some(rest) = bytes.get(read..).filter(|rest| !rest.is_empty()) {
            read += match self.part {
                Part::Head => self.head(rest)?,
                Part::Counted(left) => self.counted(left, rest.len()),
                Part::Chunked { at, extras } => self.chunked(at, extras, rest)?,
                Part::End => break,
            };
        }
        Ok(read)
    }

    fn counted(&mut self, left: u64, available: usize) -> usize {
        let taken = usize::try_from(left).map_or(available, |left| left.min(available));
        let left = left - taken as u64;
        self.part = if left == 0 { Part::End } else { Part::Counted(left) };
        taken
    }

    fn head(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let known = self.partial.len();
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
            return if self.partial.len() > MAX_HEAD { Err(Reason::HeadTooLarge) } else { Ok(bytes.len()) };
        };
        if end > MAX_HEAD {
            return Err(Reason::HeadTooLarge);
        }
        let head = if known == 0 { bytes } else { &self.partial };
        self.part = judge_head(head.get(..end).unwrap_or_default())?;
        self.partial = Vec::new();
        Ok(end - known)
    }

    /// One step through a chunked body.
    fn chunked(&mut self, at: Chunk, extras: usize, bytes: &[u8]) -> Result<usize, Reason> {
        let Some(&byte) = bytes.first() else { return Ok(0) };
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
            (Chunk::Size { digits: 1.., size } | Chunk::Extension { size }, b'\r') => Chunk::SizeLf { size },
            (Chunk::Size { digits: 1.., size }, b';') => Chunk::Extension { size },
            (Chunk::Size { digits, size }, _) => match char::from(byte).to_digit(16) {
                Some(digit) if digits < MAX_SIZE_DIGITS => {
                    Chunk::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
                }
                _ => return Err(Reason::MalformedRequest),
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
            _ => return Err(Reason::MalformedRequest),
        };
        if extras > MAX_CHUNK_EXTRAS {
            return Err(Reason::MalformedRequest);
        }
        self.part = Part::Chunked { at: next, extras };
        Ok(taken)
    }
}

/// Where a head ends, if it does: behind its first empty line. One empty line before it is nothing (RFC 9112 §2.2).
///
/// Every line must end in CR LF. A recipient may take a bare LF for a line end (§2.2); one that does and one that does
/// not see two different heads.
fn end_of_head(head: &[u8], from: usize, lines: &mut usize) -> Result<Option<usize>, Reason> {
    let ends = memchr::memchr_iter(b'\n', head.get(from..).unwrap_or_default());
    for at in ends.map(|at| from + at) {
        let line = head.get(..at).unwrap_or_default();
        if !line.ends_with(b"\r") {
            return Err(Reason::MalformedRequest);
        }
        if line.ends_with(b"\r\n\r") {
            // A second empty line before the head.
            return if at == 3 { Err(Reason::MalformedRequest) } else { Ok(Some(at + 1)) };
        }
        *lines += 1;
        // The empty line in front and the request line are no fields.
        if *lines > MAX_FIELDS + 2 {
            return Err(Reason::HeadTooLarge);
        }
    }
    Ok(None)
}

/// Judges a whole head; gives what follows it.
fn judge_head(head: &[u8]) -> Result<Part, Reason> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let mut begin = 0;
    let mut lines = memchr::memchr_iter(b'\n', head).map(|end| {
        let line = head.get(begin..=end).unwrap_or_default();
        begin = end + 1;
        strip_line_end(line)
    });
    let version = request_line(lines.next().unwrap_or(Ok(&[]))?)?;
    let mut framing = FramingFields::default();
    for (number, line) in lines.enumerate() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if number == MAX_FIELDS {
            return Err(Reason::HeadTooLarge);
        }
        let (name, value) = field(line)?;
        framing.add(name, value)?;
    }
    framing.body(version)
}

fn strip_line_end(line: &[u8]) -> Result<&[u8], Reason> {
    line.strip_suffix(b"\r\n").ok_or(Reason::MalformedRequest)
}

/// `method SP request-target SP HTTP-version`, one space each (RFC 9112 §3). What the target says is judged later.
fn request_line(line: &[u8]) -> Result<Version, Reason> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Reason::MalformedRequest);
    };
    // Methods are case-sensitive (RFC 9110 §9.1). Who folds them would take `connect` or `head` for what we do not.
    let is_method = method.first().is_some_and(u8::is_ascii_uppercase)
        && method.len() <= MAX_METHOD
        && method.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_'));
    if method == b"CONNECT" {
        return Err(Reason::Tunnel);
    }
    if !is_method || target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(Reason::MalformedRequest);
    }
    // A fragment is never sent (RFC 9110 §4.2.5): some cut it off, some take it for a part of the path.
    if target.contains(&b'#') {
        return Err(Reason::AmbiguousPath);
    }
    match version {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        _ => Err(Reason::MalformedRequest),
    }
}

/// `field-name ":" OWS field-value OWS` (RFC 9112 §5): no folding, no space around the name, no control characters.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Reason> {
    let colon = memchr::memchr(b':', line).ok_or(Reason::MalformedRequest)?;
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or_default();
    // All of a line is looked at: without a way out the loop is vectorised.
    let controls = value.iter().fold(false, |found, byte| found | is_control(*byte));
    if name.is_empty() || controls || !name.iter().all(|byte| is_token(*byte)) {
        return Err(Reason::MalformedRequest);
    }
    Ok((name, value.trim_ascii()))
}

/// The fields that say where a request ends and whom it is for.
#[derive(Default)]
struct FramingFields {
    hosts: u8,
    length: Option<u64>,
    chunked: bool,
}

impl FramingFields {
    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reason> {
        let valid = match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts = self.hosts.saturating_add(1);
                is_host(value)
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                return if value.eq_ignore_ascii_case(b"100-continue") {
                    Ok(())
                } else {
                    Err(Reason::Expectation)
                };
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let repeated = self.length.is_some();
                self.length = length(value);
                self.length.is_some() && !repeated
            }
            // Other codings, also before a last `chunked`, are read by some and not by others; nobody sends them.
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let repeated = std::mem::replace(&mut self.chunked, true);
                value.eq_ignore_ascii_case(b"chunked") && !repeated
            }
            _ => true,
        };
        if valid { Ok(()) } else { Err(Reason::MalformedRequest) }
    }

    fn body(&self, version: Version) -> Result<Part, Reason> {
        match (self.hosts, self.chunked, self.length) {
            (1, false, None | Some(0)) => Ok(Part::End),
            (1, false, Some(length)) => Ok(Part::Counted(length)),
            // RFC 9112 §6.1: both fields, or chunks in HTTP/1.0, are what an attempt at smuggling looks like.
            (1, true, None) if version == Version::HTTP_11 => {
                Ok(Part::Chunked { at: FIRST_CHUNK, extras: 0 })
            }
            _ => Err(Reason::MalformedRequest),
        }
    }
}

/// `1*DIGIT`. No sign, no list, no space, and no zero in front, which makes another base of it for some.
fn length(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit) && value.len() <= 18;
    if digits && (value == b"0" || !value.starts_with(b"0")) {
        std::str::from_utf8(value).ok()?.parse().ok()
    } else {
        None
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), of the characters that names and addresses have: a comma, a slash or an `@`
/// makes another host of it for somebody.
fn is_host(value: &[u8]) -> bool {
    let (host, rest) = match value.strip_prefix(b"[") {
        Some(rest) => match rest.iter().position(|byte| *byte == b']') {
            Some(end) => (rest.get(..end), rest.get(end + 1..)),
            None => return false,
        },
        None => {
            let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
            (value.get(..end), value.get(end..))
        }
    };
    let is_address = value.first() == Some(&b'[');
    let is_host_byte = |byte: &u8| match byte {
        b':' => is_address,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' => true,
        b'-' | b'_' => !is_address,
        _ => false,
    };
    let host_is_valid = host.is_some_and(|host| !host.is_empty() && host.iter().all(is_host_byte));
    let port_is_valid = match rest {
        Some([]) => true,
        Some([b':', port @ ..]) => (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host_is_valid && port_is_valid
}

/// A control character that no field value has: all but the tab.
fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// `tchar` (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads all bytes as one piece; gives what was left over, or the refusal.
    fn rest_of(bytes: &[u8]) -> Result<(bool, Vec<u8>), Reason> {
        let mut framing = Framing::default();
        let read = framing.read(bytes)?;
        Ok((framing.is_ended(), bytes[read..].to_vec()))
    }

    /// Reads the same bytes in pieces that end at these places.
    fn rest_of_pieces(bytes: &[u8], ends: &[usize]) -> Result<(bool, Vec<u8>), Reason> {
        let mut framing = Framing::default();
        let mut at = 0;
        for end in ends.iter().copied().chain([bytes.len()]) {
            let end = end.clamp(at, bytes.len());
            while at < end && !framing.is_ended() {
                at += framing.read(&bytes[at..end])?;
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
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET", "GET"),
            ("POST / HTTP/1.0\r\nHost: a:80\r\nContent-Length: 0\r\n\r\nx", "x"),
            ("POST / HTTP/1.1\r\nHost: [::1]:8080\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx", "x"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:Chunked \r\n\r\n3;a=\"b\"\r\nabc\r\n00\r\nT: v\r\n\r\nx",
                "x",
            ),
        ] {
            assert_eq!(rest_of(request.as_bytes()), Ok((true, rest.as_bytes().to_vec())), "{request}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_port() {
        for host in ["a", "a.example", "a_b-c.example:8080", "127.0.0.1:1", "[::1]", "[2001:db8::1]:443"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a:", "a:b", "a:123456", "a b", "a,b", "a/b", "u@a", "[::1", "[::1]x", "[]", "::1",
            "a%2e",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
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
