//! Bytes that wait to be written to a connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::AsyncWrite;

/// Body bytes up to this length are copied behind the head, which costs less than a second part of
/// a write.
const COPIED: usize = 4 * 1024;
/// Most parts of one vectored write.
const PARTS: usize = 16;
/// More memory than this is given back when everything is written.
const KEPT: usize = 16 * 1024;
const LAST_CHUNK: &[u8] = b"0\r\n";
const CRLF: &[u8] = b"\r\n";

/// The bytes that wait, in order: small parts in one buffer, and large ones as they came.
#[derive(Default)]
pub struct Outgoing {
    /// The unwritten small parts, one behind the other.
    small: BytesMut,
    large: VecDeque<Large>,
    /// How many bytes of `small` precede the last large part.
    placed: usize,
    written: u64,
    is_unflushed: bool,
}

/// Body bytes that are not copied.
struct Large {
    /// How many bytes of `small` lie between the previous large part and this one.
    behind: usize,
    data: Bytes,
}

impl Outgoing {
    /// Whether everything is written. The stream may still have to be flushed, which
    /// [`Outgoing::poll_write`] does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    /// Whether everything is written and flushed.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.is_empty() && !self.is_unflushed
    }

    /// The number of bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.small.len() + self.large.iter().map(|part| part.data.len()).sum::<usize>()
    }

    /// The buffer for heads and other small parts. Append to it only.
    pub fn small(&mut self) -> &mut BytesMut {
        &mut self.small
    }

    /// Appends body bytes.
    pub fn put_data(&mut self, data: Bytes) {
        if data.len() <= COPIED {
            self.small.extend_from_slice(&data);
            return;
        }
        let behind = self.small.len().saturating_sub(self.placed);
        self.placed = self.small.len();
        self.large.push_back(Large { behind, data });
    }

    /// Appends body bytes as one chunk (RFC 9112 §7.1). An empty chunk would end the body, so it is
    /// omitted.
    pub fn put_chunk(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        self.put_size(data.len());
        self.put_data(data);
        self.small.extend_from_slice(CRLF);
    }

    /// Appends the end of a chunked body.
    pub fn put_last_chunk(&mut self, trailers: Option<&HeaderMap>) {
        self.small.extend_from_slice(LAST_CHUNK);
        for (name, value) in trailers.into_iter().flatten() {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), CRLF] {
                self.small.extend_from_slice(part);
            }
        }
        self.small.extend_from_slice(CRLF);
    }

    /// Appends a chunk's size in hexadecimal digits.
    fn put_size(&mut self, size: usize) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
        for place in (0..digits).rev() {
            let digit = DIGITS.get(size >> (4 * place) & 0xf).copied();
            self.small.extend(digit);
        }
        self.small.extend_from_slice(CRLF);
    }

    /// Discards everything that waits.
    pub fn clear(&mut self) {
        self.small.clear();
        self.large.clear();
        self.placed = 0;
        self.is_unflushed = false;
    }

    /// The number of bytes written so far, by which the relay sees progress.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes everything, and flushes. Call it again after [`Poll::Pending`], also with more bytes.
    ///
    /// # Errors
    /// Those of the stream, and [`io::ErrorKind::WriteZero`] when the stream takes nothing.
    pub fn poll_write<S>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin + ?Sized,
    {
        while !self.is_empty() {
            let taken = ready!(self.poll_part(cx, stream))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_unflushed = true;
            self.written = self.written.wrapping_add(taken as u64);
            self.advance(taken);
        }
        if self.is_unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// One write of as much as the stream takes.
    fn poll_part<S>(&self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite + Unpin + ?Sized,
    {
        if self.large.is_empty() {
            return Pin::new(stream).poll_write(cx, &self.small);
        }
        let mut parts = [IoSlice::new(&[]); PARTS];
        let mut count = 0;
        for (slot, part) in parts.iter_mut().zip(self.parts()) {
            *slot = IoSlice::new(part);
            count += 1;
        }
        match parts.get(..count).unwrap_or_default() {
            parts if count > 1 && stream.is_write_vectored() => {
                Pin::new(stream).poll_write_vectored(cx, parts)
            }
            parts => {
                let first = parts.first().map_or(&[][..], |part| part);
                Pin::new(stream).poll_write(cx, first)
            }
        }
    }

    /// The parts that are not empty, in order.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.small[..];
        let large = self.large.iter().flat_map(move |part| {
            let (before, after) = rest.split_at_checked(part.behind).unwrap_or((rest, &[]));
            rest = after;
            [before, &part.data[..]]
        });
        let last = self.small.get(self.placed..).unwrap_or_default();
        large.chain([last]).filter(|part| !part.is_empty())
    }

    /// Removes written bytes from the front.
    fn advance(&mut self, mut taken: usize) {
        while let Some(part) = self.large.front_mut() {
            let small = part.behind.min(taken);
            self.small.advance(small);
            self.placed = self.placed.saturating_sub(small);
            part.behind -= small;
            taken -= small;
            let large = part.data.len().min(taken);
            part.data.advance(large);
            taken -= large;
            if part.behind > 0 || !part.data.is_empty() {
                return;
            }
            self.large.pop_front();
        }
        self.small.advance(taken.min(self.small.len()));
        if self.is_empty() && self.small.capacity() > KEPT {
            self.small = BytesMut::new();
        }
    }
}

#[cfg(test)]
#[path = "outgoing_tests.rs"]
mod tests;
