//! An issuer's signed list of revoked tokens, fetched again and again.
//!
//! A JWT of `typ` `m2m-revocations+jwt`, signed by a key of the issuer, with the claims `iss`,
//! `iat` (when the issuer read its store), `revision` (how many changes of the store are in the
//! list), `revoked` (a list of `jti`s) and `not_before` (per client id: tokens whose `iat` is not
//! after this time are revoked). An issuer that does not tell which clients there are has the same
//! in `not_before_sha256`, per SHA-256 of a client id in base64url; `not_before` is then an empty
//! list, so that a verifier that does not know this form takes no such list for one without ends.
//! `marked` and `marked_sha256` have exceptions (per client id, or hash of one: tokens with this
//! `mark` in the claim `m2m_after_end` were issued after the end, under a clock that was set back;
//! of these, those whose `iat` is not after its own `not_before` are revoked). The list is fetched
//! with `If-None-Match`, so that an unchanged one costs little. The last one is kept on disk.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use url::Url;

use super::{KeptLists, Observe, Revocation, Source, TokenFacts};
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256;
use crate::domain::issuer_name::IssuerName;
use crate::domain::reason::Reason;
use crate::domain::revoked::{ClientEnd, EndMark, HashedClientId, Marked, Revoked, TokenId};
use crate::http_client::{HttpClient, place};
use crate::jose::key_set::KeySet;
use crate::jose::live_keys::Keys;
use crate::jose::verify::Jws;

/// How long a request waits for a list that is not there.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The shortest pause between two fetches.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// By how many seconds a list of a lower revision must be newer than the one before it: then the
/// issuer's store was put back from a backup. Far more than the clocks of two servers of one issuer
/// differ by, and less than `maxStale` as a rule.
const RESTORED: i64 = 120;
/// How often it is looked whether there is a list to fetch at all.
const IDLE_PAUSE: Duration = Duration::from_secs(5);

/// A list that was fetched and verified.
#[derive(Clone)]
struct Edition {
    revoked: Arc<Revoked>,
    issued_at: i64,
    /// How many changes are in it; none in the list of an issuer that does not count them.
    revision: Option<i64>,
    etag: Option<HeaderValue>,
    /// When the fetch that brought or confirmed it began: what was revoked since then is not in it.
    asked_at: Instant,
    /// The same by the clock, which goes on while the machine sleeps.
    asked_at_time: UnixTime,
    /// How old it was then: not new only where an earlier process kept it.
    aged: Duration,
}

impl Edition {
    fn age(&self, now: UnixTime) -> Duration {
        self.aged + self.asked_at.elapsed().max(self.asked_at_time.until(now))
    }

    /// Whether a list says less than this one. Two servers of one issuer may give different lists:
    /// one of them may not have read yet what the other has revoked.
    fn is_newer_than(&self, other: &List, now: UnixTime, skew: Duration) -> bool {
        match (self.revision, other.revision) {
            (Some(own), Some(others)) => {
                others < own && other.issued_at <= self.issued_at.saturating_add(RESTORED)
            }
            // A list that was signed in the future was signed before the clocks were set back.
            _ => UnixTime(self.issued_at) <= now.plus(skew) && other.issued_at < self.issued_at,
        }
    }
}

/// A verified list.
struct List {
    revoked: Revoked,
    issued_at: i64,
    revision: Option<i64>,
}

impl List {
    fn fetched(
        self,
        (asked_at, asked_at_time): (Instant, UnixTime),
        aged: Duration,
        etag: Option<HeaderValue>,
    ) -> Edition {
        let (revoked, issued_at, revision) =
            (Arc::new(self.revoked), self.issued_at, self.revision);
        Edition {
            revoked,
            issued_at,
            revision,
            etag,
            asked_at,
            asked_at_time,
            aged,
        }
    }
}

/// What is known of the list.
#[derive(Default)]
struct Known {
    edition: Option<Edition>,
    /// What a kept list revokes that is too old to say what is good.
    outdated: Option<Arc<Revoked>>,
    /// Whether the last fetch brought nothing: then the next one is not waited for.
    failing: bool,
}

