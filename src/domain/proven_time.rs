//! The proven time: what may be forgotten is judged by it, because the clock may be wrong.
//!
//! A clock that was set ahead makes revocations look expired that are needed as soon as the clock
//! is set right. So the proven time grows only by the time that the machine ran. After a pause it
//! lies behind the clock; it takes over what the clock says when the clock has stood by that for
//! [`TRUSTED`].

use std::time::Duration;

use super::clock::UnixTime;

/// How long the machine must run under a clock before the clock's time is proven. A clock that is
/// wrong for less undoes nothing.
pub const TRUSTED: Duration = Duration::from_hours(7 * 24);
/// The proven time and the clock may differ by this: both are read in whole seconds, and clocks
/// drift.
const TOLERANCE: Duration = Duration::from_secs(60);

/// The proven time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenTime {
    /// It is not earlier than this.
    pub at: UnixTime,
    /// The later time that the clock says.
    pub claim: Option<Claim>,
}

/// A time that the clock says and that is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The time, moved on by the time that the machine ran since.
    pub at: UnixTime,
    /// How long the machine ran while the clock never said less.
    pub stood: Duration,
}

impl ProvenTime {
    /// The proven time of a store in which nothing can be forgotten yet: the clock's.
    #[must_use]
    pub fn beginning(now: UnixTime) -> Self {
        Self {
            at: now,
            claim: None,
        }
    }

    /// The proven time after the machine ran for `ran`, a whole number of seconds, when the clock
    /// says `now`.
    #[must_use]
    pub fn after(self, ran: Duration, now: UnixTime) -> Self {
        let at = self.at.plus(ran);
        let moved = self.claim.map(|claim| Claim {
            at: claim.at.plus(ran),
            stood: claim.stood + ran,
        });
        // A clock that is set ahead once more, or that ran on while the process did not, still says
        // the time of the claim.
        match moved.filter(|claim| claim.at <= now.plus(TOLERANCE)) {
            Some(claim) if claim.stood >= TRUSTED => Self {
                at: at.max(claim.at),
                claim: None,
            },
            None if now > at.plus(TOLERANCE) => Self {
                at,
                claim: Some(Claim {
                    at: now,
                    stood: Duration::ZERO,
                }),
            },
            claim => Self { at, claim },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_800_000_000;
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    /// A machine with a true time, a clock, and what is proven.
    struct Machine {
        time: i64,
        ahead: i64,
        proven: ProvenTime,
    }

    impl Machine {
        fn new() -> Self {
            Self {
                time: START,
                ahead: 0,
                proven: ProvenTime::beginning(UnixTime(START)),
            }
        }

        fn run(&mut self, seconds: i64) {
            self.time += seconds;
            let ran = Duration::from_secs(u64::try_from(seconds).unwrap());
            self.proven = self.proven.after(ran, UnixTime(self.time + self.ahead));
        }

        /// How far the proven time lies behind the true one.
        fn behind(&self) -> i64 {
            self.time - self.proven.at.0
        }
    }

    #[test]
    fn a_clock_that_is_ahead_for_less_than_a_week_moves_nothing() {
        let mut machine = Machine::new();
        for (ahead, seconds) in [
            (2 * HOUR, 12),
            (3 * DAY, 7),
            (3 * DAY, 6 * DAY),
            (-DAY, HOUR),
            (0, HOUR),
        ] {
            machine.ahead = ahead;
            for _ in 0..10 {
                machine.run(seconds / 10);
            }
            machine.run(seconds % 10);
            machine.ahead = 0;
            machine.run(1);
            assert_eq!(
                (machine.behind(), machine.proven.claim),
                (0, None),
                "{ahead} {seconds}"
            );
        }
    }

    #[test]
    fn what_passed_while_nothing_ran_is_proven_after_a_week_of_running() {
        let mut machine = Machine::new();
        machine.time += 30 * DAY;
        machine.run(1);
        assert_eq!(machine.behind(), 30 * DAY);
        machine.run(7 * DAY - 1);
        assert_eq!(machine.behind(), 30 * DAY);
        machine.run(1);
        assert_eq!(machine.behind(), 0);
    }

    #[test]
    fn a_machine_that_runs_an_hour_a_day_lags_by_two_weeks_of_running_at_most() {
        let mut machine = Machine::new();
        for _ in 0..2000 {
            machine.time += 23 * HOUR;
            machine.run(HOUR / 2);
            machine.run(HOUR / 2);
            assert!(
                machine.behind() <= 2 * 7 * 24 * DAY + DAY,
                "{}",
                machine.behind() / DAY
            );
        }
    }

    #[test]
    fn a_clock_that_drifts_is_followed() {
        let mut machine = Machine::new();
        for _ in 0..60 {
            // The clock gains two seconds a day on the time that the machine counts.
            machine.run(DAY);
            machine.ahead += 2;
        }
        let lag = machine.behind() + machine.ahead;
        assert!((0..=80).contains(&lag), "{lag}");
    }

    proptest! {
        /// Whatever the clock says: as long as it is never wrong for a week, nothing is proven that
        /// has not passed.
        #[test]
        fn the_proven_time_is_never_ahead(
            steps in prop::collection::vec((0..20_i64 * DAY, 1..DAY, -10 * DAY..10 * DAY, 0..DAY), 1..50),
        ) {
            let mut machine = Machine::new();
            for (pause, right, ahead, wrong) in steps {
                machine.time += pause;
                machine.ahead = 0;
                machine.run(1);
                machine.run(right);
                machine.ahead = ahead;
                machine.run(wrong);
                prop_assert!(machine.behind() >= -120, "{}", machine.behind());
            }
        }
    }
}
