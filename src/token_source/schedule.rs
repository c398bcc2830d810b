//! When to ask next: plain arithmetic, so that it can be tested without waiting.

use std::time::Duration;

/// The hasty tries after a first failure: a restart or a lost packet is over by then.
pub(super) const QUICK_DELAYS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// One try: metadata and token request together.
pub(super) const TRY_LIMIT: Duration = Duration::from_secs(5);

/// How long a caller waits: all tries with their delays, and a little for the way.
pub(super) const WAIT_LIMIT: Duration = Duration::from_secs(16);

const FIRST_BACKOFF: Duration = Duration::from_secs(2);
const LAST_BACKOFF: Duration = Duration::from_secs(60);

/// How far an authority's `Retry-After` is trusted: a mistyped one must not silence a credential for a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How long before its end a token must have been refreshed, at most and as a share of its life.
const MARGIN: Duration = Duration::from_secs(10);
const MARGIN_SHARE: f64 = 0.2;

/// By which share of its life a refresh is moved, so that sidecars started together do not ask together.
const REFRESH_JITTER: f64 = 0.05;

/// Not sooner than this after a fetch, whatever the life.
const MIN_REFRESH: Duration = Duration::from_millis(500);

/// After which part of its life a token is refreshed. `random` is in `0.0..1.0`.
pub(super) fn refresh_after(lifetime: Duration, refresh_at: f64, random: f64) -> Duration {
    let share = (refresh_at + REFRESH_JITTER * (2.0 * random - 1.0)).clamp(0.0, 1.0);
    let latest = lifetime.saturating_sub(MARGIN.min(lifetime.mul_f64(MARGIN_SHARE)));
    lifetime.mul_f64(share).max(MIN_REFRESH).min(latest)
}

/// How long to wait after the failure number `failures` (from 0) of a row.
///
/// Jitter only shortens: a caller is told when the next try is, and may rely on it.
pub(super) fn backoff(failures: u32, retry_after: Option<Duration>, random: f64) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(failures.min(16)));
    let own = doubled.min(LAST_BACKOFF).mul_f64(1.0 - 0.1 * random);
    own.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// A hasty delay, a quarter more or less.
pub(super) fn quick_delay(delay: Duration, random: f64) -> Duration {
    delay.mul_f64(0.75 + 0.5 * random)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    }

    #[test]
    fn backoff_doubles_to_a_minute_and_honours_retry_after() {
        let secs: Vec<u64> = (0..8).map(|n| backoff(n, None, 0.0).as_secs()).collect();
        assert_eq!(secs, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(0, Some(ms(7_000)), 0.5), ms(7_000));
        assert_eq!(backoff(0, Some(ms(500)), 0.0), ms(2_000));
        assert_eq!(backoff(0, Some(Duration::MAX), 0.0), MAX_RETRY_AFTER);
    }

    proptest! {
        #[test]
        fn every_delay_keeps_its_bounds(
            life in 1_000_u64..86_400_000, at in 0.1_f64..0.95, random in 0.0_f64..1.0, failures in any::<u32>(),
        ) {
            let life = ms(life);
            let after = refresh_after(life, at, random);
            prop_assert!(after >= MIN_REFRESH.min(life / 2));
            prop_assert!(life - after >= MARGIN.min(life.mul_f64(MARGIN_SHARE)));
            let wait = backoff(failures, None, random);
            prop_assert!(wait > ms(1_000) && wait <= LAST_BACKOFF);
            let tries = TRY_LIMIT * 3 + QUICK_DELAYS.iter().map(|d| quick_delay(*d, random)).sum::<Duration>();
            prop_assert!(tries < WAIT_LIMIT);
        }
    }
}
