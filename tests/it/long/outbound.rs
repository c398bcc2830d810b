//! An outbound listener under steady load for a minute, with tokens of two seconds.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::support::authority::Endpoint;
use crate::support::client::{Connection, request_bytes};

use crate::outbound::world;

const LENGTH: Duration = Duration::from_mins(1);
const CLIENTS: u64 = 20;
/// Requests per second, of all clients.
const RATE: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a minute of load; prints how many requests and fetches there were"]
async fn tokens_of_two_seconds_fail_no_request_for_a_minute() {
    let world = world("", "").await;
    world
        .authority
        .answer_tokens(|answer| answer.lifetime = Duration::from_secs(2));
    let (address, began) = (world.sidecar.address("hub"), Instant::now());
    let clients = (0..CLIENTS).map(|_| async move {
        let mut connection = Connection::open(address).await;
        let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 * CLIENTS / RATE));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut sent = 0_u64;
        while began.elapsed() < LENGTH {
            ticks.tick().await;
            connection
                .send(request_bytes("GET", address, "/", &[], b""))
                .await;
            assert_eq!(connection.answer().await.status, 200);
            sent += 1;
        }
        sent
    });
    let sent: u64 = futures_util::future::join_all(clients)
        .await
        .into_iter()
        .sum();
    let fetches = world.authority.fetches(Endpoint::Token);
    println!(
        "{sent} requests, {fetches} fetches: one in {:.2} s",
        LENGTH.as_secs_f64() / fetches as f64
    );
    assert!(sent > RATE * LENGTH.as_secs() * 9 / 10, "{sent} requests");
    // 1.4 to 1.6 s apart.
    assert!((37..=44).contains(&fetches), "{fetches} fetches");
    // Each request carried a valid token.
    let issued = world.authority.issued();
    let newest = world
        .upstream
        .received()
        .into_iter()
        .fold(0, |newest, seen| {
            let bearer = seen.bearer().expect("a token").to_owned();
            let position = issued
                .iter()
                .position(|token| *token == bearer)
                .expect("one of the authority's");
            assert!(
                position + 1 >= newest,
                "a token older than the one before the newest"
            );
            newest.max(position)
        });
    assert!(newest + 2 >= issued.len());
}
