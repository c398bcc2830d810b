//! Schedules token requests: pure arithmetic on moments, so that tests need not wait.
//!
//! Three aims compete. Callers want a token as soon as the authority recovers. A failing authority
//! must get at most one request a second, one at a time. No request is sent without need. So a
//! temporary failure is followed by two retries a second apart, then by pauses that double up to a
//! minute. While callers wait, one retry a second is permitted, and the pauses shorten when the
//! token nears its end.

use std::time::Duration;

use tokio::time::Instant;

use super::error::Failure;

/// A series of tries starts its last one within this time.
const ROW: Duration = Duration::from_secs(5);

/// How many retries follow a first failure at once: a restart or a lost packet is over by then.
const QUICK_TRIES: u32 = 2;

/// The shortest time between the starts of two tries during a failure, with a random change of up
/// to a fifth.
const GAP: Duration = Duration::from_secs(1);

const FIRST_BACKOFF: Duration = Duration::from_secs(2);
const LAST_BACKOFF: Duration = Duration::from_secs(60);

/// The upper limit of an authority's `Retry-After`: a mistaken value must not stop a credential for
/// a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How long before its end a token must be refreshed: at most this time, and at most this share of
/// its lifetime.
const REFRESH_MARGIN: (Duration, f64) = (Duration::from_secs(10), 0.2);

/// How long before its end a token is no longer attached: at most this time, and at most this share
/// of its lifetime. It covers transit and a fast clock on the other side.
const USE_MARGIN: (Duration, f64) = (Duration::from_secs(5), 0.1);

/// The random change of a refresh as a share of the lifetime, so that sidecars that start together
/// do not send requests together.
const REFRESH_JITTER: f64 = 0.05;

/// The shortest time from a fetch to the next refresh, whatever the lifetime.
const MIN_REFRESH: Duration = Duration::from_millis(500);

/// How long a caller waits at most if one try may take `total`: a series of tries and some reserve.
pub(super) fn wait_limit(total: Duration) -> Duration {
    ROW.min(total) + GAP * 2 + total
}

fn margin((most, share): (Duration, f64), lifetime: Duration) -> Duration {
    most.min(lifetime.mul_f64(share))
}

/// The part of a token's lifetime after which it is refreshed. `random` is in `0.0..1.0`.
pub(super) fn refresh_after(lifetime: Duration, refresh_at: f64, random: f64) -> Duration {
    let share = (refresh_at + REFRESH_JITTER * (2.0 * random - 1.0)).clamp(0.0, 1.0);
    let latest = lifetime.saturating_sub(margin(REFRESH_MARGIN, lifetime));
    lifetime.mul_f64(share).max(MIN_REFRESH).min(latest)
}

/// How long a token may be attached.
pub(super) fn usable_for(lifetime: Duration) -> Duration {
    lifetime.saturating_sub(margin(USE_MARGIN, lifetime))
}

/// The pause after this number of successive failures.
fn backoff(failures: u32, random: f64) -> Duration {
    let doubled =
        FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)));
    doubled.min(LAST_BACKOFF).mul_f64(1.0 - 0.1 * random)
}

/// The current token, as far as the schedule needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// Whether it may be attached now.
    pub usable: bool,
    /// The time of its refresh.
    pub refresh_due: Instant,
    /// The end of its use.
    pub usable_until: Instant,
}

/// The inputs of a decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    pub held: Option<Held>,
    /// Whether a try is in progress.
    pub in_flight: bool,
    /// Whether a caller has requested a token without success since the last try ended.
    pub wanted: bool,
    /// Whether the upstream has refused the current token.
    pub refused: bool,
}

impl Situation {
    fn is_needed(&self) -> bool {
        self.wanted && self.held.is_none_or(|held| !held.usable)
    }
}

/// A series of failures.
#[derive(Clone, Copy, Debug)]
struct Failing {
    count: u32,
    /// The start of the first try.
    since: Instant,
    /// Whether a retry of the same request cannot succeed.
    is_final: bool,
    /// The time of a retry without demand.
    pause_ends: Instant,
    /// The authority's `Retry-After`.
    not_before: Option<Instant>,
}

