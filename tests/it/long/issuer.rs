//! The issuer over a long time: a million tokens, and two hundred kills.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use m2m_sidecar::for_tests::config;
use m2m_sidecar::for_tests::domain::clock::SystemClock;
use m2m_sidecar::for_tests::issuer::{Issuer, TokenRequest};
use m2m_sidecar::for_tests::jose::provider;
use m2m_sidecar::for_tests::store;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::commands;
use crate::issued::{SECRET, YAML, claims};

const MILLION: usize = 1_000_000;
const NAMED: usize = 20_000;
const DEATHS: usize = 200;

/// A directory with the configuration and its secret.
fn directory() -> (TempDir, String) {
    let dir = TempDir::new().expect("a temporary directory");
    std::fs::write(dir.path().join("secret"), SECRET).expect("a writable directory");
    let yaml = YAML
        .replace("@DIR@", &dir.path().display().to_string())
        .replace("@UPSTREAM@", "http://127.0.0.1:9");
    let file = dir.path().join("sidecar.yaml");
    std::fs::write(&file, format!("log: {{ encoding: json }}\n{yaml}"))
        .expect("a writable directory");
    let file = file.display().to_string();
    (dir, file)
}

/// The size of the store on disk.
fn bytes(dir: &Path) -> u64 {
    let of = |name: &str| std::fs::metadata(dir.join(name)).map_or(0, |file| file.len());
    of("m2m.db") + of("m2m.db-wal")
}

