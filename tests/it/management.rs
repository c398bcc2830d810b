//! The management API over real sockets: the life of a client, the guards, the commands.

mod clock;
mod clock_ahead;
mod commands;
mod exchange;
mod expiry;
mod foreign;
mod guards;
mod ids;
mod key_sets;
mod keys;
mod life;
mod load;
mod registration;
mod secrets;
mod tokens;

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::client::{RawAnswer, get, post_form, request};
use crate::support::logs;
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::upstream::Upstream;

const ADMIN_TOKEN: &str = "an-admin-token-of-the-tests";
const CONFIGURED_SECRET: &str = "a-secret-of-the-configured-client";

/// An issuer with a client of its own, a listener that trusts it, and the management API.
fn yaml(upstream: &Upstream) -> String {
    format!(
        r#"
stateDir: "@DIR@/state"
store: {{ url: "sqlite:@DIR@/m2m.db" }}
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin", hosts: [admin.example] }}
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  clients: [{{ id: configured, secretFile: "@DIR@/configured", allowedScopes: [read] }}]
authorities: {{ self: {{ issuer: http://issuer.test }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [self], audiences: any,
      rules: [{{ paths: ["/**"] }}] }}
"#,
        upstream.url()
    )
}

fn files(builder: SidecarBuilder) -> SidecarBuilder {
    builder
        .secret_file("admin", "admin", ADMIN_TOKEN)
        .secret_file("configured", "configured", CONFIGURED_SECRET)
}

/// A sidecar and its upstream.
struct World {
    upstream: Upstream,
    sidecar: Sidecar,
}

impl World {
    async fn start() -> Self {
        Self::start_from(Sidecar::builder()).await
    }

    async fn start_from(builder: SidecarBuilder) -> Self {
        let upstream = Upstream::start();
        let sidecar = files(builder).start(&yaml(&upstream)).await;
        Self { upstream, sidecar }
    }

    fn admin(&self) -> SocketAddr {
        self.sidecar.address("admin")
    }

    /// A request of the administrator. Whatever secret comes back is looked for in all logs from
    /// then on.
    async fn call(&self, method: &str, target: &str, body: Value) -> RawAnswer {
        call(self.admin(), method, target, &body).await
    }

    async fn get(&self, target: &str) -> RawAnswer {
        self.call("GET", target, Value::Null).await
    }

    /// Makes a client, and gives its secret.
    async fn create(&self, body: Value) -> String {
        let answer = self.call("POST", "/clients", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["client_secret"]
            .as_str()
            .expect("a secret")
            .to_owned()
    }

    /// Asks for a token.
    async fn token(&self, id: &str, secret: &str) -> RawAnswer {
        let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        let grant = [("grant_type", "client_credentials")];
        let address = self.sidecar.address("issuer");
        let answer = post_form(
            address,
            "/oauth/token",
            &grant,
            &[("Authorization", &basic)],
        )
        .await;
        if answer.status == 200 {
            logs::remember_secret(answer.json()["access_token"].as_str().expect("a token"));
        }
        answer
    }

    async fn good_token(&self, id: &str, secret: &str) -> String {
        let answer = self.token(id, secret).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"]
            .as_str()
            .expect("a token")
            .to_owned()
    }

    /// The answer of the protected service's listener to a token: status and reason.
    async fn check_token(&self, token: &str) -> (u16, String) {
        let bearer = format!("Bearer {token}");
        let answer = get(
            self.sidecar.address("api"),
            "/",
            &[("Authorization", &bearer)],
        )
        .await;
        (
            answer.status,
            answer.header("x-m2m-reason").unwrap_or("-").to_owned(),
        )
    }
}

async fn call(admin: SocketAddr, method: &str, target: &str, body: &Value) -> RawAnswer {
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let mut headers = vec![("Authorization", bearer.as_str())];
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    if !body.is_empty() {
        headers.push(("Content-Type", "application/json"));
    }
    let answer = request(method, admin, target, &headers, body.as_bytes()).await;
    if answer.status == 201 {
        let answer = answer.json();
        if let Some(secret) = answer["client_secret"].as_str() {
            logs::remember_client_secret(answer["client_id"].as_str().unwrap_or_default(), secret);
        }
    }
    answer
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

/// The names of the members that a refusal complains about.
fn fields(answer: &RawAnswer) -> Vec<String> {
    let details = answer.json()["details"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    details
        .iter()
        .map(|detail| detail["field"].as_str().expect("a name").to_owned())
        .collect()
}

fn error(answer: &RawAnswer) -> (u16, String) {
    (
        answer.status,
        answer.json()["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    )
}

fn meter() -> Value {
    json!({ "client_id": "meter", "scope": "devices:read", "audience": ["https://devices.example"] })
}
