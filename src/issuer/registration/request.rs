//! What a request to the management API says of a client → [`Registration`], with every problem at
//! once.

use serde_json::{Map, Value};

use super::members::{FieldProblem, Members, READ_ONLY};
use super::{Registration, audience_settings, foreign};
use crate::domain::clock::UnixTime;
use crate::domain::name::is_client_id;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;

/// Every member of a request that the description of the API lists. `foreign` knows further ones.
pub const MEMBERS: [&str; 29] = [
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
    "redirect_uris",
    "client_uri",
    "logo_uri",
    "contacts",
    "tos_uri",
    "policy_uri",
    "software_id",
    "software_version",
    "metadata",
];

/// How many of [`MEMBERS`] mean something here; the rest is kept as it is.
pub(super) const OWN: usize = 20;

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

/// The members that the server sets for a client, as its answers show them.
pub(in crate::issuer) struct ServerSet {
    /// When the client was made.
    pub created_at: UnixTime,
    /// When it was last changed.
    pub updated_at: UnixTime,
    /// How often.
    pub version: i64,
}

impl ServerSet {
    fn value(&self, name: &str) -> Option<Value> {
        match name {
            "client_id_issued_at" => Some(self.created_at.0.into()),
            "created_at" => self.created_at.to_rfc3339().map(Value::from),
            "updated_at" => self.updated_at.to_rfc3339().map(Value::from),
            "version" => Some(self.version.into()),
            "source" => Some("store".into()),
            // A secret's end is shown where the secret is.
            "client_secret_expires_at" => Some(0.into()),
            _ => None,
        }
    }
}

/// Whether two JSON values are the same to a program that writes 1 as 1.0.
fn is_same(one: &Value, other: &Value) -> bool {
    one == other || one.is_number() && other.is_number() && one.as_f64() == other.as_f64()
}

/// Reads the body that registers a client (RFC 7591 §3.1).
///
/// # Errors
/// Every member that is wrong.
pub(in crate::issuer) fn read_new(
    body: &Map<String, Value>,
    now: UnixTime,
) -> Result<NewClient, Vec<FieldProblem>> {
    let mut read = foreign::translate(body, &MEMBERS[..OWN]);
    // What the server would set for a new client is said in vain, but not wrong.
    let new = ServerSet {
        created_at: UnixTime(-1),
        updated_at: UnixTime(-1),
        version: 1,
    };
    read.own.retain(|name, value| {
        let set = READ_ONLY
            .contains(&name.as_str())
            .then(|| new.value(name))
            .flatten();
        !(value.is_null() && set.is_some()) && set.is_none_or(|set| !is_same(&set, value))
    });
    read.kept.retain(|_, value| !value.is_null());
    let mut members = Members::new(&read.own, &MEMBERS);
    members.problems.append(&mut read.problems);
    let registration = registration(&mut members, read.kept, now, None);
    let client_id = members.text("client_id", 256);
    if client_id.as_deref().is_some_and(|id| !is_client_id(id)) {
        members.problem(
            "client_id",
            "it is made of 1 to 256 printable ASCII characters",
        );
    }
    let client_secret = members.secret();
    if registration.has_keys_only() && client_secret.is_some() {
        members.problem(
            "client_secret",
            "a client of `private_key_jwt` has no secret",
        );
    }
    members.end()?;
    Ok(NewClient {
        client_id,
        client_secret,
        registration,
    })
}

/// Applies a merge patch (RFC 7396) to a registration. What the answers show can be sent back as it
/// is: members that the server sets are passed over while they are unchanged.
///
/// # Errors
/// Every member that is wrong.
pub(in crate::issuer) fn read_patched(
    client_id: &str,
    old: &Registration,
    set: &ServerSet,
    patch: &Map<String, Value>,
    now: UnixTime,
) -> Result<Registration, Vec<FieldProblem>> {
    let mut read = foreign::translate(patch, &MEMBERS[..OWN]);
    let mut problems = std::mem::take(&mut read.problems);
    let mut patch = read.own;
    let others = set_by_the_server(&mut patch, set);
    problems.extend(others);
    let mut document = written(old);
    unchanged(&mut patch, &mut document, old);
    merge(&mut document, &patch);
    let mut kept = old.kept.clone();
    merge(&mut kept, &read.kept);
    let mut members = Members::new(&document, &MEMBERS);
    let mut registration = registration(&mut members, kept, now, old.expires_at.map(UnixTime));
    if members
        .text("client_id", 256)
        .is_some_and(|id| id != client_id)
    {
        members.problem("client_id", "it cannot be changed");
    }
    if patch
        .get("client_secret")
        .is_some_and(|secret| *secret != "")
    {
        members.problem(
            "client_secret",
            "secrets have an endpoint of their own, `/clients/{id}/secrets`",
        );
    }
    registration.longest_token_lifetime = old
        .longest_token_lifetime
        .max(old.access_token_lifetime)
        .max(registration.access_token_lifetime);
    // The merged document does not hold members that were taken away, so an unknown one among them
    // is found here.
    let taken_away: Map<_, _> = patch
        .iter()
        .filter(|(_, value)| value.is_null())
        .map(|(name, _)| (name.clone(), Value::Null))
        .collect();
    problems.append(&mut Members::new(&taken_away, &MEMBERS).problems);
    problems.append(&mut members.problems);
    if problems.is_empty() {
        Ok(registration)
    } else {
        Err(problems)
    }
}

