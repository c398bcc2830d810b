//! What `/readyz` says, from the state of the parts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::Readiness;
use crate::endpoints::probes;
use crate::issuer::Issuer;
use crate::token_source::TokenSource;
use crate::verifier::Authority;

/// What readiness may depend on.
pub(super) struct Conditions {
    /// Whether the listeners are up and are to stay.
    pub listeners: Arc<AtomicBool>,
    /// Whether the store answers.
    pub store_up: Arc<AtomicBool>,
    /// Whose store is written to.
    pub issuer: Option<Arc<Issuer>>,
    /// By their names.
    pub authorities: HashMap<String, Arc<Authority>>,
    /// By their names.
    pub credentials: HashMap<String, TokenSource>,
}

impl Conditions {
    /// The judgement by these of them, and always by the listeners.
    pub(super) fn judged_by(self, readiness: &[Readiness]) -> probes::Readiness {
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
        let wants = |what| readiness.contains(&what);
        let mut missing = Vec::new();
        if !self.listeners.load(Ordering::Acquire) {
            missing.push("listeners".to_owned());
        }
        if wants(Readiness::Store) && !self.store_up.load(Ordering::Acquire) {
            missing.push("store".to_owned());
        } else if wants(Readiness::Store)
            && let Some(why) = self.issuer.as_ref().and_then(|issuer| issuer.write_fault())
        {
            missing.push(format!("store (nothing can be written: {why})"));
        }
        if wants(Readiness::Authorities) {
            let is_known = |it: &Authority| it.keys().is_usable() && it.revocation().is_known();
            let without = self
                .authorities
                .values()
                .filter(|authority| !is_known(authority));
            missing.extend(named(
                "authorities",
                without.map(|authority| authority.name()),
            ));
        }
        if wants(Readiness::Credentials) {
            let without = self
                .credentials
                .values()
                .filter(|source| source.current().is_none());
            missing.extend(named("credentials", without.map(TokenSource::name)));
        }
        missing
    }
}

/// `what` and, in order, the names of those that are missing; `None` when there are none.
fn named<'n>(what: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    (!names.is_empty()).then(|| format!("{what} ({})", names.join(", ")))
}