impl Known {
    fn at_most(&self, age: Duration, now: UnixTime) -> Option<&Edition> {
        self.edition
            .as_ref()
            .filter(|edition| edition.age(now) <= age)
    }
}

/// The list as it is known now.
#[derive(Default)]
pub(super) struct RevocationList {
    known: watch::Sender<Known>,
    wanted: Notify,
}

/// What was last written to disk, and when.
struct Written {
    revoked: Arc<Revoked>,
    at: Instant,
}

impl RevocationList {
    /// How old the list is.
    pub fn age(&self, now: UnixTime) -> Option<Duration> {
        self.known
            .borrow()
            .edition
            .as_ref()
            .map(|edition| edition.age(now))
    }

    /// Whether the last list that is known, however old, revokes a token.
    pub fn refuses(&self, facts: &TokenFacts, now: UnixTime) -> bool {
        let known = self.known.borrow();
        let revoked = known
            .edition
            .as_ref()
            .map(|edition| &edition.revoked)
            .or(known.outdated.as_ref());
        revoked.is_some_and(|revoked| facts.check_not_revoked(revoked, now).is_err())
    }

    /// Waits until a list has come, or could not be fetched.
    pub async fn first_known(&self) {
        let mut known = self.known.subscribe();
        // The sender is ours: there is no error.
        let _ = known
            .wait_for(|known| known.failing || known.edition.is_some())
            .await;
    }

    /// Checks a token against the list: one that is at most `max_age` old, or, when none can be
    /// had, `max_stale`.
    ///
    /// # Errors
    /// As [`Revocation::check`].
    pub async fn check(
        &self,
        facts: &TokenFacts,
        (max_age, max_stale): (Duration, Duration),
        now: UnixTime,
    ) -> Result<(), Reason> {
        let check = |known: &Known, age| {
            known
                .at_most(age, now)
                .map(|edition| facts.check_not_revoked(&edition.revoked, now))
        };
        let (checked, failing) = {
            let known = self.known.borrow();
            (check(&known, max_age), known.failing)
        };
        if let Some(checked) = checked {
            return checked;
        }
        let mut known = self.known.subscribe();
        self.wanted.notify_one();
        if !failing {
            let ended =
                known.wait_for(|known| known.failing || known.at_most(max_age, now).is_some());
            let _ = tokio::time::timeout(LONGEST_WAIT, ended).await;
        }
        let known = self.known.borrow();
        check(&known, max_stale).unwrap_or(Err(Reason::RevocationUnavailable))
    }

    /// Fetches the list three times in `maxAge`, so that two fetches may fail before a newer one is
    /// missed.
    pub async fn run(
        &self,
        of: &Revocation,
        http: &HttpClient,
        kept: &KeptLists,
        observe: &Observe,
    ) {
        let (mut loaded, mut written) = (false, None);
        // A list can be verified only with keys: without this the first fetch fails whenever it
        // overtakes that of the keys.
        of.of.keys.first_known().await;
        loop {
            let began = Instant::now();
            let pause = match of.source() {
                Source::List(url) => {
                    if !std::mem::replace(&mut loaded, true) {
                        self.load(of, kept, &url).await;
                    }
                    let fetched = self.fetch(of, http, &url, began).await;
                    observe(fetched.as_ref().map(|_| ()).map_err(|error| &**error));
                    let (edition, text) =
                        fetched.map_or((None, None), |(edition, text)| (Some(edition), text));
                    self.known.send_modify(|known| {
                        known.failing = edition.is_none();
                        // The last good one stays: it is good until it is too old.
                        known.edition = edition.clone().or(known.edition.take());
                    });
                    if let (Some(edition), Some(text)) = (edition, text) {
                        written = Some(self.keep(of, kept, &url, written, &edition, &text).await);
                    }
                    (of.config.max_age / 3)
                        .mul_f64(1.0 - 0.1 * fastrand::f64())
                        .max(SHORTEST_PAUSE)
                }
                source => {
                    if matches!(source, Source::Unknown) && of.of.keys.metadata().is_some() {
                        observe(Err(
                            "the authority's metadata names no place, or no usable one, to ask for revocations",
                        ));
                    }
                    IDLE_PAUSE
                }
            };
            // Nothing was asked yet: the first request that needs the list need not wait.
            let soonest = if pause == IDLE_PAUSE {
                began
            } else {
                began + SHORTEST_PAUSE
            };
            let waits = pause == IDLE_PAUSE || self.known.borrow().failing;
            tokio::select! {
                () = tokio::time::sleep_until(began + pause) => {}
                () = async { self.wanted.notified().await; tokio::time::sleep_until(soonest).await; } => {}
                // Newer keys or metadata may be what was missing.
                () = async { of.of.keys.next_fetch().await; tokio::time::sleep_until(soonest).await; }, if waits => {}
            }
        }
    }

