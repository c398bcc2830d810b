//! A day of an authority's outages, rotations and clock errors, in paused time and against a model.
//!
//! The verifier, its keys and the parsing of answers are the real ones; clock, network and issuer
//! are simulated (`world`). Tokens of many kinds are sent all day. Then `model` derives from the
//! issuer's answers how each request must be decided, and both logs are compared line by line.

mod complaints;
mod model;
mod timeline;
mod world;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use m2m_sidecar::for_tests::domain::path::NormalPath;
use m2m_sidecar::for_tests::domain::reason::Reason;
use m2m_sidecar::for_tests::jose::provider;
use m2m_sidecar::for_tests::verifier::rules::PathCase;
use m2m_sidecar::for_tests::verifier::{
    Audiences, Authority, AuthorityConfig, Config, CorsPreflight, DpopConfig, Gate,
    IntrospectionClients, KeySource, Mode, Request, RuleConfig, Sender, TokenLocations,
};
use model::{Attempt, Model, Probe, Set, Shown};
use timeline::{Event, Timeline};
use world::{Condition, ISSUER, Issuer, Key, SharedIssuer, SimClock, lock};

const MAX_STALE: Duration = Duration::from_secs(4 * 3600);
/// The lifetime of an ordinary token.
const LIFETIME: i64 = 300;
const STALE_AFTER: usize = 20;

/// One run of the sidecar.
struct Process {
    gate: Gate,
    run: JoinHandle<()>,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    probes: Vec<Probe>,
}

impl Process {
    fn start(clock: &Arc<SimClock>, issuer: &SharedIssuer, state_dir: &std::path::Path) -> Self {
        provider::install();
        let config = AuthorityConfig {
            max_stale: MAX_STALE,
            client_id_claims: vec!["client_id".to_owned()],
            max_token_size: 8 * 1024,
            ..AuthorityConfig::new("users", ISSUER, KeySource::Discovery)
        };
        let authority =
            Authority::new(config, clock.clone(), None, IntrospectionClients::default());
        let asked = issuer.clone();
        let get = Arc::new(move |url, _| {
            let answer = world::answer(asked.clone(), url);
            Box::pin(answer) as std::pin::Pin<Box<dyn Future<Output = _> + Send>>
        });
        let mut source = authority.remote_source(get, state_dir).unwrap();
        let attempts: Arc<Mutex<Vec<Attempt>>> = Arc::default();
        let (fetch, log, issuer) = (source.fetch, attempts.clone(), issuer.clone());
        source.fetch = Arc::new(move || {
            let (fetching, log, issuer) = (fetch(), log.clone(), issuer.clone());
            Box::pin(async move {
                lock(&issuer).given = None;
                lock(&log).push(Attempt {
                    began: Instant::now(),
                    ended: None,
                    given: None,
                });
                let fetched = fetching.await;
                let mut log = lock(&log);
                let attempt = log.last_mut().unwrap();
                attempt.ended = Some(Instant::now());
                attempt.given = lock(&issuer).given.take();
                fetched
            })
        });
        let run = tokio::spawn(authority.keys().clone().run(source, Arc::new(|_| ())));
        let config = Config {
            authorities: Vec::new(),
            audiences: Audiences::Any,
            token_locations: TokenLocations::default(),
            verified_token_cache: 10_000,
            rules: vec![RuleConfig {
                paths: vec!["/**".to_owned()],
                ..RuleConfig::default()
            }],
            mode: Mode::Enforce,
            cors_preflight: CorsPreflight::Authenticate,
            allowed_origins: None,
            dpop: DpopConfig::default(),
            path_case: PathCase::Unset,
            forwarded_claims: Vec::new(),
        };
        let gate = Gate::new(&config, vec![authority], clock.clone(), Arc::new(|_| ())).unwrap();
        Self {
            gate,
            run,
            attempts,
            probes: Vec::new(),
        }
    }

