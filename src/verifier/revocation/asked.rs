//! Tokens whose state is asked for one by one: at plgd's tokens endpoint, or by introspection (RFC
//! 7662).
//!
//! An answer is remembered under the hash of the whole token: that a token is good for `maxAge`,
//! and for `maxStale` while the authority does not answer; that it is revoked, until another answer
//! says otherwise. However many requests carry a token, there is one question at a time. A question
//! without an answer is its token's own failure, and is not put again for a second. Only where no
//! connection can be made, or where the questions about [`SEVERAL`] tokens in a row have no answer,
//! is the authority itself left alone for a second, so that one in trouble is not asked by every
//! request.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Observe, Revocation, Source, TokenFacts};
use crate::domain::claims::Claims;
use crate::domain::oauth::basic_authorization;
use crate::domain::reason::Reason;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::http_client::{Failed, HttpAnswer, HttpClient, HttpError};
use crate::verifier::bearer::BearerToken;

/// How many tokens' states are remembered.
const MAX_KNOWN: u64 = 50_000;
/// How many questions are under way, and how many more wait.
const MAX_FLIGHTS: usize = 64;
const MAX_WAITING: usize = 1024;
/// The longest that one question may take: a request waits for it.
const LONGEST_QUESTION: Duration = Duration::from_secs(2);
/// The longest that a request waits for its question to be put and answered.
const LONGEST_WAIT: Duration = Duration::from_millis(2500);
/// For how long it is remembered that there was no answer, or one that may soon be another.
const FAILURE_MEMORY: Duration = Duration::from_secs(1);

/// After so many different tokens in a row whose questions had no answer, the authority is taken to
/// be silent.
const SEVERAL: usize = 3;
/// For how long a failure counts among those.
const IN_A_ROW: Duration = Duration::from_secs(30);

/// What is asked about a token.
pub(super) struct Question {
    token: SecretString,
    /// Only for plgd.
    jti: Option<Uuid>,
}

impl Question {
    pub fn introspection(bearer: &BearerToken) -> Self {
        Self {
            token: SecretString::from(bearer.text()),
            jti: None,
        }
    }

