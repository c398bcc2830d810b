//! Running: sockets are bound, tasks spawned, and listeners pointed at a generation.

mod files;
mod listeners;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use std::net::SocketAddr;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use self::listeners::Listeners;
use super::build::{Generation, Parts, build, raise_limit};
use super::error::{StartError, StartErrors};
use super::process::Process;
use super::tasks::Tasks;
use crate::config::{Config, ResolvedFile, Shutdown};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::duration;
use crate::endpoints::probes::Readiness;
use crate::jose::provider;
use crate::proxy::listener::Workers;
use crate::telemetry::Metrics;

/// At most this many workers unless the configuration says otherwise.
const MAX_DEFAULT_WORKERS: usize = 4;
/// How long the last work of a process may take, for instance to close the store.
const LAST_WORK: Duration = Duration::from_secs(30);

/// A running sidecar.
pub struct Running {
    process: Process,
    workers: Workers,
    listeners: Listeners,
    parts: Arc<Parts>,
    readiness: Readiness,
    shutdown: Shutdown,
    /// The files of the configuration in use.
    files: Vec<ResolvedFile>,
}

/// Starts everything that a configuration names. All but the serving of requests runs on the
/// caller's runtime.
///
/// # Errors
/// [`StartErrors`] holds every reason. Nothing waits for an authority: its keys and tokens may come
/// later.
pub async fn start(config: Config) -> Result<Running, StartErrors> {
    start_with_clock(config, Arc::new(SystemClock)).await
}

/// [`start`] with a clock of the caller.
///
/// # Errors
/// As [`start`].
pub async fn start_with_clock(
    config: Config,
    clock: Arc<dyn Clock>,
) -> Result<Running, StartErrors> {
    provider::install();
    let process = Process {
        clock,
        metrics: Arc::new(Metrics::new()),
        tasks: Tasks::new(),
        last_work: TaskTracker::new(),
        runtime: Handle::current(),
        ready: Arc::new(AtomicBool::new(false)),
        addresses: Arc::default(),
        outbound: Arc::default(),
        descriptors: raise_limit(),
        threads: worker_count(config.threads),
        dpop: Arc::default(),
    };
    let mut running = Running {
        workers: Workers::start(process.threads).map_err(StartError::Workers)?,
        listeners: Listeners::default(),
        parts: Arc::default(),
        readiness: Arc::new(|| Ok(())),
        shutdown: config.shutdown,
        files: Vec::new(),
        process,
    };
    match running.replace(&config).await {
        Ok(()) => Ok(running),
        Err(errors) => {
            running.end().await;
            Err(errors)
        }
    }
}

fn worker_count(threads: usize) -> usize {
    if threads > 0 {
        return threads;
    }
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_DEFAULT_WORKERS))
}

/// A number of things, for people.
fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

impl Running {
    /// The address of a listener: an inbound or outbound one by its name, else
    /// [`ISSUER`](super::ISSUER), [`ADMIN`](super::ADMIN) or [`PROBES`](super::PROBES).
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses()
            .find(|(name, _)| *name == listener)
            .map(|(_, address)| address)
    }

    /// The name and address of each socket; a listener with two addresses is named twice.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.listeners.addresses()
    }

    /// Replaces the configuration. Listeners, authorities, credentials and the store that the new
    /// one has unchanged are taken over as they are; requests under way finish on the old one. The
    /// number of workers stays.
    ///
    /// # Errors
    /// [`StartErrors`] holds every reason; then the running parts have not changed. A new store
    /// that was opened for the generation stays on disk.
    pub async fn replace(&mut self, config: &Config) -> Result<(), StartErrors> {
        let generation = build(&self.process, config, &self.parts).await?;
        self.start(generation)?;
        self.files.clone_from(&config.resolved_files);
        Ok(())
    }

    /// Binds, spawns and registers the new parts of a generation, and ends those it lacks.
    fn start(&mut self, generation: Generation) -> Result<(), StartErrors> {
        let Generation {
            parts,
            listeners,
            shutdown,
            readiness,
            at_start,
        } = generation;
        let bound = self.listeners.bind(&listeners)?;
        parts.each().for_each(|part| part.begin(&self.process));
        self.listeners.serve(listeners, bound, &self.workers)?;
        at_start.into_iter().for_each(|notice| notice());
        let addresses = self.listeners.sockets();
        self.process.addresses.store(Arc::new(addresses.collect()));
        let outbound = self.listeners.outbound_addresses().collect();
        self.process.outbound.store(Arc::new(outbound));
        self.process.ready.store(true, Ordering::Release);
        self.shutdown = shutdown;
        self.readiness = readiness;
        // The parts that only the generation before used end here, or with its last request.
        self.parts = parts;
        Ok(())
    }

    /// Whether it is ready, as the probes report it.
    ///
    /// # Errors
    /// The parts that it waits for.
    pub fn readiness(&self) -> Result<(), Vec<String>> {
        (self.readiness)()
    }

    /// Ends: not ready for `shutdown.delay` while still serving, then as [`drain`](Self::drain).
    pub async fn shutdown(self) {
        let delay = self.shutdown.delay;
        self.process.ready.store(false, Ordering::Release);
        if !delay.is_zero() {
            tracing::info!("not ready: draining begins in {}", duration::spoken(delay));
            tokio::time::sleep(delay).await;
        }
        self.drain().await;
    }

    /// Ends: no new connections, then at most `shutdown.gracePeriod` for the requests under way.
    pub async fn drain(mut self) {
        let grace_period = self.shutdown.grace_period;
        self.process.ready.store(false, Ordering::Release);
        let requests = counted(self.listeners.requests(), "request");
        let most = duration::spoken(grace_period);
        tracing::info!("draining: {requests}, at most {most}");
        // All at once, the probes too: a successor on this machine needs their port as well.
        self.listeners.stop_listening();
        let listeners = self.listeners.all();
        let drained = listeners.iter().map(|listener| listener.drain());
        let drained = tokio::time::timeout(grace_period, join_all(drained)).await;
        if drained.is_err() {
            let requests = counted(self.listeners.requests(), "request");
            let connections = listeners.iter().map(|listener| listener.connections());
            let connections = counted(connections.sum(), "connection");
            tracing::warn!("the grace period is over: {requests} on {connections} cut off");
        }
        drop(listeners);
        self.end().await;
        tracing::info!("ended");
    }

    /// Ends the tasks, then the workers, and waits for the last work of the parts.
    async fn end(self) {
        let Self {
            process,
            workers,
            listeners,
            parts,
            readiness,
            ..
        } = self;
        process.tasks.end().await;
        // Joining threads blocks. A panic in one of them has been reported by then.
        let _ = tokio::task::spawn_blocking(move || workers.stop()).await;
        drop((listeners, parts, readiness));
        process.last_work.close();
        let _ = tokio::time::timeout(LAST_WORK, process.last_work.wait()).await;
    }
}
