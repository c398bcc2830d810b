//! The revocations of this issuer: in memory for its verifiers, in the store, and in the signed
//! list for other verifiers.

pub(super) mod known;
mod list;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use self::known::{Bounds, CROWDED, Known, LONGEST_SKEW, client_end, published};
pub use self::list::RevocationList;
use self::list::{Content, SignedList};
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::revoked::{EndMark, RevokedNow};
use crate::domain::settings::ListedClients;
use crate::files::blocking;
use crate::issuer::error::TokenError;
use crate::issuer::policy::BACKDATED;
use crate::issuer::profile::ProfilePolicy;
use crate::issuer::signing_keys::SigningKeys;
use crate::store::tokens::{ClientNotBefore, Ended, TokenFilter};
use crate::store::{RevokedToken, Store, StoreError};

/// How far ahead the store notes the time up to which tokens may be signed, so that it is written
/// rarely.
const NOTED_AHEAD: Duration = Duration::from_hours(1);

/// A token to revoke.
pub(super) struct Revocable {
    pub(super) token: RevokedToken,
    pub(super) issued_at: UnixTime,
    pub(super) after_end: Option<EndMark>,
}

/// The revocations of this issuer.
pub(super) struct Revocations {
    store: Arc<dyn Store>,
    clock: SharedClock,
    bounds: Arc<Bounds>,
    /// Held while the store is read, so that an older reading never replaces a newer one.
    changing: tokio::sync::Mutex<()>,
    known: ArcSwap<Known>,
    /// `known` has all that was revoked before this time.
    read_at: AtomicI64,
    /// The time from which all tokens of a client are revoked, because it expires then.
    expiries: ArcSwap<HashMap<String, UnixTime>>,
    now: RevokedNow,
    /// The number of tokens that the list names one by one.
    listed: AtomicUsize,
    signed: SignedList,
    /// The latest time at which this process signed a token.
    latest: AtomicI64,
    /// The latest time at which an earlier process may have signed one, if the clock was set back
    /// since.
    earlier: UnixTime,
    /// The time of signing that the store has noted.
    noted: AtomicI64,
}

impl Revocations {
    /// Reads the revocations that had not expired at the time `proven`. Many users share the
    /// clients in `shared`.
    pub(super) async fn open(
        store: Arc<dyn Store>,
        profile: ProfilePolicy,
        shared: HashSet<String>,
        clock: SharedClock,
        proven: UnixTime,
    ) -> Result<Self, StoreError> {
        let noted = store.signed_until().await?;
        let now = clock.now();
        // Such a note was made before the clock was set back.
        let is_set_back = noted > now.plus(NOTED_AHEAD).plus(LONGEST_SKEW);
        let revocations = Self {
            store,
            clock,
            bounds: Arc::new(Bounds::new(profile.limits.revoked_per_client, shared)),
            changing: tokio::sync::Mutex::new(()),
            known: ArcSwap::default(),
            read_at: AtomicI64::new(now.0),
            expiries: ArcSwap::default(),
            now: RevokedNow::default(),
            listed: AtomicUsize::new(0),
            signed: SignedList::default(),
            latest: AtomicI64::new(now.0),
            earlier: if is_set_back { noted } else { now },
            noted: AtomicI64::new(noted.0),
        };
        revocations.reload(proven).await?;
        Ok(revocations)
    }

    /// The revocations, for verifiers in this process.
    pub(super) fn now(&self) -> &RevokedNow {
        &self.now
    }

    /// The mark for a token of a client that is signed now; `None` if its `iat` lies after every
    /// end of the client's tokens.
    pub(super) fn mark_for(&self, client_id: &str, now: UnixTime) -> Option<EndMark> {
        // A plain read in the usual case, because many threads sign.
        if self.latest.load(Ordering::Relaxed) < now.0 {
            self.latest.fetch_max(now.0, Ordering::Relaxed);
        }
        self.now.current().mark_for(client_id, now.minus(BACKDATED))
    }

    /// The latest time at which a token may have been signed: after `now` if the clock was set
    /// back.
    pub(super) fn latest(&self, now: UnixTime) -> UnixTime {
        self.signed_here(now).max(self.earlier)
    }

    fn signed_here(&self, now: UnixTime) -> UnixTime {
        UnixTime(self.latest.load(Ordering::Relaxed)).max(now)
    }

    /// Notes in the store the time up to which tokens may be signed, so that an end covers them all
    /// even after a restart with a clock that was set back.
    pub(super) async fn note_time(&self, now: UnixTime) {
        let latest = self.signed_here(now);
        let is_noted = latest.plus(NOTED_AHEAD / 2) <= UnixTime(self.noted.load(Ordering::Relaxed));
        // After a failed write, this one shows whether the store is writable again.
        if is_noted && self.store.write_fault().is_none() {
            return;
        }
        let until = latest.plus(NOTED_AHEAD);
        match self.store.note_signed_until(until).await {
            Ok(()) => self.noted.store(until.0, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "cannot store the time of signing"),
        }
    }

    /// Revokes all tokens of these clients from these times on.
    pub(super) async fn expire(&self, expiries: HashMap<String, UnixTime>) {
        let _changing = self.changing.lock().await;
        if **self.expiries.load() != expiries {
            self.expiries.store(Arc::new(expiries));
            let known = self.known.load_full();
            self.publish(move || known).await;
        }
    }

    /// Whether all tokens that a client was issued before a time have ended.
    pub(super) fn ended_since(&self, client_id: &str, at: UnixTime) -> bool {
        self.known
            .load()
            .clients
            .iter()
            .any(|end| end.client_id == client_id && end.revoked_at >= at)
    }

