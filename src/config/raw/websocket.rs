//! Where the tokens of WebSockets are, as the file has it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::name::CookieName;
use crate::domain::settings::Authorization;

pub(super) fn default_token_cookie() -> CookieName {
    CookieName("token".to_owned())
}

/// Where the upstream gets the caller's token.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum UpstreamAuthorization {
    /// As `authorization`.
    Word(Authorization),
    /// In a cookie.
    Cookie(InCookie),
}

/// The cookie that carries the token to the upstream.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct InCookie {
    /// The name of the cookie. A request for a WebSocket has the token there, and nowhere else.
    /// Other requests are not changed.
    pub cookie: CookieName,
}
