//! The phases together: from a request to a signed token, or to an error.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, json};

use super::*;
use crate::domain::clock::Clock;
use crate::domain::oauth::GrantType;
use crate::domain::revoked::{EndMark, Issued, TokenId};
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::issuer::excerpt::Excerpt;
use crate::issuer::token_format::{ByAudience, ScopeClaim, TokenType};
use crate::jose::Algorithm;
use crate::jose::sign::SigningKey;
use crate::store::{self, KeyChange, KeyRecord, KeyState, StoredKey};

pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const URL: &str = "https://issuer.example/m2m";
const DEVICES: &str = "https://devices.example";

pub(crate) struct TestClock(pub(crate) AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::Relaxed))
    }
}

pub(crate) fn client(id: &str, secret: &str) -> Client {
    Client {
        id: id.to_owned(),
        name: None,
        authentication: client::Authentication::Secret,
        secrets: vec![client::Secret::configured(SecretString::from(secret))],
        owner: None,
        owner_issuer: None,
        access_token_lifetime: None,
        allowed_grant_types: vec![GrantType::ClientCredentials],
        allowed_audiences: Vec::new(),
        audience_settings: ByAudience::new(),
        allowed_scopes: ScopeSet::default(),
        insert_token_claims: Map::new(),
        allow_introspection: false,
        disabled: false,
        expires_at: None,
    }
}

/// `legacy` may have two scopes, two audiences and 15 minutes; `bare` has nothing of its own.
fn legacy() -> Client {
    Client {
        access_token_lifetime: Some(Duration::from_secs(900)),
        allowed_audiences: vec![DEVICES.to_owned(), "urn:hub".to_owned()],
        allowed_scopes: ScopeSet::parse("devices:read devices:write").unwrap(),
        ..client("legacy", "s3cret")
    }
}

pub(crate) fn config(clients: Vec<Client>) -> Config {
    Config {
        root_paths: true,
        url: URL.parse().unwrap(),
        profile: Profile::Standard,
        owner_claim: "owner".to_owned(),
        device_id_claim: String::new(),
        access_token_lifetime: Duration::from_secs(3600),
        token_type: TokenType::AccessToken,
        scope_claims: vec![ScopeClaim::Scope],
        audiences: ByAudience::new(),
        algorithm: Algorithm::ES256,
        private_key: None,
        rotate_every: Some(Duration::from_secs(30 * 86_400)),
        encryption_key: None,
        clients,
        secret_files: crate::issuer::SecretFiles::default(),
        client_jwks_hosts: Vec::new(),
        client_jwks_ca: None,
        max_assertion_lifetime: Duration::from_secs(3600),
        user_issuers: Vec::new(),
        respelt_issuers: Vec::new(),
        listed_clients: ListedClients::default(),
        max_token_size: crate::domain::oauth::DEFAULT_TOKEN_SIZE,
    }
}

pub(crate) async fn open(config: Config) -> Result<Arc<Issuer>, OpenError> {
    let store = store::open(&store::Config::SqliteMemory).await.unwrap();
    Issuer::open(config, store.clone(), clock()).await
}

fn clock() -> SharedClock {
    Arc::new(TestClock(AtomicI64::new(NOW)))
}

async fn issuer() -> Arc<Issuer> {
    open(config(vec![legacy(), client("bare", "b4re")]))
        .await
        .unwrap()
}

fn request(basic: &str, body: &str) -> TokenRequest {
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    let basic = format!("Basic {}", STANDARD.encode(basic));
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&basic).unwrap());
    TokenRequest::parse(
        &headers,
        format!("grant_type=client_credentials{body}").as_bytes(),
    )
    .unwrap()
}

/// The token's claims, after its signature was verified with the key that `jwks.json` publishes for
/// its `kid`.
fn verified_claims(issuer: &Issuer, token: &str) -> Value {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = input.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&decode(header)).unwrap();
    assert_eq!(header["typ"], "at+jwt");
    let jwks: Value = serde_json::from_str(&issuer.public_keys()).unwrap();
    let jwk = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|jwk| jwk["kid"] == header["kid"])
        .unwrap();
    assert_eq!((&jwk["alg"], &jwk["use"]), (&header["alg"], &json!("sig")));
    let coordinate = |name: &str| decode(jwk[name].as_str().unwrap());
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(input.as_bytes(), &decode(signature))
        .unwrap();
    serde_json::from_slice(&decode(claims)).unwrap()
}

