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
mod tests;
