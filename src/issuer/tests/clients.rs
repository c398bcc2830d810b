//! The clients that get tokens, and those that do not.

use super::*;

#[tokio::test]
async fn every_fault_of_a_client_gets_the_same_answer() {
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
async fn the_authenticated_client_is_named_in_every_reading_of_its_id() {
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
        .answer(&Ok(request), &HeaderMap::new(), b"", ("", &None.into()))
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
