//! An issuer's signed revocation list, fetched again and again.
//!
//! It is fetched with `If-None-Match`, so that an unchanged list costs little, and the last one is
//! kept on disk.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::{Instant, sleep_until};
use url::Url;

use super::signed_list::{self, List};
use super::{KeptLists, Method, Observe, Revocation, TokenFacts};
use crate::domain::clock::UnixTime;
use crate::domain::reason::Reason;
use crate::domain::revoked::Revoked;
use crate::http_client::{HttpAnswer, HttpClient, place};
use crate::jose::refresh::{FetchError, Refreshed};

/// How long a request waits for a list.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The shortest pause between two fetches.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// A list of a lower revision is accepted if it is newer by more than these seconds: then the
/// issuer's store was restored from a backup. The clocks of two servers of one issuer differ by far
/// less, and `maxStale` is usually longer.
const RESTORED: i64 = 120;
/// The pause while the method is not a list.
const IDLE_PAUSE: Duration = Duration::from_secs(5);

/// When a fetch began.
#[derive(Clone, Copy)]
struct Asked {
    monotonic: Instant,
    /// The wall clock also runs while the machine sleeps.
    wall: UnixTime,
}

/// A list in use.
#[derive(Clone)]
struct Edition {
    revoked: Arc<Revoked>,
    issued_at: i64,
    revision: Option<i64>,
    etag: Option<HeaderValue>,
    /// The fetch that brought or confirmed it. Later revocations are not in it.
    asked: Asked,
    /// Its age at that fetch: zero, unless it was kept on disk.
    aged: Duration,
}

impl Edition {
    fn new(list: List, asked: Asked, aged: Duration) -> Self {
        Self {
            revoked: Arc::new(list.revoked),
            issued_at: list.issued_at,
            revision: list.revision,
            etag: None,
            asked,
            aged,
        }
    }

    fn age(&self, now: UnixTime) -> Duration {
        let elapsed = self.asked.monotonic.elapsed();
        self.aged + elapsed.max(self.asked.wall.until(now))
    }

    /// Whether `other` lacks revocations that this list has. Two servers of one issuer may give
    /// different lists, because one reads the store later than the other.
    fn is_newer_than(&self, other: &List, now: UnixTime, skew: Duration) -> bool {
        match (self.revision, other.revision) {
            (Some(own), Some(others)) => {
                others < own && other.issued_at <= self.issued_at.saturating_add(RESTORED)
            }
            // A list from the future was signed before the clocks were set back.
            _ => UnixTime(self.issued_at) <= now.plus(skew) && other.issued_at < self.issued_at,
        }
    }
}

/// The last list that was written to disk.
struct Written {
    revoked: Arc<Revoked>,
    at: Instant,
}

/// The list as it is known now.
pub(super) struct RevocationList {
    edition: Refreshed<Edition>,
    /// The revocations of a kept list that is too old to accept tokens by.
    outdated: ArcSwapOption<Revoked>,
}

impl Default for RevocationList {
    fn default() -> Self {
        Self {
            edition: Refreshed::new(None, false),
            outdated: ArcSwapOption::empty(),
        }
    }
}

impl RevocationList {
    /// The age of the list.
    pub fn age(&self, now: UnixTime) -> Option<Duration> {
        Some(self.edition.value()?.age(now))
    }

    /// Whether the last list, however old, revokes a token.
    pub fn refuses(&self, facts: &TokenFacts, now: UnixTime) -> bool {
        let edition = self.edition.value();
        let revoked = edition
            .map(|edition| edition.revoked.clone())
            .or_else(|| self.outdated.load_full());
        revoked.is_some_and(|revoked| facts.check_not_revoked(&revoked, now).is_err())
    }

    /// Waits for a list, or for the end of the first fetch.
    pub async fn first_known(&self) {
        self.edition.first_known(|_| true).await;
    }

    /// Checks a token against a list that is at most `longest` old; `None` without such a list.
    pub fn check_at_once(
        &self,
        facts: &TokenFacts,
        longest: Duration,
        now: UnixTime,
    ) -> Option<Result<(), Reason>> {
        self.edition.with(|edition| {
            let edition = edition.filter(|edition| edition.age(now) <= longest)?;
            Some(facts.check_not_revoked(&edition.revoked, now))
        })
    }

    /// Checks a token against a list that is at most `max_age` old, or at most `max_stale` if no
    /// newer one comes.
    ///
    /// # Errors
    /// As [`Revocation::check`].
    pub async fn check(
        &self,
        facts: &TokenFacts,
        max_age: Duration,
        max_stale: Duration,
        now: UnixTime,
    ) -> Result<(), Reason> {
        if let Some(checked) = self.check_at_once(facts, max_age, now) {
            return checked;
        }
        let is_failing = self.edition.attempts().is_failing();
        self.edition.wake();
        if !is_failing {
            let is_young = |edition: &Edition| edition.age(now) <= max_age;
            self.edition
                .wait_until(LONGEST_WAIT, |attempts, edition| {
                    attempts.is_failing() || edition.is_some_and(is_young)
                })
                .await;
        }
        self.check_at_once(facts, max_stale, now)
            .unwrap_or(Err(Reason::RevocationUnavailable))
    }

