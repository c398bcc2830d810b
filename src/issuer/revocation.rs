//! Revocation: RFC 7009 requests, what is revoked now, and the signed list for verifiers elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::access_token::BACKDATED;
use super::signing_keys::SigningKeys;
use super::token_request::{Credentials, Parameters};
use super::{Client, Profile, TokenError};
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256;
use crate::domain::revoked::{Revoked, RevokedNow, TokenId};
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

/// How many of a client's revoked tokens are named one by one. Beyond it all that the client was issued up to its last
/// revocation are revoked, so that no client can make the list too large for everyone.
const MAX_PER_CLIENT: usize = 1000;
/// The same in the plgd profile, where one client's tokens are those of many owners.
const MAX_PER_SHARED_CLIENT: usize = 50_000;

/// How many single tokens the list names at most, of all clients: verifiers read no more than 8 MiB of it.
const MAX_LISTED: usize = if cfg!(test) { 4000 } else { 120_000 };

/// A revocation request (RFC 7009 §2.1), well-formed but not yet authenticated.
#[derive(Debug)]
pub struct RevocationRequest {
    credentials: Option<Credentials>,
    token: SecretString,
}

impl RevocationRequest {
    /// Parses a request's headers and body. `token_type_hint` is not needed: the types of tokens are told apart by their
    /// looks.
    ///
    /// # Errors
    /// When the request is malformed, whoever sends it.
    pub fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, TokenError> {
        let parameters = Parameters::parse(headers, body)?;
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

    /// The token, if it is a live one that this issuer made for this client; and its `iat`.
    pub(super) fn token_of(
        &self,
        client: &Client,
        issuer: &str,
        keys: &SigningKeys,
        now: UnixTime,
    ) -> Option<(RevokedToken, UnixTime)> {
        let jws = Jws::parse(self.token.expose_secret()).ok()?;
        let published = keys.verifying_keys();
        let candidates = published.candidates(jws.kid(), jws.algorithm()).ok()?;
        let (claims, _) = jws.verified_claims(&candidates)?;
        let text = |name| claims.string(name).ok().flatten();
        let expires_at = claims.numeric_date("exp").ok()?.map_or(UnixTime::NEVER, UnixTime);
        let is_own = text("iss") == Some(issuer) && text("client_id") == Some(&client.id);
        let revoked = RevokedToken {
            jti: text("jti")?.to_owned(),
            client_id: client.id.clone(),
            expires_at,
            revoked_at: now,
        };
        let issued_at = UnixTime(claims.numeric_date("iat").ok().flatten()?);
        (is_own && now < expires_at.plus(LONGEST_SKEW)).then_some((revoked, issued_at))
    }
}

/// The list of revoked tokens, signed.
#[derive(Clone, Debug)]
pub struct RevocationList {
    /// A JWT with the claims `iss`, `iat`, `revoked` (`jti`s) and `not_before` (per client the `iat` up to which all are).
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
    now: RevokedNow,
    signed: Mutex<Option<Signed>>,
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
    ) -> Result<Self, StoreError> {
        let revocations = Self {
            store,
            max_per_client: match profile {
                Profile::Standard => MAX_PER_CLIENT,
                Profile::Plgd => MAX_PER_SHARED_CLIENT,
            },
            changing: tokio::sync::Mutex::new(()),
            known: ArcSwap::default(),
            now: RevokedNow::default(),
            signed: Mutex::new(None),
        };
        revocations.reload(now).await?;
        Ok(revocations)
    }

    /// What is revoked, for verifiers in this process.
    pub(super) fn now(&self) -> &RevokedNow {
        &self.now
    }

    /// Forgets what has expired.
    pub(super) async fn forget_expired(&self, now: UnixTime) {
        let _changing = self.changing.lock().await;
        let known = self.known.load();
        let since = now.minus(LONGEST_SKEW);
        let expired = known.tokens.iter().any(|token| token.expires_at < since)
            || known.clients.iter().any(|end| end.expires_at < since);
        if expired {
            let mut left = store::Revocations::clone(&known);
            left.tokens.retain(|token| token.expires_at >= since);
            left.clients.retain(|end| end.expires_at >= since);
            self.replace(left);
        }
    }

