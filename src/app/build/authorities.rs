//! The authorities: their keys, and which of their tokens are revoked.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::part::{Life, Part};
use super::super::process::Process;
use super::Build;
use super::introspection::{self, Clients, asking};
use super::issuer::{OpenIssuer, own_issuer};
use super::revocations;
use super::store::make_state_dir;
use crate::app::error::{StartError, unusable};
use crate::config::Config;
use crate::issuer::Issuer;
use crate::jose::key_set::{LeftOut, join};
use crate::jose::live_keys::{self, Keys, LiveKeys};
use crate::telemetry::Metrics;
use crate::token_source::Authentication;
use crate::verifier::{Authority, AuthorityConfig, KeySource};

/// The authorities of a generation, by their names.
pub(super) type Authorities = HashMap<String, Arc<Authority>>;

/// An authority is known by its configuration, the clients that ask it about tokens, and, where it
/// is the issuer of this process, by that issuer.
pub(super) struct AuthorityIdentity {
    config: AuthorityConfig,
    asking: Vec<(String, Authentication)>,
    own: Option<Arc<Issuer>>,
    state_dir: PathBuf,
}

impl PartialEq for AuthorityIdentity {
    fn eq(&self, other: &Self) -> bool {
        let own = |identity: &Self| identity.own.as_ref().map(Arc::as_ptr);
        self.config == other.config
            && self.asking == other.asking
            && self.state_dir == other.state_dir
            && own(self) == own(other)
    }
}

impl Build<'_> {
    pub(super) fn authorities(&mut self, open: Option<&OpenIssuer>) -> Authorities {
        let mut authorities = HashMap::new();
        for each in &self.config.authorities {
            let is_own = each.keys == KeySource::OwnIssuer;
            let key = AuthorityIdentity {
                config: each.clone(),
                asking: asking(self.config, each),
                own: open.filter(|_| is_own).map(|open| open.issuer.clone()),
                state_dir: self.config.state_dir.clone(),
            };
            let make = |key: &AuthorityIdentity| new_authority(self.process, self.config, key);
            let part = self
                .parts
                .authorities
                .take(&self.before.authorities, key, make);
            if let Some(part) = self.note(part) {
                authorities.insert(each.name.clone(), (**part).clone());
            }
        }
        authorities
    }
}

fn new_authority(
    process: &Process,
    config: &Config,
    key: &AuthorityIdentity,
) -> Result<Arc<Part<Arc<Authority>>>, StartError> {
    let each = &key.config;
    let Clients { clients, secrets } = introspection::clients(config, each)?;
    let own = key.own.as_deref().map(own_issuer);
    let authority = Authority::new(each.clone(), process.clock.clone(), own, clients);
    let source = authority.source(&key.state_dir);
    let source = source.map_err(unusable(&each.name))?;
    let asks = authority.revocation().needs_run();
    let http = asks.then(|| authority.revocation_client()).transpose();
    let http = http.map_err(unusable(&each.name))?;
    let tenant_keys = authority.tenant_keys().map_err(unusable(&each.name))?;
    let introspecting = introspection::task(&authority).map_err(unusable(&each.name))?;
    let state_dir = key.state_dir.clone();
    let (begun, config) = (authority.clone(), each.clone());
    let begin = move |life: &mut Life| {
        for secret in secrets {
            secret.watch(life, &config.name);
        }
        if let Some(task) = introspecting {
            task.begin(life, &config.name);
        }
        match http {
            Some(http) => revocations::ask(life, &begun, &config, http, &state_dir),
            None => revocations::log_method(&begun, &config),
        }
        if let Some(source) = source {
            if source.kept_at.is_some() {
                make_state_dir(&state_dir);
            }
            let (keys, observe) = (begun.keys().clone(), key_observer(&life.metrics, &begun));
            life.tasks
                .spawn(format!("keys of {}", config.name), move || {
                    keys.clone().run(source.clone(), observe.clone())
                });
        }
        if let Some(keys) = tenant_keys {
            make_state_dir(&state_dir);
            let metrics = life.metrics.clone();
            life.tasks.spawn(
                format!("keys of the tenants of {}", config.name),
                move || {
                    let metrics = metrics.clone();
                    let observe = move |tenant: &Arc<Authority>| key_observer(&metrics, tenant);
                    keys.clone().run(state_dir.clone(), observe)
                },
            );
        }
        read_at_scrape(life, &begun);
    };
    Ok(Part::new(authority, begin))
}

