//! WebSockets: their handshake, and the place where the upstream gets their token.

use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};

use super::Inbound;
use super::config::UpstreamAuthorization;
use crate::domain::cookies;
use crate::domain::reason::Reason;
use crate::domain::secret::ExposeSecret;
use crate::domain::websocket::{self, Offered};
use crate::jose::dpop::DPOP;
use crate::proxy::fault::Fault;
use crate::verifier::{Permit, Refusal, TokenPlace};

const NO_TOKEN: &str = "the Connection header names the header that carries the token";
const NO_COOKIE: &str = "the token has a character that a cookie cannot have";

/// A request for a WebSocket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    /// The place of the token that was verified.
    verified: Option<TokenPlace>,
    /// Whether the client offers `Bearer`, and the upstream does not get it with its token.
    hides_bearer: bool,
}

impl Inbound {
    /// Reads a request that asks for a WebSocket; `None` for any other request.
    pub(super) fn opening(
        &self,
        request: &RequestHeader,
        permit: &Permit,
    ) -> Result<Option<Opening>, Refusal> {
        let headers = &request.headers;
        if !websocket::asks(headers) {
            return Ok(None);
        }
        if request.version == Version::HTTP_10 {
            return Err(Refusal {
                token: permit.token().cloned(),
                detail: Some(websocket::HTTP_1_1.into()),
                ..Refusal::new(Reason::WebSocket)
            });
        }
        let is_open = matches!(permit.reason(), Reason::Public | Reason::Preflight);
        let verified = self.gate.locations().place_in(headers);
        let verified = verified.filter(|_| !is_open);
        let offers_bearer = websocket::offered_token(headers) != Offered::Nothing;
        Ok(Some(Opening {
            verified,
            hides_bearer: offers_bearer && self.hides(TokenPlace::Subprotocol, verified),
        }))
    }

    /// Whether the upstream gets no token of this place. It never gets another token than the
    /// verified one, because it might use that instead.
    fn hides(&self, place: TokenPlace, verified: Option<TokenPlace>) -> bool {
        let locations = self.gate.locations();
        match &self.upstream_authorization {
            UpstreamAuthorization::Keep => verified.is_some_and(|verified| verified != place),
            // Without a verified token, that of a client would take its place.
            UpstreamAuthorization::Cookie(_) => {
                verified.is_some() || place != TokenPlace::Authorization
            }
            UpstreamAuthorization::Strip | UpstreamAuthorization::Credential(_) => {
                verified.is_some()
                    || match place {
                        TokenPlace::Authorization => true,
                        TokenPlace::Cookie => locations.websocket_cookie.is_some(),
                        TokenPlace::Subprotocol => locations.websocket_subprotocol,
                    }
            }
        }
    }

    /// Removes the tokens that the upstream does not get, and writes the cookie that carries the
    /// verified one.
    pub(super) fn place_token(
        &self,
        request: &mut RequestHeader,
        opening: Option<Opening>,
    ) -> Result<(), Fault> {
        let verified = opening.and_then(|opening| opening.verified);
        let moved = self.moved(&request.headers, verified)?;
        if self.hides(TokenPlace::Authorization, verified) {
            request.remove_header(&AUTHORIZATION);
            // A proof is worth nothing without its token.
            if self.upstream_authorization != UpstreamAuthorization::Keep {
                request.remove_header(&DPOP);
            }
        }
        if let Some(name) = &self.gate.locations().websocket_cookie
            && self.hides(TokenPlace::Cookie, verified)
            && request.headers.contains_key(COOKIE)
        {
            let left = cookies::replaced(&request.headers, name, None);
            set(request, COOKIE, left)?;
        }
        if let UpstreamAuthorization::Cookie(name) = &self.upstream_authorization
            && (moved.is_some() || request.headers.contains_key(COOKIE))
        {
            let cookies = cookies::replaced(&request.headers, name, moved.as_ref());
            set(request, COOKIE, cookies)?;
        }
        if opening.is_some_and(|opening| opening.hides_bearer) {
            let left = websocket::protocols_without_token(&request.headers);
            set(request, SEC_WEBSOCKET_PROTOCOL, left)?;
        }
        Ok(())
    }

    /// The cookie that carries the verified token to the upstream.
    fn moved(
        &self,
        headers: &HeaderMap,
        verified: Option<TokenPlace>,
    ) -> Result<Option<HeaderValue>, Fault> {
        let (UpstreamAuthorization::Cookie(name), Some(place)) =
            (&self.upstream_authorization, verified)
        else {
            return Ok(None);
        };
        let token = self.gate.locations().token_at(place, headers);
        let token = token.ok_or_else(|| Fault::malformed(NO_TOKEN))?;
        let pair = cookies::pair(name, token.expose_secret().as_bytes());
        let pair = pair.ok_or_else(|| Fault::malformed(NO_COOKIE))?;
        Ok(Some(pair))
    }
}

impl Opening {
    /// Selects `Bearer` for a client that offers it, if the upstream could not. A browser refuses a
    /// WebSocket without one of its subprotocols.
    pub(super) fn respond(self, response: &mut ResponseHeader) -> Result<(), Fault> {
        if self.hides_bearer
            && response.status == StatusCode::SWITCHING_PROTOCOLS
            && !response.headers.contains_key(SEC_WEBSOCKET_PROTOCOL)
        {
            response
                .insert_header(SEC_WEBSOCKET_PROTOCOL, websocket::BEARER)
                .map_err(|_| Reason::Internal)?;
        }
        Ok(())
    }
}

/// Replaces a field, or removes it.
fn set(
    request: &mut RequestHeader,
    name: HeaderName,
    value: Option<HeaderValue>,
) -> Result<(), Fault> {
    request.remove_header(&name);
    if let Some(value) = value {
        request
            .insert_header(name, value)
            .map_err(|_| Reason::Internal)?;
    }
    Ok(())
}
