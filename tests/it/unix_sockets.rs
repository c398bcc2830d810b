//! Listeners on sockets in the file system: permissions, files that are left, peers, commands.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tokio::net::UnixStream;

use crate::commands::{ended, sidecar as command};
use crate::support::certificates::{CertificateAuthority, TlsClient};
use crate::support::client::{Connection, RawAnswer};
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::upstream::Upstream;
use crate::support::{WAIT_LIMIT, logs};

/// Every kind of listener, each on a socket in the file system.
fn yaml(upstream: &str, api: &str) -> String {
    format!(
        r#"
stateDir: "@DIR@/state"
store: {{ url: "sqlite::memory:" }}
probes: {{ listen: "unix:@DIR@/probes" }}
admin: {{ listen: "unix:@DIR@/admin" }}
issuer:
  url: http://issuer.test
  listen: unix:@DIR@/issuer
  clients: [{{ id: legacy, secretFile: "@DIR@/secret" }}]
authorities: {{ self: {{ issuer: http://issuer.test }} }}
inbound:
  - {{ name: api, listen: "unix:@DIR@/api{api}", upstream: "{upstream}", authorities: [self],
      audiences: any, trustedProxies: [10.0.0.0/8], rules: [{{ paths: ["/**"], access: public }}] }}
credentials: {{ hub: {{ tokenUrl: "{upstream}/token", clientID: legacy,
  clientSecretFile: "@DIR@/secret", localApi: true }} }}
outbound:
  - {{ name: hub, listen: "unix:@DIR@/hub", upstream: "{upstream}", credential: hub,
      overwrite: false }}
localApi: {{ listen: "unix:@DIR@/local" }}
"#
    )
}

fn builder() -> SidecarBuilder {
    Sidecar::builder().secret_file("secret", "legacy", "a-secret-of-the-unix-tests")
}

fn mode(path: &Path) -> u32 {
    let metadata = std::fs::metadata(path).expect("a socket");
    metadata.permissions().mode() & 0o777
}

/// Sends a GET to a socket and reads the answer.
async fn ask(path: &Path, target: &str, fields: &str) -> RawAnswer {
    let stream = UnixStream::connect(path).await.expect("a listener");
    let mut connection = Connection::over(stream);
    connection
        .send(format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
        ))
        .await;
    connection.answer().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_listener_can_be_a_socket_in_the_file_system() {
    let upstream = Upstream::start();
    let mark = logs::mark();
    let sidecar = builder().start(&yaml(&upstream.url(), "")).await;
    for (name, target, fields, status, permissions) in [
        ("probes", "/readyz", "", 200, 0o660),
        ("admin", "/status", "", 200, 0o600),
        ("issuer", "/.well-known/jwks.json", "", 200, 0o660),
        ("api", "/x", "X-Forwarded-For: 1.2.3.4\r\n", 200, 0o660),
        ("hub", "/x", "Authorization: Bearer own\r\n", 200, 0o660),
        ("local", "/token/none", "X-M2M-Sidecar: 1\r\n", 404, 0o600),
    ] {
        let path = sidecar.path(name);
        let answer = ask(&path, target, fields).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert_eq!(mode(&path), permissions, "{name}");
        if name == "admin" {
            let listeners = answer.json()["listeners"].clone();
            let api = format!("unix:{}", sidecar.path("api").display());
            assert!(listeners.to_string().contains(&api), "{listeners}");
        }
        if name == "api" {
            let received = upstream.received().pop().expect("a request");
            assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
        }
    }
    let (uid, pid) = (rustix::process::getuid().as_raw(), std::process::id());
    let peer = format!("peer=unix uid={uid} pid={pid} method=\"GET\" path=\"/x\"");
    logs::wait_for_line(mark, &["listener=\"api\"", &peer]).await;
    let paths: Vec<_> = ["probes", "admin", "issuer", "api", "hub", "local"]
        .map(|name| sidecar.path(name))
        .into();
    let kept = sidecar.stop_keeping_state().await;
    for path in paths {
        assert!(!path.exists(), "{}", path.display());
    }
    drop(kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_left_socket_is_replaced_and_a_live_one_is_refused() {
    let upstream = Upstream::start();
    let builder = builder();
    let left = std::os::unix::net::UnixListener::bind(builder.path("api")).expect("a socket");
    drop(left);
    let mut sidecar = builder.start(&yaml(&upstream.url(), "")).await;
    let path = sidecar.path("api");
    assert_eq!(ask(&path, "/x", "").await.status, 200);
    let mut other = yaml(&upstream.url(), "");
    other = other.replace("@DIR@/api", &path.display().to_string());
    let refused = self::builder()
        .try_start(&other)
        .await
        .err()
        .expect("it is in use");
    let said = format!(
        "cannot listen on unix:{}: another process listens there",
        path.display()
    );
    assert!(refused.contains(&said), "{refused}");
    assert_eq!(ask(&path, "/x", "").await.status, 200);
    // Other permissions take effect without a break.
    let stricter = yaml(&upstream.url(), ",mode=0600,owner=root:root");
    sidecar.replace(&stricter).await.expect("it is valid");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(ask(&path, "/x", "").await.status, 200);
    let without = stricter.replace("unix:@DIR@/api,mode=0600,owner=root:root", "127.0.0.1:0");
    sidecar.replace(&without).await.expect("it is valid");
    assert!(!path.exists());
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_works_as_over_tcp_and_also_with_tls() {
    let authority = CertificateAuthority::new("the servers' authority");
    let pair = authority.server(&["api.test"]);
    let upstream = Upstream::start();
    let tls = "tls: { certFile: \"@DIR@/tls.crt\", keyFile: \"@DIR@/tls.key\" }, upstream";
    let text = yaml(&upstream.url(), "").replace("upstream: \"http", &format!("{tls}: \"http"));
    let sidecar = builder()
        .file("tls.crt", &pair.cert_pem)
        .file("tls.key", &pair.key_pem)
        .start(&text)
        .await;
    let stream = UnixStream::connect(sidecar.path("api"))
        .await
        .expect("a listener");
    let mut connection = TlsClient::trusting(&authority.pem)
        .over(stream, "api.test")
        .await;
    let body = vec![b'a'; 500_000];
    let head = format!(
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    for _ in 0..2 {
        connection.send(&head).await;
        connection.send(&body).await;
        let answer = connection.answer().await;
        assert_eq!(answer.json()["bodyBytes"], body.len());
    }
    connection.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    connection.finish_sending().await;
    assert_eq!(connection.answer().await.status, 200);
    assert!(connection.is_ended().await);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_find_a_socket_in_the_configuration_and_need_no_token() {
    let upstream = Upstream::start();
    let sidecar = builder().start(&yaml(&upstream.url(), "")).await;
    let text = yaml(&upstream.url(), "").replace("@DIR@", &sidecar.dir().display().to_string());
    let config = sidecar.path("commands.yaml");
    std::fs::write(&config, text).expect("a writable directory");
    let config = config.display().to_string();
    for arguments in [
        vec!["healthcheck", "--config", &config],
        vec!["client", "create", "--id", "meter", "--config", &config],
        vec!["client", "list", "--config", &config],
    ] {
        let run = |arguments: &[&str]| command(arguments).output().expect("the binary runs");
        let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
        let shown = arguments.clone();
        let ran = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            run(&arguments)
        });
        let output = tokio::time::timeout(WAIT_LIMIT, ran)
            .await
            .expect("it ends");
        let (code, _, err) = ended(&output.expect("no panic"));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{shown:?}");
    }
    assert!(!sidecar.path("state/admin-token").exists());
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_processes_of_allowed_users_may_connect() {
    let upstream = Upstream::start();
    let mark = logs::mark();
    let own = Path::new("/proc/self").metadata().expect("procfs").uid();
    let others = format!(",allowedUids=daemon:{}", own + 1);
    let mut sidecar = builder().start(&yaml(&upstream.url(), &others)).await;
    let stream = UnixStream::connect(sidecar.path("api")).await;
    let mut connection = Connection::over(stream.expect("a listener"));
    connection.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(connection.is_ended().await, "it gets no answer");
    let line = logs::wait_for_line(mark, &["WARN", "listener=\"api\"", "allowedUids"]).await;
    assert!(line.contains(&format!("uid={own}")), "{line}");
    assert!(upstream.received().is_empty());
    let counted = "m2m_connections_closed_total{role=\"inbound\",listener=\"api\",\
        reason=\"refused_peer\"} 1";
    let metrics = ask(&sidecar.path("probes"), "/metrics", "").await.text();
    assert!(metrics.contains(counted), "{metrics}");
    let with_own = format!(",allowedUids=daemon:{own}");
    let allowed = yaml(&upstream.url(), &with_own);
    sidecar.replace(&allowed).await.expect("it is valid");
    let answer = ask(&sidecar.path("api"), "/x", "").await;
    assert_eq!(answer.status, 200);
    let unknown = yaml(&upstream.url(), ",allowedUids=no-such-user-here");
    let error = sidecar
        .replace(&unknown)
        .await
        .expect_err("no user has the name");
    let expected = "api: /etc/passwd has no user `no-such-user-here`";
    assert!(error.contains(expected), "{error}");
    let answer = ask(&sidecar.path("api"), "/x", "").await;
    assert_eq!(answer.status, 200);
}