async fn issue(issuer: &Issuer, basic: &str, body: &str) -> Value {
    let response = issuer.issue(&request(basic, body), None).await.unwrap();
    let claims = verified_claims(issuer, response.access_token.expose_secret());
    assert_eq!(claims["jti"], response.jti.as_str());
    assert_eq!(
        claims["exp"],
        NOW + i64::try_from(response.expires_in.unwrap().as_secs()).unwrap()
    );
    assert_eq!(
        claims["scope"].as_str().unwrap_or_default(),
        response.scope.to_string()
    );
    claims
}

async fn refusal(issuer: &Issuer, basic: &str, body: &str) -> TokenError {
    issuer.issue(&request(basic, body), None).await.unwrap_err()
}

#[tokio::test]
async fn an_access_token_has_the_claims_of_rfc_9068_and_no_other() {
    let issuer = issuer().await;
    let mut claims = issue(&issuer, "legacy:s3cret", "").await;
    let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
    assert_eq!(
        uuid::Uuid::parse_str(jti.as_str().unwrap())
            .unwrap()
            .get_version_num(),
        4
    );
    assert_eq!(
        claims,
        json!({
            "iss": URL, "sub": "legacy", "client_id": "legacy", "aud": [DEVICES, "urn:hub"],
            "iat": NOW - 10, "exp": NOW + 900, "scope": "devices:read devices:write",
        })
    );
    assert_ne!(issue(&issuer, "legacy:s3cret", "").await["jti"], jti);
}

#[tokio::test]
async fn a_client_with_nothing_of_its_own_gets_the_issuer_as_audience_and_no_scope() {
    let issuer = issuer().await;
    let claims = issue(&issuer, "bare:b4re", "").await;
    assert_eq!(claims["aud"], json!([URL]));
    assert_eq!(claims["exp"], NOW + 3600);
    assert!(
        claims.get("scope").is_none()
            && claims.get("owner").is_none()
            && claims.get("name").is_none()
    );
    assert_eq!(
        issue(&issuer, "bare:b4re", &format!("&audience={URL}")).await["aud"],
        json!([URL])
    );
    let not_allowed = TokenError::InvalidTarget(Excerpt::of("urn:hub"));
    assert_eq!(
        refusal(&issuer, "bare:b4re", "&audience=urn:hub").await,
        not_allowed
    );
    assert_eq!(
        refusal(&issuer, "bare:b4re", &format!("&audience={URL}+urn:hub")).await,
        not_allowed
    );
    let not_allowed = TokenError::InvalidScope(Excerpt::of("any"));
    assert_eq!(
        refusal(&issuer, "bare:b4re", "&scope=any").await,
        not_allowed
    );
}

#[tokio::test]
async fn scopes_and_audiences_are_granted_as_asked_or_refused_whole() {
    let issuer = issuer().await;
    let claims = issue(
        &issuer,
        "legacy:s3cret",
        "&scope=devices:write&audience=urn:hub",
    )
    .await;
    assert_eq!(
        (&claims["scope"], &claims["aud"]),
        (&json!("devices:write"), &json!(["urn:hub"]))
    );
    let claims = issue(
        &issuer,
        "legacy:s3cret",
        "&resource=https://devices.example&audience=urn:hub+urn:hub",
    )
    .await;
    assert_eq!(claims["aud"], json!(["urn:hub", DEVICES]));
    let scope = |scope| TokenError::InvalidScope(Excerpt::of(scope));
    let target = |target| TokenError::InvalidTarget(Excerpt::of(target));
    for (body, error) in [
        ("&scope=admin", scope("admin")),
        ("&scope=devices:read+admin", scope("admin")),
        ("&audience=urn:other", target("urn:other")),
        ("&audience=urn:hub+urn:other", target("urn:other")),
        ("&audience=urn:hub&resource=urn:other", target("urn:other")),
        (
            "&resource=https://devices.example/x",
            target("https://devices.example/x"),
        ),
        (
            "&resource=https://u:p@devices.example/?a=b",
            target("https://devices.example/..."),
        ),
        (
            "&audience=https://issuer.example/m2m",
            target("https://issuer.example/m2m"),
        ),
    ] {
        assert_eq!(
            refusal(&issuer, "legacy:s3cret", body).await,
            error,
            "{body}"
        );
    }
}

