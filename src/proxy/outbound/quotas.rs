//! Quotas of calls: a request waits for its turn, or is refused.

use pingora::http::RequestHeader;

use super::{Credential, Outbound, Refused, Route, State};
use crate::domain::reason::Reason;
use crate::limits::throttle::{Admitted, Throttle};
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
        let mut turns = Turns::default();
        for throttle in self.throttles(index, has_token) {
            // A client that leaves frees its place.
            let admitted = tokio::select! {
                admitted = throttle.admit() => admitted,
                () = client.departed() => return Err(Reason::ClientGone.into()),
            };
            let admitted = admitted.map_err(|exhausted| {
                state.retry_after = Some(exhausted.retry_after_secs());
                Reason::Throttled
            })?;
            turns.0.push((throttle, admitted));
        }
        let waited = turns.0.iter().any(|(_, admitted)| admitted.waited);
        let credential = if waited && has_token {
            self.credential(client, request, index, (state, access))
                .await?
        } else {
            credential
        };
        turns.use_up();
        Ok(credential)
    }

    /// Whether a request may be sent once more, which is another call.
    pub(super) fn may_call_again(&self, state: &State) -> bool {
        let Some(Route::To(index, _)) = state.route else {
            return true;
        };
        let mut turns = Turns::default();
        for throttle in self.throttles(index, true) {
            let Ok(admitted) = throttle.admit_now() else {
                return false;
            };
            turns.0.push((throttle, admitted));
        }
        turns.use_up();
        true
    }
}

/// The turns of a call at its quotas. Dropping them gives them back: the call is not made.
#[derive(Default)]
struct Turns<'t>(Vec<(&'t Throttle, Admitted)>);

impl Turns<'_> {
    fn use_up(mut self) {
        self.0.clear();
    }
}

impl Drop for Turns<'_> {
    fn drop(&mut self) {
        for (throttle, admitted) in self.0.drain(..) {
            throttle.give_back(admitted);
        }
    }
}
