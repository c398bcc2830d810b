//! The results of tries: the next current token, the status, and the callers that wait.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::error::Elapsed;

use super::{Current, KnownFailure, State, TokenSource};
use crate::http_client::HttpError;
use crate::token_source::access_token::{AccessToken, Grant};
use crate::token_source::error::{Failure, FetchError};
use crate::token_source::file_fault::TokenFileFault;
use crate::token_source::{CredentialStatus, Event, schedule};

impl TokenSource {
    /// The result of a try.
    pub(super) fn resolve(
        &self,
        outcome: Result<Result<Grant, Failure>, Elapsed>,
    ) -> Result<Current, Failure> {
        let cell = &*self.0;
        let result = match outcome {
            Ok(Ok(grant)) => self.accept(grant),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(match cell.config.endpoint.url() {
                Some(url) => Failure::from(FetchError::Http(HttpError::Timeout)).at(url),
                None => FetchError::TokenFile(TokenFileFault::Unreadable).into(),
            }),
        };
        let credential = &cell.config.name;
        match &result {
            Ok(_) => (cell.observer)(Event::Fetched { credential }),
            Err(failure) => {
                let (at, error, text) = (
                    cell.clock.now(),
                    failure.error,
                    Arc::<str>::from(failure.text()),
                );
                cell.status.rcu(|s| CredentialStatus {
                    last_error: Some(error),
                    last_error_text: Some(text.clone()),
                    last_error_at: Some(at),
                    failures: s.failures + 1,
                    ..(**s).clone()
                });
                (cell.observer)(Event::Failed { credential, error });
            }
        }
        result
    }

    /// Turns a grant into the next current token, unless it has expired on its way.
    pub(super) fn accept(&self, grant: Grant) -> Result<Current, Failure> {
        let Grant {
            lifetime,
            requested,
            ..
        } = grant;
        let token = AccessToken::new(grant);
        if !token.is_usable(self.now()) {
            return Err(FetchError::Late.into());
        }
        let age = requested.monotonic.elapsed();
        let after = schedule::refresh_after(lifetime, self.0.config.refresh_at, fastrand::f64());
        Ok(Current {
            token,
            refresh_due: requested.monotonic + after,
            // Later than by the monotonic clock while both run, because wall time has whole
            // seconds.
            refresh_due_at: requested.wall.plus(after + Duration::from_millis(1999)),
            obtained: self.0.clock.uptime().saturating_sub(age),
        })
    }

    pub(super) fn put(&self, current: Current) {
        let expires_at = current.token.expires_at();
        self.0.status.rcu(|s| CredentialStatus {
            expires_at: Some(expires_at),
            ..(**s).clone()
        });
        self.0.current.store(Some(Arc::new(current)));
    }

    pub(super) fn settle_success(&self, current: Current, failures: u32) {
        let cell = &*self.0;
        let (now, serial) = (cell.clock.now(), current.token.serial());
        // A file is read again and again while it has the same token.
        let is_other = !(cell.current.load().as_ref())
            .is_some_and(|before| before.token.is_same_as(&current.token));
        self.put(current);
        let for_refusal = cell
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fetched();
        cell.successor
            .store(if for_refusal { serial } else { 0 }, Ordering::Release);
        cell.status.rcu(|s| CredentialStatus {
            last_refresh: Some(now),
            fetches: s.fetches + 1,
            ..(**s).clone()
        });
        cell.arrived.notify_one();
        // Last, so that a woken caller finds the token.
        self.settle(|state| state.failing = None);
        let credential = &cell.config.name;
        if failures > 0 {
            tracing::info!(credential, failures, "access token fetched again");
        } else if is_other {
            tracing::info!(credential, "access token fetched");
        }
    }

    /// Logs a failure, but not the same one each second.
    pub(super) fn log_failure(&self, failure: &Failure, failures: u32) {
        let before = self.0.state.borrow().failing.map(|failure| failure.error);
        if before != Some(failure.error) || failures.is_power_of_two() {
            let credential = &self.0.config.name;
            tracing::warn!(
                credential,
                error = failure.text(),
                failures,
                "no access token fetched"
            );
        }
    }

    /// Gives callers a failure.
    pub(super) fn settle_failure(&self, error: FetchError, until: Instant) {
        self.settle(|state| state.failing = Some(KnownFailure { error, until }));
    }

    pub(super) fn settle(&self, change: impl FnOnce(&mut State)) {
        // After a success no replacement is pending.
        self.0
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .failed();
        self.0.fetching.store(false, Ordering::Release);
        self.0.state.send_modify(|state| {
            state.settled += 1;
            change(state);
        });
    }
}
