//! Parses a complete request head (RFC 9112 §3, §5) into its normal form, and the body's framing.

use bytes::Bytes;
use http::{HeaderValue, Version, header};
use pingora::http::RequestHeader;

use super::body::BodyReader;
use super::host::is_host;
use super::target::Target;
use super::{FIELDS, MAX_FIELDS, MAX_TARGET};
use crate::domain::reason::Reason;
use crate::proxy::fault::{Fault, Place};

/// The longest method. The longest registered method has 17 letters.
const MAX_METHOD: usize = 32;

const CONNECT: &[u8] = b"CONNECT";

const CONNECT_BODY: &str = "a CONNECT request has a body; it must have none";
const LINE_END: &str = "a line does not end in CR LF";
const WORDS: &str =
    "the request line is not a method, a target and a version with one space between them";
const NO_VERSION: &str = "the request line has no HTTP version; HTTP/0.9 is not served";
const HTTP_2: &str = "HTTP/2 begins with its connection, not after another request";
const OTHER_PROTOCOL: &str = "the first line names another protocol than HTTP";
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
const UNUSABLE: &str = "the head holds more than a proxy can forward";
const CHUNKS_IN_1_0: &str =
    "Transfer-Encoding came with HTTP/1.0, which has none; send Content-Length";

/// A parsed head.
pub(super) struct ParsedHead {
    /// The normal form.
    pub request: RequestHeader,
    /// Reads the body.
    pub body: BodyReader,
    /// The length of the normal form, in bytes.
    pub length: usize,
}

/// Parses a complete head with about `fields` fields.
///
/// The normal form differs in two ways: target bytes that a URI cannot hold are percent-encoded,
/// and `Host` is the authority of an absolute target (RFC 9112 §3.2.2), whatever the client sent
/// there.
///
/// CONNECT is refused unless `tunnels`. Its normal form is a request for `/`, whose `Host` is the
/// target.
pub(super) fn parse(raw: &Bytes, fields: usize, tunnels: bool) -> Result<ParsedHead, Fault> {
    let head = raw.strip_prefix(b"\r\n").unwrap_or(raw);
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
        request_line(line, tunnels).map_err(|fault| fault.at(Place::Line(1)))?;
    let is_connect = method == CONNECT;
    let target = if is_connect {
        Target::of_connect(raw_target)
    } else {
        Target::parse(raw_target)
    };
    let target = target.map_err(|fault| fault.of_target(raw_target))?;
    let (is_normal, written) = written_form(&target)?;
    let length = head.len() - raw_target.len() + written;
    let of_target = |fault: Fault| fault.of_target(raw_target);
    let unusable = |_| of_target(Fault::malformed(UNUSABLE));
    let mut request = if is_normal {
        RequestHeader::build(method, raw_target, Some(fields))
    } else {
        RequestHeader::build(method, &target.written(), Some(fields))
    }
    .map_err(unusable)?;
    request.set_version(version);
    let mut framing = FramingFields {
        authority: target.authority,
        ..FramingFields::default()
    };
    if let Some(authority) = target.authority {
        let host = HeaderValue::from_maybe_shared(raw.slice_ref(authority));
        let host = host.map_err(|_| of_target(Fault::malformed(HOST)))?;
        request
            .append_header(header::HOST, host)
            .map_err(unusable)?;
    }
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
        if framing.add(name, value).map_err(here)? == Use::Kept {
            append(&mut request, raw, name, value)
                .map_err(|()| here(Fault::malformed(UNUSABLE)))?;
        }
    }
    let body = framing.body(version).map_err(of_target)?;
    if is_connect && !body.is_ended() {
        return Err(of_target(Fault::malformed(CONNECT_BODY)));
    }
    Ok(ParsedHead {
        request,
        body,
        length,
    })
}

/// Adds a field, whose name and value stay slices of the received bytes.
fn append(request: &mut RequestHeader, raw: &Bytes, name: &[u8], value: &[u8]) -> Result<(), ()> {
    let value = HeaderValue::from_maybe_shared(raw.slice_ref(value)).map_err(drop)?;
    request
        .append_header(raw.slice_ref(name), value)
        .map(drop)
        .map_err(drop)
}

pub(super) fn strip_line_end(line: &[u8]) -> Result<&[u8], Fault> {
    line.strip_suffix(b"\r\n")
        .ok_or_else(|| Fault::malformed(LINE_END))
}

