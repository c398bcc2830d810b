//! The metadata document (RFC 8414 §2, OpenID Connect Discovery 1.0 §3) and the paths it names.
//!
//! It lists only what is supported.

use serde_json::{Value, json};

use super::profile::ProfilePolicy;
use crate::domain::oauth::{ClientAuthMethod, GrantType};
use crate::jose::{ALGORITHMS, Algorithm, algorithm_name};

/// The token endpoint, below the issuer's path.
pub const TOKEN_PATH: &str = "/oauth/token";
/// The authorization endpoint (RFC 6749 §3.1), below the issuer's path. It only answers that there
/// is no login.
pub const AUTHORIZE_PATH: &str = "/oauth/authorize";
/// The revocation endpoint (RFC 7009), below the issuer's path.
pub const REVOKE_PATH: &str = "/oauth/revoke";
/// The introspection endpoint (RFC 7662), below the issuer's path.
pub const INTROSPECT_PATH: &str = "/oauth/introspect";
/// plgd's tokens API, below the issuer's path; of the plgd profile only.
pub const TOKENS_PATH: &str = "/api/v1/tokens";
/// The signed list of revoked tokens, below the issuer's path.
pub const REVOCATIONS_PATH: &str = "/oauth/revocations";
/// The key set, below the issuer's path.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";
/// OpenID Connect's metadata, below the issuer's path.
pub const OPENID_CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
/// OAuth's metadata: RFC 8414 §3.1 appends the issuer's path to it.
pub const AUTHORIZATION_SERVER_PATH: &str = "/.well-known/oauth-authorization-server";

/// The method of RFC 7523 §2.2, as OpenID Connect Core 1.0 §9 names it.
pub const PRIVATE_KEY_JWT: &str = "private_key_jwt";

/// The method of draft-ietf-oauth-spiffe-client-auth §4 for JWT-SVIDs.
const SPIFFE_JWT: &str = "spiffe_jwt";

/// The client certificates that a listener requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestedCertificates {
    /// Those of its authorities (RFC 8705 §2.1).
    pub verified: bool,
    /// Self-signed ones (RFC 8705 §2.2).
    pub self_signed: bool,
}

fn auth_methods(certificates: RequestedCertificates, takes_svids: bool) -> Vec<&'static str> {
    let by_certificate = [
        ("tls_client_auth", certificates.verified),
        ("self_signed_tls_client_auth", certificates.self_signed),
    ];
    let by_certificate = by_certificate
        .into_iter()
        .filter_map(|(name, is_possible)| is_possible.then_some(name));
    ClientAuthMethod::ALL
        .map(ClientAuthMethod::as_str)
        .into_iter()
        .chain([PRIVATE_KEY_JWT])
        .chain(takes_svids.then_some(SPIFFE_JWT))
        .chain(by_certificate)
        .collect()
}

/// The document of an issuer with published keys of these algorithms, at a listener that requests
/// these client certificates. `takes_svids`: whether clients authenticate by JWT-SVIDs.
pub(super) fn document(
    issuer: &str,
    profile: ProfilePolicy,
    algorithms: &[Algorithm],
    certificates: RequestedCertificates,
    takes_svids: bool,
) -> Value {
    let auth_methods = auth_methods(certificates, takes_svids);
    let algorithms: Vec<_> = algorithms.iter().copied().map(algorithm_name).collect();
    let base = issuer.trim_end_matches('/');
    let assertion_algorithms: Vec<_> = ALGORITHMS.iter().copied().map(algorithm_name).collect();
    let mut document = json!({
        "issuer": issuer,
        // OpenID Connect Discovery 1.0 §3 requires it, and OpenID clients refuse a document without
        // it, even for client credentials. The endpoint answers that there is no login.
        "authorization_endpoint": format!("{base}{AUTHORIZE_PATH}"),
        "token_endpoint": format!("{base}{TOKEN_PATH}"),
        "jwks_uri": format!("{base}{JWKS_PATH}"),
        "revocation_endpoint": format!("{base}{REVOKE_PATH}"),
        "revocation_endpoint_auth_methods_supported": auth_methods,
        "revocation_endpoint_auth_signing_alg_values_supported": assertion_algorithms,
        "introspection_endpoint": format!("{base}{INTROSPECT_PATH}"),
        "introspection_endpoint_auth_methods_supported": auth_methods,
        "introspection_endpoint_auth_signing_alg_values_supported": assertion_algorithms,
        "revocation_list_uri": format!("{base}{REVOCATIONS_PATH}"),
        "grant_types_supported": GrantType::ALL.map(GrantType::as_str),
        "token_endpoint_auth_methods_supported": auth_methods,
        "token_endpoint_auth_signing_alg_values_supported": assertion_algorithms,
        "dpop_signing_alg_values_supported": assertion_algorithms,
        // Without a login there is no response type.
        "response_types_supported": [],
        // There are no ID tokens, but OpenID clients refuse a document without these two. The
        // values are true of access tokens: one subject name for all, signed with one of these
        // algorithms.
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    });
    if certificates != RequestedCertificates::default() {
        document["tls_client_certificate_bound_access_tokens"] = true.into();
    }
    if profile.tokens_api {
        document["plgd_tokens_endpoint"] = format!("{base}{TOKENS_PATH}").into();
    }
    document
}
