//! Reads a request that registers or changes a client, with every problem at once.

use serde_json::{Map, Value, json};

use utoipa::ToSchema;

use super::certificate_members::{
    SAN_DNS, SAN_EMAIL, SAN_IP, SAN_URI, SUBJECT_DN, TO_CERTIFICATE, TO_DPOP_KEY,
};
use super::members::{FieldProblem, MAX_TEXT, Members, READ_ONLY};
use super::metadata::{ClientMetadata, ClientType};
use super::{audience_settings, exchange_members, federated_member, foreign};
use crate::domain::clock::UnixTime;
use crate::domain::name::is_client_id;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;

/// The members of a request that have an effect. `foreign` reads further ones.
pub const MEMBERS: [&str; 33] = [
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
    "allowed_owners",
    "allow_device_id",
    "expiry",
    "access_token_lifetime",
    "claims",
    "allow_introspection",
    exchange_members::MEMBER,
    "disabled",
    "token_endpoint_auth_method",
    "jwks",
    "jwks_uri",
    federated_member::MEMBER,
    SUBJECT_DN,
    SAN_DNS,
    SAN_URI,
    SAN_IP,
    SAN_EMAIL,
    TO_CERTIFICATE,
    TO_DPOP_KEY,
    "allowed_networks",
    "assertion_audiences",
    "limits",
];

/// The most bytes of scope, audience and claims together: verifiers accept tokens of 8 KiB.
const MAX_TOGETHER: usize = 4096;

/// A request that registers or changes a client. Members without a value count as left out;
/// unknown ones are refused.
#[derive(Debug, ToSchema)]
pub struct ClientRequest {
    /// A generated UUID when left out. Cannot be changed later.
    #[schema(min_length = 1, max_length = 256, pattern = "^[ -~]+$")]
    pub client_id: Option<String>,
    /// A generated one, of 256 bits, when left out. Only in the request that makes a client.
    #[schema(value_type = Option<String>, min_length = 16, max_length = 256)]
    pub client_secret: Option<SecretString>,
    /// The rest.
    #[serde(flatten)]
    pub metadata: ClientMetadata,
}

/// The members that the server sets.
pub(in crate::issuer) struct ServerSet {
    /// When the client was made.
    pub created_at: UnixTime,
    /// When it was last changed.
    pub updated_at: UnixTime,
    /// One higher with each change.
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
            // The end of a secret is shown with the secret.
            "client_secret_expires_at" => Some(0.into()),
            _ => None,
        }
    }
}

/// Whether two JSON values are equal; 1 and 1.0 are.
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
) -> Result<ClientRequest, Vec<FieldProblem>> {
    let mut read = foreign::translate(body, &MEMBERS);
    // Members that the server sets are ignored while they have the values of a new client.
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
    let mut members = Members::new(&read.own, &known());
    members.problems.append(&mut read.problems);
    let metadata = metadata(&mut members, read.kept, now, None);
    let client_id = members.text("client_id", 256);
    if client_id.as_deref().is_some_and(|id| !is_client_id(id)) {
        members.problem(
            "client_id",
            "it is made of 1 to 256 printable ASCII characters",
        );
    }
    let client_secret = members.secret();
    if metadata.has_no_secret() && client_secret.is_some() {
        members.problem(
            "client_secret",
            "a client of `private_key_jwt` or with a certificate has no secret",
        );
    }
    members.end()?;
    Ok(ClientRequest {
        client_id,
        client_secret,
        metadata,
    })
}

