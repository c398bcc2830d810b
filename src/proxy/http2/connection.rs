//! An HTTP/2 connection: its handshake, its streams, and its end.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Ping, PingPong, Reason as Code, RecvStream};
use http::Request;
use pingora::http::RequestHeader;
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::frames::Frames;
use super::request::{self, Head};
use super::shared::Shared;
use super::stream::Stream;
use super::{
    CONNECTION_WINDOW, HPACK_OVERHEAD, MOST_HEAD_BYTES, MOST_STREAMS, RESET_RECOGNIZED,
    RESET_REQUESTS, RESET_STREAMS, SEND_BUFFER, SHORT_FRAMES, STREAM_WINDOW,
};
use crate::proxy::connection::{
    AWAITING_HEAD, Accepted, Admitted, FIRST_BYTE_TIMEOUT, HEAD_READ, HEAD_TIMEOUT, late,
};
use crate::proxy::deadlines::{Deadlines, Wait};
use crate::proxy::fault::Fault;

/// How long a client with open streams may send no frame before it is asked with a PING.
const ASK_AFTER: Duration = Duration::from_secs(60);
/// How long its reply may take.
const PONG_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client may take to end its side. New streams are refused afterwards.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// The same when a new connection waits for the seat.
const DISMISSED_TIMEOUT: Duration = Duration::from_millis(500);

/// The next event on a connection.
pub enum Next {
    /// A request.
    Request(Box<Stream>, RequestHeader),
    /// A request that is refused before it is served. The head is a stand-in for the refused one.
    Refused(Box<Stream>, RequestHeader, Fault),
    /// The connection has ended.
    End,
}

/// The connection of a client that speaks HTTP/2.
pub struct Connection {
    h2: server::Connection<Frames, Bytes>,
    pings: Option<PingPong>,
    shared: Arc<Shared>,
    seat: Admitted,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    deadlines: Deadlines,
    progress: Progress,
    /// Whether the seat is marked as idle.
    is_idle: bool,
    /// Since when the client has been told that the connection ends.
    ending: Option<Instant>,
    /// Whether the connection ends without its streams.
    is_cut_off: bool,
    /// Whether the client was asked for a sign of life.
    is_asked: bool,
}

/// The bytes of both directions at the last look.
#[derive(Clone, Copy, Default)]
struct Progress {
    read: u64,
    written: u64,
    is_blocked: bool,
}

