//! Members that programs for other servers send: clients of RFC 7591, Hydra's command line,
//! Terraform providers, exports of Auth0 and Keycloak.
//!
//! One that changes nothing here is kept and shown. One that asks for something this server does
//! not do is refused with that reason. One that is a member of ours by another name is read as that
//! member.

use serde_json::{Map, Value};
use url::Url;

use super::members::{FieldProblem, READ_ONLY};

/// All that is kept of one client, as JSON.
const MAX_KEPT: usize = 16 * 1024;
const MAX_TEXT: usize = 2048;

const LOGIN: &str =
    "it asks for a login of people, and this server has none: its clients are machines";
const REDIRECT: &str = "it asks for redirects, and this server has none: its clients are machines";
const IMPLICIT: &str =
    "it asks for the implicit grant, and this server has none: its clients are machines";
const PASSWORD: &str =
    "it asks for the password grant, and this server has none: its clients are machines";
const PUBLIC: &str =
    "it asks for a client without a secret, and every client here proves who it is";
const CORS: &str =
    "it asks for access from web pages (CORS), and this server's endpoints are for machines";
const BOUND: &str =
    "it asks for tokens that are bound to a key, and this server does not issue them yet";
const OTHERS: &str = "it belongs to the server that gave it";
const MAPPERS: &str =
    "mappers are not taken over: `claims`, `audience` and `owner` say what the tokens hold";

