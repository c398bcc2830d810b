//! The metrics of credentials, and of the quotas of calls with their tokens.

use std::time::Duration;

use super::labels::{
    CredentialLabels, CredentialResultLabels, ThrottleLabels, ThrottleResultLabels,
};
use super::{Metrics, seconds};

impl Metrics {
    /// Counts a token request of a credential; `result` is `ok` or a kind of error.
    pub fn token_fetched(&self, credential: &str, result: &'static str) {
        let labels = CredentialResultLabels {
            credential: credential.to_owned(),
            result,
        };
        self.token_fetch.get_or_create(&labels).inc();
    }

    /// Counts a token that was, or could not be, written into the file of a sink.
    pub fn token_written(&self, credential: &str, ok: bool) {
        let labels = CredentialResultLabels {
            credential: credential.to_owned(),
            result: if ok { "ok" } else { "error" },
        };
        self.token_written.get_or_create(&labels).inc();
    }

    /// Counts a request beyond the quota of a listener or a credential.
    pub fn throttled(&self, of: &'static str, name: &str, result: &'static str) {
        let labels = ThrottleResultLabels {
            of,
            name: name.to_owned(),
            result,
        };
        self.throttled.get_or_create(&labels).inc();
    }

    /// The number of requests that wait for a quota; `None`: there is no quota any more.
    pub fn throttle_waiting(&self, of: &'static str, name: &str, waiting: Option<usize>) {
        let labels = ThrottleLabels {
            of,
            name: name.to_owned(),
        };
        match waiting {
            Some(waiting) => {
                let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
                self.throttle_waiting.get_or_create(&labels).set(waiting);
            }
            None => {
                self.throttle_waiting.remove(&labels);
            }
        }
    }

    /// Remaining lifetime and age of a credential's token, and the lead of its authority's clock;
    /// `None`: unknown.
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
}
