//! Parses a complete request head (RFC 9112 §3, §5): the body's framing, and the normal form that
//! Pingora reads.

use http::Version;

use super::host::is_host;
use super::target::Target;
use super::{FIELDS, FIRST_CHUNK, MAX_FIELDS, MAX_TARGET, Part};
use crate::domain::reason::Reason;
use crate::proxy::fault::{Fault, Place};

/// The longest method. The longest registered method has 17 letters.
const MAX_METHOD: usize = 32;

const LINE_END: &str = "a line does not end in CR LF";
const WORDS: &str =
    "the request line is not a method, a target and a version with one space between them";
const NO_VERSION: &str = "the request line has no HTTP version; HTTP/0.9 is not served";
const HTTP_2: &str = "this port does not serve HTTP/2; use HTTP/1.1";
const VERSION: &str = "the version is neither HTTP/1.1 nor HTTP/1.0";
const SMALL_METHOD: &str =
    "the method has small letters; methods are case-sensitive, send GET instead of get";
const METHOD: &str = "the method is not made of up to 32 letters, digits, hyphens and underscores";
const FOLDED: &str = "a header line begins with a space; send a header on one line";
const NO_COLON: &str = "a header line has no colon";
const NAME: &str = "a header name is empty, or contains a space or another invalid character";
const VALUE: &str = "a header value has a control character";
const NO_HOST: &str = "there is no Host header; HTTP/1.1 needs one";
const TWO_HOSTS: &str = "there are two Host headers; send one";
const HOST: &str = "the Host header is not a host name or address with an optional port";
const LENGTH: &str = "Content-Length is not a plain decimal number";
const TWO_LENGTHS: &str = "there are two Content-Length headers; send one";
const CODING: &str = "Transfer-Encoding is not exactly one `chunked`";
const BOTH: &str = "there are both Content-Length and Transfer-Encoding; send one of them";
const CHUNKS_IN_1_0: &str =
    "Transfer-Encoding came with HTTP/1.0, which has none; send Content-Length";

/// The result of parsing a head.
pub(super) struct ParsedHead {
    /// The part of the request that follows.
    pub body: Part,
    /// The normal form of the head, if it differs from the received bytes.
    pub settled: Option<Vec<u8>>,
}

/// Parses a complete head.
///
/// The normal form differs in two ways: target bytes that a URI cannot hold are percent-encoded,
/// and `Host` is the authority of an absolute target (RFC 9112 §3.2.2), whatever the client sent
/// there.
pub(super) fn parse(head: &[u8]) -> Result<ParsedHead, Fault> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let mut begin = 0;
    let mut lines = memchr::memchr_iter(b'\n', head).map(|end| {
        let line = head.get(begin..=end).unwrap_or_default();
        begin = end + 1;
        strip_line_end(line)
    });
    let line = lines
        .next()
        .unwrap_or(Ok(&[]))
        .map_err(|fault| fault.at(Place::Line(1)))?;
    let (method, raw_target, version) =
        request_line(line).map_err(|fault| fault.at(Place::Line(1)))?;
    let target = Target::parse(raw_target).map_err(|fault| fault.of_target(raw_target))?;
    // The normal form is at most three times as long.
    if raw_target.len() > MAX_TARGET / 3 {
        let length = target.written_length();
        if length > MAX_TARGET {
            let rule = format!("the target has {length} bytes, the limit is {MAX_TARGET}");
            return Err(Fault::because(Reason::HeadTooLarge, rule).of_target(raw_target));
        }
    }
    let of_target = |fault: Fault| fault.of_target(raw_target);
    let mut framing = FramingFields {
        is_absolute: target.authority.is_some(),
        ..FramingFields::default()
    };
    for (number, line) in lines.enumerate() {
        let here = |fault: Fault| of_target(fault.at(Place::Line(number + 2)));
        let line = line.map_err(here)?;
        if line.is_empty() {
            break;
        }
        if number == MAX_FIELDS {
            return Err(of_target(Fault::because(Reason::HeadTooLarge, FIELDS)));
        }
        let (name, value) = field(line).map_err(here)?;
        framing.add(name, value).map_err(here)?;
    }
    let body = framing.body(version).map_err(of_target)?;
    let is_settled =
        target.is_normal() && (target.authority.is_none() || framing.host == target.authority);
    let settled = (!is_settled).then(|| settle(head, method, &target, version));
    Ok(ParsedHead { body, settled })
}

/// Writes the normal form of a parsed head.
fn settle(head: &[u8], method: &[u8], target: &Target<'_>, version: Version) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 64);
    out.extend_from_slice(method);
    out.push(b' ');
    target.write(&mut out);
    out.extend_from_slice(if version == Version::HTTP_10 {
        b" HTTP/1.0\r\n"
    } else {
        b" HTTP/1.1\r\n"
    });
    if let Some(authority) = target.authority {
        out.extend_from_slice(b"Host: ");
        out.extend_from_slice(authority);
        out.extend_from_slice(b"\r\n");
    }
    let is_host = |line: &[u8]| {
        line.get(..5)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"host:"))
    };
    for line in head.split_inclusive(|byte| *byte == b'\n').skip(1) {
        if target.authority.is_none() || !is_host(line) {
            out.extend_from_slice(line);
        }
    }
    out
}

