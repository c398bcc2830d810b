//! Tokens in files that another program keeps fresh, in a header or in the query.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::authority::Authority;
use crate::support::client::{RawAnswer, get};
use crate::support::clock::MovableClock;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Answer, Upstream};
use crate::support::{logs, until};
use m2m_sidecar::for_tests::domain::clock::{Clock, SystemClock};

/// A token with this id that expires in so many seconds.
fn token(authority: &Authority, jti: &str, expires_in: i64) -> String {
    let token = authority.token().claim("jti", jti).expires_in(expires_in);
    let token = token.sign();
    logs::remember_secret(&token);
    token
}

struct World {
    upstream: Upstream,
    sidecar: Sidecar,
}

async fn world(content: &str, listener: &str) -> World {
    world_at(Arc::new(SystemClock), content, listener).await
}

async fn world_at(clock: Arc<dyn Clock>, content: &str, listener: &str) -> World {
    let upstream = Upstream::start();
    let yaml = format!(
        r#"
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
credentials:
  hub: {{ tokenFile: "@DIR@/token" }}
outbound:
  - name: hub
    listen: 127.0.0.1:0
    upstream: "{}"
    credential: hub
{listener}
"#,
        upstream.url()
    );
    let sidecar = Sidecar::builder()
        .file("token", content)
        .secret_file("admin", "admin", "the-admin-token-of-token-files")
        .clock(clock)
        .start(&yaml)
        .await;
    World { upstream, sidecar }
}

impl World {
    async fn get(&self, target: &str) -> RawAnswer {
        get(self.sidecar.address("hub"), target, &[]).await
    }

    /// The bearer token of the last request.
    fn last_bearer(&self) -> Option<String> {
        let received = self.upstream.received();
        let last = received.last()?;
        last.bearer().map(str::to_owned)
    }

    async fn status(&self) -> serde_json::Value {
        let bearer = ("Authorization", "Bearer the-admin-token-of-token-files");
        let status = get(self.sidecar.address("admin"), "/status", &[bearer]).await;
        status.json()["credentials"][0].clone()
    }

    /// Waits until requests carry this token.
    async fn until_sent(&self, token: &str) {
        until("the new token is sent", async || {
            assert_eq!(self.get("/").await.status, 200);
            self.last_bearer().as_deref() == Some(token)
        })
        .await;
    }
}

