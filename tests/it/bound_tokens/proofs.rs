//! Right and wrong proofs.

use m2m_sidecar::for_tests::domain::clock::UnixTime;
use m2m_sidecar::for_tests::domain::secret::ExposeSecret;
use m2m_sidecar::for_tests::jose::Algorithm;
use m2m_sidecar::for_tests::jose::dpop::NewProof;
use m2m_sidecar::for_tests::jose::sign::SigningKey;
use serde_json::json;

use super::proof::{Draft, bare_jwk};
use super::{World, challenge, outcome};
use crate::support::keys::{Alg, TestKey};
use crate::support::now;

const PATH: &str = "/devices/1";

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_passes_with_its_proof_and_only_once() {
    let world = World::new("").await;
    let token = world.token();
    let proof = world.proof(PATH, &token).sign();
    let answer = world.get(PATH, &token, &[&proof]).await;
    assert_eq!(outcome(&answer), (200, "-"), "{answer:?}");
    // The service can check the same proof.
    let received = world.upstream.received().pop().expect("a request");
    assert_eq!(received.header("dpop"), Some(proof.as_str()));
    let sent = format!("DPoP {token}");
    assert_eq!(received.header("authorization"), Some(sent.as_str()));
    assert_eq!(received.header("x-m2m-client-id"), Some("tester"));
    // The token is cached by now; its proof is not.
    let replayed = world.get(PATH, &token, &[&proof]).await;
    assert_eq!(outcome(&replayed), (401, "proof_replayed"));
    assert!(challenge(&replayed).starts_with("DPoP realm=\"api\", error=\"invalid_dpop_proof\""));
    let other = world.token();
    let moved = world.get(PATH, &other, &[&proof]).await;
    assert_eq!(outcome(&moved), (401, "proof_invalid"), "of another token");
    let next = world.proof(PATH, &token).sign();
    assert_eq!(
        outcome(&world.get(PATH, &token, &[&next]).await),
        (200, "-")
    );
    assert_eq!(world.upstream.received().len(), 2);
    world.sidecar.stop().await;
}

