//! Reads the body of a request (RFC 9112 §6).

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use crate::proxy::fault::{Fault, Place};
use crate::proxy::http1::chunked::{ChunkDecoder, Decoded};

/// The part of a request that the client has not sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// So many bytes of the body; 0 for a complete request.
    Bytes(u64),
    /// An unknown amount: the rest of a chunked body or of a head.
    Unknown,
}

/// Reads one body.
pub struct BodyReader {
    part: Part,
    /// Whether a byte of the body has been received.
    has_begun: bool,
    /// The trailers of a complete body. A box, because most requests have none.
    trailers: Option<Box<HeaderMap>>,
}

enum Part {
    /// A body with this many bytes left.
    Counted(u64),
    Chunked(ChunkDecoder),
    /// The request is complete; the next byte belongs to another one.
    End,
}

impl BodyReader {
    /// For a request without a body.
    #[must_use]
    pub fn none() -> Self {
        Self::of(Part::End)
    }

    /// For a body with this many bytes.
    #[must_use]
    pub fn counted(length: u64) -> Self {
        Self::of(if length == 0 {
            Part::End
        } else {
            Part::Counted(length)
        })
    }

    /// For a chunked body.
    #[must_use]
    pub fn chunked() -> Self {
        Self::of(Part::Chunked(ChunkDecoder::new()))
    }

    fn of(part: Part) -> Self {
        Self {
            part,
            has_begun: false,
            trailers: None,
        }
    }

    /// Whether the request is complete.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.part, Part::End)
    }

    /// Whether the client has begun to send the body.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The trailers of a complete body, once.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take().map(|trailers| *trailers)
    }

    /// The announced length that has not arrived, or 0 for a chunked or complete body.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self.part {
            Part::Counted(left) => Some(left),
            Part::End => Some(0),
            Part::Chunked(_) => None,
        }
    }

    /// The part that has not arrived.
    #[must_use]
    pub fn unread(&self) -> Unread {
        self.length().map_or(Unread::Unknown, Unread::Bytes)
    }

    /// Takes a part of the body from the front of the received bytes; `None` if more bytes are
    /// needed or the body has ended.
    ///
    /// # Errors
    /// [`Reason::MalformedRequest`](crate::domain::reason::Reason) for invalid chunks.
    pub fn read(&mut self, received: &mut BytesMut) -> Result<Option<Bytes>, Fault> {
        self.has_begun |= !received.is_empty() && !self.is_ended();
        match &mut self.part {
            Part::End => Ok(None),
            Part::Counted(_) if received.is_empty() => Ok(None),
            Part::Counted(left) => {
                let taken =
                    usize::try_from(*left).map_or(received.len(), |left| left.min(received.len()));
                *left -= taken as u64;
                if *left == 0 {
                    self.part = Part::End;
                }
                Ok(Some(received.split_to(taken).freeze()))
            }
            Part::Chunked(decoder) => match decoder.decode(received) {
                Ok(Decoded::Data(data)) => Ok(Some(data)),
                Ok(Decoded::NeedMore) => Ok(None),
                Ok(Decoded::End) => {
                    self.trailers = decoder.trailers().map(Box::new);
                    self.part = Part::End;
                    Ok(None)
                }
                Err(fault) => Err(fault.into_fault().at(Place::Body)),
            },
        }
    }
}
