//! Reads response heads.
//!
//! Servers in the field are less exact than clients may be, so this reader accepts more than
//! `framing` does: bare line feeds, spaces before a colon, folded fields. The relay sends a
//! response on in its own framing, so both sides read the same message.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use pingora::http::{ResponseHeader, header_value_from_raw};

/// Largest head of a response, in bytes.
pub const MAX_HEAD: usize = 1024 * 1024 - 1;
/// Most fields of a response.
pub const MAX_FIELDS: usize = 256;
/// Few responses have more fields. A larger table is only prepared for those.
const USUAL_FIELDS: usize = 48;
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Why a head is unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// The upstream speaks TLS.
    Tls,
    /// The upstream speaks HTTP/2.
    Http2,
    /// It is not HTTP/1.1.
    Malformed,
    TooManyFields,
    /// `Content-Length` is no plain number, or there are two that differ.
    Length,
    /// `Transfer-Encoding` names `chunked` twice.
    Coding,
    TooLarge,
}

/// How the body of a response ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A head, and the meaning of its fields for the connection.
#[derive(Debug)]
pub struct Parsed {
    pub head: ResponseHeader,
    pub body: ResponseBody,
    /// Whether the server keeps the connection open after this response.
    pub keeps_alive: bool,
    /// The seconds of `Keep-Alive: timeout=N` (RFC 2068 §19.7.1.1).
    pub idle_seconds: Option<u64>,
}

/// Reads a head from the front of `bytes`, and removes it. `None`: the head is incomplete. The
/// field values share the memory of `bytes`.
///
/// # Errors
/// [`HeadFault`]. The caller watches the length of an incomplete head.
pub fn parse(bytes: &mut BytesMut, method: &Method) -> Result<Option<Parsed>, HeadFault> {
    let layout = match locate::<USUAL_FIELDS>(bytes) {
        Err(httparse::Error::TooManyHeaders) => {
            return match locate::<MAX_FIELDS>(bytes) {
                Ok(Some(layout)) => take(bytes, &layout, method).map(Some),
                other => other.map(|_| None).map_err(|error| fault(error, bytes)),
            };
        }
        layout => layout.map_err(|error| fault(error, bytes))?,
    };
    layout
        .map(|layout| take(bytes, &layout, method))
        .transpose()
}

fn fault(error: httparse::Error, bytes: &[u8]) -> HeadFault {
    match error {
        httparse::Error::TooManyHeaders => HeadFault::TooManyFields,
        _ if bytes.starts_with(b"\x15\x03") => HeadFault::Tls,
        _ if bytes.starts_with(b"\x00\x00") => HeadFault::Http2,
        _ => HeadFault::Malformed,
    }
}

/// A part of a head.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    length: u32,
}

impl Span {
    /// The place of `part` in `whole`, which contains it.
    fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        Self {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            length: u32::try_from(part.len()).unwrap_or(u32::MAX),
        }
    }

    fn of_bytes(self, whole: &Bytes) -> Bytes {
        let start = self.start as usize;
        let range = start..start.saturating_add(self.length as usize);
        if whole.get(range.clone()).is_some() {
            whole.slice(range)
        } else {
            Bytes::new()
        }
    }
}

/// The places of a head's parts.
struct Layout<const N: usize> {
    code: u16,
    version: Version,
    reason: Option<Span>,
    fields: [(Span, Span); N],
    count: usize,
    length: usize,
}

fn locate<const N: usize>(bytes: &[u8]) -> Result<Option<Layout<N>>, httparse::Error> {
    let mut fields = [const { MaybeUninit::uninit() }; N];
    let mut response = httparse::Response::new(&mut []);
    let mut parser = httparse::ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let status = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut fields)?;
    let httparse::Status::Complete(length) = status else {
        return Ok(None);
    };
    let mut layout = Layout {
        code: response.code.unwrap_or_default(),
        version: if response.version == Some(0) {
            Version::HTTP_10
        } else {
            Version::HTTP_11
        },
        reason: response
            .reason
            .map(|reason| Span::of(reason.as_bytes(), bytes)),
        fields: [(Span::default(), Span::default()); N],
        count: 0,
        length,
    };
    for (place, field) in layout.fields.iter_mut().zip(response.headers.iter()) {
        let name = Span::of(field.name.as_bytes(), bytes);
        *place = (name, Span::of(field.value, bytes));
        layout.count += 1;
    }
    Ok(Some(layout))
}

/// The fields that concern the body and the connection.
#[derive(Default)]
struct Found {
    length: bool,
    coding: bool,
    connection: bool,
    keep_alive: bool,
}

impl Found {
    fn see(&mut self, name: &[u8]) {
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => self.connection = true,
            10 if name.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length = true,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.coding = true,
            _ => {}
        }
    }
}

/// Takes a head out of the buffer.
fn take<const N: usize>(
    bytes: &mut BytesMut,
    layout: &Layout<N>,
    method: &Method,
) -> Result<Parsed, HeadFault> {
    if layout.length > MAX_HEAD {
        return Err(HeadFault::TooLarge);
    }
    let whole = bytes.split_to(layout.length).freeze();
    let malformed = |_| HeadFault::Malformed;
    let mut head = ResponseHeader::build(layout.code, Some(layout.count)).map_err(malformed)?;
    head.set_version(layout.version);
    let reason = layout.reason.map(|span| span.of_bytes(&whole));
    let reason = reason.as_deref().map(|text| std::str::from_utf8(text));
    head.set_reason_phrase(reason.transpose().map_err(|_| HeadFault::Malformed)?)
        .map_err(malformed)?;
    let mut found = Found::default();
    for (name, field) in layout.fields.iter().take(layout.count) {
        let name = name.of_bytes(&whole);
        found.see(&name);
        head.append_header(name, value(field.of_bytes(&whole))?)
            .map_err(malformed)?;
    }
    settle(head, &found, method)
}

