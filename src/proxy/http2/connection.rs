//! An HTTP/2 connection: its handshake, its streams, and its end.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Ping, PingPong, Reason as Code, RecvStream};
use http::Request;
use pingora::http::RequestHeader;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::frames::Frames;
use super::request::{self, Head};
use super::shared::Shared;
use super::stream::Stream;
use super::{CONNECTION_WINDOW, MOST_STREAMS, SEND_BUFFER, STREAM_WINDOW};
use crate::proxy::connection::{AWAITING_HEAD, Accepted, Admitted, FIRST_BYTE_TIMEOUT, HEAD_READ};
use crate::proxy::deadlines::{Deadlines, Wait};
use crate::proxy::fault::Fault;

/// How long a client with open streams may send no frame before it is asked with a PING.
const ASK_AFTER: Duration = Duration::from_secs(60);
/// How long its reply may take.
const PONG_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the last frames of a connection may take.
const END_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// Whether the client was told that the connection ends.
    is_ending: bool,
    /// Whether the client was asked for a sign of life.
    is_asked: bool,
}

/// The bytes of both directions at the last look.
#[derive(Default)]
struct Progress {
    read: u64,
    written: u64,
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
            clients,
            settings,
            seat,
            ending,
        } = accepted;
        let watch = Arc::<super::frames::Watch>::default();
        let frames = Frames::new(stream, ahead, watch.clone());
        let list = u32::try_from(settings.max_head).unwrap_or(u32::MAX);
        let mut builder = server::Builder::new();
        builder
            .max_concurrent_streams(MOST_STREAMS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(list);
        let handshake = builder.handshake::<_, Bytes>(frames);
        let handshake = tokio::time::timeout(FIRST_BYTE_TIMEOUT, handshake);
        let mut h2 = handshake.await.ok()?.ok()?;
        let pings = h2.ping_pong();
        seat.becomes_idle(AWAITING_HEAD);
        Some(Self {
            h2,
            pings,
            shared: Arc::new(Shared::new((peer, local), tls, settings, watch, clients)),
            seat,
            ended: Box::pin(ending.cancelled_owned()),
            deadlines: Deadlines::default(),
            progress: Progress::default(),
            is_idle: true,
            is_ending: false,
            is_asked: false,
        })
    }

    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.shared.peer
    }

    /// Ready with the next request. Moves the frames of all streams meanwhile.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.poll_endings(cx);
        let accepted = self.h2.poll_accept(cx);
        if self.shared.watch.is_over() && !self.is_ending {
            self.end_at_once(Code::ENHANCE_YOUR_CALM);
            return self.poll_next(cx);
        }
        self.note_progress();
        match accepted {
            Poll::Ready(Some(Ok((request, respond)))) => {
                self.becomes_busy();
                Poll::Ready(self.take(request, respond))
            }
            Poll::Ready(Some(Err(error))) => {
                let peer = self.shared.peer;
                tracing::debug!(%peer, %error, "an HTTP/2 connection has broken");
                Poll::Ready(Next::End)
            }
            Poll::Ready(None) => Poll::Ready(Next::End),
            Poll::Pending => self.poll_deadlines(cx),
        }
    }

    /// Makes a stream of a request.
    fn take(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Next {
        let (parts, body) = request.into_parts();
        let max_head = self.shared.settings.max_head;
        let method = parts.method.clone();
        match request::head(parts, body.is_end_stream(), max_head) {
            Ok(head) => {
                let stream = Stream::new(self.shared.clone(), &head, body, respond);
                Next::Request(Box::new(stream), head.request)
            }
            Err(fault) => {
                let head = Head::of_refused(method);
                let stream = Stream::new(self.shared.clone(), &head, body, respond);
                Next::Refused(Box::new(stream), head.request, fault)
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

    /// Whether no stream is open.
    fn becomes_idle(&mut self) -> bool {
        if self.shared.has_streams() {
            return false;
        }
        if !std::mem::replace(&mut self.is_idle, true) {
            self.seat.becomes_idle(AWAITING_HEAD);
        }
        true
    }

    /// Tells the client that no further stream is accepted. Open ones end by themselves.
    fn end(&mut self) {
        self.is_ending = true;
        self.h2.graceful_shutdown();
    }

    fn end_at_once(&mut self, code: Code) {
        self.is_ending = true;
        self.deadlines.start(Wait::Head, END_TIMEOUT);
        self.h2.abrupt_shutdown(code);
    }

    fn poll_endings(&mut self, cx: &mut Context<'_>) {
        if self.is_ending {
            return;
        }
        if self.seat.is_dismissed(cx.waker()) || self.ended.as_mut().poll(cx).is_ready() {
            self.end();
        }
    }

    /// Stops the deadlines of a direction that moves.
    fn note_progress(&mut self) {
        let watch = &self.shared.watch;
        let now = Progress {
            read: watch.read(),
            written: watch.written(),
        };
        if now.read != self.progress.read {
            self.is_asked = false;
            self.deadlines.stop(Wait::Frame);
            self.deadlines.stop(Wait::Pong);
        }
        if now.written != self.progress.written || !watch.is_blocked() {
            self.deadlines.stop(Wait::ClientWrite);
        }
        if watch.is_blocked() {
            let wait = self.shared.settings.timeouts.write;
            self.deadlines.start(Wait::ClientWrite, wait);
        }
        self.progress = now;
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if self.becomes_idle() {
            self.deadlines.stop(Wait::Frame);
            if self.is_ending {
                // A client that does not close its side must not keep the connection.
                self.deadlines.start(Wait::Head, END_TIMEOUT);
            } else {
                let keep_alive = self.shared.settings.timeouts.keep_alive;
                self.deadlines.start(Wait::Request, keep_alive);
            }
        } else if !self.is_asked {
            self.deadlines.start(Wait::Frame, ASK_AFTER);
        }
        match ready!(self.deadlines.poll(cx)) {
            Wait::Request => {
                self.end();
                self.poll_next(cx)
            }
            Wait::Frame => {
                self.ask();
                self.poll_next(cx)
            }
            // The client took no byte, sent no reply, or did not end its side.
            _ => Poll::Ready(Next::End),
        }
    }

    /// Asks the client for a sign of life: a half-open connection gives none.
    fn ask(&mut self) {
        self.is_asked = true;
        if let Some(pings) = &mut self.pings
            && pings.send_ping(Ping::opaque()).is_ok()
        {
            self.deadlines.start(Wait::Pong, PONG_TIMEOUT);
        }
    }
}
