//! Long tests, ignored by default: `make test-long` runs them. They print their results.

mod any_bytes;
mod bodies;
mod connections;
mod issuer;
mod outbound;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::authorities::flood::{Bad, ask_on};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::Connection;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

/// Valid clients, each with its own connection.
const CLIENTS: u64 = 20;
/// Valid requests per second of all clients.
const RATE: u64 = 200;
const CONNECTIONS: usize = 8;

/// Sends valid requests at a fixed rate for so long, and returns the latencies from each due time.
async fn good_traffic(sidecar: &Sidecar, token: &str, length: Duration) -> Vec<Duration> {
    let clients = (0..CLIENTS).map(|_| good_client(sidecar, token, length));
    let mut latencies = futures_util::future::join_all(clients).await.concat();
    latencies.sort_unstable();
    latencies
}

async fn good_client(sidecar: &Sidecar, token: &str, length: Duration) -> Vec<Duration> {
    let address = sidecar.address("api");
    let mut open = Connection::open(address).await;
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 * CLIENTS / RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (began, mut latencies) = (Instant::now(), Vec::new());
    while began.elapsed() < length {
        // From the due time, not the time of sending, so that a queue counts as latency.
        let due = ticks.tick().await;
        assert_eq!(ask_on(&mut open, address, token).await, 200);
        latencies.push(due.elapsed());
    }
    latencies
}

fn percentiles(latencies: &[Duration]) -> String {
    let of = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index of a short list"
        )]
        let index = ((latencies.len() - 1) as f64 * share) as usize;
        latencies[index].as_secs_f64() * 1000.0
    };
    format!(
        "p50 {:.2} ms, p99 {:.2} ms, worst {:.2} ms",
        of(0.5),
        of(0.99),
        of(1.0)
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a minute of floods; prints the latency of good requests"]
async fn valid_requests_are_answered_during_a_flood_without_extra_fetches() {
    let length = Duration::from_secs(8);
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let start = crate::authorities::yaml(
        &format!("{{ issuer: \"{}\" }}", authority.issuer()),
        &upstream,
    );
    let sidecar = Sidecar::start(&start).await;
    let (address, issuer) = (sidecar.address("api"), authority.issuer());
    let good = authority.token().sign();
    let _ = good_traffic(&sidecar, &good, Duration::from_secs(1)).await;
    println!("{RATE} good requests/s, {CONNECTIONS} connections of flood, all in one process");
    println!(
        "before: {}",
        percentiles(&good_traffic(&sidecar, &good, length).await)
    );
    for bad in Bad::ALL {
        let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        let fetches = authority.fetches(Endpoint::Jwks);
        let flood = async |_: usize| {
            let mut open = Connection::open(address).await;
            while !over.load(Ordering::Relaxed) {
                let token = bad.token(&issuer, sent.fetch_add(1, Ordering::Relaxed));
                assert_eq!(ask_on(&mut open, address, &token).await, 401);
            }
        };
        let measured = async {
            let latencies = good_traffic(&sidecar, &good, length).await;
            over.store(true, Ordering::Relaxed);
            latencies
        };
        let floods = futures_util::future::join_all((0..CONNECTIONS).map(flood));
        let (_, latencies) = tokio::join!(floods, measured);
        let fetches = authority.fetches(Endpoint::Jwks) - fetches;
        let rate = sent.load(Ordering::Relaxed) as u64 / length.as_secs();
        println!(
            "{bad:?}, {rate} bad/s, {fetches} fetches in {length:?}: {}",
            percentiles(&latencies)
        );
        assert!(fetches as u64 <= 2 + length.as_secs() / 10, "{fetches}");
    }
}
