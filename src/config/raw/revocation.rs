//! How an authority's revoked tokens are found out, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::seconds;
use crate::config::address::HttpUrl;
use crate::config::name::Name;
use crate::config::value::GoDuration;
use crate::domain::settings::{OnFailure, RevocationKind};

/// How it is found out whether a token was revoked.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Revocation {
    /// Who is asked.
    Kind(RevocationKind),
    /// Who is asked, and how.
    Full(FullRevocation),
}

/// Who is asked whether a token was revoked, and how.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct FullRevocation {
    /// Who is asked.
    #[serde(default)]
    pub kind: RevocationKind,
    /// How old an answer may be while the issuer answers: 1s to 10m.
    #[serde(default = "default_revocation_max_age")]
    pub max_age: GoDuration,
    /// For how long the last answer serves while the issuer does not answer: 0s to 24h, at least
    /// `maxAge`. The last list is kept in `stateDir`, so that this holds over a restart.
    #[serde(default = "default_revocation_max_stale")]
    pub max_stale: GoDuration,
    /// What happens to a request when there is no answer that is young enough.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The name of the credential that introspection is asked with.
    pub credential: Option<Name>,
    /// Where to ask, instead of where the issuer's metadata says. Needs a `kind` other than `auto`.
    pub endpoint: Option<HttpUrl>,
}

impl FullRevocation {
    /// What the word alone stands for.
    pub fn of(kind: RevocationKind) -> Self {
        let (max_age, max_stale) = (default_revocation_max_age(), default_revocation_max_stale());
        Self {
            kind,
            max_age,
            max_stale,
            on_failure: OnFailure::default(),
            credential: None,
            endpoint: None,
        }
    }
}

fn default_revocation_max_age() -> GoDuration {
    seconds(30)
}

fn default_revocation_max_stale() -> GoDuration {
    seconds(15 * 60)
}