#[tokio::test]
async fn an_audience_is_the_same_in_every_spelling_of_its_uri_and_stands_in_the_token_as_it_is_registered()
 {
    let issuer = issuer().await;
    for body in [
        "&resource=https://devices.example/",
        "&audience=HTTPS://Devices.Example:443",
        "&audience=https://devices.example/+https://devices.example",
        "&audience=https://devices.example&resource=https://devices.example:443/.",
    ] {
        assert_eq!(
            issue(&issuer, "legacy:s3cret", body).await["aud"],
            json!([DEVICES]),
            "{body}"
        );
    }
    let body = "&resource=https://issuer.example:443/%6d2m";
    assert_eq!(issue(&issuer, "bare:b4re", body).await["aud"], json!([URL]));
}

#[tokio::test]
async fn expiration_may_only_shorten_a_tokens_life() {
    let issuer = issuer().await;
    let at = |offset: i64| format!("&expiration={}", NOW + offset);
    for offset in [1, 899, 900] {
        assert_eq!(
            issue(&issuer, "legacy:s3cret", &at(offset)).await["exp"],
            NOW + offset
        );
    }
    for offset in [901, 0, -1, -NOW, i64::MAX - NOW] {
        assert_eq!(
            refusal(&issuer, "legacy:s3cret", &at(offset)).await,
            TokenError::Expiration,
            "{offset}"
        );
    }
}

