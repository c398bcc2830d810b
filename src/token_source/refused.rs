//! Which refusals of the upstream are a reason to fetch another token.
//!
//! An upstream may answer 401 for whatever it likes: plgd does for missing scopes and unknown paths. A caller with such a
//! request must not make the authority issue one token after the other, nor take a good token from everybody else.

use std::time::Duration;

use tokio::time::Instant;

/// A token so young was good a moment ago: the refusal is not about it.
const YOUNG: Duration = Duration::from_secs(5);
/// Between two fetches for a refusal.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// The refusals of one credential's tokens.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// When a token was last fetched for a refusal.
    asked: Option<Instant>,
    /// The token whose replacement is being fetched.
    being_replaced: Option<u64>,
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
    /// The token with this serial, which was obtained then, was refused.
    pub fn judge(&mut self, serial: u64, obtained: Instant, now: Instant) -> Judged {
        if self.being_replaced == Some(serial) {
            return Judged::Joins;
        }
        let is_young = now.saturating_duration_since(obtained) < YOUNG;
        let is_cooling = self.asked.is_some_and(|asked| now.saturating_duration_since(asked) < COOL_DOWN);
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

    /// A try has ended, in whatever way.
    pub fn settled(&mut self) {
        self.being_replaced = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_reason_to_fetch_only_now_and_then() {
        let start = Instant::now();
        let at = |secs: u64| start + Duration::from_secs(secs);
        let mut refusals = Refusals::default();
        assert_eq!(refusals.judge(1, at(0), at(4)), Judged::Stands, "a young token");
        assert_eq!(refusals.judge(1, at(0), at(5)), Judged::Asks);
        assert_eq!(refusals.judge(1, at(0), at(5)), Judged::Joins);
        refusals.settled();
        assert_eq!(refusals.judge(2, at(5), at(9)), Judged::Stands, "the new one is young");
        assert_eq!(refusals.judge(2, at(5), at(34)), Judged::Stands, "within half a minute");
        assert_eq!(refusals.judge(2, at(5), at(35)), Judged::Asks);
        // The fetch failed, and the same token is refused again.
        refusals.settled();
        assert_eq!(refusals.judge(2, at(5), at(36)), Judged::Stands);
    }
}