    /// Takes over what other processes have revoked, and forgets what has expired.
    pub(super) async fn reload(&self, now: UnixTime) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let stored = self.store.revocations(now.minus(LONGEST_SKEW)).await?;
        if **self.known.load() != stored {
            self.replace(stored);
        }
        Ok(())
    }

    /// Revokes a token: in the store first, so that an answer is never taken back by a restart.
    pub(super) async fn revoke(&self, token: RevokedToken, issued_at: UnixTime) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        if is_stored(&self.known.load(), &token, issued_at) {
            return Ok(());
        }
        self.store.revoke_token(&token).await?;
        let mut known = store::Revocations::clone(&self.known.load());
        let place = known.tokens.partition_point(|known| known.jti < token.jti);
        known.tokens.insert(place, token);
        self.replace(known);
        Ok(())
    }

    /// Ends kept tokens: in the store, then here, so that the list and the verifiers of this process know at once.
    pub(super) async fn end_tokens(
        &self,
        filter: &store::TokenFilter,
        now: UnixTime,
    ) -> Result<Ended, StoreError> {
        let _changing = self.changing.lock().await;
        let ended = self.store.end_tokens(filter, now).await?;
        if !ended.revoked.is_empty() {
            let mut known = store::Revocations::clone(&self.known.load());
            known.tokens.extend(ended.revoked.iter().cloned());
            known.tokens.sort_unstable_by(|one, other| one.jti.cmp(&other.jti));
            known.tokens.dedup_by(|one, other| one.jti == other.jti);
            self.replace(known);
        }
        Ok(ended)
    }

    /// Ends everything a client was issued up to a time.
    pub(super) async fn end_client(&self, end: store::ClientNotBefore) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        self.store.end_client_tokens(&end).await?;
        let mut known = store::Revocations::clone(&self.known.load());
        match known.clients.iter_mut().find(|earlier| earlier.client_id == end.client_id) {
            Some(earlier) if earlier.until < end.until => *earlier = end,
            Some(_) => {}
            None => known.clients.push(end),
        }
        known.clients.sort_unstable_by(|one, other| one.client_id.cmp(&other.client_id));
        self.replace(known);
        Ok(())
    }

    fn replace(&self, known: store::Revocations) {
        let (single, clients) = published(&known, self.max_per_client);
        let revoked = Revoked::new(
            single.into_iter().map(TokenId::of).collect(),
            clients.into_iter().map(|(client, until)| (client.to_owned(), until)).collect(),
        );
        self.known.store(Arc::new(known));
        self.now.replace(revoked);
    }

    /// The signed list, at most [`LIST_LIFETIME`] old.
    pub(super) fn list(
        &self,
        issuer: &str,
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
        let list = sign(published(&known, self.max_per_client), issuer, keys, now)?;
        *signed = Some(Signed { of: known, at: now, list: list.clone() });
        Ok(list)
    }
}

/// Whether the store says already that a token is revoked, and will for as long as it lives. What is published may say more:
/// it ends all of a client that has too many, for as long as it has.
fn is_stored(known: &store::Revocations, token: &RevokedToken, issued_at: UnixTime) -> bool {
    known.tokens.binary_search_by(|known| known.jti.cmp(&token.jti)).is_ok()
        || known.clients.iter().any(|end| {
            end.client_id == token.client_id && issued_at <= end.until && token.expires_at <= end.expires_at
        })
}

