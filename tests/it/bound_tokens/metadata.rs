//! The metadata of a listener (RFC 9728).

use serde_json::json;

use super::{World, challenge, outcome};
use crate::commands::{run, text};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_with_a_public_url_describes_itself() {
    let world = World::new("    publicUrl: https://api.example/base").await;
    let path = format!("{WELL_KNOWN}/base");
    let answer = world.ask("GET", &path, &[]).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
    let algorithms = [
        "ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA",
    ];
    assert_eq!(
        answer.json(),
        json!({
            "resource": "https://api.example/base",
            "authorization_servers": [world.authority.issuer()],
            "scopes_supported": ["devices:admin", "devices:read"],
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": algorithms,
        })
    );
    let head = crate::support::client::send_raw(
        world.address(),
        format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
    );
    assert_eq!(head.await.status, 200);
    assert_eq!(world.ask("POST", &path, &[]).await.status, 405);
    // No other path is taken from the service.
    assert_eq!(
        outcome(&world.ask("GET", WELL_KNOWN, &[]).await),
        (401, "no_token")
    );
    let url = format!("resource_metadata=\"https://api.example{path}\"");
    let answer = world.ask("GET", "/x", &[("Host", "evil.example")]).await;
    assert_eq!(challenge(&answer), format!("Bearer realm=\"api\", {url}"));
    let answer = world.get("/x", &world.token(), &[]).await;
    assert!(challenge(&answer).ends_with(&url), "{answer:?}");
    assert!(world.upstream.received().is_empty());
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_without_a_public_url_leaves_the_path_to_the_service() {
    let world = World::new("").await;
    assert_eq!(
        outcome(&world.ask("GET", WELL_KNOWN, &[]).await),
        (401, "no_token")
    );
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_says_what_the_listener_demands() {
    let keys = "    publicUrl: https://api.example\n    dpop: { required: true }";
    let world = World::new(keys).await;
    let described = world.ask("GET", WELL_KNOWN, &[]).await.json();
    assert_eq!(described["resource"], "https://api.example");
    assert_eq!(described["dpop_bound_access_tokens_required"], true);
    world.sidecar.stop().await;
}

#[test]
fn check_names_a_rule_that_does_not_apply_to_the_metadata() {
    let dir = tempfile::TempDir::new().expect("a temporary directory");
    let file = dir.path().join("c.yaml");
    let yaml = "
stateDir: .
authorities: { users: { issuer: \"https://users.example\" } }
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: http://127.0.0.1:1
    publicUrl: https://api.example
    authorities: [users]
    audiences: any
    rules: [{ paths: [\"/.well-known/**\"], access: public }]
";
    std::fs::write(&file, yaml).expect("a writable directory");
    let checked = run(&["check", "--config", file.to_str().expect("UTF-8")]);
    let said = text(&checked.stdout) + &text(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    assert!(
        said.contains(&format!("the sidecar answers `{WELL_KNOWN}`")),
        "{said}"
    );
}
