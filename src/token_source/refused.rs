//! Decides which refusals of the upstream start a fetch of another token.
//!
//! An upstream may answer 401 for other reasons: plgd does so for missing scopes and unknown paths.
//! A caller with such a request must neither make the authority issue token after token, nor take a
//! good token from other callers.

use std::time::Duration;

/// A token of this age was accepted a moment ago, so the refusal does not concern it.
const YOUNG: Duration = Duration::from_secs(5);
/// Between two fetches because of a refusal.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// How many successive tokens must have ended early before the log reports it; then twice as many,
/// and so on.
const REPORTED_FROM: u32 = 3;

/// The refusals of one credential's tokens.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// The clock's uptime at the last fetch because of a refusal.
    asked: Option<Duration>,
    /// The token that is being replaced.
    being_replaced: Option<u64>,
    /// How many successive tokens were refused before their refresh while their successors were
    /// accepted.
    ended_early: u32,
}

/// The consequence of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// The refusal stands.
    Keep,
    /// Another token must be fetched.
    Fetch,
    /// Another refusal of the same token has already started a fetch.
    Wait,
}

impl Refusals {
    /// Decides about the refusal of the token with this serial. `obtained` and `now` are uptimes of
    /// the clock.
    pub fn decide(&mut self, serial: u64, obtained: Duration, now: Duration) -> Consequence {
        if self.being_replaced == Some(serial) {
            return Consequence::Wait;
        }
        let is_young = now.saturating_sub(obtained) < YOUNG;
        let is_cooling = self
            .asked
            .is_some_and(|asked| now.saturating_sub(asked) < COOL_DOWN);
        if is_young || is_cooling {
            return Consequence::Keep;
        }
        (self.asked, self.being_replaced) = (Some(now), Some(serial));
        Consequence::Fetch
    }

    /// Whether the token with this serial is being replaced.
    pub fn is_being_replaced(&self, serial: u64) -> bool {
        self.being_replaced == Some(serial)
    }

    /// A fetch has failed.
    pub fn failed(&mut self) {
        self.being_replaced = None;
    }

    /// A fetch has succeeded. Returns whether a refusal had started it.
    pub fn fetched(&mut self) -> bool {
        let for_refusal = self.being_replaced.take().is_some();
        if !for_refusal {
            // The previous token was used until its refresh.
            self.ended_early = 0;
        }
        for_refusal
    }

    /// The upstream has refused a token and accepted its successor. Returns the number of
    /// successive cases when it must be logged.
    pub fn ended_early(&mut self) -> Option<u32> {
        self.ended_early = self.ended_early.saturating_add(1);
        let rows = self.ended_early / REPORTED_FROM;
        (self.ended_early.is_multiple_of(REPORTED_FROM) && rows.is_power_of_two())
            .then_some(self.ended_early)
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
            refusals.decide(1, at(0), at(4)),
            Consequence::Keep,
            "a young token"
        );
        assert_eq!(refusals.decide(1, at(0), at(5)), Consequence::Fetch);
        assert_eq!(refusals.decide(1, at(0), at(5)), Consequence::Wait);
        refusals.failed();
        assert_eq!(
            refusals.decide(2, at(5), at(9)),
            Consequence::Keep,
            "the new one is young"
        );
        assert_eq!(
            refusals.decide(2, at(5), at(34)),
            Consequence::Keep,
            "within half a minute"
        );
        assert_eq!(refusals.decide(2, at(5), at(35)), Consequence::Fetch);
        // The fetch failed, and the same token is refused again.
        refusals.failed();
        assert_eq!(refusals.decide(2, at(5), at(36)), Consequence::Keep);
    }

    #[test]
    fn repeated_early_ends_are_logged_at_growing_intervals() {
        let start = Duration::ZERO;
        let mut refusals = Refusals::default();
        let mut logged = Vec::new();
        for serial in 1..=30 {
            let now = start + COOL_DOWN * u32::try_from(serial).unwrap();
            assert_eq!(refusals.decide(serial, start, now), Consequence::Fetch);
            assert!(refusals.fetched());
            logged.extend(refusals.ended_early());
        }
        assert_eq!(logged, [3, 6, 12, 24]);
        // A token that is used until its refresh ends the series.
        assert!(!refusals.fetched());
        assert_eq!(
            [(); 3].map(|()| refusals.ended_early()),
            [None, None, Some(3)]
        );
    }
}
