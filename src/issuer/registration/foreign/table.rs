//! The members of other servers, and their meaning here.

use serde_json::Value;

use super::Meaning::{self, Any, Is, IsNot, Link, Nothing, Object, Only, Text, Texts};

/// The one value that a member may have.
#[derive(Clone, Copy)]
pub enum Expected {
    True,
    Text(&'static str),
}

impl Expected {
    pub(super) fn is(self, value: &Value) -> bool {
        match self {
            Self::True => value == true,
            Self::Text(text) => value == text,
        }
    }
}

const LOGIN: &str =
    "it asks for a login of people, and this server has none: its clients are machines";
const REDIRECT: &str = "it asks for redirects, and this server has none: its clients are machines";
const IMPLICIT: &str =
    "it asks for the implicit grant, and this server has none: its clients are machines";
const PASSWORD: &str =
    "it asks for the password grant, and this server has none: its clients are machines";
const PUBLIC: &str =
    "it asks for a client without a secret, and every client here authenticates itself";
const CORS: &str =
    "it asks for access from web pages (CORS), and this server's endpoints are for machines";
const BOUND: &str = "for tokens that are bound to a key, set `dpop_bound_access_tokens` or \
     `tls_client_certificate_bound_access_tokens`";
const OTHERS: &str = "it belongs to the server that issued it";
const MAPPERS: &str =
    "mappers are not taken over: `claims`, `audience` and `owner` say what the tokens hold";
const KEYS: &str =
    "use `token_endpoint_auth_method` and `jwks` or `jwks_uri` for a client with keys";

/// A meaning, and the members that have it.
type Row = (Meaning, &'static [&'static str]);

/// RFC 7591 §2 and §3.2.1.
pub(super) const RFC_7591: &[Row] = &[
    (Link, &["client_uri", "logo_uri", "tos_uri", "policy_uri"]),
    (Texts, &["contacts"]),
    (Text, &["software_id", "software_version"]),
    (Object, &["metadata"]),
    (Nothing(REDIRECT), &["redirect_uris"]),
    (
        Nothing("software statements are not verified here: send the members themselves"),
        &["software_statement"],
    ),
    (
        Nothing(OTHERS),
        &["registration_access_token", "registration_client_uri"],
    ),
];

