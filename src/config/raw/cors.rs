//! CORS (Fetch standard), as the file has it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::seconds;
use crate::config::header::{CorsHeader, FieldName};
use crate::config::name::{CorsOrigin, Method};
use crate::config::value::GoDuration;

/// The web pages of other sites that may use a listener.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Cors {
    /// The origins of the pages, such as `https://app.example`. `*` alone allows all pages.
    #[schemars(length(min = 1))]
    pub origins: Vec<CorsOrigin>,
    /// The methods that a page may use.
    #[serde(default = "default_methods")]
    #[schemars(length(min = 1))]
    pub methods: Vec<Method>,
    /// The header fields that a page may send. `*` alone allows all that it asks for.
    #[serde(default = "default_headers")]
    #[schemars(length(min = 1))]
    pub headers: Vec<CorsHeader>,
    /// The header fields of a response that a page may read.
    #[serde(default = "default_expose_headers")]
    pub expose_headers: Vec<FieldName>,
    /// Whether a page may send cookies. The origins must be listed then.
    #[serde(default)]
    pub credentials: bool,
    /// How long a browser keeps the reply to a preflight: at most 24h, in whole seconds.
    #[serde(default = "default_max_age")]
    pub max_age: GoDuration,
}

fn default_methods() -> Vec<Method> {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
        .map(|method| Method(method.to_owned()))
        .into()
}

fn default_headers() -> Vec<CorsHeader> {
    ["Authorization", "Content-Type"]
        .map(|name| CorsHeader(name.to_owned()))
        .into()
}

fn default_expose_headers() -> Vec<FieldName> {
    [
        "DPoP-Nonce",
        "Retry-After",
        "WWW-Authenticate",
        "X-M2M-Reason",
    ]
    .map(|name| FieldName(name.to_owned()))
    .into()
}

fn default_max_age() -> GoDuration {
    seconds(600)
}
