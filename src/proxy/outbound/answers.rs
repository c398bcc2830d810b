//! Handles the upstream's response: its URLs, and a refused token.

use http::StatusCode;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::links::Links;
use super::reverse::Reverse;
use super::{Context, Credential, Destination, Mode, Outbound, Route, called};
use crate::domain::reason::Reason;
use crate::proxy::head;
use crate::proxy::listener::MAX_TRIES;

impl Outbound {
    /// Replaces URLs of the upstream in the response head by URLs of the listener.
    pub(super) fn map_links(
        &self,
        session: &Session,
        answer: &mut ResponseHeader,
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
            here: &called(session),
        }
        .map(answer)
    }

    /// Reports the result of a request to the credential: any response that does not refuse the
    /// token ends an earlier refusal.
    pub(super) fn note_answer(&self, answer: &ResponseHeader, ctx: &Context) {
        if !answer.status.is_informational()
            && answer.status != StatusCode::UNAUTHORIZED
            && let (Some(Credential::Attached(token, _)), Some(Route::To(index, _))) =
                (&ctx.credential, &ctx.route)
            && let Ok(destination) = self.destination(*index)
        {
            destination.credential.note_accepted(token);
        }
    }

    /// Decides what to do about a response that refuses the token. Returns whether the request is
    /// repeated with another one.
    ///
    /// # Errors
    /// [`Reason::ClientGone`].
    pub(super) async fn replace_token(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<bool, Reason> {
        let (Some(Credential::Attached(refused, _)), Some(Route::To(index, _))) =
            (&ctx.credential, &ctx.route)
        else {
            return Ok(false);
        };
        let source = &self.destination(*index)?.credential;
        if ctx.replayed {
            return Ok(false);
        }
        // The last attempt that Pingora permits is not used for a repetition.
        if !super::replay::can_be_sent_again(session) || ctx.attempts >= MAX_TRIES {
            source.note_refusal(refused);
            return Ok(false);
        }
        let token = tokio::select! {
            token = source.replacement(refused) => token,
            () = head::client_gone(session) => return Err(Reason::ClientGone),
        };
        let Some(token) = token else { return Ok(false) };
        ctx.credential = Some(self.attached(token)?);
        (ctx.replaying, ctx.replayed) = (true, true);
        ctx.access.allow(Reason::TokenRenewed);
        Ok(true)
    }
}
