//! The exchange of a user's JWT.

use super::*;
use crate::issuer::Profile;
use crate::issuer::client::CopyClaims;

/// A client exchanges a JWT with these claims, which counts as verified. Gives what the client
/// gets.
async fn exchanged(profile: Profile, claims: &serde_json::Value) -> Result<Exchanged, TokenError> {
    let copied = ["email", "deviceId", "nickname", "access_token", "cnf"]
        .map(str::to_owned)
        .to_vec();
    exchanged_by(profile, CopyClaims::Listed(copied), false, claims).await
}

async fn exchanged_by(
    profile: Profile,
    copy_claims: CopyClaims,
    cap_to_assertion: bool,
    claims: &serde_json::Value,
) -> Result<Exchanged, TokenError> {
    use crate::domain::claims::Claims;
    use crate::issuer::ForeignClaims;
    use crate::issuer::client::Exchange;

    let store = store::open(&store::Config::SqliteMemory).await.unwrap();
    let exchange = Exchange {
        authorities: vec!["users".to_owned()],
        copy_claims,
        cap_to_assertion,
    };
    let portal = Client {
        authentication: Authentication::Exchange(exchange),
        ..client("portal", "s")
    };
    let max_token_size = 32 * 1024;
    let config = Config {
        profile,
        max_token_size,
        ..config(vec![portal])
    };
    let issuer = Issuer::open(config, store, Arc::new(TestClock(AtomicI64::new(NOW))))
        .await
        .unwrap();
    let members = claims.as_object().unwrap().clone();
    issuer.exchange_with(Arc::new(move |authorities, _| {
        assert_eq!(authorities, ["users"]);
        let claims = Claims::from(members.clone());
        let issuer = claims.string("iss").unwrap().unwrap().to_owned();
        let authority = authorities[0].clone();
        Box::pin(async move {
            Ok(ForeignClaims {
                claims,
                issuer,
                authority,
            })
        })
    }));
    let jwt = SigningKey::generate(Algorithm::ES256)
        .unwrap()
        .sign("JWT", claims)
        .unwrap();
    let presented = Credentials::Assertion(PresentedAssertion {
        named: vec!["portal".to_owned()],
        jwt,
        is_svid: false,
    });
    let authenticated = issuer
        .client_auth
        .authenticate(
            &issuer.state.clients,
            Some(&presented),
            &None.into(),
            UnixTime(NOW),
        )
        .await?;
    let exchanged = authenticated.exchanged().unwrap().clone();
    let owner = Some(exchanged.owner().to_owned());
    assert_eq!(
        authenticated.identity(),
        ClientIdentity {
            client_id: "portal".to_owned(),
            owner
        }
    );
    Ok(exchanged)
}

#[tokio::test]
async fn in_the_plgd_profile_any_users_jwt_is_exchanged_and_what_is_listed_is_copied_but_no_secret()
{
    let claims = json!({
        "iss": "https://idp.example", "sub": "u", "owner": "ann", "exp": NOW + 60, "aud": ["https://app.example"],
        "email": "ann@example", "access_token": "x.y.z", "cnf": {}, "deviceId": "d",
    });
    let standard = exchanged(Profile::Standard, &claims).await.unwrap_err();
    assert_eq!(
        standard,
        TokenError::InvalidAssertion(AssertionFault::Audience)
    );
    let got = exchanged(Profile::Plgd, &claims).await.unwrap();
    assert_eq!(got.owner(), "ann");
    let copied = json!({ "email": "ann@example", "deviceId": "d" });
    assert_eq!(serde_json::Value::from(got.copied().clone()), copied);
    let mut endless = claims.clone();
    endless.as_object_mut().unwrap().remove("exp");
    assert_eq!(
        exchanged(Profile::Plgd, &endless).await.unwrap().owner(),
        "ann"
    );
    let standard = exchanged(Profile::Standard, &endless).await.unwrap_err();
    assert_eq!(
        standard,
        TokenError::InvalidAssertion(AssertionFault::NoExpiry)
    );
    for (name, value, fault) in [
        ("owner", None, AssertionFault::NoOwner),
        (
            "iss",
            Some(json!(crate::issuer::tests::URL)),
            AssertionFault::OwnToken,
        ),
        (
            "email",
            Some(json!("e".repeat(60_000))),
            AssertionFault::CopiedClaims,
        ),
    ] {
        let mut bad = claims.clone();
        match value {
            Some(value) => bad[name] = value,
            None => drop(bad.as_object_mut().unwrap().remove(name)),
        }
        let refused = exchanged(Profile::Plgd, &bad).await.unwrap_err();
        assert_eq!(refused, TokenError::InvalidAssertion(fault), "{name}");
    }
}