/// OpenID Connect and further RFCs, Hydra, Auth0 and Keycloak.
pub(super) const OTHER_SERVERS: &[Row] = &[
    // OpenID Connect Dynamic Client Registration §2, session management, RFC 8705, RFC 9101,
    // RFC 9126 and RFC 9449.
    (
        Text,
        &[
            "application_type",
            "id_token_signed_response_alg",
            "userinfo_signed_response_alg",
            "request_object_signing_alg",
        ],
    ),
    (
        Only(
            Expected::Text("public"),
            "the subject of a token is the client, the same for every audience",
        ),
        &["subject_type"],
    ),
    (
        Any,
        &[
            "default_max_age",
            "require_auth_time",
            "backchannel_logout_session_required",
            "frontchannel_logout_session_required",
        ],
    ),
    (
        Nothing(LOGIN),
        &[
            "sector_identifier_uri",
            "initiate_login_uri",
            "default_acr_values",
            "backchannel_logout_uri",
            "frontchannel_logout_uri",
            "request_uris",
            "require_pushed_authorization_requests",
            "require_signed_request_object",
        ],
    ),
    (Nothing(REDIRECT), &["post_logout_redirect_uris"]),
    (
        Nothing("the algorithm follows from the client's keys"),
        &["token_endpoint_auth_signing_alg"],
    ),
    // Hydra's `OAuth2Client`, which its command line and its Terraform provider send whole.
    (
        Is("access_token_lifetime"),
        &["client_credentials_grant_access_token_lifespan"],
    ),
    (
        Only(Expected::Text("jwt"), "every access token here is a JWT"),
        &["access_token_strategy"],
    ),
    (Nothing(CORS), &["allowed_cors_origins"]),
    (Any, &["skip_consent", "skip_logout_consent"]),
    // The management APIs of Auth0 and Keycloak, and their Terraform providers.
    (Is("client_name"), &["name", "clientName"]),
    (Is("client_id"), &["clientId"]),
    (Is("client_secret"), &["secret", "clientSecret"]),
    (Is("client_type"), &["app_type"]),
    (IsNot("disabled"), &["enabled"]),
    (Text, &["description"]),
    (Object, &["client_metadata", "attributes"]),
    // Auth0: its own bookkeeping, and settings of ID tokens and of the login page.
    (
        Any,
        &[
            "tenant",
            "global",
            "is_first_party",
            "oidc_conformant",
            "jwt_configuration",
            "signing_keys",
            "sso",
            "sso_disabled",
            "custom_login_page_on",
            "custom_login_page",
            "refresh_token",
            "organization_usage",
            "is_token_endpoint_ip_header_trusted",
            "native_social_login",
            "cross_origin_loc",
            "form_template",
            "allowed_clients",
            "client_aliases",
            "addons",
            "mobile",
            "encryption_key",
            "organization_require_behavior",
            "organization_discovery_methods",
            "default_organization",
            "callback_url_template",
            "compliance_level",
            "oidc_logout",
            "oidc_backchannel_logout",
            "resource_server_identifier",
            "session_transfer",
        ],
    ),
    (
        Nothing("token exchange has a member of its own, `exchange`"),
        &["token_exchange"],
    ),
    (Nothing("limits are not supported yet"), &["token_quota"]),
    (Nothing(KEYS), &["client_authentication_methods"]),
    (Nothing(REDIRECT), &["callbacks", "allowed_logout_urls"]),
    (Nothing(CORS), &["allowed_origins", "web_origins"]),
    (
        Nothing(LOGIN),
        &["cross_origin_auth", "cross_origin_authentication"],
    ),
    (Nothing(BOUND), &["require_proof_of_possession"]),
    // Keycloak: its own bookkeeping, and client scopes, which are bundles of mappers and not
    // scopes of RFC 6749.
    (
        Any,
        &[
            "id",
            "access",
            "notBefore",
            "fullScopeAllowed",
            "nodeReRegistrationTimeout",
            "registeredNodes",
            "defaultClientScopes",
            "optionalClientScopes",
            "alwaysDisplayInConsole",
            "surrogateAuthRequired",
            "frontchannelLogout",
            "rootUrl",
            "baseUrl",
            "adminUrl",
            "origin",
        ],
    ),
    (Nothing(REDIRECT), &["redirectUris"]),
    (Nothing(CORS), &["webOrigins"]),
    (
        Nothing(LOGIN),
        &[
            "standardFlowEnabled",
            "consentRequired",
            "authenticationFlowBindingOverrides",
        ],
    ),
    (Nothing(IMPLICIT), &["implicitFlowEnabled"]),
    (Nothing(PASSWORD), &["directAccessGrantsEnabled"]),
    (Nothing(PUBLIC), &["publicClient"]),
    (
        Nothing("it asks for a client that gets no tokens, which needs no registration here"),
        &["bearerOnly"],
    ),
    (
        Nothing(
            "this server has no authorization services: the inbound listener's rules authorize \
             requests",
        ),
        &["authorizationServicesEnabled", "authorizationSettings"],
    ),
    (Nothing(MAPPERS), &["protocolMappers"]),
    (Nothing(OTHERS), &["registrationAccessToken"]),
    (
        Only(
            Expected::True,
            "every client here uses the client credentials grant",
        ),
        &["serviceAccountsEnabled"],
    ),
    (
        Only(
            Expected::Text("openid-connect"),
            "this server supports only OAuth 2.0",
        ),
        &["protocol"],
    ),
    (
        Only(Expected::Text("client-secret"), KEYS),
        &["clientAuthenticatorType"],
    ),
];
