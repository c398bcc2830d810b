//! The registered clients of the configuration, and of the store as last read.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::client::{Authentication, Client, ExpectedSecret, Secret};
use super::{OpenError, registration};
use crate::domain::clock::UnixTime;
use crate::domain::secret::{ExposeSecret, LineEnd, SecretString};
use crate::jose::Algorithm;
use crate::store::{Store, StoreError};

/// The most earlier secrets of a file that stay valid.
const MOST_OLD_SECRETS: usize = 10;

/// All clients, by id.
pub(super) struct Clients {
    /// The clients of the configuration. They hide clients of the store with the same id.
    configured: ArcSwap<HashMap<String, Arc<Client>>>,
    stored: ArcSwap<HashMap<String, Arc<Client>>>,
    /// The ids of clients of the store whose documents cannot be read.
    unreadable: ArcSwap<HashSet<String>>,
    /// The clients of the store that are being disabled or deleted, and by how many requests.
    closed: ArcSwap<HashMap<String, usize>>,
    /// Notified when one of them is open again.
    opens: Notify,
    /// Clients of the store that another process disabled or deleted, and whose tokens must end.
    departed: Mutex<Vec<Arc<Client>>>,
    /// Held while the store is read, so that an older reading never replaces a newer one.
    reading: tokio::sync::Mutex<()>,
    /// Whether any client of the store has a supplied secret.
    have_supplied_secrets: AtomicBool,
}

impl Clients {
    pub(super) fn new(clients: Vec<Client>) -> Result<Self, OpenError> {
        let mut configured = HashMap::with_capacity(clients.len());
        for client in clients {
            let is_empty = |secret: &ExpectedSecret| match secret {
                ExpectedSecret::Plain(secret) => secret.expose_secret().is_empty(),
                ExpectedSecret::Sha256(_) | ExpectedSecret::Argon2(..) => false,
            };
            if client
                .secrets
                .iter()
                .any(|secret| is_empty(&secret.expected))
            {
                return Err(OpenError::EmptySecret(client.id));
            }
            if let Some(first) = configured.insert(client.id.clone(), Arc::new(client)) {
                return Err(OpenError::DuplicateClient(first.id.clone()));
            }
        }
        Ok(Self {
            configured: ArcSwap::from_pointee(configured),
            stored: ArcSwap::default(),
            unreadable: ArcSwap::default(),
            closed: ArcSwap::default(),
            opens: Notify::new(),
            departed: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            have_supplied_secrets: AtomicBool::new(false),
        })
    }

    /// Reads the clients of the store.
    pub(super) async fn reload(&self, store: &dyn Store) -> Result<(), StoreError> {
        let _reading = self.reading.lock().await;
        let (mut clients, mut unreadable) = (HashMap::new(), HashSet::new());
        for stored in store.clients().await? {
            let client_id = stored.client_id.as_str();
            let Some(client) = registration::client(&stored) else {
                tracing::error!(
                    client_id,
                    "the stored document of this client cannot be read; the client is refused"
                );
                unreadable.insert(stored.client_id);
                continue;
            };
            if self.configured.load().contains_key(client_id) {
                tracing::warn!(
                    client_id,
                    "the client of the configuration hides one of the store with its id"
                );
            }
            clients.insert(stored.client_id, Arc::new(client));
        }
        self.unreadable.store(Arc::new(unreadable));
        let is_supplied = |secret: &Secret| matches!(secret.expected, ExpectedSecret::Argon2(..));
        let any = clients
            .values()
            .any(|client: &Arc<Client>| client.secrets.iter().any(is_supplied));
        self.have_supplied_secrets.store(any, Ordering::Relaxed);
        let clients = Arc::new(clients);
        let earlier = self.stored.swap(clients.clone());
        // The request that closed a client also ends its tokens.
        let closed = self.closed.load();
        let is_open = |client: &Client| !client.disabled && !closed.contains_key(&client.id);
        let is_left = |id: &str| clients.get(id).is_some_and(|client| !client.disabled);
        earlier
            .values()
            .filter(|client| is_open(client) && !is_left(&client.id))
            .for_each(|client| self.departs(client.clone()));
        Ok(())
    }

    /// Notes a client whose tokens are to end.
    pub(super) fn departs(&self, client: Arc<Client>) {
        self.departed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(client);
    }

    /// Takes one of the noted clients.
    pub(super) fn departed(&self) -> Option<Arc<Client>> {
        self.departed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }

    /// The clients that exchange JWTs: they get the tokens of many users.
    pub(super) fn shared(&self) -> HashSet<String> {
        let clients = self.configured.load();
        let exchanges =
            |client: &&Arc<Client>| matches!(client.authentication, Authentication::Exchange(_));
        clients
            .values()
            .filter(exchanges)
            .map(|client| client.id.clone())
            .collect()
    }

    /// Whether any client is one of these.
    pub(super) fn any(&self, is: impl Fn(&Client) -> bool) -> bool {
        let (configured, stored) = (self.configured.load(), self.stored.load());
        configured.values().chain(stored.values()).any(|it| is(it))
    }