/// Replaces a file by renaming.
fn replace(file: &Path, content: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, content).expect("a writable directory");
    std::fs::rename(next, file).expect("a writable directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_a_file_is_sent_and_a_new_one_takes_its_place() {
    let authority = Authority::start();
    let (first, second) = (token(&authority, "1", 600), token(&authority, "2", 600));
    let world = world(&format!("{first}\n"), "").await;
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.last_bearer(), Some(first));
    replace(&world.sidecar.path("token"), &second);
    world.until_sent(&second).await;
    // A write that is not finished does not end the token in use.
    let file = world.sidecar.path("token");
    let third = token(&authority, "3", 600);
    for half in ["", &third[..third.len() - 5]] {
        std::fs::write(&file, half).expect("a writable file");
        until("the failure is seen", async || {
            let error = world.status().await["last_error"].clone();
            let text = if half.is_empty() {
                "empty"
            } else {
                "is being written"
            };
            error.as_str().is_some_and(|error| error.contains(text))
        })
        .await;
        assert_eq!(world.get("/").await.status, 200);
        assert_eq!(world.last_bearer().as_ref(), Some(&second));
    }
    std::fs::write(&file, &third).expect("a writable file");
    world.until_sent(&third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projected_volume_of_kubernetes_is_followed() {
    let authority = Authority::start();
    let (first, second) = (token(&authority, "1", 600), token(&authority, "2", 600));
    let upstream = Upstream::start();
    let builder = Sidecar::builder();
    let volume = builder.path("volume");
    let put = |round: &str, token: &str| {
        let dir = volume.join(round);
        std::fs::create_dir_all(&dir).expect("a writable directory");
        std::fs::write(dir.join("token"), token).expect("a writable directory");
        std::os::unix::fs::symlink(round, volume.join("..data_tmp")).expect("a new link");
        std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("a link");
    };
    put("..2026_1", &first);
    std::os::unix::fs::symlink("..data/token", volume.join("token")).expect("a new link");
    let yaml = format!(
        r#"
credentials: {{ hub: {{ tokenFile: "@DIR@/volume/token" }} }}
outbound: [{{ name: hub, listen: "127.0.0.1:0", upstream: "{}", credential: hub }}]
"#,
        upstream.url()
    );
    let sidecar = builder.start(&yaml).await;
    let world = World { upstream, sidecar };
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.last_bearer(), Some(first));
    put("..2026_2", &second);
    world.until_sent(&second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_not_sent_and_the_answer_says_why() {
    let authority = Authority::start();
    let clock = MovableClock::now();
    let first = token(&authority, "1", 60);
    let world = world_at(clock.clone(), &first, "").await;
    assert_eq!(world.get("/").await.status, 200);
    clock.forward(Duration::from_secs(61));
    let refused = world.get("/").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("x-m2m-reason"), Some("token_file"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(world.upstream.received().len(), 1);
    let status = world.status().await;
    let error = status["last_error"].as_str().expect("an error");
    let file = world.sidecar.path("token").display().to_string();
    assert!(
        error.contains(&file) && error.contains("expired"),
        "{error}"
    );
    assert_eq!(status["last_error_code"], "expired");
    // The other program works again.
    let second = token(&authority, "2", 600);
    replace(&world.sidecar.path("token"), &second);
    until("the new token is sent", async || {
        world.get("/").await.status == 200
    })
    .await;
    assert_eq!(world.last_bearer(), Some(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_waited_for() {
    let upstream = Upstream::start();
    let yaml = format!(
        r#"
credentials: {{ hub: {{ tokenFile: "@DIR@/token" }} }}
outbound: [{{ name: hub, listen: "127.0.0.1:0", upstream: "{}", credential: hub }}]
"#,
        upstream.url()
    );
    let sidecar = Sidecar::start(&yaml).await;
    let world = World { upstream, sidecar };
    let refused = world.get("/").await;
    assert_eq!(refused.header("x-m2m-reason"), Some("token_file"));
    logs::remember_secret("the-key-of-a-late-program");
    replace(&world.sidecar.path("token"), "the-key-of-a-late-program");
    until("the token is sent", async || {
        world.get("/").await.status == 200
    })
    .await;
    assert_eq!(
        world.last_bearer().as_deref(),
        Some("the-key-of-a-late-program")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_read_again_before_the_one_retry() {
    let authority = Authority::start();
    let (first, second) = (token(&authority, "1", 600), token(&authority, "2", 600));
    let world = world(&first, "").await;
    assert_eq!(world.get("/").await.status, 200);
    let accepted = format!("Bearer {second}");
    world.upstream.answer(move |seen| {
        if seen.header("authorization") == Some(&accepted) {
            Answer::Echo
        } else {
            Answer::status(401, "refused")
        }
    });
    // The same token again: the refusal stands.
    assert_eq!(world.get("/").await.status, 401);
    assert_eq!(world.upstream.received().len(), 2);
    replace(&world.sidecar.path("token"), &second);
    until("a request passes", async || {
        world.get("/").await.status == 200
    })
    .await;
    assert_eq!(world.last_bearer(), Some(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_query_replaces_that_of_the_request_and_is_logged_nowhere() {
    let key = "k3y/of+a=vendor-and-long-enough";
    let encoded = "k3y%2Fof%2Ba%3Dvendor-and-long-enough";
    logs::remember_secret(key);
    logs::remember_secret(encoded);
    let world = world(key, "    query: api_key").await;
    world.upstream.answer(|seen| {
        let location = format!("{}&page=2", seen.target);
        Answer::Reply(302, vec![("Location".to_owned(), location)], Vec::new())
    });
    let answer = world.get("/a?x=%2F&API_KEY=mine&api%5Fkey=mine").await;
    let received = world.upstream.received();
    assert_eq!(received[0].target, format!("/a?x=%2F&api_key={encoded}"));
    assert_eq!(received[0].header("authorization"), None);
    assert_eq!(answer.header("location"), Some("/a?x=%2F&page=2"));
    world.get("/b").await;
    let received = world.upstream.received();
    assert_eq!(received[1].target, format!("/b?api_key={encoded}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_keep_its_own_parameter() {
    logs::remember_secret("the-key-of-this-vendor");
    let listener = "    query: key\n    overwrite: false";
    let world = world("the-key-of-this-vendor", listener).await;
    assert_eq!(world.get("/?key=own").await.status, 200);
    assert_eq!(world.get("/?x=1").await.status, 200);
    let received = world.upstream.received();
    assert_eq!(received[0].target, "/?key=own");
    assert_eq!(received[1].target, "/?x=1&key=the-key-of-this-vendor");
}
