//! Reads chunked bodies (RFC 9112 §7.1) strictly: what two recipients could read differently is an
//! error.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::proxy::fault::{Fault, Place};
use crate::proxy::framing::field;

/// Most bytes of all chunk extensions and trailers of a request.
const MAX_EXTRAS: usize = 8 * 1024;
/// The same for a response.
const MAX_RESPONSE_EXTRAS: usize = 64 * 1024;
/// The longest chunk size, in hexadecimal digits, which cannot overflow 64 bits.
const MAX_SIZE_DIGITS: u8 = 15;

const CHUNK_SIZE: &str = "a chunk does not begin with its size as a hexadecimal number";
const CHUNK_END: &str = "a chunk differs from its announced size, or does not end in CR LF";
const EXTENSION: &str = "a chunk extension has a control character";
const EXTRAS: &str = "chunk extensions or trailers are longer than 8 KiB";
const TRAILER: &str = "a trailer is not a field";
const LINE_END: &str = "a line does not end in CR LF";

/// Fields that may not be trailers (RFC 9110 §6.5.1): they frame, route or authenticate a message,
/// or concern one connection.
const NO_TRAILERS: [HeaderName; 17] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Whether a field may be a trailer.
#[must_use]
pub fn may_be_trailer(name: &HeaderName) -> bool {
    !NO_TRAILERS.contains(name)
}

/// Why a body is not validly chunked.
#[derive(Debug, PartialEq, Eq)]
pub enum ChunkFault {
    /// A chunk does not begin with its size.
    Size,
    /// A chunk does not end where its size says.
    End,
    /// A chunk extension has a control character.
    Extension,
    /// Extensions and trailers are too long.
    TooLong,
    /// A trailer's line does not end in CR LF.
    LineEnd,
    /// A trailer is not a field.
    Trailer(Box<Fault>),
}

impl ChunkFault {
    /// The fault of a request with this body.
    #[must_use]
    pub fn into_fault(self) -> Fault {
        match self {
            Self::Trailer(fault) => fault.at(Place::Body),
            other => Fault::malformed(other.rule()).at(Place::Body),
        }
    }

    /// The broken rule.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Size => CHUNK_SIZE,
            Self::End => CHUNK_END,
            Self::Extension => EXTENSION,
            Self::TooLong => EXTRAS,
            Self::LineEnd => LINE_END,
            Self::Trailer(_) => TRAILER,
        }
    }
}

/// The result of [`ChunkDecoder::decode`].
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The next part of the body, never empty.
    Data(Bytes),
    /// All bytes are consumed, and the body continues.
    NeedMore,
    /// The body is complete. The remaining bytes belong to another message.
    End,
}

/// The position in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size {
        digits: u8,
        size: u64,
    },
    /// In spaces behind the size (RFC 9112 §7.1.1), which some servers send.
    Space {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailer,
    End,
}

const FIRST: At = At::Size { digits: 0, size: 0 };

/// Reads one chunked body from bytes that may be cut anywhere.
pub struct ChunkDecoder {
    at: At,
    /// How many bytes of extensions and trailers have been read.
    extras: usize,
    /// The received part of a trailer's line; empty as long as lines arrive in one piece.
    line: Vec<u8>,
    is_of_response: bool,
    trailers: HeaderMap,
}

impl Default for ChunkDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkDecoder {
    /// For a request's body. A trailer that is no field is an error.
    #[must_use]
    pub fn new() -> Self {
        Self {
            at: FIRST,
            extras: 0,
            line: Vec::new(),
            is_of_response: false,
            trailers: HeaderMap::new(),
        }
    }

    /// For a response's body. Zeros before and spaces behind a chunk's size are accepted, and
    /// trailers that are no fields are dropped.
    #[must_use]
    pub fn of_response() -> Self {
        Self {
            is_of_response: true,
            ..Self::new()
        }
    }

    /// Whether the body is complete.
    #[cfg(test)]
    pub fn is_ended(&self) -> bool {
        self.at == At::End
    }

    /// The trailers of a complete body, if there are any.
    pub fn trailers(&mut self) -> Option<HeaderMap> {
        let is_known = self.at == At::End && !self.trailers.is_empty();
        is_known.then(|| std::mem::take(&mut self.trailers))
    }