impl Connection {
    /// Exchanges the first frames. `None` when the client does not send them in time.
    pub async fn begin(accepted: Accepted) -> Option<Self> {
        let Accepted {
            stream,
            ahead,
            peer,
            local,
            tls,
            process,
            way,
            clients,
            settings,
            seat,
            ending,
        } = accepted;
        let watch = Arc::<super::frames::Watch>::default();
        let frames = Frames::new(stream, ahead, watch.clone(), clients.clone());
        let mut handshake = pin!(tokio::time::timeout(
            FIRST_BYTE_TIMEOUT,
            settings_frame(settings.max_head).handshake::<_, Bytes>(frames),
        ));
        let handshake = poll_fn(|cx| {
            if seat.is_dismissed(cx.waker()) {
                return Poll::Ready(None);
            }
            handshake.as_mut().poll(cx).map(|done| done.ok()?.ok())
        });
        let mut h2 = tokio::select! {
            h2 = handshake => h2?,
            () = late(&ending) => return None,
        };
        let pings = h2.ping_pong();
        seat.becomes_idle(AWAITING_HEAD);
        Some(Self {
            h2,
            pings,
            shared: Arc::new(Shared::new(
                (peer, local),
                (tls, process, way),
                settings,
                watch,
                (clients, ending.clone()),
            )),
            seat,
            ended: Box::pin(ending.cancelled_owned()),
            deadlines: Deadlines::default(),
            progress: Progress::default(),
            is_idle: true,
            ending: None,
            is_cut_off: false,
            is_asked: false,
        })
    }

    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.shared.peer
    }

    /// Ready with the next request. Moves the frames of all streams meanwhile.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            self.poll_endings(cx);
            let accepted = self.h2.poll_accept(cx);
            if self.shared.watch.is_over() && !self.is_cut_off {
                self.cut_off(Code::ENHANCE_YOUR_CALM, END_TIMEOUT);
                continue;
            }
            self.note_progress();
            match accepted {
                Poll::Ready(Some(Ok((_, mut respond)))) if self.refuses_streams() => {
                    respond.send_reset(Code::REFUSED_STREAM);
                }
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.becomes_busy();
                    return Poll::Ready(self.take(request, respond));
                }
                Poll::Ready(Some(Err(error))) => {
                    let peer = self.shared.peer;
                    tracing::debug!(%peer, %error, "an HTTP/2 connection has broken");
                    return Poll::Ready(Next::End);
                }
                Poll::Ready(None) => return Poll::Ready(Next::End),
                Poll::Pending => {
                    if ready!(self.poll_deadlines(cx)) {
                        return Poll::Ready(Next::End);
                    }
                }
            }
        }
    }

    /// Whether no further request is served: the client has had the time to read that the
    /// connection ends, or requests that it has reset are still being ended.
    fn refuses_streams(&self) -> bool {
        let is_late = |since: Instant| since.elapsed() > END_TIMEOUT;
        self.ending.is_some_and(is_late)
            || self.shared.streams() >= 2 * MOST_STREAMS as usize
            || self.shared.head_bytes() > MOST_HEAD_BYTES
    }

    /// Makes a stream of a request.
    fn take(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Next {
        let (parts, body) = request.into_parts();
        let max_head = self.shared.settings.max_head;
        let stand_in = Head::of_refused(&parts);
        match request::head(parts, body.is_end_stream(), max_head) {
            Ok(head) => {
                let stream = Stream::new(self.shared.clone(), &head, body, respond);
                Next::Request(Box::new(stream), head.request)
            }
            Err(fault) => {
                let stream = Stream::new(self.shared.clone(), &stand_in, body, respond);
                Next::Refused(Box::new(stream), stand_in.request, fault)
            }
        }
    }

    fn becomes_busy(&mut self) {
        self.deadlines.stop(Wait::Request);
        if std::mem::take(&mut self.is_idle) && !self.seat.advance(AWAITING_HEAD, HEAD_READ) {
            // Another connection takes the seat. Streams that have begun are served.
            self.end();
        }
    }

    /// Whether no stream is open, and no part of a response waits for the client.
    fn becomes_idle(&mut self) -> bool {
        if self.shared.streams() > 0 || self.shared.watch.is_blocked() {
            return false;
        }
        if !std::mem::replace(&mut self.is_idle, true) {
            self.seat.becomes_idle(AWAITING_HEAD);
        }
        true
    }

    /// Tells the client that no further stream is accepted. Open ones end by themselves.
    fn end(&mut self) {
        self.ending.get_or_insert_with(Instant::now);
        self.h2.graceful_shutdown();
    }

    /// Ends the connection and its streams. The client may take so long for the last frame.
    fn cut_off(&mut self, code: Code, time: Duration) {
        self.is_cut_off = true;
        self.ending.get_or_insert_with(Instant::now);
        self.deadlines.start(Wait::End, time);
        self.h2.abrupt_shutdown(code);
    }

    fn poll_endings(&mut self, cx: &mut Context<'_>) {
        if self.seat.is_dismissed(cx.waker()) && self.is_idle && !self.is_cut_off {
            // The last frame names the last stream, so the client repeats what crosses it.
            self.cut_off(Code::NO_ERROR, DISMISSED_TIMEOUT);
        }
        if self.ending.is_none() && self.ended.as_mut().poll(cx).is_ready() {
            self.end();
        }
    }

    /// Stops the deadlines of a direction that moves.
    fn note_progress(&mut self) {
        let watch = &self.shared.watch;
        let before = self.progress;
        let now = Progress {
            read: watch.read(),
            written: watch.written(),
            is_blocked: watch.is_blocked(),
        };
        // The system takes more of a full buffer only when the client has received something.
        let has_received = before.is_blocked && now.written != before.written;
        if now.read != before.read || has_received {
            self.is_asked = false;
            self.deadlines.stop(Wait::Frame);
            self.deadlines.stop(Wait::Pong);
        }
        if now.written != before.written || !now.is_blocked {
            self.deadlines.stop(Wait::ClientWrite);
        }
        if now.is_blocked {
            // The question waits behind the rest of the buffer.
            self.deadlines.stop(Wait::Pong);
            let wait = self.shared.settings.timeouts.write;
            self.deadlines.start(Wait::ClientWrite, wait);
        }
        if watch.is_inside_head() {
            self.deadlines.start(Wait::Head, HEAD_TIMEOUT);
        } else {
            self.deadlines.stop(Wait::Head);
        }
        self.progress = now;
    }

    /// Ready when a deadline has passed, with whether the connection ends at once.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.becomes_idle() {
            self.deadlines.stop(Wait::Frame);
            if self.ending.is_some() {
                // A client that does not close its side must not keep the connection.
                self.deadlines.start(Wait::End, END_TIMEOUT);
            } else {
                let keep_alive = self.shared.settings.timeouts.keep_alive;
                self.deadlines.start(Wait::Request, keep_alive);
            }
        } else if !self.is_asked {
            self.deadlines.start(Wait::Frame, ASK_AFTER);
        }
        match ready!(self.deadlines.poll(cx)) {
            Wait::Request => self.end(),
            Wait::Frame => self.ask(cx),
            Wait::Head => self.cut_off(Code::ENHANCE_YOUR_CALM, END_TIMEOUT),
            // The client took no byte, sent no reply, or did not end its side.
            _ => return Poll::Ready(true),
        }
        Poll::Ready(false)
    }

    /// Asks the client for a sign of life: a half-open connection gives none.
    fn ask(&mut self, cx: &mut Context<'_>) {
        self.is_asked = true;
        if let Some(pings) = &mut self.pings {
            // No other question is possible before the last reply is taken.
            let _ = pings.poll_pong(cx);
            let _ = pings.send_ping(Ping::opaque());
        }
        self.deadlines.start(Wait::Pong, PONG_TIMEOUT);
    }
}

/// The settings of a connection whose request heads may have so many bytes in HTTP/1.1.
fn settings_frame(max_head: usize) -> server::Builder {
    let list = u32::try_from(max_head + HPACK_OVERHEAD).unwrap_or(u32::MAX);
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(MOST_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(list)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .reset_stream_duration(RESET_RECOGNIZED)
        .max_pending_accept_reset_streams(RESET_REQUESTS)
        .data_frame_budget(SHORT_FRAMES)
        .enable_connect_protocol();
    builder
}