#[tokio::test]
async fn owner_name_and_inserted_claims_never_override() {
    let inserted = json!({
        "tenant": "blue", "n": [1, {"a": null}], "owner": "x", "name": "x", "sub": "x", "scope": "admin", "aud": "x",
        "exp": 9, "nbf": 9, "cnf": {}, "client_id": "x",
    });
    let owned = Client {
        owner: Some("1".to_owned()),
        insert_token_claims: inserted.as_object().unwrap().clone(),
        ..client("owned", "s")
    };
    let issuer = open(config(vec![owned.clone()])).await.unwrap();
    let claims = issue(&issuer, "owned:s", "&token_name=my+token").await;
    for (name, value) in [
        ("tenant", json!("blue")),
        ("n", json!([1, {"a": null}])),
        ("owner", json!("1")),
        ("name", json!("x")),
        ("sub", json!("owned")),
        ("client_id", json!("owned")),
        ("aud", json!([URL])),
        ("exp", json!(NOW + 3600)),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    for name in ["scope", "nbf", "cnf"] {
        assert!(claims.get(name).is_none(), "{name}");
    }
    let owner_is_name = Config {
        owner_claim: "name".to_owned(),
        ..config(vec![owned])
    };
    let issuer = open(owner_is_name).await.unwrap();
    assert_eq!(
        issue(&issuer, "owned:s", "&token_name=other").await["name"],
        "1"
    );
}

#[tokio::test]
async fn whatever_is_wrong_with_a_client_the_answer_is_the_same() {
    let disabled = Client {
        disabled: true,
        ..client("disabled", "s")
    };
    let expired = Client {
        expires_at: Some(UnixTime(NOW)),
        ..client("expired", "s")
    };
    let expiring = Client {
        expires_at: Some(UnixTime(NOW + 1)),
        ..client("expiring", "s")
    };
    let issuer = open(config(vec![
        disabled,
        expired,
        expiring,
        client("good", "s"),
    ]))
    .await
    .unwrap();
    for basic in [
        "unknown:s",
        "good:wrong",
        "good:",
        ":",
        ":s",
        "good:S",
        "good:s ",
        "disabled:s",
        "expired:s",
        "Good:s",
        "good%00:s",
    ] {
        assert_eq!(
            refusal(&issuer, basic, "").await,
            TokenError::InvalidClient { basic: true },
            "{basic}"
        );
    }
    issue(&issuer, "good:s", "").await;
    issue(&issuer, "expiring:s", "").await;
}

#[tokio::test]
async fn basic_secrets_work_encoded_as_the_rfc_says_and_raw() {
    let secret = "p%2B+: %ü";
    let issuer = open(config(vec![client("a:b%", secret), client("raw", secret)]))
        .await
        .unwrap();
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    issue(
        &issuer,
        &format!("{}:{}", encode("a:b%"), encode(secret)),
        "",
    )
    .await;
    issue(&issuer, &format!("raw:{secret}"), "").await;
    assert_eq!(
        refusal(&issuer, &format!("raw:{}x", encode(secret)), "").await,
        TokenError::InvalidClient { basic: true }
    );
}

#[tokio::test]
async fn a_client_uses_only_the_grants_it_is_allowed() {
    let none = Client {
        allowed_grant_types: Vec::new(),
        ..client("none", "s")
    };
    let issuer = open(config(vec![none])).await.unwrap();
    assert_eq!(
        refusal(&issuer, "none:s", "").await,
        TokenError::UnauthorizedClient
    );
    assert_eq!(
        refusal(&issuer, "none:wrong", "").await,
        TokenError::InvalidClient { basic: true }
    );
}

#[tokio::test]
async fn a_client_that_is_deleted_while_it_asks_gets_no_token_of_the_one_that_has_its_id_now() {
    let issuer = open(config(Vec::new())).await.unwrap();
    let new = json!({ "client_id": "client" });
    let create = async || {
        issuer
            .client_admin()
            .create(new.as_object().unwrap())
            .await
            .unwrap()
            .secret
            .unwrap()
    };
    let now = UnixTime(NOW);
    let asked = async |secret: &SecretString| {
        let request = request(&["client:", secret.expose_secret()].concat(), "");
        issuer.tokens.grant_to(&request, now).await.unwrap()
    };
    let first = asked(&create().await).await;
    assert!(issuer.tokens.issue_granted(&first, now).await.is_ok());
    // A further secret, and a change of what is registered, are no other client.
    issuer
        .client_admin()
        .create_secret("client", &Map::new())
        .await
        .unwrap();
    issuer
        .client_admin()
        .update("client", json!({ "owner": "1" }).as_object().unwrap())
        .await
        .unwrap();
    assert!(issuer.tokens.issue_granted(&first, now).await.is_ok());
    issuer.client_admin().delete("client").await.unwrap();
    let gone = TokenError::InvalidClient { basic: false };
    assert_eq!(
        issuer.tokens.issue_granted(&first, now).await.err(),
        Some(gone)
    );
    let second = asked(&create().await).await;
    assert_eq!(
        issuer.tokens.issue_granted(&first, now).await.err(),
        Some(gone)
    );
    assert!(issuer.tokens.issue_granted(&second, now).await.is_ok());
}

/// A `+` can be read in two ways, and both may be clients.
#[tokio::test]
async fn the_client_that_proves_who_it_is_is_named_however_its_id_can_be_read() {
    let issuer = open(config(vec![client("svc a", "one"), client("svc+a", "two")]))
        .await
        .unwrap();
    for (basic, expected) in [
        ("svc+a:two", Some("svc+a")),
        ("svc%2Ba:two", Some("svc+a")),
        ("svc+a:one", Some("svc a")),
        ("svc a:one", Some("svc a")),
        ("svc+a:wrong", None),
    ] {
        let attempt = attempt(&issuer, request(basic, "")).await;
        assert_eq!(attempt.result.is_ok(), expected.is_some(), "{basic}");
        let client = attempt.client.map(|client| client.client_id);
        assert_eq!(client.as_deref(), expected, "{basic}");
    }
    // Also if it asks for a scope that it is not allowed.
    let attempt = attempt(&issuer, request("svc+a:two", "&scope=none")).await;
    attempt.result.unwrap_err();
    assert_eq!(attempt.client.unwrap().client_id, "svc+a");
}

async fn attempt(issuer: &Issuer, request: TokenRequest) -> Attempt<TokenResponse> {
    issuer
        .tokens()
        .answer(&Ok(request), &HeaderMap::new(), b"", None)
        .await
}

#[tokio::test]
async fn only_registered_clients_are_named_for_the_audit() {
    let issuer = issuer().await;
    for (basic, expected) in [
        ("legacy:wrong", Some("legacy")),
        ("leg%61cy:wrong", Some("legacy")),
        ("unknown:s3cret", None),
    ] {
        let attempt = attempt(&issuer, request(basic, "")).await;
        assert_eq!(attempt.client_id(), expected, "{basic}");
    }
}

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
        issuer().await.metadata(),
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
            "grant_types_supported": ["client_credentials", "refresh_token"],
            "token_endpoint_auth_methods_supported": auth_methods,
            "token_endpoint_auth_signing_alg_values_supported": every_algorithm,
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    );
}

