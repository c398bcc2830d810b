//! plgd's server as the sidecar stands in for it: the configuration that `import-plgd` makes of
//! plgd's own, and the users of plgd's mock OAuth server.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::commands::{ended, sidecar};
use crate::plgd::OWNER;
use crate::plgd::front::Front;
use crate::support::authority::{Authority, Endpoint};
use crate::support::clock::StandingClock;
use crate::support::keys::{Alg, TestKey};
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::tokens::TokenBuilder;
use m2m_sidecar::for_tests::domain::clock::Clock;

use super::vectors::Client;

/// The issuer of users as the recording has it.
pub const RECORDED_USERS: &str = "https://localhost:20009";

pub struct World {
    pub front: Front,
    pub clock: Arc<StandingClock>,
    pub users: Authority,
    pub sidecar: Sidecar,
    foreign: TestKey,
}

impl World {
    pub async fn start(clients: &[Client]) -> Self {
        let (users, clock) = (Authority::start_tls(), StandingClock::now());
        let signing_key = TestKey::generate("signing-key", Alg::ES256);
        let mut builder = Sidecar::builder()
            .clock(clock.clone())
            .file("users-ca.pem", users.ca_pem())
            .key_file("signing-key.pem", &signing_key.private_pem());
        for client in clients {
            let secret = client.secret.as_deref().unwrap_or_default();
            logs::remember_client_secret(&client.id, secret.trim_end());
            builder = builder.file(&client.id, secret);
        }
        let directory = builder.path("");
        let plgds = include_str!("m2m-oauth-server.yaml")
            .replace("@USERS@", &users.issuer())
            .replace("@DIR@", &directory.display().to_string());
        builder = builder.file("m2m-oauth-server.yaml", plgds);
        let sidecar = builder.start(&imported(&directory)).await;
        users.wait_for_fetches(Endpoint::Jwks, 1).await;
        let front = Front::to(sidecar.address("issuer")).await;
        Self {
            front,
            clock,
            users,
            sidecar,
            foreign: TestKey::generate("foreign", Alg::ES256),
        }
    }

    pub fn now(&self) -> i64 {
        self.clock.now().0
    }

    /// A user's token as the mock OAuth server makes it. Its `iss` ends with a slash, the issuer in
    /// the discovery document does not.
    pub fn user(&self, owner: &str) -> TokenBuilder {
        let issuer = format!("{}/", self.users.issuer());
        let now = self.now();
        self.users
            .token()
            .header("typ", "JWT")
            .without("jti")
            .claim("iss", issuer.clone())
            .claim("aud", vec![issuer])
            .claim("sub", owner)
            .claim(OWNER, owner)
            .claim("client_id", "test24h")
            .claim("scope", "")
            .claim("iat", now)
            .claim("exp", now + 86_400)
    }

    /// The tokens that the recording's `users` describes.
    pub fn user_tokens(&self) -> HashMap<String, String> {
        let user = || self.user("1");
        let now = self.now();
        let kid = "es256-1";
        let device = "https://plgd.dev/deviceId";
        let tokens = [
            ("user", user()),
            ("user2", self.user("2")),
            ("user3", self.user("3")),
            ("user_noexp", user().without("exp")),
            ("user3s", user().claim("exp", now + 3)),
            (
                "expired",
                user().claim("iat", now - 3600).claim("exp", now - 60),
            ),
            ("future", user().claim("iat", now + 30)),
            ("nbf", user().claim("nbf", now + 30)),
            ("noowner", user().without(OWNER)),
            ("owner42", user().claim(OWNER, 42)),
            ("owner_empty", user().claim(OWNER, "")),
            ("nosub", user().without("sub")),
            ("subx", user().claim("sub", "user-77")),
            ("device", user().claim(device, "dev-1")),
            ("device42", user().claim(device, 42)),
            (
                "pii",
                user()
                    .claim("email", "a@example.com")
                    .claim("address", serde_json::json!({ "street": "x" }))
                    .claim("groups", vec!["g1", "g2"]),
            ),
            ("big", user().claim("pad", "x".repeat(20_000))),
            (
                "badiss",
                user()
                    .claim("iss", "https://invalid-issuer")
                    .signed_by(&self.foreign),
            ),
            (
                "forged",
                user().signed_by(&self.foreign).header("kid", "forged"),
            ),
            (
                "forged_kid",
                user().signed_by(&self.foreign).header("kid", kid),
            ),
            (
                "forged_owner2",
                self.user("2").signed_by(&self.foreign).header("kid", kid),
            ),
            ("algnone", user().unsigned()),
        ];
        tokens
            .into_iter()
            .map(|(name, token)| (name.to_owned(), token.sign()))
            .collect()
    }
}

/// What `import-plgd` makes of plgd's configuration; only addresses and the place of the store are
/// others.
fn imported(directory: &Path) -> String {
    let mut command = sidecar(&["import-plgd", "m2m-oauth-server.yaml"]);
    let (code, out, err) = ended(
        &command
            .current_dir(directory)
            .output()
            .expect("the binary runs"),
    );
    assert_eq!(code, Some(0), "{err}");
    let there = |yaml: &str, from: &str, to: &str| {
        assert!(yaml.contains(from), "{from} is not in {yaml}");
        yaml.replace(from, to)
    };
    let yaml = there(&out, "127.0.0.1:20013", "127.0.0.1:0");
    there(&yaml, "/var/lib/m2m-sidecar", "@DIR@")
}
