//! The format of an access token: its type, its algorithm, and the claims that carry its scopes.
//!
//! RFC 9068 requires the type `at+jwt`, and most verifiers accept it. Some accept only `JWT`,
//! verify only RS256, or read scopes only from a list in `scp`. The verifiers of an audience read
//! the token, so each audience may have settings; one without settings gets the issuer's format.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::Schema;

use super::registration::seconds_schema;
use super::{TokenError, uri};
use crate::domain::duration::seconds;
pub use crate::domain::settings::{ScopeClaim, TokenType};
use crate::jose::Algorithm;

/// The settings of an audience. The issuer's apply where one is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AudienceSettings {
    /// The `typ` header of its tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<TokenType>,
    /// The algorithm that signs them. A key of it is made when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        value_type = Option<String>,
        pattern = "^(ES256|ES384|RS256|RS384|RS512|PS256|PS384|PS512|EdDSA)$"
    )]
    pub algorithm: Option<Algorithm>,
    /// The claims that carry their scopes: a text in `scope`, a list in `scp`, or both.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 2)]
    pub scope_claims: Option<Vec<ScopeClaim>>,
    /// Their longest lifetime, 1s to 24h, and the lifetime for clients without their own.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds")]
    #[schema(schema_with = lifetime_schema)]
    pub access_token_lifetime: Option<Duration>,
}

fn lifetime_schema() -> Schema {
    let text = "Their longest lifetime, 1s to 24h, and the lifetime for clients without their own.";
    seconds_schema(text)
}

impl AudienceSettings {
    /// Whether stored settings are ones that a request can make.
    pub(super) fn is_usable(&self) -> bool {
        let claims = self.scope_claims.as_deref();
        claims.is_none_or(|claims| {
            matches!(
                claims,
                [_] | [ScopeClaim::Scope, ScopeClaim::Scp] | [ScopeClaim::Scp, ScopeClaim::Scope]
            )
        }) && self.access_token_lifetime != Some(Duration::ZERO)
    }

    /// These settings, and those of `other` where one is absent.
    fn or(&self, other: &Self) -> Self {
        Self {
            token_type: self.token_type.or(other.token_type),
            algorithm: self.algorithm.or(other.algorithm),
            scope_claims: self
                .scope_claims
                .as_ref()
                .or(other.scope_claims.as_ref())
                .cloned(),
            access_token_lifetime: self.access_token_lifetime.or(other.access_token_lifetime),
        }
    }
}

/// The settings of audiences, by audience.
pub type ByAudience = BTreeMap<String, AudienceSettings>;

/// The format of one access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFormat {
    pub token_type: TokenType,
    pub algorithm: Algorithm,
    /// Not empty.
    pub scope_claims: Vec<ScopeClaim>,
    /// [`AudienceSettings::access_token_lifetime`].
    pub lifetime: Option<Duration>,
}

impl TokenFormat {
    /// The format of a token for `audiences`. The client's settings take precedence over the
    /// issuer's; `self` is the format of an audience without settings.
    ///
    /// # Errors
    /// [`TokenError::MixedTargets`] if the audiences need different formats: one token has one.
    pub(super) fn of(
        &self,
        audiences: &[String],
        client: &ByAudience,
        issuer: &ByAudience,
    ) -> Result<Self, TokenError> {
        let mut formats = audiences.iter().map(|audience| {
            let settings = [client, issuer]
                .into_iter()
                .filter_map(|map| settings_of(map, audience));
            self.with(&settings.fold(AudienceSettings::default(), |sum, further| sum.or(further)))
        });
        let Some(first) = formats.next() else {
            return Ok(self.clone());
        };
        if formats.all(|format| format == first) {
            Ok(first)
        } else {
            Err(TokenError::MixedTargets)
        }
    }

    fn with(&self, settings: &AudienceSettings) -> Self {
        Self {
            token_type: settings.token_type.unwrap_or(self.token_type),
            algorithm: settings.algorithm.unwrap_or(self.algorithm),
            scope_claims: settings
                .scope_claims
                .as_ref()
                .unwrap_or(&self.scope_claims)
                .clone(),
            lifetime: settings.access_token_lifetime,
        }
    }

    /// The lifetime of a token; `own` is that of its client, `default` the issuer's. Zero: endless.
    pub(super) fn lifetime(&self, own: Option<Duration>, default: Duration) -> Duration {
        match (own, self.lifetime) {
            (Some(own), Some(longest)) if own.is_zero() => longest,
            (Some(own), Some(longest)) => own.min(longest),
            (own, longest) => own.or(longest).unwrap_or(default),
        }
    }
}

/// The settings of an audience, also under another spelling of its URI.
fn settings_of<'a>(map: &'a ByAudience, audience: &str) -> Option<&'a AudienceSettings> {
    let other_spelling = || {
        map.iter()
            .find(|(name, _)| uri::is_same(name, audience))
            .map(|(_, settings)| settings)
    };
    map.get(audience).or_else(other_spelling)
}

#[cfg(test)]
mod tests;
