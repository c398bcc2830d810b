//! How clients prove who they are: secrets under attack, their own JWTs, and users' JWTs that are
//! exchanged.

mod assertions;
mod exchange;
mod key_hosts;
mod proxies;
mod quota;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use m2m_sidecar::for_tests::domain::clock::UnixTime;
use m2m_sidecar::for_tests::domain::secret::{ExposeSecret, SecretString};
use m2m_sidecar::for_tests::issuer::client_secret;
use m2m_sidecar::for_tests::store::{self, StoredClient, StoredSecret};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::authority::Authority;
use crate::support::client::{RawAnswer, post_form};
use crate::support::clock::StandingClock;
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::tokens::TokenBuilder;
use crate::support::{logs, now};

const ISSUER: &str = "http://issuer.test/m2m";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const GRANT: (&str, &str) = ("grant_type", "client_credentials");
const TYPE: (&str, &str) = ("client_assertion_type", JWT_BEARER);

/// A configuration with these further lines in `issuer`, among them its clients.
fn yaml(issuer: &str) -> String {
    format!(
        "stateDir: \"@DIR@\"\nstore: {{ url: \"sqlite:@DIR@/m2m.db\" }}\nissuer:\n  url: \
         {ISSUER}\n  \
         listen: 127.0.0.1:0\n{issuer}"
    )
}

/// Puts a client into the store that a sidecar is going to open.
async fn store_client(
    builder: &SidecarBuilder,
    id: &str,
    document: Value,
    secrets: Vec<StoredSecret>,
) {
    let store = store::open(&store::Config::SqliteFile(builder.path("m2m.db")))
        .await
        .expect("a store");
    let at = UnixTime(now());
    let (client_id, version) = (id.to_owned(), 1);
    let client = StoredClient {
        client_id,
        document,
        version,
        created_at: at,
        updated_at: at,
        secrets,
    };
    assert!(store.insert_client(&client).await.expect("a store"));
}

fn may(extra: Value) -> Value {
    let mut document = json!({"grant_types": ["client_credentials"]});
    document
        .as_object_mut()
        .expect("an object")
        .extend(extra.as_object().expect("an object").clone());
    document
}

/// An assertion of a client that holds the authority's keys, right in every way.
fn assertion(keys: &Authority, client_id: &str) -> TokenBuilder {
    let token = keys
        .token()
        .header("typ", "JWT")
        .claim("iss", client_id)
        .claim("sub", client_id);
    let token = token
        .claim("aud", ISSUER)
        .claim("jti", Uuid::new_v4().to_string());
    token
        .claim("exp", now() + 300)
        .without("client_id")
        .without("scope")
}

