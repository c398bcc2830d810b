//! Opening an issuer: its keys, its configuration, its metadata.

use super::*;

#[tokio::test]
async fn the_signing_key_is_made_once_and_kept() {
    let store = store::open(&store::Config::SqliteMemory).await.unwrap();
    let first = Issuer::open(config(vec![legacy()]), store.clone(), clock())
        .await
        .unwrap();
    let second = Issuer::open(config(vec![legacy()]), store.clone(), clock())
        .await
        .unwrap();
    assert_eq!(first.public_keys(), second.public_keys());
    let token = first
        .issue(&request("legacy:s3cret", ""), None)
        .await
        .unwrap()
        .access_token;
    verified_claims(&second, token.expose_secret());
}

#[tokio::test]
async fn a_key_of_the_operator_signs_and_the_stored_ones_stay_published() {
    let store = store::open(&store::Config::SqliteMemory).await.unwrap();
    let generated = Issuer::open(config(vec![legacy()]), store.clone(), clock())
        .await
        .unwrap();
    let own = SigningKey::generate(Algorithm::ES256).unwrap();
    let with_own = Config {
        private_key: Some(own.to_pem()),
        ..config(vec![legacy()])
    };
    let issuer = Issuer::open(with_own.clone(), store.clone(), clock())
        .await
        .unwrap();
    let token = issuer
        .issue(&request("legacy:s3cret", ""), None)
        .await
        .unwrap()
        .access_token;
    let header = URL_SAFE_NO_PAD
        .decode(token.expose_secret().split('.').next().unwrap())
        .unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&header).unwrap()["kid"],
        own.kid()
    );
    let old = generated
        .issue(&request("legacy:s3cret", ""), None)
        .await
        .unwrap()
        .access_token;
    verified_claims(&issuer, old.expose_secret());

    let fresh = open(with_own).await.unwrap();
    let jwks: Value = serde_json::from_str(&fresh.public_keys()).unwrap();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
    assert!(!fresh.public_keys().contains("\"d\""));
}

#[tokio::test]
async fn a_stored_key_that_cannot_be_used_is_an_error_and_not_a_new_key() {
    let good = SigningKey::generate(Algorithm::ES256).unwrap();
    let stored = |kid: &str, algorithm: &str, private_key: SecretString| StoredKey {
        record: KeyRecord {
            kid: kid.to_owned(),
            algorithm: algorithm.to_owned(),
            created_at: UnixTime(NOW),
            state: KeyState::Active,
            signs_from: UnixTime(NOW),
            retired_at: None,
            foreign_since: None,
            longest_token: Duration::from_secs(3600),
        },
        private_key,
    };
    for bad in [
        stored("k", "ES256", SecretString::from("no pem")),
        stored("k", "ES256", good.to_pem()),
        stored(good.kid(), "none", good.to_pem()),
    ] {
        let store = store::open(&store::Config::SqliteMemory).await.unwrap();
        let change = KeyChange {
            put: vec![bad.clone()],
            ..KeyChange::default()
        };
        assert!(store.change_signing_keys(0, &change).await.unwrap());
        let error = Issuer::open(config(Vec::new()), store.clone(), clock())
            .await
            .err()
            .unwrap();
        assert!(
            matches!(&error, OpenError::StoredKey(kid) if *kid == bad.record.kid),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_configuration_that_contradicts_itself_does_not_open() {
    let of = |change: fn(&mut Config)| {
        let mut config = config(vec![client("a", "s")]);
        change(&mut config);
        open(config)
    };
    assert!(matches!(
        of(|c| c.owner_claim = "sub".into()).await,
        Err(OpenError::OwnerClaim)
    ));
    assert!(matches!(
        of(|c| c.owner_claim.clear()).await,
        Err(OpenError::OwnerClaim)
    ));
    assert!(matches!(
        of(|c| c.access_token_lifetime = Duration::ZERO).await,
        Err(OpenError::Lifetime)
    ));
    let short =
        |c: &mut Config| c.clients[0].access_token_lifetime = Some(Duration::from_millis(999));
    assert!(matches!(of(short).await, Err(OpenError::Lifetime)));
    let twice = |c: &mut Config| c.clients.push(client("a", "t"));
    assert!(matches!(of(twice).await, Err(OpenError::DuplicateClient(id)) if id == "a"));
    let empty = |c: &mut Config| {
        c.clients[0].secrets = vec![client::Secret::configured(SecretString::from(""))]
    };
    assert!(matches!(of(empty).await, Err(OpenError::EmptySecret(id)) if id == "a"));
    let no_key = |c: &mut Config| c.private_key = Some(SecretString::from("no pem"));
    assert!(matches!(of(no_key).await, Err(OpenError::PrivateKey(_))));
}

#[tokio::test]
async fn metadata_names_exactly_what_works() {
    let every_algorithm = json!([
        "ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"
    ]);
    let auth_methods = json!([
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt"
    ]);
    assert_eq!(
        issuer().await.metadata(RequestedCertificates::default()),
        json!({
            "issuer": URL,
            "authorization_endpoint": "https://issuer.example/m2m/oauth/authorize",
            "token_endpoint": "https://issuer.example/m2m/oauth/token",
            "jwks_uri": "https://issuer.example/m2m/.well-known/jwks.json",
            "revocation_endpoint": "https://issuer.example/m2m/oauth/revoke",
            "revocation_endpoint_auth_methods_supported": auth_methods,
            "revocation_endpoint_auth_signing_alg_values_supported": every_algorithm,
            "introspection_endpoint": "https://issuer.example/m2m/oauth/introspect",
            "introspection_endpoint_auth_methods_supported": auth_methods,
            "introspection_endpoint_auth_signing_alg_values_supported": every_algorithm,
            "revocation_list_uri": "https://issuer.example/m2m/oauth/revocations",
            "grant_types_supported": [
                "client_credentials",
                "refresh_token",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ],
            "token_endpoint_auth_methods_supported": auth_methods,
            "token_endpoint_auth_signing_alg_values_supported": every_algorithm,
            "dpop_signing_alg_values_supported": every_algorithm,
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    );
}
