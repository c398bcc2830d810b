//! The state that a listener's connections share: timeouts, limits and counters.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::admission::{Admission, Admitted, Capacity, Full};
use super::peers::Peers;
use crate::domain::error_form::ErrorForms;
use crate::domain::reason::Reason;
use crate::proxy::fault::Fault;
use crate::proxy::framing::MAX_HEAD;
use crate::proxy::tls::ServerTls;

const LARGE_HEADS: &str = "256 large request heads are being read already; try again";

/// How many heads beyond [`MAX_HEAD`] a listener reads at once, which limits the memory that slow
/// clients can hold.
pub(super) const MOST_LARGE_HEADS: usize = 256;

/// How long a listener waits for its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// How long an idle connection is kept for another request; whole seconds.
    pub keep_alive: Duration,
    /// How long a client may pause while it sends a request's body.
    pub read: Duration,
    /// How long a client may pause while it reads a response.
    pub write: Duration,
}

impl Default for ClientTimeouts {
    /// The idle timeout exceeds the most common polling interval of a minute.
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(75),
            read: Duration::from_secs(60),
            write: Duration::from_secs(30),
        }
    }
}

/// The limits of a listener's clients, and the forms of its errors. A connection keeps the settings
/// that it was accepted with.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// How long the listener waits for a client.
    pub timeouts: ClientTimeouts,
    /// How many connections the listener holds.
    pub capacity: Capacity,
    /// The largest request head, in bytes.
    pub max_head: usize,
    /// The forms of errors.
    pub error_forms: ErrorForms,
    /// TLS for new connections; `None`: they are plain.
    pub tls: Option<Arc<ServerTls>>,
    /// The peers that may connect.
    pub peers: Peers,
    /// Whether CONNECT is a request that the service decides about.
    pub tunnels: bool,
    /// Whether the original destinations of redirected connections count.
    pub redirected: bool,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            timeouts: ClientTimeouts::default(),
            capacity: Capacity::default(),
            max_head: MAX_HEAD,
            error_forms: ErrorForms::default(),
            tls: None,
            peers: Peers::default(),
            tunnels: false,
            redirected: false,
        }
    }
}

/// The state that a listener's connections share.
#[derive(Debug)]
pub struct Clients {
    settings: ArcSwap<ClientSettings>,
    admission: Arc<Admission>,
    requests: AtomicUsize,
    large_heads: AtomicUsize,
}

/// A slot for a request head beyond [`MAX_HEAD`].
#[derive(Debug)]
pub(in crate::proxy) struct LargeHead(Arc<Clients>);

impl Drop for LargeHead {
    fn drop(&mut self) {
        self.0.large_heads.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request in progress, which the listener counts and its drain waits for.
#[derive(Debug)]
pub struct InProgress(Arc<Clients>);

impl InProgress {
    /// Counts a request until this is dropped.
    #[must_use]
    pub fn begin(clients: &Arc<Clients>) -> Self {
        clients.requests.fetch_add(1, Ordering::Relaxed);
        Self(clients.clone())
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(ClientSettings::default())
    }
}

impl Clients {
    /// Clients with these settings.
    #[must_use]
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            admission: Arc::new(Admission::new(settings.capacity.clone())),
            settings: ArcSwap::from_pointee(settings),
            requests: AtomicUsize::new(0),
            large_heads: AtomicUsize::new(0),
        }
    }

    /// The current settings.
    #[must_use]
    pub fn settings(&self) -> Arc<ClientSettings> {
        self.settings.load_full()
    }

    /// Replaces the settings: for new connections, and the capacity at once.
    pub fn set(&self, settings: ClientSettings) {
        self.admission.set_capacity(settings.capacity.clone());
        self.settings.store(Arc::new(settings));
    }

    /// The slot for a head with this many bytes so far: `taken` if it has one, `None` if it needs
    /// none.
    ///
    /// # Errors
    /// [`Reason::TooManyConnections`] when no slot is free.
    pub(in crate::proxy) fn large_head(
        self: &Arc<Self>,
        taken: Option<LargeHead>,
        held: usize,
    ) -> Result<Option<LargeHead>, Fault> {
        if held <= MAX_HEAD {
            return Ok(None);
        }
        let place = taken.or_else(|| self.begin_large_head());
        place
            .map(Some)
            .ok_or_else(|| Fault::because(Reason::TooManyConnections, LARGE_HEADS))
    }

    /// Takes a slot for a head beyond [`MAX_HEAD`]; `None` when all [`MOST_LARGE_HEADS`] are taken.
    pub(super) fn begin_large_head(self: &Arc<Self>) -> Option<LargeHead> {
        let next = |count: usize| (count < MOST_LARGE_HEADS).then_some(count + 1);
        let taken = self
            .large_heads
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.is_ok().then(|| LargeHead(self.clone()))
    }

    /// Waits for a seat for a connection from this address. Calls `on_dismissed` for each
    /// connection that is closed for it.
    ///
    /// # Errors
    /// When no connection can be dismissed.
    pub async fn admit(&self, peer: IpAddr, on_dismissed: impl FnMut()) -> Result<Admitted, Full> {
        self.admission.admit(peer, on_dismissed).await
    }

    /// The limit of connections.
    #[must_use]
    pub fn most_connections(&self) -> usize {
        self.settings.load().capacity.total
    }

    /// The number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.admission.open()
    }

    /// The number of requests in progress.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}
