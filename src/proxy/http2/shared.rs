//! The state that the streams of a connection share with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::frames::Watch;
use crate::proxy::connection::{ClientSettings, Clients, InProgress, LocalPeer};
use crate::proxy::tls::TlsPeer;

/// The state that the streams of a connection share.
pub(super) struct Shared {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub tls: Option<Arc<TlsPeer>>,
    pub process: Option<LocalPeer>,
    pub settings: Arc<ClientSettings>,
    pub watch: Arc<Watch>,
    clients: Arc<Clients>,
    /// Streams with a request in progress.
    open: AtomicUsize,
}

impl Shared {
    /// The state of a connection between these addresses.
    pub fn new(
        (peer, local): (SocketAddr, SocketAddr),
        (tls, process): (Option<Arc<TlsPeer>>, Option<LocalPeer>),
        settings: Arc<ClientSettings>,
        watch: Arc<Watch>,
        clients: Arc<Clients>,
    ) -> Self {
        Self {
            peer,
            local,
            tls,
            process,
            settings,
            watch,
            clients,
            open: AtomicUsize::new(0),
        }
    }

    /// How many requests are in progress.
    pub fn streams(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts a stream until [`Shared::end_stream`].
    pub fn begin_stream(&self) -> InProgress {
        self.open.fetch_add(1, Ordering::Relaxed);
        InProgress::begin(&self.clients)
    }

    pub fn end_stream(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
