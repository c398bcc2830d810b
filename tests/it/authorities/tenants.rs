//! One authority with many tenants: `{tenant}` in its issuer.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::commands::{ended, run};
use crate::support::tokens::TokenBuilder;

const PATTERN: &str = "http://127.0.0.1:{tenant}/v2.0";
const ADMIN: &str = "an-admin-token-of-the-tests";

/// A tenant: a fake authority whose port is the name of the tenant.
fn tenant() -> (Authority, String) {
    let authority = Authority::start_at_path("/v2.0");
    let name = authority.address().port().to_string();
    (authority, name)
}

fn token(authority: &Authority) -> TokenBuilder {
    let port = authority.address().port().to_string();
    authority.token().claim("tid", port)
}

fn of(tenants: &[&str], keys: &str, upstream: &Upstream) -> String {
    let tenants = tenants.iter().map(|it| format!("\"{it}\""));
    let tenants = tenants.collect::<Vec<_>>().join(", ");
    let authority = format!("{{ issuer: \"{PATTERN}\", tenants: [{tenants}]{keys} }}");
    let admin = "admin: { listen: 127.0.0.1:0, tokenFile: \"@DIR@/admin\" }\n";
    format!("{}{admin}", yaml(&authority, upstream))
}

async fn start(yaml: &str) -> Sidecar {
    let builder = Sidecar::builder().secret_file("admin", "admin", ADMIN);
    builder.start(yaml).await
}

