//! What is registered of a client of the management API: the members of RFC 7591 §2 and a few of
//! ours, as they are stored.

mod audience_settings;
mod foreign;
mod members;
pub(crate) mod request;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::client::{Authentication, Client, ClientKeys, ExpectedSecret, KeyPlace, Secret};
use super::client_secret::{self, Stored};
use crate::domain::clock::UnixTime;
use crate::domain::oauth::GrantType;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{ExposeSecret, LineEnd};
use crate::jose::key_set::KeySet;
use crate::store::{StoredClient, StoredSecret};

pub use members::FieldProblem;
pub(super) use members::Members;
pub(super) use request::{ServerSet, read_new, read_patched};

/// A client's registration. Unknown members are left alone by reading; a member without a value is
/// not written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registration {
    /// What people call the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// The grants it may use, by their names on the wire.
    pub grant_types: Vec<String>,
    /// What it would ask the authorization endpoint of another server for: shown, and of no effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_types: Vec<String>,
    /// The scopes it may ask for, space-joined.
    pub scope: String,
    /// The audiences it may ask for.
    pub audience: Vec<String>,
    /// What the verifiers of its audiences need, by audience.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub audience_settings: Map<String, Value>,
    /// The owner claim's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How long its access tokens live, in seconds; the issuer's value when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token_lifetime: Option<u64>,
    /// How it authenticates itself (RFC 7591 §2). When left out: by its keys, if it has any, else
    /// by a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_method: Option<String>,
    /// Its public keys, as a JWK set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// Where its public keys are: an https URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// Further claims of its tokens.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub claims: Map<String, Value>,
    /// Whether it may introspect every token of this issuer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_introspection: bool,
    /// Whether it is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// From this time on it is refused, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// The longest lifetime its access tokens ever had, in seconds: what was issued under it may
    /// still live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_token_lifetime: Option<u64>,
    /// Members without effect, as they were sent.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub kept: Map<String, Value>,
}

/// The method of a client that has keys and no secret.
pub use super::metadata::PRIVATE_KEY_JWT;
const CLIENT_SECRET_BASIC: &str = "client_secret_basic";
/// Not one that can be registered here: the client exchanges somebody else's JWT.
const EXCHANGE: &str = "jwt_private_key";

impl Registration {
    /// How the client proves who it is, said or implied.
    #[must_use]
    pub fn auth_method(&self) -> &str {
        let has_keys = self.jwks.is_some() || self.jwks_uri.is_some();
        let implied = if has_keys {
            PRIVATE_KEY_JWT
        } else {
            CLIENT_SECRET_BASIC
        };
        self.token_endpoint_auth_method
            .as_deref()
            .unwrap_or(implied)
    }

    /// Whether it proves who it is by its keys: then it has no secret.
    #[must_use]
    pub fn has_keys_only(&self) -> bool {
        self.auth_method() == PRIVATE_KEY_JWT
    }

    /// What the configuration says of a client, in the same words.
    #[must_use]
    pub fn of_configured(client: &Client) -> Self {
        let keys = match &client.authentication {
            Authentication::Secret | Authentication::Exchange(_) => None,
            Authentication::PrivateKeyJwt(keys) => Some(keys),
        };
        let jwks_uri = match keys {
            Some(ClientKeys::At(KeyPlace::Uri(uri))) => Some(uri.to_string()),
            _ => None,
        };
        let auth_method = match &client.authentication {
            Authentication::Secret => None,
            Authentication::PrivateKeyJwt(_) => Some(PRIVATE_KEY_JWT.to_owned()),
            Authentication::Exchange(_) => Some(EXCHANGE.to_owned()),
        };
        Self {
            token_endpoint_auth_method: auth_method,
            jwks_uri,
            client_name: client.name.clone(),
            grant_types: client
                .allowed_grant_types
                .iter()
                .map(|it| it.as_str().to_owned())
                .collect(),
            scope: client.allowed_scopes.to_string(),
            audience: client.allowed_audiences.clone(),
            owner: client.owner.clone(),
            access_token_lifetime: client
                .access_token_lifetime
                .map(|lifetime| lifetime.as_secs()),
            claims: client.insert_token_claims.clone(),
            allow_introspection: client.allow_introspection,
            disabled: client.disabled,
            expires_at: client.expires_at.map(|time| time.0),
            ..Self::default()
        }
    }
}

/// A client as the token endpoint takes it.
///
/// `None`: its document cannot be read. A part that is not understood must not be guessed, so the
/// client is refused.
#[must_use]
pub fn client(stored: &StoredClient) -> Option<Client> {
    // A sequence would be read as the members in their order.
    let document = Some(&stored.document).filter(|document| document.is_object())?;
    let registration = Registration::deserialize(document).ok()?;
    let grants = registration
        .grant_types
        .iter()
        .map(|name| GrantType::parse(name));
    let authentication = authentication(&registration)?;
    Some(Client {
        id: stored.client_id.clone(),
        name: registration.client_name,
        authentication,
        secrets: stored.secrets.iter().map(secret).collect::<Option<_>>()?,
        owner: registration.owner,
        owner_issuer: None,
        access_token_lifetime: registration.access_token_lifetime.map(Duration::from_secs),
        allowed_grant_types: grants.collect::<Option<_>>()?,
        allowed_audiences: registration.audience,
        audience_settings: audience_settings::parse(&registration.audience_settings)?,
        allowed_scopes: ScopeSet::parse(&registration.scope).ok()?,
        insert_token_claims: registration.claims,
        allow_introspection: registration.allow_introspection,
        disabled: registration.disabled,
        expires_at: registration.expires_at.map(UnixTime),
    })
}