/// The history that decides the next try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The time within which the last try of a series starts.
    row: Duration,
    last_began: Option<Instant>,
    gap: Duration,
    failing: Option<Failing>,
}

impl Pace {
    /// No try yet; one may take `total`.
    pub fn new(total: Duration) -> Self {
        // A try of the full length already uses up a caller's wait.
        Self {
            row: ROW.min(total),
            last_began: None,
            gap: Duration::ZERO,
            failing: None,
        }
    }

    /// Records the start of a try. `random` is in `0.0..1.0`.
    pub fn began(&mut self, now: Instant, random: f64) {
        self.last_began = Some(now);
        self.gap = GAP.mul_f64(1.0 + 0.2 * random);
    }

    /// Records a success.
    pub fn succeeded(&mut self) {
        self.failing = None;
    }

    /// Records a failure. Returns until when callers get it at once; `None` while the series of
    /// tries continues.
    pub fn failed(
        &mut self,
        failure: &Failure,
        now: Instant,
        held: Option<Held>,
        random: f64,
    ) -> Option<Instant> {
        let began = self.last_began.unwrap_or(now);
        let count = self
            .failing
            .map_or(0, |failing| failing.count)
            .saturating_add(1);
        let is_final = !failure.error.is_transient();
        let since = self.failing.map_or(began, |failing| failing.since);
        let quick = count <= QUICK_TRIES && !is_final && now - since < self.row;
        let pauses = if is_final {
            count
        } else {
            count.saturating_sub(QUICK_TRIES)
        };
        let mut pause = backoff(pauses, random);
        if let Some(held) = held.filter(|held| held.usable && !is_final) {
            // Half of the remaining time, so that a long pause does not outlast the token.
            let left = held.usable_until.saturating_duration_since(now);
            pause = pause.min((left / 2).max(GAP));
        }
        let wish = failure
            .retry_after
            .map(|wait| now + wait.min(MAX_RETRY_AFTER));
        let pause_ends = wish.map_or(now + pause, |wish| wish.max(now + pause));
        let before = self
            .failing
            .and_then(|failing| failing.not_before)
            .filter(|until| *until > now);
        let not_before = wish.into_iter().chain(before).max();
        self.failing = Some(Failing {
            count,
            since,
            is_final,
            pause_ends,
            not_before,
        });
        if quick && wish.is_none() {
            return None;
        }
        // A slow failure is kept as long as it took, and at least until the next try.
        let memory = (now + (now - began)).max(began + self.gap.max(GAP));
        Some(if is_final {
            pause_ends
        } else {
            wish.map_or(memory, |wish| wish.max(memory))
        })
    }

    /// The time of the next try if nothing else happens; a past time means now.
    pub fn next(&self, situation: &Situation) -> Option<Instant> {
        if situation.in_flight {
            return None;
        }
        let after_gap = self.last_began.map(|began| began + self.gap);
        let Some(failing) = &self.failing else {
            return match situation.held {
                _ if situation.is_needed() => self.last_began.or(Some(Instant::now())),
                Some(_) if situation.refused => after_gap.or(Some(Instant::now())),
                Some(held) => Some(held.refresh_due),
                None => None,
            };
        };
        let hurried = !failing.is_final && (failing.count <= QUICK_TRIES || situation.is_needed());
        let next = match after_gap {
            Some(after_gap) if hurried => after_gap.min(failing.pause_ends),
            _ => failing.pause_ends,
        };
        Some(failing.not_before.map_or(next, |wish| wish.max(next)))
    }

    /// The number of failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failing.map_or(0, |failing| failing.count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http_client::HttpError;
    use crate::token_source::error::FetchError;

    const BUSY: FetchError = FetchError::Status(503);

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_token_is_refreshed_at_its_share_of_life() {
        assert_eq!(refresh_after(ms(2_000), 0.75, 0.5), ms(1_500));
        assert_eq!(refresh_after(ms(2_000), 0.75, 0.0), ms(1_400));
        assert_eq!(refresh_after(ms(2_000), 0.95, 0.5), ms(1_600));
        assert_eq!(refresh_after(ms(1_000), 0.1, 0.5), ms(500));
        assert_eq!(refresh_after(ms(3_600_000), 0.95, 0.99), ms(3_590_000));
        assert_eq!(usable_for(ms(2_000)), ms(1_800));
        assert_eq!(usable_for(ms(3_600_000)), ms(3_595_000));
    }

