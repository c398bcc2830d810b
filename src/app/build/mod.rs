//! Building: a configuration, and the parts that live already → the next generation.
//!
//! Nothing is bound, spawned or fetched. The files that the configuration names are read, and the
//! store is opened. Every reason against the configuration is collected; a part that cannot be made
//! leaves out what depends on it.

pub mod admin_token;
mod authorities;
mod callers;
mod credentials;
mod decisions;
mod descriptors;
mod exchange;
mod inbound;
mod introspection;
mod issuer;
mod listeners;
mod local_introspection;
mod outbound;
mod own_listeners;
mod parts;
mod readiness;
mod resource;
mod revocations;
mod status;
mod store;
mod tls;
mod upstreams;
mod watched;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock};

pub(super) use descriptors::raise_limit;
pub(super) use inbound::gate;
pub(super) use introspection::clients as introspection_clients;
pub(super) use listeners::{ListenerId, Planned, Service};
pub(super) use parts::Parts;

use self::descriptors::Shares;
use super::error::{StartError, StartErrors, unusable};
use super::part::Part;
use super::process::Process;
use crate::config::{Config, Shutdown};
use crate::endpoints::probes;
use crate::files::accounts;
use crate::proxy::connection::{ClientSettings, ClientTimeouts};
use crate::proxy::loop_mark::LoopMark;
use crate::proxy::switch::Switch;
use crate::proxy::tls::ServerTls;
use crate::proxy::upstream::Upstream;
use crate::telemetry::RequestMetrics;

type Notice = Box<dyn FnOnce() + Send>;

/// Everything that is made from one configuration.
pub(super) struct Generation {
    pub parts: Arc<Parts>,
    pub listeners: Vec<Planned>,
    pub shutdown: Shutdown,
    pub readiness: probes::Readiness,
    /// Called when the generation starts: log lines, and changes of parts that live on.
    pub at_start: Vec<Notice>,
}

/// Makes a generation. Parts of `before` are taken over where their identity is the same.
///
/// # Errors
/// [`StartErrors`] holds every reason. Nothing of `before` has changed then.
pub(super) async fn build(
    process: &Process,
    config: &Config,
    before: &Parts,
) -> Result<Generation, StartErrors> {
    let mut build = Build {
        process,
        config,
        before,
        shares: Shares::new(config, process),
        parts: Parts::default(),
        tls: HashMap::new(),
        secured: HashMap::new(),
        keeps: Arc::default(),
        readiness: Arc::new(|| Ok(())),
        listeners: Vec::new(),
        at_start: Vec::new(),
        errors: Vec::new(),
    };
    build.all().await;
    if build.errors.is_empty() {
        Ok(build.finish())
    } else {
        Err(StartErrors(build.errors))
    }
}

/// A generation that is being made.
struct Build<'b> {
    process: &'b Process,
    config: &'b Config,
    before: &'b Parts,
    shares: Shares,
    parts: Parts,
    tls: HashMap<ListenerId, Arc<ServerTls>>,
    /// The upstreams whose TLS has files.
    secured: HashMap<ListenerId, Vec<Arc<Upstream>>>,
    /// Set to the parts when all are made; the services hold it.
    keeps: Arc<OnceLock<Arc<Parts>>>,
    readiness: probes::Readiness,
    listeners: Vec<Planned>,
    at_start: Vec<Notice>,
    errors: Vec<StartError>,
}

impl Build<'_> {
    async fn all(&mut self) {
        let checked = store::check_state_dir(self.config);
        self.note(checked);
        self.platform_certificates();
        self.server_tls();
        let issuer = self.issuer().await;
        let issuer = issuer.as_deref().map(|part| &**part);
        let authorities = self.authorities(issuer);
        let callers = self.callers(issuer, &authorities);
        self.exchange(issuer, &authorities);
        let credentials = self.credentials();
        self.issuer_listener(issuer, &callers);
        self.inbound(issuer, &authorities, &callers);
        self.decisions(&authorities);
        self.outbound(&credentials);
        self.local_api(&authorities, &credentials);
        self.admin(issuer, &authorities, &credentials);
        self.readiness(issuer, authorities, credentials);
        self.probes();
        for (part, proxy) in self.config.ways_out() {
            self.at_start(move || tracing::info!(part, proxy, "requests go through a proxy"));
        }
        self.allowed_users();
        if let Some(shortage) = self.shares.shortage() {
            self.at_start(move || shortage.warn());
        }
    }

    fn finish(self) -> Generation {
        let parts = Arc::new(self.parts);
        let _ = self.keeps.set(parts.clone());
        Generation {
            parts,
            listeners: self.listeners,
            shutdown: self.config.shutdown,
            readiness: self.readiness,
            at_start: self.at_start,
        }
    }

    /// Gives a result's value, or notes its error.
    fn note<T>(&mut self, result: Result<T, StartError>) -> Option<T> {
        result.map_err(|error| self.errors.push(error)).ok()
    }

    fn at_start(&mut self, notice: impl FnOnce() + Send + 'static) {
        self.at_start.push(Box::new(notice));
    }

    /// The settings of a listener's clients, beside those that only some listeners have.
    fn clients(&self, id: &ListenerId, timeouts: ClientTimeouts) -> ClientSettings {
        ClientSettings {
            timeouts,
            capacity: self.shares.of(id),
            tls: self.tls.get(id).cloned(),
            ..ClientSettings::default()
        }
    }

    /// Restricts the listeners on sockets in the file system to the configured users.
    fn allowed_users(&mut self) {
        for listener in &mut self.listeners {
            let names = listener.listen.unix().map(|socket| &socket.allowed_users);
            let Some(names) = names.filter(|names| !names.is_empty()) else {
                continue;
            };
            let users: io::Result<Vec<_>> = names.iter().map(|it| accounts::user(it)).collect();
            match users {
                Ok(users) => listener.clients.peers.users = Some(users.into()),
                Err(error) => self.errors.push(unusable(&listener.id.name)(error)),
            }
        }
    }

    fn metrics(&self, id: &ListenerId) -> Arc<RequestMetrics> {
        Arc::new(self.process.metrics.requests(id.role, &id.name))
    }

    /// The mark by which a listener recognizes its own requests.
    fn mark(&mut self, id: &ListenerId) -> Arc<LoopMark> {
        let part = self.before.marks.find(id);
        let part = part.unwrap_or_else(|| Part::new(Arc::default(), |_| {}));
        (**self.parts.marks.put(id.clone(), part)).clone()
    }

    /// A service that keeps the parts of this generation for as long as a request uses it.
    fn switch<S>(&self, service: S) -> Switch<S> {
        Switch::new(service, self.keeps.clone())
    }
}
