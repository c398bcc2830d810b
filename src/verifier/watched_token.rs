//! The token of a stream, checked again and again until it is no longer accepted.
//!
//! A stream has no task of its own: the task that carries its bytes polls its check, which is a
//! timer and, where the authority has to be queried, one query in `maxAge`.

use std::time::Duration;

use super::{BearerToken, TokenVerifier, VerifiedToken};
use crate::domain::clock::UnixTime;
use crate::domain::reason::Reason;
use crate::domain::secret::SecretString;

/// The bounds of the pause between two checks, so that streams that begin together are not checked
/// together. With the frame that a WebSocket may end, a stream ends within 5 s.
const PAUSE: (u64, u64) = (1500, 2500);
/// How long a stream lasts if its token cannot end.
const WITHOUT_END: Duration = Duration::from_secs(30);
/// A token that expired less than so long ago was perhaps valid when its stream began.
const JUST_EXPIRED: Duration = Duration::from_secs(5);

/// A verified token that is watched.
pub struct WatchedToken<'v> {
    verifier: &'v TokenVerifier,
    token: VerifiedToken,
    /// The token itself, if queries need it.
    text: Option<SecretString>,
    /// When the stream ends at the latest, and the reason.
    end: (UnixTime, Reason),
}

impl<'v> WatchedToken<'v> {
    pub(super) fn new(
        verifier: &'v TokenVerifier,
        token: VerifiedToken,
        text: impl FnOnce() -> Option<SecretString>,
    ) -> Self {
        let needs_text = verifier.queries_about(&token);
        Self {
            text: needs_text.then(text).flatten(),
            end: verifier.end_of_stream(&token),
            verifier,
            token,
        }
    }

    /// Waits until the token is not accepted. Gives the reason.
    pub async fn end(self) -> Reason {
        loop {
            let text = self.text.as_ref();
            let bearer = text.and_then(|text| BearerToken::parse(text).ok());
            let checked = self
                .verifier
                .check_again(&self.token, bearer.as_ref(), self.end);
            if let Err(reason) = checked.await {
                return reason;
            }
            let (least, most) = PAUSE;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(least..most))).await;
        }
    }
}

impl TokenVerifier {
    /// Whether the authority is queried about a token.
    fn queries_about(&self, token: &VerifiedToken) -> bool {
        let authority = self.authority(token);
        token.is_introspected()
            || authority.is_ok_and(|authority| authority.revocation().needs_token())
    }

    /// When the stream of a verified token ends at the latest, and why. It ends with `exp`, unless
    /// only the permitted difference of the clocks makes the token valid. A token without `exp`
    /// that cannot be revoked ends it after a while.
    fn end_of_stream(&self, token: &VerifiedToken) -> (UnixTime, Reason) {
        let now = self.clock.now();
        let Ok(authority) = self.authority(token) else {
            return (now, Reason::Internal);
        };
        match token.expires_at() {
            Some(end) if end > now.minus(JUST_EXPIRED) => (end, Reason::Expired),
            Some(end) => (end.plus(authority.clock_skew), Reason::Expired),
            None if token.is_introspected() || authority.revocation().is_checked() => {
                (UnixTime::NEVER, Reason::Expired)
            }
            None => (now.plus(WITHOUT_END), Reason::NoExpiry),
        }
    }

    /// Checks the token of an open stream: everything that may have changed since it was verified.
    ///
    /// # Errors
    /// Why the token is not accepted any more.
    async fn check_again(
        &self,
        token: &VerifiedToken,
        bearer: Option<&BearerToken<'_>>,
        (end, reason): (UnixTime, Reason),
    ) -> Result<(), Reason> {
        let now = self.clock.now();
        if end <= now {
            return Err(reason);
        }
        let authority = self.authority(token)?;
        if let (true, Some(introspection)) = (token.is_introspected(), authority.introspection()) {
            return introspection.check_again(bearer, token.digest).await;
        }
        authority.check_proof(token, now)?;
        let revocation = authority.revocation();
        if !revocation.is_checked() {
            return Ok(());
        }
        match revocation.check_at_once(token, now) {
            Some(checked) => checked,
            None => revocation.check(token, bearer, || Ok(())).await,
        }
    }
}