    #[test]
    fn pauses_double_to_a_minute() {
        let secs: Vec<u64> = (1..9).map(|n| backoff(n, 0.0).as_secs()).collect();
        assert_eq!(secs, [2, 4, 8, 16, 32, 60, 60, 60]);
    }

    /// Plays failures that each take `takes`; returns the start of each try in milliseconds.
    fn begun(
        failures: usize,
        failure: Failure,
        takes: Duration,
        situation: Situation,
    ) -> Vec<u128> {
        let (start, mut pace, mut began) = (Instant::now(), Pace::new(ms(15_000)), Vec::new());
        let mut now = start;
        for _ in 0..failures {
            pace.began(now, 0.0);
            began.push((now - start).as_millis());
            let ended = now + takes;
            pace.failed(&failure, ended, situation.held, 0.0);
            now = pace.next(&situation).unwrap().max(ended);
        }
        began
    }

    fn situation(wanted: bool) -> Situation {
        Situation {
            held: None,
            in_flight: false,
            wanted,
            refused: false,
        }
    }

    #[test]
    fn a_row_of_three_then_pauses_and_with_callers_one_a_second() {
        let busy = Failure::from(BUSY);
        let alone = begun(7, busy.clone(), ms(10), situation(false));
        assert_eq!(alone, [0, 1_000, 2_000, 4_010, 8_020, 16_030, 32_040]);
        let asked = begun(6, busy, ms(10), situation(true));
        assert_eq!(asked, [0, 1_000, 2_000, 3_000, 4_000, 5_000]);
        // Permanent failures are not retried quickly, however many callers wait: a wrong secret in
        // quick succession locks the client out.
        let wrong = [
            FetchError::Status(401),
            FetchError::ErrorAnswer(200),
            FetchError::Malformed,
        ];
        for error in wrong.into_iter().chain([
            FetchError::TokenType("mac"),
            FetchError::Http(HttpError::Tls),
        ]) {
            assert_eq!(
                begun(4, error.into(), ms(10), situation(true)),
                [0, 2_010, 6_020, 14_030],
                "{error}"
            );
        }
        let wished = Failure {
            retry_after: Some(ms(30_000)),
            ..BUSY.into()
        };
        assert_eq!(begun(2, wished, ms(10), situation(true)), [0, 30_010]);
        let mistyped = Failure {
            retry_after: Some(Duration::MAX),
            ..BUSY.into()
        };
        assert_eq!(begun(2, mistyped, ms(10), situation(true)), [0, 300_010]);
    }

    #[test]
    fn as_its_token_nears_its_end_a_credential_asks_more_often() {
        let now = Instant::now();
        let held = Held {
            usable: true,
            refresh_due: now,
            usable_until: now + ms(20_000),
        };
        let mut pace = Pace::new(ms(15_000));
        for _ in 0..9 {
            pace.failed(&BUSY.into(), now, None, 0.0);
        }
        pace.began(now, 0.0);
        let with = |pace: &mut Pace, held| {
            pace.failed(&BUSY.into(), now, Some(held), 0.0);
            pace.next(&Situation {
                held: Some(held),
                ..situation(false)
            })
            .unwrap()
                - now
        };
        assert_eq!(with(&mut pace, held), ms(10_000));
        assert_eq!(
            with(
                &mut pace,
                Held {
                    usable_until: now + ms(1_200),
                    ..held
                }
            ),
            ms(1_000)
        );
        assert_eq!(
            with(
                &mut pace,
                Held {
                    usable: false,
                    ..held
                }
            ),
            ms(60_000)
        );
        // Permanent failures are not retried quickly then either.
        pace.failed(&FetchError::Malformed.into(), now, Some(held), 0.0);
        assert_eq!(
            pace.next(&Situation {
                held: Some(held),
                ..situation(false)
            })
            .unwrap()
                - now,
            ms(60_000)
        );
    }

