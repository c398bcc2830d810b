//! Facts about [`TokenSource`]: most with a scripted request under paused time, a few over real sockets.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::domain::clock::{Clock, SystemClock, UnixTime};
use crate::domain::oauth::ErrorCode;
use crate::domain::secret::ExposeSecret;
use crate::token_source::testing::{self, Authority};
use crate::token_source::{TokenEndpoint, fetch_once, http_options};

const BUSY: FetchError = FetchError::Status(503);

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
            client_secret: "hunter2".into(),
            auth_method: crate::domain::oauth::ClientAuthMethod::ClientSecretBasic,
            scopes: crate::domain::scope::ScopeSet::default(),
            audiences: Vec::new(),
            resources: Vec::new(),
            extra_parameters: Vec::new(),
            refresh_at: 0.75,
            prefetch: false,
        };
        change(&mut config);
        let start = Instant::now();
        let clock = Arc::new(TestClock { start, moved: AtomicI64::new(1_000_000) });
        let events = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&events);
        let observer: Observer = Arc::new(move |event| log.lock().unwrap().push(format!("{event:?}")));
        let http = HttpClient::new(http_options(None)).unwrap();
        let source = TokenSource::new(config, http, Arc::clone(&clock) as SharedClock, observer);
        Self { source, clock, start, asked: Arc::default(), events }
    }

    /// Runs the task against a script. It ends when the returned sender is used or dropped.
    fn run(
        &self,
        script: impl Fn(usize) -> Reaction + Send + Sync + 'static,
    ) -> (oneshot::Sender<()>, JoinHandle<()>) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (source, asked, clock) = (self.source.clone(), Arc::clone(&self.asked), Arc::clone(&self.clock));
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            let fetch = || async {
                let requested = Moment { monotonic: Instant::now(), wall: clock.now() };
                let n = asked.lock().unwrap().len();
                asked.lock().unwrap().push(requested.monotonic);
                let (delay, outcome) = script(n);
                sleep(ms(delay)).await;
                outcome.map(|life| Grant { token: format!("t0k3n{n}").into(), lifetime: ms(life), requested })
            };
            source.drive(shutdown, fetch).await;
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
                sleep(ms(n % 400)).await;
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
    sleep(ms(20_000)).await;
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
        sleep(ms(5)).await;
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
        sleep(ms(10)).await;
    }
    assert_eq!(world.token().await.unwrap(), "t0k3n0");
    sleep(ms(4_100)).await;
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
        sleep(ms(1_000)).await;
        assert!(world.source.current().is_some());
    }
    assert_eq!(world.source.status().last_error, Some(BUSY));
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_never_served() {
    let world = World::new(|_| {});
    let _task = world.run(|n| if n == 0 { (0, Ok(10_000)) } else { failing(BUSY) });
    let token = world.source.token().await.unwrap();
    let expires = world.start + ms(10_000);
    while Instant::now() < expires {
        assert_eq!(world.source.token().await.unwrap().serial(), token.serial());
        sleep(ms(7)).await;
    }
    assert!(world.source.current().is_none());
    let before = Instant::now();
    assert_eq!(world.error().await, BUSY);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn three_tries_then_everybody_waiting_gets_the_failure() {
    let world = World::new(|_| {});
    let _task = world.run(|_| failing(BUSY));
    let unavailable = world.source.token().await.unwrap_err();
    assert_eq!(unavailable.error, BUSY);
    assert_eq!(unavailable.retry_after_secs(), 2);
    let asked = world.asked();
    assert_eq!(asked.len(), 3);
    assert!((85..=140).contains(&asked[1]), "{asked:?}");
    assert!((310..=520).contains(&(asked[2] - asked[1])), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn callers_during_the_backoff_get_the_remembered_failure_at_once_and_cause_nothing() {
    let world = World::new(|_| {});
    let _task = world.run(|_| failing(BUSY));
    world.error().await;
    let begin = Instant::now();
    for _ in 0..30_000 {
        let before = Instant::now();
        assert_eq!(world.error().await, BUSY);
        assert_eq!(before.elapsed(), Duration::ZERO);
        sleep(ms(10)).await;
    }
    // 2 + 4 + 8 + 16 + 32 + 4 × 60 s, each up to a tenth shorter: five minutes hold nine or ten of them.
    let asked: Vec<_> = world.asked().into_iter().map(|at| at / 1000).collect();
    assert!((3 + 8..=3 + 10).contains(&asked.len()), "{asked:?} in {:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_definite_refusal_is_not_repeated_in_a_hurry() {
    let world = World::new(|_| {});
    let refused = FetchError::Refused { code: ErrorCode::InvalidClient, status: 401 };
    let _task = world.run(move |n| if n < 2 { failing(refused) } else { (10, Ok(60_000)) });
    assert_eq!(world.error().await, refused);
    assert_eq!(world.asked(), [0]);
    // The secret has been put right: it is found out without anybody asking.
    sleep(ms(6_100)).await;
    assert_eq!(world.asked().len(), 3);
    assert_eq!(world.token().await.unwrap(), "t0k3n2");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let world = World::new(|_| {});
    let wait = Failure { error: FetchError::Status(429), retry_after: Some(Duration::from_secs(30)) };
    let _task = world.run(move |n| if n == 0 { (0, Err(wait)) } else { (0, Ok(60_000)) });
    assert_eq!(world.source.token().await.unwrap_err().retry_after_secs(), 30);
    sleep(ms(29_900)).await;
    assert_eq!(world.asked().len(), 1);
    sleep(ms(200)).await;
    assert_eq!(world.asked().len(), 2);
    world.token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_hangs_keeps_a_caller_at_most_sixteen_seconds() {
    let world = World::new(|_| {});
    let _task = world.run(|_| (3_600_000, Ok(60_000)));
    assert_eq!(world.error().await, FetchError::Http(HttpError::Timeout));
    assert!((15_000..16_000).contains(&world.start.elapsed().as_millis()));
    assert_eq!(world.asked().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_a_running_task_callers_give_up() {
    let world = World::new(|_| {});
    assert_eq!(world.error().await, FetchError::Stopped);
    assert_eq!(world.start.elapsed(), schedule::WAIT_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expired_on_its_way_is_a_failure_with_backoff() {
    let world = World::new(|_| {});
    let _task = world.run(|_| (1_500, Ok(1_000)));
    assert_eq!(world.error().await, FetchError::Expired);
    sleep(ms(30_000)).await;
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
async fn shutdown_frees_the_waiting_and_keeps_the_token() {
    let world = World::new(|_| {});
    let (stop, task) = world.run(|n| (if n == 0 { 0 } else { 4_000 }, Ok(10_000)));
    world.token().await.unwrap();
    stop.send(()).unwrap();
    task.await.unwrap();
    assert_eq!(world.token().await.unwrap(), "t0k3n0");
    sleep(ms(10_000)).await;
    assert_eq!(world.error().await, FetchError::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_died_is_replaced_without_losing_its_callers() {
    let world = World::new(|_| {});
    let (_stop, task) = world.run(|_| (1_000, Ok(60_000)));
    let source = world.source.clone();
    let caller =
        tokio::spawn(async move { source.token().await.unwrap().secret().expose_secret().to_owned() });
    sleep(ms(500)).await;
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
    assert_eq!(status.last_refresh, Some(UnixTime(1_000_000)));
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
    let http = HttpClient::new(http_options(None)).unwrap();
    let config = testing::config(&authority);
    let source = TokenSource::new(config, http, Arc::new(SystemClock), Arc::new(|_| {}));
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
    let http = HttpClient::new(http_options(None)).unwrap();
    let clock: SharedClock = Arc::new(SystemClock);
    authority.script([testing::token("t1", 60), testing::answer(401, r#"{"error":"invalid_client"}"#)]);
    let config = testing::config(&authority);
    let token = fetch_once(&config, &http, &clock).await.unwrap();
    assert_eq!(token.secret().expose_secret(), "t1");
    let error = fetch_once(&config, &http, &clock).await.unwrap_err();
    assert_eq!(error.to_string(), "the authority refused the token request: invalid_client, status 401");
}