    /// Whether the list is so full that the quota of users shrinks. A client that ended as a whole
    /// takes no room in the list, however many tokens it revokes.
    pub(super) fn is_crowded(&self) -> bool {
        self.listed.load(Ordering::Relaxed) > CROWDED
    }

    /// Drops what expired before the time `proven`.
    pub(super) async fn forget_expired(&self, proven: UnixTime) {
        let _changing = self.changing.lock().await;
        if let Some(left) = self
            .known
            .load()
            .without_expired(proven.minus(LONGEST_SKEW))
        {
            self.publish(move || Arc::new(left)).await;
        }
    }

    /// Reads everything again that had not expired at the time `proven`.
    pub(super) async fn reload(&self, proven: UnixTime) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let read_at = self.clock.now();
        // Read before the revocations that it counts.
        let revision = self.store.revisions().await?.revocations;
        let stored = self.store.revocations(proven.minus(LONGEST_SKEW)).await?;
        let generation = self.known.load().generation;
        self.publish(move || Arc::new(Known::of(stored, revision, generation)))
            .await;
        self.read_at.store(read_at.0, Ordering::Relaxed);
        Ok(())
    }

    /// Reads what this and other processes have revoked since the last reading.
    pub(super) async fn catch_up(&self) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let (read_at, known) = (self.clock.now(), self.known.load_full());
        let (revision, new) = self.store.revocations_since(known.revision).await?;
        if revision != known.revision {
            self.publish(move || Arc::new(known.with(new, revision)))
                .await;
        }
        self.read_at.store(read_at.0, Ordering::Relaxed);
        Ok(())
    }

    /// Reads what the store has revoked on its own. After a failure, the next reload reads it.
    pub(super) async fn catch_up_or_warn(&self) {
        if let Err(error) = self.catch_up().await {
            tracing::warn!(
                %error,
                "cannot read the latest revocations: verifiers in this process do not see them yet"
            );
        }
    }

    /// Revokes a token, first in the store, so that a restart never undoes an answer.
    pub(super) async fn revoke(&self, revocable: Revocable) -> Result<(), StoreError> {
        if is_stored(&self.known.load(), &revocable) {
            return Ok(());
        }
        self.store.revoke_token(&revocable.token).await?;
        self.catch_up().await
    }

    /// Ends kept tokens, first in the store, then at once in the list and for the verifiers of this
    /// process.
    pub(super) async fn end_tokens(
        &self,
        filter: &TokenFilter,
        proven: UnixTime,
    ) -> Result<Ended, StoreError> {
        let ended = self
            .store
            .end_tokens(filter, self.clock.now(), proven)
            .await?;
        if !ended.revoked.is_empty() {
            self.catch_up().await?;
        }
        Ok(ended)
    }

    /// Ends all tokens that a client was issued up to a time.
    pub(super) async fn end_client(&self, end: ClientNotBefore) -> Result<(), StoreError> {
        self.store.end_client_tokens(&end).await?;
        self.catch_up().await
    }

    /// Replaces what the verifiers of this process and the list use. Many revocations take time to
    /// compute, so no thread that serves requests does it.
    async fn publish(&self, make: impl FnOnce() -> Arc<Known> + Send + 'static) {
        let (bounds, now) = (self.bounds.clone(), self.clock.now());
        let (known, revoked, listed) = blocking(move || {
            let known = make();
            let (revoked, listed) = {
                let published = published(&known, &bounds, now);
                (published.revoked(), published.count())
            };
            (known, revoked, listed)
        })
        .await;
        self.listed.store(listed, Ordering::Relaxed);
        self.now
            .replace(revoked.with_expiries(self.expiries.load_full()));
        self.known.store(known);
    }

    /// The signed list: at most [`list::LIFETIME`] old, with all that is revoked at the call.
    pub(super) async fn list(
        &self,
        issuer: &str,
        listed: ListedClients,
        keys: &SigningKeys,
    ) -> Result<RevocationList, TokenError> {
        let wanted = self.known.load().generation;
        if let Some(list) = self.signed.last(wanted, self.clock.now()) {
            return Ok(list);
        }
        let _flight = self.signed.flight.lock().await;
        let now = self.clock.now();
        if let Some(list) = self.signed.last(wanted, now) {
            return Ok(list);
        }
        let key = keys
            .signing_key(list::LIFETIME)
            .map_err(|_| TokenError::Signing)?;
        // Read before `known`, which is then never older.
        let read_at = UnixTime(self.read_at.load(Ordering::Relaxed));
        let (known, bounds) = (self.known.load_full(), self.bounds.clone());
        let generation = known.generation;
        let content = Content {
            issuer: issuer.to_owned(),
            listed,
            known,
            bounds,
            read_at,
            now,
        };
        let list = blocking(move || content.sign(&key)).await?;
        self.signed.keep(generation, now, list.clone());
        Ok(list)
    }
}

/// Whether the store has the revocation of a token until the token expires. The published list may
/// cover more: it ends all tokens of a client while too many are revoked.
fn is_stored(known: &Known, revocable: &Revocable) -> bool {
    let Revocable {
        token,
        issued_at,
        after_end,
    } = revocable;
    known.has(&token.jti)
        || known.clients.iter().any(|end| {
            end.client_id == token.client_id
                && client_end(end).covers(*issued_at, *after_end)
                && token.expires_at <= end.expires_at
        })
}

#[cfg(test)]
mod tests;
