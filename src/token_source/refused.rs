//! Which refusals of the upstream are a reason to fetch another token.
//!
//! An upstream may answer 401 for whatever it likes: plgd does for missing scopes and unknown
//! paths. A caller with such a request must not make the authority issue one token after the other,
//! nor take a good token from everybody else.

use std::time::Duration;

/// A token so young was good a moment ago: the refusal is not about it.
const YOUNG: Duration = Duration::from_secs(5);
/// Between two fetches for a refusal.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// How many tokens in a row must have died young before the log says so; then it says so for twice
/// as many, and so on.
const SUSPICIOUS: u32 = 3;

/// The refusals of one credential's tokens.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// The clock's uptime when a token was last fetched for a refusal.
    asked: Option<Duration>,
    /// The token whose replacement is being fetched.
    being_replaced: Option<u64>,
    /// How many tokens in a row were refused before they were to be refreshed, and their successors
    /// accepted.
    died_young: u32,
}

/// What becomes of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It stands.
    Stands,
    /// A token is to be fetched for it.
    Asks,
    /// A token is being fetched for another refusal of the same token.
    Joins,
}

impl Refusals {
    /// Decides about the refusal of the token with this serial. `obtained` and `now` are uptimes of
    /// the clock.
    pub fn judge(&mut self, serial: u64, obtained: Duration, now: Duration) -> Judged {
        if self.being_replaced == Some(serial) {
            return Judged::Joins;
        }
        let is_young = now.saturating_sub(obtained) < YOUNG;
        let is_cooling = self
            .asked
            .is_some_and(|asked| now.saturating_sub(asked) < COOL_DOWN);
        if is_young || is_cooling {
            return Judged::Stands;
        }
        (self.asked, self.being_replaced) = (Some(now), Some(serial));
        Judged::Asks
    }

    /// Whether a token is being fetched in place of the one with this serial.
    pub fn is_being_replaced(&self, serial: u64) -> bool {
        self.being_replaced == Some(serial)
    }

    /// A try has failed.
    pub fn failed(&mut self) {
        self.being_replaced = None;
    }

    /// A try has brought a token. Gives whether it was fetched for a refusal.
    pub fn fetched(&mut self) -> bool {
        let for_refusal = self.being_replaced.take().is_some();
        if !for_refusal {
            // The one before it lived until its refresh.
            self.died_young = 0;
        }
        for_refusal
    }

    /// The upstream has refused a token and accepted its successor. Gives how many tokens died so
    /// in a row, when that is to be told.
    pub fn died_young(&mut self) -> Option<u32> {
        self.died_young = self.died_young.saturating_add(1);
        let rows = self.died_young / SUSPICIOUS;
        (self.died_young.is_multiple_of(SUSPICIOUS) && rows.is_power_of_two())
            .then_some(self.died_young)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_reason_to_fetch_only_now_and_then() {
        let at = Duration::from_secs;
        let mut refusals = Refusals::default();
        assert_eq!(
            refusals.judge(1, at(0), at(4)),
            Judged::Stands,
            "a young token"
        );
        assert_eq!(refusals.judge(1, at(0), at(5)), Judged::Asks);
        assert_eq!(refusals.judge(1, at(0), at(5)), Judged::Joins);
        refusals.failed();
        assert_eq!(
            refusals.judge(2, at(5), at(9)),
            Judged::Stands,
            "the new one is young"
        );
        assert_eq!(
            refusals.judge(2, at(5), at(34)),
            Judged::Stands,
            "within half a minute"
        );
        assert_eq!(refusals.judge(2, at(5), at(35)), Judged::Asks);
        // The fetch failed, and the same token is refused again.
        refusals.failed();
        assert_eq!(refusals.judge(2, at(5), at(36)), Judged::Stands);
    }

    #[test]
    fn tokens_that_die_young_again_and_again_are_told_of_now_and_then() {
        let start = Duration::ZERO;
        let mut refusals = Refusals::default();
        let mut told = Vec::new();
        for serial in 1..=30 {
            let now = start + COOL_DOWN * u32::try_from(serial).unwrap();
            assert_eq!(refusals.judge(serial, start, now), Judged::Asks);
            assert!(refusals.fetched());
            told.extend(refusals.died_young());
        }
        assert_eq!(told, [3, 6, 12, 24]);
        // One that lives to its refresh ends the row.
        assert!(!refusals.fetched());
        assert_eq!(
            [(); 3].map(|()| refusals.died_young()),
            [None, None, Some(3)]
        );
    }
}