    /// `None` when the token's `jti` is no UUID: to plgd's services such a token is worth nothing.
    pub fn plgd(facts: &TokenFacts, bearer: &BearerToken) -> Option<Self> {
        let claims = facts.claims(bearer)?;
        let jti = Uuid::parse_str(claims.get("jti")?.as_str()?).ok()?;
        Some(Self {
            jti: Some(jti),
            ..Self::introspection(bearer)
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    /// For good.
    Revoked,
    /// The authority does not vouch for the token just now.
    Refused,
    Unavailable,
}

impl State {
    fn verdict(self) -> Result<(), Reason> {
        match self {
            Self::Active => Ok(()),
            Self::Revoked | Self::Refused => Err(Reason::Revoked),
            Self::Unavailable => Err(Reason::RevocationUnavailable),
        }
    }
}

/// The last answer about a token.
#[derive(Clone, Copy, Default)]
enum Last {
    #[default]
    None,
    /// It was good; the question was put then.
    Active(Instant),
    Refused,
}

/// What is known of one token.
#[derive(Default)]
struct Cell {
    known: Mutex<Option<(State, Instant)>>,
    last: Mutex<Last>,
    /// Held by whoever asks.
    flight: tokio::sync::Mutex<()>,
}

impl Cell {
    fn known(&self, max_age: Duration) -> Option<State> {
        let (state, at) = (*self.known.lock().unwrap_or_else(PoisonError::into_inner))?;
        let kept = match state {
            State::Revoked => Duration::MAX,
            State::Active => max_age,
            State::Refused | State::Unavailable => FAILURE_MEMORY,
        };
        (at.elapsed() < kept).then_some(state)
    }

    fn note(&self, state: State, at: Instant) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((state, at));
        let last = match state {
            State::Active => Last::Active(at),
            State::Revoked | State::Refused => Last::Refused,
            State::Unavailable => return,
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }

    fn last(&self) -> Last {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a state means for the token: a missing answer takes nothing back that was true a short
    /// time ago, and makes nothing good that was refused.
    fn verdict(&self, state: State, max_stale: Duration) -> Result<(), Reason> {
        match (state.verdict(), self.last()) {
            (Err(Reason::RevocationUnavailable), Last::Active(at)) if at.elapsed() < max_stale => {
                Ok(())
            }
            (Err(Reason::RevocationUnavailable), Last::Refused) => Err(Reason::Revoked),
            (verdict, _) => verdict,
        }
    }
}

/// A question, the hash of its token, and where the answer goes.
type Ask = (Question, [u8; 32], oneshot::Sender<State>);

/// Whether the authority is taken to be silent.
#[derive(Default)]
struct Silence {
    until: Option<Instant>,
    /// The tokens whose questions had no answer since the last one that had.
    failed: Vec<[u8; 32]>,
    /// When the last of them failed.
    failed_at: Option<Instant>,
}

impl Silence {
    fn is_silent(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// The authority answered, whatever it said.
    fn ends(&mut self) {
        *self = Self::default();
    }

    /// A question had no answer.
    fn note(&mut self, token: [u8; 32], why: HttpError) {
        let now = Instant::now();
        if self
            .failed_at
            .is_none_or(|at| now.duration_since(at) >= IN_A_ROW)
        {
            self.failed.clear();
        }
        self.failed_at = Some(now);
        if self.failed.len() < SEVERAL && !self.failed.contains(&token) {
            self.failed.push(token);
        }
        // Whether a connection can be made depends on no token.
        let no_connection = matches!(
            why,
            HttpError::Dns | HttpError::Refused | HttpError::Connect | HttpError::Tls
        );
        if no_connection || self.failed.len() >= SEVERAL {
            self.until = Some(now + FAILURE_MEMORY);
        }
    }
}

/// Why a question has no answer.
#[derive(Debug)]
enum Failure {
    /// No answer came, or not in time and in full.
    NoAnswer(Failed),
    /// An answer that says nothing of this token.
    Answer(Cow<'static, str>),
}

impl Failure {
    /// An answer that cannot be used, with its status and what it says.
    fn answer(why: &'static str, answer: &HttpAnswer, said: Option<String>) -> Self {
        let said = said.map_or(String::new(), |said| format!(": {said}"));
        Self::Answer(match answer.status {
            StatusCode::OK => format!("{why}{said}").into(),
            status => format!("{why} ({}){said}", status.as_u16()).into(),
        })
    }

    fn text(&self) -> Cow<'static, str> {
        match self {
            Self::NoAnswer(failed) => failed.to_string().into(),
            Self::Answer(text) => text.clone(),
        }
    }
}

impl From<&'static str> for Failure {
    fn from(text: &'static str) -> Self {
        Self::Answer(text.into())
    }
}

/// The states of the tokens of one authority.
pub(super) struct AskedStates {
    max_age: Duration,
    max_stale: Duration,
    cells: Cache<[u8; 32], Arc<Cell>>,
    silence: Mutex<Silence>,
    asks: mpsc::Sender<Ask>,
    asked: tokio::sync::Mutex<mpsc::Receiver<Ask>>,
}

impl AskedStates {
    pub fn new(max_age: Duration, max_stale: Duration) -> Self {
        let (asks, asked) = mpsc::channel(MAX_WAITING);
        let cells = Cache::builder()
            .max_capacity(MAX_KNOWN)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let silence = Mutex::default();
        Self {
            max_age,
            max_stale,
            cells,
            silence,
            asks,
            asked: tokio::sync::Mutex::new(asked),
        }
    }

    /// Whether the last answer about a token refused it.
    pub fn refuses(&self, facts: &TokenFacts) -> bool {
        self.cells
            .get(&facts.hash)
            .is_some_and(|cell| matches!(cell.last(), Last::Refused))
    }

    /// Checks a token by what is known of it, or by asking. `before_question` is called before it
    /// is asked, or waited for the question of another request.
    ///
    /// # Errors
    /// As [`Revocation::check`].
    pub async fn check(
        &self,
        facts: &TokenFacts,
        before_question: impl FnOnce() -> Result<(), Reason>,
        question: impl FnOnce() -> Option<Question>,
    ) -> Result<(), Reason> {
        let cell = self.cells.get_with(facts.hash, Arc::default);
        if let Some(state) = cell.known(self.max_age) {
            return cell.verdict(state, self.max_stale);
        }
        before_question()?;
        let found = timeout(LONGEST_WAIT, self.find_out(&cell, facts.hash, question)).await;
        cell.verdict(found.unwrap_or(Ok(State::Unavailable))?, self.max_stale)
    }

    /// Asks, unless someone else has asked meanwhile.
    async fn find_out(
        &self,
        cell: &Cell,
        token: [u8; 32],
        question: impl FnOnce() -> Option<Question>,
    ) -> Result<State, Reason> {
        let _flight = cell.flight.lock().await;
        if let Some(state) = cell.known(self.max_age) {
            return Ok(state);
        }
        let question = question().ok_or(Reason::MalformedClaims)?;
        if self.silence().is_silent() {
            return Ok(State::Unavailable);
        }
        let asked_at = Instant::now();
        let state = self.ask(question, token).await;
        // A good answer is as old as its question; a failure is remembered from now on, or a slow
        // one were forgotten at once.
        let at = if state == State::Active {
            asked_at
        } else {
            Instant::now()
        };
        cell.note(state, at);
        Ok(state)
    }

    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, question: Question, token: [u8; 32]) -> State {
        let (answer, answered) = oneshot::channel();
        // Too many wait already: an answer would come too late.
        if self.asks.try_send((question, token, answer)).is_err() {
            return State::Unavailable;
        }
        answered.await.unwrap_or(State::Unavailable)
    }

    /// Puts the questions to the authority.
    pub async fn run(&self, of: &Revocation, http: &HttpClient, observe: &Observe) {
        let mut asked = self.asked.lock().await;
        let mut flights = FuturesUnordered::new();
        loop {
            tokio::select! {
                ask = asked.recv(), if flights.len() < MAX_FLIGHTS => match ask {
                    Some((question, token, answer)) => flights.push(async move {
                        let state = put(of, http, &question).await;
                        let failed = state.as_ref().map(|_| ()).map_err(Failure::text);
                        observe(failed.as_ref().copied().map_err(|text| &**text));
                        match &state {
                            Err(Failure::NoAnswer(failed)) if failed.kind() != HttpError::TooLarge => {
                                self.silence().note(token, failed.kind());
                            }
                            _ => self.silence().ends(),
                        }
                        // Who asked may be gone.
                        let _ = answer.send(state.unwrap_or(State::Unavailable));
                    }),
                    None => return,
                },
                Some(()) = flights.next(), if !flights.is_empty() => {}
            }
        }
    }
}

async fn put(of: &Revocation, http: &HttpClient, question: &Question) -> Result<State, Failure> {
    let (url, state) = match of.source() {
        Source::Plgd(url) => (
            url.clone(),
            timeout(LONGEST_QUESTION, ask_plgd(http, url, question)).await,
        ),
        Source::Introspection(url) => {
            let asked = timeout(LONGEST_QUESTION, introspect(of, http, &url, question)).await;
            (url, asked)
        }
        _ => return Err("the authority's metadata has changed".into()),
    };
    state.unwrap_or_else(|_| Err(Failure::NoAnswer(Failed::of(HttpError::Timeout, &url))))
}

/// Asks as plgd's own services do: for the token's entry, with the token itself.
async fn ask_plgd(http: &HttpClient, mut url: Url, question: &Question) -> Result<State, Failure> {
    let Some(jti) = question.jti else {
        return Err("the token has no id".into());
    };
    let asked = url.clone();
    url.query_pairs_mut()
        .append_pair("idFilter", &jti.to_string())
        .append_pair("includeBlacklisted", "true");
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/protojson"));
    let value = Zeroizing::new(["bearer ", question.token.expose_secret()].concat());
    let mut value = HeaderValue::from_str(&value).map_err(|_| "the token cannot be sent")?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    let answer = http.get(&url, headers).await.map_err(Failure::NoAnswer)?;
    let said = || answer.said(&asked, &[question.token.expose_secret()]);
    if matches!(
        answer.status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
    ) {
        tracing::debug!(
            status = answer.status.as_u16(),
            said = said(),
            "the tokens endpoint refuses the token"
        );
    }
    read_plgd(&answer, jti).map_err(|why| Failure::answer(why, &answer, said()))
}

/// The first JSON value is the token's entry, bare or as `result`. None: the issuer does not know
/// the token.
fn read_plgd(answer: &HttpAnswer, jti: Uuid) -> Result<State, &'static str> {
    const MALFORMED: &str = "the tokens endpoint's answer is malformed";
    match answer.status {
        StatusCode::OK => {}
        // The issuer judges the token it is asked with: a blacklisted one may not even ask.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(State::Refused),
        _ => return Err("the authority answered with an error status"),
    }
    let first = serde_json::Deserializer::from_slice(&answer.body)
        .into_iter::<Value>()
        .next();
    let entry = match first {
        None => return Ok(State::Refused),
        Some(Ok(Value::Object(members))) => members,
        Some(_) => return Err(MALFORMED),
    };
    if entry.contains_key("error") {
        return Err("the tokens endpoint answered with an error");
    }
    let entry = match entry.get("result") {
        None => &entry,
        Some(Value::Object(entry)) => entry,
        Some(_) => return Err(MALFORMED),
    };
    match entry.get("id").and_then(Value::as_str).map(Uuid::parse_str) {
        Some(Ok(id)) if id == jti => {}
        _ => return Err("the tokens endpoint answered about another token"),
    }
    match entry.get("blacklisted") {
        None | Some(Value::Null) => Ok(State::Active),
        Some(Value::Object(blacklisted)) => match blacklisted.get("flag") {
            None | Some(Value::Bool(false)) => Ok(State::Active),
            Some(Value::Bool(true)) => Ok(State::Revoked),
            Some(_) => Err(MALFORMED),
        },
        Some(_) => Err(MALFORMED),
    }
}

/// RFC 7662 §2.
async fn introspect(
    of: &Revocation,
    http: &HttpClient,
    url: &Url,
    question: &Question,
) -> Result<State, Failure> {
    let client = of
        .client
        .as_ref()
        .ok_or("there is no credential for introspection")?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let client_secret = client.client_secret.get();
    let mut form = vec![
        ("token", question.token.expose_secret()),
        ("token_type_hint", "access_token"),
    ];
    match client.basic {
        Some(encoding) => {
            let basic = basic_authorization(&client.client_id, &client_secret, encoding);
            headers.insert(AUTHORIZATION, basic.ok_or("the credential cannot be sent")?);
        }
        None => {
            form.push(("client_id", &client.client_id));
            form.push(("client_secret", client_secret.expose_secret()));
        }
    }
    let answer = http
        .ask_form(url, headers, &form)
        .await
        .map_err(Failure::NoAnswer)?;
    read_introspection(&answer).map_err(|why| {
        let said = answer.said(
            url,
            &[
                question.token.expose_secret(),
                client_secret.expose_secret(),
            ],
        );
        Failure::answer(why, &answer, said)
    })
}

/// RFC 7662 §2.2. Whatever else it says, `active` alone decides.
fn read_introspection(answer: &HttpAnswer) -> Result<State, &'static str> {
    if answer.status != StatusCode::OK {
        return Err("the introspection endpoint answered with an error status");
    }
    let claims =
        Claims::parse(&answer.body).map_err(|_| "the introspection answer is no JSON object")?;
    match claims.get("active") {
        Some(Value::Bool(true)) => Ok(State::Active),
        Some(Value::Bool(false)) => Ok(State::Refused),
        _ => Err("the introspection answer does not say whether the token is active"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_token_never_silences_the_authority_and_several_do() {
        for broken in [HttpError::Broken, HttpError::Timeout] {
            let mut silence = Silence::default();
            for _ in 0..100 {
                silence.note([1; 32], broken);
            }
            silence.note([2; 32], broken);
            assert!(!silence.is_silent());
            silence.ends();
            silence.note([3; 32], broken);
            silence.note([1; 32], broken);
            assert!(!silence.is_silent(), "an answer came in between");
            silence.note([2; 32], broken);
            assert!(silence.is_silent());
            tokio::time::advance(FAILURE_MEMORY).await;
            assert!(!silence.is_silent());
            silence.note([1; 32], broken);
            assert!(
                silence.is_silent(),
                "it is asked once, and has not come back"
            );
            tokio::time::advance(IN_A_ROW).await;
            silence.note([1; 32], broken);
            assert!(!silence.is_silent(), "long ago");
        }
        for unreachable in [
            HttpError::Dns,
            HttpError::Refused,
            HttpError::Connect,
            HttpError::Tls,
        ] {
            let mut silence = Silence::default();
            silence.note([1; 32], unreachable);
            assert!(silence.is_silent(), "{unreachable}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_takes_no_refusal_back() {
        let cell = Cell::default();
        let later = async || tokio::time::advance(Duration::from_hours(24)).await;
        for refused in [State::Refused, State::Revoked] {
            cell.note(refused, Instant::now());
            later().await;
            cell.note(State::Unavailable, Instant::now());
            assert_eq!(
                cell.verdict(State::Unavailable, Duration::MAX),
                Err(Reason::Revoked)
            );
        }
        cell.note(State::Active, Instant::now());
        assert_eq!(
            cell.verdict(State::Unavailable, Duration::from_secs(1)),
            Ok(())
        );
        later().await;
        let stale = cell.verdict(State::Unavailable, Duration::from_secs(1));
        assert_eq!(stale, Err(Reason::RevocationUnavailable));
    }

    fn answer(status: u16, body: &str) -> HttpAnswer {
        let status = StatusCode::from_u16(status).unwrap();
        HttpAnswer {
            status,
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn the_entry_of_a_tokens_endpoint_says_whether_the_token_is_good() {
        let jti = Uuid::from_u128(7);
        let read = |status, body: &str| {
            read_plgd(&answer(status, &body.replace('$', &jti.to_string())), jti).ok()
        };
        for (status, body, expected) in [
            (200, r#"{"result":{"id":"$"}}"#, Some(State::Active)),
            (
                200,
                r#"{"id":"$","version":"0","unknown":1}"#,
                Some(State::Active),
            ),
            (
                200,
                "\n{\"result\":{\"id\":\"$\"}}\n\n{\"result\":{}}",
                Some(State::Active),
            ),
            (
                200,
                r#"{"result":{"id":"$","blacklisted":{}}}"#,
                Some(State::Active),
            ),
            (
                200,
                r#"{"result":{"id":"$","blacklisted":{"flag":false}}}"#,
                Some(State::Active),
            ),
            (
                200,
                r#"{"result":{"id":"$","blacklisted":{"flag":true,"timestamp":"1"}}}"#,
                Some(State::Revoked),
            ),
            // Not found.
            (200, "", Some(State::Refused)),
            (200, " \n", Some(State::Refused)),
            (
                401,
                r#"{"code":16,"message":"token is blacklisted"}"#,
                Some(State::Refused),
            ),
            (403, "", Some(State::Refused)),
            (500, r#"{"result":{"id":"$"}}"#, None),
            (404, "", None),
            (302, "", None),
            (200, r#"{"error":{"code":14}}"#, None),
            (200, r#"{"result":{"id":"$"},"error":{}}"#, None),
            (200, r#"{"result":{}}"#, None),
            (200, "{}", None),
            (
                200,
                r#"{"result":{"id":"00000000-0000-0000-0000-000000000001"}}"#,
                None,
            ),
            (
                200,
                r#"{"result":{"id":"$","blacklisted":{"flag":"true"}}}"#,
                None,
            ),
            (200, r#"{"result":{"id":"$","blacklisted":true}}"#, None),
            (200, r#"{"result":["#, None),
            (200, "<html>", None),
            (200, "[]", None),
        ] {
            assert_eq!(read(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn only_a_boolean_active_of_a_200_is_an_answer_of_introspection() {
        for (status, body, expected) in [
            (200, r#"{"active":true}"#, Some(State::Active)),
            (200, r#"{"active":false}"#, Some(State::Refused)),
            (200, r#"{"active":"true"}"#, None),
            (200, r#"{"active":1}"#, None),
            (200, r#"{"active":null}"#, None),
            (200, r#"{"active":true,"active":false}"#, None),
            (200, "{}", None),
            (200, "", None),
            (401, r#"{"active":true}"#, None),
            (201, r#"{"active":true}"#, None),
        ] {
            assert_eq!(
                read_introspection(&answer(status, body)).ok(),
                expected,
                "{status} {body}"
            );
        }
    }
}