    /// Shows tokens, all at the same time.
    async fn show(&mut self, tokens: Vec<Arc<Shown>>) {
        let at = Instant::now();
        let decide = |shown: Arc<Shown>| {
            let gate = &self.gate;
            async move {
                let mut headers = HeaderMap::new();
                headers.insert(
                    AUTHORIZATION,
                    format!("Bearer {}", shown.text).parse().unwrap(),
                );
                let path = NormalPath::parse("/devices").unwrap();
                let request = Request {
                    method: "GET",
                    path: &path,
                    query: None,
                    headers: &headers,
                    client: None,
                    scopes: None,
                    sender: Sender::default(),
                };
                let decision = gate.decide(&request).await;
                Probe {
                    at,
                    shown,
                    decision: decision.map(|_| ()).map_err(|refusal| refusal.reason),
                }
            }
        };
        let probes = futures_util::future::join_all(tokens.into_iter().map(decide)).await;
        self.probes.extend(probes);
    }
}

/// The issuer's side of the day.
struct World {
    clock: Arc<SimClock>,
    issuer: SharedIssuer,
    keys: HashMap<&'static str, Arc<Key>>,
    signer: &'static str,
    unknown_key: Arc<Key>,
    /// By how much the issuer's clock is ahead.
    ahead: i64,
    /// Tokens that live for the whole day, one of each key that ever signed.
    long: Vec<Arc<Shown>>,
    recent: VecDeque<Arc<Shown>>,
    step: usize,
}

impl World {
    fn new(timeline: &Timeline, clock: Arc<SimClock>) -> Self {
        let issuer = Issuer {
            condition: Condition::Good,
            published: Vec::new(),
            max_age: Some(300),
            named_right: true,
            given: None,
        };
        Self {
            clock,
            issuer: Arc::new(Mutex::new(issuer)),
            keys: timeline
                .keys
                .iter()
                .map(|(name, kid)| (*name, Key::new(kid)))
                .collect(),
            signer: timeline.keys[0].0,
            unknown_key: Key::new("unknown_key"),
            ahead: 0,
            long: Vec::new(),
            recent: VecDeque::new(),
            step: 0,
        }
    }

    fn mint(&self, kind: &str, key: &Arc<Key>, kid: Option<&str>, lifetime: i64) -> Arc<Shown> {
        let now = self.clock.at(Instant::now()) + self.ahead;
        let (issued_at, expires_at) = (now, now + lifetime);
        let claims = json!({
            "iss": ISSUER, "sub": "a", "aud": "b", "jti": format!("{kind} {}", fastrand::u64(..)),
            "iat": issued_at, "exp": expires_at,
        });
        let text = key.sign(kid, &claims);
        let label = format!("{kind} {}", self.signer);
        Arc::new(Shown {
            label,
            text,
            kid: kid.map(str::to_owned),
            key: key.clone(),
            issued_at,
            expires_at,
        })
    }

    fn by_signer(&self, kind: &str) -> Arc<Shown> {
        let key = &self.keys[self.signer];
        self.mint(kind, key, Some(&key.kid), LIFETIME)
    }

    fn of_unknown_key(&self) -> Arc<Shown> {
        self.mint(
            "unknown_key",
            &self.unknown_key,
            Some(&format!("x{}", fastrand::u64(..))),
            LIFETIME,
        )
    }

    /// The tokens of one step: groups that are sent one after the other.
    fn tokens(&mut self) -> Vec<Vec<Arc<Shown>>> {
        let every = |n: usize| self.step.is_multiple_of(n);
        let fresh = self.by_signer("fresh");
        let mut groups = vec![vec![fresh.clone()]];
        groups.extend(self.long.iter().map(|token| vec![token.clone()]));
        if every(5) {
            let kid = &self.keys[self.signer].kid;
            groups.push(vec![self.mint(
                "forged",
                &self.unknown_key,
                Some(kid),
                LIFETIME,
            )]);
        }
        if every(6) {
            groups.push(vec![self.mint(
                "nameless",
                &self.keys[self.signer],
                None,
                LIFETIME,
            )]);
        }
        if every(7) {
            groups.push(vec![self.of_unknown_key()]);
        }
        if every(11) {
            groups.push(vec![self.mint(
                "nameless forged",
                &self.unknown_key,
                None,
                LIFETIME,
            )]);
        }
        if every(40) {
            let same = self.mint("burst same", &self.unknown_key, Some("y"), LIFETIME);
            let burst = (0..10)
                .flat_map(|_| [same.clone(), self.of_unknown_key(), self.by_signer("burst")]);
            groups.push(burst.collect());
        }
        self.recent.push_back(fresh);
        if self.recent.len() > STALE_AFTER {
            groups.extend(self.recent.pop_front().map(|old| vec![old]));
        }
        self.step += 1;
        groups
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Condition(condition) => lock(&self.issuer).condition = condition,
            Event::Publish(name) => lock(&self.issuer).published.push(self.keys[name].clone()),
            Event::Withdraw(name) => {
                let key = &self.keys[name];
                lock(&self.issuer)
                    .published
                    .retain(|published| !Arc::ptr_eq(published, key));
            }
            Event::SignWith(name) => {
                self.signer = name;
                let key = self.keys[name].clone();
                self.long
                    .push(self.mint("long", &key, Some(&key.kid), 2 * 86_400));
            }
            Event::MaxAge(max_age) => lock(&self.issuer).max_age = max_age,
            Event::Ahead(seconds) => self.ahead = seconds,
            Event::Restart => {}
        }
    }
}