/// A field's value. Its folded lines become one.
fn value(raw: Bytes) -> Result<HeaderValue, HeadFault> {
    if let Ok(value) = HeaderValue::from_maybe_shared(raw.clone()) {
        return Ok(value);
    }
    let is_foldable = |byte: &u8| (*byte >= b' ' && *byte != 0x7f) || b"\t\r\n".contains(byte);
    if raw.iter().all(is_foldable) {
        Ok(header_value_from_raw(raw))
    } else {
        Err(HeadFault::Malformed)
    }
}

/// Reads the fields about the body and the connection.
fn settle(mut head: ResponseHeader, found: &Found, method: &Method) -> Result<Parsed, HeadFault> {
    // RFC 9112 §6.3: a coding overrides the length. Both together may be an attack, so the
    // connection carries no other request.
    let has_both = found.coding && found.length;
    if has_both {
        head.remove_header(&header::CONTENT_LENGTH);
    }
    if found.coding {
        settle_codings(&mut head)?;
    }
    let length = if found.length && !found.coding {
        Some(settle_length(&mut head)?)
    } else {
        None
    };
    let status = head.status.as_u16();
    let body = match (status, length) {
        (100..=199 | 204 | 304, _) => ResponseBody::None,
        _ if *method == Method::HEAD => ResponseBody::None,
        _ if found.coding && is_chunked(&head.headers) => ResponseBody::Chunked,
        (_, Some(length)) => ResponseBody::Length(length),
        (_, None) => ResponseBody::UntilClose,
    };
    let is_new = head.version == Version::HTTP_11;
    let announced = found.connection.then(|| super::keeps_alive(&head.headers));
    // RFC 9112 §6.1: HTTP/1.0 has no codings.
    let may_keep = body != ResponseBody::UntilClose && !has_both && (is_new || !found.coding);
    let keeps_alive = may_keep && status != 101 && announced.flatten().unwrap_or(is_new);
    let idle_seconds = found
        .keep_alive
        .then(|| idle_seconds(&head.headers))
        .flatten();
    Ok(Parsed {
        head,
        body,
        keeps_alive,
        idle_seconds,
    })
}

/// The one length of all `Content-Length` fields (RFC 9110 §8.6), which are joined.
///
/// # Errors
/// [`HeadFault::Length`].
pub fn settle_length(head: &mut ResponseHeader) -> Result<u64, HeadFault> {
    let (mut length, mut count) = (None, 0);
    for value in head.headers.get_all(header::CONTENT_LENGTH) {
        for part in value.as_bytes().split(|byte| *byte == b',') {
            let part = number(part.trim_ascii()).ok_or(HeadFault::Length)?;
            if length.is_some_and(|length| length != part) {
                return Err(HeadFault::Length);
            }
            length = Some(part);
            count += 1;
        }
    }
    let length = length.ok_or(HeadFault::Length)?;
    if count > 1 {
        head.insert_header(header::CONTENT_LENGTH, length)
            .map_err(|_| HeadFault::Length)?;
    }
    Ok(length)
}

/// Joins the `Transfer-Encoding` fields into one list (RFC 9110 §5.3): clients differ in the
/// meaning of repeated ones. `chunked` is permitted once (RFC 9112 §6.1).
fn settle_codings(head: &mut ResponseHeader) -> Result<(), HeadFault> {
    let values = head.headers.get_all(header::TRANSFER_ENCODING);
    let is_repeated = values.iter().nth(1).is_some();
    let codings = values
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let codings: Vec<&[u8]> = codings
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty())
        .collect();
    let is_chunked = |coding: &&&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if codings.iter().filter(is_chunked).count() > 1 {
        return Err(HeadFault::Coding);
    }
    if is_repeated {
        let joined = HeaderValue::from_bytes(&codings.join(&b", "[..]));
        let joined = joined.map_err(|_| HeadFault::Malformed)?;
        head.insert_header(header::TRANSFER_ENCODING, joined)
            .map_err(|_| HeadFault::Malformed)?;
    }
    Ok(())
}

/// `1*DIGIT` up to 64 bits.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Whether `chunked` is the last coding.
fn is_chunked(headers: &HeaderMap) -> bool {
    let last = headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .next_back();
    let codings = last.map_or(&[][..], HeaderValue::as_bytes);
    let coding = codings.rsplit(|byte| *byte == b',').next();
    coding.is_some_and(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// The shortest announced time.
fn idle_seconds(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all(KEEP_ALIVE).iter();
    values
        .filter_map(|value| announced(value.to_str().ok()?))
        .min()
}

/// The seconds of `timeout=N`.
fn announced(value: &str) -> Option<u64> {
    value.split([',', ';']).find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        let seconds = seconds.trim().trim_matches('"').parse().ok()?;
        name.trim()
            .eq_ignore_ascii_case("timeout")
            .then_some(seconds)
    })
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
