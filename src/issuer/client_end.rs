//! The end of what clients were issued: by request, when another process disables or deletes the
//! client, and when it expires.
//!
//! The verifiers of this process refuse every token of a client from its expiry on, to the second.
//! The end is stored as soon as it is noticed, for the revocation list and the registry, and so
//! that a prolonged client does not get its old tokens back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Client;
use super::clients::Clients;
use super::forgetting::Forgetting;
use super::policy::BACKDATED;
use super::profile::ProfilePolicy;
use super::registration::ClientMetadata;
use super::revocations::Revocations;
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::revoked::EndMark;
use crate::store::tokens::ClientNotBefore;
use crate::store::{Store, StoreError, StoredClient};

/// The longest lifetime that `issuer.accessTokenLifetime` may give, for clients without their own.
const LONGEST_DEFAULT: Duration = Duration::from_hours(24);
/// The longest lifetime of any access token.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// Ends the tokens of clients.
pub(super) struct ClientEnds {
    profile: ProfilePolicy,
    clients: Arc<Clients>,
    revocations: Arc<Revocations>,
    forgetting: Arc<Forgetting>,
    store: Arc<dyn Store>,
    clock: SharedClock,
    /// The expiries whose end is stored, by client. `None`: the client was usable at the last look.
    stored_expiries: Mutex<HashMap<String, Option<UnixTime>>>,
}

/// A client that has expired.
struct Expired {
    client: Arc<Client>,
    expiry: UnixTime,
    /// Whether this process saw it usable: then its end is not stored yet, whatever earlier ends
    /// are.
    was_usable: bool,
}

impl ClientEnds {
    pub(super) fn new(
        profile: ProfilePolicy,
        clients: Arc<Clients>,
        revocations: Arc<Revocations>,
        forgetting: Arc<Forgetting>,
        store: Arc<dyn Store>,
        clock: SharedClock,
    ) -> Self {
        Self {
            profile,
            clients,
            revocations,
            forgetting,
            store,
            clock,
            stored_expiries: Mutex::default(),
        }
    }

    /// The end of everything a client was issued up to `now`, kept until the last of it expires.
    /// It includes what was issued with a later time, before the clock was set back.
    pub(super) fn end_of(
        &self,
        client_id: &str,
        lifetime: Duration,
        now: UnixTime,
    ) -> ClientNotBefore {
        let is_endless = lifetime.is_zero() || self.profile.endless;
        let latest = self.revocations.latest(now);
        ClientNotBefore {
            client_id: client_id.to_owned(),
            // A token's `iat` lies before the moment it was issued.
            until: latest.minus(BACKDATED),
            expires_at: if is_endless {
                UnixTime::NEVER
            } else {
                latest.plus(lifetime)
            },
            revoked_at: now,
            mark: EndMark::of(uuid::Uuid::new_v4().as_bytes()),
        }
    }

    /// Stores an end. From now on the verifiers of this process refuse the tokens.
    pub(super) async fn store(&self, end: &ClientNotBefore) -> Result<(), StoreError> {
        self.revocations.end_client(end.clone()).await
    }

