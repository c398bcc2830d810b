//! Tokens that are bound by DPoP (RFC 9449): a proof for each request, with the server's nonce.

use serde_json::Value;

use super::{World, world};
use crate::support::authority::{Endpoint, TokenRequest};
use crate::support::behave::Behave;
use crate::support::client::{get, request};
use crate::support::logs;
use crate::support::proofs::{opened, thumbprint, token_hash};
use crate::support::upstream::{Answer, Received};

const DPOP: &str = "    dpop: true\n";

async fn dpop_world(listener: &str) -> World {
    let world = world(DPOP, listener).await;
    world
        .authority
        .answer_tokens(|answer| answer.token_type = Some("DPoP".into()));
    world
}

/// Header and claims of the proof in a request to the upstream.
fn proof_of(seen: &Received) -> (Value, Value) {
    opened(seen.header("dpop").expect("a proof"))
}

/// Header and claims of the proof in a token request.
fn proof_in(asked: &TokenRequest) -> (Value, Value) {
    let mut proofs = asked
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("dpop"));
    let (_, proof) = proofs.next().expect("a proof");
    assert!(proofs.next().is_none());
    opened(proof)
}

/// A response that demands a nonce.
fn demand(nonce: &str) -> Answer {
    let headers = [
        ("WWW-Authenticate", r#"DPoP error="use_dpop_nonce""#),
        ("DPoP-Nonce", nonce),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Answer::Reply(401, headers.to_vec(), b"nonce".to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_the_token_and_a_proof_of_its_own() {
    let world = dpop_world("").await;
    let address = world.sidecar.address("hub");
    let own = [
        ("DPoP", "the.callers.own"),
        ("Authorization", "Bearer other"),
    ];
    for _ in 0..2 {
        let answer = get(address, "/a/b?x=%2F1", &own).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let posted = request("POST", address, "/c", &[], b"body").await;
    assert_eq!(posted.status, 200);
    let token = world.authority.issued()[0].clone();
    let asked = &world.authority.token_requests()[0];
    let (header, claims) = proof_in(asked);
    assert_eq!(header["typ"], "dpop+jwt");
    assert_eq!(header["alg"], "ES256");
    assert_eq!(claims["htm"], "POST");
    assert_eq!(claims["htu"], world.authority.token_url());
    assert!(claims.get("ath").is_none() && claims.get("nonce").is_none());
    let key = thumbprint(&header["jwk"]);
    let seen = world.upstream.received();
    let upstream = world.upstream.url();
    let mut ids = vec![claims["jti"].clone()];
    for (seen, (method, path)) in
        seen.iter()
            .zip([("GET", "/a/b"), ("GET", "/a/b"), ("POST", "/c")])
    {
        assert_eq!(
            seen.header("authorization"),
            Some(format!("DPoP {token}").as_str())
        );
        let (header, claims) = proof_of(seen);
        assert_eq!(thumbprint(&header["jwk"]), key);
        assert!(header["jwk"].get("d").is_none());
        assert_eq!(claims["htm"], method);
        assert_eq!(claims["htu"], format!("{upstream}{path}"));
        assert_eq!(claims["ath"], token_hash(&token));
        assert!(!ids.contains(&claims["jti"]));
        ids.push(claims["jti"].clone());
    }
    assert_eq!(ids.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authoritys_nonce_is_used_at_once_and_from_then_on() {
    let world = dpop_world("").await;
    let body = r#"{"error":"use_dpop_nonce"}"#;
    let refusal = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nDPoP-Nonce: n1\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let refusal = Behave::Raw(refusal.into_bytes());
    world
        .authority
        .behave_next(Endpoint::Token, [refusal.clone()]);
    assert_eq!(world.get("/").await.status, 200);
    let asked = world.authority.token_requests();
    assert_eq!(asked.len(), 2);
    let [first, second] = [&asked[0], &asked[1]].map(|asked| proof_in(asked).1);
    assert!(first.get("nonce").is_none());
    assert_eq!(second["nonce"], "n1");
    assert_ne!(first["jti"], second["jti"]);
    // An authority that never accepts a nonce is asked once more, not again and again.
    let stubborn = dpop_world("").await;
    stubborn.authority.behave(Endpoint::Token, refusal);
    let mark = logs::mark();
    assert_eq!(stubborn.get("/").await.status, 503);
    logs::wait_for_line(mark, &["no access token fetched", "use_dpop_nonce"]).await;
    assert_eq!(stubborn.authority.fetches(Endpoint::Token), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_repeated_once_with_the_upstreams_nonce() {
    let world = dpop_world("").await;
    world.upstream.next(demand("n1"));
    let address = world.sidecar.address("hub");
    let answer = request("POST", address, "/x", &[], b"the body").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = world.upstream.received();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.body == b"the body"));
    let nonces = |seen: &[Received]| -> Vec<Value> {
        seen.iter()
            .map(|it| proof_of(it).1["nonce"].clone())
            .collect()
    };
    assert_eq!(nonces(&seen), [Value::Null, "n1".into()]);
    // Every response may give a new one; callers do not see it.
    world
        .upstream
        .next(Answer::with_headers(&[("DPoP-Nonce", "n2")], "ok"));
    let answer = world.get("/y").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("dpop-nonce").is_none());
    assert_eq!(world.get("/z").await.status, 200);
    assert_eq!(nonces(&world.upstream.received()[2..]), ["n1", "n2"]);
    // A demand that is repeated passes, and costs no token.
    world.upstream.next(demand("n3"));
    world.upstream.next(demand("n4"));
    let answer = world.get("/w").await;
    assert_eq!((answer.status, answer.text().as_ref()), (401, "nonce"));
    assert_eq!(nonces(&world.upstream.received()[4..]), ["n2", "n3"]);
    assert_eq!(world.authority.fetches(Endpoint::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_is_not_used_where_a_bound_one_was_asked_for() {
    let world = world(DPOP, "").await;
    for token_type in [Some(Value::from("Bearer")), None] {
        world
            .authority
            .answer_tokens(|answer| answer.token_type = token_type.clone());
        let mark = logs::mark();
        assert_eq!(world.get("/").await.status, 503);
        if token_type.is_some() {
            logs::wait_for_line(mark, &["token_type is not DPoP", "remove `dpop`"]).await;
        }
    }
    assert!(world.upstream.received().is_empty());
}
