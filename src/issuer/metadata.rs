//! The metadata document (RFC 8414 §2, OpenID Connect Discovery 1.0 §3) and the paths it names.
//!
//! It lists what works, and nothing else.

use serde_json::{Value, json};
use url::Url;

use super::OpenError;
use crate::domain::oauth::{ClientAuthMethod, GrantType};
use crate::domain::path::NormalPath;
use crate::jose::{Algorithm, algorithm_name};

/// The token endpoint, below the issuer's path.
pub const TOKEN_PATH: &str = "/oauth/token";
/// The revocation endpoint (RFC 7009), below the issuer's path.
pub const REVOKE_PATH: &str = "/oauth/revoke";
/// The signed list of revoked tokens, below the issuer's path.
pub const REVOCATIONS_PATH: &str = "/oauth/revocations";
/// The key set, below the issuer's path.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";
/// OpenID Connect's metadata, below the issuer's path.
pub const OPENID_CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
/// OAuth's metadata: RFC 8414 §3.1 puts the issuer's path *behind* it.
pub const AUTHORIZATION_SERVER_PATH: &str = "/.well-known/oauth-authorization-server";

/// The path of an issuer's URL in normal form, without a trailing slash.
pub(super) fn base_path(url: &str) -> Result<String, OpenError> {
    let parsed = Url::parse(url).map_err(|_| OpenError::Url)?;
    let plain = matches!(parsed.scheme(), "http" | "https")
        && parsed.username().is_empty()
        && parsed.password().is_none()
        && parsed.query().is_none()
        && parsed.fragment().is_none()
        && url.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain {
        return Err(OpenError::Url);
    }
    let path = NormalPath::parse(parsed.path()).map_err(|_| OpenError::Url)?;
    Ok(path.as_str().trim_end_matches('/').to_owned())
}

/// The document of an issuer; `algorithms` are those of its published keys.
pub(super) fn document(issuer: &str, algorithms: &[Algorithm]) -> Value {
    let algorithms: Vec<_> = algorithms.iter().copied().map(algorithm_name).collect();
    let base = issuer.trim_end_matches('/');
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{base}{TOKEN_PATH}"),
        "jwks_uri": format!("{base}{JWKS_PATH}"),
        "revocation_endpoint": format!("{base}{REVOKE_PATH}"),
        "revocation_endpoint_auth_methods_supported": ClientAuthMethod::ALL.map(ClientAuthMethod::as_str),
        "revocation_list_uri": format!("{base}{REVOCATIONS_PATH}"),
        "grant_types_supported": [GrantType::ClientCredentials.as_str()],
        "token_endpoint_auth_methods_supported": ClientAuthMethod::ALL.map(ClientAuthMethod::as_str),
        // Required even where there is no authorization endpoint, hence no response type.
        "response_types_supported": [],
        // There are no ID tokens, but clients made for OpenID Connect refuse a document without these two. What they
        // learn is true of our access tokens: one subject name for all, signed with one of these algorithms.
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    })
}
