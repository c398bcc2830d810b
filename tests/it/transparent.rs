//! A transparent listener, with redirected connections of real rules in a network namespace.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::commands::{ended, text};
use crate::support::client::get;
use crate::support::network::isolated;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

const CONFIGURATION: &str = r#"
log: { encoding: json }
stateDir: "@DIR@/state"
store: { url: "sqlite::memory:" }
probes: { listen: 127.0.0.1:9900 }
issuer:
  url: http://127.0.0.1:8080
  listen: 127.0.0.1:8080
  clients:
    - { id: legacy, secretFile: "@DIR@/secret", allowedGrantTypes: [client_credentials],
        allowedAudiences: ["https://devices.example"] }
authorities: { self: { issuer: http://127.0.0.1:8080 } }
inbound:
  - { name: devices, listen: 127.0.0.1:8081, upstream: http://127.0.0.1:9090, authorities: [self],
      audiences: ["https://devices.example"], identityHeaders: { x-m2m-client-id: client_id },
      rules: [{ paths: ["/**"] }] }
credentials:
  hub: { authority: http://127.0.0.1:8080, clientID: legacy, clientSecretFile: "@DIR@/secret" }
outbound:
  - name: redirected
    listen: localhost:15001
    transparent: true
    forwardProxy:
      targets:
        - { host: hub.example, upstream: "http://127.0.0.1:8081", credential: hub,
            paths: ["/api/**"] }
        - { host: 192.0.2.80, upstream: "http://127.0.0.1:8081", credential: hub }
"#;

/// The outcomes of the calls in `transparent.sh`; none if the machine cannot play them.
fn calls(rules: &str) -> Option<Vec<String>> {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().display().to_string();
    let write = |name: &str, content: &str, mode: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("a writable directory");
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("a file of ours");
    };
    let hosts = "127.0.0.1 localhost\n::1 localhost\n192.0.2.80 hub.example\n\
        2001:db8::80 hub.example\n";
    write("hosts", hosts, 0o644);
    write("secret", "a-secret-of-the-redirected", 0o600);
    write(
        "sidecar.yaml",
        &CONFIGURATION.replace("@DIR@", &path),
        0o644,
    );
    let mut command = isolated("unshare");
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["--mount", "sh", "tests/it/transparent.sh", rules])
        .args([env!("CARGO_BIN_EXE_m2m-sidecar"), &path]);
    let output = command.output().expect("a shell");
    let log = std::fs::read(dir.path().join("log")).unwrap_or_default();
    crate::support::logs::note(&text(&log));
    let (code, out, err) = ended(&output);
    if code == Some(77) || code == Some(1) && err.contains("unshare") {
        eprintln!("{rules}: {out}{err}");
        return None;
    }
    assert_eq!(code, Some(0), "{out}{err}{}", text(&log));
    Some(out.lines().map(str::to_owned).collect())
}

fn check(rules: &str) {
    let Some(lines) = calls(rules) else {
        return;
    };
    let with_token =
        |line: &str| line.contains("\"x-m2m-client-id\": \"legacy\"") && line.ends_with("200 ");
    let of = |call: &str| {
        let prefix = format!("{call}: ");
        let found = lines.iter().position(|line| line.starts_with(&prefix));
        // The body of the echo ends with a line feed.
        let found = found.map(|at| lines[at..].iter().take(2).map(String::as_str));
        found.map(|found| found.collect::<Vec<_>>().join(""))
    };
    for call in ["by name", "by name over IPv6", "over HTTP/2", "by address"] {
        let Some(outcome) = of(call) else {
            assert_eq!(call, "by name over IPv6", "{lines:?}");
            continue;
        };
        assert!(with_token(&outcome), "{call}: {outcome}");
    }
    for call in [
        "another path",
        "another address",
        "another host",
        "another port",
        "to this machine",
        "not redirected",
    ] {
        let outcome = of(call).unwrap_or_default();
        assert!(outcome.contains("403 destination"), "{call}: {outcome}");
    }
    let last = lines.iter().rev().take(2).collect::<Vec<_>>();
    let expected = [
        "\"to\":\"192.0.2.80:80\"",
        "let it call http:// instead of https://",
    ];
    assert_eq!(last, expected, "{lines:?}");
    let tunnel = of("a tunnel").unwrap_or_default();
    assert!(!with_token(&tunnel), "{tunnel}");
    let own = "the sidecar's own call was redirected";
    assert!(!lines.iter().any(|line| line == own));
}

#[test]
fn a_redirected_program_gets_a_token_for_targets_only() {
    check("nft");
}

#[test]
fn iptables_redirects_as_well() {
    check("iptables");
}

/// Without rules: a direct call must not loop.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_not_redirected_is_refused() {
    let upstream = Upstream::start();
    let yaml = format!(
        "credentials: {{ hub: {{ tokenUrl: \"{0}\", clientID: legacy, clientSecretFile: \
        \"@DIR@/secret\" }} }}\noutbound:\n  - name: redirected\n    listen: 127.0.0.1:0\n    \
        transparent: true\n    forwardProxy:\n      other: passThrough\n      targets: [{{ host: \
        127.0.0.1, upstream: \"{0}\", credential: hub }}]\n",
        upstream.url()
    );
    let files = Sidecar::builder().secret_file("secret", "legacy", "a-secret-of-the-redirected");
    let sidecar = files.start(&yaml).await;
    let address = sidecar.address("redirected");
    for target in ["/x", "http://127.0.0.1/x"] {
        let answer = get(address, target, &[("Host", "127.0.0.1")]).await;
        assert_eq!(answer.status, 403, "{target}");
        assert_eq!(answer.header("x-m2m-reason"), Some("destination"));
        assert!(answer.text().contains("transparent"), "{}", answer.text());
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn the_example_is_a_valid_configuration() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/transparent/sidecar.yaml");
    let yaml = std::fs::read_to_string(file).expect("a file of the repository");
    let dir = TempDir::new().expect("a directory");
    let secret = dir.path().join("hub");
    std::fs::write(&secret, "a-secret-of-the-example").expect("a writable directory");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("a file of ours");
    let yaml = yaml.replace("/run/secrets/hub", &secret.display().to_string());
    let config = dir.path().join("sidecar.yaml");
    std::fs::write(&config, yaml).expect("a writable directory");
    let check = Command::new(env!("CARGO_BIN_EXE_m2m-sidecar"))
        .args(["check", "--config"])
        .arg(config)
        .output();
    let (code, _, err) = ended(&check.expect("the binary runs"));
    assert_eq!((code, err.as_str()), (Some(0), ""));
}
