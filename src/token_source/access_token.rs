//! An access token, ready to be attached. Its `Debug` output holds no secret.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use http::header::InvalidHeaderValue;
use tokio::time::Instant;

use super::schedule;
use crate::domain::clock::UnixTime;
use crate::domain::secret::{self, ExposeSecret, SecretString};

/// An access token and its usable time. Clones are cheap.
#[derive(Clone)]
pub struct AccessToken(Arc<Held>);

struct Held {
    token: SecretString,
    serial: u64,
    /// The end of its use, slightly before its expiry, on both clocks.
    usable_until: Instant,
    usable_until_at: UnixTime,
    expires_at: UnixTime,
    requested_at: UnixTime,
    lifetime: Duration,
    identity: [u8; 32],
    /// The header value of the first prefix. A credential usually has one, so each token is
    /// formatted once and attaching it copies a reference.
    header: OnceLock<(String, HeaderValue)>,
}

/// A granted token.
#[derive(Clone)]
pub(super) struct Grant {
    pub token: SecretString,
    /// Its lifetime, counted from `requested`.
    pub lifetime: Duration,
    pub requested: Moment,
    /// The identity that it was granted to.
    pub identity: [u8; 32],
}

/// One moment on both clocks.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub monotonic: Instant,
    pub wall: UnixTime,
}

impl AccessToken {
    pub(super) fn new(grant: Grant) -> Self {
        static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);
        let Grant {
            token,
            lifetime,
            requested,
            identity,
        } = grant;
        let usable_for = schedule::usable_for(lifetime);
        Self(Arc::new(Held {
            token,
            serial: NEXT_SERIAL.fetch_add(1, Ordering::Relaxed),
            // The lifetime began after the request left, so this end is the earlier one.
            usable_until: requested.monotonic + usable_for,
            // Rounded up, because wall time has whole seconds; the monotonic clock is exact.
            usable_until_at: requested.wall.plus(usable_for + Duration::from_millis(999)),
            expires_at: requested.wall.plus(lifetime + Duration::from_millis(999)),
            requested_at: requested.wall,
            lifetime,
            identity,
            header: OnceLock::new(),
        }))
    }

    /// Whether the token may still be used.
    ///
    /// Both clocks count: the monotonic one stops while a machine sleeps, the wall clock can be set
    /// back.
    pub(super) fn is_usable(&self, now: Moment) -> bool {
        // Inclusive, because wall time has whole seconds.
        now.monotonic < self.0.usable_until && now.wall.0 <= self.0.usable_until_at.0
    }

    /// How long it may still be attached, by the clock that says less.
    pub(super) fn usable_for(&self, now: Moment) -> Duration {
        let by_wall = now.wall.until(self.0.usable_until_at);
        self.0
            .usable_until
            .saturating_duration_since(now.monotonic)
            .min(by_wall)
    }

    /// When it was requested, and its lifetime.
    pub(super) fn life(&self) -> (UnixTime, Duration) {
        (self.0.requested_at, self.0.lifetime)
    }

    /// When its use ends: a few seconds before its own end.
    pub(super) fn usable_until(&self) -> UnixTime {
        self.0
            .requested_at
            .plus(schedule::usable_for(self.0.lifetime))
    }

    /// The identity that it was granted to.
    pub(super) fn identity(&self) -> &[u8; 32] {
        &self.0.identity
    }

    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        secret::matches(&self.0.token, &other.0.token)
    }

    /// The header value `prefix` + token, marked sensitive.
    ///
    /// # Errors
    /// If the prefix fits no header; a token always does.
    pub fn header_value(&self, prefix: &str) -> Result<HeaderValue, InvalidHeaderValue> {
        if let Some((known, value)) = self.0.header.get()
            && known == prefix
        {
            return Ok(value.clone());
        }
        let mut value = HeaderValue::try_from([prefix, self.0.token.expose_secret()].concat())?;
        value.set_sensitive(true);
        // `Err` means that another prefix came first; this one is formatted each time.
        let _ = self.0.header.set((prefix.to_owned(), value.clone()));
        Ok(value)
    }

    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.0.token
    }

    /// A number that is unique in this process.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.0.serial
    }

    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        self.0.expires_at
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("serial", &self.0.serial)
            .field("expires_at", &self.0.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(requested: Moment, lifetime: Duration) -> AccessToken {
        AccessToken::new(Grant {
            token: "s3cr3t".into(),
            lifetime,
            requested,
            identity: [0; 32],
        })
    }

    fn moment() -> Moment {
        Moment {
            monotonic: Instant::now(),
            wall: UnixTime(1_000),
        }
    }

    #[test]
    fn the_header_value_is_sensitive_and_written_once() {
        let token = token(moment(), Duration::from_secs(9));
        let value = token.header_value("Bearer ").unwrap();
        assert_eq!(value, "Bearer s3cr3t");
        assert!(value.is_sensitive());
        let again = token.header_value("Bearer ").unwrap();
        assert!(again.is_sensitive());
        assert_eq!(value.as_bytes().as_ptr(), again.as_bytes().as_ptr());
        assert_eq!(token.header_value("").unwrap(), "s3cr3t");
        assert!(token.header_value("a\n").is_err());
    }

    #[test]
    fn debug_output_holds_no_token() {
        let token = token(moment(), Duration::from_secs(9));
        let value = token.header_value("Bearer ").unwrap();
        assert!(!format!("{token:?} {value:?} {:?}", token.secret()).contains("s3cr3t"));
    }

    #[test]
    fn serials_are_unique() {
        assert_ne!(
            token(moment(), Duration::ZERO).serial(),
            token(moment(), Duration::ZERO).serial()
        );
    }

    #[test]
    fn a_token_ends_by_the_earlier_clock() {
        let start = moment();
        // The last of ten seconds is not used.
        let token = token(start, Duration::from_secs(10));
        let at = |ms, wall| Moment {
            monotonic: start.monotonic + Duration::from_millis(ms),
            wall: UnixTime(start.wall.0 + wall),
        };
        assert!(token.is_usable(at(0, 0)));
        assert!(token.is_usable(at(8_999, 9)));
        assert!(!token.is_usable(at(9_000, 9)));
        // Asleep for an hour: the monotonic clock stopped.
        assert!(!token.is_usable(at(5, 3_600)));
        // The wall clock was set back: the monotonic one counts.
        assert!(!token.is_usable(at(9_000, -3_600)));
    }
}
