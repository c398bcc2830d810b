//! The composition root: a configuration becomes parts, listeners and tasks.
//!
//! The only place that names everything, and the only one that spawns tasks. Two kinds of threads:
//! the workers, one current-thread runtime each, serve requests; the runtime that [`start`] is
//! called on does everything else (fetching, the store, name resolution), so that none of it ever
//! delays a request.

pub mod admin;
mod authorities;
mod callers;
mod credentials;
mod descriptors;
mod exchange;
pub mod explain;
mod opened;
mod outbound;
mod readiness;
mod sockets;
mod status;
mod tasks;
mod watched;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ipnet::IpNet;

use crate::config::{AdminRole, Config};
use crate::domain::clock::{Clock, SharedClock, SystemClock};
use crate::domain::duration;
use crate::domain::oauth::GrantType;
use crate::endpoints;
use crate::endpoints::admin::AdminTokens;
use crate::endpoints::oauth::{self, Outcome, Placement};
use crate::endpoints::plgd::VerifyCaller;
use crate::endpoints::probes;
use crate::issuer::{Issuer, OpenError};
use crate::jose::provider;
use crate::limits::Limits;
use crate::proxy::connection::{ClientTimeouts, Clients};
use crate::proxy::inbound::{self, Inbound, OwnEndpoints};
use crate::proxy::listener::{Listener, Workers, check_platform_certificates};
use crate::proxy::local::{LocalService, Paths};
use crate::proxy::loop_mark::LoopMark;
use crate::proxy::own::OwnAddresses;
use crate::store::{self, Store};
use crate::telemetry::{Metrics, Role};
use crate::verifier::{Authority, Gate, Mode, ObserveCache};
use descriptors::Shares;
use sockets::{Socket, Sockets};
use tasks::Tasks;

/// At most this many workers unless the configuration says otherwise.
const MAX_DEFAULT_WORKERS: usize = 4;
/// How often the store is asked whether it is there.
const STORE_PING: Duration = Duration::from_secs(5);

/// The name of the issuer's own listener.
pub const ISSUER: &str = "issuer";
/// The name of the management API's listener.
pub const ADMIN: &str = "admin";
/// The name of the probes' listener.
pub const PROBES: &str = "probes";
/// The name of the listener that hands out tokens.
pub const LOCAL_API: &str = "localApi";

/// Why a sidecar could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be bound.
    #[error("listener {listener}: cannot listen on {address}: {error}")]
    Bind {
        /// The listener's name.
        listener: String,
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A thread or its event queue could not be made.
    #[error("cannot start the workers: {0}")]
    Workers(io::Error),
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The store is not there, and is not to be made.
    #[error(
        "there is no store at {0}, and `store.mustExist` forbids to make one: correct `store.url`, or restore a backup"
    )]
    StoreMissing(String),
    /// The issuer could not be made.
    #[error("cannot start the issuer: {0}")]
    Issuer(String),
    /// A part of the configuration turned out to be unusable.
    #[error("{part}: {problem}")]
    Part {
        /// Its place in the configuration.
        part: String,
        /// What is wrong with it.
        problem: String,
    },
}

fn unusable(part: impl Into<String>) -> impl FnOnce(String) -> StartError {
    let part = part.into();
    move |problem| StartError::Part { part, problem }
}

/// A number of things, for people.
fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// A running sidecar.
pub struct Running {
    listeners: Vec<(String, Listener)>,
    workers: Workers,
    tasks: Tasks,
    issuer: Option<Arc<Issuer>>,
    ready: Arc<AtomicBool>,
    store: Option<Arc<dyn Store>>,
    delay: Duration,
    grace: Duration,
}

impl Running {
    /// Where a listener listens: an inbound or outbound one by its name, else [`ISSUER`], [`ADMIN`]
    /// or [`PROBES`].
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses()
            .find(|(name, _)| *name == listener)
            .map(|(_, address)| address)
    }

    /// Every listener's name and address; a name comes twice when its listener has two addresses.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.listeners.iter().flat_map(|(name, listener)| {
            listener
                .addresses()
                .map(move |address| (name.as_str(), address))
        })
    }

    /// Ends: not ready for `shutdown.delay` while still serving, then no new connections, then at
    /// most `shutdown.gracePeriod` for the requests under way.
    pub async fn shutdown(self) {
        self.ready.store(false, Ordering::Release);
        if !self.delay.is_zero() {
            tracing::info!(
                "not ready: draining begins in {}",
                duration::spoken(self.delay)
            );
            tokio::time::sleep(self.delay).await;
        }
        let (requests, most) = (
            counted(self.requests(), "request"),
            duration::spoken(self.grace),
        );
        tracing::info!("draining: {requests}, at most {most}");
        // All at once, the probes too: a successor on this machine needs their port as well.
        let drained = self.listeners.iter().map(|(_, listener)| listener.drain());
        if tokio::time::timeout(self.grace, futures_util::future::join_all(drained))
            .await
            .is_err()
        {
            let connections = self
                .listeners
                .iter()
                .map(|(_, listener)| listener.connections())
                .sum();
            let (requests, connections) = (
                counted(self.requests(), "request"),
                counted(connections, "connection"),
            );
            tracing::warn!("the grace period is over: {requests} on {connections} cut off");
        }
        self.tasks.end().await;
        if let Some(issuer) = &self.issuer {
            issuer.finish().await;
        }
        let workers = self.workers;
        // Joining threads blocks. A panic in one of them has been reported by then.
        let _ = tokio::task::spawn_blocking(move || workers.stop()).await;
        if let Some(store) = self.store {
            store.close().await;
        }
        tracing::info!("ended");
    }

    /// How many requests are under way on all listeners.
    fn requests(&self) -> usize {
        self.listeners
            .iter()
            .map(|(_, listener)| listener.requests())
            .sum()
    }
}

