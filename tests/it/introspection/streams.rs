//! Open streams end when their opaque token does.

use super::*;
use crate::streams::websocket;
use crate::support::websocket::ManualUpstream;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_the_authority_ends_its_token_and_survives_a_short_outage() {
    let (authority, upstream) = (Authority::start(), ManualUpstream::start());
    authority.register_client(CLIENT, SECRET);
    let short = yaml(
        &authority,
        &upstream.url(),
        &format!("{OWN_CLIENT}, cache: 2s"),
    );
    let sidecar = builder().start(&short).await;
    let other = "opaque-of-another-stream";
    authority.opaque(TOKEN, json!({ "exp": null }));
    authority.opaque(other, json!({}));
    let address = sidecar.address("api");
    let stream = websocket(address, &upstream, TOKEN).await;
    let mut kept = websocket(address, &upstream, other).await;
    let before = authority.fetches(Endpoint::Introspection);
    authority
        .wait_for_fetches(Endpoint::Introspection, before + 2)
        .await;
    authority.end_opaque(TOKEN);
    assert_eq!(stream.closes().await, "inactive");
    kept.talk().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_the_authority_is_down_for_longer_than_the_answer_counts() {
    let (authority, upstream) = (Authority::start(), ManualUpstream::start());
    authority.register_client(CLIENT, SECRET);
    let keys = format!("{OWN_CLIENT}, cache: 10m");
    let clock = MovableClock::now();
    let builder = builder().clock(clock.clone());
    let sidecar = builder
        .start(&yaml(&authority, &upstream.url(), &keys))
        .await;
    authority.opaque(TOKEN, json!({ "exp": null }));
    let mut stream = websocket(sidecar.address("api"), &upstream, TOKEN).await;
    authority.down().await;
    let mark = logs::mark();
    // Half of the time has passed, so the question fails, and the stream goes on.
    clock.forward(Duration::from_secs(400));
    logs::wait_for_line(mark, &["cannot introspect opaque tokens"]).await;
    stream.talk().await;
    clock.forward(Duration::from_secs(201));
    assert_eq!(stream.closes().await, "introspection_unavailable");
}
