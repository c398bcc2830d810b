//! Tokens that are bound to a key: DPoP proofs (RFC 9449), client certificates (RFC 8705), and the
//! metadata of a listener (RFC 9728).

mod certificates;
mod decisions;
mod metadata;
mod nonces;
mod proof;
mod proofs;
mod requests;
mod websockets;

use std::net::SocketAddr;
use std::sync::Arc;

use m2m_sidecar::for_tests::domain::clock::{Clock, SystemClock};
use serde_json::json;

use self::proof::{Draft, thumbprint};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, request};
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::Sidecar;
use crate::support::tokens::TokenBuilder;
use crate::support::upstream::Upstream;
use crate::support::{AUDIENCE, now};

/// A listener `api`, and a client with a key.
struct World {
    authority: Authority,
    upstream: Upstream,
    sidecar: Sidecar,
    key: TestKey,
    yaml: String,
}

impl World {
    /// With these further keys of the listener.
    async fn new(keys: &str) -> Self {
        Self::with_clock(keys, Arc::new(SystemClock)).await
    }

    async fn with_clock(keys: &str, clock: Arc<dyn Clock>) -> Self {
        let (authority, upstream) = (Authority::start(), Upstream::start());
        let yaml = format!(
            r#"
authorities: {{ users: {{ issuer: "{}" }} }}
stateDir: "@DIR@"
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{}"
    authorities: [users]
    audiences: [{AUDIENCE}]
    rules:
      - {{ paths: [/public], access: public }}
      - {{ paths: [/optional], access: optional }}
      - {{ paths: [/admin], scopes: ["devices:admin"] }}
      - {{ paths: ["/**"], scopes: ["devices:read"] }}
{keys}
"#,
            authority.issuer(),
            upstream.url()
        );
        let sidecar = Sidecar::builder().clock(clock).start(&yaml).await;
        authority.wait_for_fetches(Endpoint::Jwks, 1).await;
        Self {
            authority,
            upstream,
            sidecar,
            key: TestKey::generate("client", Alg::ES256),
            yaml,
        }
    }

    fn address(&self) -> SocketAddr {
        self.sidecar.address("api")
    }

    /// The URL of a path of the listener.
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// A token that is bound to the client's key.
    fn token(&self) -> String {
        self.draft().sign()
    }

    fn draft(&self) -> TokenBuilder {
        let cnf = json!({ "jkt": thumbprint(&self.key) });
        self.authority.token().claim("cnf", cnf)
    }

    /// The right proof for a GET of this path.
    fn proof(&self, path: &str, token: &str) -> Draft {
        Draft::new(&self.key, "GET", &self.url(path), token, now())
    }

    async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> RawAnswer {
        request(method, self.address(), path, fields, b"").await
    }

    /// A GET with a token of the scheme DPoP and these proofs.
    async fn get(&self, path: &str, token: &str, proofs: &[&str]) -> RawAnswer {
        let authorization = format!("DPoP {token}");
        let proofs = proofs.iter().map(|proof| ("DPoP", *proof));
        let fields = [("Authorization", authorization.as_str())];
        let fields: Vec<_> = fields.into_iter().chain(proofs).collect();
        self.ask("GET", path, &fields).await
    }
}

/// The status and the reason of an answer; `-` if the service gave it.
fn outcome(answer: &RawAnswer) -> (u16, &str) {
    (answer.status, answer.header("x-m2m-reason").unwrap_or("-"))
}

/// The challenge of an answer.
fn challenge(answer: &RawAnswer) -> &str {
    answer.header("www-authenticate").unwrap_or_default()
}
