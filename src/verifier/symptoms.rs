//! Symptoms of a wrong configuration: other slashes in `iss`, and clocks that differ.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::Authority;
use crate::domain::printable::excerpt;

/// How much of a refused token's `iss` is kept, in bytes.
const SHOWN_ISSUER: usize = 200;

/// Tokens that were refused because their `iss` differs from the authority's issuer by slashes
/// only. Their signature is not checked, so anyone can send such a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedIssuer {
    /// The last one's `iss`, escaped and cut.
    pub iss: String,
    /// How many there were since the start.
    pub count: u64,
}

impl Authority {
    /// The refused tokens whose `iss` differs from the issuer by slashes only; `None` if there were
    /// none.
    #[must_use]
    pub fn refused_issuer(&self) -> Option<RefusedIssuer> {
        self.refused_issuer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Counts a token whose `iss` differs from the issuer by slashes only, and warns less and less
    /// often, because anyone can send such tokens.
    pub(super) fn note_refused_issuer(&self, claimed: &str) {
        if !self.issuer.is_nearly(claimed) {
            return;
        }
        let iss = excerpt(claimed.as_bytes(), SHOWN_ISSUER).into_owned();
        let count = {
            let mut refused = self
                .refused_issuer
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let count = refused
                .as_ref()
                .map_or(0, |refused| refused.count)
                .saturating_add(1);
            *refused = Some(RefusedIssuer {
                iss: iss.clone(),
                count,
            });
            count
        };
        if count.is_power_of_two() {
            tracing::warn!(
                authority = self.name(),
                issuer = self.issuer.written(),
                iss,
                count,
                "tokens are refused whose `iss` differs from the authority's issuer by slashes \
                 only: write `issuer` as tokens have it, or `profile: plgd`, for which slashes at \
                 the end do not count"
            );
        }
    }

    /// Warns when the authority's clock begins to differ from ours by more than `clockSkew`, and
    /// logs when it agrees again. Called after each fetch.
    pub fn check_clock(&self) {
        let Some(seconds) = self.keys().clock_skew() else {
            return;
        };
        let allowed = self.clock_skew.as_secs();
        let is_off = seconds.unsigned_abs() > allowed;
        if self.clock_is_off.swap(is_off, Ordering::Relaxed) == is_off {
            return;
        }
        let authority = self.name();
        if is_off {
            tracing::warn!(
                authority,
                seconds,
                allowed,
                "the authority's clock differs from ours (negative: it is behind) by more than its \
                 `clockSkew`: valid tokens may be refused"
            );
        } else {
            tracing::info!(
                authority,
                seconds,
                allowed,
                "the authority's clock agrees with ours again"
            );
        }
    }
}
