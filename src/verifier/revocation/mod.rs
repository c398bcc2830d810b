//! Whether a verified token is revoked.
//!
//! There are four methods: our own issuer reports revocations in process, an issuer publishes a
//! signed list, plgd's tokens endpoint is queried per token, or an introspection endpoint (RFC
//! 7662) is. A state is at most [`RevocationConfig::max_age`] old while the source answers, and is
//! used for [`RevocationConfig::max_stale`] while it does not. After that the answer is 503: a
//! state is never guessed.
//!
//! All queries happen in [`Revocation::run`], away from the threads that serve requests.

mod kept_list;
mod list;
mod method;
mod queries;
mod query;
mod signed_list;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use url::Url;

use super::TokenFacts;
use super::bearer::BearerToken;
use super::introspection::IntrospectionClient;
use crate::domain::claims::Claims;
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::issuer_name::IssuerName;
use crate::domain::reason::Reason;
use crate::domain::revoked::RevokedNow;
use crate::domain::settings::{OnFailure, RevocationKind};
use crate::http_client::HttpClient;
use crate::jose::Algorithm;
use crate::jose::live_keys::LiveKeys;
pub use kept_list::KeptLists;
use list::RevocationList;
pub use method::Method;
use queries::QueriedTokens;
use query::Query;

/// How the revocations of an authority's tokens are found out.
#[derive(Clone, Debug, PartialEq)]
pub struct RevocationConfig {
    /// The configured method.
    pub kind: RevocationKind,
    /// How old the state may be while the source answers.
    pub max_age: Duration,
    /// How old it may be while the source does not answer; `max_age` is its lower bound.
    pub max_stale: Duration,
    /// Whether a request without a state is refused.
    pub on_failure: OnFailure,
    /// The endpoint, instead of the one in the issuer's metadata.
    pub endpoint: Option<Url>,
    /// The name of the credential for introspection.
    pub credential: Option<String>,
}

impl Default for RevocationConfig {
    fn default() -> Self {
        Self {
            kind: RevocationKind::Auto,
            max_age: Duration::from_secs(30),
            max_stale: Duration::from_mins(15),
            on_failure: OnFailure::Refuse,
            endpoint: None,
            credential: None,
        }
    }
}

/// Called after each query of an authority, with its error: the URL and the cause, and nothing of
/// the answer.
pub type Observe = Arc<dyn Fn(Result<(), &str>) + Send + Sync>;

/// Called when the method is known, and when it changes.
pub type ObserveMethod = Arc<dyn Fn(&Method) + Send + Sync>;

/// The issuer of the tokens.
pub(super) struct Issuer {
    pub name: IssuerName,
    pub algorithms: Vec<Algorithm>,
    pub keys: Arc<LiveKeys>,
    pub clock: SharedClock,
    pub clock_skew: Duration,
}

/// The revocation state of one authority's tokens.
pub struct Revocation {
    config: RevocationConfig,
    issuer: Issuer,
    client: Option<IntrospectionClient>,
    /// The revocations of our own issuer.
    own: Option<RevokedNow>,
    /// The method, if the issuer's metadata is not needed to find it.
    fixed: Option<Method>,
    /// The method that the metadata names, and the metadata.
    found: ArcSwapOption<(Arc<Claims>, Method)>,
    /// Whether the metadata ever named an endpoint. Since then its absence is a fault.
    was_named: AtomicBool,
    list: RevocationList,
    queried: QueriedTokens,
}

impl Revocation {
    /// `fixed` is the method if the configuration alone gives it; `own` is what our own issuer has
    /// revoked.
    pub(super) fn new(
        config: RevocationConfig,
        issuer: Issuer,
        client: Option<IntrospectionClient>,
        own: Option<RevokedNow>,
        fixed: Option<Method>,
    ) -> Self {
        let queried = QueriedTokens::new(config.max_age, config.max_stale.max(config.max_age));
        let fixed = match fixed {
            Some(Method::Own) if own.is_none() => Some(Method::NotReadYet),
            fixed => fixed,
        };
        Self {
            config,
            issuer,
            client,
            own,
            fixed,
            found: ArcSwapOption::empty(),
            was_named: AtomicBool::new(false),
            list: RevocationList::default(),
            queried,
        }
    }

