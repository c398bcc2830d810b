//! Passes the bytes of another protocol on, in both directions at once, after
//! `101 Switching Protocols`.
//!
//! Each direction reads only when its last bytes are written, so a slow reader stops the sender. An
//! idle tunnel holds no buffer: reads go to the stack, and only what the other side does not take
//! at once is kept.

use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Broken;
use super::upload::late;
use crate::domain::reason::Reason;
use crate::proxy::connection::{ClientError, Connection};
use crate::proxy::deadlines::Wait;
use crate::proxy::upstream::{UpstreamConnection, UpstreamError, UpstreamStream};

/// Size of one read, and the most bytes that wait in one direction. More may have been read before
/// the switch.
const BUFFER: usize = 16 * 1024;
/// How many reads of each side precede the turn of other connections.
const MOST_ROUNDS: usize = 16;

/// How long a tunnel may pause.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long both sides may send nothing; `None`: no limit.
    pub idle: Option<Duration>,
    /// How long the upstream may take no byte.
    pub write: Duration,
}

/// A tunnel that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// How many bytes the upstream has taken.
    pub to_upstream: u64,
    /// How many bytes the client has taken.
    pub to_client: u64,
    pub why: Why,
}

/// Why a tunnel ended.
#[derive(Debug)]
pub(super) enum Why {
    /// Both sides closed their sending side.
    Closed,
    /// Neither side sent a byte in time.
    Idle,
    /// The policy ended it.
    Policy(Reason),
    /// A side disconnected, or took nothing in time.
    Broken(Broken),
}

/// Passes bytes on until both sides have closed, one is broken, or `end` is ready. The upstream
/// connection is closed then; the caller closes the client's.
pub(super) async fn run(
    connection: &mut Connection,
    upstream: UpstreamConnection,
    limits: Limits,
    end: impl Future<Output = Reason> + Send,
) -> Ended {
    let Some((upstream, ahead)) = upstream.into_stream() else {
        return Ended {
            to_upstream: 0,
            to_client: 0,
            why: Why::Broken(Reason::Internal.into()),
        };
    };
    let mut tunnel = Tunnel {
        to_upstream: Direction::new(connection.take_received()),
        to_client: Direction::new(ahead),
        connection,
        upstream,
        limits,
    };
    tunnel.connection.deadlines.stop_all();
    let mut end = pin!(end);
    let why = std::future::poll_fn(|cx| tunnel.poll(cx, end.as_mut())).await;
    tunnel.connection.deadlines.stop_all();
    Ended {
        to_upstream: tunnel.to_upstream.written,
        to_client: tunnel.to_client.written,
        why,
    }
}

struct Tunnel<'c> {
    connection: &'c mut Connection,
    upstream: UpstreamStream,
    to_upstream: Direction,
    to_client: Direction,
    limits: Limits,
}

impl Tunnel<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        end: Pin<&mut impl Future<Output = Reason>>,
    ) -> Poll<Why> {
        if let Poll::Ready(reason) = end.poll(cx) {
            return Poll::Ready(Why::Policy(reason));
        }
        for _ in 0..MOST_ROUNDS {
            match self.pass(cx) {
                Err(broken) => return Poll::Ready(Why::Broken(broken)),
                Ok(false) => return self.poll_limits(cx),
                Ok(true) if self.to_upstream.is_over() && self.to_client.is_over() => {
                    return Poll::Ready(Why::Closed);
                }
                Ok(true) => {}
            }
        }
        // A fast tunnel must not hold up the other connections of its worker.
        cx.waker().wake_by_ref();
        self.poll_limits(cx)
    }

    /// One step in each direction. Returns whether anything was passed on.
    fn pass(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        let client = self.connection.stream();
        let up = self.to_upstream.step(cx, client, &mut self.upstream);
        let up = up.map_err(|error| match error {
            Failed::Read(_) => ClientError::Gone.into(),
            Failed::Write(error) => Broken::Upstream(UpstreamError::Write(error)),
        })?;
        let client = self.connection.stream();
        let down = self.to_client.step(cx, &mut self.upstream, client);
        let down = down.map_err(|error| match error {
            Failed::Read(error) => Broken::Upstream(UpstreamError::Read { error, begun: true }),
            Failed::Write(_) => ClientError::Gone.into(),
        })?;
        self.watch(Wait::UpstreamWrite, self.limits.write, up);
        let write = self.connection.timeouts().write;
        self.watch(Wait::ClientWrite, write, down);
        let has_moved = up == Step::Moved || down == Step::Moved;
        if let Some(idle) = self.limits.idle {
            if has_moved {
                self.connection.deadlines.stop(Wait::Tunnel);
            }
            self.connection.deadlines.start(Wait::Tunnel, idle);
        }
        Ok(has_moved)
    }

    /// Runs the deadline of a write while it makes no progress.
    fn watch(&mut self, wait: Wait, time: Duration, step: Step) {
        if step == Step::Blocked {
            self.connection.deadlines.start(wait, time);
        } else {
            self.connection.deadlines.stop(wait);
        }
    }

    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Why> {
        // While the client is read, the read reports its reset.
        if !self.to_upstream.is_reading() && self.connection.poll_reset(cx).is_ready() {
            return Poll::Ready(Why::Broken(ClientError::Gone.into()));
        }
        self.connection.deadlines.poll(cx).map(|wait| match wait {
            Wait::Tunnel => Why::Idle,
            wait => Why::Broken(late(wait)),
        })
    }
}

/// One direction of a tunnel.
struct Direction {
    /// Bytes that have been read and not written.
    unsent: Bytes,
    is_unflushed: bool,
    written: u64,
    state: State,
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
enum Step {
    /// It passed something on.
    Moved,
    /// The receiver takes no more.
    Blocked,
    /// The sender has sent no more.
    Waiting,
}

/// The side of a direction that broke.
enum Failed {
    Read(io::Error),
    Write(io::Error),
}

impl Direction {
    /// A direction that begins with these bytes.
    fn new(unsent: Bytes) -> Self {
        Self {
            unsent,
            is_unflushed: false,
            written: 0,
            state: State::Open,
        }
    }

    fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether the next step reads.
    fn is_reading(&self) -> bool {
        self.state == State::Open && self.unsent.is_empty() && !self.is_unflushed
    }

    fn step<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Result<Step, Failed>
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
        let mut bytes = ReadBuf::uninit(&mut bytes);
        let read = Pin::new(from).poll_read(cx, &mut bytes);
        if read.map_err(Failed::Read)?.is_pending() {
            return Ok(Step::Waiting);
        }
        let bytes = bytes.filled();
        if bytes.is_empty() {
            self.state = State::Closing;
        } else {
            let written = Pin::new(to).poll_write(cx, bytes);
            let written = self.count(written)?;
            let unsent = bytes.get(written..).unwrap_or_default();
            self.unsent = Bytes::copy_from_slice(unsent);
        }
        Ok(Step::Moved)
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
