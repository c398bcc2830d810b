//! Calls a protected API from Rust with the `oauth2` crate.
//!
//! Shows: discovery from the issuer's metadata, the client credentials grant with an audience, the call with the token.
//! A program that keeps running reuses the token for `expires_in`, then gets a new one.
//!
//! Needs: Rust. Run it from the root of the clone, while the sidecar of `conf/quickstart.yaml` runs:
//!
//!     cargo run --quiet --manifest-path examples/rust/Cargo.toml
//!
//! Environment, with these defaults: `ISSUER_URL` (http://127.0.0.1:8080), `API_URL`
//! (http://127.0.0.1:8081/api/v1/devices), `CLIENT_ID` (legacy), `CLIENT_SECRET_FILE` (data/legacy-secret), `SCOPE`
//! (devices:read), `AUDIENCE` (https://devices.example).

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use oauth2::basic::BasicClient;
use oauth2::{AccessToken, ClientId, ClientSecret, HttpRequest, HttpResponse, RequestTokenError, Scope};
use oauth2::{TokenResponse, TokenUrl, http};
use serde::Deserialize;
use ureq::Agent;

/// The needed members of the issuer's metadata (RFC 8414).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    token_endpoint: TokenUrl,
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn discover(http: &Agent, issuer: &str) -> Result<Metadata, Box<dyn Error>> {
    let url = format!("{issuer}/.well-known/openid-configuration");
    let metadata: Metadata = serde_json::from_str(&get(http, &url, None)?)?;
    // Otherwise another server's answer could send the secret elsewhere.
    if metadata.issuer != issuer {
        return Err(format!("the metadata of {issuer} is that of {}", metadata.issuer).into());
    }
    Ok(metadata)
}

fn fetch_token(http: &Agent, token_url: TokenUrl) -> Result<AccessToken, Box<dyn Error>> {
    let file = setting("CLIENT_SECRET_FILE", "data/legacy-secret");
    let secret = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let send = |request: HttpRequest| -> Result<HttpResponse, ureq::Error> {
        let (head, mut body) = http.run(request)?.into_parts();
        Ok(http::Response::from_parts(head, body.read_to_vec()?))
    };
    let answer = BasicClient::new(ClientId::new(setting("CLIENT_ID", "legacy")))
        .set_client_secret(ClientSecret::new(secret.trim_end().to_owned()))
        .set_token_uri(token_url)
        .exchange_client_credentials()
        .add_scope(Scope::new(setting("SCOPE", "devices:read")))
        .add_extra_param("audience", setting("AUDIENCE", "https://devices.example"))
        .request(&send)
        .map_err(|error| match error {
            RequestTokenError::ServerResponse(refusal) => format!("no token: {refusal}"),
            RequestTokenError::Request(error) => format!("no token: {error}"),
            other => format!("no token: {other}"),
        })?;
    Ok(answer.access_token().clone())
}

/// Returns the body of a URL; a status other than 200 is an error.
fn get(http: &Agent, url: &str, token: Option<&AccessToken>) -> Result<String, Box<dyn Error>> {
    let mut request = http.get(url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {}", token.secret()));
    }
    let mut answer = request.call().map_err(|error| format!("{url}: {error}"))?;
    let body = answer.body_mut().read_to_string()?;
    if answer.status() == http::StatusCode::OK {
        Ok(body)
    } else {
        Err(format!("{url} answered {}: {}", answer.status(), body.trim_end()).into())
    }
}

fn run() -> Result<String, Box<dyn Error>> {
    // A redirect could carry the secret or the token to another server. A refusal's reason is in its body.
    let http: Agent = Agent::config_builder()
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into();
    let metadata = discover(&http, &setting("ISSUER_URL", "http://127.0.0.1:8080"))?;
    let token = fetch_token(&http, metadata.token_endpoint)?;
    get(&http, &setting("API_URL", "http://127.0.0.1:8081/api/v1/devices"), Some(&token))
}

fn main() -> ExitCode {
    match run() {
        Ok(answer) => {
            print!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("call-api: {error}");
            ExitCode::FAILURE
        }
    }
}