/// What a member means here.
enum Meaning {
    /// A member of ours.
    Is(&'static str),
    /// The opposite of a member of ours.
    IsNot(&'static str),
    /// Kept, whatever it is.
    Any,
    /// Kept; a text.
    Text,
    /// Kept; a list of texts.
    Texts,
    /// Kept; an http or https URL.
    Link,
    /// Kept; an object.
    Object,
    /// Kept while it asks for nothing: empty, zero, `false` or `none`. Otherwise this is the reason
    /// against it.
    Nothing(&'static str),
    /// Kept with this value. Otherwise this is the reason against it.
    Only(Value, &'static str),
}

fn meaning(name: &str) -> Option<Meaning> {
    // RFC 7591 §2.2: what people read may stand there once per language.
    let name = match name.split_once('#') {
        Some((name @ ("client_uri" | "logo_uri" | "tos_uri" | "policy_uri"), tag))
            if is_language(tag) =>
        {
            name
        }
        Some(("client_name", tag)) if is_language(tag) => return Some(Meaning::Text),
        Some(_) => return None,
        None => name,
    };
    of_rfc_7591(name)
        .or_else(|| of_openid(name))
        .or_else(|| of_hydra(name))
        .or_else(|| of_exports(name))
}

/// RFC 7591 §2 and §3.2.1.
fn of_rfc_7591(name: &str) -> Option<Meaning> {
    Some(match name {
        "client_uri" | "logo_uri" | "tos_uri" | "policy_uri" => Meaning::Link,
        "contacts" => Meaning::Texts,
        "software_id" | "software_version" => Meaning::Text,
        "metadata" => Meaning::Object,
        "redirect_uris" => Meaning::Nothing(REDIRECT),
        "software_statement" => Meaning::Nothing(
            "software statements are not verified here: send the members themselves",
        ),
        "registration_access_token" | "registration_client_uri" => Meaning::Nothing(OTHERS),
        _ => return None,
    })
}

/// OpenID Connect Dynamic Client Registration §2, session management, RFC 8705, RFC 9101, RFC 9126
/// and RFC 9449.
fn of_openid(name: &str) -> Option<Meaning> {
    Some(match name {
        "application_type"
        | "id_token_signed_response_alg"
        | "userinfo_signed_response_alg"
        | "request_object_signing_alg" => Meaning::Text,
        "subject_type" => Meaning::Only(
            "public".into(),
            "the subject of a token is the client, the same for everybody",
        ),
        "default_max_age" | "require_auth_time" => Meaning::Any,
        "backchannel_logout_session_required" | "frontchannel_logout_session_required" => {
            Meaning::Any
        }
        "sector_identifier_uri" | "initiate_login_uri" | "default_acr_values" => {
            Meaning::Nothing(LOGIN)
        }
        "backchannel_logout_uri" | "frontchannel_logout_uri" => Meaning::Nothing(LOGIN),
        "request_uris"
        | "require_pushed_authorization_requests"
        | "require_signed_request_object" => Meaning::Nothing(LOGIN),
        "post_logout_redirect_uris" => Meaning::Nothing(REDIRECT),
        "token_endpoint_auth_signing_alg" => {
            Meaning::Nothing("the algorithm follows from the client's keys")
        }
        "tls_client_certificate_bound_access_tokens" | "dpop_bound_access_tokens" => {
            Meaning::Nothing(BOUND)
        }
        _ => return None,
    })
}

/// Hydra's `OAuth2Client`, which its command line and its Terraform provider send whole.
fn of_hydra(name: &str) -> Option<Meaning> {
    Some(match name {
        "client_credentials_grant_access_token_lifespan" => Meaning::Is("access_token_lifetime"),
        "access_token_strategy" => Meaning::Only("jwt".into(), "every access token here is a JWT"),
        "allowed_cors_origins" => Meaning::Nothing(CORS),
        "skip_consent" | "skip_logout_consent" => Meaning::Any,
        // Of grants that there are not here.
        other if other.ends_with("_lifespan") && other.contains("_grant_") => Meaning::Any,
        _ => return None,
    })
}

/// What the management APIs of Auth0 and Keycloak, and their Terraform providers, say of a client.
fn of_exports(name: &str) -> Option<Meaning> {
    Some(match name {
        "name" | "clientName" => Meaning::Is("client_name"),
        "clientId" => Meaning::Is("client_id"),
        "secret" | "clientSecret" => Meaning::Is("client_secret"),
        "app_type" => Meaning::Is("client_type"),
        "enabled" => Meaning::IsNot("disabled"),
        "description" => Meaning::Text,
        "client_metadata" | "attributes" => Meaning::Object,
        // Auth0: its own housekeeping, and settings of ID tokens and of the login page.
        "tenant"
        | "global"
        | "is_first_party"
        | "oidc_conformant"
        | "jwt_configuration"
        | "signing_keys"
        | "sso"
        | "sso_disabled"
        | "custom_login_page_on"
        | "custom_login_page"
        | "refresh_token"
        | "organization_usage"
        | "is_token_endpoint_ip_header_trusted"
        | "native_social_login"
        | "cross_origin_loc"
        | "form_template"
        | "allowed_clients"
        | "client_aliases"
        | "addons"
        | "mobile"
        | "encryption_key"
        | "organization_require_behavior"
        | "organization_discovery_methods"
        | "default_organization"
        | "callback_url_template"
        | "compliance_level"
        | "oidc_logout"
        | "oidc_backchannel_logout"
        | "resource_server_identifier"
        | "session_transfer" => Meaning::Any,
        "token_exchange" => Meaning::Nothing("token exchange is not supported yet"),
        "token_quota" => Meaning::Nothing("limits are not supported yet"),
        "client_authentication_methods" => Meaning::Nothing(
            "say `token_endpoint_auth_method` and `jwks` or `jwks_uri` for a client with keys",
        ),
        "callbacks" | "allowed_logout_urls" => Meaning::Nothing(REDIRECT),
        "allowed_origins" | "web_origins" => Meaning::Nothing(CORS),
        "cross_origin_auth" | "cross_origin_authentication" => Meaning::Nothing(LOGIN),
        "require_proof_of_possession" => Meaning::Nothing(BOUND),
        // Keycloak: its own housekeeping, and client scopes, which are bundles of mappers and no
        // scopes of RFC 6749.
        "id"
        | "access"
        | "notBefore"
        | "fullScopeAllowed"
        | "nodeReRegistrationTimeout"
        | "registeredNodes"
        | "defaultClientScopes"
        | "optionalClientScopes"
        | "alwaysDisplayInConsole"
        | "surrogateAuthRequired"
        | "frontchannelLogout"
        | "rootUrl"
        | "baseUrl"
        | "adminUrl"
        | "origin" => Meaning::Any,
        "redirectUris" => Meaning::Nothing(REDIRECT),
        "webOrigins" => Meaning::Nothing(CORS),
        "standardFlowEnabled" | "consentRequired" | "authenticationFlowBindingOverrides" => {
            Meaning::Nothing(LOGIN)
        }
        "implicitFlowEnabled" => Meaning::Nothing(IMPLICIT),
        "directAccessGrantsEnabled" => Meaning::Nothing(PASSWORD),
        "publicClient" => Meaning::Nothing(PUBLIC),
        "bearerOnly" => Meaning::Nothing(
            "it asks for a client that gets no tokens, which needs no registration here",
        ),
        "authorizationServicesEnabled" | "authorizationSettings" => Meaning::Nothing(
            "this server has no authorization services: rules stand at the listener",
        ),
        "protocolMappers" => Meaning::Nothing(MAPPERS),
        "registrationAccessToken" => Meaning::Nothing(OTHERS),
        "serviceAccountsEnabled" => Meaning::Only(
            true.into(),
            "every client here uses the client credentials grant",
        ),
        "protocol" => Meaning::Only("openid-connect".into(), "this server speaks OAuth 2.0 only"),
        "clientAuthenticatorType" => Meaning::Only(
            "client-secret".into(),
            "say `token_endpoint_auth_method` and `jwks` or `jwks_uri` for a client with keys",
        ),
        _ => return None,
    })
}

fn is_language(tag: &str) -> bool {
    matches!(tag.len(), 1..=35)
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A request in our own words.
pub(super) struct Translated {
    /// Our members.
    pub own: Map<String, Value>,
    /// Those that are kept as they are. Null takes one away.
    pub kept: Map<String, Value>,
    pub problems: Vec<FieldProblem>,
}

/// Reads the members of other servers in a request; `known` are ours.
pub(super) fn translate(body: &Map<String, Value>, known: &[&str]) -> Translated {
    let mut read = Translated {
        own: Map::new(),
        kept: Map::new(),
        problems: Vec::new(),
    };
    for (name, value) in body {
        match meaning(name)
            .filter(|_| !known.contains(&name.as_str()) && !READ_ONLY.contains(&name.as_str()))
        {
            None => drop(read.own.insert(name.clone(), value.clone())),
            Some(Meaning::Is(member)) => read.is(name, member, value.clone(), body),
            Some(Meaning::IsNot(member)) => {
                let value = value
                    .as_bool()
                    .map_or_else(|| value.clone(), |flag| Value::Bool(!flag));
                read.is(name, member, value, body);
            }
            Some(meaning) => read.keep(name, value, &meaning),
        }
    }
    read
}

impl Translated {
    fn is(&mut self, name: &str, member: &str, value: Value, body: &Map<String, Value>) {
        let other = body
            .get(member)
            .or_else(|| self.own.get(member))
            .filter(|other| !other.is_null());
        if value == "" || value.is_null() && other.is_some() {
            return;
        }
        if other.is_some_and(|other| *other != value) {
            let problem = format!("it is another name for `{member}`, which says something else");
            self.problems.push(FieldProblem::new(name, problem));
        } else {
            self.own.insert(member.to_owned(), value);
        }
    }

    fn keep(&mut self, name: &str, value: &Value, meaning: &Meaning) {
        if let Err(problem) = judge(value, meaning) {
            self.problems.push(FieldProblem::new(name, problem));
        } else {
            self.kept.insert(name.to_owned(), value.clone());
        }
    }
}

fn judge(value: &Value, meaning: &Meaning) -> Result<(), &'static str> {
    let is_text = |value: &Value| {
        let text = value.as_str();
        text.is_some_and(|text| text.len() <= MAX_TEXT && !text.chars().any(char::is_control))
    };
    let is_link = |value: &Value| {
        let url = value
            .as_str()
            .filter(|_| is_text(value))
            .and_then(|text| Url::parse(text).ok());
        url.is_some_and(|url| matches!(url.scheme(), "http" | "https"))
    };
    let (is_good, problem) = match meaning {
        _ if asks_for_nothing(value) => (true, ""),
        Meaning::Is(_) | Meaning::IsNot(_) | Meaning::Any => (true, ""),
        Meaning::Text => (
            is_text(value),
            "it must be a text of at most 2048 bytes without control characters",
        ),
        Meaning::Link => (is_link(value), "it must be an http or https URL"),
        Meaning::Texts => {
            let good = value
                .as_array()
                .is_some_and(|items| items.len() <= 100 && items.iter().all(is_text));
            (good, "it must be a list of texts")
        }
        Meaning::Object => (value.is_object(), "it must be an object"),
        Meaning::Only(only, reason) => (value == only, *reason),
        Meaning::Nothing(reason) => (false, *reason),
    };
    if is_good { Ok(()) } else { Err(problem) }
}

/// Programs send all members of a client, with these values where nothing is set.
fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty() || text == "none",
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(true) => false,
    }
}

/// Whether what is kept of a client is small enough.
pub(super) fn is_small(kept: &Map<String, Value>) -> Result<(), FieldProblem> {
    match kept.keys().next() {
        Some(first) if Value::Object(kept.clone()).to_string().len() > MAX_KEPT => {
            let problem = format!(
                "all members that are kept as they are have at most {MAX_KEPT} bytes together"
            );
            Err(FieldProblem::new(first, problem))
        }
        _ => Ok(()),
    }
}

/// Why a client of this kind cannot be registered; `None`: it can.
pub(super) fn why_no_client_type(kind: &str) -> Option<&'static str> {
    let letters = kind.chars().filter(char::is_ascii_alphanumeric);
    let name = letters.collect::<String>().to_ascii_lowercase();
    match name.as_str() {
        "confidential" | "m2m" | "machine" | "machinetomachine" | "service" | "serviceaccount"
        | "noninteractive" | "server" | "backend" | "daemon" | "worker" => None,
        "public" | "spa" | "native" | "browser" | "frontend" | "web" | "regularweb" | "mobile"
        | "singlepage" | "singlepageapp" | "userfacing" | "device" => Some(
            "it asks for a client that logs people in or has no secret; every client here is a machine: `confidential`, \
             also called `m2m`, `machine_to_machine`, `service`, `service_account` or `non_interactive`",
        ),
        _ => Some(
            "it must be `confidential`, also called `m2m`, `machine_to_machine`, `service`, `service_account` or \
             `non_interactive`",
        ),
    }
}

/// Why a grant cannot be registered.
pub(super) fn why_no_grant(name: &str) -> &'static str {
    match name {
        "authorization_code" => "`authorization_code` needs a login with redirects",
        "implicit" => "`implicit` needs a login with redirects",
        "password" => "`password` needs users with passwords",
        "urn:ietf:params:oauth:grant-type:device_code" | "device_code" => {
            "the device grant needs a login"
        }
        "urn:ietf:params:oauth:grant-type:jwt-bearer"
        | "urn:ietf:params:oauth:grant-type:token-exchange" => "this grant is not supported yet",
        _ => "a grant is not known here",
    }
}

