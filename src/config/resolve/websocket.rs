//! Token locations, and the settings of WebSockets.

use std::time::Duration;

use super::resolver::Resolver;
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::config::value::GoDuration;
use crate::domain::settings::{Authorization, TokenLocation};
use crate::domain::web_origin::WebOrigin;
use crate::proxy::inbound::UpstreamAuthorization;
use crate::verifier::TokenLocations;

/// Where the token of a request is.
pub(super) fn token_locations(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Inbound,
) -> TokenLocations {
    let has = |location| raw.token_locations.contains(&location);
    let has_cookie = has(TokenLocation::WebsocketCookie);
    let origins = raw.allowed_origins.as_ref();
    if has_cookie && origins.is_none_or(Vec::is_empty) {
        let message = "`websocketCookie` needs `allowedOrigins`: browsers send the cookie with the \
                       WebSockets of any page, so list the origins whose pages may open one";
        resolver.error(&path.key("tokenLocations"), message);
    }
    if !has_cookie && resolver.tree.find(&path.key("tokenCookie")).is_some() {
        let message = "it has no effect without `websocketCookie` in `tokenLocations`";
        resolver.warn(&path.key("tokenCookie"), message);
    }
    TokenLocations {
        bearer: has(TokenLocation::Authorization),
        basic: has(TokenLocation::Basic),
        websocket_cookie: has_cookie.then(|| raw.token_cookie.0.as_str().into()),
        websocket_subprotocol: has(TokenLocation::WebsocketSubprotocol),
    }
}

/// The origins whose pages may open WebSockets.
pub(super) fn allowed_origins(raw: &raw::Inbound) -> Option<Vec<WebOrigin>> {
    let origins = raw.allowed_origins.as_ref()?;
    let origins = origins.iter().filter_map(|origin| origin.0.parse().ok());
    Some(origins.collect())
}

/// Where the upstream gets the token.
pub(super) fn upstream_authorization(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Inbound,
) -> UpstreamAuthorization {
    let of_word = |word| match word {
        Authorization::Keep => UpstreamAuthorization::Keep,
        Authorization::Strip => UpstreamAuthorization::Strip,
    };
    let Some(placed) = &raw.upstream_authorization else {
        return of_word(raw.settings.authorization);
    };
    if resolver.tree.find(&path.key("authorization")).is_some() {
        let message = "set either `authorization` or `upstreamAuthorization`, not both";
        resolver.error(&path.key("upstreamAuthorization"), message);
    }
    match placed {
        raw::UpstreamAuthorization::Word(word) => of_word(*word),
        raw::UpstreamAuthorization::Cookie(raw::InCookie { cookie }) => {
            UpstreamAuthorization::Cookie(cookie.0.clone())
        }
    }
}

/// How long a WebSocket may carry no byte.
pub(super) fn idle(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: Option<GoDuration>,
) -> Option<Duration> {
    let idle = raw?;
    let (least, most) = (Duration::from_secs(1), Duration::from_hours(24));
    resolver.duration(&path.key("wsIdle"), idle, least, most);
    Some(idle.0)
}
