//! Certificates and configurations that change while the sidecar runs.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::{NAME, World, ask, replace, shown, yaml};
use crate::support::certificates::{CertificateAuthority, Issued, TlsClient};
use crate::support::client::try_send_raw;
use crate::support::{logs, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_pair_takes_effect_for_new_connections_and_a_broken_one_does_not() {
    let world = World::new("").await;
    let client = world.client();
    let mut under_way = client.open(world.address(), NAME).await;
    let first = shown(&mut under_way);
    let (certificate, key) = (world.sidecar.path("tls.crt"), world.sidecar.path("tls.key"));
    // Other tests have a listener of this name, too.
    let dir = certificate.parent().expect("a directory").display();
    let dir = dir.to_string();
    let renewed = world.authority.server(&[NAME]);
    // Half of the pair: certificate and key do not fit.
    let mark = logs::mark();
    replace(&certificate, &renewed.cert_pem);
    let texts = [
        "WARN",
        "certificate of api",
        "do not belong together",
        "old content",
        &dir,
    ];
    logs::wait_for_line(mark, &texts).await;
    assert_eq!(shown(&mut client.open(world.address(), NAME).await), first);
    let mark = logs::mark();
    replace(&key, &renewed.key_pem);
    let texts = ["certificate of api", "took over a changed file", &dir];
    logs::wait_for_line(mark, &texts).await;
    let second = shown(&mut client.open(world.address(), NAME).await);
    assert_ne!(second, first);
    assert_eq!(ask(&mut under_way, "/x").await.status, 200);
    // Truncated, empty, missing.
    let half = &renewed.cert_pem[..renewed.cert_pem.len() / 2];
    for (content, problem) in [(half, "certificate"), ("", "contains no PEM certificate")] {
        let mark = logs::mark();
        replace(&certificate, content);
        let texts = ["WARN", "certificate of api", problem, "old content", &dir];
        logs::wait_for_line(mark, &texts).await;
        assert_eq!(shown(&mut client.open(world.address(), NAME).await), second);
    }
    let mark = logs::mark();
    std::fs::remove_file(&certificate).expect("a file");
    let texts = ["WARN", "certificate of api", "cannot be read", &dir];
    logs::wait_for_line(mark, &texts).await;
    assert_eq!(shown(&mut client.open(world.address(), NAME).await), second);
    let third = world.authority.server(&[NAME]);
    std::fs::write(&key, &third.key_pem).expect("a writable file");
    std::fs::write(&certificate, &third.cert_pem).expect("a writable file");
    until("the third pair is served", async || {
        let now = shown(&mut client.open(world.address(), NAME).await);
        now != first && now != second
    })
    .await;
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_soon_is_reported() {
    let soon = time::OffsetDateTime::now_utc() + std::time::Duration::from_secs(3600);
    let mark = logs::mark();
    let world = World::with("", |authority, builder| {
        let pair = authority.issue(&[NAME], |params| params.not_after = soon);
        builder
            .file("tls.crt", &pair.cert_pem)
            .file("tls.key", &pair.key_pem)
    })
    .await;
    let texts = [
        "WARN",
        "listener=\"api\"",
        "name=\"api.test\"",
        "expires soon",
    ];
    logs::wait_for_line(mark, &texts).await;
    let left = world
        .metric(
            "m2m_certificate_expiry_seconds",
            &["role=\"inbound\"", NAME],
        )
        .await;
    assert!(
        left.is_some_and(|left| (3000.0..=3600.0).contains(&left)),
        "{left:?}"
    );
    // The metric of another name replaces it.
    let next = world.authority.server(&["next.test", NAME]);
    std::fs::write(world.sidecar.path("tls.key"), &next.key_pem).expect("a writable file");
    replace(&world.sidecar.path("tls.crt"), &next.cert_pem);
    until("the metric has the next name", async || {
        let name = "m2m_certificate_expiry_seconds";
        world.metric(name, &["next.test"]).await.is_some()
            && world.metric(name, &["name=\"api.test\""]).await.is_none()
    })
    .await;
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_changes_the_tls_of_a_listener_that_stays() {
    let mut world = World::new("").await;
    let address = world.address();
    let with_tls =
        yaml(&world.upstream, "").replace("127.0.0.1:0\n    tls", &format!("{address}\n    tls"));
    let line = with_tls
        .lines()
        .find(|line| line.contains("tls:"))
        .expect("the line");
    let without = with_tls.replace(line, "");
    world.sidecar.replace(&without).await.expect("it is valid");
    // A connection that the ending listener has accepted is closed without an answer.
    let status = async || {
        let answer = try_send_raw(address, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
        answer.map_or(0, |answer| answer.status)
    };
    until("it is plain", async || status().await == 200).await;
    world.sidecar.replace(&with_tls).await.expect("it is valid");
    until("it has TLS", async || status().await == 400).await;
    let mut connection = world.client().open(address, NAME).await;
    assert_eq!(ask(&mut connection, "/x").await.status, 200);
    // A pair that cannot be used changes nothing.
    std::fs::write(world.sidecar.path("tls.crt"), "").expect("a writable file");
    let refused = world
        .sidecar
        .replace(&with_tls)
        .await
        .expect_err("the file is empty");
    assert!(
        refused.contains("inbound[0].tls.certFile") && refused.contains("no PEM"),
        "{refused}"
    );
    assert_eq!(ask(&mut connection, "/x").await.status, 200);
    world.sidecar.stop().await;
}

/// Connects and sends requests until the time is over: how many were answered.
async fn call(address: SocketAddr, client: TlsClient, end: Instant) -> usize {
    let mut answered = 0;
    while Instant::now() < end {
        // A part of the connections is resumed.
        let mut connection = client.open(address, NAME).await;
        for _ in 0..5 {
            assert_eq!(ask(&mut connection, "/x").await.status, 200);
            answered += 1;
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_under_load_fail_no_request() {
    let clients = CertificateAuthority::new("the clients' authority");
    let next = CertificateAuthority::new("the next authority of clients");
    let tls = ", clientCertificate: required, clientCaFile: \"@DIR@/clients.pem\", \
               clientCrlFile: \"@DIR@/clients.crl\"";
    let lists =
        |revoked: &[&Issued]| [clients.revoked(revoked, 3600), next.revoked(&[], 3600)].concat();
    let world = World::with(tls, |_, builder| {
        let builder = builder.file("clients.pem", &clients.pem);
        builder.file("clients.crl", lists(&[]))
    })
    .await;
    let address = world.address();
    let showing = |issued: &Issued| TlsClient::showing(&world.authority.pem, issued);
    let (kept, withdrawn) = (clients.client("kept"), clients.client("withdrawn"));
    let mut before = showing(&withdrawn).open(address, NAME).await;
    let first = shown(&mut before);
    let end = Instant::now() + Duration::from_secs(6);
    let callers = (0..8).map(|_| tokio::spawn(call(address, showing(&kept), end)));
    let callers: Vec<_> = callers.collect();
    let renewed = world.authority.server(&[NAME]);
    let mark = logs::mark();
    replace(&world.sidecar.path("tls.key"), &renewed.key_pem);
    replace(&world.sidecar.path("tls.crt"), &renewed.cert_pem);
    replace(
        &world.sidecar.path("clients.pem"),
        &[clients.pem.as_str(), &next.pem].concat(),
    );
    replace(&world.sidecar.path("clients.crl"), &lists(&[&withdrawn]));
    for what in [
        "certificate of api",
        "client authorities of api",
        "revoked client certificates",
    ] {
        logs::wait_for_line(mark, &["took over a changed file", what]).await;
    }
    let mut answered = 0;
    for caller in callers {
        answered += caller.await.expect("no request fails");
    }
    assert!(answered > 100, "{answered}");
    // The next handshake sees the new state of each file.
    let mut now = showing(&next.client("new")).open(address, NAME).await;
    assert_ne!(shown(&mut now), first);
    assert_eq!(ask(&mut now, "/x").await.status, 200);
    let mut refused = match showing(&withdrawn).try_open(address, NAME).await {
        Err(_) => return world.sidecar.stop().await,
        Ok(connection) => connection,
    };
    // With TLS 1.3 a client is told of its refusal when it reads.
    refused.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(refused.try_answer("GET").await.is_err());
    world.sidecar.stop().await;
}
