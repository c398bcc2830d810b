//! A sidecar that renews its own secret at our issuer.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::client::{RawAnswer, get, post_form, request};
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::upstream::Upstream;
use crate::support::{logs, until};

const ADMIN_TOKEN: &str = "the-admin-token-of-the-rotation";

struct Issuer {
    sidecar: Sidecar,
}

impl Issuer {
    async fn start() -> Self {
        let yaml = r#"
stateDir: "@DIR@"
store: { url: "sqlite:@DIR@/m2m.db" }
admin: { listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }
issuer: { url: "http://issuer.test", listen: 127.0.0.1:0 }
"#;
        let sidecar = Sidecar::builder()
            .secret_file("admin", "admin", ADMIN_TOKEN)
            .start(yaml)
            .await;
        Self { sidecar }
    }

    async fn call(&self, method: &str, target: &str, body: Value) -> RawAnswer {
        let authorization = format!("Bearer {ADMIN_TOKEN}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
        ];
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        request(
            method,
            self.sidecar.address("admin"),
            target,
            &headers,
            &body,
        )
        .await
    }

    async fn secrets(&self) -> Vec<Value> {
        self.call("GET", "/clients/legacy/secrets", Value::Null)
            .await
            .json()["secrets"]
            .as_array()
            .unwrap()
            .clone()
    }

    async fn takes(&self, secret: &str) -> bool {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", "legacy"),
            ("client_secret", secret),
        ];
        post_form(self.sidecar.address("issuer"), "/oauth/token", &fields, &[])
            .await
            .status
            == 200
    }
}

/// A sidecar whose secret is two hours old and may get one hour old.
async fn client(
    files: SidecarBuilder,
    issuer: &Issuer,
    upstream: &Upstream,
    secret: &str,
    grace: &str,
) -> Sidecar {
    let yaml = yaml(issuer, upstream, "@DIR@/secrets/hub", grace);
    let dir = files.path("secrets");
    std::fs::create_dir(&dir).unwrap();
    let files = files
        .secret_file("admin", "admin", ADMIN_TOKEN)
        .secret_file("secrets/hub", "legacy", secret);
    let path = dir.join("hub");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    age(&path);
    files.start(&yaml).await
}

fn yaml(issuer: &Issuer, upstream: &Upstream, file: &str, grace: &str) -> String {
    format!(
        r#"
stateDir: "@DIR@"
credentials:
  hub:
    tokenUrl: "http://{}/oauth/token"
    clientID: legacy
    clientSecretFile: "{file}"
    rotateSecret: {{ admin: "http://{}", adminTokenFile: "@DIR@/admin", every: 1h, grace: {grace} }}
outbound: [{{ name: hub, listen: 127.0.0.1:0, upstream: "{}", credential: hub }}]
"#,
        issuer.sidecar.address("issuer"),
        issuer.sidecar.address("admin"),
        upstream.url(),
    )
}

#[expect(clippy::disallowed_methods, reason = "the age of a real file")]
fn age(path: &std::path::Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(7200))
        .unwrap();
}

async fn new_client(issuer: &Issuer) -> String {
    let made = issuer
        .call("POST", "/clients", json!({ "client_id": "legacy" }))
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let secret = made.json()["client_secret"].as_str().unwrap().to_owned();
    logs::remember_client_secret("legacy", &secret);
    secret
}