#[tokio::test]
async fn copied_claims_have_no_secrets_and_no_required_scope_at_any_depth() {
    let claims = json!({
        "iss": "https://idp.example", "sub": "u", "owner": "ann", "aud": ["https://app.example"], "scope": "",
        "address": { "street": "x", "password": "p" }, "groups": ["g1", { "id_token": "x.y.z", "n": [1, null] }],
        "plgd:required:scope": null, "refresh_token": "r",
        "originalTokenClaims": { "email": "a@example", "plgd:required:scope": [], "cnf": { "jkt": "x" } },
        "big": "b".repeat(20_000),
    });
    let all = exchanged_by(Profile::Plgd, CopyClaims::All, false, &claims)
        .await
        .unwrap();
    let expected = json!({
        "iss": "https://idp.example", "sub": "u", "owner": "ann", "aud": ["https://app.example"], "scope": "",
        "address": { "street": "x" }, "groups": ["g1", { "n": [1, null] }],
        "originalTokenClaims": { "email": "a@example" }, "big": "b".repeat(20_000),
    });
    assert_eq!(serde_json::Value::from(all.copied().clone()), expected);
    let listed = ["plgd:required:scope", "originalTokenClaims"]
        .map(str::to_owned)
        .to_vec();
    let listed = exchanged_by(Profile::Plgd, CopyClaims::Listed(listed), false, &claims)
        .await
        .unwrap();
    let expected = json!({ "originalTokenClaims": { "email": "a@example" } });
    assert_eq!(serde_json::Value::from(listed.copied().clone()), expected);
    let none = exchanged_by(
        Profile::Plgd,
        CopyClaims::Listed(Vec::new()),
        false,
        &claims,
    )
    .await
    .unwrap();
    assert!(none.copied().is_empty());
}

#[tokio::test]
async fn the_end_of_a_users_jwt_counts_only_where_the_client_is_registered_so() {
    let with = |exp: Option<i64>| {
        let mut claims = json!({ "iss": "https://idp.example", "sub": "u", "owner": "ann" });
        exp.into_iter().for_each(|exp| claims["exp"] = exp.into());
        claims
    };
    let ends_by = async |caps: bool, exp: Option<i64>| {
        let exchanged = exchanged_by(Profile::Plgd, CopyClaims::All, caps, &with(exp)).await;
        exchanged.map(|exchanged| exchanged.ends_by())
    };
    assert_eq!(
        ends_by(true, Some(NOW + 3)).await,
        Ok(Some(UnixTime(NOW + 3)))
    );
    assert_eq!(ends_by(true, None).await, Ok(None));
    assert_eq!(ends_by(false, Some(NOW + 3)).await, Ok(None));
    // Within the clock skew the token would have expired when it is issued.
    let over = Err(TokenError::InvalidAssertion(AssertionFault::Expired));
    assert_eq!(ends_by(true, Some(NOW)).await, over);
    assert_eq!(ends_by(true, Some(NOW - 5)).await, over);
    assert_eq!(ends_by(false, Some(NOW - 5)).await, Ok(None));
}
