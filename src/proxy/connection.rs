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
mod reading;
mod state;
mod writing;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use self::admission::Admitted;
pub use self::admission::{Capacity, Full, MaxConnections};
use self::answer_wait::{AnswerDeadline, AnswerWait};
use self::clients::LargeHead;
pub use self::clients::{ClientSettings, ClientTimeouts, Clients};
use self::closing::Closing;
use self::departure::{Reset, reset_of};
pub use self::state::ConnectionState;
use super::framing::{Framing, Unread};

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
            settings: clients.settings(),
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
            framing: Framing::new(state.error_forms().clone(), state.settings.max_head),
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
    use crate::domain::error_form::ErrorForms;
    use crate::domain::reason::Reason;

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
    async fn an_unread_request_saves_its_dismissed_connection() {
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
            let clients = Clients::new(ClientSettings {
                error_forms: ErrorForms::of_issuer("/m2m"),
                ..ClientSettings::default()
            });
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
        let clients = Arc::new(Clients::new(ClientSettings {
            max_head: 64 * 1024,
            ..ClientSettings::default()
        }));
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
    async fn a_blocked_connection_ends_at_once_when_dismissed() {
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
