//! A client whose tokens are those of many users: one of them who revokes without end harms no
//! other.

use futures_util::future::join_all;
use m2m_sidecar::for_tests::store::Store;
use m2m_sidecar::for_tests::store::tokens::{TokenFilter, TokenRecord};

use super::*;
use crate::support::client::get;
use crate::support::clock::MovableClock;

const HOUR: i64 = 3600;

/// Keeps tokens of a user, and revokes them.
async fn revoked(store: &dyn Store, (owner, issuer): (&str, &str), count: usize) {
    let at = UnixTime(now());
    let kept = (0..count).map(|number| {
        let record = TokenRecord {
            jti: format!("{owner}-{number}"),
            client_id: "portal".to_owned(),
            owner: Some(owner.to_owned()),
            owner_issuer: Some(issuer.to_owned()),
            subject: "portal".to_owned(),
            name: None,
            scope: Vec::new(),
            audience: Vec::new(),
            issued_at: at,
            expires_at: Some(UnixTime(at.0 + HOUR)),
            revoked_at: None,
            original_claims: None,
            after_end: None,
        };
        async move { store.insert_token(&record).await.expect("a store") }
    });
    join_all(kept).await;
    let filter = TokenFilter {
        client_id: Some("portal".to_owned()),
        ..TokenFilter::default()
    };
    assert_eq!(
        store
            .end_tokens(&filter, at, at)
            .await
            .expect("a store")
            .revoked
            .len(),
        count
    );
}

async fn exchange(sidecar: &Sidecar, users: &Authority, user: &str) -> RawAnswer {
    let jwt = users
        .token()
        .claim("aud", ISSUER)
        .claim("owner", user)
        .claim("exp", now() + 3 * HOUR)
        .sign();
    ask(
        sidecar,
        &[TYPE, ("client_assertion", &jwt)],
        &[("Authorization", &basic("portal", ""))],
    )
    .await
}

async fn list(sidecar: &Sidecar) -> Value {
    let jwt = get(sidecar.address("issuer"), "/oauth/revocations", &[])
        .await
        .text();
    let payload = jwt.split('.').nth(1).expect("a JWT");
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .expect("base64url");
    serde_json::from_slice(&payload).expect("claims")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_beyond_the_quota_gets_429_and_the_others_go_on() {
    let (users, clock) = (Authority::start(), MovableClock::now());
    let issuer = "  clients: [{ id: portal, jwtPrivateKey: { authorities: [users] } }]\n";
    let authorities = format!(
        "authorities:\n  users: {{ issuer: \"{}\" }}\n",
        users.issuer()
    );
    let builder = Sidecar::builder().clock(clock.clone());
    let store = store::open(&store::Config::SqliteFile(builder.path("m2m.db")))
        .await
        .expect("a store");
    // More than any client may have revoked whose tokens are its own.
    revoked(&*store, ("ann", &users.issuer()), 1200).await;
    store.close().await;
    let sidecar = builder.start(&(yaml(issuer) + &authorities)).await;
    let revocations = list(&sidecar).await;
    assert_eq!(revocations["not_before"], json!({}));
    assert_eq!(
        revocations["revoked"].as_array().expect("a list").len(),
        1200
    );
    let answer = exchange(&sidecar, &users, "ann").await;
    assert_eq!(error(&answer), (429, "temporarily_unavailable".to_owned()));
    let wait: u16 = answer
        .header("retry-after")
        .expect("a time")
        .parse()
        .expect("seconds");
    assert!((3000..=3600).contains(&wait), "{wait}");
    let token = exchange(&sidecar, &users, "bob").await;
    assert_eq!(claims(&token)["owner"], "bob");
    // Bob's revocations are listed: a quota never refuses a revocation.
    let token = token.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let jwt = users
        .token()
        .claim("aud", ISSUER)
        .claim("owner", "bob")
        .sign();
    let form = [
        ("token", token.as_str()),
        TYPE,
        ("client_assertion", &jwt),
        ("client_id", "portal"),
    ];
    assert_eq!(
        post_form(sidecar.address("issuer"), "/oauth/revoke", &form, &[])
            .await
            .status,
        200
    );
    assert_eq!(
        list(&sidecar).await["revoked"]
            .as_array()
            .expect("a list")
            .len(),
        1201
    );
    clock.forward(Duration::from_secs(3601));
    claims(&exchange(&sidecar, &users, "ann").await);
    sidecar.stop().await;
}