    /// Takes the list that an earlier process kept, unless it is too old to serve.
    async fn load(&self, of: &Revocation, kept: &KeptLists, url: &Url) {
        let now = of.of.clock.now();
        let found = match kept.load(of.of.issuer.name(), url, now).await {
            Ok(None) => return,
            Ok(Some(found)) => found,
            Err(why) => {
                return tracing::warn!(
                    issuer = of.of.issuer.written(),
                    why,
                    "the kept list of revoked tokens is not used"
                );
            }
        };
        let list = match verify(of, &found.list).await {
            Ok(verified) => verified,
            Err(why) => {
                return tracing::warn!(
                    issuer = of.of.issuer.written(),
                    why,
                    "the kept list of revoked tokens is not used"
                );
            }
        };
        // Only the list is signed, not the note of when it was fetched: it cannot be much younger
        // than its signature.
        let signed = UnixTime(list.issued_at)
            .until(now)
            .saturating_sub(of.config.max_age + of.of.clock_skew);
        let aged = UnixTime(found.asked_at).until(now).max(signed);
        let age = aged.as_secs();
        if aged > of.max_stale() {
            self.known
                .send_modify(|known| known.outdated = Some(Arc::new(list.revoked)));
            return tracing::info!(
                issuer = of.of.issuer.written(),
                age,
                "the kept list of revoked tokens is too old: what it revokes stays refused, what it does not is unknown"
            );
        }
        let edition = list.fetched((Instant::now(), now), aged, None);
        self.known
            .send_modify(|known| known.edition = Some(edition));
        tracing::info!(
            issuer = of.of.issuer.written(),
            age,
            "until a newer one comes, the kept list of revoked tokens is used"
        );
    }

    /// Writes a new list to disk when something else is revoked, or when the written one has come
    /// to look old. Disks of small devices wear out.
    async fn keep(
        &self,
        of: &Revocation,
        kept: &KeptLists,
        url: &Url,
        written: Option<Written>,
        edition: &Edition,
        text: &str,
    ) -> Written {
        let again = of.config.max_age.max(of.max_stale() / 10);
        if let Some(written) = written
            && written.revoked == edition.revoked
            && written.at.elapsed() < again
        {
            return written;
        }
        let now = of.of.clock.now();
        let asked_at = now.minus(edition.age(now));
        kept.keep(of.of.issuer.name(), url, asked_at, text).await;
        Written {
            revoked: edition.revoked.clone(),
            at: Instant::now(),
        }
    }

