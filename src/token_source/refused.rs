//! Decides which refusals of the upstream start a fetch of another token.
//!
//! An upstream may answer 401 for other reasons: plgd does for missing scopes and unknown paths.
//! Such requests must not make the authority issue one token after the other, nor take a valid
//! token from other callers.

use std::time::Duration;

use super::TokenEndpoint;

/// The refusal of a younger token has another cause.
const YOUNG: Duration = Duration::from_secs(5);
/// Between two fetches because of a refusal.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// After how many short-lived tokens the log warns; then after twice as many, and so on.
const SUSPICIOUS: u32 = 3;

/// A file is read again after every refusal of its token, but once a second at most.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// The refusals of one credential's tokens.
#[derive(Debug)]
pub(super) struct Refusals {
    /// The least age of a token that is replaced.
    young: Duration,
    cool_down: Duration,
    /// The clock's uptime when a token was last fetched for a refusal.
    fetched_at: Option<Duration>,
    /// The token whose replacement is being fetched.
    being_replaced: Option<u64>,
    /// How many successive tokens were refused before their refresh was due, and their successors
    /// accepted.
    short_lived: u32,
}

/// The replacement of a refused token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// None: the refusal stands.
    None,
    /// A token must be fetched.
    Fetch,
    /// A token is being fetched for another refusal of the same token.
    Join,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            young: YOUNG,
            cool_down: COOL_DOWN,
            fetched_at: None,
            being_replaced: None,
            short_lived: 0,
        }
    }
}

impl Refusals {
    /// None so far, of tokens from here.
    pub fn of(endpoint: &TokenEndpoint) -> Self {
        match endpoint {
            // Another program may have replaced it since it was read.
            TokenEndpoint::File(_) => Self {
                young: Duration::ZERO,
                cool_down: READ_AGAIN,
                ..Self::default()
            },
            _ => Self::default(),
        }
    }

    /// Decides about the refusal of the token with this serial. `obtained` and `now` are uptimes of
    /// the clock.
    pub fn decide(&mut self, serial: u64, obtained: Duration, now: Duration) -> Replacement {
        if self.being_replaced == Some(serial) {
            return Replacement::Join;
        }
        let is_young = now.saturating_sub(obtained) < self.young;
        let is_cooling = self
            .fetched_at
            .is_some_and(|at| now.saturating_sub(at) < self.cool_down);
        if is_young || is_cooling {
            return Replacement::None;
        }
        (self.fetched_at, self.being_replaced) = (Some(now), Some(serial));
        Replacement::Fetch
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
            // The token before it was used until its refresh.
            self.short_lived = 0;
        }
        for_refusal
    }

    /// The upstream has refused a token and accepted its successor. Gives the number of successive
    /// short-lived tokens if it should be logged.
    pub fn short_lived(&mut self) -> Option<u32> {
        self.short_lived = self.short_lived.saturating_add(1);
        let series = self.short_lived / SUSPICIOUS;
        (self.short_lived.is_multiple_of(SUSPICIOUS) && series.is_power_of_two())
            .then_some(self.short_lived)
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
            Replacement::None,
            "a young token"
        );
        assert_eq!(refusals.decide(1, at(0), at(5)), Replacement::Fetch);
        assert_eq!(refusals.decide(1, at(0), at(5)), Replacement::Join);
        refusals.failed();
        assert_eq!(
            refusals.decide(2, at(5), at(9)),
            Replacement::None,
            "the new one is young"
        );
        assert_eq!(
            refusals.decide(2, at(5), at(34)),
            Replacement::None,
            "within half a minute"
        );
        assert_eq!(refusals.decide(2, at(5), at(35)), Replacement::Fetch);
        // The fetch failed, and the same token is refused again.
        refusals.failed();
        assert_eq!(refusals.decide(2, at(5), at(36)), Replacement::None);
    }

    #[test]
    fn a_file_is_read_again_after_each_refusal() {
        let at = Duration::from_secs;
        let mut refusals = Refusals::of(&TokenEndpoint::File("/run/token".into()));
        assert_eq!(refusals.decide(1, at(0), at(0)), Replacement::Fetch);
        refusals.failed();
        assert_eq!(refusals.decide(1, at(0), at(0)), Replacement::None);
        assert_eq!(refusals.decide(1, at(0), at(1)), Replacement::Fetch);
    }

    #[test]
    fn repeated_early_ends_are_logged_at_growing_intervals() {
        let start = Duration::ZERO;
        let mut refusals = Refusals::default();
        let mut logged = Vec::new();
        for serial in 1..=30 {
            let now = start + COOL_DOWN * u32::try_from(serial).unwrap();
            assert_eq!(refusals.decide(serial, start, now), Replacement::Fetch);
            assert!(refusals.fetched());
            logged.extend(refusals.short_lived());
        }
        assert_eq!(logged, [3, 6, 12, 24]);
        // A token that is used until its refresh ends the series.
        assert!(!refusals.fetched());
        assert_eq!(
            [(); 3].map(|()| refusals.short_lived()),
            [None, None, Some(3)]
        );
    }
}
