//! What a request to the management API says of a client → [`Registration`], with every problem at once.

use serde_json::{Map, Value};

use super::members::{FieldProblem, Members};
use super::{Registration, audience_settings};
use crate::domain::clock::UnixTime;
use crate::domain::name::is_client_id;
use crate::domain::path::NormalPath;
use crate::domain::secret::SecretString;

/// Every member a request may have.
pub const MEMBERS: [&str; 20] = [
    "client_id",
    "client_secret",
    "client_name",
    "client_type",
    "grant_types",
    "response_types",
    "scope",
    "scopes",
    "audience",
    audience_settings::MEMBER,
    "owner",
    "expiry",
    "access_token_lifetime",
    "claims",
    "allow_introspection",
    "disabled",
    "token_endpoint_auth_method",
    "jwks",
    "jwks_uri",
    "limits",
];

const MAX_TEXT: usize = 256;
/// Scope, audience and claims together; verifiers take no token of more than 8 KiB.
const MAX_TOGETHER: usize = 4096;

/// A new client as it is asked for.
#[derive(Debug)]
pub(in crate::issuer) struct NewClient {
    /// Its id, when it is to have a certain one.
    pub client_id: Option<String>,
    /// Its secret, when it is to have a certain one.
    pub client_secret: Option<SecretString>,
    /// The rest.
    pub registration: Registration,
}

/// Reads the body that registers a client (RFC 7591 §3.1).
///
/// # Errors
/// Every member that is wrong.
pub(in crate::issuer) fn read_new(
    body: &Map<String, Value>,
    now: UnixTime,
) -> Result<NewClient, Vec<FieldProblem>> {
    let mut members = Members::new(body, &MEMBERS);
    let registration = registration(&mut members);
    if registration.expires_at.is_some_and(|end| end <= now.0) {
        members.problem("expiry", "this time has passed");
    }
    let client_id = members.text("client_id", 256);
    if let Some(id) = &client_id {
        if !is_client_id(id) {
            members.problem("client_id", "it is made of 1 to 256 printable ASCII characters");
        } else if !fits_into_a_path(id) {
            members.problem("client_id", "it cannot stand in a path of this API: leave out `/`, `\\`, `;` and `%`, and do not call it `.` or `..`");
        }
    }
    let client_secret = members.secret();
    if registration.has_keys_only() && client_secret.is_some() {
        members.problem("client_secret", "a client of `private_key_jwt` has no secret");
    }
    members.end()?;
    Ok(NewClient { client_id, client_secret, registration })
}

/// Applies a merge patch (RFC 7396) to a registration.
///
/// # Errors
/// Every member that is wrong.
pub(in crate::issuer) fn read_patched(
    client_id: &str,
    old: &Registration,
    patch: &Map<String, Value>,
) -> Result<Registration, Vec<FieldProblem>> {
    let mut document = written(old);
    // Two names for one thing: the one in the patch takes the place of the other.
    if patch.contains_key("scopes") {
        document.remove("scope");
    }
    if patch.contains_key("jwks") || patch.contains_key("jwks_uri") {
        document.remove("token_endpoint_auth_method");
    }
    merge(&mut document, patch);
    let mut members = Members::new(&document, &MEMBERS);
    let mut registration = registration(&mut members);
    if members.text("client_id", 256).is_some_and(|id| id != client_id) {
        members.problem("client_id", "it cannot be changed");
    }
    if patch.contains_key("client_secret") {
        members.problem("client_secret", "secrets have an endpoint of their own, `/clients/{id}/secrets`");
    }
    registration.longest_token_lifetime =
        old.longest_token_lifetime.max(old.access_token_lifetime).max(registration.access_token_lifetime);
    // What is taken away is no more there to be complained about.
    let taken_away: Map<_, _> = patch
        .iter()
        .filter(|(_, value)| value.is_null())
        .map(|(name, _)| (name.clone(), Value::Null))
        .collect();
    let mut problems = Members::new(&taken_away, &MEMBERS).problems;
    problems.append(&mut members.problems);
    if problems.is_empty() { Ok(registration) } else { Err(problems) }
}

