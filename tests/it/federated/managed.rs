//! Federated clients of the management API, with authorities that the API adds and ends.

use std::time::Duration;

use m2m_sidecar::for_tests::domain::clock::UnixTime;
use serde_json::{Value, json};

use super::{ISSUER, JWT, SVID, client_of};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, request};
use crate::support::clock::StandingClock;
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::tokens::TokenBuilder;
use crate::support::workloads::TrustDomain;
use crate::support::{logs, now};

const ADMIN: &str = "an-admin-token-of-the-tests";
const REFUSED: &str = "401 invalid_client";

/// An issuer whose clients may name keys on this machine, and that trusts `ci` too.
fn yaml(ci: &Authority) -> String {
    format!(
        r#"
stateDir: "@DIR@"
store: {{ url: "sqlite:@DIR@/m2m.db" }}
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
issuer:
  url: {ISSUER}
  listen: 127.0.0.1:0
  clientJwksHosts: [localhost]
  clientJwksCaFile: "@DIR@/ca.pem"
authorities:
  ci: {{ issuer: "{}", caFile: "@DIR@/ca.pem" }}
"#,
        ci.issuer()
    )
}

fn builder(ca_pems: &[&str]) -> SidecarBuilder {
    Sidecar::builder()
        .secret_file("admin", "admin", ADMIN)
        .file("ca.pem", ca_pems.concat())
}