    async fn fetch(
        &self,
        of: &Revocation,
        http: &HttpClient,
        url: &Url,
        asked_at: Instant,
    ) -> Result<(Edition, Option<String>), Cow<'static, str>> {
        // What was signed too long ago is asked for anew: a 304 would make it no younger.
        let now = of.of.clock.now();
        let known = self.known.borrow().edition.clone();
        let young = |known: &Edition| UnixTime(known.issued_at).until(now) <= of.config.max_age;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/jwt"));
        if let Some(etag) = known
            .as_ref()
            .filter(|known| young(known))
            .and_then(|known| known.etag.clone())
        {
            headers.insert(IF_NONE_MATCH, etag);
        }
        let answer = http
            .get(url, headers)
            .await
            .map_err(|failed| failed.to_string())?;
        match (answer.status, known) {
            (StatusCode::NOT_MODIFIED, Some(known)) if young(&known) => Ok((
                Edition {
                    asked_at,
                    asked_at_time: now,
                    aged: Duration::ZERO,
                    ..known
                },
                None,
            )),
            (StatusCode::OK, known) => {
                let text = std::str::from_utf8(&answer.body)
                    .map_err(|_| "the list is no JWT")?
                    .trim();
                let list = verify(of, text).await?;
                let (oldest, newest) = (
                    now.minus(of.config.max_age + of.of.clock_skew),
                    now.plus(of.of.clock_skew),
                );
                if UnixTime(list.issued_at) < oldest {
                    return Err("the list was signed too long ago".into());
                }
                if UnixTime(list.issued_at) > newest {
                    return Err("the list was signed in the future: compare the clocks".into());
                }
                // It would bring revoked tokens back to life.
                if known.is_some_and(|known| known.is_newer_than(&list, now, of.of.clock_skew)) {
                    return Err("the list is older than the one before it".into());
                }
                let etag = answer.headers.get(ETAG).cloned();
                Ok((
                    list.fetched((asked_at, now), Duration::ZERO, etag),
                    Some(text.to_owned()),
                ))
            }
            (status, _) => {
                let said = answer
                    .said(url, &[])
                    .map_or(String::new(), |said| format!(": {said}"));
                let (place, status) = (place(url), status.as_u16());
                Err(format!("{place}: the authority answered with status {status}{said}").into())
            }
        }
    }
}

/// Verifies a list as strictly as a token: signed by a key of its issuer, of its own type, so that
/// neither can pose as the other.
async fn verify(of: &Revocation, text: &str) -> Result<List, &'static str> {
    const UNSIGNED: &str = "the list is not signed by a key of the authority";
    let jws = Jws::parse(text).map_err(|_| "the list is no JWT")?;
    if !jws
        .typ()
        .is_some_and(|typ| typ.eq_ignore_ascii_case("m2m-revocations+jwt"))
    {
        return Err("the list is of another type");
    }
    if !of.of.algorithms.contains(&jws.algorithm()) {
        return Err(UNSIGNED);
    }
    let keys = usable(of)?;
    if let Ok((claims, _)) = jws.verify_with(&keys) {
        return read(claims, &of.of.issuer);
    }
    // The issuer may have changed its key.
    of.of
        .keys
        .renew(&sha256(jws.kid().unwrap_or_default().as_bytes()))
        .await;
    let keys = usable(of)?;
    let (claims, _) = jws.verify_with(&keys).map_err(|_| UNSIGNED)?;
    read(claims, &of.of.issuer)
}

fn usable(of: &Revocation) -> Result<Arc<KeySet>, &'static str> {
    match of.of.keys.current() {
        Keys::Usable(keys) => Ok(keys),
        Keys::Unavailable => Err("the authority's keys are not known"),
    }
}

