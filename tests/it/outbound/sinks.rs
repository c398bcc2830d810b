//! Tokens of every kind of credential in files, and tokens of logins that are not OAuth.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::authority::Authority;
use crate::support::client::get;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Answer, Received, Upstream};
use crate::support::{eventually, logs, until};

const SECRET: &str = "the-secret-of-the-client-with-a-sink";
const PASSWORD: &str = "the-password-of-the-login";

fn read(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).ok()
}

fn mode(file: &Path) -> u32 {
    let metadata = std::fs::metadata(file).expect("a file");
    metadata.permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_without_listeners_keeps_the_token_of_a_file_fresh() {
    let authority = Authority::start();
    authority.register_client("legacy", SECRET);
    authority.answer_tokens(|answer| answer.lifetime = Duration::from_secs(3));
    let yaml = format!(
        r#"
credentials:
  hub:
    authority: "{}"
    clientID: legacy
    clientSecretFile: "@DIR@/secret"
    sink: {{ path: "@DIR@/token", mode: "0640" }}
"#,
        authority.issuer()
    );
    let builder = Sidecar::builder().secret_file("secret", "legacy", SECRET);
    let sidecar = builder.start(&yaml).await;
    let file = sidecar.path("token");
    let first = eventually("the token is written", async || read(&file)).await;
    assert_eq!(mode(&file), 0o640);
    assert_eq!(first, authority.issued()[0]);
    // The new one is there before the old one ends.
    until("the next token is written", async || {
        read(&file).as_ref() != Some(&first)
    })
    .await;
    assert!(authority.issued().contains(&read(&file).expect("a file")));
    // A volume that was emptied is filled again.
    std::fs::remove_file(&file).expect("a file of ours");
    until("the file is back", async || file.exists()).await;
    // The file outlives the sidecar.
    let stopped = sidecar.stop_keeping_state().await;
    assert!(stopped.path("token").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_to_write_is_reported_and_mended() {
    let upstream = Upstream::start();
    logs::remember_secret("the-api-key-in-two-files");
    let yaml = format!(
        r#"
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
probes: {{ listen: 127.0.0.1:0 }}
credentials:
  hub:
    tokenFile: "@DIR@/key"
    sink: {{ path: "@DIR@/later/token", format: execCredential }}
outbound: [{{ name: hub, listen: "127.0.0.1:0", upstream: "{}", credential: hub }}]
"#,
        upstream.url()
    );
    let sidecar = Sidecar::builder()
        .file("key", "the-api-key-in-two-files\n")
        .secret_file("admin", "admin", "the-admin-token-of-sinks")
        .start(&yaml)
        .await;
    let status = async || {
        let bearer = ("Authorization", "Bearer the-admin-token-of-sinks");
        let status = get(sidecar.address("admin"), "/status", &[bearer]).await;
        status.json()["credentials"][0]["sink"].clone()
    };
    let error = eventually("the failure is reported", async || {
        status().await["last_error"].as_str().map(str::to_owned)
    });
    assert!(error.await.contains("later/token: "));
    assert_eq!(status().await["written_at"], Value::Null);
    // Requests do not depend on the file.
    assert_eq!(get(sidecar.address("hub"), "/", &[]).await.status, 200);
    let metric = "m2m_token_file_writes_total{credential=\"hub\",result=\"error\"}";
    let metrics = get(sidecar.address("probes"), "/metrics", &[]).await.text();
    assert!(metrics.contains(metric), "{metrics}");
    std::fs::create_dir(sidecar.path("later")).expect("a writable directory");
    let file = sidecar.path("later/token");
    let written = eventually("the file is written", async || read(&file)).await;
    let written: Value = serde_json::from_str(&written).expect("JSON");
    assert_eq!(written["kind"], "ExecCredential");
    assert_eq!(written["status"]["token"], "the-api-key-in-two-files");
    assert_eq!(mode(&file), 0o600);
    until("the status is good", async || {
        let status = status().await;
        status["last_error"] == Value::Null && status["written_at"].is_string()
    })
    .await;
}

/// A login that answers with its next token to the right password.
fn login(received: &Received) -> Answer {
    let body: Value = serde_json::from_slice(&received.body).unwrap_or_default();
    let right = json!({ "auth": { "user": "sidecar", "password": PASSWORD } });
    if received.method == "POST" && body == right {
        let token = r#"{"data":{"token":"token-of-the-login-7","seconds":600}}"#;
        Answer::with_headers(&[("Content-Type", "application/json")], token)
    } else {
        Answer::status(401, &format!("{} is wrong", body["auth"]["password"]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_not_oauth_gives_a_token_like_any_other() {
    let (vendor, upstream) = (Upstream::start(), Upstream::start());
    vendor.answer(login);
    for secret in [PASSWORD, "a-wrong-password", "token-of-the-login-7"] {
        logs::remember_secret(secret);
    }
    let yaml = format!(
        r#"
credentials:
  vendor:
    login:
      url: "{}/login?hint=1"
      body: {{ json: {{ auth: {{ user: sidecar, password: {{ valueFile: "@DIR@/password" }} }} }} }}
      token: /data/token
      expiresIn: /data/seconds
    sink: {{ path: "@DIR@/token", format: json }}
outbound:
  - name: vendor
    listen: 127.0.0.1:0
    upstream: "{}"
    credential: vendor
    header: X-Auth-Token
    prefix: ""
"#,
        vendor.url(),
        upstream.url()
    );
    let builder = Sidecar::builder().file("password", "a-wrong-password");
    let sidecar = builder.start(&yaml).await;
    let refused = get(sidecar.address("vendor"), "/", &[]).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("x-m2m-reason"), Some("token_unavailable"));
    // The right password takes effect at once.
    std::fs::write(sidecar.path("password"), format!("{PASSWORD}\n")).expect("a file");
    until("a request passes", async || {
        get(sidecar.address("vendor"), "/", &[]).await.status == 200
    })
    .await;
    let seen = &upstream.received()[0];
    assert_eq!(seen.header("x-auth-token"), Some("token-of-the-login-7"));
    let file = sidecar.path("token");
    let written = eventually("the token is written", async || read(&file)).await;
    let written: Value = serde_json::from_str(&written).expect("JSON");
    assert_eq!(written["access_token"], "token-of-the-login-7");
    // A hundred requests, one login.
    let logins = vendor.received().len();
    let requests = (0..100).map(|_| get(sidecar.address("vendor"), "/", &[]));
    let answers = futures_util::future::join_all(requests).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(vendor.received().len(), logins);
}