/// Starts everything a configuration names. Runs on the caller's runtime whatever is not the
/// serving of requests.
///
/// # Errors
/// [`StartError`] says what could not be had. Nothing waits for an authority: keys and tokens come
/// when they come.
pub async fn start(config: Config) -> Result<Running, StartError> {
    start_with_clock(config, Arc::new(SystemClock)).await
}

/// [`start`] with a clock of the caller's.
///
/// # Errors
/// As [`start`].
pub async fn start_with_clock(
    config: Config,
    clock: Arc<dyn Clock>,
) -> Result<Running, StartError> {
    provider::install();
    check_platform_certificates().map_err(unusable(
        "the platform's certificates (SSL_CERT_FILE, SSL_CERT_DIR)",
    ))?;
    let limit = descriptors::raise_limit();
    let sockets = Sockets::bind(&config)?;
    let threads = worker_count(config.threads);
    // Each worker accepts on a duplicate of its own.
    let shares = Shares::new(&config, limit, sockets.addresses().count() * (threads + 1));
    let tasks = Tasks::new();
    let ready = Arc::new(AtomicBool::new(false));
    let workers = Workers::start(threads).map_err(StartError::Workers)?;
    let parts = Parts {
        clock,
        metrics: Arc::new(Metrics::new()),
        tasks: tasks.clone(),
        ready: ready.clone(),
        store: OnceLock::new(),
        shares,
    };
    let started = parts.start(&config, &sockets, &workers).await;
    let store = parts.store.into_inner();
    match started {
        Ok((listeners, issuer)) => {
            ready.store(true, Ordering::Release);
            for (name, listener) in &listeners {
                for address in listener.addresses() {
                    tracing::info!(listener = name, %address, "listening");
                }
            }
            let shutdown = &config.shutdown;
            Ok(Running {
                listeners,
                workers,
                tasks,
                issuer,
                ready,
                store,
                delay: shutdown.delay,
                grace: shutdown.grace_period,
            })
        }
        Err(error) => {
            tasks.end().await;
            let _ = tokio::task::spawn_blocking(move || workers.stop()).await;
            if let Some(store) = store {
                store.close().await;
            }
            Err(error)
        }
    }
}

fn worker_count(threads: usize) -> usize {
    if threads > 0 {
        return threads;
    }
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_DEFAULT_WORKERS))
}

/// What every part is made with.
struct Parts {
    clock: SharedClock,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    ready: Arc<AtomicBool>,
    /// The store, once it is open: it is closed at the end.
    store: OnceLock<Arc<dyn Store>>,
    shares: Shares,
}

type Listeners = Vec<(String, Listener)>;