    /// Fetches the list three times in `maxAge`, so that two fetches may fail before the list is
    /// too old.
    pub async fn run(
        &self,
        of: &Revocation,
        http: &HttpClient,
        kept: &KeptLists,
        observe: &Observe,
    ) {
        let (mut is_loaded, mut written) = (false, None);
        // A list is verified with the keys, so a fetch before theirs would fail.
        of.issuer.keys.first_known().await;
        loop {
            let Method::List(url) = of.method() else {
                self.idle(of, observe).await;
                continue;
            };
            if !std::mem::replace(&mut is_loaded, true) {
                self.load(of, kept, &url).await;
            }
            let began = self.edition.begin();
            let fetched = self.fetch(of, http, &url, began).await;
            observe(fetched.as_ref().map(|_| ()).map_err(|error| &**error));
            let (result, text) = match fetched {
                Ok((edition, text)) => (Ok(edition), text),
                Err(error) => (Err(error), None),
            };
            let newer = result.as_ref().ok().cloned();
            self.edition.end(result);
            if let (Some(edition), Some(text)) = (newer, text) {
                written = Some(self.keep(of, kept, &url, written, &edition, &text).await);
            }
            self.wait_for_next(of, began).await;
        }
    }

    async fn idle(&self, of: &Revocation, observe: &Observe) {
        if of.method() == Method::Unusable {
            observe(Err(
                "the authority's metadata names no usable endpoint for revocations",
            ));
        }
        tokio::select! {
            () = tokio::time::sleep(IDLE_PAUSE) => {}
            () = self.edition.woken() => {}
            () = of.issuer.keys.next_fetch() => {}
        }
    }

    async fn wait_for_next(&self, of: &Revocation, began: Instant) {
        let pause = (of.config.max_age / 3).mul_f64(1.0 - 0.1 * fastrand::f64());
        let soonest = began + SHORTEST_PAUSE;
        let is_failing = self.edition.attempts().is_failing();
        tokio::select! {
            () = sleep_until(began + pause.max(SHORTEST_PAUSE)) => {}
            () = async { self.edition.woken().await; sleep_until(soonest).await; } => {}
            // Newer keys or metadata may end the failures.
            () = async { of.issuer.keys.next_fetch().await; sleep_until(soonest).await; },
                if is_failing => {}
        }
    }

    /// Loads the list that an earlier process kept.
    async fn load(&self, of: &Revocation, kept: &KeptLists, url: &Url) {
        let issuer = of.issuer.name.written();
        let now = of.issuer.clock.now();
        let (found, list) = match self.read_kept(of, kept, url, now).await {
            Ok(None) => return,
            Ok(Some(loaded)) => loaded,
            Err(why) => {
                return tracing::warn!(issuer, why, "the kept revocation list is not used");
            }
        };
        // The date of the fetch is not signed, so it counts only close to the signed `iat`.
        let signed = UnixTime(list.issued_at)
            .until(now)
            .saturating_sub(of.config.max_age + of.issuer.clock_skew);
        let aged = found.until(now).max(signed);
        let age = aged.as_secs();
        if aged > of.max_stale() {
            self.outdated.store(Some(Arc::new(list.revoked)));
            return tracing::info!(
                issuer,
                age,
                "the kept revocation list is too old: the tokens that it revokes stay refused, \
                 the state of other tokens is unknown"
            );
        }
        let asked = Asked {
            monotonic: Instant::now(),
            wall: now,
        };
        self.edition.put(Edition::new(list, asked, aged));
        tracing::info!(
            issuer,
            age,
            "the kept revocation list is used until a newer one comes"
        );
    }

    async fn read_kept(
        &self,
        of: &Revocation,
        kept: &KeptLists,
        url: &Url,
        now: UnixTime,
    ) -> Result<Option<(UnixTime, List)>, String> {
        let Some(found) = kept.load(of.issuer.name.name(), url, now).await? else {
            return Ok(None);
        };
        let list = signed_list::verify(&of.issuer, &found.list).await?;
        Ok(Some((UnixTime(found.asked_at), list)))
    }

