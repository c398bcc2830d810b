//! Clients that expire: an end by time is an end like any other.
//!
//! From its expiry on every token of a client is revoked for the verifiers of this process, to the
//! second. The end is kept in the store as soon as it is noticed, for the revocation list, the
//! registry, and for what comes later: a client that is prolonged does not get its old tokens back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::management::{LONGEST, longest_lifetime};
use super::{Client, Issuer};
use crate::domain::clock::UnixTime;
use crate::store::StoreError;

/// The expiries whose end is kept, by client; none of a client that was alive when it was last
/// looked at.
#[derive(Default)]
pub(super) struct Lapses(Mutex<HashMap<String, Option<UnixTime>>>);

/// A client that has expired.
struct Lapsed {
    client: Arc<Client>,
    expiry: UnixTime,
    /// Whether this process saw it alive: then its end is not kept yet, whatever is known of
    /// earlier ones.
    was_alive: bool,
}

impl Lapses {
    /// The expired clients whose end is not kept yet.
    fn due(&self, clients: impl Iterator<Item = Arc<Client>>, now: UnixTime) -> Vec<Lapsed> {
        let mut before = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut looked_at = HashMap::new();
        let mut due = Vec::new();
        for client in clients {
            let Some(expiry) = refused_from(&client) else {
                continue;
            };
            let last = before.remove(&client.id);
            if now < expiry {
                looked_at.insert(client.id.clone(), None);
            } else if last == Some(Some(expiry)) {
                looked_at.insert(client.id.clone(), last.flatten());
            } else {
                // Looked at as it was, until it is noted.
                if let Some(last) = last {
                    looked_at.insert(client.id.clone(), last);
                }
                due.push(Lapsed {
                    client,
                    expiry,
                    was_alive: last.is_some(),
                });
            }
        }
        *before = looked_at;
        due
    }

    fn note(&self, lapsed: &Lapsed) {
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ended.insert(lapsed.client.id.clone(), Some(lapsed.expiry));
    }
}

/// From when on a client is refused. One that is disabled in the configuration always was, as far
/// as is known.
fn refused_from(client: &Client) -> Option<UnixTime> {
    if client.disabled {
        Some(UnixTime(i64::MIN))
    } else {
        client.expires_at
    }
}

impl Issuer {
    /// Ends the tokens of the clients that have expired, as one that is disabled loses them. What
    /// the store does not keep the next call tries again.
    pub(super) async fn end_expired_clients(&self) {
        if let Err(error) = self.try_to_end_expired_clients().await {
            tracing::warn!(%error, "the end of an expired client cannot be stored; verifiers elsewhere do not know it yet");
        }
    }

    async fn try_to_end_expired_clients(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let expiries = self
            .expiring_clients()
            .filter_map(|client| Some((client.id.clone(), refused_from(&client)?)));
        self.revocations.expire(expiries.collect()).await;
        for lapsed in self.lapses.due(self.expiring_clients(), now) {
            if lapsed.was_alive || self.is_open_end(&lapsed).await? {
                let client_id = lapsed.client.id.as_str();
                let end = self.end_of(client_id, self.longest_life(client_id).await?, now);
                self.revocations.end_client(end).await?;
                tracing::info!(target: "audit", action = "expire_client", client_id, outcome = "done", "client expired");
            }
            self.lapses.note(&lapsed);
        }
        Ok(())
    }

    /// Whether a client that expired before this process looked at it may have tokens that nobody
    /// has ended.
    async fn is_open_end(&self, lapsed: &Lapsed) -> Result<bool, StoreError> {
        // Since when the configuration says so is not known.
        if lapsed.client.disabled {
            return Ok(true);
        }
        if self
            .revocations
            .ended_since(&lapsed.client.id, lapsed.expiry)
        {
            return Ok(false);
        }
        let lives = self.longest_life(&lapsed.client.id).await?;
        Ok(lives.is_zero() || self.forgetting.time() <= lapsed.expiry.plus(lives))
    }

    async fn longest_life(&self, client_id: &str) -> Result<std::time::Duration, StoreError> {
        if self.clients.configured(client_id).is_some() {
            // The file may have said otherwise when a token was issued.
            return Ok(LONGEST);
        }
        Ok(self
            .store
            .client(client_id)
            .await?
            .map_or(LONGEST, |stored| longest_lifetime(&stored)))
    }

    /// The clients with an end by time, and those that the configuration disables: the store knows
    /// of the others.
    fn expiring_clients(&self) -> impl Iterator<Item = Arc<Client>> {
        let configured: Vec<_> = self.clients.all_configured().values().cloned().collect();
        let stored = self
            .clients
            .all_stored()
            .into_iter()
            .filter(|client| !client.disabled);
        configured
            .into_iter()
            .chain(stored)
            .filter(|client| refused_from(client).is_some())
    }

    /// When the next client expires, if one does: [`reload`](Issuer::reload) is to be called then.
    #[must_use]
    pub fn next_expiry(&self) -> Option<UnixTime> {
        let now = self.clock.now();
        self.expiring_clients()
            .filter_map(|client| client.expires_at)
            .filter(|expiry| now < *expiry)
            .min()
    }
}
