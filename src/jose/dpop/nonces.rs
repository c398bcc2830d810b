//! The nonces of a server (RFC 9449 §8 and §9), without a memory of those given.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::clock::UnixTime;
use crate::domain::secret;

/// How long a nonce is given. It is accepted until the end of the next such time.
pub(super) const NONCE_WINDOW: Duration = Duration::from_mins(1);
/// The length of a nonce, in bytes before base64url.
const LENGTH: usize = 16;

/// Makes and recognises nonces: a MAC of the window of time, under a random key of this value. A
/// nonce of another process, or from before a restart, is unknown.
pub struct Nonces(hmac::Key);

impl Default for Nonces {
    fn default() -> Self {
        let mut bytes = [0; 32];
        secret::fill(&mut bytes);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }
}

impl Nonces {
    /// The nonce that is given now.
    #[must_use]
    pub fn current(&self, now: UnixTime) -> String {
        self.of_window(window(now))
    }

    /// Whether a nonce is accepted now. `Some(false)`: it is accepted, but a newer one is given.
    #[must_use]
    pub fn is_current(&self, nonce: &str, now: UnixTime) -> Option<bool> {
        let window = window(now);
        let is_of = |window| {
            let expected = self.of_window(window);
            let (expected, nonce) = (expected.as_bytes(), nonce.as_bytes());
            aws_lc_rs::constant_time::verify_slices_are_equal(expected, nonce).is_ok()
        };
        if is_of(window) {
            Some(true)
        } else {
            is_of(window.saturating_sub(1)).then_some(false)
        }
    }

    fn of_window(&self, window: i64) -> String {
        let mac = hmac::sign(&self.0, &window.to_be_bytes());
        let mac = mac.as_ref();
        URL_SAFE_NO_PAD.encode(mac.get(..LENGTH).unwrap_or(mac))
    }
}

fn window(now: UnixTime) -> i64 {
    let length = i64::try_from(NONCE_WINDOW.as_secs()).unwrap_or(1);
    now.0.div_euclid(length)
}
