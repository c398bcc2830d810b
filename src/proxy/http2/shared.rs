//! The state that the streams of a connection share with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use super::frames::Watch;
use crate::proxy::connection::{ClientSettings, Clients, InProgress, LocalPeer, Way};
use crate::proxy::tls::TlsPeer;

/// The state that the streams of a connection share.
pub(super) struct Shared {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub tls: Option<Arc<TlsPeer>>,
    pub process: Option<LocalPeer>,
    pub way: Way,
    pub settings: Arc<ClientSettings>,
    pub watch: Arc<Watch>,
    /// Cancelled when the listener ends.
    pub ending: CancellationToken,
    clients: Arc<Clients>,
    /// Streams with a request in progress.
    open: AtomicUsize,
    /// Bytes of the heads of these requests.
    heads: AtomicUsize,
}

impl Shared {
    /// The state of a connection between these addresses.
    pub fn new(
        (peer, local): (SocketAddr, SocketAddr),
        (tls, process, way): (Option<Arc<TlsPeer>>, Option<LocalPeer>, Way),
        settings: Arc<ClientSettings>,
        watch: Arc<Watch>,
        (clients, ending): (Arc<Clients>, CancellationToken),
    ) -> Self {
        Self {
            peer,
            local,
            tls,
            process,
            way,
            settings,
            watch,
            ending,
            clients,
            open: AtomicUsize::new(0),
            heads: AtomicUsize::new(0),
        }
    }

    /// How many requests are in progress.
    pub fn streams(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many bytes the heads of the requests in progress have.
    pub fn head_bytes(&self) -> usize {
        self.heads.load(Ordering::Relaxed)
    }

    /// Counts a stream with a head of so many bytes until [`Shared::end_stream`].
    pub fn begin_stream(&self, head: usize) -> InProgress {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.heads.fetch_add(head, Ordering::Relaxed);
        InProgress::begin(&self.clients)
    }

    pub fn end_stream(&self, head: usize) {
        self.heads.fetch_sub(head, Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
