//! Outbound: a program without OAuth is authenticated, or gets a clear refusal.

mod answers;
mod authentication;
mod browsers;
mod dpop;
mod exchange;
mod faults;
mod forward;
mod links;
mod local_api;
mod local_exchange;
mod refused;
mod replays;
mod rotation;
mod sinks;
mod swallowed;
mod throttles;
mod timeouts;
mod token_files;
mod tunnels;

use std::sync::Arc;
use std::time::Duration;

use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::{Behave, Gate};
use crate::support::client::{Connection, RawAnswer, get, request, request_bytes, send_raw};
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::until;
use crate::support::upstream::{Answer, Upstream};
use m2m_sidecar::for_tests::domain::clock::{Clock, SystemClock};

const SECRET: &str = "outbound-client-secret-1";

pub struct World {
    pub authority: Authority,
    pub upstream: Upstream,
    pub sidecar: Sidecar,
}

fn yaml(authority: &Authority, upstream: &str, credential: &str, listener: &str) -> String {
    format!(
        r#"
stateDir: "@DIR@"
probes: {{ listen: 127.0.0.1:0 }}
credentials:
  hub:
    authority: "{}"
    clientID: legacy
    clientSecretFile: "@DIR@/secret"
    scopes: [devices:read, devices:write]
    audiences: [https://devices.example]
{credential}
outbound:
  - name: hub
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    credential: hub
{listener}
"#,
        authority.issuer(),
    )
}

pub async fn world(credential: &str, listener: &str) -> World {
    world_at(Arc::new(SystemClock), credential, listener).await
}

/// The same with this clock.
async fn world_at(clock: Arc<dyn Clock>, credential: &str, listener: &str) -> World {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.register_client("legacy", SECRET);
    let yaml = yaml(&authority, &upstream.url(), credential, listener);
    let sidecar = Sidecar::builder()
        .secret_file("secret", "legacy", SECRET)
        .clock(clock)
        .start(&yaml)
        .await;
    World {
        authority,
        upstream,
        sidecar,
    }
}

impl World {
    async fn get(&self, target: &str) -> RawAnswer {
        get(self.sidecar.address("hub"), target, &[]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_word_of_oauth_arrives_with_a_token() {
    let world = world("", "").await;
    let answer = world.get("/api/v1/devices?x=%2F1").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = &world.upstream.received()[0];
    assert_eq!(seen.target, "/api/v1/devices?x=%2F1");
    assert_eq!(seen.bearer(), Some(world.authority.issued()[0].as_str()));
    assert_eq!(
        seen.header("host"),
        Some(world.upstream.address().to_string().as_str())
    );
    let asked = &world.authority.token_requests()[0];
    assert_eq!(
        asked.client(),
        Some(("legacy".to_owned(), SECRET.to_owned()))
    );
    assert_eq!(asked.all("grant_type"), ["client_credentials"]);
    assert_eq!(asked.all("scope"), ["devices:read devices:write"]);
    assert_eq!(asked.all("audience"), ["https://devices.example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_first_requests_cause_one_token_fetch() {
    let world = world("", "").await;
    let gate = Gate::closed();
    world
        .authority
        .behave(Endpoint::Token, Behave::Hold(gate.clone()));
    let address = world.sidecar.address("hub");
    let mut connections = Vec::new();
    for _ in 0..1000 {
        let mut connection = Connection::open(address).await;
        connection
            .send(request_bytes("GET", address, "/", &[], b""))
            .await;
        connections.push(connection);
    }
    world.authority.wait_for_fetches(Endpoint::Token, 1).await;
    gate.open();
    let answers =
        futures_util::future::join_all(connections.iter_mut().map(Connection::answer)).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(world.authority.fetches(Endpoint::Token), 1);
    assert_eq!(world.upstream.received().len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_short_lived_tokens_follow_each_other() {
    let world = world("    refreshAt: 50%\n", "").await;
    world
        .authority
        .answer_tokens(|answer| answer.lifetime = Duration::from_secs(4));
    let address = world.sidecar.address("hub");
    let authority = &world.authority;
    let load = (0..4).map(|_| async move {
        let mut connection = Connection::open(address).await;
        while authority.fetches(Endpoint::Token) < 4 {
            connection
                .send(request_bytes("GET", address, "/", &[], b""))
                .await;
            assert_eq!(connection.answer().await.status, 200);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    futures_util::future::join_all(load).await;
    // No request carried an older token than the one before it.
    let issued = world.authority.issued();
    let positions = world.upstream.received().into_iter().map(|seen| {
        let bearer = seen.bearer().expect("a token").to_owned();
        issued
            .iter()
            .position(|token| *token == bearer)
            .expect("one of the authority's")
    });
    let mut newest = 0;
    for position in positions {
        assert!(position + 1 >= newest, "a token older than its predecessor");
        newest = newest.max(position);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_is_sent() {
    for broken in [
        Behave::Status(500),
        Behave::Status(401),
        Behave::EmptyBody,
        Behave::InvalidJson,
        Behave::Reset,
    ] {
        let world = world("", "").await;
        world.authority.behave(Endpoint::Token, broken.clone());
        let answer = world.get("/").await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (503, Some("token_unavailable")),
            "{broken:?}"
        );
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.json()["error"], "temporarily_unavailable");
        assert!(world.upstream.received().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_comes_back_is_found_again() {
    let world = world("", "").await;
    world.authority.down().await;
    assert_eq!(world.get("/").await.status, 503);
    world.authority.up();
    until("it recovers", async || world.get("/").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_shorter_than_the_tokens_life_is_not_noticed() {
    let world = world("", "").await;
    assert_eq!(world.get("/").await.status, 200);
    world.authority.down().await;
    for _ in 0..20 {
        assert_eq!(world.get("/").await.status, 200);
    }
    assert_eq!(world.authority.fetches(Endpoint::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_the_requests_own_is_overwritten_unless_told_otherwise() {
    let own = [
        ("Authorization", "Bearer own.token.here"),
        ("authorization", "Basic YTpi"),
    ];
    let overwriting = world("", "").await;
    assert_eq!(
        get(overwriting.sidecar.address("hub"), "/", &own)
            .await
            .status,
        200
    );
    let seen = &overwriting.upstream.received()[0];
    assert_eq!(
        seen.bearer(),
        Some(overwriting.authority.issued()[0].as_str())
    );

    let keeping = world("", "    overwrite: false\n").await;
    assert_eq!(
        get(keeping.sidecar.address("hub"), "/", &own[..1])
            .await
            .status,
        200
    );
    assert_eq!(
        keeping.upstream.received()[0].bearer(),
        Some("own.token.here")
    );
    assert_eq!(keeping.authority.fetches(Endpoint::Token), 0);
    assert_eq!(keeping.get("/").await.status, 200);
    assert!(keeping.upstream.received()[1].bearer().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_header_and_prefix_can_carry_the_token() {
    let world = world("", "    header: X-Api-Key\n    prefix: \"\"\n").await;
    let answer = get(
        world.sidecar.address("hub"),
        "/",
        &[("Authorization", "Basic YTpi")],
    )
    .await;
    assert_eq!(answer.status, 200);
    let seen = &world.upstream.received()[0];
    assert_eq!(
        seen.header("x-api-key"),
        Some(world.authority.issued()[0].as_str())
    );
    assert_eq!(seen.header("authorization"), Some("Basic YTpi"));
}

/// The request of a program that uses the listener as its HTTP proxy.
fn through_proxy(url: &str, host: &str) -> String {
    format!(
        "GET {url} HTTP/1.1\r\nHost: {host}\r\nProxy-Connection: \
         keep-alive\r\nProxy-Authorization: Basic YTpi\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_http_proxy_is_the_listener_is_authenticated_for_its_upstream_and_no_other_server()
 {
    let world = world("", "    hosts: [alias.internal]\n").await;
    let (listener, upstream) = (world.sidecar.address("hub"), world.upstream.address());
    let elsewhere = format!("127.0.0.1:{}", world.sidecar.address("probes").port());
    for (url, host, status) in [
        (format!("http://{elsewhere}/x"), elsewhere.as_str(), 403),
        ("http://127.0.0.1/x".to_owned(), "127.0.0.1", 403),
        ("http://10.0.0.5/x".to_owned(), "10.0.0.5", 403),
        ("http://localhost/x".to_owned(), "localhost", 403),
        ("http://evil.example/x".to_owned(), "evil.example", 403),
        (format!("https://{upstream}/x"), &upstream.to_string(), 403),
        (
            format!("http://{upstream}@evil.example/x"),
            "evil.example",
            400,
        ),
        // The target says where it goes, not `Host` (RFC 9112 §3.2.2).
        (
            "http://evil.example/x".to_owned(),
            &upstream.to_string(),
            403,
        ),
    ] {
        let answer = send_raw(listener, through_proxy(&url, host)).await;
        assert_eq!(answer.status, status, "{url} {host} {}", answer.text());
        if status == 403 {
            assert_eq!(answer.header("x-m2m-reason"), Some("host"), "{url}");
        }
    }
    assert!(world.upstream.received().is_empty());
    assert_eq!(world.authority.fetches(Endpoint::Token), 0);

    for host in [
        upstream.to_string(),
        listener.to_string(),
        "alias.internal".to_owned(),
    ] {
        let url = format!("http://{host}/api/v1/devices?x=1");
        assert_eq!(
            send_raw(listener, through_proxy(&url, &host)).await.status,
            200,
            "{host}"
        );
    }
    let url = format!("HTTP://{upstream}");
    assert_eq!(
        send_raw(listener, through_proxy(&url, "127.0.0.1"))
            .await
            .status,
        200
    );
    let received = world.upstream.received();
    let targets: Vec<_> = received.iter().map(|seen| seen.target.as_str()).collect();
    let api = "/api/v1/devices?x=1";
    assert_eq!(targets, [api, api, api, "/"]);
    for seen in &received {
        assert_eq!(seen.bearer(), Some(world.authority.issued()[0].as_str()));
        assert_eq!(seen.header("host"), Some(upstream.to_string().as_str()));
        assert_eq!(
            (
                seen.header("proxy-connection"),
                seen.header("proxy-authorization")
            ),
            (None, None)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused_with_an_explanation() {
    let world = world("", "").await;
    let answer = request(
        "CONNECT",
        world.sidecar.address("hub"),
        "hub.example:443",
        &[("Host", "hub.example:443")],
        b"",
    );
    let answer = answer.await;
    assert_eq!(
        (answer.status, answer.header("x-m2m-reason")),
        (405, Some("tunnel"))
    );
    assert!(
        answer.json()["error_description"]
            .as_str()
            .unwrap()
            .contains("http://")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_and_refusals_are_the_callers_business() {
    let world = world("", "").await;
    for status in [301, 302, 307, 401, 403, 500] {
        let location = vec![(
            "Location".to_owned(),
            "http://elsewhere.example/".to_owned(),
        )];
        world
            .upstream
            .next(Answer::Reply(status, location, b"as it is".to_vec()));
        let answer = world.get("/").await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, "as it is")
        );
        assert_eq!(answer.header("location"), Some("http://elsewhere.example/"));
    }
    assert_eq!(world.upstream.received().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_https_upstream_is_verified_by_certificate_and_name() {
    let (authority, upstream) = (Authority::start(), Upstream::start_tls());
    let impostor = Upstream::start_tls_as(&["other.example"]);
    authority.register_client("legacy", SECRET);
    let start = async |upstream: &Upstream, ca: &str, tls: &str| {
        let url = format!("https://localhost:{}", upstream.address().port());
        let yaml = yaml(&authority, &url, "", tls);
        Sidecar::builder()
            .secret_file("secret", "legacy", SECRET)
            .file("ca.pem", ca)
            .start(&yaml)
            .await
    };
    let trusted = start(
        &upstream,
        upstream.ca_pem(),
        "    upstreamTls: { caFile: \"@DIR@/ca.pem\" }\n",
    )
    .await;
    let answer = get(trusted.address("hub"), "/", &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = &upstream.received()[0];
    assert!(seen.bearer().is_some());
    assert_eq!(
        seen.header("host"),
        Some(format!("localhost:{}", upstream.address().port()).as_str())
    );

    let untrusted = start(&upstream, upstream.ca_pem(), "").await;
    let wrong_name = start(
        &impostor,
        impostor.ca_pem(),
        "    upstreamTls: { caFile: \"@DIR@/ca.pem\" }\n",
    )
    .await;
    let renamed =
        "    upstreamTls: { caFile: \"@DIR@/ca.pem\", serverName: not-its-name.example }\n";
    let other_name = start(&upstream, upstream.ca_pem(), renamed).await;
    for sidecar in [&untrusted, &wrong_name, &other_name] {
        let answer = get(sidecar.address("hub"), "/", &[]).await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (502, Some("upstream_tls"))
        );
    }
    assert_eq!(
        upstream.received().len() + impostor.received().len(),
        1,
        "no token left for an unverified upstream"
    );
    let named = start(
        &impostor,
        impostor.ca_pem(),
        "    upstreamTls: { caFile: \"@DIR@/ca.pem\", serverName: other.example }\n",
    )
    .await;
    assert_eq!(get(named.address("hub"), "/", &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_can_go_into_the_form_and_extra_parameters_too() {
    let world = world(
        "    authMethod: client_secret_post\n    resource: [https://r.example]\n    \
        extraParameters: { tenant: blue }\n",
        "",
    )
    .await;
    assert_eq!(world.get("/").await.status, 200);
    let asked = &world.authority.token_requests()[0];
    assert_eq!(asked.all("client_secret"), [SECRET]);
    assert_eq!(asked.all("resource"), ["https://r.example"]);
    assert_eq!(asked.all("tenant"), ["blue"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn prefetch_fetches_before_the_first_request() {
    let world = world("    prefetch: true\n", "").await;
    world.authority.wait_for_fetches(Endpoint::Token, 1).await;
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.authority.fetches(Endpoint::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_credential_show_in_metrics_and_log() {
    let world = world("", "").await;
    let mark = logs::mark();
    assert_eq!(world.get("/").await.status, 200);
    logs::wait_for_line(mark, &["access", "outbound", "token_attached"]).await;
    // A request is counted when it is over, which may be a moment after its answer was read.
    until("everything is counted", async || {
        let metrics = get(world.sidecar.address("probes"), "/metrics", &[])
            .await
            .text();
        [
            "m2m_outbound_requests_total{listener=\"hub\",result=\"token_attached\"} 1",
            "m2m_token_fetch_total{credential=\"hub\",result=\"ok\"} 1",
            "m2m_credential_expiry_seconds{credential=\"hub\"} 3",
        ]
        .iter()
        .all(|line| metrics.contains(line))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_cannot_be_made_to_show_the_token() {
    let world = world("", "").await;
    let answer = request("TRACE", world.sidecar.address("hub"), "/", &[], b"").await;
    assert_eq!(
        (answer.status, answer.header("x-m2m-reason")),
        (405, Some("method"))
    );
    assert!(world.upstream.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_its_own_that_does_not_arrive_is_no_header() {
    let world = world("", "    overwrite: false\n").await;
    let address = world.sidecar.address("hub");
    let named = [
        ("Authorization", "Bearer own.token"),
        ("Connection", "authorization"),
    ];
    assert_eq!(get(address, "/", &named).await.status, 400);
    assert!(world.upstream.received().is_empty());
    assert_eq!(
        get(address, "/", &[("Authorization", "")]).await.status,
        200
    );
    assert_eq!(
        world.upstream.received()[0].bearer(),
        Some(world.authority.issued()[0].as_str())
    );
}
