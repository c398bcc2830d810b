//! Logs and metrics.
//!
//! Logs go to standard error through a writer thread of their own, so that a slow terminal never
//! delays a request. Pingora's own messages are not taken over: they can quote a request's bytes,
//! and with them a token. Metric labels are bounded: names of the configuration and reason codes,
//! never what a stranger can choose.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::domain::reason::Reason;
pub use crate::domain::settings::Encoding;

/// How many log lines may wait to be written.
const LINES_IN_FLIGHT: usize = 16 * 1024;

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// What is written: this level and those above it.
    pub level: tracing::Level,
    /// In which form.
    pub encoding: Encoding,
}

/// What is written at a level: only what this crate says. A dependency's message may hold what must
/// not be logged.
#[must_use]
pub fn targets(level: tracing::Level) -> Targets {
    Targets::new()
        .with_target("m2m_sidecar", level)
        .with_target("access", level)
        .with_target("audit", level)
        .with_default(LevelFilter::OFF)
}

/// Starts logging. The guard writes out what is pending when it is dropped. A second call in one
/// process changes nothing and gives `None`.
#[must_use]
pub fn start_logging(config: LogConfig) -> Option<WorkerGuard> {
    // Bounded: what a slow terminal cannot take is dropped rather than kept in memory.
    let (writer, guard): (NonBlocking, _) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_IN_FLIGHT)
        .finish(std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let registry = tracing_subscriber::registry().with(targets(config.level));
    let started = match config.encoding {
        Encoding::Text => registry.with(lines.with_ansi(false)).try_init(),
        Encoding::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    started.ok().map(|()| guard)
}

/// Which way a proxied request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// To the service beside us.
    Inbound,
    /// From the program beside us.
    Outbound,
    /// To the token endpoint and what belongs to it, on whatever listener.
    Issuer,
    /// To the management API.
    Admin,
    /// To the API that hands out tokens to programs on this machine.
    LocalApi,
    /// To a service that a command runs itself, as the demo does.
    Local,
    /// To the probes: asked every few seconds, so an answer that all is well is not worth a line.
    Probes,
}

impl Role {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Issuer => "issuer",
            Self::Admin => "admin",
            Self::LocalApi => "localApi",
            Self::Local => "local",
            Self::Probes => "probes",
        }
    }
}

