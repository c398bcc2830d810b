//! Files that change while the sidecar runs.

mod every_key;
mod resolved;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{Connection, get, post_form, request_bytes};
use crate::support::clock::MovableClock;
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::upstream::Upstream;
use crate::support::{logs, until};

const FIRST: &str = "the-first-secret-of-the-file";
const SECOND: &str = "the-second-secret-of-the-file";
const THIRD: &str = "the-third-secret-of-the-file";
const ADMIN: &str = "the-first-admin-token-of-the-file";

/// An issuer whose client has its secret in `secret`, and the management API.
fn issuer(more: &str) -> String {
    format!(
        r#"
stateDir: "@DIR@/state"
store: {{ url: "sqlite::memory:" }}
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  clients: [{{ id: meter, secretFile: "@DIR@/secret", allowedScopes: [read] }}]
{more}
"#
    )
}

fn builder() -> SidecarBuilder {
    for secret in [SECOND, THIRD] {
        logs::remember_client_secret("meter", secret);
    }
    Sidecar::builder()
        .secret_file("secret", "meter", FIRST)
        .secret_file("admin", "admin", ADMIN)
}

async fn token_status(sidecar: &Sidecar, secret: &str) -> u16 {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "meter"),
        ("client_secret", secret),
    ];
    let answer = post_form(sidecar.address("issuer"), "/oauth/token", &form, &[]).await;
    if answer.status == 200 {
        logs::remember_secret(answer.json()["access_token"].as_str().expect("a token"));
    }
    answer.status
}

