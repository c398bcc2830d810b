//! Token locations, and the settings of WebSockets.

use std::time::Duration;

use http::HeaderName;
use http::header::AUTHORIZATION;

use super::resolver::Resolver;
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::config::value::GoDuration;
use crate::domain::settings::{Authorization, TokenLocation};
use crate::domain::web_origin::WebOrigin;
use crate::proxy::inbound::{CredentialConfig, Scheme, UpstreamAuthorization};
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
        raw::UpstreamAuthorization::Placed(placed) => {
            let path = path.key("upstreamAuthorization");
            // Without one, the errors end the start.
            place(resolver, &path, placed).unwrap_or(UpstreamAuthorization::Strip)
        }
    }
}

/// The cookie of the token, or the credential that replaces it.
fn place(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Placed,
) -> Option<UpstreamAuthorization> {
    let set = [
        raw.cookie.is_some(),
        raw.basic.is_some(),
        raw.bearer_file.is_some(),
        raw.header.is_some() || raw.value_file.is_some(),
    ];
    if set.into_iter().filter(|is_set| *is_set).count() != 1 {
        let message = "set one of `cookie`, `basic`, `bearerFile`, or `header` with `valueFile`";
        resolver.error(path, message);
        return None;
    }
    if let Some(cookie) = &raw.cookie {
        return Some(UpstreamAuthorization::Cookie(cookie.0.clone()));
    }
    let (path, header, scheme, file) = if let Some(basic) = &raw.basic {
        let user = basic.user.0.clone();
        let path = path.key("basic").key("passwordFile");
        (
            path,
            AUTHORIZATION,
            Scheme::Basic { user },
            &basic.password_file,
        )
    } else if let Some(file) = &raw.bearer_file {
        (path.key("bearerFile"), AUTHORIZATION, Scheme::Bearer, file)
    } else {
        let (Some(header), Some(file)) = (&raw.header, &raw.value_file) else {
            resolver.error(path, "`header` and `valueFile` belong together: set both");
            return None;
        };
        let name = HeaderName::from_bytes(header.0.as_bytes()).ok()?;
        (path.key("valueFile"), name, Scheme::Plain, file)
    };
    let credential = CredentialConfig {
        header,
        scheme,
        file: file.0.clone(),
    };
    match credential.read() {
        Ok(_) => resolver.check_readers(&path, file),
        Err(problem) => resolver.file_error(&path, file, &problem),
    }
    Some(UpstreamAuthorization::Credential(credential))
}

/// Checks that the header of an upstream's credential is no identity header, also in the eyes of an
/// upstream that does not distinguish `-` and `_`.
pub(super) fn check_header(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    placed: &UpstreamAuthorization,
    identity: &[HeaderName],
) {
    let UpstreamAuthorization::Credential(credential) = placed else {
        return;
    };
    let folded = |name: &HeaderName| name.as_str().replace('_', "-");
    if identity
        .iter()
        .any(|name| folded(name) == folded(&credential.header))
    {
        let path = path.key("upstreamAuthorization").key("header");
        resolver.error(&path, "`identityHeaders` has it too: use another header");
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