async fn issue_many(issuer: &Arc<Issuer>, body: &'static str, count: usize) -> f64 {
    let began = Instant::now();
    let workers = (0..64).map(|_| {
        let issuer = issuer.clone();
        tokio::spawn(async move {
            let mut headers = HeaderMap::new();
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
            for _ in 0..count / 64 {
                let request =
                    TokenRequest::parse(&headers, body.as_bytes()).expect("a token request");
                issuer.issue(&request, None).await.expect("a token");
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("no panic");
    }
    (count / 64 * 64) as f64 / began.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: minutes; prints rates and the store's size"]
async fn a_million_short_lived_tokens_leave_the_store_as_it_was() {
    provider::install();
    let (dir, file) = directory();
    let config = config::load(Path::new(&file), &|_| None)
        .unwrap_or_else(|e| panic!("{e}"))
        .config;
    let store = store::open(&config.store).await.expect("a store");
    let issuer = config.issuer.expect("an issuer").issuer;
    let issuer = Issuer::open(issuer, store, Arc::new(SystemClock))
        .await
        .expect("an issuer");
    let before = bytes(dir.path());
    let plain =
        "grant_type=client_credentials&client_id=plain&client_secret=a-secret-of-all-clients-here";
    let rate = issue_many(&issuer, plain, MILLION).await;
    let after = bytes(dir.path());
    println!(
        "{MILLION} short-lived tokens: {rate:.0}/s, the store had {before} bytes and has {after}"
    );
    assert_eq!(after, before, "they leave nothing");
    let named = "grant_type=client_credentials&client_id=plain&\
        client_secret=a-secret-of-all-clients-here&token_name=n";
    let rate = issue_many(&issuer, named, NAMED).await;
    let each = (bytes(dir.path()) - after) / NAMED as u64;
    println!("{NAMED} named tokens: {rate:.0}/s, {each} bytes each (with the write-ahead log)");
}

/// A sidecar in a process of its own, to be killed.
struct Process {
    child: Child,
    issuer: SocketAddr,
}

impl Process {
    fn start(file: &str) -> Self {
        let mut child = commands::sidecar(&["run", "--config", file])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let issuer = loop {
            let line = lines
                .next()
                .expect("it says where it listens")
                .expect("UTF-8");
            let line: Value =
                serde_json::from_str(&line).unwrap_or_else(|_| panic!("a JSON line: {line}"));
            if line["listener"] == "issuer" {
                break line["address"]
                    .as_str()
                    .expect("an address")
                    .parse()
                    .expect("an address");
            }
        };
        // The process must be able to continue writing.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, issuer }
    }

    /// Ends the process with SIGKILL.
    fn kill(mut self) {
        self.child.kill().expect("it ran");
        self.child.wait().expect("it is over");
    }
}

/// A request's status and JSON, if the answer came whole.
async fn ask(
    address: SocketAddr,
    path: &str,
    client: &str,
    form: &[(&str, &str)],
) -> Option<(u16, Value)> {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let basic = STANDARD.encode(format!("{client}:{SECRET}"));
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Basic \
        {basic}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let head = head.to_ascii_lowercase();
    let length: usize = head
        .split("content-length: ")
        .nth(1)?
        .lines()
        .next()?
        .trim()
        .parse()
        .ok()?;
    if body.len() != length {
        return None;
    }
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// The same for a request that only succeeds or gets no answer.
async fn done(
    address: SocketAddr,
    path: &str,
    client: &str,
    form: &[(&str, &str)],
) -> Option<Value> {
    let (status, answer) = ask(address, path, client, form).await?;
    assert_eq!(status, 200, "{path} {answer}");
    Some(answer)
}

fn member(answer: &Value, name: &str) -> String {
    answer[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name}"))
        .to_owned()
}

const NAMED_GRANT: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("token_name", "n")];

/// Issues named tokens until the process ends; returns the acknowledged ones.
async fn issuing(address: SocketAddr) -> Vec<String> {
    let mut issued = Vec::new();
    while let Some(answer) = done(address, "/oauth/token", "plain", &NAMED_GRANT).await {
        issued.push(member(&answer, "access_token"));
    }
    issued
}

/// Revokes tokens until the process ends; returns those with an acknowledged revocation. It has its
/// own client: a client with more than a thousand revocations loses all tokens.
async fn revoking(address: SocketAddr) -> Vec<String> {
    let mut revoked = Vec::new();
    while let Some(answer) = done(address, "/oauth/token", "other", &NAMED_GRANT).await {
        let token = member(&answer, "access_token");
        if done(address, "/oauth/revoke", "other", &[("token", &token)])
            .await
            .is_none()
        {
            break;
        }
        revoked.push(token);
    }
    revoked
}

/// The newest acknowledged refresh token of a family, and whether its answer was lost once: then
/// one more use is allowed.
#[derive(Clone)]
struct Family {
    newest: String,
    was_lost: bool,
}

/// Refreshes until the process ends.
async fn refreshing(address: SocketAddr, family: Option<Family>) -> Option<Family> {
    let mut family = match family {
        Some(family) => family,
        None => {
            let grant = [("grant_type", "client_credentials")];
            let answer = done(address, "/oauth/token", "fresh", &grant).await?;
            Family {
                newest: member(&answer, "refresh_token"),
                was_lost: false,
            }
        }
    };
    loop {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", family.newest.as_str()),
        ];
        match done(address, "/oauth/token", "fresh", &form).await {
            Some(answer) => {
                family = Family {
                    newest: member(&answer, "refresh_token"),
                    was_lost: false,
                };
            }
            None if family.was_lost => return None,
            None => {
                return Some(Family {
                    was_lost: true,
                    ..family
                });
            }
        }
    }
}

async fn is_active(address: SocketAddr, token: &str) -> bool {
    let answer = done(address, "/oauth/introspect", "auditor", &[("token", token)]).await;
    answer.expect("an answer")["active"] == true
}

async fn kept(dir: &Path) -> Vec<String> {
    use sqlx::Connection;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("m2m.db"));
    let mut database = sqlx::SqliteConnection::connect_with(&options)
        .await
        .expect("the database");
    sqlx::query_scalar("SELECT jti FROM tokens ORDER BY jti")
        .fetch_all(&mut database)
        .await
        .expect("the rows")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: minutes; kills a process two hundred times"]
async fn a_process_that_is_killed_at_any_moment_loses_nothing_it_acknowledged() {
    let (dir, file) = directory();
    let (mut issued, mut revoked) = (Vec::new(), Vec::new());
    let mut families: Vec<Option<Family>> = vec![None; 3];
    let mut rotated_over_a_death = 0;
    for _ in 0..DEATHS {
        let process = Process::start(&file);
        let address = process.issuer;
        rotated_over_a_death += families.iter().flatten().count();
        let work = async {
            tokio::join!(
                futures_util::future::join_all((0..3).map(|_| issuing(address))),
                futures_util::future::join_all((0..3).map(|_| revoking(address))),
                futures_util::future::join_all(
                    families.iter().cloned().map(|it| refreshing(address, it))
                ),
            )
        };
        let moment = Duration::from_micros(fastrand::u64(1_000..250_000));
        let killed = tokio::task::spawn_blocking(move || {
            std::thread::sleep(moment);
            process.kill();
        });
        let ((new, ended, used), death) = tokio::join!(work, killed);
        death.expect("it was killed");
        let (new, ended) = (new.concat(), ended.concat());
        families = used;
        // Right after the next start, before any other repair.
        let process = Process::start(&file);
        for token in &ended {
            assert!(
                !is_active(process.issuer, token).await,
                "revoked, and active again"
            );
        }
        for token in new.iter().rev().take(5) {
            assert!(
                is_active(process.issuer, token).await,
                "acknowledged, and not known"
            );
        }
        issued.extend(new);
        revoked.extend(ended);
        process.kill();
    }
    let rows = kept(dir.path()).await;
    let jti = |token: &String| member(&claims(token), "jti");
    for token in issued.iter().chain(&revoked) {
        assert!(
            rows.binary_search(&jti(token)).is_ok(),
            "acknowledged, and not kept"
        );
    }
    let process = Process::start(&file);
    for token in &revoked {
        assert!(
            !is_active(process.issuer, token).await,
            "revoked, and active again"
        );
    }
    process.kill();
    println!(
        "{DEATHS} deaths: {} tokens issued and {} revoked, all as acknowledged; \
        {rotated_over_a_death} refresh tokens used across one",
        issued.len(),
        revoked.len()
    );
    // On a busy machine many processes end before their first write; some must end during writes.
    let least = DEATHS / 4;
    assert!(issued.len() > least && revoked.len() > least && rotated_over_a_death > least);
}
