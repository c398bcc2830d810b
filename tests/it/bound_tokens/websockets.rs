//! WebSockets with a bound token in the cookie, in the subprotocol and in the header.

use super::proof::Draft;
use super::{World, outcome};
use crate::support::client::{RawAnswer, send_raw};
use crate::support::now;
use crate::support::upstream::Answer;
use crate::support::websocket::handshake;

const LOCATIONS: &str = "
    tokenLocations: [authorization, websocketCookie, websocketSubprotocol]
    allowedOrigins: [\"https://app.example\"]";

/// A handshake with the token in this field.
async fn open(world: &World, field: &str, proof: Option<&str>) -> RawAnswer {
    let proof = proof.map_or(String::new(), |proof| format!("DPoP: {proof}\r\n"));
    // The answer of the service, which is none of a WebSocket, shows that the request passed.
    send_raw(
        world.address(),
        handshake("/ws", &format!("{field}\r\n{proof}")),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_needs_a_proof_at_every_place() {
    let world = World::new(LOCATIONS).await;
    world.upstream.answer(|_| Answer::status(204, ""));
    let token = world.token();
    let proof = || Draft::new(&world.key, "GET", "http://127.0.0.1/ws", &token, now()).sign();
    for place in [
        format!("Cookie: token={token}"),
        format!("Sec-WebSocket-Protocol: json, Bearer, {token}"),
        format!("Authorization: DPoP {token}"),
    ] {
        let refused = open(&world, &place, None).await;
        assert_eq!(outcome(&refused), (401, "proof_missing"), "{place}");
        let wrong = Draft::new(&world.key, "GET", "http://127.0.0.1/x", &token, now()).sign();
        let refused = open(&world, &place, Some(&wrong)).await;
        assert_eq!(outcome(&refused), (401, "proof_invalid"), "{place}");
        let accepted = open(&world, &place, Some(&proof())).await;
        assert_eq!(accepted.header("x-m2m-reason"), None, "{accepted:?}");
    }
    assert_eq!(world.upstream.received().len(), 3);
    world.sidecar.stop().await;
}
