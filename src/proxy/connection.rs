//! The wrapper of an accepted connection below Pingora.
//!
//! It adds what Pingora lacks:
//! - a limit on connections (see `admission`);
//! - a deadline for the whole request head, where Pingora has a timeout per read;
//! - strict parsing, with the next request held back until this one is answered (see
//!   [`framing`](super::framing));
//! - the sidecar's own error response to input that is not HTTP, which Pingora would answer before
//!   any phase runs;
//! - a timeout on every write, where Pingora has none on heads and flushes;
//! - a close that lets the response arrive while the client is still sending.

mod admission;
mod answer_wait;
mod clients;
mod closing;
mod departure;

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use self::admission::{
    AWAITING_HEAD, Admitted, DISMISSED, HEAD_BEGUN, HEAD_COMPLETE, HEAD_READ, LINGERING,
};
pub use self::admission::{Capacity, Full, MaxConnections};
use self::answer_wait::{AnswerDeadline, AnswerWait};
use self::clients::LargeHead;
pub use self::clients::{ClientTimeouts, Clients};
use self::closing::Closing;
use self::departure::{Reset, reset_of};
use super::fault::Fault;
use super::framing::{Framing, Unread};
use super::respond;
use crate::domain::error_form::ErrorForms;
use crate::domain::reason::Reason;

/// How long a new connection may send nothing.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request head may take from its first byte.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How many bytes of later requests are held back while a request is answered.
const MOST_HELD: usize = 64 * 1024;
/// Size of one read ahead.
const READ_AHEAD: usize = 4 * 1024;
/// Large enough for the head and a small body to go out in one write.
const WRITE_BUFFER: usize = 4 * 1024;

/// The rule for heads that Pingora refuses although `framing` accepted them.
const UNREADABLE: &str = "the head cannot be read";

/// The state that the connection shares with the phases.
pub struct ConnectionState {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    clients: Arc<Clients>,
    seat: Admitted,
    /// Whether the first byte was missing when its deadline passed.
    is_silent: AtomicBool,
    /// Whether a request is in progress.
    is_busy: AtomicBool,
    /// Why a head was refused before any phase saw it.
    refused: OnceLock<Fault>,
    /// The framing fault of the current request's body.
    broken_body: OnceLock<Fault>,
    /// Whether the client paused for too long while it read a response.
    stalled: AtomicBool,
    /// The response timeout of the upstream, and whether it has expired.
    answer: AnswerWait,
}

impl ConnectionState {
    /// How many seconds an idle connection is kept. At least 1: Pingora takes 0 as no limit.
    #[must_use]
    pub fn keep_alive(&self) -> u64 {
        self.clients.timeouts.keep_alive.as_secs().max(1)
    }

    /// The error forms for the client.
    #[must_use]
    pub fn error_forms(&self) -> &ErrorForms {
        &self.clients.error_forms
    }

    #[must_use]
    pub fn timeouts(&self) -> &ClientTimeouts {
        &self.clients.timeouts
    }

    /// Sets how long the upstream may pause in its response. The time starts at the end of the
    /// request body, or now if the client waits for `100 Continue`. `None` for a request whose body
    /// is complete.
    pub fn await_answer(&self, wait: Option<Duration>, is_for_continue: bool) {
        self.answer.set(wait, is_for_continue);
    }

    /// Whether the client waits for the upstream's `100 Continue`.
    #[must_use]
    pub fn awaits_continue(&self) -> bool {
        self.answer.is_for_continue.load(Ordering::Relaxed)
    }

    /// Whether the upstream's response timeout has expired.
    #[must_use]
    pub fn is_answer_late(&self) -> bool {
        self.answer.is_late.load(Ordering::Relaxed)
    }

    /// Whether the client paused for too long while it read a response.
    #[must_use]
    pub fn has_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Prepares for another request.
    pub fn await_head(&self) {
        self.request_is_over();
        self.answer.set(None, false);
        if self.seat.phase() != AWAITING_HEAD {
            self.seat.becomes_idle(AWAITING_HEAD);
        }
    }

    /// Whether the connection was closed because it sent nothing in time.
    #[must_use]
    pub fn was_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// Pingora has parsed the head; it and the phases write the responses from now on.
    pub fn head_is_read(&self) {
        if !self.is_busy.swap(true, Ordering::Relaxed) {
            self.clients.request_begins();
        }
        self.seat.is_read();
    }

    /// Why a head was refused before any phase saw it.
    #[must_use]
    pub fn refused(&self) -> Option<&Fault> {
        self.refused.get()
    }