    /// The usable clients that fit a request which names none.
    pub(super) fn usable(&self, now: UnixTime, fits: impl Fn(&Client) -> bool) -> Vec<Arc<Client>> {
        let (configured, stored) = (self.configured.load(), self.stored.load());
        let closed = self.closed.load();
        let is_open =
            |it: &&Arc<Client>| !configured.contains_key(&it.id) && !closed.contains_key(&it.id);
        let stored = stored.values().filter(is_open);
        let all = configured.values().chain(stored);
        all.filter(|client| client.is_usable(now) && fits(client))
            .cloned()
            .collect()
    }

    /// The longest lifetime of tokens of the clients of the store.
    pub(super) fn longest_lifetime(&self) -> Option<Duration> {
        self.stored
            .load()
            .values()
            .filter_map(|client| client.access_token_lifetime)
            .max()
    }

    /// The algorithms that the clients of the store need beside the issuer's.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let clients = self.stored.load();
        let settings = clients
            .values()
            .flat_map(|client| client.audience_settings.values());
        settings.filter_map(|settings| settings.algorithm).collect()
    }

    pub(super) fn get(&self, client_id: &str) -> Option<Arc<Client>> {
        self.configured(client_id).or_else(|| {
            if self.closed.load().contains_key(client_id) {
                return None;
            }
            self.stored.load().get(client_id).cloned()
        })
    }

    /// Whether a client is registered and its document cannot be read.
    pub(super) fn is_unreadable(&self, client_id: &str) -> bool {
        self.unreadable.load().contains(client_id)
    }

    /// Whether a client is registered and neither disabled nor expired.
    pub(super) fn is_usable(&self, client_id: &str, now: UnixTime) -> bool {
        self.get(client_id)
            .is_some_and(|client| client.is_usable(now))
    }

    /// A client of the configuration.
    pub(super) fn configured(&self, client_id: &str) -> Option<Arc<Client>> {
        self.configured.load().get(client_id).cloned()
    }

    /// Every client of the configuration, by id. [`Clients::replace_secret`] replaces the map.
    pub(super) fn all_configured(&self) -> Arc<HashMap<String, Arc<Client>>> {
        self.configured.load_full()
    }

    /// Gives a client of the configuration a new secret; its present ones stay valid until `until`.
    /// Returns whether that is a change.
    pub(super) fn replace_secret(
        &self,
        client_id: &str,
        (secret, line_end): (SecretString, LineEnd),
        now: UnixTime,
        until: UnixTime,
    ) -> bool {
        let is_new =
            |known: &Secret| known.line_end != line_end || !known.expected.is_plain(&secret);
        let Some(client) = self
            .configured(client_id)
            .filter(|it| it.secrets.first().is_none_or(is_new))
        else {
            return false;
        };
        let end = |old: &Secret| Some(old.expires_at.map_or(until, |end| end.min(until)));
        let old = client.secrets.iter().filter(|old| is_new(old));
        let old = old.map(|old| Secret {
            expires_at: end(old),
            ..old.clone()
        });
        let old: Vec<_> = old
            .filter(|old| old.is_live(now))
            .take(MOST_OLD_SECRETS)
            .collect();
        let mut client = Client::clone(&client);
        client.secrets = vec![Secret {
            line_end,
            ..Secret::configured(secret)
        }];
        client.secrets.extend(old);
        let client = Arc::new(client);
        self.configured.rcu(|configured| {
            let mut configured = HashMap::clone(configured);
            configured.insert(client.id.clone(), client.clone());
            configured
        });
        true
    }

    /// Every client of the store that no client of the configuration hides.
    pub(super) fn all_stored(&self) -> Vec<Arc<Client>> {
        let (stored, configured) = (self.stored.load(), self.configured.load());
        stored
            .values()
            .filter(|client| !configured.contains_key(&client.id))
            .cloned()
            .collect()
    }

    /// Refuses a client of the store until the guard is dropped. Nothing is then issued between the
    /// time of its end and the moment at which this process has read it.
    pub(super) fn close<'a>(&'a self, client_id: &'a str) -> Closed<'a> {
        self.closed.rcu(|closed| {
            let mut closed = HashMap::clone(closed);
            *closed.entry(client_id.to_owned()).or_insert(0) += 1;
            closed
        });
        Closed {
            clients: self,
            client_id,
        }
    }

    /// Waits until no request closes a client: then a new client of a deleted one's id is accepted.
    pub(super) async fn opened(&self, client_id: &str) {
        loop {
            let opens = self.opens.notified();
            if !self.closed.load().contains_key(client_id) {
                return;
            }
            opens.await;
        }
    }

    /// Whether presented secrets are hashed slowly: for every client, or the time would reveal
    /// which clients exist.
    pub(super) fn have_supplied_secrets(&self) -> bool {
        self.have_supplied_secrets.load(Ordering::Relaxed)
    }
}

/// The guard of [`Clients::close`].
pub(super) struct Closed<'a> {
    clients: &'a Clients,
    client_id: &'a str,
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.clients.closed.rcu(|closed| {
            let mut closed = HashMap::clone(closed);
            if let Some(by) = closed.get_mut(self.client_id) {
                *by -= 1;
                if *by == 0 {
                    closed.remove(self.client_id);
                }
            }
            closed
        });
        self.clients.opens.notify_waiters();
    }
}
