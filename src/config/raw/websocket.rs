//! Where the tokens of WebSockets are, as the file has it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::header::UpstreamHeader;
use crate::config::name::{BasicUser, CookieName};
use crate::config::value::FilePath;
use crate::domain::settings::Authorization;

pub(super) fn default_token_cookie() -> CookieName {
    CookieName("token".to_owned())
}

/// The place of the caller's token at the upstream, or the credential instead of it.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum UpstreamAuthorization {
    /// As `authorization`.
    Word(Authorization),
    /// In a cookie, or a credential of the sidecar instead.
    Placed(Placed),
}

/// The cookie that carries the token to the upstream, or a credential of the sidecar: one of
/// `cookie`, `basic`, `bearerFile`, or `header` with `valueFile`.
///
/// Requests with a verified token carry the credential. The token and the client's headers of this
/// name are removed from every request. Changed files take effect at once.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Placed {
    /// The name of the cookie. A request for a WebSocket has the token there, and nowhere else.
    /// Other requests are not changed.
    pub cookie: Option<CookieName>,
    /// `Authorization: Basic` with a user and a password.
    pub basic: Option<BasicUpstream>,
    /// The file of a token for `Authorization: Bearer`.
    pub bearer_file: Option<FilePath>,
    /// The name of a header with the content of `valueFile`, such as `X-API-Key`.
    pub header: Option<UpstreamHeader>,
    /// The file of the value of `header`: one line of printable ASCII characters.
    pub value_file: Option<FilePath>,
}

/// A user of the upstream.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct BasicUpstream {
    /// The name of the user, without a colon.
    pub user: BasicUser,
    /// The file of the password.
    pub password_file: FilePath,
}

/// The cookie that carries the token to the upstream.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct InCookie {
    /// The name of the cookie. A request for a WebSocket has the token there, and nowhere else.
    /// Other requests are not changed.
    pub cookie: CookieName,
}