impl EncodeLabelValue for Role {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InboundLabels {
    listener: String,
    decision: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutboundLabels {
    listener: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    role: Role,
    listener: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosedLabels {
    role: Role,
    listener: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuedLabels {
    client_id: String,
    grant_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    error: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CredentialResultLabels {
    credential: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CredentialLabels {
    credential: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuthorityResultLabels {
    authority: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuthorityLabels {
    authority: String,
}

/// How many clients have a label of their own; the rest share `other`.
const LABELLED_CLIENTS: usize = 200;

type Scrape = Box<dyn Fn(&Metrics) + Send + Sync>;

/// Values that are read before each scrape. Its end removes them from the metrics.
#[must_use]
pub struct Reading {
    metrics: Weak<Metrics>,
    id: u64,
    remove: Scrape,
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(metrics) = self.metrics.upgrade() {
            lock(&metrics.scrapes).remove(&self.id);
            (self.remove)(&metrics);
        }
    }
}

/// Every metric of the process.
pub struct Metrics {
    registry: Registry,
    inbound: Family<InboundLabels, Counter>,
    outbound: Family<OutboundLabels, Counter>,
    duration: Family<ListenerLabels, Histogram>,
    connections: Family<ListenerLabels, Gauge>,
    connections_closed: Family<ClosedLabels, Counter>,
    accept_errors: Family<ListenerLabels, Counter>,
    issued: Family<IssuedLabels, Counter>,
    refused: Family<ErrorLabels, Counter>,
    verified_cache: Family<ResultLabels, Counter>,
    token_fetch: Family<CredentialResultLabels, Counter>,
    credential_expiry: Family<CredentialLabels, Gauge>,
    credential_age: Family<CredentialLabels, Gauge>,
    credential_skew: Family<CredentialLabels, Gauge>,
    jwks_fetch: Family<AuthorityResultLabels, Counter>,
    revocation_fetch: Family<AuthorityResultLabels, Counter>,
    jwks_age: Family<AuthorityLabels, Gauge>,
    revocation_age: Family<AuthorityLabels, Gauge>,
    clock_skew: Family<AuthorityLabels, Gauge>,
    clients: Mutex<HashSet<String>>,
    /// Run before each scrape, for values that are only known when asked for.
    scrapes: Mutex<BTreeMap<u64, Scrape>>,
    next_reading: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics, all at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("m2m");
        let new_histogram: fn() -> Histogram = || {
            Histogram::new([
                0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
                10.0, 60.0,
            ])
        };
        let metrics = Self {
            inbound: Family::default(),
            outbound: Family::default(),
            duration: Family::new_with_constructor(new_histogram),
            connections: Family::default(),
            connections_closed: Family::default(),
            accept_errors: Family::default(),
            issued: Family::default(),
            refused: Family::default(),
            verified_cache: Family::default(),
            token_fetch: Family::default(),
            credential_expiry: Family::default(),
            credential_age: Family::default(),
            credential_skew: Family::default(),
            jwks_fetch: Family::default(),
            revocation_fetch: Family::default(),
            jwks_age: Family::default(),
            revocation_age: Family::default(),
            clock_skew: Family::default(),
            clients: Mutex::default(),
            scrapes: Mutex::default(),
            next_reading: AtomicU64::new(0),
            registry: Registry::default(),
        };
        registry.register(
            "inbound_requests",
            "Requests on inbound listeners",
            metrics.inbound.clone(),
        );
        registry.register(
            "outbound_requests",
            "Requests on outbound listeners",
            metrics.outbound.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From a request's head to the end of its answer",
            metrics.duration.clone(),
        );
        registry.register(
            "connections",
            "Open client connections",
            metrics.connections.clone(),
        );
        let help = "Client connections that the sidecar closed or refused without a request";
        registry.register(
            "connections_closed",
            help,
            metrics.connections_closed.clone(),
        );
        let help = "Failures to accept a client connection";
        registry.register("accept_errors", help, metrics.accept_errors.clone());
        registry.register(
            "tokens_issued",
            "Access tokens issued",
            metrics.issued.clone(),
        );
        registry.register(
            "token_requests_refused",
            "Token requests refused",
            metrics.refused.clone(),
        );
        registry.register(
            "verified_token_cache",
            "Bearer tokens found among the verified ones or verified anew",
            metrics.verified_cache.clone(),
        );
        registry.register(
            "token_fetch",
            "Access tokens fetched for a credential",
            metrics.token_fetch.clone(),
        );
        registry.register(
            "credential_expiry_seconds",
            "Seconds until a credential's token expires; absent without one",
            metrics.credential_expiry.clone(),
        );
        registry.register(
            "credential_token_age_seconds",
            "Seconds since a credential's token arrived; absent without one",
            metrics.credential_age.clone(),
        );
        registry.register(
            "credential_clock_skew_seconds",
            "By how much the clock of a credential's authority is ahead of ours; negative: behind; absent until it says",
            metrics.credential_skew.clone(),
        );
        registry.register("jwks_fetch", "Key sets fetched", metrics.jwks_fetch.clone());
        let help = "Questions to an authority about revoked tokens";
        registry.register("revocation_fetch", help, metrics.revocation_fetch.clone());
        registry.register(
            "jwks_age_seconds",
            "Age of an authority's key set",
            metrics.jwks_age.clone(),
        );
        let help = "Age of an authority's list of revoked tokens; absent where there is no list";
        registry.register(
            "revocation_age_seconds",
            help,
            metrics.revocation_age.clone(),
        );
        registry.register(
            "clock_skew_seconds",
            "By how much an authority's clock is ahead of ours; negative: behind; absent until it says",
            metrics.clock_skew.clone(),
        );
        registry.register(
            "build",
            "The build",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            registry,
            ..metrics
        }
    }

    /// Runs `read` before each scrape until the reading ends, then `remove` once.
    pub fn read_at_scrape(
        self: &Arc<Self>,
        read: impl Fn(&Self) + Send + Sync + 'static,
        remove: impl Fn(&Self) + Send + Sync + 'static,
    ) -> Reading {
        let id = self.next_reading.fetch_add(1, Ordering::Relaxed);
        lock(&self.scrapes).insert(id, Box::new(read));
        Reading {
            metrics: Arc::downgrade(self),
            id,
            remove: Box::new(remove),
        }
    }

    /// Everything in the OpenMetrics text format, which Prometheus reads.
    #[must_use]
    pub fn render(&self) -> String {
        for read in lock(&self.scrapes).values() {
            read(self);
        }
        let mut text = String::new();
        // Writing to a string fails only if a metric cannot encode itself; then what was written so
        // far is the answer.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// The counters of one proxy listener.
    #[must_use]
    pub fn requests(self: &Arc<Self>, role: Role, listener: &str) -> RequestMetrics {
        let labels = ListenerLabels {
            role,
            listener: listener.to_owned(),
        };
        RequestMetrics {
            metrics: self.clone(),
            role,
            listener: listener.to_owned(),
            duration: self.duration.get_or_create_owned(&labels),
            by_reason: Reason::ALL
                .iter()
                .map(|_| [const { OnceLock::new() }; Decision::COUNT])
                .collect(),
        }
    }

    /// A counter of verified-token cache hits and one of misses.
    #[must_use]
    pub fn verified_token_cache(&self) -> (Counter, Counter) {
        let counter = |result| {
            self.verified_cache
                .get_or_create_owned(&ResultLabels { result })
        };
        (counter("hit"), counter("miss"))
    }

    /// A token was issued.
    pub fn token_issued(&self, client_id: &str, grant_type: &'static str) {
        let mut clients = lock(&self.clients);
        let known = clients.contains(client_id)
            || (clients.len() < LABELLED_CLIENTS && clients.insert(client_id.to_owned()));
        drop(clients);
        let client_id = if known { client_id } else { "other" }.to_owned();
        self.issued
            .get_or_create(&IssuedLabels {
                client_id,
                grant_type,
            })
            .inc();
    }

    /// A token request was refused with this error code.
    pub fn token_request_refused(&self, error: &'static str) {
        self.refused.get_or_create(&ErrorLabels { error }).inc();
    }

    /// A token was fetched for a credential, or could not be: `result` is `ok` or a kind of error.
    pub fn token_fetched(&self, credential: &str, result: &'static str) {
        let labels = CredentialResultLabels {
            credential: credential.to_owned(),
            result,
        };
        self.token_fetch.get_or_create(&labels).inc();
    }

    /// How long a credential's token still lives, how old it is, and its authority's clock; `None`:
    /// not known.
    pub fn credential(
        &self,
        credential: &str,
        left: Option<Duration>,
        age: Option<Duration>,
        skew: Option<i64>,
    ) {
        let labels = CredentialLabels {
            credential: credential.to_owned(),
        };
        for (gauges, value) in [
            (&self.credential_expiry, left.map(seconds)),
            (&self.credential_age, age.map(seconds)),
            (&self.credential_skew, skew),
        ] {
            match value {
                Some(value) => {
                    gauges.get_or_create(&labels).set(value);
                }
                None => {
                    gauges.remove(&labels);
                }
            }
        }
    }

    /// A key set was fetched, or could not be.
    pub fn jwks_fetched(&self, authority: &str, ok: bool) {
        let labels = AuthorityResultLabels {
            authority: authority.to_owned(),
            result: if ok { "ok" } else { "error" },
        };
        self.jwks_fetch.get_or_create(&labels).inc();
    }

    /// An authority was asked what it has revoked, and answered or did not.
    pub fn revocation_fetched(&self, authority: &str, ok: bool) {
        let labels = AuthorityResultLabels {
            authority: authority.to_owned(),
            result: if ok { "ok" } else { "error" },
        };
        self.revocation_fetch.get_or_create(&labels).inc();
    }

    /// By how many seconds an authority's clock is ahead of ours; `None` when it is not known.
    pub fn clock_skew(&self, authority: &str, seconds: Option<i64>) {
        let labels = AuthorityLabels {
            authority: authority.to_owned(),
        };
        match seconds {
            Some(seconds) => {
                self.clock_skew.get_or_create(&labels).set(seconds);
            }
            None => {
                self.clock_skew.remove(&labels);
            }
        }
    }

    /// How old an authority's key set is; `None` when there is none.
    pub fn jwks_age(&self, authority: &str, age: Option<Duration>) {
        set_age(&self.jwks_age, authority, age);
    }

    /// How old an authority's list of revoked tokens is; `None`: there is none.
    pub fn revocation_age(&self, authority: &str, age: Option<Duration>) {
        set_age(&self.revocation_age, authority, age);
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn set_age(ages: &Family<AuthorityLabels, Gauge>, authority: &str, age: Option<Duration>) {
    let labels = AuthorityLabels {
        authority: authority.to_owned(),
    };
    match age {
        Some(age) => {
            ages.get_or_create(&labels).set(seconds(age));
        }
        None => {
            ages.remove(&labels);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was sent on.
    Allow,
    /// It was refused.
    Deny,
    /// It was let through, but a listener that enforces would have refused it.
    Shadow,
    /// An endpoint of our own answered it; the status says how.
    Answered,
    /// It was not refused, and failed: the upstream, the client's connection or the sidecar itself.
    Error,
}

impl Decision {
    /// How many there are.
    const COUNT: usize = 5;

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Shadow => "shadow",
            Self::Answered => "answered",
            Self::Error => "error",
        }
    }
}

/// Why the sidecar closed a connection that had no request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedConnection {
    /// It was the longest idle one when a new connection needed room.
    MadeRoom,
    /// No byte came in time.
    Silent,
    /// It was new, the listener had as many as it may, and none was idle.
    Refused,
    /// The same for the connections of its address.
    RefusedAddress,
}

impl ClosedConnection {
    fn as_str(self) -> &'static str {
        match self {
            Self::MadeRoom => "made_room",
            Self::Silent => "silent",
            Self::Refused => "refused",
            Self::RefusedAddress => "refused_address",
        }
    }
}

/// The metrics of one listener; each counter is looked up once.
pub struct RequestMetrics {
    metrics: Arc<Metrics>,
    role: Role,
    listener: String,
    duration: Histogram,
    by_reason: Vec<[OnceLock<Counter>; Decision::COUNT]>,
}

impl RequestMetrics {
    /// A request has ended.
    pub fn ended(&self, decision: Decision, reason: Reason, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
        // Discriminants are the indices of `Reason::ALL`.
        if let Some(cells) = self.by_reason.get(reason as usize) {
            let cell = &cells[decision as usize];
            cell.get_or_init(|| self.counter(decision, reason)).inc();
        }
    }

    /// A connection was closed or refused.
    pub fn connection_closed(&self, why: ClosedConnection) {
        let labels = ClosedLabels {
            role: self.role,
            listener: self.listener.clone(),
            reason: why.as_str(),
        };
        self.metrics.connections_closed.get_or_create(&labels).inc();
    }

    /// The system gave no connection.
    pub fn accept_failed(&self) {
        self.metrics
            .accept_errors
            .get_or_create(&self.labels())
            .inc();
    }

    /// Shows in each scrape how many connections are open.
    pub fn show_connections(&self, open: impl Fn() -> usize + Send + Sync + 'static) -> Reading {
        let labels = self.labels();
        let removed = labels.clone();
        self.metrics.read_at_scrape(
            move |metrics| {
                let open = i64::try_from(open()).unwrap_or(i64::MAX);
                metrics.connections.get_or_create(&labels).set(open);
            },
            move |metrics| {
                metrics.connections.remove(&removed);
            },
        )
    }

    fn labels(&self) -> ListenerLabels {
        ListenerLabels {
            role: self.role,
            listener: self.listener.clone(),
        }
    }

    fn counter(&self, decision: Decision, reason: Reason) -> Counter {
        let listener = self.listener.clone();
        match self.role {
            Role::Inbound => self.metrics.inbound.get_or_create_owned(&InboundLabels {
                listener,
                decision: decision.as_str(),
                reason: reason.code(),
            }),
            Role::Outbound => self.metrics.outbound.get_or_create_owned(&OutboundLabels {
                listener,
                result: reason.code(),
            }),
            // Our own endpoints are measured by what they do; their requests only by duration.
            Role::Issuer | Role::Admin | Role::LocalApi | Role::Local | Role::Probes => {
                Counter::default()
            }
        }
    }

    /// The listener's name.
    #[must_use]
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// The listener's role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_shows_the_names_of_the_documentation() {
        let metrics = Arc::new(Metrics::new());
        let requests = metrics.requests(Role::Inbound, "api");
        requests.ended(Decision::Deny, Reason::Expired, Duration::from_millis(2));
        requests.ended(Decision::Shadow, Reason::Expired, Duration::ZERO);
        requests.ended(Decision::Allow, Reason::Permitted, Duration::ZERO);
        metrics.requests(Role::Outbound, "hub").ended(
            Decision::Allow,
            Reason::TokenAttached,
            Duration::ZERO,
        );
        metrics.token_fetched("hub", "ok");
        let _reading = metrics.read_at_scrape(
            |metrics| metrics.jwks_age("self", Some(Duration::from_secs(7))),
            |metrics| metrics.jwks_age("self", None),
        );
        metrics.clock_skew("users", Some(-90));
        let text = metrics.render();
        for line in [
            "m2m_inbound_requests_total{listener=\"api\",decision=\"deny\",reason=\"expired\"} 1",
            "m2m_inbound_requests_total{listener=\"api\",decision=\"shadow\",reason=\"expired\"} 1",
            "m2m_inbound_requests_total{listener=\"api\",decision=\"allow\",reason=\"permitted\"} 1",
            "m2m_outbound_requests_total{listener=\"hub\",result=\"token_attached\"} 1",
            "m2m_request_duration_seconds_count{role=\"inbound\",listener=\"api\"} 3",
            "m2m_token_fetch_total{credential=\"hub\",result=\"ok\"} 1",
            "m2m_jwks_age_seconds{authority=\"self\"} 7",
            "m2m_clock_skew_seconds{authority=\"users\"} -90",
            "m2m_build_info{version=",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn no_dependency_is_listened_to_at_any_level() {
        let targets = targets(tracing::Level::TRACE);
        for target in [
            "pingora_core",
            "pingora_proxy::proxy_h1",
            "hyper",
            "rustls",
            "sqlx",
            "log",
            "",
        ] {
            assert!(
                !targets.would_enable(target, &tracing::Level::ERROR),
                "{target}"
            );
        }
        assert!(targets.would_enable("m2m_sidecar::app", &tracing::Level::TRACE));
        assert!(targets.would_enable("access", &tracing::Level::INFO));
    }

    #[test]
    fn beyond_two_hundred_clients_the_label_is_other() {
        let metrics = Metrics::new();
        for n in 0..300 {
            metrics.token_issued(&format!("client-{n}"), "client_credentials");
        }
        let text = metrics.render();
        assert!(
            text.contains("client_id=\"other\",grant_type=\"client_credentials\"} 100"),
            "{text}"
        );
        assert!(!text.contains("client-200"));
    }
}
