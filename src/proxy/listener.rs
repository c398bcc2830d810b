//! Listeners: bound sockets, one current-thread runtime per worker, and a drain that waits for the
//! last request.
//!
//! Every worker accepts on its own duplicate of every listening socket and keeps a connection until
//! its end. So a request never changes threads, and every worker has its own upstream connections.

mod accepting;
mod opening;
mod original;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pingora::tls::load_platform_certs_incl_env_into_store;
use rustls::RootCertStore;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::accepting::{Accepting, Ends};
use self::opening::Accepted;
use super::answer;
pub use super::bound_socket::{BindError, BoundSocket};
use super::connection::{ClientSettings, Clients, Full, Way};
use super::own::is_this_machine;
use super::relay::{self, Policy};
use super::switch::Switch;
use super::tls::Turns;
use super::upstream::Pool;
use crate::domain::listen::BoundAddress;
use crate::domain::reason::Reason;
use crate::telemetry::{ClosedConnection, Reading, RequestMetrics};

/// Pause after a failed accept, which usually means that no descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Most idle upstream connections of a listener on one worker.
const MOST_IDLE: usize = 128;

/// The threads that serve requests. Dropping them without [`Workers::stop`] ends the threads
/// without waiting.
pub struct Workers {
    runtimes: Vec<(Handle, Turns)>,
    threads: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Workers {
    /// Starts `count` workers.
    ///
    /// # Errors
    /// When the system provides no thread or no event queue.
    pub fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (mut runtimes, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count.max(1) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtimes.push((runtime.handle().clone(), Turns::default()));
            let stop = stop.clone();
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || runtime.block_on(stop.cancelled()))?);
        }
        Ok(Self {
            runtimes,
            threads,
            stop,
        })
    }

    /// Stops the threads and drops their remaining tasks.
    pub fn stop(mut self) {
        self.stop.cancel();
        for thread in std::mem::take(&mut self.threads) {
            let _ = thread.join();
        }
    }

    /// Serves a bound socket on every worker. Each worker keeps its own upstream connections.
    ///
    /// # Errors
    /// When the system gives no further descriptor for the socket.
    pub fn listen<P: Policy>(
        &self,
        socket: &BoundSocket,
        metrics: &Arc<RequestMetrics>,
        clients: Clients,
        service: &Switch<P>,
    ) -> io::Result<Listener> {
        // The workers' idle upstream connections together do not exceed the client connections.
        let share = clients.most_connections() / self.runtimes.len().max(1);
        let most_idle = share.clamp(1, MOST_IDLE);
        let (stop_accepting, ending) = (CancellationToken::new(), CancellationToken::new());
        let (connections, clients) = (TaskTracker::new(), Arc::new(clients));
        let reported = Arc::new(Reported::default());
        let counted = clients.clone();
        let reading = metrics.show_connections(move || counted.connections());
        let mut pools = Vec::new();
        for (runtime, turns) in &self.runtimes {
            let pool = Arc::new(Pool::new(most_idle));
            runtime.spawn(pool.clone().run());
            pools.push(pool.clone());
            for socket in socket.sockets() {
                // Registers the socket here, so that a failure is reported at the start.
                let accepting = {
                    let _on_worker = runtime.enter();
                    Accepting::new(socket)?
                };
                let accept = Accept {
                    service: service.clone(),
                    pool: pool.clone(),
                    socket: accepting,
                    stop: stop_accepting.clone(),
                    ending: ending.clone(),
                    connections: connections.clone(),
                    metrics: metrics.clone(),
                    clients: clients.clone(),
                    reported: reported.clone(),
                    turns: turns.clone(),
                };
                runtime.spawn(accept.run());
            }
        }
        let addresses = socket.addresses().cloned().collect();
        Ok(Listener {
            addresses,
            stop_accepting,
            ending,
            connections,
            clients,
            pools,
            _reading: reading,
        })
    }
}

impl Drop for Workers {
    /// Dropping the sidecar must free its sockets, which running threads would hold.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A running listener.
pub struct Listener {
    addresses: Vec<BoundAddress>,
    stop_accepting: CancellationToken,
    ending: CancellationToken,
    connections: TaskTracker,
    clients: Arc<Clients>,
    /// The idle upstream connections of each worker.
    pools: Vec<Arc<Pool>>,
    /// Shows the open connections in the metrics.
    _reading: Reading,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop_accepting.cancel();
        for pool in &self.pools {
            pool.close();
        }
    }
}

impl Listener {
    /// Its internet addresses.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().filter_map(BoundAddress::inet)
    }

    /// All its addresses.
    pub fn sockets(&self) -> impl Iterator<Item = &BoundAddress> {
        self.addresses.iter()
    }

    /// Replaces what it allows its clients.
    pub fn set_clients(&self, settings: ClientSettings) {
        self.clients.set(settings);
    }

    /// The number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The number of requests in progress.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.clients.requests()
    }

    /// Stops accepting, closes idle connections, and waits for the requests in progress.
    pub async fn drain(&self) {
        self.stop_accepting.cancel();
        self.ending.cancel();
        for pool in &self.pools {
            pool.close();
        }
        self.connections.close();
        self.connections.wait().await;
    }
}

/// The accept loop of one listener on one worker.
struct Accept<P> {
    service: Switch<P>,
    pool: Arc<Pool>,
    socket: Accepting,
    stop: CancellationToken,
    ending: CancellationToken,
    connections: TaskTracker,
    metrics: Arc<RequestMetrics>,
    clients: Arc<Clients>,
    reported: Arc<Reported>,
    turns: Turns,
}