    /// Reads on, and removes the read bytes from the front.
    ///
    /// # Errors
    /// [`ChunkFault`]. The rest of the bytes has no meaning then.
    pub fn decode(&mut self, bytes: &mut BytesMut) -> Result<Decoded, ChunkFault> {
        loop {
            match self.at {
                At::End => return Ok(Decoded::End),
                _ if bytes.is_empty() => return Ok(Decoded::NeedMore),
                At::Data { left } => {
                    let taken =
                        usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    self.at = match left - taken as u64 {
                        0 => At::DataCr,
                        left => At::Data { left },
                    };
                    return Ok(Decoded::Data(bytes.split_to(taken).freeze()));
                }
                At::Trailer => {
                    let taken = self.trailer_line(bytes)?;
                    bytes.advance(taken);
                }
                _ => {
                    let taken = self.size_line(bytes)?;
                    bytes.advance(taken);
                }
            }
        }
    }

    /// Reads between the data of two chunks.
    fn size_line(&mut self, bytes: &[u8]) -> Result<usize, ChunkFault> {
        let is_lenient = self.is_of_response;
        let mut taken = 0;
        for &byte in bytes {
            self.at = match (self.at, byte) {
                (At::Data { .. } | At::Trailer | At::End, _) => break,
                (At::DataCr, b'\r') => At::DataLf,
                (At::DataLf, b'\n') => FIRST,
                (
                    At::Size { digits: 1.., size } | At::Space { size } | At::Extension { size },
                    b'\r',
                ) => At::SizeLf { size },
                (At::Size { digits: 1.., size } | At::Space { size }, b';') => {
                    At::Extension { size }
                }
                (At::Size { digits: 1.., size } | At::Space { size }, b' ' | b'\t')
                    if is_lenient =>
                {
                    self.count(1)?;
                    At::Space { size }
                }
                // Some servers write sizes of a fixed length.
                (At::Size { size: 0, .. }, b'0') if is_lenient => {
                    self.count(1)?;
                    At::Size { digits: 1, size: 0 }
                }
                (At::Size { digits, size }, _) => match char::from(byte).to_digit(16) {
                    Some(digit) if digits < MAX_SIZE_DIGITS => At::Size {
                        digits: digits + 1,
                        size: size << 4 | u64::from(digit),
                    },
                    _ => return Err(ChunkFault::Size),
                },
                (At::Extension { size }, byte) if byte >= b' ' && byte != 0x7f || byte == b'\t' => {
                    self.count(1)?;
                    At::Extension { size }
                }
                (At::SizeLf { size: 0 }, b'\n') => At::Trailer,
                (At::SizeLf { size }, b'\n') => At::Data { left: size },
                (At::Extension { .. }, _) => return Err(ChunkFault::Extension),
                (At::SizeLf { .. } | At::Space { .. }, _) => return Err(ChunkFault::Size),
                (At::DataCr | At::DataLf, _) => return Err(ChunkFault::End),
            };
            taken += 1;
        }
        Ok(taken)
    }

    /// Counts bytes of extensions and trailers.
    fn count(&mut self, bytes: usize) -> Result<(), ChunkFault> {
        let most = if self.is_of_response {
            MAX_RESPONSE_EXTRAS
        } else {
            MAX_EXTRAS
        };
        self.extras = self.extras.saturating_add(bytes);
        if self.extras > most {
            return Err(ChunkFault::TooLong);
        }
        Ok(())
    }

    /// Reads up to the end of a trailer's line.
    fn trailer_line(&mut self, bytes: &[u8]) -> Result<usize, ChunkFault> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.count(bytes.len())?;
            self.line.extend_from_slice(bytes);
            return Ok(bytes.len());
        };
        let taken = end + 1;
        self.count(taken)?;
        let rest = bytes.get(..taken).unwrap_or_default();
        let mut whole = std::mem::take(&mut self.line);
        let line = if whole.is_empty() {
            rest
        } else {
            whole.extend_from_slice(rest);
            &whole
        };
        match line.strip_suffix(b"\r\n") {
            None => return Err(ChunkFault::LineEnd),
            Some([]) => self.at = At::End,
            Some(line) => self.trailer(line)?,
        }
        Ok(taken)
    }

    fn trailer(&mut self, line: &[u8]) -> Result<(), ChunkFault> {
        let (name, value) = match field(line) {
            Ok(field) => field,
            Err(_) if self.is_of_response => return Ok(()),
            Err(fault) => return Err(ChunkFault::Trailer(Box::new(fault))),
        };
        let name = HeaderName::from_bytes(name).ok().filter(may_be_trailer);
        if let Some((name, value)) = name.zip(HeaderValue::from_bytes(value).ok()) {
            // Fails only for more fields than 64 KiB can hold.
            let _ = self.trailers.try_append(name, value);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "chunked_tests.rs"]
mod tests;
