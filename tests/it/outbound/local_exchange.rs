//! The local API in the form of NAIS Texas: tokens, exchanges and introspection.

use serde_json::{Value, json};

use super::SECRET;
use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::Behave;
use crate::support::client::{RawAnswer, post_form, request};
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::Sidecar;

const MARK: (&str, &str) = ("X-M2M-Sidecar", "1");
const JSON: (&str, &str) = ("Content-Type", "application/json");

struct World {
    authority: Authority,
    sidecar: Sidecar,
}

async fn world_with(local_api: &str) -> World {
    let authority = Authority::start();
    authority.register_client("legacy", SECRET);
    let yaml = format!(
        r#"
stateDir: "@DIR@"
localApi: {{ listen: 127.0.0.1:0{local_api} }}
authorities: {{ users: {{ issuer: "{0}" }}, others: {{ issuer: "https://others.example" }} }}
credentials:
  hub: {{ authority: "{0}", clientID: legacy, clientSecretFile: "@DIR@/secret", localApi: true,
    audiences: [api] }}
  behalf: {{ authority: "{0}", clientID: legacy, clientSecretFile: "@DIR@/secret", localApi: true,
    audiences: [api], grant: tokenExchange }}
  hidden: {{ authority: "{0}", clientID: legacy, clientSecretFile: "@DIR@/secret",
    grant: tokenExchange }}
"#,
        authority.issuer()
    );
    let builder = Sidecar::builder().secret_file("secret", "legacy", SECRET);
    let sidecar = builder.start(&yaml).await;
    World { authority, sidecar }
}

async fn world() -> World {
    world_with(", audiences: [app]").await
}

impl World {
    async fn post(&self, path: &str, body: &Value) -> RawAnswer {
        let body = body.to_string();
        let api = self.sidecar.address("localApi");
        request("POST", api, path, &[MARK, JSON], body.as_bytes()).await
    }

    fn user(&self) -> crate::support::tokens::TokenBuilder {
        self.authority
            .token()
            .claim("sub", "ann")
            .claim("aud", "app")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_exchanges_the_token_of_its_caller() {
    let world = world().await;
    let user = world.user().sign();
    let body = json!({"identity_provider": "behalf", "target": "api", "user_token": user});
    for path in ["/exchange", "/api/v1/token/exchange"] {
        let answer = world.post(path, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json = answer.json();
        let issued = world.authority.issued();
        assert_eq!(json["access_token"], issued[0].as_str());
        assert_eq!(json["token_type"], "Bearer");
        assert!(json["expires_in"].as_u64().is_some());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    // Both paths have the same tokens, and so has a form.
    let api = world.sidecar.address("localApi");
    let form = [
        ("identity_provider", "behalf"),
        ("user_token", user.as_str()),
    ];
    let answer = post_form(api, "/exchange", &form, &[MARK]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let asked = world.authority.token_requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].all("subject_token"), [user.as_str()]);
    // The token of the program itself.
    let body = json!({"identity_provider": "hub", "target": "api"});
    let answer = world.post("/api/v1/token", &body).await;
    assert_eq!(
        answer.json()["access_token"],
        world.authority.issued()[1].as_str()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused() {
    let world = world().await;
    let user = world.user().sign();
    let exchange = |name: &str| json!({"identity_provider": name, "user_token": user});
    for (path, body, expected) in [
        ("/exchange", exchange("hidden"), (404, "not_found")),
        ("/exchange", exchange("hub"), (404, "not_found")),
        ("/exchange", exchange("unknown"), (404, "not_found")),
        ("/exchange", json!({"user_token": user}), (404, "not_found")),
        ("/api/v1/token", exchange("behalf"), (404, "not_found")),
        (
            "/exchange",
            json!({"identity_provider": "behalf"}),
            (400, "invalid_request"),
        ),
        (
            "/exchange",
            json!({"identity_provider": 5}),
            (400, "invalid_request"),
        ),
        ("/exchange", json!([]), (400, "invalid_request")),
        (
            "/exchange",
            json!({"identity_provider": "behalf", "user_token": user, "target": "x"}),
            (400, "invalid_target"),
        ),
    ] {
        let answer = world.post(path, &body).await;
        let json = answer.json();
        assert_eq!(
            (answer.status, json["error"].as_str()),
            (expected.0, Some(expected.1))
        );
    }
    let api = world.sidecar.address("localApi");
    let twice = format!("identity_provider=behalf&user_token={user}&user_token={user}");
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let answer = request("POST", api, "/exchange", &[MARK, form], twice.as_bytes()).await;
    assert_eq!(answer.status, 400);
    let body = exchange("behalf").to_string();
    let answer = request("POST", api, "/exchange", &[JSON], body.as_bytes()).await;
    assert_eq!(answer.status, 403, "the mark is missing");
    assert_eq!(
        request("GET", api, "/exchange", &[MARK], b"").await.status,
        405
    );
    assert_eq!(world.authority.fetches(Endpoint::Token), 0);
    // The authority's answer is passed on.
    world.authority.behave(Endpoint::Token, Behave::Status(500));
    let answer = world.post("/exchange", &exchange("behalf")).await;
    assert_eq!(
        (answer.status, answer.header("retry-after").is_some()),
        (503, true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_introspected() {
    let world = world().await;
    let user = || {
        world
            .user()
            .claim("active", "no")
            .claim("act", json!({"sub": "gateway"}))
    };
    let good = user().sign();
    for path in ["/introspect", "/api/v1/introspect"] {
        for body in [
            json!({"token": good}),
            json!({"identity_provider": "users", "token": good}),
        ] {
            let answer = world.post(path, &body).await;
            let json = answer.json();
            assert_eq!(
                (answer.status, &json["active"]),
                (200, &json!(true)),
                "{json}"
            );
            assert_eq!(
                (&json["sub"], &json["act"]["sub"]),
                (&json!("ann"), &json!("gateway"))
            );
        }
    }
    let alien = TestKey::generate("es256-1", Alg::ES256);
    for (name, token, error) in [
        ("users", user().expires_in(-120).sign(), "expired"),
        ("users", user().signed_by(&alien).sign(), "signature"),
        ("users", user().claim("aud", "another").sign(), "audience"),
        (
            "users",
            user().claim("cnf", json!({"jkt": "x"})).sign(),
            "sender_constrained",
        ),
        ("others", good.clone(), "unknown_issuer"),
        ("users", "opaque".to_owned(), "malformed_token"),
    ] {
        let body = json!({"identity_provider": name, "token": token});
        let answer = world.post("/introspect", &body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json(), json!({"active": false, "error": error}));
    }
    let body = json!({"identity_provider": "unknown", "token": good});
    assert_eq!(world.post("/introspect", &body).await.status, 404);
    assert_eq!(world.post("/introspect", &json!({})).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_audiences_no_token_is_introspected() {
    let world = world_with("").await;
    let body = json!({"token": world.user().sign()});
    let answer = world.post("/introspect", &body).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(answer.text().contains("`localApi.audiences`"));
}