fn read_at_scrape(life: &mut Life, authority: &Arc<Authority>) {
    let (read, name) = (authority.clone(), authority.name().to_owned());
    let reading = life.metrics.read_at_scrape(
        move |metrics| {
            let (name, sets, revocation) = (read.name(), read.key_sets(), read.revocation());
            metrics.jwks_age(name, oldest(&sets));
            metrics.clock_skew(name, widest_skew(&sets));
            metrics.revocation_age(name, revocation.age());
        },
        move |metrics| {
            metrics.jwks_age(&name, None);
            metrics.clock_skew(&name, None);
            metrics.revocation_age(&name, None);
        },
    );
    life.keep(reading);
}

/// The age of the oldest of an authority's key sets.
pub(super) fn oldest(sets: &[Arc<LiveKeys>]) -> Option<Duration> {
    sets.iter().filter_map(|keys| keys.age()).max()
}

/// The greatest difference of an authority's clocks.
pub(super) fn widest_skew(sets: &[Arc<LiveKeys>]) -> Option<i64> {
    let skews = sets.iter().filter_map(|keys| keys.clock_skew());
    skews.max_by_key(|skew| skew.unsigned_abs())
}

/// Counts and logs the fetches of an authority's keys.
fn key_observer(metrics: &Arc<Metrics>, authority: &Arc<Authority>) -> live_keys::Observe {
    let (metrics, authority) = (metrics.clone(), authority.clone());
    let failing = Mutex::new(Failing::default());
    let logged = Mutex::new((Vec::new(), 0));
    Arc::new(move |result| {
        let (name, tenant) = (authority.name(), authority.tenant());
        metrics.jwks_fetched(name, result.is_ok());
        let mut failing = failing.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                match std::mem::take(&mut *failing).failures {
                    0 => tracing::debug!(authority = name, tenant, "fetched the key set"),
                    failures => {
                        tracing::info!(
                            authority = name,
                            tenant,
                            failures,
                            "fetched the key set again"
                        );
                    }
                }
                authority.check_clock();
                log_left_out(&authority, &logged);
            }
            Err(error) if failing.is_logged(error) => {
                let failures = failing.failures;
                tracing::warn!(
                    authority = name,
                    tenant,
                    error,
                    failures,
                    "cannot fetch the key set"
                );
            }
            Err(_) => {}
        }
    })
}

/// Consecutive failed fetches.
#[derive(Default)]
struct Failing {
    failures: u64,
    last: String,
}

impl Failing {
    /// Counts a failure. A new error is logged; the same one less and less often.
    fn is_logged(&mut self, error: &str) -> bool {
        self.failures += 1;
        let is_new = self.last != error;
        if is_new {
            error.clone_into(&mut self.last);
        }
        is_new || self.failures.is_power_of_two()
    }
}

/// Logs which keys of a set are not used, and why: once, and again when that changes.
fn log_left_out(authority: &Authority, logged: &Mutex<(Vec<LeftOut>, usize)>) {
    let Keys::Usable(keys) = authority.keys().current() else {
        return;
    };
    let now = (keys.left_out().to_vec(), keys.unread());
    let mut logged = logged.lock().unwrap_or_else(PoisonError::into_inner);
    if *logged == now {
        return;
    }
    let (meant, faults): (Vec<_>, Vec<_>) = now.0.iter().cloned().partition(|key| key.is_meant);
    let authority = authority.name();
    if !faults.is_empty() {
        tracing::warn!(
            authority,
            keys = join(&faults),
            "keys of the key set are left out: their tokens are refused"
        );
    }
    if !meant.is_empty() {
        tracing::info!(
            authority,
            keys = join(&meant),
            "keys of the key set are not for signatures"
        );
    }
    if now.1 > 0 {
        tracing::warn!(
            authority,
            unread = now.1,
            "the key set is too large: only its first 256 keys are read"
        );
    }
    *logged = now;
}