/// `None`: an unknown method, keys that cannot be read, keys in two places, or none where there
/// must be some.
fn authentication(registration: &Registration) -> Option<Authentication> {
    let keys = match (&registration.jwks, &registration.jwks_uri) {
        (None, None) => None,
        (Some(jwks), None) => Some(ClientKeys::Inline(
            KeySet::parse(jwks.to_string().as_bytes()).ok()?,
        )),
        (None, Some(uri)) => Some(ClientKeys::At(KeyPlace::parse_uri(uri)?)),
        // RFC 7591 §2: never both.
        (Some(_), Some(_)) => return None,
    };
    match (registration.token_endpoint_auth_method.as_deref(), keys) {
        (None | Some(PRIVATE_KEY_JWT), Some(keys)) => Some(Authentication::PrivateKeyJwt(keys)),
        (None, None) | (Some("client_secret_basic" | "client_secret_post"), _) => {
            Some(Authentication::Secret)
        }
        _ => None,
    }
}

fn secret(stored: &StoredSecret) -> Option<Secret> {
    let expected = match client_secret::parse(stored.hash.expose_secret())? {
        Stored::Sha256(digest) => ExpectedSecret::Sha256(digest),
        Stored::Argon2(salt, digest) => ExpectedSecret::Argon2(salt, digest),
    };
    Some(Secret {
        id: Some(stored.secret_id.clone()),
        expected,
        expires_at: stored.expires_at,
        line_end: LineEnd::None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::hash::sha256;
    use crate::domain::secret::SecretString;

    fn stored(document: Value, hash: &str) -> StoredClient {
        let secret = StoredSecret {
            secret_id: "s".to_owned(),
            hash: SecretString::from(hash),
            last_four: Some("abcd".to_owned()),
            created_at: UnixTime(1),
            expires_at: Some(UnixTime(9)),
            last_used_at: None,
        };
        StoredClient {
            client_id: "c".to_owned(),
            document,
            version: 1,
            created_at: UnixTime(1),
            updated_at: UnixTime(1),
            secrets: vec![secret],
        }
    }

    fn hash() -> String {
        let digest: String = sha256(b"secret")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("sha256:{digest}")
    }

    #[test]
    fn a_stored_client_is_read_whole() {
        let document = json!({
            "client_name": "n", "grant_types": ["client_credentials"], "scope": "a b", "audience": ["x"],
            "owner": "1", "access_token_lifetime": 60, "claims": {"tenant": "blue"}, "allow_introspection": true,
            "disabled": true, "expires_at": 99, "member_of_a_later_version": 1,
        });
        let client = client(&stored(document, &hash())).unwrap();
        assert_eq!(
            (client.id.as_str(), client.name.as_deref()),
            ("c", Some("n"))
        );
        assert_eq!(client.allowed_grant_types, [GrantType::ClientCredentials]);
        assert_eq!(client.allowed_scopes.to_string(), "a b");
        assert_eq!(client.allowed_audiences, ["x"]);
        assert_eq!(client.owner.as_deref(), Some("1"));
        assert_eq!(client.access_token_lifetime, Some(Duration::from_secs(60)));
        assert_eq!(client.insert_token_claims["tenant"], "blue");
        assert!(client.allow_introspection && client.disabled);
        assert_eq!(client.expires_at, Some(UnixTime(99)));
        let ExpectedSecret::Sha256(digest) = &client.secrets[0].expected else {
            panic!("a digest")
        };
        assert_eq!(*digest, sha256(b"secret"));
        assert_eq!(client.secrets[0].expires_at, Some(UnixTime(9)));
    }

    #[test]
    fn what_is_not_understood_makes_no_client() {
        for (document, hash) in [
            (json!({"grant_types": ["password"]}), hash()),
            (json!({"scope": "\"a\""}), hash()),
            (json!({"audience": "x"}), hash()),
            (json!({"token_endpoint_auth_method": "none"}), hash()),
            (
                json!({"token_endpoint_auth_method": "private_key_jwt"}),
                hash(),
            ),
            (json!({"jwks": {"keys": []}}), hash()),
            (json!({"jwks_uri": "http://client.example/jwks"}), hash()),
            (
                json!({"jwks_uri": "https://user:pass@client.example/jwks"}),
                hash(),
            ),
            (json!({"jwks_uri": "file:///etc/passwd"}), hash()),
            (
                json!({"jwks": {"keys": []}, "jwks_uri": "https://client.example/jwks"}),
                hash(),
            ),
            (json!([]), hash()),
            (json!({}), "plain".to_owned()),
            (json!({}), "sha256:00".to_owned()),
            (json!({}), format!("sha256:{}", "g".repeat(64))),
        ] {
            assert!(
                client(&stored(document.clone(), &hash)).is_none(),
                "{document} {hash}"
            );
        }
    }
}
