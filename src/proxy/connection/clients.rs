//! What the connections of a listener share: how long it waits for its clients, how many there may be, how many are busy.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::admission::{Admission, Admitted, Capacity, Full};
use crate::domain::error_form::ErrorForms;

/// How long a listener waits for its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// How long an idle connection is kept for another request; whole seconds.
    pub keep_alive: Duration,
    /// How long a client may pause while it sends a request's body.
    pub read: Duration,
    /// How long a client may pause while it reads an answer.
    pub write: Duration,
}

impl Default for ClientTimeouts {
    /// Idle connections are kept longer than the commonest polling interval, which is a minute.
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(75),
            read: Duration::from_secs(60),
            write: Duration::from_secs(30),
        }
    }
}

/// What the connections of a listener share.
#[derive(Debug)]
pub struct Clients {
    /// How long the listener waits for them.
    pub timeouts: ClientTimeouts,
    /// The forms of the errors that they get.
    pub error_forms: ErrorForms,
    admission: Arc<Admission>,
    total: usize,
    requests: AtomicUsize,
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(ClientTimeouts::default(), Capacity::default())
    }
}

impl Clients {
    /// Clients that the listener waits for so long, on so many connections.
    #[must_use]
    pub fn new(timeouts: ClientTimeouts, capacity: Capacity) -> Self {
        let total = capacity.total;
        let admission = Arc::new(Admission::new(capacity));
        let error_forms = ErrorForms::default();
        Self { timeouts, error_forms, admission, total, requests: AtomicUsize::new(0) }
    }

    /// The same clients, which get errors in these forms.
    #[must_use]
    pub fn with_error_forms(self, error_forms: ErrorForms) -> Self {
        Self { error_forms, ..self }
    }

    /// Waits for a seat for a connection from this address. `on_dismissed` is called for each connection that is closed for it.
    ///
    /// # Errors
    /// When no connection gives way.
    pub async fn admit(&self, peer: IpAddr, on_dismissed: impl FnMut()) -> Result<Admitted, Full> {
        self.admission.admit(peer, on_dismissed).await
    }

    /// How many connections there may be.
    #[must_use]
    pub fn most_connections(&self) -> usize {
        self.total
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.admission.open()
    }

    /// How many requests are under way.
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