pub(super) fn strip_line_end(line: &[u8]) -> Result<&[u8], Fault> {
    line.strip_suffix(b"\r\n")
        .ok_or_else(|| Fault::malformed(LINE_END))
}

/// Splits `method SP request-target SP HTTP-version` (RFC 9112 §3). The target is checked later.
fn request_line(line: &[u8]) -> Result<(&[u8], &[u8], Version), Fault> {
    let malformed = |rule| Err(Fault::malformed(rule));
    let Some(end) = memchr::memchr(b' ', line) else {
        return malformed(WORDS);
    };
    let (method, rest) = (
        line.get(..end).unwrap_or_default(),
        line.get(end + 1..).unwrap_or_default(),
    );
    if method == b"CONNECT" {
        return Err(Reason::Tunnel.into());
    }
    if method == b"PRI" {
        return malformed(HTTP_2);
    }
    // Methods are case-sensitive (RFC 9110 §9.1). An upstream that folds them would read `connect`
    // or `head` differently from us.
    let is_method = method.first().is_some_and(u8::is_ascii_uppercase)
        && method.len() <= MAX_METHOD
        && method
            .iter()
            .all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_'));
    if !is_method {
        let is_word = !method.is_empty()
            && method.len() <= MAX_METHOD
            && method.iter().all(u8::is_ascii_alphabetic);
        return malformed(if is_word { SMALL_METHOD } else { METHOD });
    }
    let Some(end) = memchr::memrchr(b' ', rest) else {
        return if rest.is_empty() || rest.starts_with(b"HTTP/") {
            malformed(WORDS)
        } else {
            Err(Fault::malformed(NO_VERSION).of_target(rest))
        };
    };
    let (target, version) = (
        rest.get(..end).unwrap_or_default(),
        rest.get(end + 1..).unwrap_or_default(),
    );
    let version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        b"" => return malformed(WORDS),
        _ => return Err(Fault::malformed(VERSION).of_target(target)),
    };
    if target.is_empty() || target.starts_with(b" ") || target.ends_with(b" ") {
        return malformed(WORDS);
    }
    Ok((method, target, version))
}

/// `field-name ":" OWS field-value OWS` (RFC 9112 §5): no folding, no space around the name, no
/// control characters.
pub(in crate::proxy) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let malformed = |rule| Err(Fault::malformed(rule));
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return malformed(FOLDED);
    }
    let Some(colon) = memchr::memchr(b':', line) else {
        return malformed(NO_COLON);
    };
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or_default();
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return malformed(NAME);
    }
    // Scans the whole line without an early exit, so that the loop is vectorised.
    if value
        .iter()
        .fold(false, |found, byte| found | is_control(*byte))
    {
        return malformed(VALUE);
    }
    Ok((name, value.trim_ascii()))
}

/// The fields that define the body's framing and the host.
#[derive(Default)]
struct FramingFields<'a> {
    /// An absolute target names the host; `Host` is ignored.
    is_absolute: bool,
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
}

impl<'a> FramingFields<'a> {
    fn add(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Fault> {
        let broken = match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                let repeated = self.host.replace(value).is_some();
                if repeated {
                    Some(TWO_HOSTS)
                } else {
                    (!self.is_absolute && !is_host(value)).then_some(HOST)
                }
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                return if value.eq_ignore_ascii_case(b"100-continue") {
                    Ok(())
                } else {
                    Err(Reason::Expectation.into())
                };
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let repeated = self.length.is_some();
                self.length = length(value);
                if repeated {
                    Some(TWO_LENGTHS)
                } else {
                    self.length.is_none().then_some(LENGTH)
                }
            }
            // Servers disagree about other codings, also before a final `chunked`. No known client
            // sends them.
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let repeated = std::mem::replace(&mut self.chunked, true);
                (repeated || !value.eq_ignore_ascii_case(b"chunked")).then_some(CODING)
            }
            _ => None,
        };
        broken.map_or(Ok(()), |rule| Err(Fault::malformed(rule)))
    }

    fn body(&self, version: Version) -> Result<Part, Fault> {
        // Only HTTP/1.1 requires `Host` (RFC 9112 §3.2).
        if self.host.is_none() && !self.is_absolute && version == Version::HTTP_11 {
            return Err(Fault::malformed(NO_HOST));
        }
        match (self.chunked, self.length) {
            (false, None | Some(0)) => Ok(Part::End),
            (false, Some(length)) => Ok(Part::Counted(length)),
            // RFC 9112 §6.1: both fields together, or chunks in HTTP/1.0, indicate request
            // smuggling.
            (true, Some(_)) => Err(Fault::malformed(BOTH)),
            (true, None) if version == Version::HTTP_11 => Ok(Part::Chunked {
                at: FIRST_CHUNK,
                extras: 0,
            }),
            (true, None) => Err(Fault::malformed(CHUNKS_IN_1_0)),
        }
    }
}

/// `1*DIGIT`: no sign, list, space or leading zero. Some parsers read a leading zero as octal.
fn length(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit) && value.len() <= 18;
    if digits && (value == b"0" || !value.starts_with(b"0")) {
        std::str::from_utf8(value).ok()?.parse().ok()
    } else {
        None
    }
}

/// A control character that is invalid in field values: all but the tab.
pub(super) fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// `tchar` (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
