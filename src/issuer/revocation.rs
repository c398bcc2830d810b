//! Revocation: RFC 7009 requests, what is revoked now, and the signed list for verifiers elsewhere.

mod known;
mod list;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;

use super::TokenError;
use super::access_token::BACKDATED;
use super::client_auth::AuthenticatedClient;
use super::policy::Policy;
use super::profile::ProfilePolicy;
use super::signing_keys::SigningKeys;
use super::token_request::{Credentials, Parameters};
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::revoked::{AFTER_END, EndMark, RevokedNow};
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::domain::settings::ListedClients;
use crate::files::blocking;
use crate::jose::verify::Jws;
use crate::store::tokens as store;
use crate::store::tokens::Ended;
use crate::store::{RevokedToken, Store, StoreError};
use known::{Bounds, CROWDED, Known, client_end, published};
pub use list::RevocationList;
use list::{Content, SignedList};

/// A verifier whose clock is behind still takes an expired token for a live one; none allows more
/// than this.
const LONGEST_SKEW: Duration = Duration::from_mins(10);
/// How far ahead it is noted in the store up to which time tokens may be signed: so seldom is it
/// written.
const NOTED_AHEAD: Duration = Duration::from_hours(1);

/// A revocation request (RFC 7009 §2.1), well-formed but not yet authenticated.
#[derive(Debug)]
pub struct RevocationRequest {
    credentials: Option<Credentials>,
    token: SecretString,
}

