//! Listeners: bound sockets, one current-thread runtime per worker, and a drain that waits for the
//! last request.
//!
//! Every worker accepts on its own duplicate of every listening socket and keeps a connection until
//! its end. So a request never changes threads, and every worker has its own upstream connections.
//! Pingora's `Server` is not used: it reports neither bind errors nor addresses, and always waits
//! for its full grace period.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pingora::apps::{HttpServerApp, HttpServerOptions};
use pingora::protocols::http::ServerSession;
use pingora::proxy::{HttpProxy, ProxyHttp, http_proxy};
use pingora::server::configuration::ServerConf;
use pingora::tls::load_platform_certs_incl_env_into_store;
use rustls::RootCertStore;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access;
use super::answer;
pub use super::bound_socket::{BindError, BoundSocket};
use super::connection::{ClientSettings, Clients, Connection, ConnectionState, Full};
use super::switch::Switch;
use crate::domain::reason::Reason;
use crate::telemetry::{ClosedConnection, Reading, RequestMetrics};

/// Pause after a failed accept, which usually means that no descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many connection attempts a request may make; a failed one moves on to the next address.
pub(super) const MAX_TRIES: usize = 4;

/// The threads that serve requests. Dropping them without [`Workers::stop`] ends the threads
/// without waiting.
pub struct Workers {
    runtimes: Vec<Handle>,
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
            runtimes.push(runtime.handle().clone());
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
    pub fn listen<S>(
        &self,
        socket: &BoundSocket,
        metrics: &Arc<RequestMetrics>,
        clients: Clients,
        service: &Switch<S>,
    ) -> io::Result<Listener>
    where
        S: ProxyHttp + Send + Sync + 'static,
        S::CTX: Send + Sync,
    {
        let default = ServerConf::default();
        // The workers' idle upstream connections together do not exceed the client connections.
        let share = clients.most_connections() / self.runtimes.len().max(1);
        let upstream_keepalive_pool_size = share.clamp(1, default.upstream_keepalive_pool_size);
        let conf = ServerConf {
            threads: 1,
            max_retries: MAX_TRIES,
            upstream_keepalive_pool_size,
            ..default
        };
        let conf = Arc::new(conf);
        let stop_accepting = CancellationToken::new();
        let (ending, ending_watch) = watch::channel(false);
        let (connections, clients) = (TaskTracker::new(), Arc::new(clients));
        let reported = Arc::new(Reported::default());
        let counted = clients.clone();
        let reading = metrics.show_connections(move || counted.connections());
        let mut services: Vec<Arc<dyn Cleanup>> = Vec::new();
        for runtime in &self.runtimes {
            let mut proxy = http_proxy(&conf, service.clone());
            let mut options = HttpServerOptions::default();
            // Otherwise Pingora answers CONNECT itself, without an explanation.
            options.allow_connect_method_proxying = true;
            proxy.server_options = Some(options);
            let proxy = Arc::new(proxy);
            services.push(proxy.clone());
            for socket in socket.sockets() {
                // Registers the socket here, so that a failure is reported at the start.
                let accepting = {
                    let _on_worker = runtime.enter();
                    TcpListener::from_std(socket.try_clone()?)?
                };
                let accept = Accept {
                    proxy: proxy.clone(),
                    socket: accepting,
                    stop: stop_accepting.clone(),
                    ending: ending_watch.clone(),
                    connections: connections.clone(),
                    metrics: metrics.clone(),
                    clients: clients.clone(),
                    reported: reported.clone(),
                };
                runtime.spawn(accept.run());
            }
        }
        let addresses = socket.addresses().collect();
        Ok(Listener {
            addresses,
            stop_accepting,
            ending,
            connections,
            clients,
            services,
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

/// Closes the idle connections of one service.
trait Cleanup: Send + Sync {
    fn cleanup(self: Arc<Self>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl<S> Cleanup for HttpProxy<S>
where
    S: ProxyHttp + Send + Sync + 'static,
    S::CTX: Send + Sync,
{
    fn cleanup(self: Arc<Self>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { self.http_cleanup().await })
    }
}

/// A running listener.
pub struct Listener {
    addresses: Vec<SocketAddr>,
    stop_accepting: CancellationToken,
    ending: watch::Sender<bool>,
    connections: TaskTracker,
    clients: Arc<Clients>,
    services: Vec<Arc<dyn Cleanup>>,
    /// Shows the open connections in the metrics.
    _reading: Reading,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop_accepting.cancel();
    }
}

impl Listener {
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().copied()
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
        self.ending.send_replace(true);
        for service in &self.services {
            service.clone().cleanup().await;
        }
        self.connections.close();
        self.connections.wait().await;
    }
}

/// The accept loop of one listener on one worker.
struct Accept<S> {
    proxy: Arc<HttpProxy<S>>,
    socket: TcpListener,
    stop: CancellationToken,
    ending: watch::Receiver<bool>,
    connections: TaskTracker,
    metrics: Arc<RequestMetrics>,
    clients: Arc<Clients>,
    reported: Arc<Reported>,
}

/// The warnings that a listener has logged. Each is logged once, because it recurs often; metrics
/// count every occurrence.
#[derive(Default)]
struct Reported {
    accept_error: AtomicBool,
    closed_idle: AtomicBool,
    refused: AtomicBool,
}

fn is_first(reported: &AtomicBool) -> bool {
    !reported.swap(true, Ordering::Relaxed)
}

impl<S> Accept<S>
where
    S: ProxyHttp + Send + Sync + 'static,
    S::CTX: Send + Sync,
{
    async fn run(self) {
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => tokio::select! {
                    () = self.admit(stream, peer) => {}
                    () = self.stop.cancelled() => return,
                },
                Err(error) => self.report(&error).await,
            }
        }
    }

    /// Serves a new connection in its own task as soon as a seat is free, or refuses it.
    async fn admit(&self, stream: TcpStream, peer: SocketAddr) {
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
        let Ok((connection, state)) = Connection::new(stream, peer, self.clients.clone(), seat)
        else {
            return;
        };
        let (proxy, ending, metrics) = (
            self.proxy.clone(),
            self.ending.clone(),
            self.metrics.clone(),
        );
        self.connections.spawn(async move {
            serve(&proxy, connection, &state, &ending).await;
            if let Some(fault) = state.refused() {
                access::refused_head(&metrics, &state, fault);
            }
            if state.was_silent() {
                metrics.connection_closed(ClosedConnection::Silent);
            }
        });
    }

    /// Sends the refusal to a connection without a seat, as far as that needs no waiting.
    fn refuse(&self, stream: &TcpStream, peer: SocketAddr, full: Full) {
        let answer = answer::on_the_wire(
            &Reason::TooManyConnections.into(),
            self.clients.settings().error_forms.of_no_request(),
        );
        // The socket's send buffer is empty and holds the whole response. A disconnected client
        // needs none.
        let _ = SockRef::from(stream).send(&answer);
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

/// Serves one connection, request by request.
async fn serve<S>(
    proxy: &Arc<HttpProxy<S>>,
    connection: Connection,
    state: &ConnectionState,
    ending: &watch::Receiver<bool>,
) where
    S: ProxyHttp + Send + Sync + 'static,
    S::CTX: Send + Sync,
{
    let mut session = ServerSession::new_http1(Box::new(connection));
    session.set_keepalive(if *ending.borrow() {
        None
    } else {
        Some(state.keep_alive())
    });
    loop {
        state.await_head();
        let Some(reused) = proxy.process_new_http(session, ending).await else {
            return;
        };
        let (stream, settings) = reused.consume();
        session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
    }
}

/// Checks whether the platform's certificates are readable. Listeners read them too, and panic if
/// they cannot.
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