/// The result of a day.
struct Report {
    /// Seconds, label, decision.
    log: Vec<(i64, String, Result<(), Reason>)>,
    fetches: usize,
    asked: usize,
}

impl Report {
    /// The decision about the first token with this label at or after a time.
    fn answer(&self, from: i64, label: &str) -> Result<(), Reason> {
        let found = self
            .log
            .iter()
            .find(|(at, shown, _)| *at >= from && shown == label);
        found
            .unwrap_or_else(|| panic!("`{label}` is not shown after {from}"))
            .2
    }

    fn count(&self, decision: Result<(), Reason>) -> usize {
        self.log
            .iter()
            .filter(|(_, _, decided)| *decided == decision)
            .count()
    }
}

async fn play(timeline: &Timeline, seed: u64) -> Report {
    fastrand::seed(seed);
    let state_dir = tempfile::tempdir().unwrap();
    let clock = SimClock::new();
    let begin = Instant::now();
    let mut world = World::new(timeline, clock.clone());
    let mut events = timeline.events.iter().peekable();
    let mut report = Report {
        log: Vec::new(),
        fetches: 0,
        asked: 0,
    };
    let (mut process, mut kept) = (None, None);
    while begin.elapsed() < timeline.length {
        let now = begin.elapsed();
        while let Some((_, event)) = events.next_if(|(at, _)| *at <= now) {
            world.apply(event);
            if *event == Event::Restart
                && let Some(ended) = process.take()
            {
                kept = end(ended, &clock, kept, &mut report).await;
            }
        }
        let process =
            process.get_or_insert_with(|| Process::start(&clock, &world.issuer, state_dir.path()));
        for group in world.tokens() {
            process.show(group).await;
        }
        let next = events
            .peek()
            .map_or(timeline.length, |(at, _)| *at)
            .saturating_sub(begin.elapsed());
        let pause = Duration::from_micros(fastrand::u64(20_000_000..40_000_000));
        // Also right after an event.
        tokio::time::sleep(pause.min(next + Duration::from_micros(1700))).await;
    }
    end(process.unwrap(), &clock, kept, &mut report).await;
    report
}

