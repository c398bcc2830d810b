//! Passes the bytes of another protocol on, in both directions at once, after
//! `101 Switching Protocols`.
//!
//! Each direction reads only when its last bytes are written, so a slow reader stops the sender. An
//! idle tunnel holds no buffer: reads go to the stack, and only what the other side does not take
//! at once is kept.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use super::Broken;
use super::direction::{Direction, Failed, Step};
use super::frames::{self, Frames};
use super::upload::late;
use crate::domain::reason::Reason;
use crate::proxy::client::Client;
use crate::proxy::connection::ClientError;
use crate::proxy::deadlines::Wait;
use crate::proxy::upstream::{SwitchedStream, UpstreamConnection, UpstreamError};

/// How long a WebSocket may take to end a frame and to take the close frame.
const LAST_FRAME: Duration = Duration::from_secs(1);
/// How long a tunnel of another protocol may carry no byte when its listener ends.
const LAST_IDLE: Duration = Duration::from_secs(1);
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

/// Why the owner of a tunnel ends it.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// The policy ends it.
    Stream(Reason),
    /// The listener ends.
    Listener,
}

impl End {
    fn why(self) -> Why {
        match self {
            Self::Stream(reason) => Why::Policy(reason),
            Self::Listener => Why::Listener,
        }
    }

    /// The close frame of a WebSocket that ends. 4401 is a private code (RFC 6455 §7.4.2), for the
    /// status 401.
    fn frame(self, mask: Option<[u8; 4]>) -> Bytes {
        let (code, text) = match self {
            Self::Stream(reason) => (4401, reason.code()),
            Self::Listener => (1001, ""),
        };
        frames::close(code, text, mask).into()
    }
}

/// Why a tunnel ended.
#[derive(Debug)]
pub(super) enum Why {
    /// Both sides closed their sending side.
    Closed,
    /// The listener ended.
    Listener,
    /// Neither side sent a byte in time.
    Idle,
    /// The policy ended it.
    Policy(Reason),
    /// A side disconnected, or took nothing in time.
    Broken(Broken),
}

/// Passes bytes on until both sides have closed, one is broken, or `end` is ready. The upstream
/// connection is closed then; the caller closes the client's. A WebSocket, which has `frames`, ends
/// with a close frame.
pub(super) async fn run(
    client: &mut Client<'_>,
    upstream: UpstreamConnection,
    limits: Limits,
    frames: Option<Frames>,
    end: impl Future<Output = End> + Send,
) -> Ended {
    let (upstream, ahead) = upstream.into_stream();
    let mut tunnel = Tunnel {
        to_upstream: Direction::new(client.take_received(), frames.clone()),
        to_client: Direction::new(ahead, frames),
        client,
        upstream,
        limits,
        end: None,
    };
    tunnel.client.deadlines().stop_all();
    let mut end = pin!(end);
    let why = std::future::poll_fn(|cx| tunnel.poll(cx, end.as_mut())).await;
    tunnel.client.deadlines().stop_all();
    Ended {
        to_upstream: tunnel.to_upstream.written,
        to_client: tunnel.to_client.written,
        why,
    }
}

struct Tunnel<'t, 'c> {
    client: &'t mut Client<'c>,
    upstream: SwitchedStream,
    to_upstream: Direction,
    to_client: Direction,
    limits: Limits,
    /// Set while the close frames are sent.
    end: Option<End>,
}

impl Tunnel<'_, '_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        end: Pin<&mut impl Future<Output = End>>,
    ) -> Poll<Why> {
        if self.end.is_none()
            && let Poll::Ready(end) = end.poll(cx)
            && !self.begin_end(end)
        {
            return Poll::Ready(end.why());
        }
        for _ in 0..MOST_ROUNDS {
            match self.pass(cx) {
                Err(broken) => return self.over(Why::Broken(broken)),
                Ok(false) => return self.poll_limits(cx),
                Ok(true) if self.to_upstream.is_over() && self.to_client.is_over() => {
                    return self.over(Why::Closed);
                }
                Ok(true) => {}
            }
        }
        // A fast tunnel must not hold up the other connections of its worker.
        cx.waker().wake_by_ref();
        self.poll_limits(cx)
    }

    /// Begins to end a WebSocket: the client still gets the rest of a frame, then a close frame.
    /// At the end of the listener a tunnel of another protocol ends as soon as it is idle. Returns
    /// whether the tunnel goes on so long.
    fn begin_end(&mut self, end: End) -> bool {
        if !self.to_client.is_websocket() {
            if matches!(end, End::Stream(_)) {
                return false;
            }
            self.end = Some(end);
            self.limits.idle = Some(LAST_IDLE);
            self.client.deadlines().stop(Wait::Tunnel);
            self.client.deadlines().start(Wait::Tunnel, LAST_IDLE);
            return true;
        }
        self.end = Some(end);
        self.to_client.end_after_frame(end.frame(None));
        let mask = fastrand::u32(..).to_ne_bytes();
        self.to_upstream.end_now(end.frame(Some(mask)));
        self.limits.idle = None;
        self.client.deadlines().stop(Wait::Tunnel);
        self.client.deadlines().start(Wait::Tunnel, LAST_FRAME);
        true
    }

    fn over(&self, why: Why) -> Poll<Why> {
        Poll::Ready(self.end.map_or(why, End::why))
    }

    /// One step in each direction. Returns whether anything was passed on.
    fn pass(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        let up = self.to_upstream.step(cx, self.client, &mut self.upstream);
        let up = up.map_err(|error| match error {
            Failed::Read(_) => ClientError::Gone.into(),
            Failed::Write(error) => Broken::Upstream(UpstreamError::Write(error)),
        })?;
        let down = self.to_client.step(cx, &mut self.upstream, self.client);
        let down = down.map_err(|error| match error {
            Failed::Read(error) => Broken::Upstream(UpstreamError::Read { error, begun: true }),
            Failed::Write(_) => ClientError::Gone.into(),
        })?;
        self.watch(Wait::UpstreamWrite, self.limits.write, up);
        let write = self.client.timeouts().write;
        self.watch(Wait::ClientWrite, write, down);
        let has_moved = up == Step::Moved || down == Step::Moved;
        if let Some(idle) = self.limits.idle {
            if has_moved {
                self.client.deadlines().stop(Wait::Tunnel);
            }
            self.client.deadlines().start(Wait::Tunnel, idle);
        }
        Ok(has_moved)
    }

    /// Runs the deadline of a write while it makes no progress.
    fn watch(&mut self, wait: Wait, time: Duration, step: Step) {
        if step == Step::Blocked {
            self.client.deadlines().start(wait, time);
        } else {
            self.client.deadlines().stop(wait);
        }
    }

    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Why> {
        // While the client is read, the read reports its reset.
        if !self.to_upstream.is_reading() && self.client.poll_reset(cx).is_ready() {
            return self.over(Why::Broken(ClientError::Gone.into()));
        }
        match ready!(self.client.deadlines().poll(cx)) {
            Wait::Tunnel => self.over(Why::Idle),
            wait => self.over(Why::Broken(late(wait))),
        }
    }
}