impl RevocationRequest {
    /// Parses a request's headers and body; in the query of its URL no parameter may stand.
    /// `token_type_hint` is not needed: the types of tokens are told apart by their looks.
    ///
    /// # Errors
    /// When the request is malformed, whoever sends it.
    pub fn parse(
        headers: &HeaderMap,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Self, TokenError> {
        let parameters = Parameters::without_query(Parameters::parse(headers, body), query)?;
        parameters.check_spelling()?;
        Ok(Self {
            credentials: Credentials::parse(headers, parameters.client, &ProfilePolicy::STANDARD)?,
            token: parameters.token.ok_or(TokenError::NoToken)?,
        })
    }

    /// What the client presented to authenticate itself.
    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// The token, whatever it is.
    pub(super) fn token(&self) -> &SecretString {
        &self.token
    }

    /// The token, if this issuer made it for this client (where it brought a user's JWT, for that
    /// user) and it has not expired at the time `proven`. It is revoked `now`.
    pub(super) fn token_of(
        &self,
        caller: &AuthenticatedClient,
        policy: &Policy,
        keys: &SigningKeys,
        (now, proven): (UnixTime, UnixTime),
    ) -> Option<Revocable> {
        let jws = Jws::parse(self.token.expose_secret()).ok()?;
        let published = keys.verifying_keys();
        let (claims, _) = jws.verify_with(&published).ok()?;
        let text = |name| claims.string(name).ok().flatten();
        let client = caller.registration();
        let (owner, owner_issuer) = policy.owner_of(claims);
        let is_of_user = caller
            .exchanged()
            .is_none_or(|user| policy.is_of_user(user, owner, owner_issuer));
        let expires_at = claims
            .numeric_date("exp")
            .ok()?
            .map_or(UnixTime::NEVER, UnixTime);
        let is_own = text("iss") == Some(policy.issuer.as_str())
            && text("client_id") == Some(&client.id)
            && is_of_user;
        let revoked = RevokedToken {
            jti: text("jti")?.to_owned(),
            client_id: client.id.clone(),
            expires_at,
            revoked_at: now,
        };
        let issued_at = UnixTime(claims.numeric_date("iat").ok().flatten()?);
        let after_end = text(AFTER_END).and_then(EndMark::parse);
        let revocable = Revocable {
            token: revoked,
            issued_at,
            after_end,
        };
        (is_own && proven < expires_at.plus(LONGEST_SKEW)).then_some(revocable)
    }
}

/// A token that is to be revoked.
pub(super) struct Revocable {
    /// What is to be kept of it.
    pub(super) token: RevokedToken,
    /// Its `iat`.
    issued_at: UnixTime,
    /// The mark it carries.
    after_end: Option<EndMark>,
}

/// What this issuer has revoked.
pub(super) struct Revocations {
    store: Arc<dyn Store>,
    clock: SharedClock,
    bounds: Arc<Bounds>,
    /// Held while memory takes over what the store has, so that an older reading never replaces a
    /// newer one.
    changing: tokio::sync::Mutex<()>,
    known: ArcSwap<Known>,
    /// All that was revoked before this time is known.
    read_at: AtomicI64,
    /// From when on all tokens of a client are revoked because it has expired.
    expiries: ArcSwap<HashMap<String, UnixTime>>,
    now: RevokedNow,
    /// How many tokens the list names one by one.
    listed: AtomicUsize,
    signed: SignedList,
    /// The latest time at which this process signed a token.
    latest: AtomicI64,
    /// The latest time at which one can have been signed before: only when the clock was set back
    /// since.
    earlier: UnixTime,
    /// What of that the store knows, and a little more.
    noted: AtomicI64,
}

impl Revocations {
    /// Reads what is revoked, but for what expired before the time `proven`. `shared` are the
    /// clients whose tokens are those of many users.
    pub(super) async fn open(
        store: Arc<dyn Store>,
        profile: ProfilePolicy,
        shared: HashSet<String>,
        clock: SharedClock,
        proven: UnixTime,
    ) -> Result<Self, StoreError> {
        let noted = store.signed_until().await?;
        let now = clock.now();
        // A note that lies so far ahead was made before the clock was set back.
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

    /// What is revoked, for verifiers in this process.
    pub(super) fn now(&self) -> &RevokedNow {
        &self.now
    }

    /// The mark for a token that is signed now for a client; none when its `iat` says that it was
    /// issued after every end.
    pub(super) fn mark_for(&self, client_id: &str, now: UnixTime) -> Option<EndMark> {
        // A plain read in the usual case: many threads sign.
        if self.latest.load(Ordering::Relaxed) < now.0 {
            self.latest.fetch_max(now.0, Ordering::Relaxed);
        }
        self.now.current().mark_for(client_id, now.minus(BACKDATED))
    }

    /// The latest time at which a token can have been signed: later than `now` when the clock was
    /// set back.
    pub(super) fn latest(&self, now: UnixTime) -> UnixTime {
        self.signed_here(now).max(self.earlier)
    }

    fn signed_here(&self, now: UnixTime) -> UnixTime {
        UnixTime(self.latest.load(Ordering::Relaxed)).max(now)
    }

    /// Notes in the store, well beforehand, up to which time tokens may be signed: so that an end
    /// covers them all, also when the process was restarted and the clock set back since.
    pub(super) async fn note_time(&self, now: UnixTime) {
        let latest = self.signed_here(now);
        let is_noted = latest.plus(NOTED_AHEAD / 2) <= UnixTime(self.noted.load(Ordering::Relaxed));
        // After a write that failed this one tells whether writing is possible again.
        if is_noted && self.store.write_fault().is_none() {
            return;
        }
        let until = latest.plus(NOTED_AHEAD);
        match self.store.note_signed_until(until).await {
            Ok(()) => self.noted.store(until.0, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "the time of signing cannot be stored"),
        }
    }

    /// From these times on all tokens of these clients are revoked.
    pub(super) async fn expire(&self, expiries: HashMap<String, UnixTime>) {
        let _changing = self.changing.lock().await;
        if **self.expiries.load() != expiries {
            self.expiries.store(Arc::new(expiries));
            let known = self.known.load_full();
            self.publish(move || known).await;
        }
    }

    /// Whether everything that a client was issued before a time is known to have ended at that
    /// time or later.
    pub(super) fn ended_since(&self, client_id: &str, at: UnixTime) -> bool {
        self.known
            .load()
            .clients
            .iter()
            .any(|end| end.client_id == client_id && end.revoked_at >= at)
    }

    /// Whether the list names so many tokens that an owner may have only a few more. A client that
    /// has ended as a whole takes no room in it, however much it revokes.
    pub(super) fn is_crowded(&self) -> bool {
        self.listed.load(Ordering::Relaxed) > CROWDED
    }

    /// Forgets what expired before the time `proven`.
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

    /// Reads everything again, but for what expired before the time `proven`.
    pub(super) async fn reload(&self, proven: UnixTime) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let read_at = self.clock.now();
        // Before what it counts.
        let revision = self.store.revisions().await?.revocations;
        let stored = self.store.revocations(proven.minus(LONGEST_SKEW)).await?;
        let generation = self.known.load().generation;
        self.publish(move || Arc::new(Known::of(stored, revision, generation)))
            .await;
        self.read_at.store(read_at.0, Ordering::Relaxed);
        Ok(())
    }

    /// Takes over what this and other processes have revoked since the last time.
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

    /// Revokes a token: in the store first, so that an answer is never taken back by a restart.
    pub(super) async fn revoke(&self, revocable: Revocable) -> Result<(), StoreError> {
        if is_stored(&self.known.load(), &revocable) {
            return Ok(());
        }
        self.store.revoke_token(&revocable.token).await?;
        self.catch_up().await
    }

