//! Settings of the use of tokens: files that get them, and calls that need them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The format of a file with a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SinkFormat {
    /// The token alone, without a line ending.
    #[default]
    Raw,
    /// A JSON object: `access_token`, `token_type` and `expires_at` (RFC 3339). The time is a few
    /// seconds before the token's end.
    Json,
    /// A JSON object as kubectl and client-go read it from an exec plugin (`ExecCredential` of
    /// client.authentication.k8s.io/v1).
    ExecCredential,
}

/// The treatment of a request beyond a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WhenThrottled {
    /// It waits for its turn, in order, at most `maxWait`. A request that would wait for longer is
    /// refused at once.
    #[default]
    Wait,
    /// It gets 429 with `Retry-After`.
    Refuse,
}