/// What is revoked: single tokens by `jti`, and clients with the `iat` up to which all of theirs are.
fn published(known: &store::Revocations, max_per_client: usize) -> (Vec<&str>, HashMap<&str, UnixTime>) {
    let mut clients: HashMap<&str, (usize, UnixTime)> = HashMap::new();
    for token in &known.tokens {
        let (count, last) = clients.entry(&token.client_id).or_insert((0, token.revoked_at));
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
    let single = known.tokens.iter().filter(|token| !clients.contains_key(token.client_id.as_str()));
    let single = single.map(|token| token.jti.as_str()).collect();
    // A token's `iat` lies before the moment it was issued.
    let ended = clients.into_iter().map(|(client, (_, last))| (client, last.minus(BACKDATED)));
    let mut until: HashMap<&str, UnixTime> = ended.collect();
    for end in &known.clients {
        let of_client = until.entry(&end.client_id).or_insert(end.until);
        *of_client = (*of_client).max(end.until);
    }
    (single, until)
}

fn sign(
    (single, clients): (Vec<&str>, HashMap<&str, UnixTime>),
    issuer: &str,
    keys: &SigningKeys,
    now: UnixTime,
) -> Result<RevocationList, TokenError> {
    let not_before: BTreeMap<&str, i64> = clients.iter().map(|(client, until)| (*client, until.0)).collect();
    let claims = json!({ "iss": issuer, "iat": now.0, "revoked": single, "not_before": not_before });
    let jwt = keys.sign(TYP, &claims, LIST_LIFETIME).map_err(|_| TokenError::Signing)?;
    let content = json!([single, not_before]).to_string();
    let digest: String = sha256(content.as_bytes())[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let etag = HeaderValue::try_from(format!("\"{digest}\"")).map_err(|_| TokenError::Signing)?;
    Ok(RevocationList { jwt: Bytes::copy_from_slice(jwt.expose_secret().as_bytes()), etag })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_revocation_is_stored_however_many_there_are_before_it() {
        let store = crate::store::open(&crate::store::Config::SqliteMemory).await.unwrap();
        let now = UnixTime(1000);
        let revocations = Revocations::open(store.clone(), Profile::Standard, now).await.unwrap();
        let token = |number: usize, expires_at: i64| RevokedToken {
            jti: format!("{number:05}"),
            client_id: "busy".to_owned(),
            expires_at: UnixTime(expires_at),
            revoked_at: now,
        };
        let issued_at = UnixTime(900);
        for number in 0..=MAX_PER_CLIENT {
            revocations.revoke(token(number, 1040), issued_at).await.unwrap();
        }
        let last = token(MAX_PER_CLIENT + 1, 90_000);
        assert!(revocations.now().current().covers(TokenId::of(&last.jti), Some("busy"), issued_at));
        revocations.revoke(last.clone(), issued_at).await.unwrap();
        // The others have expired, and what was published because of them is forgotten.
        let later = UnixTime(2000);
        for restarted in [false, true] {
            let revocations = if restarted {
                &Revocations::open(store.clone(), Profile::Standard, later).await.unwrap()
            } else {
                revocations.forget_expired(later).await;
                &revocations
            };
            let covers =
                |jti: &str| revocations.now().current().covers(TokenId::of(jti), Some("busy"), issued_at);
            assert!(covers(&last.jti) && !covers("00000"), "{restarted}");
        }
        // What is stored already is not written again.
        let before = store.revisions().await.unwrap().revocations;
        revocations.revoke(last, issued_at).await.unwrap();
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
        let (single, clients) = published(&known, MAX_PER_CLIENT);
        assert_eq!((single.len(), clients.len()), (MAX_PER_CLIENT + 1, 0));
        known.tokens.push(token("busy", MAX_PER_CLIENT));
        let (single, clients) = published(&known, MAX_PER_CLIENT);
        assert_eq!(single, ["calm-1"]);
        let last = 1000 + i64::try_from(MAX_PER_CLIENT).unwrap();
        // The `iat` of a token that was issued in the moment of the last revocation.
        assert_eq!(clients, HashMap::from([("busy", UnixTime(last - 10))]));
        // When all together are too many, those with the most are ended as a whole.
        let mut many = store::Revocations::default();
        for (client, count) in [("a", 900), ("b", 1000), ("c", 999), ("d", 998), ("e", 997)] {
            many.tokens.extend((0..count).map(|number| token(client, number)));
        }
        let (single, clients) = published(&many, MAX_PER_CLIENT);
        assert_eq!((single.len(), clients.keys().copied().collect::<Vec<_>>()), (3894, vec!["b"]));
        // A client that was ended as a whole; the later of two ends holds.
        for (client_id, until) in [("gone", 5), ("busy", 6)] {
            known.clients.push(store::ClientNotBefore {
                client_id: client_id.to_owned(),
                until: UnixTime(until),
                expires_at: UnixTime(9000),
                revoked_at: UnixTime(15),
            });
        }
        let ended = HashMap::from([("busy", UnixTime(last - 10)), ("gone", UnixTime(5))]);
        assert_eq!(published(&known, MAX_PER_CLIENT).1, ended);
    }
}
