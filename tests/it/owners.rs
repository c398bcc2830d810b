//! The owner and the device of a token, which a request chooses within the registration of its
//! client.

mod choices;
mod networks;
mod stored;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::issued::claims;
use crate::support::client::{RawAnswer, post_form, request};
use crate::support::logs;
use crate::support::sidecar::{Sidecar, SidecarBuilder};

const SECRET: &str = "a-secret-of-the-provisioning";
const ADMIN: &str = "an-admin-token-of-the-tests";
const GRANT: (&str, &str) = ("grant_type", "client_credentials");
const OWNER: &str = "https://plgd.dev/owner";
const DEVICE: &str = "https://plgd.dev/deviceId";
const CLIENTS: [&str; 6] = ["dps", "fixed", "any", "devices", "named", "inside"];

/// An issuer of this profile with `more` lines and the clients of these tests.
fn yaml(profile: &str, more: &str) -> String {
    format!(
        r#"
stateDir: "@DIR@/state"
store: {{ url: "sqlite:@DIR@/m2m.db" }}
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
issuer:
  url: http://issuer.test/m2m
  listen: 127.0.0.1:0
  profile: {profile}
  ownerClaim: {OWNER}
  deviceIDClaim: {DEVICE}
{more}
  clients:
    - {{ id: dps, secretFile: "@DIR@/secret", allowedOwners: ["7", "tenant-*"], allowDeviceId: true,
        allowedGrantTypes: [client_credentials, refresh_token] }}
    - {{ id: fixed, secretFile: "@DIR@/secret", owner: "1" }}
    - {{ id: any, secretFile: "@DIR@/secret", owner: "1", allowedOwners: ["*"] }}
    - {{ id: devices, secretFile: "@DIR@/secret", owner: "1", allowDeviceId: true }}
    - {{ id: named, secretFile: "@DIR@/secret", owner: "*", allowedOwners: ["2"] }}
    - {{ id: inside, secretFile: "@DIR@/secret", allowedNetworks: [10.0.0.0/8, "2001:db8::1"],
        allowedGrantTypes: [client_credentials, refresh_token] }}
"#
    )
}

fn builder() -> SidecarBuilder {
    let builder = Sidecar::builder().secret_file("admin", "admin", ADMIN);
    CLIENTS.into_iter().fold(builder, |builder, id| {
        builder.secret_file("secret", id, SECRET)
    })
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn remembered(answer: RawAnswer) -> RawAnswer {
    if answer.status == 200 {
        for member in ["access_token", "refresh_token", "accessToken"] {
            if let Some(token) = answer.json()[member].as_str() {
                logs::remember_secret(token);
            }
        }
    }
    answer
}

/// A token request of a client.
async fn ask(sidecar: &Sidecar, id: &str, form: &[(&str, &str)]) -> RawAnswer {
    let form = [&[GRANT], form].concat();
    let authorization = basic(id, SECRET);
    let headers = [("Authorization", authorization.as_str())];
    let address = sidecar.address("issuer");
    remembered(post_form(address, "/m2m/oauth/token", &form, &headers).await)
}

/// The same as JSON, at the token endpoint or at the tokens API.
async fn ask_json(sidecar: &Sidecar, path: &str, id: &str, body: &str) -> RawAnswer {
    let authorization = basic(id, SECRET);
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    let address = sidecar.address("issuer");
    remembered(request("POST", address, path, &headers, body.as_bytes()).await)
}

fn claims_of(answer: &RawAnswer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let token = body["access_token"].as_str();
    claims(token.or(body["accessToken"].as_str()).expect("a token"))
}

/// The status, the error and its description.
fn refusal(answer: &RawAnswer) -> (u16, String, String) {
    let body = answer.json();
    let text = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
    assert!(body.get("access_token").is_none(), "{body}");
    (answer.status, text("error"), text("error_description"))
}

async fn admin(sidecar: &Sidecar, method: &str, target: &str, body: &Value) -> RawAnswer {
    let bearer = format!("Bearer {ADMIN}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    request(
        method,
        sidecar.address("admin"),
        target,
        &headers,
        body.as_bytes(),
    )
    .await
}
