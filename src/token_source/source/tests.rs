//! Tests of [`TokenSource`]: most with a scripted request under paused time, a few over real
//! sockets.

mod files;
mod sick;

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
use crate::token_source::{TokenEndpoint, fetch_once};

const BUSY: FetchError = FetchError::Status(503);
const TIMEOUTS: FetchTimeouts = FetchTimeouts {
    connect: Duration::from_secs(3),
    total: Duration::from_secs(15),
};

/// Follows tokio's clock, so that pausing affects both, and can be moved separately.
struct TestClock {
    start: Instant,
    moved: AtomicI64,
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.moved.load(Ordering::Relaxed)).plus(self.start.elapsed())
    }

    fn uptime(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The authority's reaction to request number `n`: its delay, and a lifetime in milliseconds or an
/// error.
type Reaction = (u64, Result<u64, Failure>);

struct World {
    source: TokenSource,
    clock: Arc<TestClock>,
    start: Instant,
    asked: Arc<Mutex<Vec<Instant>>>,
    /// Signals a change of the credential's files.
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
        let endpoint = TokenEndpoint::Url("http://192.0.2.1/".parse().unwrap());
        let mut config = Config {
            client_id: "legacy".into(),
            authentication: testing::secret_basic("/nowhere".into()),
            ..Config::without_client("hub", endpoint, TIMEOUTS)
        };
        change(&mut config);
        let start = Instant::now();
        let clock = Arc::new(TestClock {
            start,
            moved: AtomicI64::new(1_000_000),
        });
        let events = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&events);
        let observer: Observer =
            Arc::new(move |event| log.lock().unwrap().push(format!("{event:?}")));
        let source = TokenSource::new(config, Arc::clone(&clock) as SharedClock, observer);
        Self {
            source,
            clock,
            start,
            asked: Arc::default(),
            changed: Arc::default(),
            events,
        }
    }

    /// Runs the task against a script until the returned sender is used or dropped.
    fn run(
        &self,
        script: impl Fn(usize) -> Reaction + Send + Sync + 'static,
    ) -> (oneshot::Sender<()>, JoinHandle<()>) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (source, asked, clock) = (
            self.source.clone(),
            Arc::clone(&self.asked),
            Arc::clone(&self.clock),
        );
        let changed = Arc::clone(&self.changed);
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            let fetch = || async {
                let requested = Moment {
                    monotonic: Instant::now(),
                    wall: clock.now(),
                };
                let (n, identity) = (asked.lock().unwrap().len(), source.identity());
                asked.lock().unwrap().push(requested.monotonic);
                let (delay, outcome) = script(n);
                tokio::time::sleep(ms(delay)).await;
                outcome.map(|life| {
                    let token = format!("t0k3n{n}").into();
                    Grant {
                        token,
                        lifetime: ms(life),
                        requested,
                        identity,
                    }
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

    /// The times of the requests, in milliseconds since the start.
    fn asked(&self) -> Vec<u128> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .map(|at| (*at - self.start).as_millis())
            .collect()
    }

    async fn token(&self) -> Result<String, TokenUnavailable> {
        self.source
            .token()
            .await
            .map(|token| token.secret().expose_secret().to_owned())
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
    assert_eq!(
        world.source.current().unwrap().secret().expose_secret(),
        "t0k3n1"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_is_not_served_to_its_very_end_and_an_expired_one_never() {
    let world = World::new(|_| {});
    let _task = world.run(|n| {
        if n == 0 {
            (0, Ok(10_000))
        } else {
            failing(BUSY)
        }
    });
    let token = world.source.token().await.unwrap();
    // The last tenth is reserved for transit and for differing clocks.
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
async fn without_a_running_task_callers_give_up() {
    let world = World::new(|_| {});
    assert_eq!(world.error().await, FetchError::Stopped);
    assert_eq!(world.start.elapsed(), schedule::wait_limit(TIMEOUTS.total));
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
    // Fifty minutes that the monotonic clock does not count.
    world.clock.moved.fetch_add(3_000, Ordering::Relaxed);
    let left = world.source.usable_for(&token);
    assert!(
        (Duration::from_secs(590)..=Duration::from_secs(600)).contains(&left),
        "{left:?}"
    );
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
    let caller = tokio::spawn(async move {
        source
            .token()
            .await
            .unwrap()
            .secret()
            .expose_secret()
            .to_owned()
    });
    tokio::time::sleep(ms(500)).await;
    task.abort();
    let _task2 = world.run(|_| (1_000, Ok(60_000)));
    assert_eq!(caller.await.unwrap(), "t0k3n1");
    assert_eq!(world.start.elapsed().as_millis(), 1_500);
}

#[tokio::test(start_paused = true)]
async fn status_and_events_tell_in_our_words_and_hold_no_secret() {
    let world = World::new(|_| {});
    let _task = world.run(|n| {
        if n == 0 {
            failing(BUSY)
        } else {
            (0, Ok(60_000))
        }
    });
    let token = world.source.token().await.unwrap();
    let status = world.source.status();
    assert_eq!(status.expires_at, Some(token.expires_at()));
    assert_eq!(
        (status.last_error, status.last_error_at),
        (Some(BUSY), Some(UnixTime(1_000_000)))
    );
    assert_eq!(status.last_refresh, Some(UnixTime(1_000_001)));
    assert_eq!((status.fetches, status.failures), (1, 1));
    let events = world.events.lock().unwrap().clone();
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(
        events[0].contains("Failed") && events[1].contains("Fetched"),
        "{events:?}"
    );
    let said = format!("{events:?} {status:?} {token:?}");
    assert!(
        !said.contains("t0k3n") && !said.contains("hunter2"),
        "{said}"
    );
}

#[test]
fn callers_and_task_may_live_on_different_runtimes() {
    let quiet = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let hot = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
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
    authority.script([
        testing::token("t1", 60),
        testing::answer(401, r#"{"error":"invalid_client"}"#),
    ]);
    let config = testing::config(&authority);
    let token = fetch_once(&config, &clock).await.unwrap();
    assert_eq!(token.secret().expose_secret(), "t1");
    let error = fetch_once(&config, &clock).await.unwrap_err();
    let text = error.to_string();
    let refused =
        "the authority refused the token request: invalid_client, status 401 (http://127.0.0.1:";
    assert!(
        text.starts_with(refused) && text.ends_with("/token)"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_while_a_renewal_is_under_way_waits_for_it_whatever_the_tokens_age() {
    // Refreshed at 2 s; a token is at most 4 s old, which is too young for a replacement.
    let world = World::new(|config| config.refresh_at = 0.5);
    let _task = world.run(|n| (if n == 0 { 0 } else { 1_500 }, Ok(4_000)));
    let old = world.source.token().await.unwrap();
    while world.asked().len() < 2 {
        assert!(
            world.source.replacement(&old).await.is_none(),
            "nothing is under way"
        );
        tokio::time::sleep(ms(10)).await;
    }
    let new = world.source.replacement(&old).await.unwrap();
    assert_eq!(new.secret().expose_secret(), "t0k3n1");
    assert_eq!(world.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_once_for_all_and_used_until_then() {
    let world = World::new(|_| {});
    let _task = world.run(|n| (if n == 0 { 0 } else { 500 }, Ok(3_600_000)));
    let old = world.source.token().await.unwrap();
    assert!(
        world.source.replacement(&old).await.is_none(),
        "it is young"
    );
    tokio::time::sleep(ms(5_000)).await;
    let callers = futures_util::future::join_all((0..100).map(|_| world.source.replacement(&old)));
    let (replaced, ()) = tokio::join!(callers, async {
        tokio::time::sleep(ms(250)).await;
        assert_eq!(
            world.source.current().unwrap().serial(),
            old.serial(),
            "until the new one is there"
        );
    });
    let new = world.source.current().unwrap();
    assert!(replaced.iter().all(|token| {
        token
            .as_ref()
            .is_some_and(|token| token.serial() == new.serial())
    }));
    assert_eq!(world.asked().len(), 2);
    // A late caller with the old token gets the new one without a fetch.
    assert_eq!(
        world.source.replacement(&old).await.unwrap().serial(),
        new.serial()
    );
    // The new token is refused as well: no fetch follows for half a minute.
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
async fn a_token_that_was_fetched_for_a_refusal_is_noted_once_when_it_is_accepted() {
    let world = World::new(|_| {});
    let _task = world.run(|_| (0, Ok(3_600_000)));
    let first = world.source.token().await.unwrap();
    let ended_early = || world.source.0.refusals.lock().unwrap().short_lived();
    world.source.note_accepted(&first);
    assert_eq!(
        world.source.0.successor.load(Ordering::Relaxed),
        0,
        "it replaced none"
    );
    tokio::time::sleep(ms(6_000)).await;
    let second = world.source.replacement(&first).await.unwrap();
    world.source.note_accepted(&first);
    assert_eq!(
        world.source.0.successor.load(Ordering::Relaxed),
        second.serial(),
        "not yet"
    );
    world.source.note_accepted(&second);
    world.source.note_accepted(&second);
    // Counted once: two more make three.
    assert_eq!([ended_early(), ended_early()], [None, Some(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_while_the_authority_fails_takes_no_token_away() {
    let world = World::new(|_| {});
    let _task = world.run(|n| {
        if n == 0 {
            (0, Ok(3_600_000))
        } else {
            failing(BUSY)
        }
    });
    let old = world.source.token().await.unwrap();
    tokio::time::sleep(ms(6_000)).await;
    assert!(world.source.replacement(&old).await.is_none());
    assert!(world.source.current().is_some());
    tokio::time::sleep(ms(60_000)).await;
    assert!(world.source.replacement(&old).await.is_none());
    assert!(world.source.current().is_some());
    // An authority that returns the same token again causes no replay.
    let same = World::new(|_| {});
    let (_stop, _task) = same.run(|_| (0, Ok(3_600_000)));
    let old = same.source.token().await.unwrap();
    let (requested, identity) = (same.source.now(), [0; 32]);
    let again = Grant {
        token: old.secret().clone(),
        lifetime: ms(60_000),
        requested,
        identity,
    };
    same.source.put(same.source.accept(again).unwrap());
    assert!(same.source.replacement(&old).await.is_none());
}