    /// The framing fault of the current request's body.
    #[must_use]
    pub fn broken_body(&self) -> Option<&Fault> {
        self.broken_body.get()
    }

    fn request_is_over(&self) {
        if self.is_busy.swap(false, Ordering::Relaxed) {
            self.clients.request_ends();
        }
    }
}

impl Drop for ConnectionState {
    fn drop(&mut self) {
        self.request_is_over();
    }
}

/// An accepted connection.
pub struct Connection {
    io: BufWriter<TcpStream>,
    state: Arc<ConnectionState>,
    framing: Framing,
    /// Set while a larger head than usual is read.
    large_head: Option<LargeHead>,
    /// Received bytes of the next requests.
    held: Vec<u8>,
    /// Parsed bytes that Pingora has not read yet: a rewritten or reassembled head, and the part of
    /// the body that arrived with it.
    pending: Vec<u8>,
    /// Armed while the first byte or the rest of a head is awaited.
    deadline: Option<Pin<Box<Sleep>>>,
    /// The deadline of the first byte, until it arrives.
    first_byte: Option<Instant>,
    /// Armed while a write is blocked.
    write_deadline: Option<Pin<Box<Sleep>>>,
    /// Armed while the upstream's response is awaited.
    answer_deadline: AnswerDeadline,
    /// Whether the client has closed its sending side.
    is_half_closed: bool,
    /// Set while no read would report a reset.
    reset: Option<Reset>,
    /// Set while the connection is being closed.
    closing: Option<Closing>,
    /// Whether the sending side is closed.
    is_shut_down: bool,
    digest: Arc<SocketDigest>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.state.peer)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Wraps an accepted stream.
    ///
    /// # Errors
    /// When the stream is already closed.
    pub fn new(
        stream: TcpStream,
        peer: SocketAddr,
        clients: Arc<Clients>,
        seat: Admitted,
    ) -> io::Result<(Self, Arc<ConnectionState>)> {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
        let _ = digest.peer_addr.set(Some(peer.into()));
        let state = Arc::new(ConnectionState {
            peer,
            local,
            clients,
            seat,
            is_silent: AtomicBool::new(false),
            is_busy: AtomicBool::new(false),
            refused: OnceLock::new(),
            broken_body: OnceLock::new(),
            stalled: AtomicBool::new(false),
            answer: AnswerWait::default(),
        });
        let io = BufWriter::with_capacity(WRITE_BUFFER, stream);
        let connection = Self {
            io,
            state: state.clone(),
            framing: Framing::new(state.error_forms().clone(), state.clients.max_head),
            large_head: None,
            held: Vec::new(),
            pending: Vec::new(),
            deadline: None,
            first_byte: Some(Instant::now() + FIRST_BYTE_TIMEOUT),
            write_deadline: None,
            answer_deadline: AnswerDeadline::default(),
            is_half_closed: false,
            reset: None,
            closing: None,
            is_shut_down: false,
            digest: Arc::new(digest),
        };
        Ok((connection, state))
    }

    /// The state that the connection shares with the phases.
    #[must_use]
    pub fn state(&self) -> Arc<ConnectionState> {
        self.state.clone()
    }

    /// The part of the request that has not arrived.
    #[must_use]
    pub fn unread(&self) -> Unread {
        self.framing.unread()
    }

    /// Resolves with the system's error when the connection is reset.
    pub fn until_reset(&self) -> impl Future<Output = io::Error> + Send + Sync + use<> {
        reset_of(self.io.get_ref())
    }

    /// Whether the client has begun to send the request's body.
    #[must_use]
    pub fn has_begun_body(&self) -> bool {
        self.framing.has_begun_body()
    }

    /// Reads until the head is complete, parses it, and arms the deadline when a read blocks.
    fn poll_read_head(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            let phase = self.state.seat.phase();
            let begun = phase != AWAITING_HEAD && phase != DISMISSED;
            if phase == DISMISSED && !self.stays() {
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(read) = self.poll_next_bytes(cx, buf) else {
                return self.poll_wait_for_head(cx, begun);
            };
            read?;
            if !begun {
                if !self.state.seat.advance(AWAITING_HEAD, HEAD_BEGUN) {
                    buf.set_filled(before);
                    return Poll::Ready(Ok(()));
                }
                self.framing.next_request();
                self.deadline = None;
                self.first_byte = None;
                self.reset = None;
            }
            if buf.filled().len() == before {
                return match self.framing.cut_off() {
                    Some(fault) => self.poll_refuse(cx, fault),
                    None => Poll::Ready(Ok(())),
                };
            }
            if let Err(fault) = self.take(buf, before) {
                return self.poll_refuse(cx, fault);
            }
            // The reads of a trickling client may never block, so the deadline is checked here as
            // well.
            if self
                .deadline
                .as_mut()
                .is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
            {
                return self.poll_refuse(cx, Reason::HeadTimeout.into());
            }
            if !self.framing.awaits_head()
                && self.state.seat.phase() != HEAD_COMPLETE
                && !self.state.seat.advance(HEAD_BEGUN, HEAD_COMPLETE)
            {
                buf.set_filled(before);
                return Poll::Ready(Ok(()));
            }
            self.give_pending(buf);
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Whether a dismissed connection has an unread request in the socket's buffer, and therefore
    /// stays.
    fn stays(&self) -> bool {
        let no_byte_is_read = self.first_byte.is_some() || self.framing.is_ended();
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let stays = no_byte_is_read
            && SockRef::from(self.io.get_ref())
                .peek(&mut byte)
                .is_ok_and(|waiting| waiting > 0);
        if stays {
            self.state.seat.stays();
        }
        stays
    }

    /// Waits for a head or its rest. The connection ends here as if the client had closed it.
    fn poll_wait_for_head(&mut self, cx: &mut Context<'_>, begun: bool) -> Poll<io::Result<()>> {
        if self.state.seat.is_dismissed(cx.waker()) && !self.stays() {
            return Poll::Ready(Ok(()));
        }
        let end = match self.first_byte {
            _ if begun => Instant::now() + HEAD_TIMEOUT,
            Some(first_byte) => first_byte,
            None => return Poll::Pending,
        };
        if begun && self.deadline.is_none() {
            // The idle time starts now, because the head has just begun.
            self.state.seat.becomes_idle(HEAD_BEGUN);
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        ready!(deadline.as_mut().poll(cx));
        if begun {
            return self.poll_refuse(cx, Reason::HeadTimeout.into());
        }
        if self.state.seat.dismiss() {
            self.state.is_silent.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads a body. After its end, waits for the client to disconnect.
    fn poll_read_body(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let is_ended = self.framing.is_ended();
        // Before that, the client's own timeout applies.
        let is_upstreams_turn =
            is_ended || self.state.awaits_continue() && !self.framing.has_begun_body();
        if is_upstreams_turn
            && self
                .answer_deadline
                .poll_late(cx, &self.state.answer)
                .is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if is_ended {
            return self.poll_departure(cx).map(Err);
        }
        let before = buf.filled().len();
        ready!(self.poll_next_bytes(cx, buf))?;
        if let Err(fault) = self.take(buf, before) {
            let code = fault.reason.code();
            let _ = self.state.broken_body.set(fault);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, code)));
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for a reset while a request is answered. Bytes that arrive meanwhile belong to later
    /// requests and are held back. A half-closed client still expects its response.
    fn poll_departure(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut ahead = [0; READ_AHEAD];
        while !self.is_half_closed && self.held.len() < MOST_HELD {
            let mut ahead = ReadBuf::new(&mut ahead);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut ahead)) {
                Err(error) => return Poll::Ready(error),
                Ok(()) if ahead.filled().is_empty() => self.is_half_closed = true,
                Ok(()) => self.held.extend_from_slice(ahead.filled()),
            }
        }
        let stream = self.io.get_ref();
        self.reset
            .get_or_insert_with(|| reset_of(stream))
            .as_mut()
            .poll(cx)
    }

    /// The held bytes, or else those of the socket.
    fn poll_next_bytes(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let given = self.held.len().min(buf.remaining());
        buf.put_slice(self.held.get(..given).unwrap_or_default());
        self.held.drain(..given);
        Poll::Ready(Ok(()))
    }

    /// Parses the received bytes and holds back those of later requests. Pingora receives a head as
    /// a whole.
    fn take(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> Result<(), Fault> {
        let new = buf.filled().get(before..).unwrap_or_default();
        let progress = self.framing.read(new)?;
        self.large_head = self
            .state
            .clients
            .large_head(self.large_head.take(), self.framing.held())?;
        if let Some(next) = new.get(progress.taken..).filter(|next| !next.is_empty()) {
            // Pipelined requests come from `held` itself.
            self.held.splice(..0, next.iter().copied());
        }
        let mut given = progress.taken;
        if self.framing.awaits_head() {
            given = 0;
        } else if let Some(head) = progress.head {
            self.pending = head;
            self.pending.extend_from_slice(
                new.get(progress.of_head..progress.taken)
                    .unwrap_or_default(),
            );
            given = 0;
        }
        buf.set_filled(before + given);
        Ok(())
    }

    /// Gives Pingora as many of the parsed bytes as fit.
    fn give_pending(&mut self, buf: &mut ReadBuf<'_>) {
        let given = self.pending.len().min(buf.remaining());
        buf.put_slice(self.pending.get(..given).unwrap_or_default());
        self.pending.drain(..given);
    }

    /// Passes a write's result on, or ends a write that is blocked for too long.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_deadline = None;
            self.answer_deadline.restart(&self.state.answer);
            return written;
        }
        // No request is in progress, and another connection waits for this seat.
        let seat = &self.state.seat;
        if seat.phase() != HEAD_READ && seat.is_dismissed(cx.waker()) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let wait = self.state.timeouts().write;
        let deadline = self
            .write_deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        ready!(deadline.as_mut().poll(cx));
        self.state.stalled.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Answers in Pingora's place and ends the input.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, fault: Fault) -> Poll<io::Result<()>> {
        let code = fault.reason.code();
        self.write_refusal(cx, fault);
        let _ = Pin::new(&mut self.io).poll_flush(cx);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, code)))
    }

    /// Puts the response for a fault into the write buffer. The buffer is empty, because nothing
    /// was written since the last flush, and it is larger than the response.
    fn write_refusal(&mut self, cx: &mut Context<'_>, fault: Fault) {
        if self.state.refused().is_none() {
            let _ = Pin::new(&mut self.io)
                .poll_write(cx, &respond::on_the_wire(&fault, self.framing.error_form()));
            let _ = self.state.refused.set(fault);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.pending.is_empty() {
            self.give_pending(buf);
            return Poll::Ready(Ok(()));
        }
        if self.state.seat.phase() == HEAD_READ {
            self.poll_read_body(cx, buf)
        } else {
            self.poll_read_head(cx, buf)
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.state.seat.phase() == HEAD_READ {
            let written = Pin::new(&mut self.io).poll_write(cx, buf);
            return self.in_time(cx, written);
        }
        // Before a head is accepted Pingora writes only its own error page, which is replaced here.
        self.write_refusal(cx, Fault::malformed(UNREADABLE));
        Poll::Ready(Ok(buf.len()))
    }

    /// Writes a chunk, its size and its end at once, although the buffer is too small for them.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.state.seat.phase() == HEAD_READ {
            let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
            return self.in_time(cx, written);
        }
        let first = bufs
            .iter()
            .find(|buf| !buf.is_empty())
            .map_or(&[][..], |buf| buf);
        self.poll_write(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.in_time(cx, flushed)
    }

    /// Closes the sending side and discards further input: see `closing`.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.state.request_is_over();
        // No request was in progress, and another connection waits for this seat.
        if this.state.seat.is_dismissed(cx.waker()) {
            if !this.is_shut_down {
                // Does not wait: a client that does not read must not keep the seat.
                let _ = Pin::new(&mut this.io).poll_shutdown(cx);
            }
            return Poll::Ready(Ok(()));
        }
        // The held bytes are no longer a request.
        let unread = if this.held.is_empty() {
            this.framing.unread()
        } else {
            Unread::Unknown
        };
        let closing = this.closing.get_or_insert_with(|| Closing::begin(unread));
        // A client that does not read could block this write without end.
        if closing.is_over(cx) {
            return Poll::Ready(Ok(()));
        }
        if !this.is_shut_down {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            this.is_shut_down = true;
            this.state.seat.becomes_idle(LINGERING);
        }
        closing.poll_discard(cx, this.io.get_mut())
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.io.get_ref().as_raw_fd()
    }
}

