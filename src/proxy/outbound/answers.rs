//! Handles the upstream's response: its URLs, and a refused token.

use http::StatusCode;
use pingora::http::ResponseHeader;

use super::links::Links;
use super::reverse::Reverse;
use super::{Credential, Destination, Mode, Outbound, Route, State};
use crate::domain::reason::Reason;
use crate::proxy::access::Access;
use crate::proxy::client::Client;
use crate::proxy::relay::Answered;

impl Outbound {
    /// Replaces URLs of the upstream in the response head by URLs of the listener.
    pub(super) fn map_links(
        &self,
        answer: &mut ResponseHeader,
        state: &State,
    ) -> pingora::Result<()> {
        let Mode::Reverse(Reverse {
            map_location: true,
            preserve_host,
            ..
        }) = &self.mode
        else {
            return Ok(());
        };
        let Some(Destination { upstream, .. }) = self.destinations.first() else {
            return Ok(());
        };
        let (tls, host, port) = upstream.origin();
        Links {
            tls,
            host,
            port,
            preserves_host: *preserve_host,
            scheme: state.scheme(),
            here: &state.called,
        }
        .map(answer)
    }

    /// Reports the result of a request to the credential: any response that does not refuse the
    /// token ends an earlier refusal.
    pub(super) fn note_answer(&self, answer: &ResponseHeader, state: &State) {
        if !answer.status.is_informational()
            && answer.status != StatusCode::UNAUTHORIZED
            && let (Some(Credential::Attached(token, _)), Some(Route::To(index, _))) =
                (&state.credential, &state.route)
            && let Ok(destination) = self.destination(*index)
        {
            destination.credential.note_accepted(token);
        }
    }

    /// Decides what to do about a response that refuses the token: it is sent, or the request is
    /// repeated with another token.
    ///
    /// # Errors
    /// [`Reason::ClientGone`].
    pub(super) async fn replace_token(
        &self,
        client: &mut Client<'_>,
        can_be_sent_again: bool,
        state: &mut State,
        access: &mut Access,
    ) -> Result<Answered, Reason> {
        let (Some(Credential::Attached(refused, _)), Some(Route::To(index, _))) =
            (&state.credential, &state.route)
        else {
            return Ok(Answered::Send);
        };
        let source = &self.destination(*index)?.credential;
        if state.replayed {
            return Ok(Answered::Send);
        }
        let subject = state.subject.as_ref();
        if !can_be_sent_again {
            if subject.is_none() {
                source.note_refusal(refused);
            }
            return Ok(Answered::Send);
        }
        let replacement = async {
            match subject {
                Some(subject) => source.replacement_for(subject, refused).await,
                None => source.replacement(refused).await,
            }
        };
        let token = tokio::select! {
            token = replacement => token,
            () = client.departed() => return Err(Reason::ClientGone),
        };
        let Some(token) = token.filter(|_| self.may_call_again(state)) else {
            return Ok(Answered::Send);
        };
        state.credential = Some(self.attached(source, token)?);
        state.replayed = true;
        access.allow(Reason::TokenRenewed);
        Ok(Answered::Repeat)
    }
}