    /// Writes a list to disk if it revokes other tokens, or if the written one looks old by now.
    /// The flash memory of small devices wears out.
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
        let now = of.issuer.clock.now();
        let asked_at = now.minus(edition.age(now));
        kept.keep(of.issuer.name.name(), url, asked_at, text).await;
        Written {
            revoked: edition.revoked.clone(),
            at: Instant::now(),
        }
    }

    /// Fetches the list. Its text is `None` if it is unchanged.
    async fn fetch(
        &self,
        of: &Revocation,
        http: &HttpClient,
        url: &Url,
        began: Instant,
    ) -> Result<(Edition, Option<String>), FetchError> {
        let now = of.issuer.clock.now();
        let asked = Asked {
            monotonic: began,
            wall: now,
        };
        let known = self.edition.value();
        // A 304 would not renew the signature, so an old list is fetched whole.
        let young = known
            .as_ref()
            .filter(|known| UnixTime(known.issued_at).until(now) <= of.config.max_age);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/jwt"));
        if let Some(etag) = young.and_then(|young| young.etag.clone()) {
            headers.insert(IF_NONE_MATCH, etag);
        }
        let answer = http
            .get(url, headers)
            .await
            .map_err(|failed| failed.to_string())?;
        match (answer.status, young) {
            (StatusCode::NOT_MODIFIED, Some(young)) => {
                let confirmed = Edition {
                    asked,
                    aged: Duration::ZERO,
                    ..(**young).clone()
                };
                Ok((confirmed, None))
            }
            (StatusCode::OK, _) => {
                let (list, text) = accept(of, &answer, known.as_deref(), now).await?;
                let fetched = Edition {
                    etag: answer.headers.get(ETAG).cloned(),
                    ..Edition::new(list, asked, Duration::ZERO)
                };
                Ok((fetched, Some(text)))
            }
            (status, _) => {
                let said = answer.said(url, &[]);
                let said = said.map_or(String::new(), |said| format!(": {said}"));
                let (place, status) = (place(url), status.as_u16());
                Err(format!("{place}: the authority answered with status {status}{said}").into())
            }
        }
    }
}

/// Verifies a fetched list and its times.
async fn accept(
    of: &Revocation,
    answer: &HttpAnswer,
    known: Option<&Edition>,
    now: UnixTime,
) -> Result<(List, String), FetchError> {
    let text = std::str::from_utf8(&answer.body)
        .map_err(|_| "the list is not a JWT")?
        .trim();
    let list = signed_list::verify(&of.issuer, text).await?;
    let (issued_at, skew) = (UnixTime(list.issued_at), of.issuer.clock_skew);
    if issued_at < now.minus(of.config.max_age + skew) {
        return Err("the list was signed too long ago".into());
    }
    if issued_at > now.plus(skew) {
        return Err("the list was signed in the future: compare the clocks".into());
    }
    // It would make revoked tokens valid again.
    if known.is_some_and(|known| known.is_newer_than(&list, now, skew)) {
        return Err("the list is older than the one before it".into());
    }
    Ok((list, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(issued_at: i64, revision: Option<i64>) -> List {
        List {
            revoked: Revoked::default(),
            issued_at,
            revision,
        }
    }

    #[tokio::test]
    async fn a_list_is_never_replaced_by_one_with_fewer_revocations() {
        let is_kept = |known: (i64, Option<i64>), other: (i64, Option<i64>)| {
            let asked = Asked {
                monotonic: Instant::now(),
                wall: UnixTime(1000),
            };
            let known = Edition::new(list(known.0, known.1), asked, Duration::ZERO);
            known.is_newer_than(
                &list(other.0, other.1),
                UnixTime(1000),
                Duration::from_secs(60),
            )
        };
        // From another server, which read the store before the last revocation, or whose clock is
        // ahead.
        assert!(
            is_kept((1000, Some(8)), (999, Some(7))) && is_kept((1000, Some(8)), (1060, Some(7)))
        );
        assert!(
            !is_kept((1000, Some(8)), (990, Some(8))) && !is_kept((1000, Some(8)), (900, Some(9)))
        );
        assert!(
            !is_kept((1000, Some(8)), (1121, Some(2))),
            "the store was restored from a backup"
        );
        // The clocks were set back since.
        assert!(
            is_kept((9000, Some(8)), (1000, Some(7))) && !is_kept((9000, Some(8)), (1000, Some(8)))
        );
        // An issuer without revisions.
        assert!(is_kept((1000, None), (999, None)) && !is_kept((1000, None), (1000, None)));
        assert!(is_kept((1000, None), (999, Some(9))) && is_kept((1000, Some(9)), (999, None)));
        assert!(
            !is_kept((9000, None), (1000, None)),
            "it was signed before the clocks were set back"
        );
    }

    #[tokio::test]
    async fn a_list_ages_while_the_machine_sleeps() {
        let asked = Asked {
            monotonic: Instant::now(),
            wall: UnixTime(1000),
        };
        let edition = Edition::new(list(1000, None), asked, Duration::from_secs(5));
        assert!(edition.age(UnixTime(1000)) < Duration::from_secs(100));
        assert_eq!(edition.age(UnixTime(9000)), Duration::from_secs(8005));
        assert!(
            edition.age(UnixTime(0)) < Duration::from_secs(100),
            "the clock was set back"
        );
    }
}