/// Ends a run, compares its log with the model's, and gives the set that it left on disk.
async fn end(
    process: Process,
    clock: &SimClock,
    kept: Option<Set>,
    report: &mut Report,
) -> Option<Set> {
    let now = Instant::now();
    process.run.abort();
    assert!(
        process.run.await.unwrap_err().is_cancelled(),
        "the keys' task failed"
    );
    let attempts = std::mem::take(&mut *lock(&process.attempts));
    let max_stale = i64::try_from(MAX_STALE.as_secs()).unwrap();
    let mut model = Model::new(clock, max_stale, kept, &attempts);
    for probe in &process.probes {
        let seconds = clock.at(probe.at) - 1_800_000_000;
        let expected = model.expects(probe.at, &probe.shown);
        let clock = format!(
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        let label = &probe.shown.label;
        if probe.decision != expected && !model.allows(&probe.shown, probe.decision) {
            let around = model.around(probe.at).join("\n");
            panic!(
                "{clock} {label}: {:?}, not {expected:?}\nfetches:\n{around}",
                probe.decision
            );
        }
        report
            .log
            .push((seconds, probe.shown.label.clone(), probe.decision));
    }
    report.asked += model.check_schedule(now);
    report.fetches += attempts.len();
    model.last_set(now)
}

const HOUR: i64 = 3600;

#[tokio::test(start_paused = true)]
async fn a_day_of_outages_is_decided_as_the_model_says() {
    let day = play(&Timeline::day(), 4).await;
    let answer = |hours: f64, label: &str| {
        #[expect(clippy::cast_possible_truncation, reason = "whole seconds of one day")]
        day.answer((hours * HOUR as f64) as i64, label)
    };
    // In addition to the model.
    assert_eq!(
        answer(0.75, "fresh k1"),
        Ok(()),
        "a short outage has no effect"
    );
    assert_eq!(
        answer(1.80, "fresh k2"),
        Ok(()),
        "a key published before its use is fetched in time"
    );
    assert_eq!(
        answer(2.40, "fresh k2"),
        Err(Reason::IssuedInFuture),
        "a clock 90 s ahead is too much"
    );
    assert_eq!(
        answer(3.10, "long k1"),
        Err(Reason::UnknownKid),
        "a withdrawn key verifies nothing"
    );
    assert_eq!(
        answer(4.01, "fresh k3"),
        Ok(()),
        "an emergency rotation is over in seconds"
    );
    assert_eq!(answer(4.01, "long k2"), Err(Reason::UnknownKid));
    assert_eq!(
        answer(4.53, "fresh k4"),
        Ok(()),
        "a key used before it was published, two minutes later"
    );
    assert_eq!(
        answer(6.20, "fresh k4"),
        Ok(()),
        "no garbage took the keys away"
    );
    assert_eq!(
        answer(7.50, "fresh k5"),
        Err(Reason::KeysUnavailable),
        "the key may exist: not 401"
    );
    assert_eq!(answer(7.50, "long k4"), Ok(()));
    assert_eq!(
        answer(9.10, "fresh k5"),
        Ok(()),
        "a restart in an outage has the keys of the disk"
    );
    assert_eq!(
        answer(12.20, "fresh k5"),
        Err(Reason::KeysUnavailable),
        "older than maxStale"
    );
    assert_eq!(
        answer(12.60, "fresh k5"),
        Err(Reason::KeysUnavailable),
        "on the disk too"
    );
    assert_eq!(answer(13.02, "fresh k5"), Ok(()), "back at once");
    assert_eq!(
        answer(14.25, "fresh k5-again"),
        Ok(()),
        "the same name, another key"
    );
    assert_eq!(answer(23.90, "fresh k8"), Ok(()));
    for reason in [
        Reason::UnknownKid,
        Reason::KeysUnavailable,
        Reason::Signature,
        Reason::Expired,
    ] {
        assert!(
            day.count(Err(reason)) > 100,
            "{reason:?}: {}",
            day.count(Err(reason))
        );
    }
    let (all, good) = (day.log.len(), day.count(Ok(())));
    assert!(all > 20_000 && good > 5_000, "{good} of {all}");
    // Some 2,000 tries in outages, every 30 s; unknown keys caused one fetch in 10 s at most, after
    // a burst of five.
    assert!(
        (500..6000).contains(&day.fetches) && (100..5000).contains(&day.asked),
        "{} {}",
        day.fetches,
        day.asked
    );
}

#[tokio::test(start_paused = true)]
async fn random_hours_are_decided_as_the_model_says() {
    for seed in 1..=6 {
        let timeline = Timeline::random(seed, Duration::from_secs(3600));
        play(&timeline, seed).await;
    }
}

#[tokio::test(start_paused = true)]
#[ignore = "long: thirty random days, some five to ten minutes"]
async fn thirty_random_days_are_decided_as_the_model_says() {
    for seed in 1000..1030 {
        let timeline = Timeline::random(seed, Duration::from_secs(86_400));
        let day = play(&timeline, seed).await;
        println!(
            "seed {seed}: {} decisions, {} fetches, {} asked for",
            day.log.len(),
            day.fetches,
            day.asked
        );
    }
}