async fn status(sidecar: &Sidecar) -> Value {
    let bearer = format!("Bearer {ADMIN}");
    let headers = [("Authorization", bearer.as_str())];
    let answer = get(sidecar.address("admin"), "/status", &headers).await;
    answer.json()["authorities"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_allowed_tenant_has_keys_of_its_own_from_its_first_token_on() {
    let ((blue, blue_id), (green, green_id), (red, _)) = (tenant(), tenant(), tenant());
    let upstream = Upstream::start();
    let sidecar = start(&of(&[&blue_id, &green_id], "", &upstream)).await;
    assert_eq!(
        outcome(&ask(&sidecar, &token(&blue).sign()).await),
        (200, "-")
    );
    assert_eq!(green.fetches(Endpoint::OpenidConfiguration), 0);
    assert_eq!(
        outcome(&ask(&sidecar, &token(&green).sign()).await),
        (200, "-")
    );
    for (refused, reason) in [
        // The issuer of one tenant with the id of another.
        (token(&blue).claim("tid", green_id.as_str()), "tenant"),
        (token(&blue).without("tid"), "tenant"),
        (token(&blue).claim("tid", 7), "malformed_claims"),
        // A tenant that is not in the list.
        (token(&red), "tenant"),
        // The key of one tenant with the issuer of another.
        (
            token(&blue)
                .claim("iss", green.issuer())
                .claim("tid", green_id.as_str()),
            "signature",
        ),
        (
            token(&blue).claim("iss", "https://other.example"),
            "unknown_issuer",
        ),
        (
            token(&blue).claim("iss", PATTERN).claim("tid", "{tenant}"),
            "tenant",
        ),
    ] {
        let answer = ask(&sidecar, &refused.sign()).await;
        assert_eq!(outcome(&answer), (401, reason));
    }
    assert_eq!(red.fetches(Endpoint::OpenidConfiguration), 0);
    // The cache does not mix them up: both are still accepted.
    assert_eq!(
        outcome(&ask(&sidecar, &token(&blue).sign()).await),
        (200, "-")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_without_keys_disturbs_no_other() {
    let ((blue, blue_id), (green, green_id)) = (tenant(), tenant());
    let upstream = Upstream::start();
    green.down().await;
    let yaml = of(&[&blue_id, &green_id], "", &upstream);
    let sidecar = start(&format!("{yaml}readiness: [authorities]\n")).await;
    let ready = || async { get(sidecar.address("probes"), "/readyz", &[]).await.status };
    assert_eq!(ready().await, 200, "no tenant has sent a token");
    let state = status(&sidecar).await;
    let tenants = json!({ "allowed": 2, "used": 0, "without_keys": [] });
    assert_eq!(
        (&state["tenants"], &state["has_keys"]),
        (&tenants, &json!(true))
    );

    let unavailable = ask(&sidecar, &token(&green).sign()).await;
    assert_eq!(outcome(&unavailable), (503, "keys_unavailable"));
    assert_eq!(
        outcome(&ask(&sidecar, &token(&blue).sign()).await),
        (200, "-")
    );
    let state = status(&sidecar).await;
    let tenants = json!({ "allowed": 2, "used": 2, "without_keys": [green_id] });
    assert_eq!(state["tenants"], tenants);
    assert!(state["last_error"].is_string(), "{state}");
    assert_eq!(ready().await, 200);
    green.up();
    until("the keys of the other tenant come", async || {
        ask(&sidecar, &token(&green).sign()).await.status == 200
    })
    .await;
    let metrics = metrics(&sidecar).await;
    let ages = metrics
        .lines()
        .filter(|line| line.starts_with("m2m_jwks_age_seconds{"));
    assert_eq!(ages.count(), 1, "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tenants_fetch_nothing_until_they_are_used() {
    let (blue, blue_id) = tenant();
    let upstream = Upstream::start();
    let mut tenants: Vec<_> = (0..999).map(|n| (n + 1).to_string()).collect();
    tenants.push(blue_id);
    let names: Vec<_> = tenants.iter().map(String::as_str).collect();
    let sidecar = start(&of(&names, "", &upstream)).await;
    assert_eq!(
        outcome(&ask(&sidecar, &token(&blue).sign()).await),
        (200, "-")
    );
    let state = status(&sidecar).await;
    assert_eq!(state["tenants"]["allowed"], 1000);
    assert_eq!(state["tenants"]["used"], 1);
}

/// Metadata as Microsoft Entra writes them for several tenants.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_may_have_the_place_of_the_tenant() {
    let (blue, blue_id) = tenant();
    let upstream = Upstream::start();
    let metadata = json!({
        "issuer": PATTERN.replace("{tenant}", "{tenantid}"),
        "jwks_uri": blue.jwks_url(),
    });
    blue.behave(
        Endpoint::OpenidConfiguration,
        Behave::Body(metadata.to_string()),
    );
    let sidecar = start(&of(&[&blue_id], "", &upstream)).await;
    assert_eq!(
        outcome(&ask(&sidecar, &token(&blue).sign()).await),
        (200, "-")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_key_set_binds_keys_to_issuers() {
    let (keys, upstream) = (Authority::start(), Upstream::start());
    let issuer = |tenant: &str| PATTERN.replace("{tenant}", tenant);
    let bound = |kid: &str, issuer: String| {
        let key = TestKey::generate(kid, Alg::ES256);
        let mut jwk = key.public_jwk();
        jwk["issuer"] = issuer.into();
        keys.publish_jwk(jwk);
        key
    };
    let any = bound("any", issuer("{tenantid}"));
    let blue_only = bound("blue", issuer("blue"));
    let other = bound("other", "https://other.example/{tenantid}".to_owned());
    let shared = format!(", jwksUri: \"{}\"", keys.jwks_url());
    let sidecar = start(&of(&["blue", "green"], &shared, &upstream)).await;
    keys.wait_for_fetches(Endpoint::Jwks, 1).await;
    let token = |key: Option<&TestKey>, tenant: &str| {
        let token = keys
            .token()
            .claim("iss", issuer(tenant))
            .claim("tid", tenant);
        match key {
            Some(key) => token.signed_by(key).sign(),
            None => token.sign(),
        }
    };
    for (key, tenant, expected) in [
        (None, "blue", (200, "-")),
        (None, "green", (200, "-")),
        (Some(&any), "blue", (200, "-")),
        (Some(&any), "green", (200, "-")),
        (Some(&blue_only), "blue", (200, "-")),
        (Some(&blue_only), "green", (401, "unknown_kid")),
        (Some(&other), "blue", (401, "unknown_kid")),
        (None, "red", (401, "tenant")),
    ] {
        let answer = ask(&sidecar, &token(key, tenant)).await;
        assert_eq!(outcome(&answer), expected, "{tenant}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_finds_the_tenant() {
    let (blue, blue_id) = tenant();
    let upstream = Upstream::start();
    let dir = TempDir::new().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let root = dir.path().display().to_string();
    let text = of(&[&blue_id, "7"], "", &upstream).replace("@DIR@", &root);
    let good = token(&blue).sign();
    let wrong = token(&blue).claim("tid", "7").sign();
    for (name, content) in [
        ("c.yaml", text.as_str()),
        ("admin", ADMIN),
        ("token", good.as_str()),
        ("wrong", wrong.as_str()),
    ] {
        std::fs::write(path(name), content).expect("a writable directory");
    }
    let explain = |token: &str| {
        let (config, token) = (path("c.yaml"), path(token));
        let arguments = [
            "explain",
            "--config",
            &config,
            "--listener",
            "api",
            "--path",
            "/",
        ];
        let (code, out, _) = ended(&run(&[&arguments[..], &["--token-file", &token]].concat()));
        (code, out)
    };
    let (code, out) = explain("token");
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("keys fetched: 1"), "{out}");
    let (code, out) = explain("wrong");
    assert!(
        code == Some(1) && out.contains("deny (tenant), 401"),
        "{out}"
    );
    let config = path("c.yaml");
    let (_, out, _) = ended(&run(&["check", "--config", &config]));
    assert!(out.contains("for each of 2 tenants"), "{out}");
}
