//! How the assertions of a client name the issuer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The `aud` of the assertions of a client.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema, ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum AssertionAudiences {
    /// The issuer alone (RFC 7523bis), as a text or as a list with this one item.
    #[default]
    Issuer,
    /// Also the token endpoint, and lists of both (RFC 7523).
    Legacy,
}