fn in_file(sidecar: &Sidecar) -> String {
    let text = std::fs::read_to_string(sidecar.path("secrets/hub")).unwrap();
    let secret = text.trim_end().to_owned();
    logs::remember_client_secret("legacy", &secret);
    secret
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_secret_is_replaced_and_no_request_fails_meanwhile() {
    let issuer = Issuer::start().await;
    let old = new_client(&issuer).await;
    let upstream = Upstream::start();
    let sidecar = client(Sidecar::builder(), &issuer, &upstream, &old, "0s").await;
    until("the old secret is gone", async || {
        assert_eq!(get(sidecar.address("hub"), "/", &[]).await.status, 200);
        // In this order: before the file has the new secret, the old one is the only one too.
        in_file(&sidecar) != old && issuer.secrets().await.len() == 1
    })
    .await;
    let new = in_file(&sidecar);
    assert!(issuer.takes(&new).await && !issuer.takes(&old).await);
    let path = sidecar.path("secrets/hub");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640,
        "the owner stays"
    );
    assert!(
        std::fs::read_to_string(&path).unwrap().ends_with('\n'),
        "as it was written"
    );
    assert_eq!(
        std::fs::read_dir(sidecar.path("secrets")).unwrap().count(),
        1,
        "nothing is left lying about"
    );
    // A restart finds all done.
    until("a request passes with the new secret", async || {
        get(sidecar.address("hub"), "/", &[]).await.status == 200
    })
    .await;
    let id = issuer.secrets().await[0]["id"].clone();
    assert_eq!(issuer.secrets().await[0]["id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_secret_goes_only_when_the_credential_asks_with_the_new_one() {
    let issuer = Issuer::start().await;
    let old = new_client(&issuer).await;
    let upstream = Upstream::start();
    let sidecar = client(Sidecar::builder(), &issuer, &upstream, &old, "0s").await;
    // The first request comes in the moment in which the file has the new secret: it needs a token,
    // and gets it.
    until("the file has a new one", async || in_file(&sidecar) != old).await;
    let new = in_file(&sidecar);
    assert!(
        issuer.takes(&old).await,
        "others who read the file may still use it"
    );
    until("the old secret is gone", async || {
        assert_eq!(get(sidecar.address("hub"), "/", &[]).await.status, 200);
        issuer.secrets().await.len() == 1
    })
    .await;
    assert!(issuer.takes(&new).await && !issuer.takes(&old).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn during_the_grace_the_old_secret_stays_valid() {
    let issuer = Issuer::start().await;
    let old = new_client(&issuer).await;
    let upstream = Upstream::start();
    let sidecar = client(Sidecar::builder(), &issuer, &upstream, &old, "30m").await;
    until("the file has a new one", async || in_file(&sidecar) != old).await;
    assert!(issuer.takes(&old).await && issuer.takes(&in_file(&sidecar)).await);
    assert_eq!(issuer.secrets().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_rotation_is_reverted_and_the_old_secret_stays() {
    // The client is disabled: a new secret can be created, but brings no token.
    let issuer = Issuer::start().await;
    let old = new_client(&issuer).await;
    assert_eq!(
        issuer
            .call("PATCH", "/clients/legacy", json!({ "disabled": true }))
            .await
            .status,
        200
    );
    let upstream = Upstream::start();
    let mark = logs::mark();
    let sidecar = client(Sidecar::builder(), &issuer, &upstream, &old, "0s").await;
    logs::wait_for_line(
        mark,
        &["could not be renewed", "the new secret brings no token"],
    )
    .await;
    assert_eq!(in_file(&sidecar), old);
    let left = issuer.secrets().await;
    assert_eq!(left.len(), 1);
    assert!(
        left[0]["expires_at"].is_null(),
        "nothing was promised about it"
    );
    assert_eq!(
        issuer
            .call("PATCH", "/clients/legacy", json!({ "disabled": false }))
            .await
            .status,
        200
    );
    assert!(issuer.takes(&old).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sidecars_of_one_file_renew_it_once_and_another_secret_stays() {
    let issuer = Issuer::start().await;
    let old = new_client(&issuer).await;
    let made = issuer
        .call(
            "POST",
            "/clients/legacy/secrets",
            json!({ "keep_others": true }),
        )
        .await;
    let others = made.json()["client_secret"].as_str().unwrap().to_owned();
    logs::remember_client_secret("legacy", &others);
    assert!(issuer.takes(&old).await && issuer.takes(&others).await);
    let upstream = Upstream::start();
    let first = client(Sidecar::builder(), &issuer, &upstream, &old, "0s").await;
    let file = first.path("secrets/hub");
    let second = yaml(&issuer, &upstream, file.to_str().unwrap(), "0s");
    let second = Sidecar::builder()
        .secret_file("admin", "admin", ADMIN_TOKEN)
        .start(&second)
        .await;
    until("the old secret is gone", async || {
        let kept = issuer.secrets().await.len() == 2 && in_file(&first) != old;
        kept && !issuer.takes(&old).await
    })
    .await;
    assert!(issuer.takes(&in_file(&first)).await && issuer.takes(&others).await);
    for sidecar in [&first, &second] {
        until("each has the new one", async || {
            get(sidecar.address("hub"), "/", &[]).await.status == 200
        })
        .await;
    }
    assert_eq!(issuer.secrets().await.len(), 2);
}