/// Applies a merge patch (RFC 7396) to a client's metadata. An answer can be sent back as it is:
/// members that the server sets are ignored while they are unchanged.
///
/// # Errors
/// Every member that is wrong.
pub(in crate::issuer) fn read_patched(
    client_id: &str,
    old: &ClientMetadata,
    set: &ServerSet,
    patch: &Map<String, Value>,
    now: UnixTime,
) -> Result<ClientMetadata, Vec<FieldProblem>> {
    let mut read = foreign::translate(patch, &MEMBERS);
    let mut problems = std::mem::take(&mut read.problems);
    let mut patch = read.own;
    let others = set_by_the_server(&mut patch, set);
    problems.extend(others);
    let mut document = as_request(old);
    unchanged(&mut patch, &mut document, old);
    merge(&mut document, &patch);
    let mut kept = old.kept.clone();
    merge(&mut kept, &read.kept);
    let mut members = Members::new(&document, &known());
    let mut metadata = metadata(&mut members, kept, now, old.expiry);
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
    metadata.longest_token_lifetime = old
        .longest_token_lifetime
        .max(old.access_token_lifetime)
        .max(metadata.access_token_lifetime);
    // The merged document does not hold removed members, so unknown ones are found here.
    let removed: Map<_, _> = patch
        .iter()
        .filter(|(_, value)| value.is_null())
        .map(|(name, _)| (name.clone(), Value::Null))
        .collect();
    problems.append(&mut Members::new(&removed, &known()).problems);
    problems.append(&mut members.problems);
    if problems.is_empty() {
        Ok(metadata)
    } else {
        Err(problems)
    }
}

/// Removes the members that the server sets from a patch, and returns those that it would change.
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
                        "the server sets it, and it is {is} now: the client was \
                         changed since it was read; read it again"
                    )
                }
                _ => format!("the server sets it, and it is {is}: leave it out"),
            };
            problems.push(FieldProblem::new(name, problem));
        }
    }
    problems
}

/// Of two members with one meaning, the changed one counts and replaces the other.
fn unchanged(
    patch: &mut Map<String, Value>,
    document: &mut Map<String, Value>,
    old: &ClientMetadata,
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
        .is_some_and(|method| *method == json!(old.auth_method()))
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
        || changes(federated_member::MEMBER, Some(json!(old.federated)))
    {
        document.remove("token_endpoint_auth_method");
    }
}

/// The metadata as the request that a patch is applied to.
fn as_request(metadata: &ClientMetadata) -> Map<String, Value> {
    let own = ClientMetadata {
        kept: Map::new(),
        ..metadata.clone()
    };
    let Ok(Value::Object(mut document)) = serde_json::to_value(own) else {
        return Map::new();
    };
    // They say the same as other members.
    document.remove("scopes");
    document.remove("client_type");
    document
}

/// The names of all members that a request may have.
fn known() -> Vec<&'static str> {
    let kept = foreign::kept_members().map(|(name, _)| name);
    MEMBERS.into_iter().chain(kept).collect()
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

fn metadata(
    members: &mut Members<'_>,
    kept: Map<String, Value>,
    now: UnixTime,
    registered_expiry: Option<UnixTime>,
) -> ClientMetadata {
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
    let (jwks, jwks_uri) = (members.jwks(), members.jwks_uri());
    let access_token_lifetime = members.lifetime();
    let scopes = members.scope();
    let named = members.certificate_names();
    let grant_types = members.grant_types();
    let method = members.auth_method(jwks.as_ref(), jwks_uri.as_deref(), &named);
    let metadata = ClientMetadata {
        client_type: ClientType::Confidential,
        client_name: members.text_or_empty("client_name", MAX_TEXT),
        exchange: exchange_members::read(members, &grant_types, &audience, &scopes),
        grant_types,
        response_types: members.response_types(),
        audience_settings: audience_settings::read(members, &audience),
        audience,
        owner: members.text_or_empty("owner", MAX_TEXT),
        access_token_lifetime,
        claims: members.claims(),
        allow_introspection: members.flag("allow_introspection"),
        disabled: members.flag("disabled"),
        expiry: members.time_to_come("expiry", now, registered_expiry),
        token_endpoint_auth_method: method,
        tls_client_certificate_bound_access_tokens: members.flag(TO_CERTIFICATE),
        dpop_bound_access_tokens: members.flag(TO_DPOP_KEY),
        jwks,
        jwks_uri,
        federated: federated_member::read(members),
        longest_token_lifetime: access_token_lifetime,
        kept,
        ..members.allowances(named)
    }
    .with_scopes(&scopes);
    members.check_federated(&metadata);
    members.check_assertion_audiences(&metadata);
    let audience: usize = metadata.audience.iter().map(String::len).sum();
    let claims = Value::Object(metadata.claims.clone()).to_string().len();
    if metadata.scope.len() + audience + claims > MAX_TOGETHER {
        let problem = format!("with scope and audience at most {MAX_TOGETHER} bytes");
        members.problem("claims", problem);
    }
    metadata
}
