//! The end of a sidecar: draining, the grace period, the delay before it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_end_waits_for_requests_and_closes_idle_connections() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "").await;
    let address = sidecar.address("api");
    let mut idle = Connection::open(address).await;
    idle.send(request_bytes("GET", address, "/", &[], b""))
        .await;
    assert_eq!(idle.answer().await.status, 200);
    let (answer, stream) = Answer::stream();
    upstream.next(answer);
    let mut busy = Connection::open(address).await;
    busy.send(request_bytes("GET", address, "/", &[], b""))
        .await;
    upstream.wait_for(2).await;
    stream.send("first half, ");
    let stopping = tokio::spawn(sidecar.stop());
    assert!(idle.is_ended().await);
    assert!(!stopping.is_finished());
    stream.send("second half");
    stream.finish();
    assert_eq!(busy.answer().await.text(), "first half, second half");
    stopping.await.expect("an end in order");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_logs_its_requests_and_frees_every_port_first() {
    let upstream = Upstream::start();
    // With one thread, the answered request is no longer counted when the next one reaches the
    // upstream.
    let sidecar = sidecar(&upstream, "threads: 1\nshutdown: { gracePeriod: 47s }").await;
    let addresses: Vec<_> = LISTENERS.iter().map(|name| sidecar.address(name)).collect();
    let mut idle = Connection::open(addresses[0]).await;
    idle.send(request_bytes("GET", addresses[0], "/", &[], b""))
        .await;
    assert_eq!(idle.answer().await.status, 200);
    let (answer, stream) = Answer::stream();
    upstream.next(answer);
    let mut busy = Connection::open(addresses[0]).await;
    busy.send(request_bytes("POST", addresses[0], "/", &[], b"body"))
        .await;
    upstream.wait_for(2).await;
    let mark = logs::mark();
    let stopping = tokio::spawn(sidecar.stop());
    logs::wait_for_line(mark, &["draining: 1 request, at most 47 s"]).await;
    for address in addresses {
        // A new process must be able to start while this sidecar drains.
        until("the port is free", async || {
            std::net::TcpListener::bind(address).is_ok()
        })
        .await;
    }
    assert!(!stopping.is_finished());
    stream.finish();
    assert_eq!(busy.answer().await.status, 200);
    stopping.await.expect("an end in order");
    logs::wait_for_line(mark, &["ended"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_request_delays_the_end_for_the_grace_period_only() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "shutdown: { gracePeriod: 300ms }").await;
    let address = sidecar.address("api");
    upstream.next(Answer::Hang);
    let mut busy = Connection::open(address).await;
    busy.send(request_bytes("GET", address, "/", &[], b""))
        .await;
    upstream.wait_for(1).await;
    let mark = logs::mark();
    sidecar.stop().await;
    logs::wait_for_line(
        mark,
        &["the grace period is over: 1 request on 1 connection cut off"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn during_the_delay_the_sidecar_serves_but_is_not_ready() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "shutdown: { delay: 1h }").await;
    let (probes, api) = (sidecar.address("probes"), sidecar.address("api"));
    assert_eq!(get(probes, "/readyz", &[]).await.status, 200);
    let stopping = tokio::spawn(sidecar.stop());
    until("it is not ready", async || {
        let ready = get(probes, "/readyz", &[]).await;
        ready.status == 503 && ready.text().contains("listeners")
    })
    .await;
    assert_eq!(get(api, "/", &[]).await.status, 200);
    assert_eq!(get(probes, "/livez", &[]).await.status, 200);
    assert!(!stopping.is_finished());
    stopping.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delay_ends_and_the_sidecar_with_it() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "shutdown: { delay: 100ms }").await;
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_is_dropped_frees_its_sockets_and_its_connections() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "").await;
    let addresses: Vec<_> = LISTENERS.map(|listener| sidecar.address(listener)).to_vec();
    let mut idle = Connection::open(addresses[0]).await;
    drop(sidecar);
    for address in addresses {
        until("nothing listens there", async || {
            tokio::net::TcpStream::connect(address).await.is_err()
        })
        .await;
    }
    assert!(idle.is_ended().await);
}