/// A client as the management API stores it, with a generated secret.
fn stored_client(id: &str, secret: &str) -> store::StoredClient {
    let digest: String = crate::domain::hash::sha256(secret.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let secret = store::StoredSecret {
        secret_id: format!("secret of {id}"),
        hash: SecretString::from(format!("sha256:{digest}")),
        last_four: Some("abcd".to_owned()),
        created_at: UnixTime(NOW),
        expires_at: Some(UnixTime(NOW + 100)),
        last_used_at: None,
    };
    store::StoredClient {
        client_id: id.to_owned(),
        document: json!({"grant_types": ["client_credentials"], "scope": "a"}),
        version: 1,
        created_at: UnixTime(NOW),
        updated_at: UnixTime(NOW),
        secrets: vec![secret],
    }
}

#[tokio::test]
async fn a_client_of_the_store_gets_tokens_as_soon_as_it_is_read_and_loses_them_when_it_is_gone() {
    let store = store::open(&store::Config::SqliteMemory).await.unwrap();
    let clock = Arc::new(TestClock(AtomicI64::new(NOW)));
    let issuer = Issuer::open(config(vec![legacy()]), store.clone(), clock.clone())
        .await
        .unwrap();
    let unknown = TokenError::InvalidClient { basic: true };
    assert_eq!(refusal(&issuer, "new:generated", "").await, unknown);
    store
        .insert_client(&stored_client("new", "generated"))
        .await
        .unwrap();
    // One that hides behind an id of the configuration.
    store
        .insert_client(&stored_client("legacy", "generated"))
        .await
        .unwrap();
    issuer.reload().await.unwrap();
    assert_eq!(issue(&issuer, "new:generated", "").await["scope"], "a");
    for wrong in ["new:other", "new:", "legacy:generated"] {
        assert_eq!(refusal(&issuer, wrong, "").await, unknown, "{wrong}");
    }
    clock.0.store(NOW + 99, Ordering::Relaxed);
    assert!(
        issuer
            .issue(&request("new:generated", ""), None)
            .await
            .is_ok()
    );
    clock.0.store(NOW + 100, Ordering::Relaxed);
    assert_eq!(
        refusal(&issuer, "new:generated", "").await,
        unknown,
        "its secret has expired"
    );
    clock.0.store(NOW, Ordering::Relaxed);
    let end = store::tokens::ClientNotBefore {
        client_id: "new".to_owned(),
        until: UnixTime(NOW - 10),
        expires_at: UnixTime(NOW + 3600),
        revoked_at: UnixTime(NOW),
        mark: EndMark::of(b"end"),
    };
    let version = store.client("new").await.unwrap().unwrap().version;
    assert!(store.delete_client(version, &end).await.unwrap());
    issuer.reload().await.unwrap();
    assert_eq!(refusal(&issuer, "new:generated", "").await, unknown);
    let revoked = issuer.revoked().current();
    let issued = |iat| {
        let (token, client_id) = (TokenId::of("any"), Some("new"));
        Issued {
            token,
            client_id,
            at: UnixTime(iat),
            after_end: None,
        }
    };
    let covers = |iat| revoked.covers(&issued(iat), UnixTime(NOW));
    // The clock was ahead until now: up to the latest time at which a token can have been issued.
    assert!(covers(NOW - 10) && covers(NOW + 89) && !covers(NOW + 90));
}

#[tokio::test]
async fn further_claims_take_no_place_of_the_issuers_own() {
    let inserted = json!({
        "owner": "1", "device": "d", "originalTokenClaims": {}, "scope": "all", "cnf": {}, "sub": "root", "tenant": "blue",
        "plgd:required:scope": null,
    });
    let inserting = Client {
        insert_token_claims: inserted.as_object().unwrap().clone(),
        ..client("a", "s")
    };
    let with = |claim: &str| Config {
        device_id_claim: claim.to_owned(),
        ..config(vec![inserting.clone()])
    };
    let issuer = open(with("device")).await.unwrap();
    let claims = issue(&issuer, "a:s", "&token_name=n").await;
    let mut names: Vec<_> = claims
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "aud",
            "client_id",
            "exp",
            "iat",
            "iss",
            "jti",
            "name",
            "sub",
            "tenant"
        ]
    );
    assert_eq!(
        (&claims["sub"], &claims["name"]),
        (&json!("a"), &json!("n"))
    );
    // A device's id is no way to set them either.
    for claim in [
        "scope",
        "owner",
        "jti",
        "originalTokenClaims",
        "plgd:required:scope",
    ] {
        assert!(
            matches!(open(with(claim)).await, Err(OpenError::DeviceIdClaim)),
            "{claim}"
        );
    }
    let owner = Config {
        owner_claim: "plgd:required:scope".to_owned(),
        ..config(Vec::new())
    };
    assert!(matches!(open(owner).await, Err(OpenError::OwnerClaim)));
}