/// Replaces a file by renaming, as Kubernetes does with a mounted Secret.
fn replace(file: &Path, content: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, content).expect("a writable directory");
    std::fs::rename(next, file).expect("a writable directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_is_right_at_once_and_the_old_one_for_the_grace_period() {
    let clock = MovableClock::now();
    let sidecar = builder()
        .clock(clock.clone())
        .start(&issuer("  secretGrace: 10m"))
        .await;
    assert_eq!(token_status(&sidecar, FIRST).await, 200);
    assert_eq!(token_status(&sidecar, SECOND).await, 401);
    let mark = logs::mark();
    replace(&sidecar.path("secret"), &format!("{SECOND}\r\n"));
    // The next request already uses it, because a client may read the file before the sidecar.
    assert_eq!(token_status(&sidecar, SECOND).await, 200);
    assert_eq!(token_status(&sidecar, FIRST).await, 200);
    logs::wait_for_line(
        mark,
        &[" audit: ", "take_secret_file", "client_id=\"meter\""],
    )
    .await;
    clock.forward(Duration::from_secs(599));
    assert_eq!(token_status(&sidecar, FIRST).await, 200);
    clock.forward(Duration::from_secs(2));
    assert_eq!(token_status(&sidecar, FIRST).await, 401);
    assert_eq!(token_status(&sidecar, SECOND).await, 200);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_grace_the_old_secret_ends_with_the_change() {
    let sidecar = builder().start(&issuer("  secretGrace: 0s")).await;
    replace(&sidecar.path("secret"), SECOND);
    assert_eq!(token_status(&sidecar, SECOND).await, 200);
    assert_eq!(token_status(&sidecar, FIRST).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_no_secret_is_said_and_changes_nothing() {
    let sidecar = builder().start(&issuer("")).await;
    for (content, words) in [
        ("", "is empty"),
        ("two\nlines-of-something", "more than one line"),
        ("\u{feff}the-second-secret-of-the-file", "byte order mark"),
    ] {
        let mark = logs::mark();
        replace(&sidecar.path("secret"), content);
        logs::wait_for_line(mark, &["WARN", "client_id=\"meter\"", words]).await;
        assert_eq!(token_status(&sidecar, FIRST).await, 200);
        assert_eq!(token_status(&sidecar, SECOND).await, 401);
    }
    let mark = logs::mark();
    std::fs::remove_file(sidecar.path("secret")).expect("it is there");
    logs::wait_for_line(mark, &["WARN", "client_id=\"meter\"", "cannot be read"]).await;
    assert_eq!(token_status(&sidecar, FIRST).await, 200);
    replace(&sidecar.path("secret"), THIRD);
    assert_eq!(token_status(&sidecar, THIRD).await, 200);
    assert_eq!(token_status(&sidecar, FIRST).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_of_a_credential_and_of_a_client_changes_without_a_failed_request() {
    let upstream = Upstream::start();
    let more = format!(
        r#"
  accessTokenLifetime: 2s
credentials:
  hub: {{ tokenUrl: "http://127.0.0.1:PORT/oauth/token", clientID: meter,
    clientSecretFile: "@DIR@/secret" }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "{}", credential: hub }}
"#,
        upstream.url()
    );
    // The credential must name the issuer's port.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|taken| taken.local_addr())
        .expect("a port")
        .port();
    let yaml = issuer(&more).replace("PORT", &port.to_string());
    let yaml = yaml.replace(
        "url: http://issuer.test\n  listen: 127.0.0.1:0",
        &format!("url: http://issuer.test\n  listen: 127.0.0.1:{port}"),
    );
    let sidecar = builder().start(&yaml).await;
    let address = sidecar.address("hub");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let load = tokio::spawn(async move {
        let mut connection = Connection::open(address).await;
        let mut statuses = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            connection
                .send(request_bytes("GET", address, "/", &[], b""))
                .await;
            statuses.push(connection.answer().await.status);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        statuses
    });
    for secret in [SECOND, THIRD, FIRST] {
        let issued = upstream
            .received()
            .last()
            .and_then(|seen| seen.bearer().map(str::to_owned));
        replace(&sidecar.path("secret"), secret);
        until("a token of the new secret", async || {
            let seen = upstream.received();
            let bearer = seen.last().and_then(|seen| seen.bearer());
            bearer.is_some_and(|bearer| {
                logs::remember_secret(bearer);
                issued.as_deref() != Some(bearer)
            })
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    let statuses = load.await.expect("no panic");
    assert!(
        statuses.len() > 50 && statuses.iter().all(|status| *status == 200),
        "{statuses:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_admin_token_is_taken_and_the_old_one_counts_for_a_while() {
    let sidecar = builder().start(&issuer("")).await;
    let status = async |token: &str| {
        let bearer = format!("Bearer {token}");
        get(
            sidecar.address("admin"),
            "/clients",
            &[("Authorization", &bearer)],
        )
        .await
        .status
    };
    assert_eq!(status(ADMIN).await, 200);
    let mark = logs::mark();
    replace(&sidecar.path("admin"), "short");
    logs::wait_for_line(mark, &["WARN", "admin token", "cannot be used"]).await;
    assert_eq!(status("short").await, 401);
    let next = "the-second-admin-token-of-the-file";
    logs::remember_secret(next);
    replace(&sidecar.path("admin"), &format!("{next}\n"));
    logs::wait_for_line(mark, &["INFO", "admin token", "took over a changed file"]).await;
    assert_eq!((status(next).await, status(ADMIN).await), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_is_asked_with_the_secret_that_the_file_has_now() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.advertise("introspection_endpoint", "/introspect");
    let yaml = format!(
        r#"
stateDir: "@DIR@/state"
authorities: {{ users: {{ issuer: "{0}", revocation: {{ kind: introspection,
  credential: asker }} }} }}
credentials: {{ asker: {{ tokenUrl: "{0}/oauth/token", clientID: meter,
  clientSecretFile: "@DIR@/secret" }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{1}", authorities: [users], audiences: any,
      rules: [{{ paths: ["/**"] }}] }}
"#,
        authority.issuer(),
        upstream.url()
    );
    let sidecar = builder().start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    let mark = logs::mark();
    replace(&sidecar.path("secret"), SECOND);
    logs::wait_for_line(
        mark,
        &["introspection secret of users", "took over a changed file"],
    )
    .await;
    let bearer = format!("Bearer {}", authority.token().sign());
    get(sidecar.address("api"), "/", &[("Authorization", &bearer)]).await;
    let questions = authority.revocation_questions();
    let basic = STANDARD.encode(format!("meter:{SECOND}"));
    let asked = &questions.last().expect("a question").headers;
    assert!(
        asked.iter().any(|(_, value)| value.contains(&basic)),
        "asked with another secret"
    );
}