/// Splits `method SP request-target SP HTTP-version` (RFC 9112 §3). The target is checked later.
fn request_line(line: &[u8], tunnels: bool) -> Result<(&[u8], &[u8], Version), Fault> {
    let malformed = |rule| Err(Fault::malformed(rule));
    let Some(end) = memchr::memchr(b' ', line) else {
        return malformed(WORDS);
    };
    let (method, rest) = (
        line.get(..end).unwrap_or_default(),
        line.get(end + 1..).unwrap_or_default(),
    );
    if method == CONNECT && !tunnels {
        return Err(Reason::Tunnel.into());
    }
    if method == b"PRI" {
        return malformed(HTTP_2);
    }
    check_method(method)?;
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
        _ if !is_http(version) => return Err(Fault::of_another_protocol(OTHER_PROTOCOL)),
        _ => return Err(Fault::malformed(VERSION).of_target(target)),
    };
    if target.is_empty() || target.starts_with(b" ") || target.ends_with(b" ") {
        return malformed(WORDS);
    }
    Ok((method, target, version))
}

/// Whether a version names HTTP, in any case and version.
fn is_http(version: &[u8]) -> bool {
    let name = version.get(..5).unwrap_or_default();
    name.eq_ignore_ascii_case(b"HTTP/")
}

/// Checks a method.
///
/// # Errors
/// [`Reason::MalformedRequest`].
pub(in crate::proxy) fn check_method(method: &[u8]) -> Result<(), Fault> {
    // Methods are case-sensitive (RFC 9110 §9.1). An upstream that folds them would read `connect`
    // or `head` differently from us.
    let is_method = method.first().is_some_and(u8::is_ascii_uppercase)
        && method.len() <= MAX_METHOD
        && method
            .iter()
            .all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_'));
    if is_method {
        return Ok(());
    }
    let is_word = !method.is_empty()
        && method.len() <= MAX_METHOD
        && method.iter().all(u8::is_ascii_alphabetic);
    Err(Fault::malformed(if is_word {
        SMALL_METHOD
    } else {
        METHOD
    }))
}

/// The normal form of a path with its query.
///
/// # Errors
/// [`Reason::MalformedRequest`], [`Reason::HeadTooLarge`] or, for a fragment,
/// [`Reason::AmbiguousPath`].
pub(in crate::proxy) fn normal_target(raw: &[u8]) -> Result<Vec<u8>, Fault> {
    let target = Target::parse(raw).map_err(|fault| fault.of_target(raw))?;
    written_form(&target)?;
    Ok(target.written())
}

/// Whether the normal form of a target is the target itself, and the length of the normal form.
fn written_form(target: &Target<'_>) -> Result<(bool, usize), Fault> {
    let is_normal = target.is_normal();
    let length = if is_normal {
        target.raw.len()
    } else {
        target.written_length()
    };
    if length > MAX_TARGET {
        return Err(target_too_large(length).of_target(target.raw));
    }
    Ok((is_normal, length))
}

fn target_too_large(length: usize) -> Fault {
    let rule = format!("the target has {length} bytes, the limit is {MAX_TARGET}");
    Fault::because(Reason::HeadTooLarge, rule)
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
    /// The authority of an absolute target, which replaces `Host`.
    authority: Option<&'a [u8]>,
    has_host: bool,
    length: Option<u64>,
    chunked: bool,
}

/// The treatment of a field.
#[derive(PartialEq, Eq)]
enum Use {
    Kept,
    /// Another field stands for it.
    Replaced,
}

impl FramingFields<'_> {
    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<Use, Fault> {
        let broken = match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if std::mem::replace(&mut self.has_host, true) {
                    Some(TWO_HOSTS)
                } else if self.authority.is_some() {
                    return Ok(Use::Replaced);
                } else {
                    (!is_host(value)).then_some(HOST)
                }
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                return if value.eq_ignore_ascii_case(b"100-continue") {
                    Ok(Use::Kept)
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
        broken.map_or(Ok(Use::Kept), |rule| Err(Fault::malformed(rule)))
    }

    fn body(&self, version: Version) -> Result<BodyReader, Fault> {
        // Only HTTP/1.1 requires `Host` (RFC 9112 §3.2).
        if !self.has_host && self.authority.is_none() && version == Version::HTTP_11 {
            return Err(Fault::malformed(NO_HOST));
        }
        match (self.chunked, self.length) {
            (false, None) => Ok(BodyReader::none()),
            (false, Some(length)) => Ok(BodyReader::counted(length)),
            // RFC 9112 §6.1: both fields together, or chunks in HTTP/1.0, indicate request
            // smuggling.
            (true, Some(_)) => Err(Fault::malformed(BOTH)),
            (true, None) if version == Version::HTTP_11 => Ok(BodyReader::chunked()),
            (true, None) => Err(Fault::malformed(CHUNKS_IN_1_0)),
        }
    }
}

/// `1*DIGIT`: no sign, list, space or leading zero. Some parsers read a leading zero as octal.
pub(in crate::proxy) fn length(value: &[u8]) -> Option<u64> {
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
pub(in crate::proxy) fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let marks = b"!#$%&'*+-.^_`|~";
        let mut mark = 0;
        while mark < marks.len() {
            table[marks[mark] as usize] = true;
            mark += 1;
        }
        table
    };
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

#[cfg(test)]
mod tests;