/// Wrong proofs, each with its reason.
fn wrong_proofs(world: &World, token: &str) -> Vec<(&'static str, String, &'static str)> {
    let right = || world.proof(PATH, token);
    let other = TestKey::generate("other", Alg::ES256);
    let mut private = bare_jwk(&world.key);
    private["d"] = "AQAB".into();
    let [mac, unsigned] = right().forged();
    let invalid = "proof_invalid";
    vec![
        (
            "another method",
            right().claim("htm", "POST").sign(),
            invalid,
        ),
        (
            "another path",
            right().claim("htu", world.url("/devices/2")).sign(),
            invalid,
        ),
        (
            "a further segment",
            right().claim("htu", world.url("/devices/1/2")).sign(),
            invalid,
        ),
        (
            "another scheme",
            right()
                .claim("htu", world.url(PATH).replace("http:", "https:"))
                .sign(),
            invalid,
        ),
        (
            "another host",
            right()
                .claim("htu", format!("http://evil.example{PATH}"))
                .sign(),
            invalid,
        ),
        ("no htu", right().claim("htu", json!(null)).sign(), invalid),
        (
            "an old one",
            right().claim("iat", now() - 70).sign(),
            invalid,
        ),
        (
            "a future one",
            right().claim("iat", now() + 90).sign(),
            invalid,
        ),
        (
            "a time as text",
            right().claim("iat", now().to_string()).sign(),
            invalid,
        ),
        ("no ath", right().claim("ath", json!(null)).sign(), invalid),
        (
            "the hash of another token",
            world.proof(PATH, "x").sign(),
            invalid,
        ),
        ("no jti", right().claim("jti", json!(null)).sign(), invalid),
        (
            "a long jti",
            right().claim("jti", "x".repeat(300)).sign(),
            invalid,
        ),
        (
            "the type of a token",
            right().header("typ", "at+jwt").sign(),
            invalid,
        ),
        (
            "no type",
            right().header("typ", json!(null)).sign(),
            invalid,
        ),
        ("no key", right().header("jwk", json!(null)).sign(), invalid),
        (
            "a private key",
            right().header("jwk", private).sign(),
            invalid,
        ),
        (
            "a shared key",
            right()
                .header("jwk", json!({"kty": "oct", "k": "AA"}))
                .sign(),
            invalid,
        ),
        (
            "the key of another",
            right().header("jwk", bare_jwk(&other)).sign(),
            "proof_key",
        ),
        (
            "another's proof",
            Draft::new(&other, "GET", &world.url(PATH), token, now()).sign(),
            "proof_key",
        ),
        (
            "a critical header",
            right().header("crit", json!(["exp"])).sign(),
            invalid,
        ),
        (
            "another algorithm",
            right().header("alg", "ES384").sign(),
            invalid,
        ),
        ("a MAC", mac, invalid),
        ("no signature", unsigned, invalid),
        (
            "a huge one",
            right().claim("x", "x".repeat(9000)).sign(),
            invalid,
        ),
        ("no JWT", "x".to_owned(), invalid),
        ("an empty one", String::new(), invalid),
        (
            "a list",
            format!("{}, {}", right().sign(), right().sign()),
            invalid,
        ),
        ("the token itself", token.to_owned(), invalid),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_proof_is_refused() {
    let world = World::new("").await;
    let token = world.token();
    for (what, proof, reason) in wrong_proofs(&world, &token) {
        let answer = world.get(PATH, &token, &[&proof]).await;
        assert_eq!(outcome(&answer), (401, reason), "{what}: {answer:?}");
        let challenge = challenge(&answer);
        let error = if reason == "proof_key" {
            "invalid_token"
        } else {
            "invalid_dpop_proof"
        };
        let begin = format!("DPoP realm=\"api\", error=\"{error}\", ");
        assert!(challenge.starts_with(&begin), "{what}: {challenge}");
        assert!(
            challenge.contains("algs=\"ES256 ES384 RS256"),
            "{challenge}"
        );
        assert_eq!(answer.json()["error"], error);
    }
    let (one, two) = (
        world.proof(PATH, &token).sign(),
        world.proof(PATH, &token).sign(),
    );
    let answer = world.get(PATH, &token, &[&one, &two]).await;
    assert_eq!(outcome(&answer), (401, "proof_invalid"), "two headers");
    assert!(world.upstream.received().is_empty());
    // A refused proof was not used.
    assert_eq!(outcome(&world.get(PATH, &token, &[&one]).await), (200, "-"));
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheme_fits_the_binding() {
    let world = World::new("").await;
    let (bound, plain) = (world.token(), world.authority.token().sign());
    let (of_bound, of_plain) = (
        world.proof(PATH, &bound).sign(),
        world.proof(PATH, &plain).sign(),
    );
    for (what, authorization, proof, reason) in [
        (
            "bound, as bearer",
            format!("Bearer {bound}"),
            Some(&of_bound),
            "token_binding",
        ),
        (
            "bound, as bearer without a proof",
            format!("Bearer {bound}"),
            None,
            "token_binding",
        ),
        (
            "bound, without a proof",
            format!("DPoP {bound}"),
            None,
            "proof_missing",
        ),
        (
            "unbound, with a proof",
            format!("DPoP {plain}"),
            Some(&of_plain),
            "token_binding",
        ),
        (
            "unbound, without a proof",
            format!("DPoP {plain}"),
            None,
            "token_binding",
        ),
        (
            "no token",
            "DPoP".to_owned(),
            Some(&of_bound),
            "malformed_authorization",
        ),
    ] {
        let proof = proof.map(|proof| ("DPoP", proof.as_str()));
        let fields = [("Authorization", authorization.as_str())];
        let fields: Vec<_> = fields.into_iter().chain(proof).collect();
        let answer = world.ask("GET", PATH, &fields).await;
        let status = if reason == "malformed_authorization" {
            400
        } else {
            401
        };
        assert_eq!(outcome(&answer), (status, reason), "{what}");
        assert!(
            challenge(&answer).starts_with("DPoP "),
            "{what}: {answer:?}"
        );
    }
    let answer = world.ask("GET", PATH, &[]).await;
    assert_eq!(challenge(&answer), "Bearer realm=\"api\"");
    // A client that always sends a proof may have a plain token.
    let bearer = format!("Bearer {plain}");
    let fields = [
        ("Authorization", bearer.as_str()),
        ("DPoP", of_plain.as_str()),
    ];
    assert_eq!(outcome(&world.ask("GET", PATH, &fields).await), (200, "-"));
    // The rule decides after the proof.
    let proof = world.proof("/admin", &bound).sign();
    let answer = world.get("/admin", &bound, &[&proof]).await;
    assert_eq!(outcome(&answer), (403, "scope"));
    assert!(challenge(&answer).starts_with("DPoP realm=\"api\", error=\"insufficient_scope\""));
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_broken_bindings_are_refused() {
    let world = World::new("").await;
    let jkt = super::thumbprint(&world.key);
    for cnf in [
        json!({}),
        json!("x"),
        json!({ "jkt": 1 }),
        json!({ "jkt": format!("{jkt}=") }),
        json!({ "jkt": &jkt, "kid": "x" }),
        json!({ "jwk": bare_jwk(&world.key) }),
        json!({ "x5t": &jkt }),
        json!({ "jkt": [&jkt] }),
    ] {
        let token = world.draft().claim("cnf", cnf.clone()).sign();
        let proof = world.proof(PATH, &token).sign();
        let answer = world.get(PATH, &token, &[&proof]).await;
        assert_eq!(outcome(&answer), (401, "sender_constrained"), "{cnf}");
    }
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_can_prove() {
    let world = World::new("").await;
    for algorithm in [
        Algorithm::ES384,
        Algorithm::RS256,
        Algorithm::PS384,
        Algorithm::EdDSA,
    ] {
        let key = SigningKey::generate(algorithm).expect("a key");
        let cnf = json!({ "jkt": key.thumbprint().expect("a thumbprint") });
        let token = world.authority.token().claim("cnf", cnf).sign();
        let (url, now) = (world.url("/devices/1?a=b"), UnixTime(now()));
        let new = NewProof {
            method: "GET",
            url: &url,
            token: Some(&token),
            nonce: None,
            now,
        };
        let proof = new.sign(&key).expect("a proof");
        let answer = world
            .get("/devices/1?a=b", &token, &[proof.expose_secret()])
            .await;
        assert_eq!(outcome(&answer), (200, "-"), "{algorithm:?}: {answer:?}");
    }
    world.sidecar.stop().await;
}
