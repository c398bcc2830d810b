//! A running sidecar takes over another configuration: common parts continue, the rest ends.

use std::os::unix::fs::PermissionsExt;

use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::Gate;
use crate::support::client::{Connection, get, post_form, request_bytes, try_send_raw};
use crate::support::sidecar::Sidecar;
use crate::support::until;
use crate::support::upstream::{Answer, Upstream};

struct World {
    upstream: Upstream,
    kept: Authority,
    ending: Authority,
}

/// The parts that both configurations have.
const SHARED: &str = r#"
stateDir: "@DIR@/state"
store: { url: "sqlite://@DIR@/store.db" }
probes: { listen: 127.0.0.1:0 }
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  clients:
    - { id: legacy, secretFile: "@DIR@/secret", allowedGrantTypes: [client_credentials] }
"#;

impl World {
    fn start() -> Self {
        let (kept, ending) = (Authority::start(), Authority::start());
        for authority in [&kept, &ending] {
            authority.register_client("legacy", SECRET);
        }
        Self {
            upstream: Upstream::start(),
            kept,
            ending,
        }
    }

    fn first(&self) -> String {
        format!(
            r#"{shared}
authorities:
  kept: {{ issuer: "{kept}" }}
  ending: {{ issuer: "{ending}" }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    authorities: [kept, ending]
    audiences: any
    rules: [{{ paths: ["/first"], access: public }}, {{ paths: ["/private"] }}]
  - name: removed
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    authorities: [kept]
    audiences: any
    rules: [{{ paths: ["/**"], access: public }}]
credentials:
  kept: {{ tokenUrl: "{kept}/oauth/token", clientID: legacy, clientSecretFile: "@DIR@/secret" }}
  ending:
    tokenUrl: "{ending}/oauth/token"
    clientID: legacy
    clientSecretFile: "@DIR@/secret"
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "{upstream}", credential: kept }}
  - {{ name: old-hub, listen: 127.0.0.1:0, upstream: "{upstream}", credential: ending }}
"#,
            shared = SHARED,
            kept = self.kept.issuer(),
            ending = self.ending.issuer(),
            upstream = self.upstream.url()
        )
    }

    fn second(&self) -> String {
        format!(
            r#"{shared}
authorities: {{ kept: {{ issuer: "{kept}" }} }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    authorities: [kept]
    audiences: any
    rules: [{{ paths: ["/second"], access: public }}, {{ paths: ["/private"] }}]
  - name: added
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    authorities: [kept]
    audiences: any
    rules: [{{ paths: ["/**"], access: public }}]
credentials:
  kept: {{ tokenUrl: "{kept}/oauth/token", clientID: legacy, clientSecretFile: "@DIR@/secret" }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "{upstream}", credential: kept }}
"#,
            shared = SHARED,
            kept = self.kept.issuer(),
            upstream = self.upstream.url()
        )
    }

    async fn start_first(&self) -> Sidecar {
        Sidecar::builder()
            .secret_file("secret", "legacy", SECRET)
            .start(&self.first())
            .await
    }
}

const SECRET: &str = "a-secret-of-16-bytes";

async fn status(sidecar: &Sidecar, listener: &str, target: &str) -> u16 {
    get(sidecar.address(listener), target, &[]).await.status
}

