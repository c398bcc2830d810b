//! Facts about [`TokenSource`]: most with a scripted request under paused time, a few over real sockets.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::task::Change;
use super::*;
use crate::domain::clock::{Clock, SystemClock, UnixTime};
use crate::domain::oauth::ErrorCode;
use crate::domain::secret::ExposeSecret;
use crate::http_client::{FetchTimeouts, HttpError};
use crate::token_source::access_token::Grant;
use crate::token_source::error::Failure;
use crate::token_source::testing::{self, Authority};
use crate::token_source::{Authentication, TokenEndpoint, fetch_once};

const BUSY: FetchError = FetchError::Status(503);
const TIMEOUTS: FetchTimeouts =
    FetchTimeouts { connect: Duration::from_secs(3), total: Duration::from_secs(15) };

/// Follows tokio's clock, so that pausing it pauses both, and can be moved on its own.
struct TestClock {
    start: Instant,
    moved: AtomicI64,
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.moved.load(Ordering::Relaxed)).plus(self.start.elapsed())
    }
}

/// How the authority reacts to the request number `n`: after how long, and with a lifetime in milliseconds or an error.
type Reaction = (u64, Result<u64, Failure>);

struct World {
    source: TokenSource,
    clock: Arc<TestClock>,
    start: Instant,
    asked: Arc<Mutex<Vec<Instant>>>,
    /// Rung when the credential's files have changed.
    changed: Arc<Notify>,
    events: Arc<Mutex<Vec<String>>>,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn failing(error: FetchError) -> Reaction {
    (10, Err(error.into()))
}

impl World {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            name: "hub".into(),
            endpoint: TokenEndpoint::Url("http://192.0.2.1/".parse().unwrap()),
            client_id: "legacy".into(),
            authentication: Authentication::SecretBasic { secret_file: "/nowhere".into() },
            ca_file: None,
            timeouts: TIMEOUTS,
            scopes: crate::domain::scope::ScopeSet::default(),
            audiences: Vec::new(),
            resources: Vec::new(),
            extra_parameters: Vec::new(),
            refresh_at: 0.75,
            prefetch: false,
            kept_at: None,
            local_api: false,
            rotation: None,
        };
        change(&mut config);
        let start = Instant::now();
        let clock = Arc::new(TestClock { start, moved: AtomicI64::new(1_000_000) });
        let events = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&events);
        let observer: Observer = Arc::new(move |event| log.lock().unwrap().push(format!("{event:?}")));
        let source = TokenSource::new(config, Arc::clone(&clock) as SharedClock, observer);
        Self { source, clock, start, asked: Arc::default(), changed: Arc::default(), events }
    }

    /// Runs the task against a script. It ends when the returned sender is used or dropped.
    fn run(
        &self,
        script: impl Fn(usize) -> Reaction + Send + Sync + 'static,
    ) -> (oneshot::Sender<()>, JoinHandle<()>) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (source, asked, clock) = (self.source.clone(), Arc::clone(&self.asked), Arc::clone(&self.clock));
        let changed = Arc::clone(&self.changed);
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            let fetch = || async {
                let requested = Moment { monotonic: Instant::now(), wall: clock.now() };
                let (n, identity) = (asked.lock().unwrap().len(), source.identity());
                asked.lock().unwrap().push(requested.monotonic);
                let (delay, outcome) = script(n);
                tokio::time::sleep(ms(delay)).await;
                outcome.map(|life| {
                    let token = format!("t0k3n{n}").into();
                    Grant { token, lifetime: ms(life), requested, identity }
                })
            };
            let changes = || async {
                changed.notified().await;
                source.set_identity([source.identity()[0] + 1; 32]);
                Change::Identity
            };
            source.drive(shutdown, fetch, changes).await;
        });
        (stop, task)
    }

    /// When the authority was asked, in milliseconds since the start.
    fn asked(&self) -> Vec<u128> {
        self.asked.lock().unwrap().iter().map(|at| (*at - self.start).as_millis()).collect()
    }

    async fn token(&self) -> Result<String, TokenUnavailable> {
        self.source.token().await.map(|token| token.secret().expose_secret().to_owned())
    }

    async fn error(&self) -> FetchError {
        self.source.token().await.unwrap_err().error
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_concurrent_callers_cause_one_request() {
    let world = World::new(|_| {});
    let _task = world.run(|_| (300, Ok(3_600_000)));
    let callers: Vec<_> = (0..1_000)
        .map(|n| {
            let source = world.source.clone();
            tokio::spawn(async move {
                tokio::time::sleep(ms(n % 400)).await;
                source.token().await.unwrap().serial()
            })
        })
        .collect();
    let mut serials = Vec::new();
    for caller in callers {
        serials.push(caller.await.unwrap());
    }
    serials.dedup();
    assert_eq!(serials.len(), 1);
    assert_eq!(world.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_before_the_first_need_unless_prefetch_is_set() {
    let lazy = World::new(|_| {});
    let _task = lazy.run(|_| (10, Ok(60_000)));
    let eager = World::new(|config| config.prefetch = true);
    let _task2 = eager.run(|_| (10, Ok(60_000)));
    tokio::time::sleep(ms(20_000)).await;
    assert!(lazy.asked().is_empty() && lazy.source.current().is_none());
    assert_eq!(eager.asked(), [0]);
    assert!(eager.source.current().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_two_second_life_serves_steady_load_without_a_gap() {
    let world = World::new(|_| {});
    let _task = world.run(|_| (100, Ok(2_000)));
    world.token().await.unwrap();
    for _ in 0..4_000 {
        assert!(world.source.current().is_some());
        tokio::time::sleep(ms(5)).await;
    }
    let asked = world.asked();
    assert!((12..=16).contains(&asked.len()), "{asked:?}");
    for pair in asked.windows(2) {
        assert!((1_400..=1_601).contains(&(pair[1] - pair[0])), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_current_token_is_served_while_the_next_is_fetched() {
    let world = World::new(|_| {});
    let _task = world.run(|n| (if n == 0 { 0 } else { 4_000 }, Ok(100_000)));
    assert_eq!(world.token().await.unwrap(), "t0k3n0");
    while world.asked().len() < 2 {
        tokio::time::sleep(ms(10)).await;
    }
    assert_eq!(world.token().await.unwrap(), "t0k3n0");
    tokio::time::sleep(ms(4_100)).await;
    assert_eq!(world.source.current().unwrap().secret().expose_secret(), "t0k3n1");
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_token_is_noticed_by_nobody() {
    let world = World::new(|_| {});
    // Down from 30 s on: the refresh at about 45 s and its tries after 2, 4 and so on fail; up again before 60 s.
    let start = world.start;
    let _task = world.run(move |_| match start.elapsed().as_secs() {
        30..=50 => failing(BUSY),
        _ => (10, Ok(60_000)),
    });
    world.token().await.unwrap();
    for _ in 0..200 {
        tokio::time::sleep(ms(1_000)).await;
        assert!(world.source.current().is_some());
    }
    assert_eq!(world.source.status().last_error, Some(BUSY));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_not_served_to_its_very_end_and_an_expired_one_never() {
    let world = World::new(|_| {});
    let _task = world.run(|n| if n == 0 { (0, Ok(10_000)) } else { failing(BUSY) });
    let token = world.source.token().await.unwrap();
    // The last tenth is for the way, and for other clocks.
    let ends = world.start + ms(9_000);
    while Instant::now() < ends {
        assert_eq!(world.source.token().await.unwrap().serial(), token.serial());
        tokio::time::sleep(ms(7)).await;
    }
    assert!(world.source.current().is_none());
    assert_eq!(world.error().await, BUSY);
    for _ in 0..1_000 {
        assert!(world.source.current().is_none());
        tokio::time::sleep(ms(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn three_tries_a_second_apart_then_everybody_waiting_gets_the_failure() {
    let world = World::new(|_| {});
    let _task = world.run(|_| failing(BUSY));
    let unavailable = world.source.token().await.unwrap_err();
    assert_eq!(unavailable.error, BUSY);
    assert_eq!(unavailable.retry_after_secs(), 2, "rounded up");
    let asked = world.asked();
    assert_eq!(asked.len(), 3);
    for pair in asked.windows(2) {
        assert!((1_000..=1_202).contains(&(pair[1] - pair[0])), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_sick_authority_get_the_remembered_failure_and_cause_one_try_a_second() {
    let world = World::new(|_| {});
    let _task = world.run(|_| failing(BUSY));
    world.error().await;
    for _ in 0..30_000 {
        let before = Instant::now();
        assert_eq!(world.error().await, BUSY);
        // The one that causes a try, and those beside it, wait for that.
        assert!(before.elapsed() <= ms(12), "{:?}", before.elapsed());
        tokio::time::sleep(ms(10)).await;
    }
    let asked = world.asked();
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 1_000), "{asked:?}");
    assert!(asked.len() > 200, "{}", asked.len());
}

#[tokio::test(start_paused = true)]
async fn without_callers_a_sick_authority_is_asked_less_and_less() {
    let world = World::new(|config| config.prefetch = true);
    let _task = world.run(|_| failing(BUSY));
    tokio::time::sleep(ms(300_000)).await;
    // 3 in a row, then after 2 + 4 + 8 + 16 + 32 + 4 × 60 s, each up to a tenth shorter.
    let asked = world.asked().len();
    assert!((3 + 8..=3 + 10).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_comes_back_is_found_again_within_two_seconds_however_it_was_sick() {
    let hangs: Reaction = (3_600_000, Ok(60_000));
    for sick in [failing(BUSY), failing(FetchError::Http(HttpError::Connect)), hangs] {
        for outage in [1_000, 7_000, 61_000, 600_000] {
            let world = World::new(|_| {});
            let start = world.start;
            let _task =
                world.run(move |_| if start.elapsed() < ms(outage) { sick } else { (10, Ok(60_000)) });
            while start.elapsed() < ms(outage) {
                let source = world.source.clone();
                tokio::spawn(async move { source.token().await });
                tokio::time::sleep(ms(50)).await;
            }
            while world.source.current().is_none() {
                let source = world.source.clone();
                tokio::spawn(async move { source.token().await });
                tokio::time::sleep(ms(50)).await;
                // A try that hangs has to end first: there is never another beside it.
                let hangs = if sick.0 > 1_000 { TIMEOUTS.total } else { ms(0) };
                assert!(start.elapsed() < ms(outage + 2_000) + hangs, "{sick:?} {outage}");
            }
            let asked = world.asked();
            assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 1_000), "{sick:?}: {asked:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_definite_refusal_is_not_repeated_in_a_hurry() {
    let world = World::new(|_| {});
    let refused = FetchError::Refused { code: ErrorCode::InvalidClient, status: 401 };
    let _task = world.run(move |n| if n < 2 { failing(refused) } else { (10, Ok(60_000)) });
    assert_eq!(world.error().await, refused);
    assert_eq!(world.asked(), [0]);
    // The secret has been put right: it is found out without anybody asking.
    tokio::time::sleep(ms(6_100)).await;
    assert_eq!(world.asked().len(), 3);
    assert_eq!(world.token().await.unwrap(), "t0k3n2");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_can_never_work_is_not_asked_for_in_a_hurry_however_many_callers_ask() {
    let refused = FetchError::Refused { code: ErrorCode::InvalidScope, status: 200 };
    for error in [refused, FetchError::ErrorAnswer(200), FetchError::Malformed, FetchError::TokenType("DPoP")]
    {
        let world = World::new(|_| {});
        let _task = world.run(move |_| failing(error));
        while world.start.elapsed() < ms(20_000) {
            let before = Instant::now();
            assert_eq!(world.error().await, error);
            assert!(before.elapsed() <= ms(12), "{:?}", before.elapsed());
            tokio::time::sleep(ms(50)).await;
        }
        // After 2, 4 and 8 s, each up to a tenth less.
        assert_eq!(world.asked().len(), 4, "{error}: {:?}", world.asked());
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let world = World::new(|_| {});
    let wait = Failure { error: FetchError::Status(429), retry_after: Some(Duration::from_secs(30)) };
    let _task = world.run(move |n| if n == 0 { (0, Err(wait)) } else { (0, Ok(60_000)) });
    assert_eq!(world.source.token().await.unwrap_err().retry_after_secs(), 30);
    tokio::time::sleep(ms(29_900)).await;
    assert_eq!(world.asked().len(), 1);
    tokio::time::sleep(ms(200)).await;
    assert_eq!(world.asked().len(), 2);
    world.token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_hangs_keeps_a_caller_for_the_total_time_and_others_not_at_all() {
    let world = World::new(|_| {});
    let _task = world.run(|_| (3_600_000, Ok(60_000)));
    assert_eq!(world.error().await, FetchError::Http(HttpError::Timeout));
    assert!((15_000..15_100).contains(&world.start.elapsed().as_millis()));
    let before = Instant::now();
    assert_eq!(world.error().await, FetchError::Http(HttpError::Timeout));
    assert_eq!(before.elapsed(), ms(0), "the failure is remembered");
    tokio::time::sleep(ms(45_000)).await;
    assert!(world.asked().windows(2).all(|pair| pair[1] - pair[0] >= 15_000), "{:?}", world.asked());
}

#[tokio::test(start_paused = true)]
async fn a_slow_authority_gives_every_waiting_caller_the_answer_of_the_one_fetch() {
    for (total, takes) in [(15_000, 14_500), (30_000, 29_000), (2_000, 1_900)] {
        let world = World::new(|config| config.timeouts.total = ms(total));
        let _task = world.run(move |_| (takes, Ok(3_600_000)));
        let callers = (0..100).map(|n| {
            let source = world.source.clone();
            async move {
                tokio::time::sleep(ms(takes * n / 100)).await;
                source.token().await.map(|token| token.serial())
            }
        });
        let serials = futures_util::future::join_all(callers).await;
        assert!(serials.iter().all(|serial| serial.is_ok() && *serial == serials[0]), "{serials:?}");
        assert_eq!(world.asked(), [0]);
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_never_more_than_one_fetch_under_way_whatever_happens() {
    let world = World::new(|_| {});
    let (most, now) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let (seen, under_way) = (most.clone(), now.clone());
    let source = world.source.clone();
    let clock = world.clock.clone();
    let task = tokio::spawn(async move {
        let fetch = || {
            let (seen, under_way, clock) = (seen.clone(), under_way.clone(), clock.clone());
            async move {
                // Dropped with the future, also when that is cut off.
                let _counted = Counted::new(under_way, &seen);
                tokio::time::sleep(ms(fastrand::u64(0..20_000))).await;
                let requested = Moment { monotonic: Instant::now(), wall: clock.now() };
                if fastrand::bool() {
                    return Err(Failure::from(BUSY));
                }
                Ok(Grant { token: "t".into(), lifetime: ms(3_000), requested, identity: [0; 32] })
            }
        };
        let changes = || async {
            tokio::time::sleep(ms(7_777)).await;
            Change::Identity
        };
        source.drive(std::future::pending(), fetch, changes).await;
    });
    for _ in 0..2_000 {
        let source = world.source.clone();
        tokio::spawn(async move {
            if let Ok(token) = source.token().await {
                source.replacement(&token).await;
            }
        });
        tokio::time::sleep(ms(100)).await;
    }
    assert_eq!(*most.lock().unwrap(), 1);
    task.abort();
}

/// One fetch under way, as long as it lives.
struct Counted(Arc<Mutex<u32>>);

impl Counted {
    fn new(under_way: Arc<Mutex<u32>>, most: &Mutex<u32>) -> Self {
        let mut count = under_way.lock().unwrap();
        *count += 1;
        let mut most = most.lock().unwrap();
        *most = count.max(*most);
        drop(count);
        Self(under_way)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.lock().unwrap() -= 1;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_running_task_callers_give_up() {
    let world = World::new(|_| {});
    assert_eq!(world.error().await, FetchError::Stopped);
    assert_eq!(world.start.elapsed(), schedule::wait_limit(TIMEOUTS.total));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expired_on_its_way_is_a_failure_with_backoff() {
    let world = World::new(|_| {});
    let _task = world.run(|_| (1_500, Ok(1_000)));
    assert_eq!(world.error().await, FetchError::Expired);
    tokio::time::sleep(ms(30_000)).await;
    assert!(world.asked().len() <= 3 + 4, "{:?}", world.asked());
}

#[tokio::test(start_paused = true)]
async fn after_sleep_of_the_machine_the_next_caller_gets_a_new_token() {
    let world = World::new(|_| {});
    let _task = world.run(|_| (10, Ok(3_600_000)));
    assert_eq!(world.token().await.unwrap(), "t0k3n0");
    world.clock.moved.fetch_add(7_200, Ordering::Relaxed);
    assert!(world.source.current().is_none());
    assert_eq!(world.token().await.unwrap(), "t0k3n1");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_refreshes_when_it_is_due_by_the_wall_clock() {
    let world = World::new(|_| {});
    let _task = world.run(|_| (10, Ok(3_600_000)));
    let token = world.source.token().await.unwrap();
    // Fifty minutes, of which the monotonic clock knows nothing.
    world.clock.moved.fetch_add(3_000, Ordering::Relaxed);
    let left = world.source.usable_for(&token);
    assert!((Duration::from_secs(590)..=Duration::from_secs(600)).contains(&left), "{left:?}");
    tokio::time::sleep(ms(31_000)).await;
    assert_eq!(world.asked().len(), 2, "behind the callers' back");
    assert!(world.source.current().is_some());
}

#[tokio::test(start_paused = true)]
async fn shutdown_frees_the_waiting_and_keeps_the_token() {
    let world = World::new(|_| {});
    let (stop, task) = world.run(|n| (if n == 0 { 0 } else { 4_000 }, Ok(10_000)));
    world.token().await.unwrap();
    stop.send(()).unwrap();
    task.await.unwrap();
    assert_eq!(world.token().await.unwrap(), "t0k3n0");
    tokio::time::sleep(ms(10_000)).await;
    assert_eq!(world.error().await, FetchError::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_died_is_replaced_without_losing_its_callers() {
    let world = World::new(|_| {});
    let (_stop, task) = world.run(|_| (1_000, Ok(60_000)));
    let source = world.source.clone();
    let caller =
        tokio::spawn(async move { source.token().await.unwrap().secret().expose_secret().to_owned() });
    tokio::time::sleep(ms(500)).await;
    task.abort();
    let _task2 = world.run(|_| (1_000, Ok(60_000)));
    assert_eq!(caller.await.unwrap(), "t0k3n1");
    assert_eq!(world.start.elapsed().as_millis(), 1_500);
}

#[tokio::test(start_paused = true)]
async fn status_and_events_tell_in_our_words_and_hold_no_secret() {
    let world = World::new(|_| {});
    let _task = world.run(|n| if n == 0 { failing(BUSY) } else { (0, Ok(60_000)) });
    let token = world.source.token().await.unwrap();
    let status = world.source.status();
    assert_eq!(status.expires_at, Some(token.expires_at()));
    assert_eq!((status.last_error, status.last_error_at), (Some(BUSY), Some(UnixTime(1_000_000))));
    assert_eq!(status.last_refresh, Some(UnixTime(1_000_001)));
    assert_eq!((status.fetches, status.failures), (1, 1));
    let events = world.events.lock().unwrap().clone();
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[0].contains("Failed") && events[1].contains("Fetched"), "{events:?}");
    let said = format!("{events:?} {status:?} {token:?}");
    assert!(!said.contains("t0k3n") && !said.contains("hunter2"), "{said}");
}

#[test]
fn callers_and_task_may_live_on_different_runtimes() {
    let quiet = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let hot = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let authority = quiet.block_on(Authority::start());
    authority.script([testing::token("t1", 3_600)]);
    let config = testing::config(&authority);
    let source = TokenSource::new(config, Arc::new(SystemClock), Arc::new(|_| {}));
    quiet.spawn(source.clone().run(std::future::pending()));
    let callers: Vec<_> = (0..1_000)
        .map(|_| {
            let source = source.clone();
            hot.spawn(async move { source.token().await.map(|token| token.serial()) })
        })
        .collect();
    for caller in callers {
        hot.block_on(caller).unwrap().unwrap();
    }
    assert_eq!(authority.requests().len(), 1);
}

#[tokio::test]
async fn one_token_can_be_fetched_without_a_source() {
    let authority = Authority::start().await;
    let clock: SharedClock = Arc::new(SystemClock);
    authority.script([testing::token("t1", 60), testing::answer(401, r#"{"error":"invalid_client"}"#)]);
    let config = testing::config(&authority);
    let token = fetch_once(&config, &clock).await.unwrap();
    assert_eq!(token.secret().expose_secret(), "t1");
    let error = fetch_once(&config, &clock).await.unwrap_err();
    assert_eq!(error.to_string(), "the authority refused the token request: invalid_client, status 401");
}

#[tokio::test(start_paused = true)]
async fn the_token_in_hand_serves_until_changed_files_have_proven_themselves() {
    let world = World::new(|_| {});
    let refused = FetchError::Refused { code: ErrorCode::InvalidClient, status: 401 };
    let start = world.start;
    // The authority learns of the new secret after ten seconds.
    let _task = world.run(move |n| match n {
        0 => (10, Ok(3_600_000)),
        _ if start.elapsed() < ms(11_000) => failing(refused),
        _ => (10, Ok(3_600_000)),
    });
    assert_eq!(world.token().await.unwrap(), "t0k3n0");
    tokio::time::sleep(ms(990)).await;
    world.changed.notify_one();
    while start.elapsed() < ms(11_000) {
        assert_eq!(world.token().await.unwrap(), "t0k3n0");
        tokio::time::sleep(ms(100)).await;
    }
    // At once, after 2 s and after 4 s more: in no hurry. The next one is accepted.
    assert_eq!(world.asked().len(), 1 + 3, "{:?}", world.asked());
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(world.token().await.unwrap(), "t0k3n4");
    assert_eq!(world.asked().len(), 5);
    // And it is the end of it: the next refresh is an hour away.
    tokio::time::sleep(ms(600_000)).await;
    assert_eq!(world.asked().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_new_secret_that_never_works_ends_with_the_token_and_not_before() {
    let world = World::new(|_| {});
    let refused = FetchError::Refused { code: ErrorCode::InvalidClient, status: 401 };
    let _task = world.run(move |n| if n == 0 { (0, Ok(100_000)) } else { failing(refused) });
    assert_eq!(world.token().await.unwrap(), "t0k3n0");
    world.changed.notify_one();
    while world.start.elapsed() < ms(95_000) {
        assert_eq!(world.token().await.unwrap(), "t0k3n0");
        tokio::time::sleep(ms(100)).await;
    }
    assert_eq!(world.error().await, refused);
    assert!(world.asked().len() < 15, "{:?}", world.asked());
}

#[tokio::test(start_paused = true)]
async fn changed_files_end_what_is_under_way_and_every_pause() {
    let world = World::new(|_| {});
    let refused = FetchError::Refused { code: ErrorCode::InvalidClient, status: 401 };
    let _task = world.run(move |n| match n {
        // With the wrong secret that was put there first.
        0..=2 => failing(refused),
        3 => (4_000, Ok(60_000)),
        _ => (10, Ok(60_000)),
    });
    assert_eq!(world.error().await, refused);
    tokio::time::sleep(ms(9_000)).await;
    assert_eq!(world.asked().len(), 3, "in no hurry");
    // The right one now: at once, whatever pause there was; and then another right one while it is being tried.
    world.changed.notify_one();
    tokio::time::sleep(ms(100)).await;
    assert_eq!(world.asked().len(), 4);
    world.changed.notify_one();
    assert_eq!(world.token().await.unwrap(), "t0k3n4");
    tokio::time::sleep(ms(10_000)).await;
    assert_eq!(world.token().await.unwrap(), "t0k3n4", "the answer to the one before it was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_a_rotation_brings_serves_at_once_and_nothing_is_asked_for_it() {
    let world = World::new(|_| {});
    let (source, clock) = (world.source.clone(), world.clock.clone());
    let asked = world.asked.clone();
    let task = tokio::spawn(async move {
        let grant = |token: &str| {
            let requested = Moment { monotonic: Instant::now(), wall: clock.now() };
            Grant { token: token.into(), lifetime: ms(3_600_000), requested, identity: source.identity() }
        };
        let fetch = || async {
            asked.lock().unwrap().push(Instant::now());
            if asked.lock().unwrap().len() > 1 {
                // With the old secret: its answer comes too late.
                tokio::time::sleep(ms(10_000)).await;
            }
            Ok(grant("old"))
        };
        let changes = || async {
            tokio::time::sleep(ms(6_000)).await;
            source.set_identity([source.identity()[0] + 1; 32]);
            Change::Proven(grant("rotated"))
        };
        source.drive(std::future::pending(), fetch, changes).await;
    });
    let old = world.source.token().await.unwrap();
    tokio::time::sleep(ms(5_500)).await;
    let refused = world.source.replacement(&old).await.unwrap();
    assert_eq!(refused.secret().expose_secret(), "rotated", "who waits for another token gets it");
    assert_eq!(world.asked().len(), 2);
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(world.source.current().unwrap().serial(), refused.serial());
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_while_a_renewal_is_under_way_waits_for_it_whatever_the_tokens_age() {
    // Refreshed at 2 s of a token that is 4 s old at most: too young to be suspected.
    let world = World::new(|config| config.refresh_at = 0.5);
    let _task = world.run(|n| (if n == 0 { 0 } else { 1_500 }, Ok(4_000)));
    let old = world.source.token().await.unwrap();
    while world.asked().len() < 2 {
        assert!(world.source.replacement(&old).await.is_none(), "nothing is under way");
        tokio::time::sleep(ms(10)).await;
    }
    let new = world.source.replacement(&old).await.unwrap();
    assert_eq!(new.secret().expose_secret(), "t0k3n1");
    assert_eq!(world.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_once_for_everybody_and_serves_on_until_then() {
    let world = World::new(|_| {});
    let _task = world.run(|n| (if n == 0 { 0 } else { 500 }, Ok(3_600_000)));
    let old = world.source.token().await.unwrap();
    assert!(world.source.replacement(&old).await.is_none(), "it is young");
    tokio::time::sleep(ms(5_000)).await;
    let callers = futures_util::future::join_all((0..100).map(|_| world.source.replacement(&old)));
    let (replaced, ()) = tokio::join!(callers, async {
        tokio::time::sleep(ms(250)).await;
        assert_eq!(world.source.current().unwrap().serial(), old.serial(), "until the new one is there");
    });
    let new = world.source.current().unwrap();
    assert!(replaced.iter().all(|token| token.as_ref().is_some_and(|token| token.serial() == new.serial())));
    assert_eq!(world.asked().len(), 2);
    // Who comes late with the old one gets the new one without a fetch.
    assert_eq!(world.source.replacement(&old).await.unwrap().serial(), new.serial());
    // The new one is refused as well: it stays, for half a minute whatever happens.
    for _ in 0..29 {
        assert!(world.source.replacement(&new).await.is_none());
        assert_eq!(world.source.current().unwrap().serial(), new.serial());
        tokio::time::sleep(ms(1_000)).await;
    }
    assert_eq!(world.asked().len(), 2);
    tokio::time::sleep(ms(1_000)).await;
    assert!(world.source.replacement(&new).await.is_some());
    assert_eq!(world.asked().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_while_the_authority_is_sick_takes_no_token_from_anybody() {
    let world = World::new(|_| {});
    let _task = world.run(|n| if n == 0 { (0, Ok(3_600_000)) } else { failing(BUSY) });
    let old = world.source.token().await.unwrap();
    tokio::time::sleep(ms(6_000)).await;
    assert!(world.source.replacement(&old).await.is_none());
    assert!(world.source.current().is_some());
    tokio::time::sleep(ms(60_000)).await;
    assert!(world.source.replacement(&old).await.is_none());
    assert!(world.source.current().is_some());
    // Nor does an authority that gives the same token again cause a replay.
    let same = World::new(|_| {});
    let (_stop, _task) = same.run(|_| (0, Ok(3_600_000)));
    let old = same.source.token().await.unwrap();
    let (requested, identity) = (same.source.now(), [0; 32]);
    let again = Grant { token: old.secret().clone(), lifetime: ms(60_000), requested, identity };
    same.source.put(same.source.accept(again).unwrap());
    assert!(same.source.replacement(&old).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pause_never_outlasts_a_token_whose_authority_is_back() {
    for back in [41_000, 45_000, 50_000, 52_000] {
        let world = World::new(|_| {});
        let start = world.start;
        // Down from 5 s on: many failures, so that the pauses are long when the token nears its end at 55 s.
        let _task = world.run(move |n| {
            let down = (5_000..back).contains(&start.elapsed().as_millis());
            if n > 0 && down { failing(BUSY) } else { (10, Ok(if n == 0 { 60_000 } else { 3_600_000 })) }
        });
        world.token().await.unwrap();
        while start.elapsed() < ms(100_000) {
            assert!(world.source.current().is_some(), "back after {back} ms");
            tokio::time::sleep(ms(100)).await;
        }
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_of_and_read_again() {
    let authority = Authority::start().await;
    authority.script([testing::token("t1", 3_600)]);
    let dir = tempfile::tempdir().unwrap();
    let secret_file = dir.path().join("secret");
    let config = Config {
        authentication: Authentication::SecretBasic { secret_file: secret_file.clone() },
        ..testing::config(&authority)
    };
    let source = TokenSource::new(config, Arc::new(SystemClock), Arc::new(|_| {}));
    let task = tokio::spawn(source.clone().run(std::future::pending()));
    assert_eq!(source.token().await.unwrap_err().error, FetchError::Files);
    assert!(authority.requests().is_empty());
    std::fs::write(&secret_file, "hunter2").unwrap();
    let token = async {
        loop {
            if let Ok(token) = source.token().await {
                return token;
            }
            tokio::time::sleep(ms(20)).await;
        }
    };
    assert_eq!(timeout(ms(30_000), token).await.unwrap().secret().expose_secret(), "t1");
    task.abort();
}