    /// Ends kept tokens: in the store, then here, so that the list and the verifiers of this
    /// process know at once.
    pub(super) async fn end_tokens(
        &self,
        filter: &store::TokenFilter,
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

    /// Ends everything a client was issued up to a time.
    pub(super) async fn end_client(&self, end: store::ClientNotBefore) -> Result<(), StoreError> {
        self.store.end_client_tokens(&end).await?;
        self.catch_up().await
    }

    /// Makes something else known to this process's verifiers, then to the list. What there is to
    /// compute takes time when much is revoked, so it is not done on a thread that serves requests.
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

    /// The signed list, at most [`list::LIFETIME`] old, of all that is known when it is asked for.
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
        // First: what is known then is never older than this says.
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

/// Whether the store says already that a token is revoked, and will for as long as it lives. What
/// is published may say more: it ends all of a client that has too many, for as long as it has.
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
mod tests {
    use std::sync::atomic::AtomicI64;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use futures_util::future::join_all;
    use futures_util::poll;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::revoked::{Issued, TokenId};
    use crate::issuer::Issuer;
    use crate::issuer::tests::{TestClock, client, config, open};

    const PER_CLIENT: usize = 1000;

    async fn revocations(store: &Arc<dyn Store>, now: i64) -> Revocations {
        let clock = Arc::new(TestClock(AtomicI64::new(now)));
        let shared = HashSet::new();
        Revocations::open(
            store.clone(),
            ProfilePolicy::STANDARD,
            shared,
            clock,
            UnixTime(now),
        )
        .await
        .unwrap()
    }

    fn token(number: usize, expires_at: i64) -> RevokedToken {
        RevokedToken {
            jti: format!("{number:05}"),
            client_id: "busy".to_owned(),
            expires_at: UnixTime(expires_at),
            revoked_at: UnixTime(1000),
        }
    }

    fn revocable(token: RevokedToken) -> Revocable {
        Revocable {
            token,
            issued_at: UnixTime(900),
            after_end: None,
        }
    }

    #[tokio::test]
    async fn a_revocation_is_stored_however_many_there_are_before_it() {
        let store = crate::store::open(&crate::store::Config::SqliteMemory)
            .await
            .unwrap();
        let first = revocations(&store, 1000).await;
        let covers = |revocations: &Revocations, jti: &str| {
            let (token, client_id) = (TokenId::of(jti), Some("busy"));
            let issued = Issued {
                token,
                client_id,
                at: UnixTime(900),
                after_end: None,
            };
            revocations.now().current().covers(&issued, UnixTime(1000))
        };
        join_all(
            (0..=PER_CLIENT)
                .map(|number| first.revoke(revocable(token(number, 1040))))
                .collect::<Vec<_>>(),
        )
        .await
        .into_iter()
        .for_each(Result::unwrap);
        assert!(
            first.known.load().generation < 50,
            "revocations that come together are taken over together"
        );
        let last = token(PER_CLIENT + 1, 90_000);
        assert!(covers(&first, &last.jti));
        first.revoke(revocable(last.clone())).await.unwrap();
        // The others have expired, and what was published because of them is forgotten.
        for restarted in [false, true] {
            let revocations = if restarted {
                &revocations(&store, 2000).await
            } else {
                first.forget_expired(UnixTime(2000)).await;
                &first
            };
            assert!(
                covers(revocations, &last.jti) && !covers(revocations, "00000"),
                "{restarted}"
            );
        }
        // What is stored already is not written again.
        let before = store.revisions().await.unwrap().revocations;
        first.revoke(revocable(last)).await.unwrap();
        assert_eq!(store.revisions().await.unwrap().revocations, before);
    }

    #[tokio::test]
    async fn a_client_that_revokes_without_end_takes_no_room_from_the_users_of_others() {
        let store = crate::store::open(&crate::store::Config::SqliteMemory)
            .await
            .unwrap();
        let revocations = revocations(&store, 1000).await;
        let of_others = |number: usize| RevokedToken {
            jti: format!("other-{number}"),
            client_id: format!("other-{}", number % 3),
            ..token(number, i64::MAX)
        };
        for of_busy in [true, false] {
            let token = |number| {
                if of_busy {
                    token(number, i64::MAX)
                } else {
                    of_others(number)
                }
            };
            let revoke = |number| revocations.revoke(revocable(token(number)));
            let revoked = join_all((0..=CROWDED).map(revoke).collect::<Vec<_>>()).await;
            revoked.into_iter().for_each(Result::unwrap);
            assert_eq!(revocations.is_crowded(), !of_busy);
        }
    }

    #[tokio::test]
    async fn the_list_of_a_store_that_is_made_anew_says_more_than_those_of_the_store_before() {
        let revision = |issuer: &Issuer| issuer.revocations.known.load().revision;
        let issuer = open(config(Vec::new())).await.unwrap();
        for number in 0..20 {
            issuer
                .revocations
                .revoke(revocable(token(number, i64::MAX)))
                .await
                .unwrap();
        }
        let last = revision(&issuer);
        let (store, clock) = (issuer.store.clone(), issuer.clock.clone());
        let again = Issuer::open(config(Vec::new()), store, clock)
            .await
            .unwrap();
        assert_eq!(
            revision(&again),
            last,
            "a restart on the same store goes on"
        );
        let store = crate::store::open(&crate::store::Config::SqliteMemory)
            .await
            .unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(issuer.clock.now().0 + 1)));
        let anew = Issuer::open(config(Vec::new()), store, clock)
            .await
            .unwrap();
        assert!(revision(&anew) > last, "{} {last}", revision(&anew));
    }

