//! A request through three sidecars, each of which exchanges the token for the next one.

use std::net::SocketAddr;

use serde_json::json;

use super::*;
use crate::support::client::get;
use crate::support::upstream::{Received, Upstream};

const CHAIN: &str = r#"
stateDir: "@DIR@"
store: { url: "sqlite::memory:" }
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  clients:
    - { id: caller, secretFile: "@DIR@/caller", allowedAudiences: [a], allowedScopes: [read] }
    - id: a
      secretFile: "@DIR@/a"
      allowedGrantTypes: ["urn:ietf:params:oauth:grant-type:token-exchange"]
      allowedAudiences: [b]
      allowedScopes: [read]
      exchange: { subjects: [{ authority: self }] }
    - id: b
      secretFile: "@DIR@/b"
      allowedGrantTypes: ["urn:ietf:params:oauth:grant-type:token-exchange"]
      allowedAudiences: [c]
      allowedScopes: [read]
      exchange: { subjects: [{ authority: self }], maxDepth: 2 }
"#;

fn with_secrets() -> crate::support::sidecar::SidecarBuilder {
    let clients = ["caller", "a", "b"];
    clients.into_iter().fold(Sidecar::builder(), |builder, id| {
        builder.secret_file(id, id, SECRET)
    })
}

/// The sidecar of the service `name`: it protects the service, and calls `next`.
async fn sidecar_of(
    name: &str,
    issuer: SocketAddr,
    service: &Upstream,
    next: Option<(&str, SocketAddr)>,
) -> Sidecar {
    let mut yaml = format!(
        r#"
stateDir: "@DIR@"
authorities:
  m2m:
    issuer: http://issuer.test
    jwksUri: "http://{issuer}/.well-known/jwks.json"
    revocation: none
inbound:
  - name: {name}-in
    listen: 127.0.0.1:0
    upstream: "{}"
    authorities: [m2m]
    audiences: [{name}]
    identityHeaders: {{ X-Actor: act.sub }}
    rules:
      - {{ paths: ["/by-a"], claims: {{ act.sub: a }} }}
      - {{ paths: ["/"], scopes: [read] }}
"#,
        service.url()
    );
    if let Some((next, address)) = next {
        yaml += &format!(
            r#"
credentials:
  next:
    tokenUrl: "http://{issuer}/oauth/token"
    clientID: {name}
    clientSecretFile: "@DIR@/{name}"
    grant: tokenExchange
    audiences: [{next}]
outbound:
  - {{ name: {name}-out, listen: 127.0.0.1:0, upstream: "http://{address}", credential: next }}
"#
        );
    }
    with_secrets().start(&yaml).await
}

/// The service calls the next one: with the token and the request id that it got.
async fn go_on(received: &Received, outbound: SocketAddr, target: &str) -> u16 {
    let headers = ["authorization", "x-request-id"].map(|name| {
        let value = received.header(name);
        (name, value.unwrap_or_else(|| panic!("no {name}")))
    });
    let answer = get(outbound, target, &headers).await;
    answer.status
}

#[tokio::test(flavor = "multi_thread")]
async fn three_access_logs_read_as_one() {
    let issuer = with_secrets().start(CHAIN).await;
    let at = issuer.address("issuer");
    let services = [Upstream::start(), Upstream::start(), Upstream::start()];
    let c = sidecar_of("c", at, &services[2], None).await;
    let b = sidecar_of("b", at, &services[1], Some(("c", c.address("c-in")))).await;
    let a = sidecar_of("a", at, &services[0], Some(("b", b.address("b-in")))).await;
    let basic = format!("Basic {}", STANDARD.encode(format!("caller:{SECRET}")));
    let form = [("grant_type", "client_credentials")];
    let headers = [("Authorization", basic.as_str())];
    let token = text(
        &post_form(at, "/oauth/token", &form, &headers).await,
        "access_token",
    );
    logs::remember_secret(&token);

    let mark = logs::mark();
    let bearer = format!("Bearer {token}");
    let id = "chain-of-three";
    let headers = [("Authorization", bearer.as_str()), ("X-Request-Id", id)];
    assert_eq!(get(a.address("a-in"), "/", &headers).await.status, 200);
    let at_a = services[0].received().remove(0);
    assert_eq!(at_a.header("x-actor"), None);
    assert_eq!(go_on(&at_a, a.address("a-out"), "/by-a").await, 200);
    let at_b = services[1].received().remove(0);
    assert_eq!(at_b.header("x-actor"), Some("a"));
    assert_eq!(go_on(&at_b, b.address("b-out"), "/").await, 200);
    let at_c = services[2].received().remove(0);
    assert_eq!(at_c.header("x-actor"), Some("b"));

    // Each token is for one service, and the last one names all that acted.
    let claims = [&at_a, &at_b, &at_c].map(|seen| claims_of(seen.bearer().expect("a token")));
    let audiences = claims.each_ref().map(|claims| claims["aud"].clone());
    assert_eq!(audiences, [json!(["a"]), json!(["b"]), json!(["c"])]);
    for claims in &claims {
        assert_eq!(
            (&claims["sub"], &claims["scope"]),
            (&json!("caller"), &json!("read"))
        );
    }
    let jti = claims.each_ref().map(|claims| claims["jti"].to_string());
    for (listener, client, act, jti) in [
        ("a-in", "caller", None, &jti[0]),
        ("a-out", "", None, &jti[1]),
        ("b-in", "a", Some("a"), &jti[1]),
        ("b-out", "", None, &jti[2]),
        ("c-in", "b", Some("a > b"), &jti[2]),
    ] {
        let parts = [
            "access",
            &format!("listener=\"{listener}\""),
            &format!("request_id=\"{id}\""),
            &format!("jti={jti}"),
        ];
        let line = logs::wait_for_line(mark, &parts).await;
        if !client.is_empty() {
            assert!(line.contains(&format!("client_id=\"{client}\"")), "{line}");
        }
        let said = act.map(|act| format!("act=\"{act}\""));
        match said {
            Some(said) => assert!(line.contains(&said), "{line}"),
            None => assert!(!line.contains(" act="), "{line}"),
        }
    }

    // A rule about the actor: the caller itself may not.
    let (to, from) = (b.address("b-in"), at_a.bearer().expect("a token"));
    let bearer = format!("Bearer {from}");
    let answer = get(to, "/by-a", &[("Authorization", &bearer)]).await;
    assert_eq!(answer.status, 401, "its audience is another one");
    assert_eq!(
        go_on(&at_b, b.address("b-out"), "/by-a").await,
        403,
        "b is no a"
    );
    for sidecar in [a, b, c, issuer] {
        sidecar.stop().await;
    }
}