impl Parts {
    async fn start(
        &self,
        config: &Config,
        sockets: &Sockets,
        workers: &Workers,
    ) -> Result<(Listeners, Option<Arc<Issuer>>), StartError> {
        for fixed in &config.fixed_files {
            self.warn_of_changes(fixed.key.clone(), &fixed.file);
        }
        opened::check_state_dir(config)?;
        let mut listeners = Vec::new();
        let store_up = Arc::new(AtomicBool::new(true));
        let issuer = self.open_issuer(config, &store_up).await?;
        let own = issuer.as_deref().map(Self::own_issuer);
        let authorities = self.authorities(config, own.as_ref())?;
        let callers = self.callers(config, issuer.as_deref(), own, &authorities);
        if let (Some(issuer), Some(role)) = (&issuer, &config.issuer) {
            issuer.exchange_with(exchange::verify(
                &role.issuer.clients,
                &authorities,
                &self.clock,
            ));
        }
        let credentials = self.credentials(config)?;
        let role = config.issuer.as_ref().filter(|role| role.listen.is_some());
        if let (Some(issuer), Some(role)) = (&issuer, role) {
            let observer = self.token_observer();
            let router = oauth::issuer_router(
                issuer.clone(),
                Placement::OwnListener,
                observer,
                callers.clone(),
            );
            let timeouts = ClientTimeouts {
                keep_alive: role.keep_alive,
                ..ClientTimeouts::default()
            };
            let forms =
                oauth::error_forms(issuer.base_path(), issuer.profile(), Placement::OwnListener);
            let clients = self.own_clients(ISSUER, timeouts);
            let clients = clients
                .with_heads_up_to(role.max_head)
                .with_error_forms(forms);
            listeners.push(self.local(
                workers,
                sockets,
                (ISSUER, clients),
                router,
                &role.trusted_proxies,
            )?);
        }
        let at_root = config
            .issuer
            .as_ref()
            .is_some_and(|role| role.issuer.root_paths);
        for listener in &config.inbound {
            let own = match &issuer {
                Some(issuer) if listener.settings.issuer => {
                    Some(self.own_endpoints(&listener.name, issuer, at_root, &callers))
                }
                _ => None,
            };
            let here = sockets
                .get(&Socket::Proxy(listener.name.clone()))?
                .addresses();
            let here = Arc::new(OwnAddresses::new(here));
            let upstream = self.upstream(&listener.name, &listener.upstream, here)?;
            let trusted = listener
                .verifier
                .authorities
                .iter()
                .filter_map(|name| authorities.get(name).cloned());
            let (hits, misses) = self.metrics.verified_token_cache();
            let observe = Arc::new(move |hit: bool| {
                if hit {
                    hits.inc()
                } else {
                    misses.inc()
                };
            });
            let gate = gate(listener, trusted.collect(), self.clock.clone(), observe)?;
            let limits = self.limits(listener);
            let metrics = Arc::new(self.metrics.requests(Role::Inbound, &listener.name));
            let mark = Arc::new(LoopMark::default());
            let serve = || {
                let (gate, upstream) = (gate.clone(), upstream.clone());
                let observed = (metrics.clone(), mark.clone());
                Inbound::new(
                    listener,
                    gate,
                    upstream,
                    own.clone(),
                    limits.clone(),
                    observed,
                )
            };
            let socket = Socket::Proxy(listener.name.clone());
            let clients = Clients::new(listener.client_timeouts, self.shares.of(&socket))
                .with_heads_up_to(listener.max_head)
                .with_error_forms(
                    own.as_ref()
                        .map(|own| own.error_forms.clone())
                        .unwrap_or_default(),
                );
            let served = workers.listen(sockets.get(&socket)?, &metrics, clients, serve);
            let served = served.map_err(StartError::Workers)?;
            listeners.push((listener.name.clone(), served));
        }
        listeners.extend(self.outbound(config, sockets, workers, &credentials)?);
        let plain = |name| (name, self.own_clients(name, ClientTimeouts::default()));
        if config.local_api.is_some() {
            let router = endpoints::local_api::router(credentials.values().cloned());
            listeners.push(self.local(workers, sockets, plain(LOCAL_API), router, &[])?);
        }
        if let Some(role) = &config.admin {
            let guard = admin::guard(role, &config.state_dir)?;
            self.watch_admin_token(role, &config.state_dir, guard.tokens());
            let status = status::status(&authorities, &credentials, sockets);
            let router = endpoints::admin::router(issuer.clone(), status, guard);
            listeners.push(self.local(workers, sockets, plain(ADMIN), router, &[])?);
        }
        if config.probes.is_some() {
            let ready = self.ready.clone();
            let conditions = readiness::Conditions {
                listeners: ready,
                store_up,
                issuer: issuer.clone(),
                authorities,
                credentials,
            };
            let readiness = conditions.judged_by(&config.readiness);
            let router = probes::router(
                self.metrics.clone(),
                readiness,
                config.metrics_hosts.clone(),
            );
            listeners.push(self.local(workers, sockets, plain(PROBES), router, &[])?);
        }
        Ok((listeners, issuer))
    }

    fn limits(&self, listener: &inbound::Config) -> Option<Arc<Limits>> {
        let limits = Arc::new(Limits::new(listener.limits?));
        let run = limits.clone();
        self.tasks
            .spawn(format!("limits of {}", listener.name), move || {
                run.clone().run()
            });
        Some(limits)
    }

    /// The clients of a listener with endpoints of our own.
    fn own_clients(&self, name: &'static str, timeouts: ClientTimeouts) -> Clients {
        Clients::new(timeouts, self.shares.of(&Socket::Own(name)))
    }

