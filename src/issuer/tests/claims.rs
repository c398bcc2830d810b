//! The claims of access tokens.

use super::*;

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
async fn an_audience_in_another_spelling_becomes_the_registered_one() {
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
