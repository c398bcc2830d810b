//! Whether a token that was good has been taken back.
//!
//! Four ways to know: our own issuer says so in process; an issuer publishes a signed list; a plgd
//! issuer is asked for each token at its tokens endpoint; an authorization server is asked by
//! introspection (RFC 7662). What is known is at most [`RevocationConfig::max_age`] old while the
//! source answers, and serves for [`RevocationConfig::max_stale`] while it does not. After that the
//! request is refused with 503: a state is never guessed.
//!
//! All asking happens in [`Revocation::run`], away from the threads that serve requests.

mod asked;
mod kept_list;
mod list;
mod method;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use url::Url;

use super::bearer::BearerToken;
use super::{KeySource, TokenFacts};
use crate::domain::claims::Claims;
use crate::domain::clock::SharedClock;
use crate::domain::issuer_name::IssuerName;
use crate::domain::oauth::BasicEncoding;
use crate::domain::reason::Reason;
use crate::domain::revoked::RevokedNow;
use crate::domain::secret::SharedSecret;
use crate::domain::settings::{OnFailure, RevocationKind};
use crate::http_client::HttpClient;
use crate::jose::Algorithm;
use crate::jose::live_keys::LiveKeys;
use asked::{AskedStates, Question};
pub use kept_list::KeptLists;
use list::RevocationList;
pub use method::Method;
use method::Planned;

/// How it is found out whether a token of an authority is revoked.
#[derive(Clone, Debug)]
pub struct RevocationConfig {
    /// Who is asked.
    pub kind: RevocationKind,
    /// How old the answer may be while the source answers.
    pub max_age: Duration,
    /// How old it may be while the source does not answer. A smaller value than `max_age` means
    /// `max_age`.
    pub max_stale: Duration,
    /// What happens to a request when there is none.
    pub on_failure: OnFailure,
    /// Where to ask, instead of where the issuer's metadata says.
    pub endpoint: Option<Url>,
    /// The name of the credential that introspection is asked with.
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

/// How we authenticate at an introspection endpoint (RFC 7662 §2.1).
#[derive(Clone, Debug)]
pub struct IntrospectionClient {
    /// Our client id there.
    pub client_id: String,
    /// Our secret there; its file may change.
    pub client_secret: SharedSecret,
    /// How both are written into `Authorization: Basic`; none: they are sent in the form.
    pub basic: Option<BasicEncoding>,
}

/// Called after each question to an authority, with its error: which URL, and why. Nothing of the
/// answer.
pub type Observe = Arc<dyn Fn(Result<(), &str>) + Send + Sync>;

/// Called when the way in which revocations are found out is known, and when it changes.
pub type ObserveMethod = Arc<dyn Fn(&Method) + Send + Sync>;

/// Where a state comes from.
#[derive(Clone, Debug)]
enum Source {
    /// Nothing is ever revoked.
    Nobody(&'static str),
    /// Our own issuer.
    Own(RevokedNow),
    /// A signed list at this URL.
    List(Url),
    /// plgd's tokens endpoint.
    Plgd(Url),
    /// An introspection endpoint.
    Introspection(Url),
    /// The metadata names no usable place.
    Unknown,
}

/// Whose tokens they are.
pub(super) struct Issuer {
    pub issuer: IssuerName,
    pub algorithms: Vec<Algorithm>,
    pub keys: Arc<LiveKeys>,
    pub clock: SharedClock,
    pub clock_skew: Duration,
}

/// The revocation state of one authority's tokens.
pub struct Revocation {
    config: RevocationConfig,
    of: Issuer,
    client: Option<IntrospectionClient>,
    /// Known without the issuer's metadata.
    fixed: Option<Source>,
    /// What the metadata said, and the metadata it was read from.
    found: ArcSwapOption<(Arc<Claims>, Source)>,
    /// Whether the metadata ever named a place: from then on naming none is no answer.
    was_named: AtomicBool,
    list: RevocationList,
    asked: AskedStates,
}

impl Revocation {
    /// The state of an issuer's tokens. `own` is there when that is our own issuer; `keys` is how
    /// its keys are found.
    pub(super) fn new(
        config: RevocationConfig,
        of: Issuer,
        client: Option<IntrospectionClient>,
        own: Option<RevokedNow>,
        keys: &KeySource,
    ) -> Self {
        let fixed = match (config.planned(keys), own) {
            (Planned::Nobody(why), _) => Some(Source::Nobody(why)),
            (Planned::Own, Some(own)) => Some(Source::Own(own)),
            // An own issuer that is not there answers nothing.
            (Planned::Own, None) => Some(Source::Unknown),
            (Planned::List(url), _) => Some(Source::List(url)),
            (Planned::Plgd(url), _) => Some(Source::Plgd(url)),
            (Planned::Introspection(url), _) => Some(Source::Introspection(url)),
            (Planned::Metadata(_), _) => None,
        };
        let asked = AskedStates::new(config.max_age, config.max_stale.max(config.max_age));
        let (found, list) = (ArcSwapOption::empty(), RevocationList::default());
        Self {
            config,
            of,
            client,
            fixed,
            found,
            was_named: AtomicBool::new(false),
            list,
            asked,
        }
    }