    fn local(
        &self,
        workers: &Workers,
        sockets: &Sockets,
        (name, clients): (&'static str, Clients),
        router: axum::Router,
        trusted_proxies: &[IpNet],
    ) -> Result<(String, Listener), StartError> {
        let role = match name {
            PROBES => Role::Probes,
            ADMIN => Role::Admin,
            LOCAL_API => Role::LocalApi,
            _ => Role::Issuer,
        };
        let metrics = Arc::new(self.metrics.requests(role, name));
        let paths = if name == ADMIN {
            Paths::WithIds
        } else {
            Paths::Normal
        };
        let serve =
            || LocalService::new(router.clone(), metrics.clone(), paths).behind(trusted_proxies);
        let served = workers.listen(sockets.get(&Socket::Own(name))?, &metrics, clients, serve);
        let served = served.map_err(StartError::Workers)?;
        Ok((name.to_owned(), served))
    }

    fn watch_admin_token(&self, role: &AdminRole, state_dir: &Path, tokens: Arc<AdminTokens>) {
        let file = role
            .token_file
            .clone()
            .unwrap_or_else(|| admin::token_file(state_dir));
        let (role, state_dir) = (role.clone(), state_dir.to_owned());
        self.watch_file("admin token".to_owned(), &file, move || {
            Ok(tokens.replace(admin::read_token(&role, &state_dir)?, admin::GRACE))
        });
    }

    async fn open_issuer(
        &self,
        config: &Config,
        store_up: &Arc<AtomicBool>,
    ) -> Result<Option<Arc<Issuer>>, StartError> {
        let Some(role) = &config.issuer else {
            return Ok(None);
        };
        let store = opened::open_store(config).await?;
        let _ = self.store.set(store.clone());
        let issuer = Issuer::open(role.issuer.clone(), store, self.clock.clone()).await;
        let issuer = issuer.map_err(|error| match error {
            OpenError::Store(error) => {
                StartError::Store(store::unreadable_at_start(&config.store, error))
            }
            error => StartError::Issuer(error.to_string()),
        })?;
        self.watch_store(issuer.clone(), store_up.clone());
        let keys = issuer.client_keys().clone();
        self.tasks
            .spawn("keys of clients".to_owned(), move || keys.clone().run());
        let watching = issuer.clone();
        self.tasks.spawn("secrets of clients".to_owned(), move || {
            let issuer = watching.clone();
            async move { issuer.watch_secret_files().await }
        });
        Ok(Some(issuer))
    }

    fn watch_store(&self, issuer: Arc<Issuer>, up: Arc<AtomicBool>) {
        let clock = self.clock.clone();
        self.tasks.spawn("store".to_owned(), move || {
            let (issuer, up, clock) = (issuer.clone(), up.clone(), clock.clone());
            async move {
                loop {
                    let answers = issuer.reload().await.is_ok();
                    if up.swap(answers, Ordering::AcqRel) != answers {
                        tracing::warn!(up = answers, "the store's state has changed");
                    }
                    let expiry = issuer.next_expiry().map(|expiry| clock.now().until(expiry));
                    tokio::time::sleep(expiry.map_or(STORE_PING, |left| left.min(STORE_PING)))
                        .await;
                }
            }
        });
    }

    fn token_observer(&self) -> oauth::Observer {
        let metrics = self.metrics.clone();
        Arc::new(move |outcome: &Outcome| match outcome.error {
            None => {
                let grant_type = outcome.grant_type.map_or("other", GrantType::as_str);
                metrics.token_issued(outcome.client_id.as_deref().unwrap_or("other"), grant_type);
            }
            Some(error) => metrics.token_request_refused(error.as_str()),
        })
    }

    fn own_endpoints(
        &self,
        listener: &str,
        issuer: &Arc<Issuer>,
        at_root: bool,
        callers: &VerifyCaller,
    ) -> OwnEndpoints {
        let placement = if at_root {
            Placement::BasePathAndRoot
        } else {
            Placement::BasePath
        };
        OwnEndpoints {
            paths: oauth::issuer_paths(issuer, placement).into_iter().collect(),
            router: oauth::issuer_router(
                issuer.clone(),
                placement,
                self.token_observer(),
                callers.clone(),
            ),
            metrics: Arc::new(self.metrics.requests(Role::Issuer, listener)),
            error_forms: oauth::error_forms(issuer.base_path(), issuer.profile(), placement),
        }
    }
}

fn gate(
    listener: &inbound::Config,
    authorities: Vec<Arc<Authority>>,
    clock: SharedClock,
    observe: ObserveCache,
) -> Result<Arc<Gate>, StartError> {
    let gate = Gate::new(&listener.verifier, authorities, clock, observe)
        .map_err(|error| unusable(&listener.name)(error.to_string()))?;
    if gate.mode() == Mode::Shadow {
        let listener = &listener.name;
        tracing::warn!(
            listener,
            "the listener is in shadow mode: it lets pass whatever it would refuse"
        );
    }
    Ok(Arc::new(gate))
}
