//! One direction of a tunnel.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;

/// Size of one read, and the most bytes that wait in one direction. More may have been read before
/// the switch.
const BUFFER: usize = 16 * 1024;

/// One direction of a tunnel.
pub(super) struct Direction {
    /// Bytes that have been read and not written.
    unsent: Bytes,
    is_unflushed: bool,
    /// How many bytes the receiver has taken.
    pub written: u64,
    state: State,
    /// The frames that have been read, of a WebSocket.
    frames: Option<Frames>,
    /// The bytes that end the direction after the current frame.
    last: Option<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes may follow.
    Open,
    /// The sender has closed its side, and the receiver has not been told.
    Closing,
    /// Nothing follows.
    Over,
}

/// The result of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It passed something on.
    Moved,
    /// The receiver takes no more.
    Blocked,
    /// The sender has sent no more.
    Waiting,
}

/// The side of a direction that broke.
pub(super) enum Failed {
    Read(io::Error),
    Write(io::Error),
}

impl Direction {
    /// A direction that begins with these bytes.
    pub fn new(unsent: Bytes, mut frames: Option<Frames>) -> Self {
        if let Some(frames) = &mut frames {
            frames.pass(&unsent);
        }
        Self {
            unsent,
            is_unflushed: false,
            written: 0,
            state: State::Open,
            frames,
            last: None,
        }
    }

    pub fn is_websocket(&self) -> bool {
        self.frames.is_some()
    }

    /// Ends the direction with a close frame as soon as the current frame is complete, or with that
    /// frame if it is a close frame itself.
    pub fn end_after_frame(&mut self, close: Bytes) {
        let has_closed = self.frames.as_ref().is_some_and(Frames::has_closed);
        self.last = Some(if has_closed { Bytes::new() } else { close });
    }

    /// Ends the direction with a close frame, unless it is within a frame.
    pub fn end_now(&mut self, close: Bytes) {
        if self.state == State::Open && self.unsent.is_empty() && self.is_between_frames() {
            self.end_after_frame(close);
        } else {
            self.unsent = Bytes::new();
            self.state = State::Over;
        }
    }

    fn is_between_frames(&self) -> bool {
        self.frames.as_ref().is_none_or(Frames::is_between)
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether the next step reads.
    pub fn is_reading(&self) -> bool {
        self.state == State::Open && self.unsent.is_empty() && !self.is_unflushed
    }

    pub fn step<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Result<Step, Failed>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        if !self.unsent.is_empty() {
            let written = Pin::new(&mut *to).poll_write(cx, &self.unsent);
            let written = self.count(written)?;
            self.unsent.advance(written.min(self.unsent.len()));
            return Ok(moved(written > 0));
        }
        if self.is_unflushed {
            let flushed = Pin::new(&mut *to).poll_flush(cx).map_err(Failed::Write)?;
            if flushed.is_pending() {
                return Ok(Step::Blocked);
            }
            self.is_unflushed = false;
        }
        if self.state == State::Open
            && self.is_between_frames()
            && let Some(last) = self.last.take()
        {
            self.unsent = last;
            self.state = State::Closing;
            return Ok(Step::Moved);
        }
        match self.state {
            State::Open => self.receive(cx, from, to),
            State::Closing => {
                let closed = Pin::new(to).poll_shutdown(cx).map_err(Failed::Write)?;
                if closed.is_ready() {
                    self.state = State::Over;
                }
                Ok(moved(closed.is_ready()))
            }
            State::Over => Ok(Step::Waiting),
        }
    }

    /// Reads bytes and writes them at once. Keeps the bytes that the other side does not take.
    fn receive<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Result<Step, Failed>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        let mut bytes = [MaybeUninit::uninit(); BUFFER];
        let bytes = bytes.get_mut(..self.room()).unwrap_or_default();
        let mut bytes = ReadBuf::uninit(bytes);
        let read = Pin::new(from).poll_read(cx, &mut bytes);
        if read.map_err(Failed::Read)?.is_pending() {
            return Ok(Step::Waiting);
        }
        let bytes = bytes.filled();
        if bytes.is_empty() {
            self.state = State::Closing;
        } else {
            if let Some(frames) = &mut self.frames {
                frames.pass(bytes);
            }
            let written = Pin::new(to).poll_write(cx, bytes);
            let written = self.count(written)?;
            let unsent = bytes.get(written..).unwrap_or_default();
            self.unsent = Bytes::copy_from_slice(unsent);
        }
        Ok(Step::Moved)
    }

    /// How many bytes the next read may take: before the end, those of the current frame.
    fn room(&self) -> usize {
        match (&self.last, &self.frames) {
            (Some(_), Some(frames)) => {
                usize::try_from(frames.missing()).map_or(BUFFER, |missing| missing.min(BUFFER))
            }
            _ => BUFFER,
        }
    }

    /// Counts the bytes of a write.
    fn count(&mut self, written: Poll<io::Result<usize>>) -> Result<usize, Failed> {
        match written {
            Poll::Pending => Ok(0),
            Poll::Ready(Ok(0)) => Err(Failed::Write(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => {
                self.is_unflushed = true;
                self.written += written as u64;
                Ok(written)
            }
            Poll::Ready(Err(error)) => Err(Failed::Write(error)),
        }
    }
}

fn moved(has_moved: bool) -> Step {
    if has_moved {
        Step::Moved
    } else {
        Step::Blocked
    }
}
