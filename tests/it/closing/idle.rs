//! The time that an idle connection is kept, and its announcement.

use std::time::Duration;

use tokio::time::Instant;

use super::{World, post};
use crate::support::client::{Connection, request_bytes};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Answer, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn every_listener_announces_how_long_it_keeps_an_idle_connection() {
    let world = World::new().await;
    // The upstream's announcement concerns its own connection, not the client's.
    world
        .upstream
        .answer(|_| Answer::with_headers(&[("Keep-Alive", "timeout=3, max=7")], "{}"));
    let own = "Authorization: Bearer own";
    for (listener, target, field) in [
        ("api", "/public/x", "X: y"),
        ("api", "/devices/x", "X: y"),
        ("hub", "/any", own),
        ("hub", "/any", "X: y"),
        (
            "issuer",
            "/oauth/token",
            "Content-Type: application/x-www-form-urlencoded",
        ),
        ("probes", "/readyz", "X: y"),
    ] {
        let mut connection = Connection::open(world.address(listener)).await;
        connection
            .send(post(target, &[field, "Content-Length: 2"]) + "a=")
            .await;
        let answer = connection.answer().await;
        let said = (answer.header("connection"), answer.header("keep-alive"));
        assert_eq!(
            said,
            (Some("keep-alive"), Some("timeout=75")),
            "{listener} {}",
            answer.status
        );
        connection
            .send(post(target, &[field, "Content-Length: 2", "Connection: close"]) + "a=")
            .await;
        let answer = connection.answer().await;
        let said = (answer.header("connection"), answer.header("keep-alive"));
        assert_eq!(said, (Some("close"), None), "{listener} {}", answer.status);
        assert!(connection.is_ended().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_is_told_when_it_asks_for_a_lasting_connection() {
    let world = World::new().await;
    for (field, said) in [
        (
            "Connection: keep-alive",
            (Some("keep-alive"), Some("timeout=75")),
        ),
        ("X: y", (Some("close"), None)),
    ] {
        let mut connection = Connection::open(world.address("api")).await;
        connection
            .send(format!(
                "GET /public/x HTTP/1.0\r\nHost: a\r\n{field}\r\n\r\n"
            ))
            .await;
        let answer = connection.answer().await;
        assert_eq!(
            (answer.header("connection"), answer.header("keep-alive")),
            said
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_keeps_idle_connections_as_long_as_its_key_says() {
    let upstream = Upstream::start();
    let yaml = format!(
        r#"
stateDir: "@DIR@"
store: {{ url: "sqlite::memory:" }}
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  keepAlive: 1s
  clients: [{{ id: legacy, secretFile: "@DIR@/secret", allowedGrantTypes: [client_credentials] }}]
authorities: {{ self: {{ issuer: http://issuer.test }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{0}", authorities: [self], audiences: any,
      keepAlive: 1s, rules: [{{ paths: ["/**"], access: public }}] }}
credentials: {{ hub: {{ tokenUrl: "{0}/token", clientID: legacy,
  clientSecretFile: "@DIR@/secret" }} }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "{0}", credential: hub, overwrite: false,
      keepAlive: 1s }}
"#,
        upstream.url()
    );
    let sidecar = Sidecar::builder()
        .secret_file("secret", "legacy", "a-secret-of-16-bytes")
        .start(&yaml)
        .await;
    for listener in ["api", "hub", "issuer"] {
        let address = sidecar.address(listener);
        let mut connection = Connection::open(address).await;
        for _ in 0..2 {
            let own = [("Authorization", "Bearer own")];
            connection
                .send(request_bytes("GET", address, "/oauth/jwks", &own, b""))
                .await;
            assert_eq!(
                connection.answer().await.header("keep-alive"),
                Some("timeout=1"),
                "{listener}"
            );
        }
        let idle_since = Instant::now();
        assert!(connection.is_ended().await, "{listener}");
        assert!(
            idle_since.elapsed() >= Duration::from_millis(900),
            "{listener}: not before its time"
        );
    }
}
