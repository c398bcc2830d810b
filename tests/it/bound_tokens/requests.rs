//! The requests that a proof is for: paths, hosts, protocols, rules, reloads.

use super::{World, outcome};
use crate::support::client::{request_bytes, try_send_raw};
use crate::support::http2::{RawClient, WHOLE, headers};
use crate::support::{eventually, now};

use super::proof::Draft;

/// The response to a request over HTTP/2 with this content type.
async fn over_http2(
    world: &World,
    (method, path): (&str, &str),
    token: &str,
    proof: &str,
    content_type: &str,
) -> crate::support::http2::Response {
    let authority = world.address().to_string();
    let authorization = format!("DPoP {token}");
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":authority", authority.as_str()),
        (":path", path),
        ("authorization", authorization.as_str()),
        ("dpop", proof),
        ("content-type", content_type),
    ];
    let mut client = RawClient::open(world.address()).await;
    client.send(headers(WHOLE, 1, &fields)).await;
    client.response(1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_and_grpc_have_the_same_proofs() {
    let world = World::new("").await;
    let token = world.token();
    let path = "/devices.Service/Get";
    let proof =
        |method: &str| Draft::new(&world.key, method, &world.url(path), &token, now()).sign();
    let get = proof("GET");
    let plain = "text/plain";
    let response = over_http2(&world, ("GET", path), &token, &get, plain).await;
    assert_eq!(
        (response.status, response.header("x-m2m-reason")),
        (200, None)
    );
    let replayed = over_http2(&world, ("GET", path), &token, &get, plain).await;
    assert_eq!(replayed.status, 401);
    assert_eq!(replayed.header("x-m2m-reason"), Some("proof_replayed"));
    let grpc = "application/grpc+proto";
    let refused = over_http2(&world, ("POST", path), &token, &proof("GET"), grpc).await;
    assert_eq!(
        (refused.status, refused.header("grpc-status")),
        (200, Some("16"))
    );
    assert_eq!(refused.header("x-m2m-reason"), Some("proof_invalid"));
    let challenge = refused.header("www-authenticate").expect("a challenge");
    assert!(challenge.starts_with("DPoP realm=\"api\", error=\"invalid_dpop_proof\""));
    let accepted = over_http2(&world, ("POST", path), &token, &proof("POST"), grpc).await;
    assert_eq!(accepted.header("x-m2m-reason"), None);
    assert_eq!(world.upstream.received().len(), 2);
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_is_compared_in_normal_form_and_without_its_query() {
    let world = World::new("").await;
    let token = world.token();
    for (sent, named, reason) in [
        ("/a/b?q=1", "/a/b", "-"),
        ("/a/b?q=1", "/a/b?q=2#f", "-"),
        ("/%61/b", "/a/b", "-"),
        ("/a/./b", "/a/b", "-"),
        ("/a/x/../b", "/a/b", "-"),
        ("/a/b%c3%bc", "/a/b%C3%BC", "-"),
        ("/a//b", "/a//b", "-"),
        ("/a//b", "/a/b", "proof_invalid"),
        ("/a/b", "/a/b/", "proof_invalid"),
        ("/a/b", "/A/b", "proof_invalid"),
    ] {
        let proof = world
            .proof(sent, &token)
            .claim("htu", world.url(named))
            .sign();
        let answer = world.get(sent, &token, &[&proof]).await;
        assert_eq!(outcome(&answer).1, reason, "{sent} {named}: {answer:?}");
    }
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_url_replaces_the_host_of_the_request() {
    let keys = "    publicUrl: https://api.example/base\n    trustedProxies: [127.0.0.1]";
    let world = World::new(keys).await;
    let token = world.token();
    let outcome_of = async |url: &str, host: Option<&str>| {
        let proof = world.proof("/x", &token).claim("htu", url).sign();
        let authorization = format!("DPoP {token}");
        let fields = [("Authorization", authorization.as_str()), ("DPoP", &proof)];
        let host = host.map(|host| ("X-Forwarded-Host", host));
        let fields: Vec<_> = fields.into_iter().chain(host).collect();
        let answer = world.ask("GET", "/x", &fields).await;
        outcome(&answer).1.to_owned()
    };
    assert_eq!(outcome_of("https://api.example/x", None).await, "-");
    assert_eq!(
        outcome_of("https://API.example:443/x", Some("other.example")).await,
        "-"
    );
    for url in [world.url("/x"), "https://other.example/x".to_owned()] {
        assert_eq!(
            outcome_of(&url, Some("other.example")).await,
            "proof_invalid"
        );
    }
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_public_url_a_trusted_proxy_names_it() {
    for (keys, reason) in [
        ("    trustedProxies: [127.0.0.1]", "-"),
        ("", "proof_invalid"),
    ] {
        let world = World::new(keys).await;
        let token = world.token();
        let named = "https://api.example/x";
        let proof = world.proof("/x", &token).claim("htu", named).sign();
        let authorization = format!("DPoP {token}");
        let fields = [
            ("Authorization", authorization.as_str()),
            ("DPoP", &proof),
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Host", "api.example"),
            ("X-Forwarded-Proto", "https"),
        ];
        let answer = world.ask("GET", "/x", &fields).await;
        assert_eq!(outcome(&answer).1, reason, "{keys}");
        world.sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn public_and_optional_rules_ask_for_no_proof_without_a_token() {
    let world = World::new("").await;
    let token = world.token();
    let bearer = format!("Bearer {token}");
    let fields = [("Authorization", bearer.as_str()), ("DPoP", "x")];
    for (path, fields, expected) in [
        ("/public", &fields[..], (200, "-")),
        ("/public", &[], (200, "-")),
        ("/optional", &[], (200, "-")),
        ("/optional", &fields[1..], (200, "-")),
        ("/optional", &fields[..], (401, "token_binding")),
    ] {
        let answer = world.ask("GET", path, fields).await;
        assert_eq!(outcome(&answer), expected, "{path} {fields:?}");
    }
    let proof = world.proof("/optional", &token).sign();
    let answer = world.get("/optional", &token, &[&proof]).await;
    assert_eq!(outcome(&answer), (200, "-"));
    let received = world.upstream.received().pop().expect("a request");
    assert_eq!(received.header("x-m2m-client-id"), Some("tester"));
    let again = world.get("/optional", &token, &[&proof]).await;
    assert_eq!(outcome(&again), (401, "proof_replayed"));
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_a_wrong_proof_passes_without_identity() {
    let world = World::new("    mode: shadow").await;
    let token = world.token();
    let proof = world.proof("/x", &token).sign();
    for client in [Some("tester"), None] {
        let answer = world.get("/x", &token, &[&proof]).await;
        assert_eq!(outcome(&answer), (200, "-"));
        let received = world.upstream.received().pop().expect("a request");
        assert_eq!(received.header("x-m2m-client-id"), client);
    }
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stripped_token_takes_its_proof_along() {
    let world = World::new("    authorization: strip").await;
    let token = world.token();
    let proof = world.proof("/x", &token).sign();
    let answer = world.get("/x", &token, &[&proof]).await;
    assert_eq!(outcome(&answer), (200, "-"));
    let received = world.upstream.received().pop().expect("a request");
    assert_eq!(
        (received.header("authorization"), received.header("dpop")),
        (None, None)
    );
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_proof_is_remembered_by_all_listeners_and_after_a_reload() {
    let mut world = World::new("").await;
    let token = world.token();
    let proof = world.proof("/x", &token).sign();
    assert_eq!(
        outcome(&world.get("/x", &token, &[&proof]).await),
        (200, "-")
    );
    let address = world.address();
    let listen = format!("listen: {address}");
    let second = world.yaml.split_once("inbound:\n").expect("the list").1;
    let second = second.replace("name: api", "name: second");
    let yaml = format!(
        "{}{second}",
        world.yaml.replacen("listen: 127.0.0.1:0", &listen, 1)
    );
    world.sidecar.replace(&yaml).await.expect("it is valid");
    let host = address.to_string();
    let authorization = format!("DPoP {token}");
    let fields = [
        ("Host", host.as_str()),
        ("Authorization", authorization.as_str()),
        ("DPoP", proof.as_str()),
    ];
    for listener in ["api", "second"] {
        let address = world.sidecar.address(listener);
        // A connection that the ending listener has accepted is closed without an answer.
        let bytes = request_bytes("GET", address, "/x", &fields, b"");
        let answered = async || try_send_raw(address, &bytes).await.ok();
        let answer = eventually("the listener answers", answered).await;
        assert_eq!(outcome(&answer), (401, "proof_replayed"), "{listener}");
    }
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_can_demand_bound_tokens() {
    let world = World::new("    dpop: { required: true }").await;
    let (bound, plain) = (world.token(), world.authority.token().sign());
    let bearer = format!("Bearer {plain}");
    let answer = world.ask("GET", "/x", &[("Authorization", &bearer)]).await;
    assert_eq!(outcome(&answer), (401, "token_binding"));
    let answer = world.ask("GET", "/x", &[]).await;
    assert_eq!(outcome(&answer), (401, "no_token"));
    assert!(super::challenge(&answer).starts_with("DPoP realm=\"api\", algs="));
    let proof = world.proof("/x", &bound).sign();
    assert_eq!(
        outcome(&world.get("/x", &bound, &[&proof]).await),
        (200, "-")
    );
    world.sidecar.stop().await;
}
