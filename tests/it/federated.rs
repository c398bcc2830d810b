//! Clients without secrets: they authenticate by a JWT or a certificate of their platform.

mod chain;
mod hostile;
mod managed;
mod spiffe;

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::support::client::{RawAnswer, post_form};
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::tokens::TokenBuilder;

const ISSUER: &str = "https://issuer.test";
const JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const SVID: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// A configuration with these clients and authorities, one a line.
fn yaml(clients: &[&str], authorities: &[&str]) -> String {
    let mut text = format!(
        "stateDir: \"@DIR@\"\nstore: {{ url: \"sqlite::memory:\" }}\nissuer:\n  url: {ISSUER}\n  \
         listen: 127.0.0.1:0\n  clients:\n"
    );
    for client in clients {
        let _ = writeln!(text, "    - {{ {client} }}");
    }
    text.push_str("authorities:\n");
    for authority in authorities {
        let _ = writeln!(text, "  {authority}");
    }
    text
}

async fn post(sidecar: &Sidecar, path: &str, fields: &[(&str, &str)]) -> RawAnswer {
    let answer = post_form(sidecar.address("issuer"), path, fields, &[]).await;
    if answer.status == 200
        && let Some(token) = answer.json()["access_token"].as_str()
    {
        logs::remember_secret(token);
    }
    answer
}

/// A token request with an assertion of this type, perhaps with a client id.
async fn ask(sidecar: &Sidecar, of_type: &str, jwt: &str, id: Option<&str>) -> RawAnswer {
    let mut fields = vec![
        ("grant_type", "client_credentials"),
        ("client_assertion_type", of_type),
        ("client_assertion", jwt),
    ];
    fields.extend(id.map(|id| ("client_id", id)));
    post(sidecar, "/oauth/token", &fields).await
}

/// The client that gets a token, or the error.
async fn client_of(
    sidecar: &Sidecar,
    of_type: &str,
    jwt: TokenBuilder,
    id: Option<&str>,
) -> String {
    let jwt = jwt.sign();
    logs::remember_secret(&jwt);
    let answer = ask(sidecar, of_type, &jwt, id).await;
    let json = answer.json();
    match json["access_token"].as_str() {
        Some(token) => payload(token)["client_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        None => format!(
            "{} {}",
            answer.status,
            json["error"].as_str().unwrap_or_default()
        ),
    }
}

/// The claims of a token.
fn payload(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a payload");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("claims")
}
