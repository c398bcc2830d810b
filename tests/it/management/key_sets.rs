//! A client's key set is checked in the same way from a request and from a file.

use serde_json::{Value, json};

use super::{World, fields};
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::Sidecar;

/// Why a file with this set is refused; none when it is taken.
async fn as_file(set: &Value) -> Option<String> {
    let yaml = "stateDir: \"@DIR@\"\nissuer:\n  url: http://issuer.test\n  listen: \
        127.0.0.1:0\n  clients: [{ id: robot, jwksFile: \"@DIR@/jwks.json\" }]\n";
    match Sidecar::builder()
        .file("jwks.json", set.to_string())
        .try_start(yaml)
        .await
    {
        Ok(sidecar) => {
            sidecar.stop().await;
            None
        }
        Err(why) => Some(why),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_and_a_request_take_and_refuse_the_same_key_sets() {
    let world = World::start().await;
    let usable = TestKey::generate("a", Alg::ES256).public_jwk();
    let with = |other: Value| json!({ "keys": [usable, other] });
    let mut private = usable.clone();
    private["d"] = json!("AAAA");
    let secret = "holds a private or symmetric key";
    for (set, refused) in [
        (
            with(json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" })),
            None,
        ),
        (
            with(json!({ "kty": "OKP", "crv": "X25519", "x": "AA" })),
            None,
        ),
        (
            with(json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA" })),
            None,
        ),
        (
            with(json!({ "kty": "RSA", "use": "enc", "n": "AQ", "e": "AQAB" })),
            None,
        ),
        (with(json!("no key")), None),
        (with(private.clone()), Some(secret)),
        (json!({ "keys": [private] }), Some(secret)),
        (with(json!({ "kty": "oct", "k": "AAAA" })), Some(secret)),
        (
            json!({ "keys": [{ "kty": "OKP", "crv": "X25519", "x": "AA" }] }),
            Some("holds no public key"),
        ),
        (json!({ "keys": [] }), Some("holds no public key")),
        (json!({ "keys": {} }), Some("is not a JWK set")),
    ] {
        let answer = world.call("POST", "/clients", json!({ "jwks": set })).await;
        let file = as_file(&set).await;
        match refused {
            None => assert_eq!(
                (answer.status, file),
                (201, None),
                "{set} {}",
                answer.text()
            ),
            Some(why) => {
                assert_eq!(
                    (answer.status, fields(&answer)),
                    (400, vec!["jwks".to_owned()]),
                    "{set}"
                );
                assert!(answer.text().contains(why), "{}", answer.text());
                assert!(
                    file.as_ref().is_some_and(|file| file.contains(why)),
                    "{set}: {file:?}"
                );
            }
        }
    }
}
