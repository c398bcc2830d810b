//! Readiness: the state of the parts that `/readyz` reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::authorities::Authorities;
use super::credentials::Credentials;
use crate::config::Readiness;
use crate::endpoints::probes;
use crate::issuer::Issuer;
use crate::token_source::TokenSource;
use crate::verifier::Authority;

/// The parts that readiness may depend on.
pub(super) struct Conditions {
    /// Whether the listeners are up and stay up.
    pub listeners: Arc<AtomicBool>,
    /// Whether the store answers; none without an issuer.
    pub store_up: Option<Arc<AtomicBool>>,
    pub issuer: Option<Arc<Issuer>>,
    pub authorities: Authorities,
    pub credentials: Credentials,
}

impl Conditions {
    /// Readiness by these conditions, and always by the listeners.
    pub(super) fn of(self, readiness: &[Readiness]) -> probes::Readiness {
        let readiness = readiness.to_vec();
        Arc::new(move || {
            let missing = self.missing(&readiness);
            if missing.is_empty() {
                Ok(())
            } else {
                Err(missing)
            }
        })
    }

    fn missing(&self, readiness: &[Readiness]) -> Vec<String> {
        let depends_on = |part| readiness.contains(&part);
        let mut missing = Vec::new();
        if !self.listeners.load(Ordering::Acquire) {
            missing.push("listeners".to_owned());
        }
        let store_up = self.store_up.as_ref();
        let is_store_up = store_up.is_none_or(|up| up.load(Ordering::Acquire));
        if depends_on(Readiness::Store) && !is_store_up {
            missing.push("store".to_owned());
        } else if depends_on(Readiness::Store)
            && let Some(why) = self.issuer.as_ref().and_then(|issuer| issuer.write_fault())
        {
            missing.push(format!("store (nothing can be written: {why})"));
        }
        if depends_on(Readiness::Authorities) {
            let is_known = |it: &Authority| it.has_keys() && it.revocation().is_known();
            let without = self
                .authorities
                .values()
                .filter(|authority| !is_known(authority));
            missing.extend(named(
                "authorities",
                without.map(|authority| authority.name()),
            ));
        }
        if depends_on(Readiness::Credentials) {
            let without = self
                .credentials
                .values()
                .filter(|source| source.current().is_none() && !source.is_exchanging());
            missing.extend(named("credentials", without.map(TokenSource::name)));
        }
        missing
    }
}

/// The kind and the sorted names of missing parts; `None` when none is missing.
fn named<'n>(kind: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    (!names.is_empty()).then(|| format!("{kind} ({})", names.join(", ")))
}