/// What is to be added to the methods that there are; empty for a method that is not known.
pub(super) fn why_no_method(name: &str) -> &'static str {
    match name {
        "none" => {
            "; `none` asks for a client without a secret, and every client here proves who it is"
        }
        "client_secret_jwt" => {
            "; `client_secret_jwt` needs the secret itself, and this server keeps a hash of it"
        }
        "tls_client_auth" | "self_signed_tls_client_auth" => {
            "; client certificates are not supported yet"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::request::MEMBERS;
    use super::super::request::OWN;
    use super::*;

    fn translated(body: Value) -> Translated {
        translate(body.as_object().unwrap(), &MEMBERS[..OWN])
    }

    #[test]
    fn what_asks_for_nothing_is_kept_and_what_asks_for_something_else_is_refused_with_its_reason() {
        let kept = json!({
            "redirect_uris": [], "client_uri": "https://a.example/", "client_uri#de-CH": "https://a.example/de",
            "client_name#ja": "x", "contacts": ["a@example"], "software_id": "s", "metadata": { "a": [1] },
            "subject_type": "public", "publicClient": false, "access_token_strategy": "jwt", "skip_consent": true,
            "implicit_grant_access_token_lifespan": "1h", "policy_uri": "", "contacts#de": null,
        });
        let read = translated(kept);
        assert_eq!(
            read.own.keys().collect::<Vec<_>>(),
            ["contacts#de"],
            "unknown"
        );
        assert!(read.problems.is_empty(), "{:?}", read.problems);
        assert_eq!(read.kept.len(), 13);
        for (body, word) in [
            (
                json!({ "redirect_uris": ["https://a.example/cb"] }),
                "redirects",
            ),
            (
                json!({ "callbacks": ["https://a.example/cb"] }),
                "redirects",
            ),
            (json!({ "standardFlowEnabled": true }), "login"),
            (json!({ "implicitFlowEnabled": true }), "implicit"),
            (json!({ "directAccessGrantsEnabled": true }), "password"),
            (json!({ "publicClient": true }), "without a secret"),
            (json!({ "subject_type": "pairwise" }), "subject"),
            (
                json!({ "dpop_bound_access_tokens": true }),
                "bound to a key",
            ),
            (json!({ "access_token_strategy": "opaque" }), "JWT"),
            (json!({ "protocolMappers": [{}] }), "claims"),
            (json!({ "client_uri": "javascript:alert(1)" }), "URL"),
            (json!({ "contacts": "a@example" }), "list"),
            (json!({ "metadata": [1] }), "object"),
            (json!({ "software_id": 7 }), "text"),
            (json!({ "software_statement": "eyJ" }), "not verified"),
        ] {
            let read = translated(body.clone());
            assert_eq!(read.problems.len(), 1, "{body}");
            assert!(
                read.problems[0].problem.contains(word),
                "{body}: {:?}",
                read.problems
            );
            assert!(read.kept.is_empty() && read.own.is_empty(), "{body}");
        }
    }

    #[test]
    fn a_member_of_ours_is_known_by_its_other_names() {
        let read = translated(
            json!({ "clientId": "a", "name": "n", "enabled": false, "secret": "", "app_type": null }),
        );
        let own =
            json!({ "client_id": "a", "client_name": "n", "disabled": true, "client_type": null });
        assert_eq!(Value::Object(read.own), own);
        assert!(
            translated(json!({ "clientId": "a", "client_id": "a" }))
                .problems
                .is_empty()
        );
        for both in [
            json!({ "client_id": "a", "clientId": "b" }),
            json!({ "name": "a", "clientName": "b" }),
        ] {
            assert_eq!(translated(both.clone()).problems.len(), 1, "{both}");
        }
    }

    #[test]
    fn no_name_is_both_ours_and_of_another_server() {
        let (own, kept) = MEMBERS.split_at(OWN);
        assert!(
            own.iter()
                .chain(&READ_ONLY)
                .all(|name| meaning(name).is_none())
        );
        assert!(kept.iter().all(|name| meaning(name).is_some()));
    }
}
