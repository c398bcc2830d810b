//! Token exchange (RFC 8693) at the issuer, over real sockets.

mod attacks;
mod chain;
mod grants;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::support::authority::Authority;
use crate::support::client::{RawAnswer, post_form};
use crate::support::logs;
use crate::support::sidecar::Sidecar;

pub(crate) const ISSUER: &str = "http://issuer.test";
const SECRET: &str = "a-secret-of-all-exchanging-clients";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// `caller` gets a token for `gateway`, which exchanges it for one for `orders`, which exchanges it
/// for one for `stock`. `portal` exchanges tokens of the users.
const YAML: &str = r#"
stateDir: "@DIR@"
store: { url: "sqlite:@DIR@/m2m.db" }
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  accessTokenLifetime: 15m
  deviceIDClaim: device
  clients:
    - { id: caller, secretFile: "@DIR@/caller", owner: "7", allowedScopes: [read, write],
        allowedAudiences: [gateway, elsewhere], accessTokenLifetime: 5m, allowDeviceId: true }
    - { id: bounded, secretFile: "@DIR@/bounded", allowedAudiences: [gateway],
        insertTokenClaims: { may_act: { sub: gateway }, tenant: acme } }
    - { id: mistrustful, secretFile: "@DIR@/mistrustful", allowedAudiences: [gateway],
        insertTokenClaims: { may_act: { sub: another } } }
    - id: gateway
      secretFile: "@DIR@/gateway"
      allowedGrantTypes: [client_credentials, "urn:ietf:params:oauth:grant-type:token-exchange"]
      allowedScopes: [read, write, audit]
      allowedAudiences: [orders, stock, bank]
      exchange:
        subjects: [{ authority: self }]
        audiences: [orders, stock]
        addedScopes: [audit]
    - id: orders
      secretFile: "@DIR@/orders"
      allowedGrantTypes: ["urn:ietf:params:oauth:grant-type:token-exchange"]
      allowedScopes: [read]
      allowedAudiences: [stock]
      exchange: { subjects: [{ authority: self }], maxDepth: 2 }
    - id: stock
      secretFile: "@DIR@/stock"
      allowedGrantTypes: ["urn:ietf:params:oauth:grant-type:token-exchange"]
      allowedAudiences: [orders]
      exchange: { subjects: [{ authority: self }], maxDepth: 2 }
    - id: shallow
      secretFile: "@DIR@/shallow"
      allowedGrantTypes: ["urn:ietf:params:oauth:grant-type:token-exchange"]
      allowedAudiences: [stock]
      exchange: { subjects: [{ authority: self, audiences: [orders] }] }
    - id: portal
      secretFile: "@DIR@/portal"
      allowedGrantTypes: ["urn:ietf:params:oauth:grant-type:token-exchange"]
      allowedScopes: [read]
      allowedAudiences: [orders]
      exchange:
        subjects:
          - { authority: users, subject: "u-*", audiences: [app], claims: { tenant: [acme, 5] } }
          - { authority: users, subject: ann, audiences: [app], idTokens: true }
        actors: [{ authority: users, subject: robot, audiences: [app] }]
        maxDepth: 2
authorities:
  users: { issuer: "@USERS@" }
  foreign: { issuer: "@FOREIGN@" }
"#;

struct World {
    sidecar: Sidecar,
    users: Authority,
    foreign: Authority,
}

impl World {
    async fn start() -> Self {
        let (users, foreign) = (Authority::start(), Authority::start());
        let yaml = YAML
            .replace("@USERS@", &users.issuer())
            .replace("@FOREIGN@", &foreign.issuer());
        let clients = [
            "caller",
            "bounded",
            "mistrustful",
            "gateway",
            "orders",
            "stock",
            "shallow",
            "portal",
        ];
        let builder = clients.into_iter().fold(Sidecar::builder(), |builder, id| {
            builder.secret_file(id, id, SECRET)
        });
        let sidecar = builder.start(&yaml).await;
        Self {
            sidecar,
            users,
            foreign,
        }
    }

    async fn ask(&self, client: &str, form: &[(&str, &str)]) -> RawAnswer {
        let basic = format!("Basic {}", STANDARD.encode(format!("{client}:{SECRET}")));
        let headers = [("Authorization", basic.as_str())];
        let issuer = self.sidecar.address("issuer");
        let answer = post_form(issuer, "/oauth/token", form, &headers).await;
        if answer.status == 200
            && let Some(token) = answer.json()["access_token"].as_str()
        {
            logs::remember_secret(token);
        }
        answer
    }

    /// A token of `client` for itself.
    async fn token_of(&self, client: &str, form: &[(&str, &str)]) -> String {
        let form = [&[("grant_type", "client_credentials")], form].concat();
        text(&self.ask(client, &form).await, "access_token")
    }

    async fn exchange(&self, client: &str, subject: &str, form: &[(&str, &str)]) -> RawAnswer {
        let mut all = vec![("grant_type", GRANT), ("subject_token", subject)];
        if !form.iter().any(|(name, _)| *name == "subject_token_type") {
            all.push(("subject_token_type", ACCESS_TOKEN));
        }
        all.extend(form);
        self.ask(client, &all).await
    }
}

fn text(answer: &RawAnswer, member: &str) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let text = json[member].as_str();
    text.unwrap_or_else(|| panic!("no {member} in {json}"))
        .to_owned()
}

fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("JSON")
}

fn claims(answer: &RawAnswer) -> Value {
    claims_of(&text(answer, "access_token"))
}

/// Status, error code and description.
fn error(answer: &RawAnswer) -> (u16, String, String) {
    let json = answer.json();
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("error"), text("error_description"))
}

/// Checks that an answer has this code, and a description with this text.
fn assert_refused(answer: &RawAnswer, code: &str, description: &str) {
    let (status, found, said) = error(answer);
    assert_eq!(
        (status, found.as_str()),
        (400, code),
        "{description}: {said}"
    );
    assert!(
        said.contains(description),
        "{description:?} is not in {said:?}"
    );
}