/// A registration in the words of a request.
fn written(registration: &Registration) -> Map<String, Value> {
    let mut document = Map::new();
    let mut set = |name: &str, value: Value| document.insert(name.to_owned(), value);
    let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
    set("client_name", text(&registration.client_name));
    set("grant_types", registration.grant_types.clone().into());
    set("scope", registration.scope.as_str().into());
    set("audience", registration.audience.clone().into());
    set(audience_settings::MEMBER, Value::Object(registration.audience_settings.clone()));
    set("owner", text(&registration.owner));
    set("access_token_lifetime", registration.access_token_lifetime.map_or(Value::Null, Value::from));
    set("claims", Value::Object(registration.claims.clone()));
    set("allow_introspection", registration.allow_introspection.into());
    set("disabled", registration.disabled.into());
    let expiry = registration.expires_at.and_then(|time| UnixTime(time).to_rfc3339());
    set("expiry", expiry.map_or(Value::Null, Value::from));
    set("token_endpoint_auth_method", text(&registration.token_endpoint_auth_method));
    set("jwks", registration.jwks.clone().unwrap_or(Value::Null));
    set("jwks_uri", text(&registration.jwks_uri));
    document
}

/// RFC 7396 §2.
fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(name);
            }
            Value::Object(inner) => {
                let entry = target.entry(name).or_insert(Value::Null);
                if !entry.is_object() {
                    *entry = Value::Object(Map::new());
                }
                if let Value::Object(entry) = entry {
                    merge(entry, inner);
                }
            }
            other => {
                target.insert(name.clone(), other.clone());
            }
        }
    }
}

fn registration(members: &mut Members<'_>) -> Registration {
    if let Some(kind) = members.text("client_type", MAX_TEXT)
        && !matches!(kind.as_str(), "confidential" | "m2m" | "service")
    {
        members.problem("client_type", "every client here is `confidential`, also called `m2m` or `service`");
    }
    if members.list("response_types").is_some_and(|types| !types.is_empty()) {
        members.problem("response_types", "there is no authorization endpoint: the list must be empty");
    }
    if members.get("limits").is_some() {
        members.problem("limits", "not supported yet");
    }
    let audience = members.audience();
    let registration = Registration {
        client_name: members.text("client_name", MAX_TEXT),
        grant_types: members.grant_types(),
        scope: members.scope(),
        audience_settings: audience_settings::read(members, &audience),
        audience,
        owner: members.text("owner", MAX_TEXT),
        access_token_lifetime: members.lifetime(),
        claims: members.claims(),
        allow_introspection: members.flag("allow_introspection"),
        disabled: members.flag("disabled"),
        expires_at: members.time("expiry").map(|time| time.0),
        token_endpoint_auth_method: members.text("token_endpoint_auth_method", MAX_TEXT),
        jwks: members.jwks(),
        jwks_uri: members.jwks_uri(),
        longest_token_lifetime: None,
    };
    members.auth_method(&registration);
    let audience: usize = registration.audience.iter().map(String::len).sum();
    let claims = Value::Object(registration.claims.clone()).to_string().len();
    if registration.scope.len() + audience + claims > MAX_TOGETHER {
        members.problem("claims", format!("with scope and audience at most {MAX_TOGETHER} bytes"));
    }
    Registration { longest_token_lifetime: registration.access_token_lifetime, ..registration }
}

/// Whether `/clients/{id}` is a path that every server reads alike.
#[must_use]
pub fn fits_into_a_path(id: &str) -> bool {
    let encoded = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
    let path = format!("/{encoded}");
    NormalPath::parse(&path).is_ok_and(|path| path.segments().eq([id]))
}
