use serde_json::{Value, json};

use super::*;
use crate::domain::clock::UnixTime;
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
        "client_name": "n", "grant_types": ["client_credentials"], "scope": "a \
         b", "audience": ["x"],
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
fn an_unknown_member_prevents_a_registration() {
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
