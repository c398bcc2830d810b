//! Revocation: RFC 7009 requests, what is revoked now, and the signed list for verifiers elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::access_token::{BACKDATED, Policy};
use super::client_auth::AuthenticatedClient;
use super::signing_keys::SigningKeys;
use super::token_request::{Credentials, Parameters};
use super::{Profile, TokenError};
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256;
use crate::domain::revoked::{
    AFTER_END, ClientEnd, EndMark, HashedClientId, Marked, Revoked, RevokedNow, TokenId,
};
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::jose::verify::Jws;
use crate::store::tokens as store;
use crate::store::tokens::Ended;
use crate::store::{RevokedToken, Store, StoreError};

/// `typ` of the list.
const TYP: &str = "m2m-revocations+jwt";
/// How long a signed list is handed out. Verifiers may look at it for half a minute.
const LIST_LIFETIME: Duration = Duration::from_secs(15);
/// A verifier whose clock is behind still takes an expired token for a live one; none allows more than this.
const LONGEST_SKEW: Duration = Duration::from_mins(10);
/// How far ahead it is noted in the store up to which time tokens may be signed: so seldom is it written.
const NOTED_AHEAD: Duration = Duration::from_hours(1);

/// How many of a client's revoked tokens are named one by one. Beyond it all that the client was issued up to its last
/// revocation are revoked, so that no client can make the list too large for everyone.
const MAX_PER_CLIENT: usize = 1000;
/// The same in the plgd profile, where one client's tokens are those of many owners.
const MAX_PER_SHARED_CLIENT: usize = 50_000;

/// How many single tokens the list names at most, of all clients: verifiers read no more than 8 MiB of it.
const MAX_LISTED: usize = if cfg!(test) { 4000 } else { 120_000 };

/// How the public list names the clients whose tokens were ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListedClients {
    /// By the SHA-256 of their ids: the list does not say which clients there are.
    #[default]
    Hashed,
    /// By their ids, for verifiers that do not know hashes.
    Named,
}

/// A revocation request (RFC 7009 §2.1), well-formed but not yet authenticated.
#[derive(Debug)]
pub struct RevocationRequest {
    credentials: Option<Credentials>,
    token: SecretString,
}

