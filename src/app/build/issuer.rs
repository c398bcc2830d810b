//! The issuer: opened on its store, and kept up to date with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::part::{Life, Part};
use super::Build;
use crate::app::error::StartError;
use crate::domain::clock::SharedClock;
use crate::domain::encryption::EncryptionKey;
use crate::issuer::{self, Issuer, OpenError};
use crate::store::{self, Store};
use crate::verifier::OwnIssuer;

/// How often the store is read for changes of other processes.
const STORE_PING: Duration = Duration::from_secs(5);

/// An issuer is known by its configuration and its store.
#[derive(PartialEq)]
pub(super) struct IssuerIdentity {
    config: issuer::Config,
    store: store::Config,
}

/// The issuer of a sidecar.
pub(super) struct OpenIssuer {
    pub issuer: Arc<Issuer>,
    /// Whether the store answers.
    pub store_up: Arc<AtomicBool>,
}

impl Build<'_> {
    /// The issuer of the configuration; none without one, or when it cannot be opened.
    pub(super) async fn issuer(&mut self) -> Option<Arc<Part<OpenIssuer>>> {
        let role = self.config.issuer.as_ref()?;
        let store = self.store().await;
        let store = self.note(store)?;
        let key = IssuerIdentity {
            config: role.issuer.clone(),
            store: self.config.store.clone(),
        };
        let part = match self.before.issuer.find(&key) {
            Some(part) => Ok(part),
            None => open(&key, self.former_key(), &store, self.process.clock.clone()).await,
        };
        let part = self.note(part)?;
        Some(self.parts.issuer.put(key, part))
    }

    /// The key that encrypts the private keys in the store so far.
    fn former_key(&self) -> Option<EncryptionKey> {
        let mut before = self.before.issuer.keys();
        before.find_map(|key| key.config.encryption_key.clone())
    }
}

async fn open(
    key: &IssuerIdentity,
    former_key: Option<EncryptionKey>,
    store: &Arc<Part<Arc<dyn Store>>>,
    clock: SharedClock,
) -> Result<Arc<Part<OpenIssuer>>, StartError> {
    let config = issuer::Config {
        former_encryption_key: former_key,
        ..key.config.clone()
    };
    let issuer = Issuer::open(config, (**store).clone(), clock.clone()).await;
    let issuer = issuer.map_err(|error| match error {
        OpenError::Store(error) => store::unreadable_at_start(&key.store, error).into(),
        error => StartError::Issuer(error.to_string()),
    })?;
    let store_up = Arc::new(AtomicBool::new(true));
    let followed = Followed {
        issuer: issuer.clone(),
        up: store_up.clone(),
        _store: store.clone(),
    };
    let begin = move |life: &mut Life| begin(life, followed, clock);
    Ok(Part::new(OpenIssuer { issuer, store_up }, begin))
}

/// The issuer whose store is followed.
struct Followed {
    issuer: Arc<Issuer>,
    up: Arc<AtomicBool>,
    /// The store closes after the last writing of the task.
    _store: Arc<Part<Arc<dyn Store>>>,
}

fn begin(life: &mut Life, followed: Followed, clock: SharedClock) {
    let issuer = followed.issuer.clone();
    life.tasks.spawn_with_end("store".to_owned(), move |stop| {
        let Followed { issuer, up, .. } = &followed;
        follow_store(issuer.clone(), up.clone(), clock.clone(), stop)
    });
    let keys = issuer.client_keys().clone();
    life.tasks
        .spawn("keys of clients".to_owned(), move || keys.clone().run());
    life.tasks.spawn("secrets of clients".to_owned(), move || {
        let issuer = issuer.clone();
        async move { issuer.watch_secret_files().await }
    });
}

/// Keeps the issuer up to date with its store until the end, then writes the pending changes.
async fn follow_store(
    issuer: Arc<Issuer>,
    up: Arc<AtomicBool>,
    clock: SharedClock,
    stop: CancellationToken,
) {
    loop {
        let answers = issuer.reload().await.is_ok();
        if up.swap(answers, Ordering::AcqRel) != answers {
            tracing::warn!(up = answers, "the store's state has changed");
        }
        let expiry = issuer.next_expiry().map(|expiry| clock.now().until(expiry));
        let pause = expiry.map_or(STORE_PING, |left| left.min(STORE_PING));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => break,
        }
    }
    issuer.finish().await;
}

/// The data of our own issuer for verifiers in this process.
pub(super) fn own_issuer(issuer: &Issuer) -> OwnIssuer {
    OwnIssuer {
        keys: issuer.live_keys().clone(),
        revoked: issuer.revoked().clone(),
    }
}