async fn ask(sidecar: &Sidecar, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> RawAnswer {
    let fields: Vec<_> = [GRANT].iter().chain(fields).copied().collect();
    post_form(sidecar.address("issuer"), "/oauth/token", &fields, headers).await
}

async fn present(sidecar: &Sidecar, jwt: &str) -> RawAnswer {
    ask(sidecar, &[TYPE, ("client_assertion", jwt)], &[]).await
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

async fn by_secret(sidecar: &Sidecar, id: &str, secret: &str) -> RawAnswer {
    logs::remember_client_secret(id, secret);
    ask(sidecar, &[], &[("Authorization", &basic(id, secret))]).await
}

fn claims(answer: &RawAnswer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    logs::remember_secret(&token);
    let payload = token.split('.').nth(1).expect("a payload");
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .expect("base64url");
    serde_json::from_slice(&payload).expect("claims")
}

fn error(answer: &RawAnswer) -> (u16, String) {
    (
        answer.status,
        answer.json()["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn after_five_wrong_secrets_the_next_try_waits_whatever_it_is() {
    // The delay is one second, which a busy machine may take for a request.
    let clock = StandingClock::now();
    let builder = Sidecar::builder().clock(clock.clone()).secret_file(
        "legacy",
        "legacy",
        "sixteen bytes or more",
    );
    let sidecar = builder
        .start(&yaml(
            "  clients: [{ id: legacy, secretFile: \"@DIR@/legacy\" }]\n",
        ))
        .await;
    for _ in 0..5 {
        let answer = by_secret(&sidecar, "legacy", "a guess of mine").await;
        assert_eq!(error(&answer), (401, "invalid_client".to_owned()));
    }
    // The right one has not been seen by this process, so it cannot be told from a lucky guess.
    for secret in ["a guess of mine", "sixteen bytes or more"] {
        let answer = by_secret(&sidecar, "legacy", secret).await;
        assert_eq!(error(&answer), (429, "temporarily_unavailable".to_owned()));
        let wait: u64 = answer
            .header("retry-after")
            .expect("when to come back")
            .parse()
            .expect("seconds");
        assert_eq!(wait, 1);
    }
    assert_eq!(
        by_secret(&sidecar, "unknown", "a guess of mine")
            .await
            .status,
        401,
        "another client id"
    );
    clock.forward(Duration::from_secs(2));
    assert_eq!(
        by_secret(&sidecar, "legacy", "sixteen bytes or more")
            .await
            .status,
        200
    );
    // From now on it is known to be right from here.
    for _ in 0..8 {
        by_secret(&sidecar, "legacy", "a guess of mine").await;
    }
    assert_eq!(
        by_secret(&sidecar, "legacy", "a guess of mine")
            .await
            .status,
        429
    );
    assert_eq!(
        by_secret(&sidecar, "legacy", "sixteen bytes or more")
            .await
            .status,
        200
    );
    sidecar.stop().await;
}

/// Behind a proxy all clients have one address, and a caller that fails in a client's name has it
/// too.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_guessed_is_never_delayed() {
    let (in_file, _) = client_secret::generate(UnixTime(now()), None);
    let in_file = in_file.expose_secret();
    let builder = Sidecar::builder().secret_file("long", "long", in_file);
    let (generated, stored) = client_secret::generate(UnixTime(now()), None);
    store_client(&builder, "generated", may(json!({})), vec![stored]).await;
    let sidecar = builder
        .start(&yaml(
            "  clients: [{ id: long, secretFile: \"@DIR@/long\" }]\n",
        ))
        .await;
    for (id, secret) in [("long", in_file), ("generated", generated.expose_secret())] {
        for _ in 0..6 {
            by_secret(&sidecar, id, "a guess of mine").await;
        }
        assert_eq!(
            by_secret(&sidecar, id, "a guess of mine").await.status,
            429,
            "{id}"
        );
        // Never seen before by this process.
        assert_eq!(by_secret(&sidecar, id, secret).await.status, 200, "{id}");
    }
    sidecar.stop().await;
}

/// The client addresses of a trusted proxy count, those of other peers do not.
#[tokio::test(flavor = "multi_thread")]
async fn failures_are_counted_for_the_client_behind_a_trusted_proxy() {
    let secret = "sixteen bytes or more";
    for (trusted, owner_is) in [("127.0.0.0/8", 200), ("10.0.0.0/8", 429)] {
        let builder = Sidecar::builder()
            .clock(StandingClock::now())
            .secret_file("legacy", "legacy", secret);
        let issuer = format!(
            "  trustedProxies: [{trusted}]\n  clients: [{{ id: legacy, \
             secretFile: \"@DIR@/legacy\" }}]\n"
        );
        let sidecar = builder.start(&yaml(&issuer)).await;
        let from = async |secret: &str, address: &str| {
            logs::remember_client_secret("legacy", secret);
            let authorization = basic("legacy", secret);
            let headers = [
                ("Authorization", authorization.as_str()),
                ("X-Forwarded-For", address),
            ];
            ask(&sidecar, &[], &headers).await.status
        };
        for _ in 0..5 {
            assert_eq!(from("a guess of mine", "198.51.100.7").await, 401);
        }
        assert_eq!(from(secret, "198.51.100.7").await, 429, "{trusted}");
        assert_eq!(from(secret, "192.0.2.1").await, owner_is, "{trusted}");
        sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_secrets_fails_no_request_of_good_clients() {
    let builder = Sidecar::builder();
    let (generated, stored) = client_secret::generate(UnixTime(now()), None);
    store_client(&builder, "quick", may(json!({})), vec![stored]).await;
    let supplied = "a supplied secret of a person";
    let hashed =
        client_secret::hashed(SecretString::from(supplied), &[], UnixTime(now()), None).await;
    store_client(
        &builder,
        "slow",
        may(json!({})),
        vec![hashed.expect("long enough")],
    )
    .await;
    let sidecar = builder.start(&yaml("")).await;
    assert_eq!(by_secret(&sidecar, "slow", supplied).await.status, 200);
    assert_eq!(
        by_secret(&sidecar, "quick", generated.expose_secret())
            .await
            .status,
        200
    );
    assert_eq!(
        by_secret(&sidecar, "slow", "another-secret").await.status,
        401
    );
    let flood = async {
        let wrong = (0..200).map(|n| {
            let sidecar = &sidecar;
            let id = if n % 4 == 0 {
                "slow".to_owned()
            } else {
                format!("unknown-{n}")
            };
            async move {
                by_secret(sidecar, &id, &format!("another-secret-{n}"))
                    .await
                    .status
            }
        });
        futures_util::future::join_all(wrong).await
    };
    let good = async {
        for _ in 0..20 {
            assert_eq!(by_secret(&sidecar, "slow", supplied).await.status, 200);
            assert_eq!(
                by_secret(&sidecar, "quick", generated.expose_secret())
                    .await
                    .status,
                200
            );
        }
    };
    let (refused, ()) = tokio::join!(flood, good);
    // Wrong, delayed, or no place in the queue for a slow hash. Of secrets that are hashed when the
    // delay begins, the answer is the delay's, so there may be no 401 at all.
    assert!(
        refused
            .iter()
            .all(|status| matches!(status, 401 | 429 | 503)),
        "{refused:?}"
    );
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_supplied_secret_fails_no_request_however_many_come_at_once() {
    let builder = Sidecar::builder();
    let supplied = "a supplied secret of a person";
    let hashed =
        client_secret::hashed(SecretString::from(supplied), &[], UnixTime(now()), None).await;
    store_client(
        &builder,
        "slow",
        may(json!({})),
        vec![hashed.expect("long enough")],
    )
    .await;
    let sidecar = builder.start(&yaml("")).await;
    let all =
        futures_util::future::join_all((0..50).map(|_| by_secret(&sidecar, "slow", supplied)))
            .await;
    assert!(all.iter().all(|answer| answer.status == 200));
    sidecar.stop().await;
}
