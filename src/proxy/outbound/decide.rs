//! Decides about a request: checks its destination, then obtains the token.

use std::net::SocketAddr;

use futures_util::FutureExt;
use http::{Method, Version};
use pingora::http::RequestHeader;

use super::forward::{Routed, Urls};
use super::reverse::Called;
use super::{Credential, Destination, Mode, Outbound, Refused, Route, State, proof};
use crate::domain::reason::Reason;
use crate::domain::secret::ExposeSecret;
use crate::domain::tunnel_host::Reach;
use crate::domain::websocket;
use crate::proxy::access::Access;
use crate::proxy::client::Client;
use crate::proxy::connection::Way;
use crate::proxy::fault::Fault;
use crate::proxy::head;
use crate::token_source::{AccessToken, NotExchanged, Subject, TokenSource};
use crate::verifier::BearerToken;

const NOT_REDIRECTED: &str = "This listener is transparent: it takes connections that iptables or \
    nftables redirects to it, and no calls of its own address.";

impl Outbound {
    /// Checks the destination, and only then requests the token.
    pub(super) async fn evaluate(
        &self,
        client: &mut Client<'_>,
        request: &RequestHeader,
        state: &mut State,
        access: &mut Access,
    ) -> Result<(), Refused> {
        // The response to TRACE would contain the token.
        if matches!(request.method, Method::CONNECT | Method::TRACE) {
            return Err(Reason::Method.into());
        }
        head::target(request)?;
        let route = self.route(request, client.local(), client.way()).await?;
        self.mark.check(&request.headers)?;
        state.is_websocket = websocket::asks(&request.headers);
        if state.is_websocket {
            let checked = websocket::check(&request.method, &request.headers);
            checked.map_err(|rule| Fault::because(Reason::WebSocket, rule))?;
            if request.version == Version::HTTP_10 {
                return Err(Fault::because(Reason::WebSocket, websocket::HTTP_1_1).into());
            }
        }
        let credential = match &route {
            Route::Elsewhere(_) => Credential::Withheld,
            Route::To(index, _) => {
                let both = (&mut *state, &mut *access);
                let credential = self.credential(client, request, *index, both).await?;
                if self.is_throttled(*index) {
                    let both = (&mut *state, &mut *access);
                    let turn = self.await_turn(client, request, (*index, credential), both);
                    turn.boxed().await?
                } else {
                    credential
                }
            }
        };
        access.allow(match credential {
            Credential::Attached(..) => Reason::TokenAttached,
            Credential::Own => Reason::OwnAuthorization,
            Credential::Withheld => Reason::PassedThrough,
        });
        (state.route, state.credential) = (Some(route), Some(credential));
        Ok(())
    }

    /// The cookie that carries the token of this request, instead of the header.
    pub(super) fn cookie(&self, state: &State) -> Option<&str> {
        let cookie = self.attach.websocket_cookie.as_deref();
        cookie.filter(|_| state.is_websocket)
    }

    pub(super) async fn route(
        &self,
        request: &RequestHeader,
        local: SocketAddr,
        way: &Way,
    ) -> Result<Route, Refused> {
        self.pages.check(&request.headers)?;
        match &self.mode {
            Mode::Reverse(reverse) => {
                let upstream = &self.destination(0)?.upstream;
                let called = Called {
                    host: upstream.host(),
                    authority: upstream.authority(),
                };
                reverse.check(request, &called, local)?;
                Ok(Route::To(0, None))
            }
            Mode::Forward(forward) => {
                let targets = &forward.targets;
                let original = match way {
                    Way::Redirected(to) => Some(*to),
                    Way::Direct | Way::Tunnel(_) if forward.is_transparent => {
                        return Err(Refused::because(Reason::Destination, NOT_REDIRECTED));
                    }
                    Way::Direct | Way::Tunnel(_) => None,
                };
                let passes = forward.passes || original.is_some();
                match (
                    super::forward::route(targets, passes, request, way)?,
                    original,
                ) {
                    (Routed::Target(index, path), Some(to)) => {
                        forward.redirected_to_target(index, path, to).await
                    }
                    (Routed::Elsewhere(..), Some(to)) => forward.redirected_elsewhere(to),
                    (Routed::Target(index, path), None) => Ok(Route::To(index, path)),
                    (Routed::Elsewhere(host, port), None) => {
                        let anywhere = forward.anywhere.as_ref().ok_or(Reason::Destination)?;
                        let protected: Vec<_> = targets.iter().filter_map(Urls::address).collect();
                        let found = anywhere.resolve(&host, port, Reach::Public, &protected);
                        Ok(Route::Elsewhere(found.await?))
                    }
                }
            }
        }
    }

    pub(super) async fn credential(
        &self,
        client: &mut Client<'_>,
        request: &RequestHeader,
        index: usize,
        (state, access): (&mut State, &mut Access),
    ) -> Result<Credential, Refused> {
        if self.destination(index)?.credential.is_exchanging() {
            return self
                .exchanged(client, request, index, (state, access))
                .await;
        }
        if !self.settings.overwrite && self.has_own_token(request, state) {
            return Ok(Credential::Own);
        }
        let source = &self.destination(index)?.credential;
        if let Some(token) = source.current() {
            return Ok(self.attached(source, token)?);
        }
        // A caller that disconnects cancels its wait for a token.
        let token = tokio::select! {
            token = source.token() => token,
            () = client.departed() => return Err(Reason::ClientGone.into()),
        };
        let token = token.map_err(|unavailable| {
            state.retry_after = Some(unavailable.retry_after_secs());
            unavailable.reason()
        })?;
        Ok(self.attached(source, token)?)
    }

    /// The token that the authority gives in exchange for the caller's.
    async fn exchanged(
        &self,
        client: &mut Client<'_>,
        request: &RequestHeader,
        index: usize,
        (state, access): (&mut State, &mut Access),
    ) -> Result<Credential, Refused> {
        let source = &self.destination(index)?.credential;
        let bearer = BearerToken::extract(&request.headers);
        let bearer = bearer.map_err(|refusal| refusal.reason)?;
        let subject = Subject::new(bearer.text());
        let token = tokio::select! {
            token = source.token_for(&subject) => token,
            () = client.departed() => return Err(Reason::ClientGone.into()),
        };
        let token = token.map_err(|not_exchanged| match not_exchanged {
            NotExchanged::Refused(error) => {
                Fault::because(Reason::ExchangeRefused, error.to_string())
            }
            NotExchanged::Unavailable(unavailable) => {
                state.retry_after = Some(unavailable.retry_after_secs());
                Reason::TokenUnavailable.into()
            }
        })?;
        access.note_exchanged(token.secret().expose_secret());
        state.subject = Some(subject);
        Ok(self.attached(source, token)?)
    }

    pub(super) fn attached(
        &self,
        source: &TokenSource,
        token: AccessToken,
    ) -> Result<Credential, Reason> {
        let prefix = match source.is_dpop() {
            true => proof::PREFIX,
            false => &self.attach.prefix,
        };
        let value = token
            .header_value(prefix)
            .map_err(|_| Reason::TokenUnavailable)?;
        Ok(Credential::Attached(token, value))
    }

    pub(super) fn destination(&self, index: usize) -> Result<&Destination, Reason> {
        self.destinations.get(index).ok_or(Reason::Internal)
    }
}