/// The warnings that a listener has logged. Each is logged once, because it recurs often; metrics
/// count every occurrence.
#[derive(Default)]
struct Reported {
    accept_error: AtomicBool,
    closed_idle: AtomicBool,
    refused: AtomicBool,
    peer: AtomicBool,
    handshake: AtomicBool,
}

fn is_first(reported: &AtomicBool) -> bool {
    !reported.swap(true, Ordering::Relaxed)
}

impl<P: Policy> Accept<P> {
    async fn run(self) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                // An accepted connection is served although the listener ends in this moment.
                Ok((stream, ends)) => tokio::select! {
                    biased;
                    () = self.admit(stream, ends) => {}
                    () = self.stop.cancelled() => return,
                },
                Err(error) => self.report(&error).await,
            }
        }
    }

    /// Serves a new connection in its own task as soon as a seat is free, or refuses it.
    async fn admit(&self, stream: TcpStream, ends: Ends) {
        let peer = ends.peer;
        let settings = self.clients.settings();
        let original = settings
            .redirected
            .then(|| original::destination(&stream, ends.local));
        let way = original.flatten().map_or(Way::Direct, Way::Redirected);
        // A redirected connection keeps the address of the machine as its source.
        let is_own = || way != Way::Direct && is_this_machine(peer.ip().to_canonical());
        if !settings.peers.permit((peer, ends.local), ends.process) && !is_own() {
            return self.refuse_peer(&ends);
        }
        let on_dismissed = || {
            self.metrics.connection_closed(ClosedConnection::MadeRoom);
            if is_first(&self.reported.closed_idle) {
                tracing::warn!(
                    listener = self.metrics.listener(),
                    connections = self.clients.most_connections(),
                    "`maxConnections` is reached: the longest idle connection is closed for each \
                     new one; \
                     `m2m_connections_closed_total` counts them from now on"
                );
            }
        };
        let seat = match self.clients.admit(peer.ip(), on_dismissed).await {
            Ok(seat) => seat,
            Err(full) => return self.refuse(&stream, peer, full),
        };
        let accepted = Accepted {
            stream,
            ends,
            way,
            clients: self.clients.clone(),
            seat,
            ending: self.ending.clone(),
        };
        let (service, pool) = (self.service.clone(), self.pool.clone());
        let metrics = self.metrics.clone();
        let Some(tls) = self.clients.settings().tls.clone() else {
            let connection = accepted.plain();
            let serve = async move { relay::serve(&service, connection, &pool, &metrics).await };
            self.connections.spawn(serve);
            return;
        };
        let (turns, reported) = (self.turns.clone(), self.reported.clone());
        self.connections.spawn(async move {
            let opened = accepted.over_tls(&tls, &turns, &metrics, &reported).await;
            if let Some(connection) = opened {
                relay::serve(&service, connection, &pool, &metrics).await;
            }
        });
    }

    /// Sends the refusal to a connection without a seat, as far as that needs no waiting. A client
    /// of TLS gets none: it would need a handshake.
    fn refuse(&self, stream: &TcpStream, peer: SocketAddr, full: Full) {
        let settings = self.clients.settings();
        let form = settings.error_forms.of_no_request();
        if settings.tls.is_none() {
            let answer = answer::on_the_wire(&Reason::TooManyConnections.into(), form);
            // The socket's send buffer is empty and holds the whole response. A disconnected
            // client needs none.
            let _ = SockRef::from(stream).send(&answer);
        }
        let (closed, limit) = match full {
            Full::Listener => (ClosedConnection::Refused, "total"),
            Full::Address => (ClosedConnection::RefusedAddress, "perAddress"),
        };
        self.metrics.connection_closed(closed);
        if is_first(&self.reported.refused) {
            tracing::warn!(
                listener = self.metrics.listener(),
                client = %peer.ip(),
                "`maxConnections.{limit}` is reached and no connection is idle: new connections \
                 are refused with 503; \
                 `m2m_connections_closed_total` counts them from now on"
            );
        }
    }

    /// Closes a connection of a peer that may not connect. It gets no response.
    fn refuse_peer(&self, ends: &Ends) {
        self.metrics
            .connection_closed(ClosedConnection::RefusedPeer);
        let listener = self.metrics.listener();
        let why = match ends.process {
            Some(_) => "the user of the process is not in `allowedUids` of the listener's address",
            None => "other machines need `allowRemote: true`, and `localApi` serves none",
        };
        let (peer, uid) = (ends.peer.ip(), ends.process.map(|it| it.user));
        if is_first(&self.reported.peer) {
            tracing::warn!(
                listener,
                %peer,
                uid,
                "a connection was refused: {why}; `m2m_connections_closed_total` counts them, and \
                 level debug logs each"
            );
        } else {
            tracing::debug!(listener, %peer, uid, "a connection was refused: {why}");
        }
    }

    /// Counts a failed accept, and pauses if the next one would fail too.
    async fn report(&self, error: &io::Error) {
        self.metrics.accept_failed();
        if is_first(&self.reported.accept_error) {
            tracing::warn!(
                %error,
                listener = self.metrics.listener(),
                "cannot accept a connection; `m2m_accept_errors_total` counts further failures"
            );
        }
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if !matches!(
            error.kind(),
            ConnectionAborted | ConnectionReset | Interrupted
        ) {
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// Checks whether the platform's certificates are readable, before an upstream needs them.
///
/// # Errors
/// The reason why they are unreadable.
pub fn check_platform_certificates() -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    load_platform_certs_incl_env_into_store(&mut roots).map_err(|error| match &error.cause {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    })
}
