//! Client certificates: none, optional, required; authorities and revocation lists that change.

use std::time::Duration;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use super::{NAME, OverTls, World, ask, replace};
use crate::support::certificates::{CertificateAuthority, Issued, TlsClient};
use crate::support::{logs, until};

/// A listener with client certificates of an authority of their own.
struct Clients {
    world: World,
    authority: CertificateAuthority,
}

impl Clients {
    async fn new(mode: &str) -> Self {
        Self::with(mode, "").await
    }

    async fn with(mode: &str, more: &str) -> Self {
        let authority = CertificateAuthority::new("the clients' authority");
        let tls = format!(", clientCertificate: {mode}, clientCaFile: \"@DIR@/clients.pem\"{more}");
        let world = World::with(&tls, |_, builder| {
            builder
                .file("clients.pem", &authority.pem)
                .file("clients.crl", authority.revoked(&[], 3600))
        })
        .await;
        Self { world, authority }
    }

    /// With a list of revoked certificates, which names none.
    async fn with_list(mode: &str) -> Self {
        Self::with(mode, ", clientCrlFile: \"@DIR@/clients.crl\"").await
    }

    fn showing(&self, certificate: &Issued) -> TlsClient {
        TlsClient::showing(&self.world.authority.pem, certificate)
    }

    /// Whether a client can send a request. With TLS 1.3 it is told of its refusal only then.
    async fn can_call(&self, client: &TlsClient) -> bool {
        let Ok(mut connection) = client.try_open(self.world.address(), NAME).await else {
            return false;
        };
        connection.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
        connection
            .try_answer("GET")
            .await
            .is_ok_and(|answer| answer.status == 200)
    }

    /// Waits until so many handshakes are counted. A failed one counts when its client is gone.
    async fn wait_for(&self, result: &str, count: f64) {
        let what = format!("{count} handshakes are {result}");
        until(&what, async || self.count(result).await == count).await;
    }