    fn claims(list: &RevocationList) -> Value {
        let jwt = std::str::from_utf8(&list.jwt).unwrap();
        let payload = URL_SAFE_NO_PAD
            .decode(jwt.split('.').nth(1).unwrap())
            .unwrap();
        serde_json::from_slice(&payload).unwrap()
    }

    /// The issuer's list, and that of another process on the same store.
    #[tokio::test]
    async fn a_list_says_what_of_the_store_is_in_it() {
        let issuer = open(config(vec![client("a", "s")])).await.unwrap();
        let other = revocations(&issuer.store, 5000).await;
        let list = async |of: &Revocations| {
            claims(
                &of.list(issuer.url(), ListedClients::Hashed, &issuer.keys)
                    .await
                    .unwrap(),
            )
        };
        let first = list(&other).await["revision"].as_i64().unwrap();
        issuer
            .revocations
            .revoke(revocable(token(1, i64::MAX)))
            .await
            .unwrap();
        let newer = list(&issuer.revocations).await;
        assert_eq!(
            (&newer["revision"], &newer["revoked"]),
            (&json!(first + 1), &json!(["00001"]))
        );
        // What the other one does not know, its list does not claim to know.
        let older = list(&other).await;
        assert_eq!(
            (&older["revision"], &older["iat"]),
            (&json!(first), &json!(5000))
        );
        assert_eq!(older["revoked"], json!([]));
        other.catch_up().await.unwrap();
        assert_eq!(list(&other).await["revision"], first + 1);
    }

    #[tokio::test]
    async fn the_time_of_a_list_is_the_time_at_which_the_store_was_read() {
        let issuer = open(config(Vec::new())).await.unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(1000)));
        let shared = HashSet::new();
        let store = issuer.store.clone();
        let revocations = Revocations::open(
            store,
            ProfilePolicy::STANDARD,
            shared,
            clock.clone(),
            UnixTime(1000),
        );
        let revocations = revocations.await.unwrap();
        let iat = async || {
            claims(
                &revocations
                    .list(issuer.url(), ListedClients::Hashed, &issuer.keys)
                    .await
                    .unwrap(),
            )["iat"]
                .clone()
        };
        clock.0.store(1020, Ordering::Relaxed);
        assert_eq!(iat().await, 1000);
        revocations.catch_up().await.unwrap();
        clock.0.store(1040, Ordering::Relaxed);
        assert_eq!(iat().await, 1020);
    }

    #[test]
    fn a_list_is_signed_elsewhere_and_those_who_ask_meanwhile_share_the_next() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime
            .max_blocking_threads(1)
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                let issuer = open(config(Vec::new())).await.unwrap();
                let revocations = &issuer.revocations;
                let known = revocations.known.load().revision;
                let ask = || revocations.list(issuer.url(), ListedClients::Hashed, &issuer.keys);
                // The one thread for such work has something else to do.
                let (go_on, wait) = std::sync::mpsc::channel::<()>();
                let busy = tokio::task::spawn_blocking(move || wait.recv());
                let mut first = Box::pin(ask());
                assert!(
                    poll!(&mut first).is_pending(),
                    "it is not signed on this thread"
                );
                go_on.send(()).unwrap();
                busy.await.unwrap().unwrap();
                let mut lists = Vec::new();
                for number in 0..20 {
                    revocations
                        .revoke(revocable(token(number, i64::MAX)))
                        .await
                        .unwrap();
                    lists.push(Box::pin(ask()));
                    assert!(
                        poll!(lists.last_mut().unwrap()).is_pending(),
                        "one list at a time"
                    );
                }
                assert_eq!(
                    claims(&first.await.unwrap())["revision"],
                    known,
                    "what was known when it was begun"
                );
                let lists = join_all(lists).await;
                let mut jwts: Vec<_> = lists.into_iter().map(|list| list.unwrap().jwt).collect();
                jwts.dedup();
                assert_eq!(jwts.len(), 1);
            });
    }
}