async fn call(sidecar: &Sidecar, method: &str, target: &str, body: &Value) -> RawAnswer {
    let authorization = format!("Bearer {ADMIN}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    let body = body.to_string();
    let address = sidecar.address("admin");
    request(method, address, target, &headers, body.as_bytes()).await
}

async fn create(sidecar: &Sidecar, id: &str, entries: Value) -> RawAnswer {
    let body = json!({ "client_id": id, "federated": entries });
    call(sidecar, "POST", "/clients", &body).await
}

fn job(authority: &Authority, sub: &str) -> TokenBuilder {
    let token = authority.token().header("typ", "JWT").without("client_id");
    token.claim("sub", sub).claim("aud", ISSUER).expires_in(300)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_added_and_ended_over_the_management_api() {
    let (ci, forge) = (Authority::start_tls(), Authority::start_tls());
    let domain = TrustDomain::start("example.org");
    let clock = StandingClock::now();
    let pems = [
        ci.ca_pem(),
        forge.ca_pem(),
        domain.endpoint().ca_pem.as_str(),
    ];
    let sidecar = builder(&pems).clock(clock.clone()).start(&yaml(&ci)).await;
    let end = UnixTime(now() + 200).to_rfc3339().expect("a time");
    let created = create(
        &sidecar,
        "deploy",
        json!([
            { "authority": "ci", "subject": "repo:a/*" },
            {
                "issuer": forge.issuer(), "jwks_uri": forge.jwks_url(), "subject": "repo:a/*",
                "expires_at": end,
            },
        ]),
    )
    .await;
    assert_eq!(created.status, 201, "{}", created.text());
    let shown = created.json();
    assert_eq!(shown.get("client_secret"), None, "it has no secret");
    assert_eq!(shown["federated"][1]["expires_at"], end);
    let svids = json!([{
        "issuer": "spiffe://example.org", "jwks_uri": domain.bundle_url(),
        "subject": "spiffe://example.org/ns/prod/**",
    }]);
    assert_eq!(create(&sidecar, "prod", svids).await.status, 201);
    let alien = TestKey::generate("es256-1", Alg::ES256);
    for (of_type, jwt, expected) in [
        (JWT, job(&ci, "repo:a/b"), "deploy"),
        (JWT, job(&forge, "repo:a/b"), "deploy"),
        (SVID, domain.svid("/ns/prod/sa/x", ISSUER), "prod"),
        (SVID, domain.svid("/ns/dev/sa/x", ISSUER), REFUSED),
        (JWT, job(&forge, "repo:b/a"), REFUSED),
        (JWT, job(&forge, "repo:a/b").claim("aud", "other"), REFUSED),
        (
            JWT,
            job(&forge, "repo:a/b").claim("iss", ci.issuer()),
            REFUSED,
        ),
        (
            JWT,
            job(&ci, "repo:a/b").claim("iss", forge.issuer()),
            REFUSED,
        ),
        (JWT, job(&forge, "repo:a/b").signed_by(&alien), REFUSED),
        (JWT, job(&forge, "repo:a/b").expires_in(-120), REFUSED),
        (JWT, job(&forge, "repo:a/b").expires_in(7200), REFUSED),
        (JWT, job(&forge, "repo:a/b").without("exp"), REFUSED),
        (
            JWT,
            job(&forge, "repo:a/b").claim("cnf", json!({})),
            REFUSED,
        ),
        (
            JWT,
            job(&forge, "repo:a/b").header("typ", "at+jwt"),
            REFUSED,
        ),
        (JWT, job(&forge, "repo:a/b").unsigned(), REFUSED),
    ] {
        assert_eq!(client_of(&sidecar, of_type, jwt, None).await, expected);
    }
    // The end of an entry ends its authority only.
    clock.forward(Duration::from_secs(250));
    assert_eq!(
        client_of(&sidecar, JWT, job(&forge, "repo:a/b"), None).await,
        REFUSED
    );
    assert_eq!(
        client_of(&sidecar, JWT, job(&ci, "repo:a/b"), None).await,
        "deploy"
    );
    // Removed entries end at once, and the client gets a secret in the usual way.
    let patch = json!({ "federated": [{ "authority": "unknown", "subject": "repo:a/*" }] });
    assert_eq!(
        call(&sidecar, "PATCH", "/clients/deploy", &patch)
            .await
            .status,
        200
    );
    assert_eq!(
        client_of(&sidecar, JWT, job(&ci, "repo:a/b"), None).await,
        REFUSED
    );
    let patch = json!({ "federated": null });
    assert_eq!(
        call(&sidecar, "PATCH", "/clients/deploy", &patch)
            .await
            .status,
        200
    );
    let secret = call(&sidecar, "POST", "/clients/deploy/secrets", &json!({})).await;
    assert_eq!(secret.status, 201, "{}", secret.text());
    logs::remember_secret(secret.json()["client_secret"].as_str().expect("a secret"));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_an_added_authority_lead_to_no_private_address() {
    let (ci, host) = (Authority::start_tls(), Authority::start_tls());
    let pems = [ci.ca_pem(), host.ca_pem()];
    let sidecar = builder(&pems).start(&yaml(&ci)).await;
    let port = host.address().port();
    for (number, place) in ["127.0.0.1", "[::1]", "127.1", "0.0.0.0"]
        .into_iter()
        .enumerate()
    {
        let (id, issuer) = (
            format!("c{number}"),
            format!("https://issuer-{number}.test"),
        );
        let entry = json!([{
            "issuer": issuer, "subject": "a",
            "jwks_uri": format!("https://{place}:{port}/jwks.json"),
        }]);
        assert_eq!(create(&sidecar, &id, entry).await.status, 201);
        let jwt = job(&host, "a").claim("iss", issuer);
        let found = client_of(&sidecar, JWT, jwt, Some(&id)).await;
        assert_eq!(found, "503 temporarily_unavailable", "{place}");
    }
    assert_eq!(host.fetches(Endpoint::Jwks), 0);
    for (entry, field) in [
        (json!({ "subject": "a" }), "federated[0].authority"),
        (
            json!({ "issuer": "a", "jwks_uri": "http://a.example/", "subject": "a" }),
            "federated[0].jwks_uri",
        ),
        (json!({ "authority": "ci" }), "federated[0].subject"),
    ] {
        let answer = create(&sidecar, "refused", json!([entry])).await;
        assert_eq!(answer.status, 400, "{field}");
        assert!(answer.text().contains(field), "{field}: {}", answer.text());
    }
    let both = json!({
        "client_id": "both", "federated": [{ "authority": "ci", "subject": "a" }],
        "jwks_uri": "https://a.example/jwks",
    });
    assert_eq!(call(&sidecar, "POST", "/clients", &both).await.status, 400);
    sidecar.stop().await;
}
