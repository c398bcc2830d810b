//! Quotas of calls: a request waits for its turn, or is refused.

use pingora::http::RequestHeader;

use super::{Credential, Outbound, Refused, Route, State};
use crate::domain::reason::Reason;
use crate::limits::throttle::Throttle;
use crate::proxy::access::Access;
use crate::proxy::client::Client;

impl Outbound {
    /// Whether the calls to this destination have a quota.
    pub(super) fn is_throttled(&self, index: usize) -> bool {
        self.throttles(index, true).next().is_some()
    }

    /// The quotas of a call: that of the listener, and that of the token.
    fn throttles(&self, index: usize, has_token: bool) -> impl Iterator<Item = &Throttle> {
        let destination = self.destinations.get(index).filter(|_| has_token);
        let of_token = destination.and_then(|to| to.throttle.as_deref());
        self.throttle.as_deref().into_iter().chain(of_token)
    }

    /// Counts a call, which may wait for its turn. Gives the credential of the request afterwards:
    /// the token may have ended.
    ///
    /// # Errors
    /// [`Reason::Throttled`], or the client has left.
    pub(super) async fn await_turn(
        &self,
        client: &mut Client<'_>,
        request: &RequestHeader,
        (index, credential): (usize, Credential),
        (state, access): (&mut State, &mut Access),
    ) -> Result<Credential, Refused> {
        let has_token = matches!(credential, Credential::Attached(..));
        let mut waited = false;
        for throttle in self.throttles(index, has_token) {
            // A client that leaves frees its place.
            let admitted = tokio::select! {
                admitted = throttle.admit() => admitted,
                () = client.departed() => return Err(Reason::ClientGone.into()),
            };
            waited |= admitted.map_err(|exhausted| {
                state.retry_after = Some(exhausted.retry_after_secs());
                Reason::Throttled
            })?;
        }
        if waited && has_token {
            self.credential(client, request, index, (state, access))
                .await
        } else {
            Ok(credential)
        }
    }

    /// Whether a request may be sent once more, which is another call.
    pub(super) fn may_call_again(&self, state: &State) -> bool {
        match state.route {
            Some(Route::To(index, _)) => self
                .throttles(index, true)
                .all(|throttle| throttle.admit_now().is_ok()),
            _ => true,
        }
    }
}