fn read(claims: &Claims, issuer: &IssuerName) -> Result<List, &'static str> {
    const MALFORMED: &str = "the list has a form that is not known";
    match claims.string("iss") {
        Ok(Some(iss)) if issuer.is(iss) => {}
        Ok(Some(iss)) if issuer.is_nearly(iss) => {
            return Err(
                "the list is of another issuer, whose name differs from `issuer` by slashes only",
            );
        }
        _ => return Err("the list is of another issuer"),
    }
    let issued_at = claims.numeric_date("iat").ok().flatten().ok_or(MALFORMED)?;
    let revision = match claims.get("revision") {
        None => None,
        Some(revision) => Some(revision.as_i64().ok_or(MALFORMED)?),
    };
    let tokens = claims
        .get("revoked")
        .and_then(Value::as_array)
        .ok_or(MALFORMED)?;
    let tokens = tokens.iter().map(|jti| jti.as_str().map(TokenId::of));
    let tokens: HashSet<TokenId> = tokens.collect::<Option<_>>().ok_or(MALFORMED)?;
    let members = |name| match claims.get(name) {
        None => Ok(None),
        Some(Value::Object(members)) => Ok(Some(members)),
        Some(_) => Err(MALFORMED),
    };
    let ends = |not_before, marks| -> Result<Vec<(&String, ClientEnd)>, &'static str> {
        let (ends, exceptions) = (members(not_before)?, members(marks)?);
        let ends = ends.into_iter().flatten().map(|(client, until)| {
            let exception = exceptions.and_then(|marked| marked.get(client));
            let marked = exception
                .map(|exception| marked(exception).ok_or(()))
                .transpose()
                .ok()?;
            Some((
                client,
                ClientEnd {
                    until: UnixTime(until.as_i64()?),
                    marked,
                },
            ))
        });
        ends.collect::<Option<_>>().ok_or(MALFORMED)
    };
    let hashed = ends("not_before_sha256", "marked_sha256")?;
    let hashed = hashed
        .into_iter()
        .map(|(client, end)| Some((HashedClientId::parse(client)?, end)));
    let hashed: HashMap<_, _> = hashed.collect::<Option<_>>().ok_or(MALFORMED)?;
    let is_empty_list = claims
        .get("not_before")
        .and_then(Value::as_array)
        .is_some_and(Vec::is_empty);
    let clients = if is_empty_list && !hashed.is_empty() {
        HashMap::new()
    } else {
        let named = ends("not_before", "marked")?.into_iter();
        named.map(|(client, end)| (client.clone(), end)).collect()
    };
    Ok(List {
        revoked: Revoked::new(tokens, clients).with_hashed(hashed),
        issued_at,
        revision,
    })
}