    /// Whether anything can ever be revoked here.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        !matches!(self.fixed, Some(Source::Nobody(_)))
    }

    /// Whether [`Revocation::run`] has anything to do.
    #[must_use]
    pub fn needs_run(&self) -> bool {
        !matches!(self.fixed, Some(Source::Nobody(_) | Source::Own(_)))
    }

    /// How it is found out, as far as that is known now.
    #[must_use]
    pub fn method(&self) -> Method {
        match self.source() {
            Source::Nobody(why) => Method::None(why),
            Source::Own(_) => Method::Own,
            Source::List(url) => Method::List(url),
            Source::Plgd(url) => Method::Plgd(url),
            Source::Introspection(url) => Method::Introspection(url),
            Source::Unknown if self.of.keys.metadata().is_none() => Method::NotReadYet,
            Source::Unknown => Method::Unusable,
        }
    }

    /// How old the list is; `None` where there is none.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        match self.source() {
            Source::List(_) => self.list.age(self.of.clock.now()),
            _ => None,
        }
    }

    /// For how long what is known serves when the source does not answer.
    #[must_use]
    pub fn max_stale(&self) -> Duration {
        self.config.max_stale.max(self.config.max_age)
    }

    /// Whether requests can be judged now, as far as that can be known without a token.
    #[must_use]
    pub fn is_known(&self) -> bool {
        match self.source() {
            Source::List(_) => self.age().is_some_and(|age| age <= self.max_stale()),
            Source::Unknown => false,
            _ => true,
        }
    }

    /// Waits until the first list has come, or could not be fetched; at once where there is no
    /// list.
    pub async fn first_known(&self) {
        self.of.keys.first_known().await;
        if matches!(self.source(), Source::List(_)) {
            self.list.first_known().await;
        }
    }

    /// Checks a token that is good otherwise. `before_question` is called before somebody is asked
    /// about this very token.
    ///
    /// # Errors
    /// What `before_question` gives, [`Reason::Revoked`], [`Reason::RevocationUnavailable`],
    /// [`Reason::NoExpiry`] when the token never ends and revocations are not checked although the
    /// configuration does not say `none`, or [`Reason::MalformedClaims`] for a token without a name
    /// by which it could be asked about.
    pub async fn check(
        &self,
        facts: &TokenFacts,
        bearer: &BearerToken,
        before_question: impl FnOnce() -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        let now = self.of.clock.now();
        let checked = match self.source() {
            // It cannot be revoked: accepted only where the configuration says `none`.
            Source::Nobody(_)
                if facts.never_expires() && self.config.kind != RevocationKind::None =>
            {
                return Err(Reason::NoExpiry);
            }
            Source::Nobody(_) => return Ok(()),
            Source::Own(revoked) => facts.check_not_revoked(&revoked.current(), now),
            Source::List(_) => {
                self.list
                    .check(facts, (self.config.max_age, self.max_stale()), now)
                    .await
            }
            Source::Plgd(_) => {
                self.asked
                    .check(facts, before_question, || Question::plgd(facts, bearer))
                    .await
            }
            Source::Introspection(_) => {
                let question = || Some(Question::introspection(bearer));
                self.asked.check(facts, before_question, question).await
            }
            Source::Unknown => Err(Reason::RevocationUnavailable),
        };
        let accepts = self.config.on_failure == OnFailure::Accept && !facts.never_expires();
        match checked {
            // What was revoked once stays so, however old that knowledge is and wherever it came
            // from.
            Err(Reason::RevocationUnavailable)
                if self.list.refuses(facts, now) || self.asked.refuses(facts) =>
            {
                Err(Reason::Revoked)
            }
            Err(Reason::RevocationUnavailable) if accepts => Ok(()),
            checked => checked,
        }
    }

    /// Asks until the future is dropped. `kept` is where the last list is kept over a restart.
    pub async fn run(self: Arc<Self>, http: HttpClient, kept: KeptLists, observe: Observe) {
        tokio::join!(
            self.list.run(&self, &http, &kept, &observe),
            self.asked.run(&self, &http, &observe)
        );
    }

    /// Tells `observe` the method when it is known and when it changes, until the future is
    /// dropped.
    pub async fn watch_method(self: Arc<Self>, observe: ObserveMethod) {
        let mut told = None;
        self.of.keys.first_known().await;
        loop {
            let method = self.method();
            if told.as_ref() != Some(&method) {
                observe(&method);
                told = Some(method);
            }
            self.of.keys.next_fetch().await;
        }
    }

    fn source(&self) -> Source {
        if let Some(fixed) = &self.fixed {
            return fixed.clone();
        }
        let Some(metadata) = self.of.keys.metadata() else {
            return Source::Unknown;
        };
        if let Some(found) = &*self.found.load()
            && Arc::ptr_eq(&found.0, &metadata)
        {
            return found.1.clone();
        }
        let source = match self.read(&metadata) {
            // A document with less in it than the one before must not bring revoked tokens back.
            Source::Nobody(_) if self.was_named.load(Ordering::Relaxed) => Source::Unknown,
            nobody @ Source::Nobody(_) => nobody,
            named => {
                self.was_named.store(true, Ordering::Relaxed);
                named
            }
        };
        self.found.store(Some(Arc::new((metadata, source.clone()))));
        source
    }

    /// What the metadata says. A place that is named but cannot be used is not the same as none.
    fn read(&self, metadata: &Claims) -> Source {
        let url = |member: &'static str| {
            let text = metadata.string(member).ok().flatten()?;
            Url::parse(text)
                .ok()
                .filter(|url| is_acceptable(url, self.of.issuer.written()))
        };
        match self.config.kind {
            RevocationKind::None => Source::Nobody(method::CONFIGURED),
            RevocationKind::List => url(LIST).map_or(Source::Unknown, Source::List),
            RevocationKind::Plgd => url(PLGD).map_or(Source::Unknown, Source::Plgd),
            RevocationKind::Introspection => {
                url(INTROSPECTION).map_or(Source::Unknown, Source::Introspection)
            }
            RevocationKind::Auto if metadata.contains(LIST) => {
                url(LIST).map_or(Source::Unknown, Source::List)
            }
            RevocationKind::Auto if metadata.contains(PLGD) => {
                url(PLGD).map_or(Source::Unknown, Source::Plgd)
            }
            RevocationKind::Auto => Source::Nobody(method::NOT_NAMED),
        }
    }
}

/// Members of the issuer's metadata.
const LIST: &str = "revocation_list_uri";
const PLGD: &str = "plgd_tokens_endpoint";
const INTROSPECTION: &str = "introspection_endpoint";

/// Whether tokens may be sent there, and answers believed: never with less protection than the
/// issuer itself has.
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
    fn a_place_with_less_protection_than_its_issuer_is_not_used() {
        let acceptable = |url, issuer| is_acceptable(&Url::parse(url).unwrap(), issuer);
        assert!(acceptable("https://a.example/x", "https://a.example"));
        assert!(acceptable("https://a.example/x", "http://a.example"));
        assert!(acceptable("http://a.example/x", "http://a.example"));
        assert!(!acceptable("http://a.example/x", "https://a.example"));
        assert!(!acceptable("https://u:p@a.example/x", "https://a.example"));
        assert!(!acceptable("data:text/plain,x", "http://a.example"));
    }
}
