//! The revocation check of an authority, as the file has it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::seconds;
use crate::config::address::HttpUrl;
use crate::config::name::Name;
use crate::config::value::GoDuration;
use crate::domain::settings::{OnFailure, RevocationKind};

/// The revocation check of an authority's tokens.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Revocation {
    /// The source of the status alone.
    Kind(RevocationKind),
    /// The source with its settings.
    Full(FullRevocation),
}

/// The revocation check of an authority's tokens, with its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct FullRevocation {
    /// The source of the revocation status.
    #[serde(default)]
    pub kind: RevocationKind,
    /// The maximum age of a status while the issuer answers: 1s to 10m.
    #[serde(default = "default_max_age")]
    pub max_age: GoDuration,
    /// The maximum age of a status while the issuer does not answer: 0s to 24h, at least `maxAge`.
    /// The last list is kept in `stateDir`, so this also applies after a restart.
    #[serde(default = "default_max_stale")]
    pub max_stale: GoDuration,
    /// The answer to a request when no status is recent enough.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The name of the credential that authenticates introspection requests.
    pub credential: Option<Name>,
    /// The URL to ask instead of the URL in the issuer's metadata. It needs a `kind` other than
    /// `auto`.
    pub endpoint: Option<HttpUrl>,
}

impl FullRevocation {
    /// The default settings of a source.
    pub fn of(kind: RevocationKind) -> Self {
        Self {
            kind,
            max_age: default_max_age(),
            max_stale: default_max_stale(),
            on_failure: OnFailure::default(),
            credential: None,
            endpoint: None,
        }
    }
}

fn default_max_age() -> GoDuration {
    seconds(30)
}

fn default_max_stale() -> GoDuration {
    seconds(15 * 60)
}
