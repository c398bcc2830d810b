//! The state that a listener's connections share: timeouts, limits and counters.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::admission::{Admission, Admitted, Capacity, Full};
use crate::domain::error_form::ErrorForms;
use crate::domain::reason::Reason;
use crate::proxy::fault::Fault;
use crate::proxy::framing::MAX_HEAD;

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

/// The state that a listener's connections share.
#[derive(Debug)]
pub struct Clients {
    pub timeouts: ClientTimeouts,
    pub error_forms: ErrorForms,
    admission: Arc<Admission>,
    total: usize,
    requests: AtomicUsize,
    /// Largest request head, in bytes.
    pub(super) max_head: usize,
    large_heads: AtomicUsize,
}

/// A slot for a request head beyond [`MAX_HEAD`].
#[derive(Debug)]
pub(super) struct LargeHead(Arc<Clients>);

impl Drop for LargeHead {
    fn drop(&mut self) {
        self.0.large_heads.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(ClientTimeouts::default(), Capacity::default())
    }
}

impl Clients {
    #[must_use]
    pub fn new(timeouts: ClientTimeouts, capacity: Capacity) -> Self {
        let total = capacity.total;
        Self {
            timeouts,
            error_forms: ErrorForms::default(),
            admission: Arc::new(Admission::new(capacity)),
            total,
            requests: AtomicUsize::new(0),
            max_head: MAX_HEAD,
            large_heads: AtomicUsize::new(0),
        }
    }

    /// Sets the error forms.
    #[must_use]
    pub fn with_error_forms(self, error_forms: ErrorForms) -> Self {
        Self {
            error_forms,
            ..self
        }
    }

    /// Sets the largest request head, in bytes.
    #[must_use]
    pub fn with_heads_up_to(self, max_head: usize) -> Self {
        Self { max_head, ..self }
    }

    /// The slot for a head with this many bytes so far: `taken` if it has one, `None` if it needs
    /// none.
    ///
    /// # Errors
    /// [`Reason::TooManyConnections`] when no slot is free.
    pub(super) fn large_head(
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
        self.total
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

    pub(super) fn request_begins(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn request_ends(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
