//! Logs and metrics.
//!
//! Logs go to standard error through a writer thread of their own, so that a slow terminal never
//! delays a request. Pingora's own messages are not taken over: they can quote a request's bytes,
//! and with them a token. Metric labels are bounded: names of the configuration and reason codes,
//! never values that clients choose.

mod credentials;
mod labels;
mod logs;
mod requests;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use self::labels::Role;
use self::labels::{
    AuthorityLabels, AuthorityResultLabels, CertificateLabels, ClosedLabels, CredentialLabels,
    CredentialResultLabels, ErrorLabels, HandshakeLabels, InboundLabels, IssuedLabels,
    ListenerLabels, OutboundLabels, ResultLabels, ThrottleLabels, ThrottleResultLabels,
};
pub use self::logs::{LogConfig, start_logging, targets};
pub use self::requests::{ClosedConnection, Decision, RequestMetrics};
use crate::domain::reason::Reason;

/// How many clients have their own label; the rest share `other`.
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
    tls_handshakes: Family<HandshakeLabels, Counter>,
    certificate_expiry: Family<CertificateLabels, Gauge>,
    issued: Family<IssuedLabels, Counter>,
    refused: Family<ErrorLabels, Counter>,
    verified_cache: Family<ResultLabels, Counter>,
    token_fetch: Family<CredentialResultLabels, Counter>,
    token_written: Family<CredentialResultLabels, Counter>,
    credential_expiry: Family<CredentialLabels, Gauge>,
    credential_age: Family<CredentialLabels, Gauge>,
    credential_skew: Family<CredentialLabels, Gauge>,
    jwks_fetch: Family<AuthorityResultLabels, Counter>,
    revocation_fetch: Family<AuthorityResultLabels, Counter>,
    introspection: Family<AuthorityResultLabels, Counter>,
    jwks_age: Family<AuthorityLabels, Gauge>,
    revocation_age: Family<AuthorityLabels, Gauge>,
    clock_skew: Family<AuthorityLabels, Gauge>,
    throttled: Family<ThrottleResultLabels, Counter>,
    throttle_waiting: Family<ThrottleLabels, Gauge>,
    clients: Mutex<HashSet<String>>,
    /// Run before each scrape, for values that are computed on demand.
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
            tls_handshakes: Family::default(),
            certificate_expiry: Family::default(),
            issued: Family::default(),
            refused: Family::default(),
            verified_cache: Family::default(),
            token_fetch: Family::default(),
            token_written: Family::default(),
            credential_expiry: Family::default(),
            credential_age: Family::default(),
            credential_skew: Family::default(),
            jwks_fetch: Family::default(),
            revocation_fetch: Family::default(),
            introspection: Family::default(),
            jwks_age: Family::default(),
            revocation_age: Family::default(),
            clock_skew: Family::default(),
            throttled: Family::default(),
            throttle_waiting: Family::default(),
            clients: Mutex::default(),
            scrapes: Mutex::default(),
            next_reading: AtomicU64::new(0),
            registry: Registry::default(),
        };
        macro_rules! register {
            ($($name:literal, $help:literal, $metric:ident;)*) => {
                $(registry.register($name, $help, metrics.$metric.clone());)*
            };
        }
        register! {
            "inbound_requests", "Requests on inbound listeners", inbound;
            "outbound_requests", "Requests on outbound listeners", outbound;
            "request_duration_seconds", "From a request's head to the end of its response",
                duration;
            "connections", "Open client connections", connections;
            "connections_closed",
                "Client connections that the sidecar closed or refused without a request",
                connections_closed;
            "accept_errors", "Failures to accept a client connection", accept_errors;
            "tls_handshakes", "TLS handshakes of clients by their result", tls_handshakes;
            "certificate_expiry_seconds",
                "Seconds until a listener's certificate, or the list of revoked client \
                 certificates, expires; negative afterwards",
                certificate_expiry;
            "tokens_issued", "Access tokens issued", issued;
            "token_requests_refused", "Token requests refused", refused;
            "verified_token_cache",
                "Bearer tokens found in the cache of verified tokens, or verified",
                verified_cache;
            "token_fetch", "Access tokens fetched for a credential", token_fetch;
            "token_file_writes", "Access tokens written into the file of a sink", token_written;
            "credential_expiry_seconds",
                "Seconds until a credential's token expires; absent without one",
                credential_expiry;
            "credential_token_age_seconds",
                "Seconds since a credential's token arrived; absent without one",
                credential_age;
            "credential_clock_skew_seconds",
                "Lead of the clock of a credential's authority; negative if it lags; absent until \
                 known",
                credential_skew;
            "jwks_fetch", "Key sets fetched", jwks_fetch;
            "revocation_fetch", "Requests to an authority about revoked tokens", revocation_fetch;
            "introspection", "Questions to an authority about opaque tokens", introspection;
            "jwks_age_seconds", "Age of an authority's key set", jwks_age;
            "revocation_age_seconds",
                "Age of an authority's list of revoked tokens; absent where there is no list",
                revocation_age;
            "throttled_requests", "Requests that waited for a quota or were refused", throttled;
            "throttle_waiting", "Requests that wait for a quota now", throttle_waiting;
            "clock_skew_seconds",
                "Lead of an authority's clock; negative if it lags; absent until known",
                clock_skew;
        }
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
        // Writing to a string fails only if a metric cannot be encoded; then the text so far is
        // the result.
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

    /// Counts an issued token.
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

    /// Counts a refused token request.
    pub fn token_request_refused(&self, error: &'static str) {
        self.refused.get_or_create(&ErrorLabels { error }).inc();
    }

    /// The seconds until a certificate of a listener expires; `None`: it is used no more.
    pub fn certificate_expiry(&self, role: Role, listener: &str, name: &str, left: Option<i64>) {
        let labels = CertificateLabels {
            role,
            listener: listener.to_owned(),
            name: name.to_owned(),
        };
        match left {
            Some(left) => {
                self.certificate_expiry.get_or_create(&labels).set(left);
            }
            None => {
                self.certificate_expiry.remove(&labels);
            }
        }
    }

    /// Counts a fetch of a key set.
    pub fn jwks_fetched(&self, authority: &str, ok: bool) {
        let labels = AuthorityResultLabels {
            authority: authority.to_owned(),
            result: if ok { "ok" } else { "error" },
        };
        self.jwks_fetch.get_or_create(&labels).inc();
    }

    /// Counts a revocation query.
    pub fn revocation_fetched(&self, authority: &str, ok: bool) {
        let labels = AuthorityResultLabels {
            authority: authority.to_owned(),
            result: if ok { "ok" } else { "error" },
        };
        self.revocation_fetch.get_or_create(&labels).inc();
    }

    /// Counts a question about an opaque token; `result` is one word.
    pub fn introspected(&self, authority: &str, result: &'static str) {
        let labels = AuthorityResultLabels {
            authority: authority.to_owned(),
            result,
        };
        self.introspection.get_or_create(&labels).inc();
    }

    /// The lead of an authority's clock in seconds; `None`: unknown.
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

    /// The age of an authority's key set, if there is one.
    pub fn jwks_age(&self, authority: &str, age: Option<Duration>) {
        set_age(&self.jwks_age, authority, age);
    }

    /// The age of an authority's list of revoked tokens, if there is one.
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
            "m2m_inbound_requests_total{listener=\"api\",decision=\"allow\",reason=\"permitted\"} \
             1",
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
