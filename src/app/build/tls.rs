//! The TLS of the listeners: its files are watched, and the ends of its certificates are reported.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::part::{Life, Part};
use super::Build;
use super::listeners::{self, ListenerId};
use super::parts::TlsIdentity;
use crate::app::error::{StartError, unusable};
use crate::domain::clock::{SharedClock, UnixTime};
use crate::jose::provider;
use crate::proxy::tls::{Expiring, PROTOCOLS, ServerTls, Watch};

/// How often the ends of certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// Every so many looks a warning is repeated.
const WARN_EVERY: u32 = 24;
/// The remaining validity from which there are warnings: this time, or this part of the whole
/// validity of a certificate, whichever is less.
const SOON: i64 = 14 * 24 * 3600;
const SOON_PART: i64 = 5;

/// Gives the certificates in use, with the ends of their validity.
pub(super) type ExpiringNow = dyn Fn() -> Vec<Expiring> + Send + Sync;

impl Build<'_> {
    /// Reads the TLS files of every listener.
    pub(super) fn server_tls(&mut self) {
        for listener in listeners::of(self.config) {
            let Some(config) = listener.tls else { continue };
            let clock = self.process.clock.clone();
            let key = (listener.id.clone(), config);
            let make = |key: &TlsIdentity| new_tls(key, clock);
            let part = self.parts.tls.take(&self.before.tls, key, make);
            if let Some(part) = self.note(part) {
                self.tls.insert(listener.id, (**part).clone());
            }
        }
    }
}

fn new_tls(
    (id, config): &TlsIdentity,
    clock: SharedClock,
) -> Result<Arc<Part<Arc<ServerTls>>>, StartError> {
    provider::install();
    let tls = ServerTls::open(config.clone(), PROTOCOLS);
    let tls = Arc::new(tls.map_err(unusable(format!("TLS of listener {}", id.name)))?);
    let (watched, id) = (tls.clone(), id.clone());
    Ok(Part::new(tls, move |life| {
        watch(life, &watched, &id.name);
        let expiring: Arc<ExpiringNow> = Arc::new(move || watched.expiring());
        show_expiry(life, &expiring, &id, clock.clone());
        warn_of_expiry(life, expiring, id.name, clock);
    }))
}

/// Reads files again when they change.
fn watch(life: &Life, tls: &Arc<ServerTls>, listener: &str) {
    for (group, files) in tls.watched() {
        let what = match group {
            Watch::Pair(_) => "certificate",
            Watch::Authorities => "client authorities",
            Watch::Revoked => "revoked client certificates",
        };
        let tls = tls.clone();
        let what = format!("{what} of {listener}");
        life.watch_files(what, &files, move || tls.reload(group));
    }
}

/// Shows the remaining validity in each scrape. Of certificates with one name, the first to expire
/// counts.
pub(super) fn show_expiry(
    life: &mut Life,
    now: &Arc<ExpiringNow>,
    id: &ListenerId,
    clock: SharedClock,
) {
    let names = Arc::new(Mutex::new(Vec::<String>::new()));
    let (now, id, shown) = (now.clone(), id.clone(), names.clone());
    let removed = id.clone();
    let reading = life.metrics.read_at_scrape(
        move |metrics| {
            let mut expiring = now();
            expiring.sort_by_key(|it| std::cmp::Reverse(it.not_after.0));
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            for name in std::mem::take(&mut *shown) {
                metrics.certificate_expiry(id.role, &id.name, &name, None);
            }
            for Expiring {
                name, not_after, ..
            } in expiring
            {
                let left = not_after.0.saturating_sub(clock.now().0);
                metrics.certificate_expiry(id.role, &id.name, &name, Some(left));
                shown.push(name);
            }
        },
        move |metrics| {
            let names = names.lock().unwrap_or_else(PoisonError::into_inner);
            for name in names.iter() {
                metrics.certificate_expiry(removed.role, &removed.name, name, None);
            }
        },
    );
    life.keep(reading);
}

/// Warns of certificates that expire soon or have expired, at the start and then once a day.
pub(super) fn warn_of_expiry(
    life: &Life,
    expiring: Arc<ExpiringNow>,
    listener: String,
    clock: SharedClock,
) {
    let task = format!("certificate expiry of {listener}");
    life.tasks.spawn(task, move || {
        let (expiring, listener, clock) = (expiring.clone(), listener.clone(), clock.clone());
        async move {
            let mut looks_until_warning = 0;
            loop {
                let now = clock.now();
                let soon: Vec<_> = expiring()
                    .into_iter()
                    .filter(|it| is_soon(it, now))
                    .collect();
                if soon.is_empty() {
                    looks_until_warning = 0;
                } else if looks_until_warning == 0 {
                    looks_until_warning = WARN_EVERY;
                    soon.iter().for_each(|it| warn(&listener, it, now));
                }
                looks_until_warning = looks_until_warning.saturating_sub(1);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    });
}

fn is_soon(expiring: &Expiring, now: UnixTime) -> bool {
    let whole = expiring
        .not_before
        .map(|begin| expiring.not_after.0 - begin.0);
    let soon = whole.map_or(0, |whole| SOON.min(whole / SOON_PART));
    expiring.not_after.0 - now.0 < soon
}

fn warn(listener: &str, expiring: &Expiring, now: UnixTime) {
    let not_after = expiring.not_after.to_rfc3339().unwrap_or_default();
    let name = expiring.name.as_str();
    if expiring.not_after < now {
        tracing::warn!(
            listener,
            name,
            not_after,
            "a certificate has expired: replace its files"
        );
    } else {
        tracing::warn!(
            listener,
            name,
            not_after,
            "a certificate expires soon: renew it"
        );
    }
}