fn marked(exception: &Value) -> Option<Marked> {
    let until = exception
        .get("not_before")
        .map_or(Some(i64::MIN), Value::as_i64)?;
    Some(Marked {
        mark: EndMark::parse(exception.get("mark")?.as_str()?)?,
        until: UnixTime(until),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::revoked::Issued;

    fn list(issued_at: i64, revision: Option<i64>) -> List {
        List {
            revoked: Revoked::default(),
            issued_at,
            revision,
        }
    }

    #[tokio::test]
    async fn a_list_never_gives_way_to_one_that_says_less() {
        let is_kept = |known: (i64, Option<i64>), other: (i64, Option<i64>)| {
            let asked = (Instant::now(), UnixTime(1000));
            let known = list(known.0, known.1).fetched(asked, Duration::ZERO, None);
            known.is_newer_than(
                &list(other.0, other.1),
                UnixTime(1000),
                Duration::from_secs(60),
            )
        };
        // Of another server, which read the store before the last revocation, or signs by a clock
        // that is ahead.
        assert!(
            is_kept((1000, Some(8)), (999, Some(7))) && is_kept((1000, Some(8)), (1060, Some(7)))
        );
        assert!(
            !is_kept((1000, Some(8)), (990, Some(8))) && !is_kept((1000, Some(8)), (900, Some(9)))
        );
        assert!(
            !is_kept((1000, Some(8)), (1121, Some(2))),
            "the store was put back from a backup"
        );
        // The clocks were set back since.
        assert!(
            is_kept((9000, Some(8)), (1000, Some(7))) && !is_kept((9000, Some(8)), (1000, Some(8)))
        );
        // An issuer that does not count.
        assert!(is_kept((1000, None), (999, None)) && !is_kept((1000, None), (1000, None)));
        assert!(is_kept((1000, None), (999, Some(9))) && is_kept((1000, Some(9)), (999, None)));
        assert!(
            !is_kept((9000, None), (1000, None)),
            "it was signed before the clocks were set back"
        );
    }

    #[tokio::test]
    async fn a_list_ages_while_the_machine_sleeps() {
        let edition = list(1000, None).fetched(
            (Instant::now(), UnixTime(1000)),
            Duration::from_secs(5),
            None,
        );
        assert!(edition.age(UnixTime(1000)) < Duration::from_secs(100));
        assert_eq!(edition.age(UnixTime(9000)), Duration::from_secs(8005));
        assert!(
            edition.age(UnixTime(0)) < Duration::from_secs(100),
            "the clock was set back"
        );
    }

    #[test]
    fn a_list_of_another_form_is_no_list() {
        let list = |json: &str| {
            read(
                &Claims::parse(json.as_bytes()).unwrap(),
                &IssuerName::exact("i"),
            )
        };
        assert!(list(r#"{"iss":"i","iat":5,"revoked":[]}"#).is_ok());
        let List { revoked, issued_at, revision } =
            list(r#"{"iss":"i","iat":5,"revision":8,"revoked":["a"],"not_before":{"c":7,"d":7},
                     "marked":{"c":{"mark":"00000000000000ff"},"d":{"mark":"00000000000000ff","not_before":3}}}"#)
            .unwrap();
        assert_eq!((issued_at, revision), (5, Some(8)));
        assert_eq!(
            list(r#"{"iss":"i","iat":5,"revoked":[]}"#)
                .unwrap()
                .revision,
            None
        );
        let covers = |jti, client_id, at, mark| {
            let after_end = EndMark::parse(mark);
            let issued = Issued {
                token: TokenId::of(jti),
                client_id,
                at: UnixTime(at),
                after_end,
            };
            revoked.covers(&issued, UnixTime(9))
        };
        assert!(covers("a", None, 9, "") && covers("b", Some("c"), 7, ""));
        assert!(covers("b", Some("c"), 7, "00000000000000fe"));
        assert!(!covers("b", Some("c"), 7, "00000000000000ff"));
        assert!(
            covers("b", Some("d"), 3, "00000000000000ff")
                && !covers("b", Some("d"), 4, "00000000000000ff")
        );
        let (c, d) = (HashedClientId::of("c"), HashedClientId::of("d"));
        let hashed = format!(
            r#"{{"iss":"i","iat":5,"revoked":["a"],"not_before":[],"not_before_sha256":{{"{c}":7,"{d}":7}},
                 "marked_sha256":{{"{d}":{{"mark":"00000000000000ff","not_before":3}}}}}}"#
        );
        let List { revoked, .. } = list(&hashed).unwrap();
        let covers = |client_id, at, mark| {
            let (token, after_end) = (TokenId::of("b"), EndMark::parse(mark));
            let issued = Issued {
                token,
                client_id: Some(client_id),
                at: UnixTime(at),
                after_end,
            };
            revoked.covers(&issued, UnixTime(9))
        };
        assert!(covers("c", 7, "") && !covers("c", 8, "") && !covers("e", 7, ""));
        assert!(covers("d", 7, "") && covers("d", 3, "00000000000000ff"));
        assert!(!covers("d", 4, "00000000000000ff"));
        let both = format!(
            r#"{{"iss":"i","iat":5,"revoked":[],"not_before":{{"c":7}},"not_before_sha256":{{"{c}":7}}}}"#
        );
        assert!(list(&both).is_ok());
        for bad in [
            r#"{"iss":"i","iat":5,"revoked":[],"not_before_sha256":{"c":7}}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":[],"not_before_sha256":{}}"#,
            r#"{"iss":"j","iat":5,"revoked":[]}"#,
            r#"{"iat":5,"revoked":[]}"#,
            r#"{"iss":"i","revoked":[]}"#,
            r#"{"iss":"i","iat":5}"#,
            r#"{"iss":"i","iat":5,"revoked":"a"}"#,
            r#"{"iss":"i","iat":5,"revoked":[1]}"#,
            r#"{"iss":"i","iat":5,"revision":"8","revoked":[]}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":[]}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":{"c":"x"}}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":{"c":7},"marked":[]}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":{"c":7},"marked":{"c":{}}}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":{"c":7},"marked":{"c":{"mark":"1"}}}"#,
            r#"{"iss":"i","iat":5,"revoked":[],"not_before":{"c":7},"marked":{"c":{"mark":"00000000000000ff","not_before":"x"}}}"#,
        ] {
            assert!(list(bad).is_err(), "{bad}");
        }
    }
}
