//! Hosts, networks and authorities of a rule.

use super::{World, outcome, world};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{get, send_raw};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;
use crate::support::{AUDIENCE, logs};

const HOSTS: &str = r#"
      - { paths: ["/**"], hosts: [admin.example], scopes: [admin] }
      - { paths: ["/**"], hosts: ["*.tenants.example", "open.example:8443"], access: public }
      - { paths: ["/**"], scopes: [read] }"#;

async fn as_host(world: &World, host: &str, scope: &str) -> (u16, String) {
    let bearer = format!("Bearer {}", world.token().claim("scope", scope).sign());
    let headers = [("Host", host), ("Authorization", &bearer)];
    let answer = world.send("GET", "/x", &headers).await;
    let (status, reason) = outcome(&answer);
    (status, reason.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_for_a_host_decides_about_requests_for_that_host_only() {
    let world = world("", HOSTS).await;
    let refused = (403, "scope".to_owned());
    let passed = (200, "-".to_owned());
    for host in ["admin.example", "ADMIN.Example.:9", "admin.example:443"] {
        assert_eq!(as_host(&world, host, "read").await, refused, "{host}");
        assert_eq!(as_host(&world, host, "admin").await, passed, "{host}");
    }
    for host in [
        "other.example",
        "xadmin.example",
        "admin.example.evil",
        "tenants.example",
    ] {
        assert_eq!(as_host(&world, host, "read").await, passed, "{host}");
        assert_eq!(as_host(&world, host, "admin").await, refused, "{host}");
    }
    for (host, expected) in [
        ("a.tenants.example", (200, "-")),
        ("a.b.TENANTS.example.:80", (200, "-")),
        ("open.example:8443", (200, "-")),
        ("open.example", (401, "no_token")),
        ("open.example:8444", (401, "no_token")),
    ] {
        let answer = world.send("GET", "/x", &[("Host", host)]).await;
        assert_eq!(outcome(&answer), expected, "{host}");
    }
    // The authority of an absolute target is the host; a request without one matches no host.
    let address = world.sidecar.address("api");
    let absolute = "GET http://a.tenants.example/x HTTP/1.1\r\nHost: admin.example\r\n\r\n";
    let answer = send_raw(address, absolute).await;
    assert_eq!(outcome(&answer), (200, "-"));
    let received = world.upstream.received();
    assert_eq!(
        received.last().unwrap().header("host"),
        Some("a.tenants.example")
    );
    let answer = send_raw(address, "GET /x HTTP/1.0\r\n\r\n").await;
    assert_eq!(outcome(&answer), (401, "no_token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_for_networks_sees_the_client_behind_trusted_proxies() {
    let rules = r#"
      - { paths: ["/**"], networks: [10.1.0.0/16, "2001:db8::/32"], access: public }
      - { paths: ["/**"], networks: [127.0.0.0/8], scopes: [local] }
      - { paths: ["/**"], scopes: [read] }"#;
    let behind = world("    trustedProxies: [127.0.0.1, 10.1.9.0/24]", rules).await;
    let direct = world("", rules).await;
    for (list, expected) in [
        ("10.1.2.3", (200, "-")),
        ("192.0.2.1, 10.1.2.3", (200, "-")),
        ("::ffff:10.1.2.3", (200, "-")),
        ("[2001:db8::1]:443", (200, "-")),
        ("192.0.2.1, 10.1.9.1", (401, "no_token")),
        ("10.1.2.3, 192.0.2.1", (401, "no_token")),
        ("10.2.2.3", (401, "no_token")),
        // A proxy that does not name its client: no network has an unknown address.
        ("unknown", (401, "no_token")),
        ("unknown, 10.1.9.1", (401, "no_token")),
        ("10.1.2.3, _hidden", (401, "no_token")),
        ("", (401, "no_token")),
    ] {
        let headers = [("X-Forwarded-For", list)];
        let answer = behind.send("GET", "/x", &headers).await;
        assert_eq!(outcome(&answer), expected, "{list}");
        let answer = direct.send("GET", "/x", &headers).await;
        assert_eq!(outcome(&answer), (401, "no_token"), "{list}");
    }
    // The client's own address, without a proxy.
    let answer = direct
        .send_token("GET", "/x", direct.token().claim("scope", "read"))
        .await;
    assert_eq!(outcome(&answer), (403, "scope"));
    let answer = direct
        .send_token("GET", "/x", direct.token().claim("scope", "local"))
        .await;
    assert_eq!(outcome(&answer), (200, "-"));
    // An unknown client is not local either.
    let bearer = format!("Bearer {}", behind.token().claim("scope", "local").sign());
    let headers = [
        ("X-Forwarded-For", "unknown"),
        ("Authorization", bearer.as_str()),
    ];
    assert_eq!(
        outcome(&behind.send("GET", "/x", &headers).await),
        (403, "scope")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_has_another_reading_only_among_the_rules_of_its_host() {
    let rules = r#"
      - { paths: ["/admin/**"], hosts: [admin.example], scopes: [admin] }
      - { paths: ["/**"], scopes: [read] }"#;
    let world = world("", rules).await;
    let token = || world.token().claim("scope", "read");
    let bearer = format!("Bearer {}", token().sign());
    for (host, expected) in [
        ("admin.example", (400, "ambiguous_path")),
        ("other.example", (200, "-")),
    ] {
        let headers = [("Host", host), ("Authorization", bearer.as_str())];
        let answer = world.send("GET", "/ADMIN/x", &headers).await;
        assert_eq!(outcome(&answer), expected, "{host}");
    }
}

/// 403, not 401: the token is valid, and a new one of the same authority changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_accepts_only_tokens_of_its_authorities() {
    let (users, machines, upstream) = (Authority::start(), Authority::start(), Upstream::start());
    let yaml = format!(
        r#"
stateDir: "@DIR@"
authorities:
  users: {{ issuer: "{}" }}
  machines: {{ issuer: "{}" }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{}"
    authorities: [users, machines]
    audiences: [{AUDIENCE}]
    rules:
      - {{ paths: [/admin], authorities: [machines], scopes: ["devices:read"] }}
      - {{ paths: ["/**"] }}
"#,
        users.issuer(),
        machines.issuer(),
        upstream.url()
    );
    let sidecar = Sidecar::start(&yaml).await;
    users.wait_for_fetches(Endpoint::Jwks, 1).await;
    machines.wait_for_fetches(Endpoint::Jwks, 1).await;
    let mark = logs::mark();
    for (authority, path, expected) in [
        (&users, "/admin", (403, "authority")),
        (&machines, "/admin", (200, "-")),
        (&users, "/other", (200, "-")),
        (&machines, "/other", (200, "-")),
    ] {
        let bearer = format!("Bearer {}", authority.token().sign());
        // The second answer comes from the cache of verified tokens.
        for _ in 0..2 {
            let answer = get(sidecar.address("api"), path, &[("Authorization", &bearer)]).await;
            assert_eq!(outcome(&answer), expected, "{path}");
        }
    }
    let line = logs::wait_for_line(mark, &["access", "reason=\"authority\""]).await;
    assert!(line.contains("client_id=\"tester\""), "{line}");
    let bearer = format!("Bearer {}", users.token().sign());
    let answer = get(
        sidecar.address("api"),
        "/admin",
        &[("Authorization", &bearer)],
    )
    .await;
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(
        challenge.contains("error=\"insufficient_scope\""),
        "{challenge}"
    );
    let expired = format!("Bearer {}", users.token().expires_in(-100).sign());
    let answer = get(
        sidecar.address("api"),
        "/admin",
        &[("Authorization", &expired)],
    )
    .await;
    assert_eq!(outcome(&answer), (401, "expired"));
}
