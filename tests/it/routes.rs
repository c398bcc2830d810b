//! Several services behind one inbound listener: `upstreams`, `rules[].upstream` and
//! `rules[].stripPrefix`.

use crate::support::AUDIENCE;
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, request};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Answer, Received, Upstream};

struct World {
    authority: Authority,
    services: [Upstream; 3],
    sidecar: Sidecar,
}

async fn world(listener: &str, rules: &str) -> World {
    let authority = Authority::start();
    let services = ["main", "things", "cloud"].map(|name| {
        let service = Upstream::start();
        service.answer(move |_| Answer::status(200, name));
        service
    });
    let [main, things, cloud] = services.each_ref().map(Upstream::url);
    let listener = listener.replace("@MAIN@", &main);
    let yaml = format!(
        r#"
authorities: {{ users: {{ issuer: "{}" }} }}
stateDir: "@DIR@"
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstreams:
      things: {{ url: "{things}", timeouts: {{ read: 5s }} }}
      cloud: {{ url: "{cloud}" }}
    authorities: [users]
    audiences: [{AUDIENCE}]
{listener}
    rules:
{rules}
"#,
        authority.issuer(),
    );
    let sidecar = Sidecar::start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    World {
        authority,
        services,
        sidecar,
    }
}

const RULES: &str = r#"
      - { paths: ["/things/**"], upstream: things }
      - { paths: ["/c2c/gw", "/c2c/gw/**"], upstream: cloud, stripPrefix: /c2c/gw }
      - { paths: ["/open/**"], access: public, upstream: cloud, stripPrefix: /open }
      - { paths: ["/**"] }
"#;

impl World {
    async fn send(&self, target: &str, headers: &[(&str, &str)]) -> RawAnswer {
        let bearer = format!("Bearer {}", self.authority.token().sign());
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend(headers);
        request("GET", self.sidecar.address("api"), target, &all, b"").await
    }

    /// The last request of a service.
    fn last(&self, service: usize) -> Received {
        self.services[service]
            .received()
            .pop()
            .expect("a request at the service")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_chooses_the_service() {
    let world = world("    upstream: \"@MAIN@\"", RULES).await;
    for (target, service) in [
        ("/things/1", "things"),
        ("/c2c/gw/a", "cloud"),
        ("/open/a", "cloud"),
        ("/other", "main"),
        // The normal form decides.
        ("/other/../things/1", "things"),
    ] {
        let answer = world.send(target, &[]).await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, service.into()),
            "{target}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_gets_the_path_without_the_prefix() {
    let world = world("    upstream: \"@MAIN@\"\n    pathCase: insensitive", RULES).await;
    for (target, expected) in [
        ("/c2c/gw/a/b?x=/c2c/gw", "/a/b?x=/c2c/gw"),
        ("/c2c/gw", "/"),
        ("/c2c/gw/", "/"),
        ("/c2c/gw?x=1", "/?x=1"),
        ("/c2c/./gw//a", "/a"),
        ("/C2C/GW/A", "/A"),
        ("http://h.test/c2c/gw/a", "/a"),
        ("/c2c/gw/c2c/gw/a", "/c2c/gw/a"),
    ] {
        let answer = world
            .send(target, &[("X-Forwarded-Prefix", "/forged")])
            .await;
        assert_eq!(answer.text(), "cloud", "{target}");
        let seen = world.last(2);
        assert_eq!(seen.target, expected, "{target}");
        assert_eq!(seen.all("x-forwarded-prefix"), ["/c2c/gw"], "{target}");
    }
    world.send("/things/c2c/gw", &[]).await;
    let seen = world.last(1);
    assert_eq!(seen.target, "/things/c2c/gw");
    assert_eq!(seen.header("x-forwarded-prefix"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_default_every_rule_names_its_service() {
    let rules = "      - { paths: [\"/things/**\"], upstream: things }";
    let world = world("    preserveHost: false", rules).await;
    assert_eq!(world.send("/things/1", &[]).await.text(), "things");
    let host = world.services[1].address().to_string();
    assert_eq!(world.last(1).header("host"), Some(host.as_str()));
    let refused = world.send("/other", &[]).await;
    assert_eq!(refused.header("x-m2m-reason"), Some("no_rule"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_goes_to_the_service_of_the_announced_request() {
    let rules = r#"
      - { paths: ["/things/**"], methods: [PUT], upstream: things }
      - { paths: ["/**"], upstream: cloud }
"#;
    let world = world("    corsPreflight: pass", rules).await;
    let headers = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "PUT"),
    ];
    let address = world.sidecar.address("api");
    let answer = request("OPTIONS", address, "/things/1", &headers, b"").await;
    assert_eq!(answer.text(), "things");
}