impl Ssl for Connection {}

#[async_trait]
impl Peek for Connection {}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<pingora::protocols::raw_connect::ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A connection as a listener creates it, and its client.
    async fn connected() -> (Connection, TcpStream) {
        connected_to(Clients::default()).await
    }

    async fn connected_to(clients: Clients) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let clients = Arc::new(clients);
        let seat = clients.admit(peer.ip(), || ()).await.unwrap();
        (
            Connection::new(stream, peer, clients, seat).unwrap().0,
            client,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_has_ten_seconds_until_its_first_byte() {
        let (mut connection, _client) = connected().await;
        let (state, began) = (connection.state(), Instant::now());
        assert_eq!(
            connection.read(&mut [0; 64]).await.unwrap(),
            0,
            "it ends as if the client had closed it"
        );
        assert_eq!(began.elapsed().as_secs(), 10);
        assert!(state.was_silent() && state.refused().is_none());
        // No time passes while further input is awaited.
        AsyncWriteExt::shutdown(&mut connection).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    /// A flood of connections must not end one whose request has arrived but is unread.
    #[tokio::test]
    async fn a_request_that_waits_in_the_socket_is_served_although_its_connection_was_to_end() {
        let (mut connection, mut client) = connected().await;
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(head).await.unwrap();
        assert!(connection.state.seat.dismiss());
        let mut read = [0; 64];
        let length = connection.read(&mut read).await.unwrap();
        assert_eq!(&read[..length], head);
        // A silent connection ends.
        let (mut silent, _client) = connected().await;
        assert!(silent.state.seat.dismiss());
        assert_eq!(silent.read(&mut read).await.unwrap(), 0);
        // So does one that has sent the beginning of a head, however much of it follows.
        let (mut slow, mut client) = connected().await;
        client.write_all(b"GET / HT").await.unwrap();
        let reading = tokio::time::timeout(Duration::from_millis(50), slow.read(&mut read));
        assert!(reading.await.is_err());
        assert!(slow.state.seat.dismiss());
        client.write_all(b"TP/1.1").await.unwrap();
        assert_eq!(slow.read(&mut read).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_ten_seconds_from_its_first_byte() {
        let (mut connection, mut client) = connected().await;
        client.write_all(b"GET / HT").await.unwrap();
        let (state, began) = (connection.state(), Instant::now());
        connection.read(&mut [0; 64]).await.unwrap_err();
        assert!((10..20).contains(&began.elapsed().as_secs()));
        assert_eq!(state.refused().unwrap().reason, Reason::HeadTimeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_come_whole_is_answered_in_the_form_of_its_path() {
        for (begin, is_status) in [
            ("GET /m2m/api/v1/tok", true),
            ("GET /m2m/api/v1/tokens?idFilter=1 HTTP/1.1\r\nX: ", true),
            ("GET /elsewhere HT", false),
            ("GE", true),
        ] {
            let clients = Clients::default().with_error_forms(ErrorForms::of_issuer("/m2m"));
            let (mut connection, mut client) = connected_to(clients).await;
            client.write_all(begin.as_bytes()).await.unwrap();
            connection.read(&mut [0; 64]).await.unwrap_err();
            drop(connection);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(
                (body["code"] == 4, body.get("error").is_none()),
                (is_status, is_status),
                "{body}"
            );
        }
    }

    /// Slow clients with large heads hold a bounded amount of memory.
    #[tokio::test]
    async fn only_so_many_large_heads_are_read_at_once() {
        let clients = Arc::new(Clients::default().with_heads_up_to(64 * 1024));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = async || {
            let mut client = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let (stream, peer) = listener.accept().await.unwrap();
            let seat = clients.admit(peer.ip(), || ()).await.unwrap();
            let connection = Connection::new(stream, peer, clients.clone(), seat)
                .unwrap()
                .0;
            let head = format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
                "x".repeat(40 * 1024)
            );
            client.write_all(head.as_bytes()).await.unwrap();
            (connection, client)
        };
        let mut taken: Vec<_> = std::iter::from_fn(|| clients.begin_large_head()).collect();
        assert_eq!(taken.len(), clients::MOST_LARGE_HEADS);
        let (mut refused, _client) = open().await;
        refused.read(&mut [0; 64]).await.unwrap_err();
        assert_eq!(
            refused.state().refused().unwrap().reason,
            Reason::TooManyConnections
        );
        taken.pop();
        let (mut served, _client) = open().await;
        assert_eq!(served.read(&mut [0; 64]).await.unwrap(), 64);
        // The head is complete, so its slot is free again.
        assert!(clients.begin_large_head().is_some());
    }

    /// The last response fills the system's buffer, so the refusal of the next head cannot be sent.
    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_client_does_not_read_ends_at_once_when_its_seat_is_wanted() {
        let (mut connection, mut client) = connected().await;
        let socket = connection.io.get_ref();
        socket.writable().await.unwrap();
        while socket.try_write(&[0; 64 * 1024]).is_ok() {}
        client.write_all(b"no head\r\n\r\n").await.unwrap();
        connection.read(&mut [0; 64]).await.unwrap_err();
        let (state, began) = (connection.state(), Instant::now());
        let flushing = tokio::spawn(async move {
            let flushed = connection.flush().await;
            let _ = AsyncWriteExt::shutdown(&mut connection).await;
            flushed
        });
        tokio::task::yield_now().await;
        assert!(state.seat.dismiss());
        let flushed = tokio::time::timeout(Duration::from_secs(1), flushing)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            flushed.unwrap_err().kind(),
            io::ErrorKind::ConnectionAborted
        );
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(client);
    }
}