    /// Ends what this process issued to clients while another process disabled or deleted them.
    pub(super) async fn end_departed(&self) -> Result<(), StoreError> {
        while let Some(client) = self.clients.departed() {
            let lifetime = client
                .access_token_lifetime
                .unwrap_or_default()
                .max(LONGEST_DEFAULT);
            let end = self.end_of(&client.id, lifetime, self.clock.now());
            if let Err(error) = self.store(&end).await {
                self.clients.departs(client);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends the tokens of expired clients. The next call repeats what cannot be stored.
    pub(super) async fn end_expired(&self) {
        if let Err(error) = self.try_end_expired().await {
            tracing::warn!(
                %error,
                "cannot store the end of an expired client; other verifiers accept its tokens \
                 until the store can be written"
            );
        }
    }

    async fn try_end_expired(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let expiries = self
            .expiring_clients()
            .filter_map(|client| Some((client.id.clone(), refused_from(&client)?)));
        self.revocations.expire(expiries.collect()).await;
        for expired in self.due(now) {
            let client_id = expired.client.id.as_str();
            if expired.was_usable || self.may_have_tokens(&expired).await? {
                let end = self.end_of(client_id, self.longest_lifetime(client_id).await?, now);
                self.store(&end).await?;
                tracing::info!(
                    target: "audit",
                    action = "expire_client",
                    client_id,
                    outcome = "done",
                    "client expired"
                );
            }
            self.stored_expiries
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(client_id.to_owned(), Some(expired.expiry));
        }
        Ok(())
    }

    /// The expired clients whose end is not stored yet.
    fn due(&self, now: UnixTime) -> Vec<Expired> {
        let mut before = self
            .stored_expiries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut looked_at = HashMap::new();
        let mut due = Vec::new();
        for client in self.expiring_clients() {
            let Some(expiry) = refused_from(&client) else {
                continue;
            };
            let last = before.remove(&client.id);
            if now < expiry {
                looked_at.insert(client.id.clone(), None);
                continue;
            }
            // Stays as it was until the end is stored.
            if let Some(last) = last {
                looked_at.insert(client.id.clone(), last);
            }
            if last != Some(Some(expiry)) {
                due.push(Expired {
                    client,
                    expiry,
                    was_usable: last.is_some(),
                });
            }
        }
        *before = looked_at;
        due
    }

    /// Whether a client that expired before the first look may still have tokens.
    async fn may_have_tokens(&self, expired: &Expired) -> Result<bool, StoreError> {
        // The time at which the configuration disabled the client is unknown.
        if expired.client.disabled {
            return Ok(true);
        }
        let client_id = &expired.client.id;
        if self.revocations.ended_since(client_id, expired.expiry) {
            return Ok(false);
        }
        let lifetime = self.longest_lifetime(client_id).await?;
        Ok(lifetime.is_zero() || self.forgetting.time() <= expired.expiry.plus(lifetime))
    }

    async fn longest_lifetime(&self, client_id: &str) -> Result<Duration, StoreError> {
        if self.clients.configured(client_id).is_some() {
            return Ok(LONGEST);
        }
        let stored = self.store.client(client_id).await?;
        Ok(longest_lifetime(stored.as_ref()))
    }

    /// The clients with an expiry, and those that the configuration disables. A disabled client of
    /// the store was ended when it was disabled.
    fn expiring_clients(&self) -> impl Iterator<Item = Arc<Client>> {
        let configured: Vec<_> = self.clients.all_configured().values().cloned().collect();
        let stored = self.clients.all_stored().into_iter();
        configured
            .into_iter()
            .chain(stored.filter(|client| !client.disabled))
            .filter(|client| refused_from(client).is_some())
    }

    /// When the next client expires, if one does.
    pub(super) fn next_expiry(&self) -> Option<UnixTime> {
        let now = self.clock.now();
        self.expiring_clients()
            .filter_map(|client| client.expires_at)
            .filter(|expiry| now < *expiry)
            .min()
    }
}

/// The time from which a client is refused. One that the configuration disables may always have
/// been.
fn refused_from(client: &Client) -> Option<UnixTime> {
    if client.disabled {
        Some(UnixTime(i64::MIN))
    } else {
        client.expires_at
    }
}

/// How long a token that a client has now may stay valid; zero: without end. `None` is a client of
/// the configuration, whose lifetime may have been another one when a token was issued.
pub(super) fn longest_lifetime(stored: Option<&StoredClient>) -> Duration {
    let Some(metadata) = stored.and_then(|stored| ClientMetadata::stored(&stored.document)) else {
        return LONGEST;
    };
    let own = [
        metadata.access_token_lifetime,
        metadata.longest_token_lifetime,
    ];
    if own.contains(&Some(0)) {
        return Duration::ZERO;
    }
    own.into_iter()
        .flatten()
        .map(Duration::from_secs)
        .fold(LONGEST_DEFAULT, Duration::max)
}