impl RevocationRequest {
    /// Parses a request's headers and body; in the query of its URL no parameter may stand. `token_type_hint` is not needed: the types of tokens are told apart by their
    /// looks.
    ///
    /// # Errors
    /// When the request is malformed, whoever sends it.
    pub fn parse(headers: &HeaderMap, query: Option<&str>, body: &[u8]) -> Result<Self, TokenError> {
        let parameters = Parameters::without_query(Parameters::parse(headers, body), query)?;
        parameters.check_spelling()?;
        Ok(Self {
            credentials: Credentials::parse(headers, parameters.client)?,
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

    /// The token, if this issuer made it for this client (where it brought a user's JWT, for that user) and it has not expired at
    /// the time `proven`. It is revoked `now`.
    pub(super) fn token_of(
        &self,
        caller: &AuthenticatedClient,
        policy: &Policy,
        keys: &SigningKeys,
        (now, proven): (UnixTime, UnixTime),
    ) -> Option<Revocable> {
        let jws = Jws::parse(self.token.expose_secret()).ok()?;
        let published = keys.verifying_keys();
        let candidates = published.candidates(jws.kid(), jws.algorithm()).ok()?;
        let (claims, _) = jws.verified_claims(&candidates)?;
        let text = |name| claims.string(name).ok().flatten();
        let client = caller.registration();
        let (owner, owner_issuer) = policy.owner_of(claims);
        let is_of_user = caller.exchanged().is_none_or(|user| policy.is_of_user(user, owner, owner_issuer));
        let expires_at = claims.numeric_date("exp").ok()?.map_or(UnixTime::NEVER, UnixTime);
        let is_own =
            text("iss") == Some(policy.issuer()) && text("client_id") == Some(&client.id) && is_of_user;
        let revoked = RevokedToken {
            jti: text("jti")?.to_owned(),
            client_id: client.id.clone(),
            expires_at,
            revoked_at: now,
        };
        let issued_at = UnixTime(claims.numeric_date("iat").ok().flatten()?);
        let after_end = text(AFTER_END).and_then(EndMark::parse);
        let revocable = Revocable { token: revoked, issued_at, after_end };
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

/// The list of revoked tokens, signed.
#[derive(Clone, Debug)]
pub struct RevocationList {
    /// A JWT with the claims `iss`, `iat`, `revoked` (`jti`s), `not_before_sha256` (per hash of a client id the `iat` up to
    /// which all are) and `marked_sha256` (per hash the mark of tokens that were issued after the end, whatever their `iat`
    /// says); or `not_before` and `marked`, per client id.
    pub jwt: Bytes,
    /// Changes when the list does, not with each signature.
    pub etag: HeaderValue,
}

/// What this issuer has revoked.
pub(super) struct Revocations {
    store: Arc<dyn Store>,
    max_per_client: usize,
    /// Held while the store and memory change, so that neither gets ahead of the other.
    changing: tokio::sync::Mutex<()>,
    known: ArcSwap<store::Revocations>,
    /// From when on all tokens of a client are revoked because it has expired.
    expiries: ArcSwap<HashMap<String, UnixTime>>,
    now: RevokedNow,
    signed: Mutex<Option<Signed>>,
    /// The latest time at which this process signed a token.
    latest: AtomicI64,
    /// The latest time at which one can have been signed before: only when the clock was set back since.
    earlier: UnixTime,
    /// What of that the store knows, and a little more.
    noted: AtomicI64,
}

struct Signed {
    of: Arc<store::Revocations>,
    at: UnixTime,
    list: RevocationList,
}

impl Revocations {
    pub(super) async fn open(
        store: Arc<dyn Store>,
        profile: Profile,
        now: UnixTime,
        proven: UnixTime,
    ) -> Result<Self, StoreError> {
        let noted = store.signed_until().await?;
        // A note that lies so far ahead was made before the clock was set back.
        let is_set_back = noted > now.plus(NOTED_AHEAD).plus(LONGEST_SKEW);
        let revocations = Self {
            store,
            max_per_client: match profile {
                Profile::Standard => MAX_PER_CLIENT,
                Profile::Plgd => MAX_PER_SHARED_CLIENT,
            },
            changing: tokio::sync::Mutex::new(()),
            known: ArcSwap::default(),
            expiries: ArcSwap::default(),
            now: RevokedNow::default(),
            signed: Mutex::new(None),
            latest: AtomicI64::new(now.0),
            earlier: if is_set_back { noted } else { now },
            noted: AtomicI64::new(noted.0),
        };
        revocations.reload(now, proven).await?;
        Ok(revocations)
    }

    /// What is revoked, for verifiers in this process.
    pub(super) fn now(&self) -> &RevokedNow {
        &self.now
    }

    /// The mark for a token that is signed now for a client; none when its `iat` says that it was issued after every end.
    pub(super) fn mark_for(&self, client_id: &str, now: UnixTime) -> Option<EndMark> {
        // A plain read in the usual case: many threads sign.
        if self.latest.load(Ordering::Relaxed) < now.0 {
            self.latest.fetch_max(now.0, Ordering::Relaxed);
        }
        self.now.current().mark_for(client_id, now.minus(BACKDATED))
    }

    /// The latest time at which a token can have been signed: later than `now` when the clock was set back.
    pub(super) fn latest(&self, now: UnixTime) -> UnixTime {
        self.signed_here(now).max(self.earlier)
    }

    fn signed_here(&self, now: UnixTime) -> UnixTime {
        UnixTime(self.latest.load(Ordering::Relaxed)).max(now)
    }

    /// Notes in the store, well beforehand, up to which time tokens may be signed: so that an end covers them all, also when
    /// the process was restarted and the clock set back since.
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
    pub(super) async fn expire(&self, expiries: HashMap<String, UnixTime>, now: UnixTime) {
        let _changing = self.changing.lock().await;
        if **self.expiries.load() != expiries {
            self.expiries.store(Arc::new(expiries));
            self.publish(now);
        }
    }

    /// Whether everything that a client was issued before a time is known to have ended at that time or later.
    pub(super) fn ended_since(&self, client_id: &str, at: UnixTime) -> bool {
        self.known.load().clients.iter().any(|end| end.client_id == client_id && end.revoked_at >= at)
    }

    /// Forgets what expired before the time `proven`.
    pub(super) async fn forget_expired(&self, now: UnixTime, proven: UnixTime) {
        let _changing = self.changing.lock().await;
        let known = self.known.load();
        let since = proven.minus(LONGEST_SKEW);
        let expired = known.tokens.iter().any(|token| token.expires_at < since)
            || known.clients.iter().any(|end| end.expires_at < since);
        if expired {
            let mut left = store::Revocations::clone(&known);
            left.tokens.retain(|token| token.expires_at >= since);
            left.clients.retain(|end| end.expires_at >= since);
            self.replace(left, now);
        }
    }

    /// Takes over what other processes have revoked, and forgets what expired before the time `proven`.
    pub(super) async fn reload(&self, now: UnixTime, proven: UnixTime) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let stored = self.store.revocations(proven.minus(LONGEST_SKEW)).await?;
        if **self.known.load() != stored {
            self.replace(stored, now);
        }
        Ok(())
    }

    /// Revokes a token: in the store first, so that an answer is never taken back by a restart.
    pub(super) async fn revoke(&self, revocable: Revocable) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        if is_stored(&self.known.load(), &revocable) {
            return Ok(());
        }
        let token = revocable.token;
        let now = token.revoked_at;
        self.store.revoke_token(&token).await?;
        let mut known = store::Revocations::clone(&self.known.load());
        let place = known.tokens.partition_point(|known| known.jti < token.jti);
        known.tokens.insert(place, token);
        self.replace(known, now);
        Ok(())
    }

    /// Ends kept tokens: in the store, then here, so that the list and the verifiers of this process know at once.
    pub(super) async fn end_tokens(
        &self,
        filter: &store::TokenFilter,
        now: UnixTime,
        proven: UnixTime,
    ) -> Result<Ended, StoreError> {
        let _changing = self.changing.lock().await;
        let ended = self.store.end_tokens(filter, now, proven).await?;
        if !ended.revoked.is_empty() {
            let mut known = store::Revocations::clone(&self.known.load());
            known.tokens.extend(ended.revoked.iter().cloned());
            known.tokens.sort_unstable_by(|one, other| one.jti.cmp(&other.jti));
            known.tokens.dedup_by(|one, other| one.jti == other.jti);
            self.replace(known, now);
        }
        Ok(ended)
    }

    /// Ends everything a client was issued up to a time.
    pub(super) async fn end_client(&self, end: store::ClientNotBefore) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let now = end.revoked_at;
        self.store.end_client_tokens(&end).await?;
        let mut known = store::Revocations::clone(&self.known.load());
        match known.clients.iter_mut().find(|earlier| earlier.client_id == end.client_id) {
            Some(earlier) => {
                let expires_at = earlier.expires_at.max(end.expires_at);
                *earlier = if earlier.until < end.until {
                    store::ClientNotBefore { expires_at, ..end }
                } else {
                    store::ClientNotBefore { expires_at, mark: end.mark, ..earlier.clone() }
                };
            }
            None => known.clients.push(end),
        }
        known.clients.sort_unstable_by(|one, other| one.client_id.cmp(&other.client_id));
        self.replace(known, now);
        Ok(())
    }

    fn replace(&self, known: store::Revocations, now: UnixTime) {
        self.known.store(Arc::new(known));
        self.publish(now);
    }

    fn publish(&self, now: UnixTime) {
        let known = self.known.load();
        let (single, clients) = published(&known, self.max_per_client, now);
        let revoked = Revoked::new(
            single.into_iter().map(TokenId::of).collect(),
            clients.into_iter().map(|(client, end)| (client.to_owned(), end)).collect(),
        );
        self.now.replace(revoked.with_expiries(self.expiries.load_full()));
    }

    /// The signed list, at most [`LIST_LIFETIME`] old.
    pub(super) fn list(
        &self,
        issuer: &str,
        listed: ListedClients,
        keys: &SigningKeys,
        now: UnixTime,
    ) -> Result<RevocationList, TokenError> {
        let known = self.known.load_full();
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Signed { of, at, list }) = &*signed
            && Arc::ptr_eq(of, &known)
            && *at <= now
            && at.until(now) < LIST_LIFETIME
        {
            return Ok(list.clone());
        }
        let list = sign(published(&known, self.max_per_client, now), (issuer, listed), keys, now)?;
        *signed = Some(Signed { of: known, at: now, list: list.clone() });
        Ok(list)
    }
}

/// Whether the store says already that a token is revoked, and will for as long as it lives. What is published may say more:
/// it ends all of a client that has too many, for as long as it has.
fn is_stored(known: &store::Revocations, revocable: &Revocable) -> bool {
    let Revocable { token, issued_at, after_end } = revocable;
    known.tokens.binary_search_by(|known| known.jti.cmp(&token.jti)).is_ok()
        || known.clients.iter().any(|end| {
            end.client_id == token.client_id
                && client_end(end).covers(*issued_at, *after_end)
                && token.expires_at <= end.expires_at
        })
}

fn client_end(end: &store::ClientNotBefore) -> ClientEnd {
    ClientEnd { until: end.until, marked: Some(Marked { mark: end.mark, until: UnixTime(i64::MIN) }) }
}

/// What is revoked: single tokens by `jti`, and clients with the end of all of theirs.
///
/// What was revoked before the clock was set back is counted on its own: an end up to its time would cover what the client
/// is issued for hours.
fn published(
    known: &store::Revocations,
    max_per_client: usize,
    now: UnixTime,
) -> (Vec<&str>, HashMap<&str, ClientEnd>) {
    fn group(token: &RevokedToken, now: UnixTime) -> (&str, bool) {
        (&token.client_id, token.revoked_at > now.plus(LONGEST_SKEW))
    }
    let mut clients: HashMap<(&str, bool), (usize, UnixTime)> = HashMap::new();
    for token in &known.tokens {
        let (count, last) = clients.entry(group(token, now)).or_insert((0, token.revoked_at));
        *count += 1;
        *last = (*last).max(token.revoked_at);
    }
    // The most first, so that few clients pay for the list being short enough; and always the same ones.
    let mut by_count: Vec<_> = clients.drain().collect();
    by_count.sort_unstable_by(|(one, (few, _)), (other, (many, _))| many.cmp(few).then(one.cmp(other)));
    let mut listed = known.tokens.len();
    for (client, (count, last)) in by_count {
        if count > max_per_client || listed > MAX_LISTED {
            listed -= count;
            clients.insert(client, (count, last));
        }
    }
    let single = known.tokens.iter().filter(|token| !clients.contains_key(&group(token, now)));
    let single = single.map(|token| token.jti.as_str()).collect();
    // A token's `iat` lies before the moment it was issued.
    let mut ends: HashMap<&str, ClientEnd> = HashMap::new();
    for ((client, _), (_, last)) in clients {
        let until = last.minus(BACKDATED);
        let end = ends.entry(client).or_insert(ClientEnd { until, marked: None });
        end.until = end.until.max(until);
    }
    for end in &known.clients {
        let many = ends.get(end.client_id.as_str()).map(|many| many.until);
        // A mark is no exception from what was revoked one by one.
        let marked = Some(Marked { mark: end.mark, until: many.unwrap_or(UnixTime(i64::MIN)) });
        let until = many.map_or(end.until, |many| many.max(end.until));
        ends.insert(&end.client_id, ClientEnd { until, marked });
    }
    (single, ends)
}

fn sign(
    (single, clients): (Vec<&str>, HashMap<&str, ClientEnd>),
    (issuer, listed): (&str, ListedClients),
    keys: &SigningKeys,
    now: UnixTime,
) -> Result<RevocationList, TokenError> {
    let name = |client: &str| match listed {
        ListedClients::Hashed => HashedClientId::of(client).to_string(),
        ListedClients::Named => client.to_owned(),
    };
    let not_before: BTreeMap<String, i64> =
        clients.iter().map(|(client, end)| (name(client), end.until.0)).collect();
    let marked = clients.iter().filter_map(|(client, end)| {
        let Marked { mark, until } = end.marked?;
        let mark = mark.to_string();
        let is_bounded = until.0 > i64::MIN;
        let exception =
            if is_bounded { json!({ "mark": mark, "not_before": until.0 }) } else { json!({ "mark": mark }) };
        Some((name(client), exception))
    });
    let marked: BTreeMap<String, Value> = marked.collect();
    let mut claims = json!({ "iss": issuer, "iat": now.0, "revoked": single, "not_before": {} });
    let (ends, exceptions) = match listed {
        ListedClients::Hashed => ("not_before_sha256", "marked_sha256"),
        ListedClients::Named => ("not_before", "marked"),
    };
    if !not_before.is_empty() {
        if listed == ListedClients::Hashed {
            // A verifier that does not know hashes must not take the list for one without ends: to it this is malformed.
            claims["not_before"] = json!([]);
        }
        claims[ends] = json!(not_before);
    }
    if !marked.is_empty() {
        claims[exceptions] = json!(marked);
    }
    let jwt = keys.sign(TYP, &claims, LIST_LIFETIME).map_err(|_| TokenError::Signing)?;
    let content = json!([single, not_before, marked]).to_string();
    let digest: String = sha256(content.as_bytes())[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let etag = HeaderValue::try_from(format!("\"{digest}\"")).map_err(|_| TokenError::Signing)?;
    Ok(RevocationList { jwt: Bytes::copy_from_slice(jwt.expose_secret().as_bytes()), etag })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::revoked::Issued;

    /// Not before any of the revocations.
    const NOW: UnixTime = UnixTime(3000);

    #[tokio::test]
    async fn a_revocation_is_stored_however_many_there_are_before_it() {
        let store = crate::store::open(&crate::store::Config::SqliteMemory).await.unwrap();
        let now = UnixTime(1000);
        let revocations = Revocations::open(store.clone(), Profile::Standard, now, now).await.unwrap();
        let token = |number: usize, expires_at: i64| RevokedToken {
            jti: format!("{number:05}"),
            client_id: "busy".to_owned(),
            expires_at: UnixTime(expires_at),
            revoked_at: now,
        };
        let revocable = |token| Revocable { token, issued_at: UnixTime(900), after_end: None };
        let covers = |revocations: &Revocations, jti: &str| {
            let (token, client_id) = (TokenId::of(jti), Some("busy"));
            let issued = Issued { token, client_id, at: UnixTime(900), after_end: None };
            revocations.now().current().covers(&issued, now)
        };
        for number in 0..=MAX_PER_CLIENT {
            revocations.revoke(revocable(token(number, 1040))).await.unwrap();
        }
        let last = token(MAX_PER_CLIENT + 1, 90_000);
        assert!(covers(&revocations, &last.jti));
        revocations.revoke(revocable(last.clone())).await.unwrap();
        // The others have expired, and what was published because of them is forgotten.
        let later = UnixTime(2000);
        for restarted in [false, true] {
            let revocations = if restarted {
                &Revocations::open(store.clone(), Profile::Standard, later, later).await.unwrap()
            } else {
                revocations.forget_expired(later, later).await;
                &revocations
            };
            assert!(covers(revocations, &last.jti) && !covers(revocations, "00000"), "{restarted}");
        }
        // What is stored already is not written again.
        let before = store.revisions().await.unwrap().revocations;
        revocations.revoke(revocable(last)).await.unwrap();
        assert_eq!(store.revisions().await.unwrap().revocations, before);
    }

    #[test]
    fn a_client_that_revokes_without_end_ends_all_of_its_own_tokens_and_nobody_elses_list() {
        let token = |client: &str, number: usize| RevokedToken {
            jti: format!("{client}-{number}"),
            client_id: client.to_owned(),
            expires_at: UnixTime(9000),
            revoked_at: UnixTime(1000 + i64::try_from(number).unwrap()),
        };
        let mut known = store::Revocations::default();
        known.tokens.extend((0..MAX_PER_CLIENT).map(|number| token("busy", number)));
        known.tokens.push(token("calm", 1));
        let (single, clients) = published(&known, MAX_PER_CLIENT, NOW);
        assert_eq!((single.len(), clients.len()), (MAX_PER_CLIENT + 1, 0));
        known.tokens.push(token("busy", MAX_PER_CLIENT));
        let (single, clients) = published(&known, MAX_PER_CLIENT, NOW);
        assert_eq!(single, ["calm-1"]);
        let last = 1000 + i64::try_from(MAX_PER_CLIENT).unwrap();
        // The `iat` of a token that was issued in the moment of the last revocation.
        let bare = |until| ClientEnd { until: UnixTime(until), marked: None };
        assert_eq!(clients, HashMap::from([("busy", bare(last - 10))]));
        // When all together are too many, those with the most are ended as a whole.
        let mut many = store::Revocations::default();
        for (client, count) in [("a", 900), ("b", 1000), ("c", 999), ("d", 998), ("e", 997)] {
            many.tokens.extend((0..count).map(|number| token(client, number)));
        }
        let (single, clients) = published(&many, MAX_PER_CLIENT, NOW);
        assert_eq!((single.len(), clients.keys().copied().collect::<Vec<_>>()), (3894, vec!["b"]));
        // A client that was ended as a whole; the later of two ends holds.
        for (client_id, until) in [("gone", 5), ("busy", 6)] {
            known.clients.push(store::ClientNotBefore {
                client_id: client_id.to_owned(),
                until: UnixTime(until),
                expires_at: UnixTime(9000),
                revoked_at: UnixTime(15),
                mark: EndMark::of(b"end"),
            });
        }
        let end = |until, marked| {
            let marked = Some(Marked { mark: EndMark::of(b"end"), until: UnixTime(marked) });
            ClientEnd { marked, ..bare(until) }
        };
        let ended = HashMap::from([("busy", end(last - 10, last - 10)), ("gone", end(5, i64::MIN))]);
        assert_eq!(published(&known, MAX_PER_CLIENT, NOW).1, ended);
    }

    #[test]
    fn many_revocations_before_the_clock_was_set_back_do_not_end_what_the_client_is_issued_now() {
        let hours = 6 * 3600;
        let token = |number: usize, revoked_at: i64| RevokedToken {
            jti: number.to_string(),
            client_id: "busy".to_owned(),
            expires_at: UnixTime(NOW.0 + hours + 3600),
            revoked_at: UnixTime(revoked_at),
        };
        let mut known = store::Revocations::default();
        known.tokens.extend((0..MAX_PER_CLIENT).map(|number| token(number, NOW.0 + hours)));
        known.tokens.push(token(MAX_PER_CLIENT, NOW.0));
        let (single, clients) = published(&known, MAX_PER_CLIENT, NOW);
        assert_eq!((single.len(), clients.len()), (MAX_PER_CLIENT + 1, 0));
        known.tokens.extend((0..MAX_PER_CLIENT).map(|number| token(5000 + number, NOW.0)));
        let (single, clients) = published(&known, MAX_PER_CLIENT, NOW);
        assert_eq!((single.len(), clients["busy"].until), (MAX_PER_CLIENT, UnixTime(NOW.0 - 10)));
        // When the clock has come so far, they are counted with the others.
        let (single, clients) = published(&known, MAX_PER_CLIENT, UnixTime(NOW.0 + hours));
        assert_eq!((single.len(), clients["busy"].until), (0, UnixTime(NOW.0 + hours - 10)));
    }
}