    /// Whether tokens can be revoked.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        !matches!(self.fixed, Some(Method::None(_)))
    }

    /// Whether the state of a token is found out with the token itself.
    #[must_use]
    pub fn needs_token(&self) -> bool {
        !matches!(
            self.method(),
            Method::None(_) | Method::Own | Method::List(_)
        )
    }

    /// Whether [`Revocation::run`] has work.
    #[must_use]
    pub fn needs_run(&self) -> bool {
        !matches!(self.fixed, Some(Method::None(_) | Method::Own))
    }

    /// The age of the list; `None` where there is no list.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        match self.method() {
            Method::List(_) => self.list.age(self.issuer.clock.now()),
            _ => None,
        }
    }

    /// How long a state is used while the source does not answer.
    #[must_use]
    pub fn max_stale(&self) -> Duration {
        self.config.max_stale.max(self.config.max_age)
    }

    /// Whether requests can be decided now, as far as that is known without a token.
    #[must_use]
    pub fn is_known(&self) -> bool {
        match self.method() {
            Method::List(_) => self.age().is_some_and(|age| age <= self.max_stale()),
            Method::NotReadYet | Method::Unusable => false,
            _ => true,
        }
    }

    /// Waits for the end of the first fetch of the list; returns at once where there is none.
    pub async fn first_known(&self) {
        self.issuer.keys.first_known().await;
        if matches!(self.method(), Method::List(_)) {
            self.list.first_known().await;
        }
    }

    /// [`check`](Self::check), if neither a wait nor a query is needed. Most requests end here.
    pub(super) fn check_at_once(
        &self,
        facts: &TokenFacts,
        now: UnixTime,
    ) -> Option<Result<(), Reason>> {
        let checked = self.with_method(now, |method| match (method, &self.own) {
            (Method::None(_), _) => Some(self.check_unchecked(facts)),
            (Method::Own, Some(own)) => Some(facts.check_not_revoked(&own.current(), now)),
            (Method::List(_), _) => self.list.check_at_once(facts, self.config.max_age, now),
            (Method::Plgd(_) | Method::Introspection(_), _) => self.queried.check_at_once(facts),
            (Method::Own | Method::NotReadYet | Method::Unusable, _) => None,
        });
        checked.filter(|checked| *checked != Err(Reason::RevocationUnavailable))
    }

    /// Checks a token whose revocation is not checked: one that could neither expire nor be revoked
    /// is refused, unless the configuration permits it.
    fn check_unchecked(&self, facts: &TokenFacts) -> Result<(), Reason> {
        if facts.never_expires() && self.config.kind != RevocationKind::None {
            Err(Reason::NoExpiry)
        } else {
            Ok(())
        }
    }

    /// Checks a token that every other check has accepted. `before_query` is called before a query
    /// about this token.
    ///
    /// # Errors
    /// The error of `before_query`; [`Reason::Revoked`]; [`Reason::RevocationUnavailable`];
    /// [`Reason::NoExpiry`] for a token without `exp` if revocations are not checked and the
    /// configuration does not say `none`; [`Reason::MalformedClaims`] for a token without a usable
    /// `jti`.
    pub async fn check(
        &self,
        facts: &TokenFacts,
        bearer: Option<&BearerToken<'_>>,
        before_query: impl FnOnce() -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        let now = self.issuer.clock.now();
        let checked = match (self.method(), &self.own) {
            (Method::None(_), _) => return self.check_unchecked(facts),
            (Method::Own, Some(own)) => facts.check_not_revoked(&own.current(), now),
            (Method::List(_), _) => {
                let max_age = self.config.max_age;
                self.list.check(facts, max_age, self.max_stale(), now).await
            }
            (Method::Plgd(_), _) => {
                let query = || Query::plgd(facts, bearer?);
                self.queried.check(facts, before_query, query).await
            }
            (Method::Introspection(_), _) => {
                let query = || Some(Query::introspection(bearer?));
                self.queried.check(facts, before_query, query).await
            }
            (Method::Own | Method::NotReadYet | Method::Unusable, _) => {
                Err(Reason::RevocationUnavailable)
            }
        };
        let accepts = self.config.on_failure == OnFailure::Accept && !facts.never_expires();
        match checked {
            // A revoked token stays revoked, however old that state is.
            Err(Reason::RevocationUnavailable)
                if self.list.refuses(facts, now) || self.queried.refuses(facts) =>
            {
                Err(Reason::Revoked)
            }
            Err(Reason::RevocationUnavailable) if accepts => Ok(()),
            checked => checked,
        }
    }

    /// Fetches and queries until the future is dropped. `kept` keeps the last list over a restart.
    pub async fn run(self: Arc<Self>, http: HttpClient, kept: KeptLists, observe: Observe) {
        tokio::join!(
            self.list.run(&self, &http, &kept, &observe),
            self.queried.run(&self, &http, &observe)
        );
    }

    /// Reports the method when it is known and when it changes, until the future is dropped.
    pub async fn watch_method(self: Arc<Self>, observe: ObserveMethod) {
        let mut reported = None;
        self.issuer.keys.first_known().await;
        loop {
            let method = self.method();
            if reported.as_ref() != Some(&method) {
                observe(&method);
                reported = Some(method);
            }
            self.issuer.keys.next_fetch().await;
        }
    }

    /// The method as far as it is known now.
    #[must_use]
    pub fn method(&self) -> Method {
        self.with_method(self.issuer.clock.now(), Method::clone)
    }

    /// Calls `read` with the method as it is known at a time.
    fn with_method<R>(&self, now: UnixTime, read: impl FnOnce(&Method) -> R) -> R {
        if let Some(fixed) = &self.fixed {
            return read(fixed);
        }
        self.issuer.keys.with_metadata(now, |metadata| {
            let Some(metadata) = metadata else {
                return read(&Method::NotReadYet);
            };
            match &*self.found.load() {
                Some(found) if Arc::ptr_eq(&found.0, metadata) => read(&found.1),
                _ => read(&self.find_method(metadata)),
            }
        })
    }

    /// Finds the method in new metadata.
    fn find_method(&self, metadata: &Arc<Claims>) -> Method {
        let method = match self.named_by(metadata) {
            // Metadata that names less than before must not make revoked tokens valid.
            Method::None(_) if self.was_named.load(Ordering::Relaxed) => Method::Unusable,
            none @ Method::None(_) => none,
            named => {
                self.was_named.store(true, Ordering::Relaxed);
                named
            }
        };
        self.found
            .store(Some(Arc::new((metadata.clone(), method.clone()))));
        method
    }

    /// The method that the metadata names. An unusable endpoint is not the same as none.
    fn named_by(&self, metadata: &Claims) -> Method {
        let named = |member: &'static str, method: fn(Url) -> Method| {
            let text = metadata.string(member).ok().flatten();
            text.and_then(|text| Url::parse(text).ok())
                .filter(|url| is_acceptable(url, self.issuer.name.written()))
                .map_or(Method::Unusable, method)
        };
        match self.config.kind {
            RevocationKind::None => Method::None(method::CONFIGURED),
            RevocationKind::List => named(LIST, Method::List),
            RevocationKind::Plgd => named(PLGD, Method::Plgd),
            RevocationKind::Introspection => named(INTROSPECTION, Method::Introspection),
            RevocationKind::Auto if metadata.contains(LIST) => named(LIST, Method::List),
            RevocationKind::Auto if metadata.contains(PLGD) => named(PLGD, Method::Plgd),
            RevocationKind::Auto => Method::None(method::NOT_NAMED),
        }
    }
}

/// Members of the issuer's metadata.
const LIST: &str = "revocation_list_uri";
const PLGD: &str = "plgd_tokens_endpoint";
const INTROSPECTION: &str = "introspection_endpoint";

/// Whether tokens may be sent to a URL: it must be protected at least as well as the issuer.
fn is_acceptable(url: &Url, issuer: &str) -> bool {
    let protected = match url.scheme() {
        "https" => true,
        "http" => issuer.starts_with("http://"),
        _ => false,
    };
    protected && url.has_host() && url.username().is_empty() && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_with_less_protection_than_its_issuer_is_not_used() {
        for (url, issuer, acceptable) in [
            ("https://a.example/x", "https://a.example", true),
            ("https://a.example/x", "http://a.example", true),
            ("http://a.example/x", "http://a.example", true),
            ("http://a.example/x", "https://a.example", false),
            ("https://u:p@a.example/x", "https://a.example", false),
            ("data:text/plain,x", "http://a.example", false),
        ] {
            let parsed = Url::parse(url).unwrap();
            assert_eq!(is_acceptable(&parsed, issuer), acceptable, "{url} {issuer}");
        }
    }
}