async fn metrics(sidecar: &Sidecar) -> String {
    get(sidecar.address("probes"), "/metrics", &[]).await.text()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_configuration_takes_over_unchanged_parts_and_ends_the_others() {
    let world = World::start();
    let mut sidecar = world.start_first().await;
    let api = sidecar.address("api");
    let bearer = format!("Bearer {}", world.kept.token().sign());
    let authorized = [("authorization", bearer.as_str())];
    assert_eq!(status(&sidecar, "api", "/first").await, 200);
    assert_eq!(get(api, "/private", &authorized).await.status, 200);
    assert_eq!(status(&sidecar, "hub", "/").await, 200);
    assert_eq!(status(&sidecar, "old-hub", "/").await, 200);
    world.ending.wait_for_fetches(Endpoint::Jwks, 1).await;
    let before = metrics(&sidecar).await;
    assert!(before.contains("m2m_jwks_age_seconds{authority=\"ending\"}"));
    assert!(before.contains("m2m_credential_token_age_seconds{credential=\"ending\"}"));
    let (issuer, removed) = (sidecar.address("issuer"), sidecar.address("removed"));

    sidecar
        .replace(&world.second())
        .await
        .expect("a usable configuration");

    // Kept as they are: sockets, keys, tokens, the issuer with its store.
    assert_eq!(
        (sidecar.address("api"), sidecar.address("issuer")),
        (api, issuer)
    );
    assert_eq!(get(api, "/private", &authorized).await.status, 200);
    assert_eq!(status(&sidecar, "hub", "/").await, 200);
    assert_eq!(world.kept.fetches(Endpoint::Jwks), 1);
    assert_eq!(world.kept.token_requests().len(), 1);
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "legacy"),
        ("client_secret", SECRET),
    ];
    let issued = post_form(issuer, "/oauth/token", &form, &[]).await;
    assert_eq!(issued.status, 200);
    // Changed: the rules of a listener, and which listeners there are.
    assert_eq!(status(&sidecar, "api", "/first").await, 401);
    assert_eq!(status(&sidecar, "api", "/second").await, 200);
    assert_eq!(status(&sidecar, "added", "/").await, 200);
    until("the removed listener is closed", async || {
        tokio::net::TcpStream::connect(removed).await.is_err()
    })
    .await;
    // Ended: the authority and the credential that only the first configuration has.
    until("the ended parts are gone", async || {
        let text = metrics(&sidecar).await;
        !text.contains("m2m_jwks_age_seconds{authority=\"ending\"}")
            && !text.contains("m2m_credential_token_age_seconds{credential=\"ending\"}")
    })
    .await;
    assert_eq!(sidecar.addresses().count(), 5);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_finishes_on_the_configuration_it_began_with() {
    let world = World::start();
    let mut sidecar = world.start_first().await;
    for listener in ["api", "removed"] {
        let gate = Gate::closed();
        let held = Answer::Hold(gate.clone(), Box::new(Answer::status(200, "old")));
        world.upstream.next(held);
        let seen = world.upstream.received().len();
        let address = sidecar.address(listener);
        let mut under_way = Connection::open(address).await;
        let bytes = request_bytes("GET", address, "/first", &[], b"");
        under_way.send(bytes).await;
        world.upstream.wait_for(seen + 1).await;
        sidecar.replace(&world.second()).await.expect("usable");
        assert_eq!(status(&sidecar, "api", "/first").await, 401);
        gate.open();
        assert_eq!(under_way.answer().await.text(), "old", "{listener}");
        sidecar.replace(&world.first()).await.expect("usable");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_two_errors_changes_nothing_and_both_are_reported() {
    let world = World::start();
    let mut sidecar = world.start_first().await;
    let before: Vec<_> = sidecar.addresses().collect();
    let occupied = ["127.0.0.1:0"; 2].map(|any| std::net::TcpListener::bind(any).expect("a port"));
    let [api, hub] = occupied
        .each_ref()
        .map(|socket| socket.local_addr().expect("bound"));
    let bound_twice = world.second().replace(
        "inbound:\n  - name: api\n    listen: 127.0.0.1:0",
        &format!("inbound:\n  - name: api\n    listen: {api}"),
    );
    let bound_twice = bound_twice.replace(
        "name: hub, listen: 127.0.0.1:0",
        &format!("name: hub, listen: {hub}"),
    );
    std::fs::create_dir_all(sidecar.path("open")).expect("a directory of ours");
    let everyone = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(sidecar.path("open"), everyone).expect("a directory of ours");
    let missing = world
        .second()
        .replace("@DIR@/state", "@DIR@/open")
        .replace("store.db\"", "other.db\", mustExist: true");
    for (name, yaml, reasons) in [
        (
            "two addresses in use",
            bound_twice,
            ["listener api: cannot listen", "listener hub: cannot listen"],
        ),
        (
            "an unsafe directory and no store",
            missing,
            ["stateDir: ", "there is no store at"],
        ),
    ] {
        let error = sidecar.replace(&yaml).await.expect_err(name);
        for reason in reasons {
            assert!(error.contains(reason), "{name}: {error}");
        }
        assert_eq!(sidecar.addresses().collect::<Vec<_>>(), before, "{name}");
        assert_eq!(status(&sidecar, "api", "/first").await, 200, "{name}");
        assert_eq!(status(&sidecar, "old-hub", "/").await, 200, "{name}");
    }
    assert_eq!(world.ending.token_requests().len(), 1);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_listener_keeps_its_address() {
    let world = World::start();
    let mut sidecar = world.start_first().await;
    let removed = sidecar.address("removed");
    let renamed = world.second().replace(
        "name: added\n    listen: 127.0.0.1:0",
        &format!("name: added\n    listen: {removed}"),
    );
    sidecar
        .replace(&renamed)
        .await
        .expect("a usable configuration");
    assert_eq!(sidecar.address("added"), removed);
    // The listener that ends may still accept a connection, and closes it.
    until("the renamed listener answers", async || {
        let asked = try_send_raw(removed, request_bytes("GET", removed, "/", &[], b"")).await;
        asked.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    sidecar.stop().await;
}
