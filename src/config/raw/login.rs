//! A login that is not OAuth, as the file has it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::address::HttpUrl;
use crate::config::header::UpstreamHeader;
use crate::config::token_text::{JsonPointer, TokenPlaceText};
use crate::config::value::{FilePath, GoDuration};

/// A request for a token to an endpoint that is not OAuth. Redirects are not followed, and an
/// answer has at most 128 KiB.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Login {
    /// The URL of the login endpoint.
    pub url: HttpUrl,
    /// The method of the request.
    #[serde(default)]
    pub method: LoginMethod,
    /// Headers of the request: a text, or `{ valueFile: PATH }` for a secret.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "upstream-header" }))]
    pub headers: BTreeMap<UpstreamHeader, LoginValue>,
    /// The body of the request. Default: none.
    pub body: Option<LoginBody>,
    /// The place of the token in the answer: a JSON Pointer (RFC 6901) such as `/data/token`, or a
    /// header such as `header X-Auth-Token`. The word `Bearer` before the token is removed.
    pub token: TokenPlaceText,
    /// The JSON Pointer of the token's lifetime in seconds, or of its end (RFC 3339). Default: the
    /// `exp` of a JWT, else `lifetime`.
    pub expires_in: Option<JsonPointer>,
    /// The lifetime of a token whose answer does not tell it: 1s to 24h. Default: 5m.
    pub lifetime: Option<GoDuration>,
}

/// The method of a login.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(in crate::config) enum LoginMethod {
    /// With an optional body.
    #[default]
    Post,
    /// With an optional JSON body.
    Put,
    /// Without a body.
    Get,
}

/// The body of a login: one of `json` and `form`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct LoginBody {
    /// A JSON object. `{ valueFile: PATH }` in place of a value is the content of a file.
    pub json: Option<Map<String, Value>>,
    /// The fields of a form: a text, or `{ valueFile: PATH }` for a secret.
    pub form: Option<BTreeMap<String, LoginValue>>,
}

/// A value of a login.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum LoginValue {
    /// This text.
    Text(String),
    /// The content of a file.
    File(ValueFile),
}

/// A secret of a login.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct ValueFile {
    /// A file with the value: one line, whose line ending is not part of it. A changed file takes
    /// effect at once.
    pub value_file: FilePath,
}
