//! The task that asks an authority which of its tokens are revoked.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::part::Life;
use super::store::make_state_dir;
use crate::domain::duration::written;
use crate::http_client::HttpClient;
use crate::telemetry::Metrics;
use crate::verifier::{
    Authority, AuthorityConfig, KeptLists, Method, Observe, ObserveMethod, Revocation,
};

/// Asks an authority periodically, and logs the method of its revocation checks.
pub(super) fn ask(
    life: &Life,
    authority: &Authority,
    config: &AuthorityConfig,
    http: HttpClient,
    state_dir: &Path,
) {
    make_state_dir(state_dir);
    let (name, revocation) = (authority.name(), authority.revocation().clone());
    let observe = answers_observer(&life.metrics, name, &revocation);
    let (asking, kept) = (revocation.clone(), KeptLists::at(state_dir));
    life.tasks.spawn(format!("revocations of {name}"), move || {
        asking
            .clone()
            .run(http.clone(), kept.clone(), observe.clone())
    });
    let observe = method_observer(name, config);
    life.tasks
        .spawn(format!("revocation method of {name}"), move || {
            revocation.clone().watch_method(observe.clone())
        });
}

/// Counts the answers. Logs only when failures begin and end, because there can be many answers.
fn answers_observer(metrics: &Arc<Metrics>, authority: &str, revocation: &Revocation) -> Observe {
    let (metrics, authority) = (metrics.clone(), authority.to_owned());
    let is_failing = AtomicBool::new(false);
    let serves_for = written(revocation.max_stale());
    Arc::new(move |result: Result<(), &str>| {
        metrics.revocation_fetched(&authority, result.is_ok());
        match (result, is_failing.swap(result.is_err(), Ordering::AcqRel)) {
            (Err(error), false) => tracing::warn!(
                authority,
                error,
                serves_for,
                "cannot fetch which tokens are revoked; the last state serves up to this age \
                 (`revocation.maxStale`)"
            ),
            (Ok(()), true) => {
                tracing::info!(authority, "fetches again which tokens are revoked");
            }
            _ => {}
        }
    })
}

fn method_observer(authority: &str, config: &AuthorityConfig) -> ObserveMethod {
    let (authority, accepts_endless) = (authority.to_owned(), !config.require_expiry);
    Arc::new(move |method: &Method| {
        if accepts_endless && matches!(method, Method::None(_)) {
            tracing::warn!(
                authority,
                revocation = %method,
                "tokens without `exp` are refused, because they could not be revoked; with \
                 `revocation: none` they are accepted"
            );
        } else {
            tracing::info!(authority, revocation = %method, "the method of revocation checks");
        }
    })
}

/// Logs the method of revocation checks for an authority that is not asked.
pub(super) fn log_method(authority: &Authority, config: &AuthorityConfig) {
    let (name, method) = (authority.name(), authority.revocation().method());
    if config.revocation.is_none_unasked(&config.keys) {
        tracing::warn!(authority = name, revocation = %method, "revocations are not checked");
    } else if !config.require_expiry && matches!(method, Method::None(_)) {
        tracing::warn!(
            authority = name,
            revocation = %method,
            "tokens without `exp` are accepted and revocations are not checked: such a token \
             works until its key is withdrawn"
        );
    } else {
        tracing::info!(authority = name, revocation = %method, "the method of revocation checks");
    }
}