/// Takes the members out of a patch that the server sets, and gives those that a patch would
/// change.
fn set_by_the_server(patch: &mut Map<String, Value>, set: &ServerSet) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    for name in READ_ONLY {
        let (Some(sent), Some(is)) = (patch.remove(name), set.value(name)) else {
            continue;
        };
        if !is_same(&sent, &is) {
            let problem = match name {
                "version" | "updated_at" => {
                    format!(
                        "the server sets it, and it is {is} now: the client was changed since it was read; read it again"
                    )
                }
                _ => format!("the server sets it, and it is {is}: leave it out"),
            };
            problems.push(FieldProblem::new(name, problem));
        }
    }
    problems
}

/// Of two members that say one thing the one that was changed counts, and takes the other one's
/// place.
fn unchanged(
    patch: &mut Map<String, Value>,
    document: &mut Map<String, Value>,
    old: &Registration,
) {
    let set = |value: Option<&Value>| match value {
        Some(Value::String(text)) => ScopeSet::parse(text).ok(),
        Some(Value::Array(items)) => items
            .iter()
            .map(Value::as_str)
            .collect::<Option<Vec<_>>>()
            .and_then(|items| ScopeSet::from_tokens(items).ok()),
        _ => None,
    };
    let old_scopes = ScopeSet::parse(&old.scope).unwrap_or_default();
    let is_old =
        |value: Option<&Value>| set(value).is_some_and(|scopes| scopes.is_same_as(&old_scopes));
    if patch.contains_key("scope") && patch.contains_key("scopes") {
        if is_old(patch.get("scopes")) {
            patch.remove("scopes");
        } else if is_old(patch.get("scope")) {
            patch.remove("scope");
        }
    }
    if patch.contains_key("scopes") {
        document.remove("scope");
    }
    if patch
        .get("token_endpoint_auth_method")
        .is_some_and(|method| *method == old.auth_method())
    {
        patch.remove("token_endpoint_auth_method");
    }
    let changes = |name: &str, old: Option<Value>| {
        patch
            .get(name)
            .is_some_and(|new| *new != old.unwrap_or_default())
    };
    if changes("jwks", old.jwks.clone())
        || changes("jwks_uri", old.jwks_uri.clone().map(Value::from))
    {
        document.remove("token_endpoint_auth_method");
    }
}

/// A registration in the words of a request.
fn written(registration: &Registration) -> Map<String, Value> {
    let mut document = Map::new();
    let mut set = |name: &str, value: Value| document.insert(name.to_owned(), value);
    let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
    set("client_name", text(&registration.client_name));
    set("grant_types", registration.grant_types.clone().into());
    set("response_types", registration.response_types.clone().into());
    set("scope", registration.scope.as_str().into());
    set("audience", registration.audience.clone().into());
    set(
        audience_settings::MEMBER,
        Value::Object(registration.audience_settings.clone()),
    );
    set("owner", text(&registration.owner));
    set(
        "access_token_lifetime",
        registration
            .access_token_lifetime
            .map_or(Value::Null, Value::from),
    );
    set("claims", Value::Object(registration.claims.clone()));
    set(
        "allow_introspection",
        registration.allow_introspection.into(),
    );
    set("disabled", registration.disabled.into());
    let expiry = registration
        .expires_at
        .and_then(|time| UnixTime(time).to_rfc3339());
    set("expiry", expiry.map_or(Value::Null, Value::from));
    set(
        "token_endpoint_auth_method",
        text(&registration.token_endpoint_auth_method),
    );
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

fn registration(
    members: &mut Members<'_>,
    kept: Map<String, Value>,
    now: UnixTime,
    registered_end: Option<UnixTime>,
) -> Registration {
    if let Some(kind) = members.text_or_empty("client_type", MAX_TEXT)
        && let Some(reason) = foreign::why_no_client_type(&kind)
    {
        members.problem("client_type", reason);
    }
    if members.get("limits").is_some() {
        members.problem("limits", "not supported yet");
    }
    members.problems.extend(foreign::is_small(&kept).err());
    let audience = members.audience();
    let registration = Registration {
        client_name: members.text_or_empty("client_name", MAX_TEXT),
        grant_types: members.grant_types(),
        response_types: members.response_types(),
        scope: members.scope(),
        audience_settings: audience_settings::read(members, &audience),
        audience,
        owner: members.text_or_empty("owner", MAX_TEXT),
        access_token_lifetime: members.lifetime(),
        claims: members.claims(),
        allow_introspection: members.flag("allow_introspection"),
        disabled: members.flag("disabled"),
        expires_at: members
            .time_to_come("expiry", now, registered_end)
            .map(|time| time.0),
        token_endpoint_auth_method: members.text_or_empty("token_endpoint_auth_method", MAX_TEXT),
        jwks: members.jwks(),
        jwks_uri: members.jwks_uri(),
        longest_token_lifetime: None,
        kept,
    };
    members.auth_method(&registration);
    let audience: usize = registration.audience.iter().map(String::len).sum();
    let claims = Value::Object(registration.claims.clone()).to_string().len();
    if registration.scope.len() + audience + claims > MAX_TOGETHER {
        members.problem(
            "claims",
            format!("with scope and audience at most {MAX_TOGETHER} bytes"),
        );
    }
    Registration {
        longest_token_lifetime: registration.access_token_lifetime,
        ..registration
    }
}