    async fn count(&self, result: &str) -> f64 {
        let label = format!("result=\"{result}\"");
        let count = self
            .world
            .metric("m2m_tls_handshakes_total", &[&label])
            .await;
        count.unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_certificate_must_be_there_and_of_the_authority() {
    let clients = Clients::new("required").await;
    let other = CertificateAuthority::new("another authority");
    let ca = &clients.world.authority.pem;
    for version in [&TLS12, &TLS13] {
        let with = |certificate: Option<&Issued>| TlsClient::with(ca, certificate, &[version], &[]);
        let good = clients.authority.client("meter-7");
        let mark = logs::mark();
        assert!(clients.can_call(&with(Some(&good))).await, "{version:?}");
        let line = logs::wait_for_line(mark, &["listener=\"api\"", "certificate=\"CN=meter-7\""]);
        assert!(line.await.contains(" x5t=\""));
        assert!(!clients.can_call(&with(None)).await);
        assert!(
            !clients
                .can_call(&with(Some(&other.client("meter-7"))))
                .await
        );
        // A certificate for servers.
        let server = clients.authority.server(&["meter-7"]);
        assert!(!clients.can_call(&with(Some(&server))).await);
        let expired = clients.authority.issue(&[], |params| {
            params.not_after = time::OffsetDateTime::now_utc() - Duration::from_secs(60);
        });
        assert!(!clients.can_call(&with(Some(&expired))).await);
    }
    for (result, count) in [
        ("ok", 2.0),
        ("no_certificate", 2.0),
        ("unknown_ca", 2.0),
        ("purpose", 2.0),
        ("expired", 2.0),
    ] {
        clients.wait_for(result, count).await;
    }
    assert_eq!(clients.world.upstream.received().len(), 2);
    clients.world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_certificate_may_be_missing_but_not_wrong() {
    let clients = Clients::new("optional").await;
    let other = CertificateAuthority::new("another authority");
    assert!(clients.can_call(&clients.world.client()).await);
    assert!(
        clients
            .can_call(&clients.showing(&clients.authority.client("a")))
            .await
    );
    assert!(!clients.can_call(&clients.showing(&other.client("a"))).await);
    clients.world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_no_certificate_is_requested() {
    let world = World::new("").await;
    let authority = CertificateAuthority::new("the clients' authority");
    let client = TlsClient::showing(&world.authority.pem, &authority.client("a"));
    let mark = logs::mark();
    let mut connection = client.open(world.address(), NAME).await;
    assert_eq!(ask(&mut connection, "/x").await.status, 200);
    let line = logs::wait_for_line(mark, &["listener=\"api\"", "tls=\"1.3\""]).await;
    assert!(!line.contains("certificate="), "{line}");
    world.sidecar.stop().await;
}

fn kind(connection: &mut OverTls) -> HandshakeKind {
    let kind = connection.stream().get_ref().1.handshake_kind();
    kind.expect("the handshake is over")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_ends_with_the_list_that_names_it_also_in_a_resumed_session() {
    let clients = Clients::with_list("required").await;
    let (revoked, kept) = (
        clients.authority.client("revoked"),
        clients.authority.client("kept"),
    );
    let (ends, stays) = (clients.showing(&revoked), clients.showing(&kept));
    let mut under_way = ends.open(clients.world.address(), NAME).await;
    assert_eq!(ask(&mut under_way, "/x").await.status, 200);
    let mut resumed = ends.open(clients.world.address(), NAME).await;
    assert_eq!(ask(&mut resumed, "/x").await.status, 200);
    assert_eq!(kind(&mut resumed), HandshakeKind::Resumed);
    assert!(clients.can_call(&stays).await);
    let list = clients.authority.revoked(&[&revoked], 3600);
    let mark = logs::mark();
    replace(&clients.world.sidecar.path("clients.crl"), &list);
    logs::wait_for_line(mark, &["revoked client certificates of api", "took over"]).await;
    assert!(
        !clients.can_call(&ends).await,
        "it would be a resumed session"
    );
    assert!(!clients.can_call(&clients.showing(&revoked)).await);
    clients.wait_for("revoked", 2.0).await;
    assert!(clients.can_call(&stays).await);
    // A connection that was open before is not cut off.
    assert_eq!(ask(&mut under_way, "/x").await.status, 200);
    clients.world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_overdue_or_of_another_authority_refuses_every_certificate() {
    let clients = Clients::with_list("optional").await;
    let good = clients.showing(&clients.authority.client("good"));
    assert!(clients.can_call(&good).await);
    let file = clients.world.sidecar.path("clients.crl");
    let other = CertificateAuthority::new("another authority");
    for (list, result) in [
        (clients.authority.revoked(&[], -60), "expired_crl"),
        (other.revoked(&[], 3600), "unknown_revocation"),
    ] {
        replace(&file, &list);
        until("the list takes effect", async || {
            !clients.can_call(&good).await && clients.count(result).await >= 1.0
        })
        .await;
        // Clients without a certificate are not concerned.
        assert!(clients.can_call(&clients.world.client()).await);
    }
    // No list: the last one stays.
    let mark = logs::mark();
    replace(&file, "no list");
    logs::wait_for_line(
        mark,
        &["WARN", "revoked client certificates of api", "old content"],
    )
    .await;
    assert!(!clients.can_call(&good).await);
    replace(&file, &clients.authority.revoked(&[], 3600));
    until("the list takes effect", async || {
        clients.can_call(&good).await
    })
    .await;
    clients.world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_authority_takes_effect_for_new_connections() {
    let clients = Clients::new("required").await;
    let old = clients.showing(&clients.authority.client("old"));
    let mut under_way = old.open(clients.world.address(), NAME).await;
    assert_eq!(ask(&mut under_way, "/x").await.status, 200);
    let next = CertificateAuthority::new("the next authority");
    let file = clients.world.sidecar.path("clients.pem");
    // Both, then only the next one.
    replace(&file, &[clients.authority.pem.as_str(), &next.pem].concat());
    let new = clients.showing(&next.client("new"));
    until("the next authority is trusted", async || {
        clients.can_call(&new).await
    })
    .await;
    assert!(clients.can_call(&old).await);
    let mark = logs::mark();
    replace(
        &file,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    logs::wait_for_line(mark, &["WARN", "client authorities of api", "old content"]).await;
    assert!(clients.can_call(&old).await && clients.can_call(&new).await);
    replace(&file, &next.pem);
    until("the old authority is trusted no more", async || {
        !clients.can_call(&old).await
    })
    .await;
    assert!(clients.can_call(&new).await);
    assert_eq!(ask(&mut under_way, "/x").await.status, 200);
    clients.world.sidecar.stop().await;
}