    #[test]
    fn beside_a_try_under_way_there_is_never_another() {
        let now = Instant::now();
        for failure in [None, Some(BUSY), Some(FetchError::Http(HttpError::Timeout))] {
            let mut pace = Pace::new(ms(15_000));
            pace.began(now, 0.0);
            if let Some(error) = failure {
                pace.failed(&error.into(), now + ms(5_000), None, 0.0);
            }
            let held = Held {
                usable: false,
                refresh_due: now,
                usable_until: now,
            };
            for held in [None, Some(held)] {
                let under_way = Situation {
                    held,
                    in_flight: true,
                    wanted: true,
                    refused: true,
                };
                assert_eq!(pace.next(&under_way), None);
                assert!(
                    pace.next(&Situation {
                        in_flight: false,
                        ..under_way
                    })
                    .is_some()
                );
            }
        }
    }

    #[test]
    fn an_authoritys_wish_outlasts_the_failures_after_it() {
        let now = Instant::now();
        let mut pace = Pace::new(ms(15_000));
        pace.began(now, 0.0);
        let wish = Failure {
            retry_after: Some(ms(60_000)),
            ..FetchError::Status(429).into()
        };
        pace.failed(&wish, now + ms(10), None, 0.0);
        // A changed file may start a try nevertheless.
        pace.began(now + ms(1_000), 0.0);
        pace.failed(&BUSY.into(), now + ms(1_010), None, 0.0);
        assert_eq!(pace.next(&situation(true)).unwrap() - now, ms(60_010));
    }

    #[test]
    fn a_failure_is_remembered_as_long_as_it_took_and_until_the_next_try() {
        let now = Instant::now();
        let told = |failure: Failure, took: u64| {
            let mut pace = Pace::new(ms(5_000));
            let tell = |pace: &mut Pace| {
                pace.began(now, 0.0);
                pace.failed(&failure, now + ms(took), None, 0.0)
                    .map(|until| until - (now + ms(took)))
            };
            [tell(&mut pace), tell(&mut pace), tell(&mut pace)]
        };
        assert_eq!(told(BUSY.into(), 10), [None, None, Some(ms(990))]);
        assert_eq!(told(BUSY.into(), 4_000), [None, None, Some(ms(4_000))]);
        assert_eq!(told(BUSY.into(), 5_000), [Some(ms(5_000)); 3]);
        assert_eq!(
            told(FetchError::Status(401).into(), 10),
            [Some(ms(2_000)), Some(ms(4_000)), Some(ms(8_000))]
        );
        let wished = Failure {
            retry_after: Some(ms(7_000)),
            ..BUSY.into()
        };
        assert_eq!(told(wished, 10)[0], Some(ms(7_000)));
    }

    proptest! {
        #[test]
        fn every_delay_keeps_its_bounds(
            life in 1_000_u64..86_400_000, at in 0.1_f64..0.95, random in 0.0_f64..1.0, failures in any::<u32>(),
        ) {
            let life = ms(life);
            let after = refresh_after(life, at, random);
            prop_assert!(after >= MIN_REFRESH.min(life / 2));
            prop_assert!(after < usable_for(life) && usable_for(life) < life);
            let wait = backoff(failures, random);
            prop_assert!(wait > ms(1_000) && wait <= LAST_BACKOFF);
        }

        #[test]
        fn a_sick_authority_is_asked_once_a_second_at_most_whatever_happens(
            steps in proptest::collection::vec((any::<bool>(), any::<bool>(), 0_u64..5_000, 0_u8..4, 0.0_f64..1.0), 1..60),
        ) {
            let (mut pace, mut now) = (Pace::new(ms(15_000)), Instant::now());
            let mut before: Option<Instant> = None;
            for (wanted, refused, takes, kind, random) in steps {
                let at = pace.next(&Situation { wanted, refused, ..situation(wanted) }).map_or(now, |at| at.max(now));
                if let Some(before) = before {
                    prop_assert!(at - before >= GAP, "{:?}", at - before);
                }
                before = Some(at);
                pace.began(at, random);
                let error = [BUSY, FetchError::Status(401), FetchError::Malformed, FetchError::Http(HttpError::Timeout)][usize::from(kind)];
                now = at + ms(takes);
                pace.failed(&error.into(), now, None, random);
            }
        }
    }
}
