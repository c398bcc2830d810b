//! The commands, as a shell sees them: output, errors, exit codes.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;

use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::Behave;
use crate::support::network::isolated;
use crate::support::{lock, logs};

/// Held by tests that look for free ports.
static FREE_PORTS: Mutex<()> = Mutex::new(());

pub fn sidecar(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m2m-sidecar"));
    command
        .args(arguments)
        .env_remove("M2M_SIDECAR_CONFIG")
        .stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    sidecar(arguments).output().expect("the binary runs")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Exit code, standard output, standard error; what was printed as an error is searched for secrets
/// later.
pub fn ended(output: &Output) -> (Option<i32>, String, String) {
    logs::note(&text(&output.stderr));
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn file(dir: &TempDir, name: &str, content: &str) -> String {
    let path = dir.path().join(name);
    let content = content.replace("@DIR@", &dir.path().display().to_string());
    std::fs::write(&path, content).expect("a writable directory");
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file of ours");
    path.display().to_string()
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &[][..],
        &["run"],
        &["nonsense"],
        &["check", "--nonsense"],
        &["keygen", "--algorithm", "HS256"],
    ] {
        let (code, out, err) = ended(&run(arguments));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(!err.is_empty());
    }
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn check_reports_every_error_with_line_and_key_and_exits_with_1() {
    let dir = TempDir::new().expect("a directory");
    let bad = file(
        &dir,
        "bad.yaml",
        "prob: {}\ninbound:\n  - name: api\n    listen: nowhere\n    upstream: ftp://x\n    \
        audience: [a]\nstore: { url: \"postgres://x/y\" }\noutbound:\n  - { name: hub, \
        listen: 127.0.0.1:0, upstream: \"http://x\", credential: missing }\n",
    );
    let (code, out, err) = ended(&run(&["check", "--config", &bad]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    for part in [
        "bad.yaml:1",
        "probes",
        "bad.yaml:4",
        "inbound[0].listen",
        "bad.yaml:5",
        "audiences",
        "not supported yet",
        "missing",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    let (code, _, err) = ended(&run(&["check", "--config", "/nowhere/at/all.yaml"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("/nowhere/at/all.yaml"), "{err}");
}

#[test]
fn check_prints_its_findings_as_json() {
    let dir = TempDir::new().expect("a directory");
    let bad = file(&dir, "bad.yaml", "prob: {}\nthreads: x\n");
    let (code, out, err) = ended(&run(&["check", "--json", "--config", &bad]));
    let said: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, err.as_str(), &said["ok"]),
        (Some(1), "", &false.into())
    );
    let keys: Vec<_> = said["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| (&it["key"], &it["line"]))
        .collect();
    assert!(
        keys.contains(&(&"prob".into(), &1.into()))
            && keys.contains(&(&"threads".into(), &2.into())),
        "{out}"
    );
    let good = file(
        &dir,
        "good.yaml",
        "probes: { listen: 127.0.0.1:0 }\n\
        issuer: { url: http://127.0.0.1:1, listen: 127.0.0.1:1 }\n",
    );
    let (code, out, _) = ended(&run(&["check", "--json", "--config", &good]));
    let said: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &said["ok"], &said["errors"]),
        (Some(0), &true.into(), &serde_json::json!([])),
        "{out}"
    );
}

#[test]
fn check_warns_of_secrets_and_tokens_that_can_be_read_on_the_way() {
    let dir = TempDir::new().expect("a directory");
    file(&dir, "secret", "a-secret-of-16-bytes");
    let yaml = |host: &str| {
        format!(
            "credentials: {{ hub: {{ tokenUrl: \"http://{host}/token\", clientID: a, \
            clientSecretFile: \"@DIR@/secret\" }} }}\n\
            outbound: [{{ name: hub, listen: 127.0.0.1:0, upstream: \"http://{host}\", \
            credential: hub }}]\n"
        )
    };
    let (code, _, err) = ended(&run(&[
        "check",
        "--config",
        &file(&dir, "far.yaml", &yaml("hub.example")),
    ]));
    assert_eq!(code, Some(0));
    assert_eq!(err.matches("warning: ").count(), 2, "{err}");
    assert!(
        err.contains("credentials.hub") && err.contains("outbound[0].upstream"),
        "{err}"
    );
    for near in ["127.0.0.1:8080", "localhost", "[::1]:80"] {
        let (code, _, err) = ended(&run(&[
            "check",
            "--config",
            &file(&dir, "near.yaml", &yaml(near)),
        ]));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{near}");
    }
}

/// As when an edit is half done, or a secret is being rotated, while the process runs on with what
/// it read.
#[test]
fn healthcheck_looks_at_nothing_but_the_probes() {
    let dir = TempDir::new().expect("a directory");
    let config = file(
        &dir,
        "c.yaml",
        "probes: { listen: 127.0.0.1:1 }\n\
        issuer: { url: http://a, clients: [{ id: x, secretFile: /nowhere }] }\n",
    );
    let (code, out, err) = ended(&run(&["healthcheck", "--config", &config]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.contains("no answer: http://127.0.0.1:1/readyz: nothing listens there"),
        "{err}"
    );
    let config = file(&dir, "d.yaml", "probes: { listen: here }\n");
    let (code, _, err) = ended(&run(&["healthcheck", "--config", &config]));
    assert_eq!(code, Some(1));
    assert!(err.contains("probes.listen"), "{err}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_result_that_cannot_be_written_is_no_success() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let output = sidecar(&["keygen"])
        .stdout(full)
        .output()
        .expect("the binary runs");
    let (code, _, err) = ended(&output);
    assert_eq!(code, Some(1));
    assert!(err.contains("cannot be written"), "{err}");
}

#[test]
fn keygen_prints_a_key_that_the_issuer_takes() {
    for algorithm in ["ES256", "ES384", "EdDSA", "RS256", "PS256"] {
        let output = run(&["keygen", "--algorithm", algorithm]);
        assert_eq!(output.status.code(), Some(0), "{algorithm}");
        let pem = text(&output.stdout);
        logs::remember_private_key(&pem);
        assert!(
            pem.starts_with("-----BEGIN PRIVATE KEY-----\n")
                && pem.ends_with("-----END PRIVATE KEY-----\n")
        );
        let dir = TempDir::new().expect("a directory");
        file(&dir, "key.pem", &pem);
        file(&dir, "secret", "a-secret-of-16-bytes");
        let yaml = format!(
            "stateDir: \"@DIR@\"\nstore: {{ url: \"sqlite:@DIR@/m2m.db\" }}\n\
            issuer: {{ url: http://i.test, listen: 127.0.0.1:0, \
            signing: {{ algorithm: {algorithm}, privateKeyFile: \"@DIR@/key.pem\" }}, \
            clients: [{{ id: a, secretFile: \"@DIR@/secret\", \
            allowedGrantTypes: [client_credentials] }}] }}\n"
        );
        let config = file(&dir, "issuer.yaml", &yaml);
        let (code, _, err) = ended(&run(&["check", "--config", &config]));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{algorithm}");
    }
}

fn credential(authority: &Authority, dir: &TempDir) -> String {
    authority.register_client("legacy", "secret-of-the-command");
    file(dir, "secret", "secret-of-the-command\n");
    let yaml = format!(
        "credentials: {{ hub: {{ authority: \"{}\", clientID: legacy, \
        clientSecretFile: \"@DIR@/secret\", scopes: [a] }} }}\n",
        authority.issuer()
    );
    file(dir, "token.yaml", &yaml)
}

#[tokio::test(flavor = "multi_thread")]
async fn token_prints_the_token_and_nothing_else_or_says_why_not() {
    let mark = logs::mark();
    let (authority, dir) = (Authority::start(), TempDir::new().expect("a directory"));
    let config = credential(&authority, &dir);
    let ask = |more: &[&str]| {
        ended(&run(&[
            &["token", "--config", &config, "--credential", "hub"],
            more,
        ]
        .concat()))
    };
    let (code, out, err) = ask(&[]);
    assert_eq!(
        (code, out.trim_end(), err.as_str()),
        (Some(0), authority.issued()[0].as_str(), "")
    );
    let (code, out, _) = ask(&["--decode"]);
    let decoded: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &decoded["claims"]["client_id"]),
        (Some(0), &"legacy".into())
    );

    authority.behave(
        Endpoint::Token,
        Behave::Body(r#"{"error":"server's own words"}"#.to_owned()),
    );
    let (code, out, err) = ask(&[]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.contains("hub") && !err.contains("server's own words"),
        "{err}"
    );
    authority.down().await;
    let (code, _, err) = ask(&[]);
    assert!(
        code == Some(1) && err.contains("connection refused"),
        "{err}"
    );
    assert!(err.contains(&authority.issuer()), "{err}");
    let (code, _, err) = ended(&run(&["token", "--config", &config, "--credential", "nub"]));
    assert!(
        code == Some(1) && err.contains("nub") && err.contains("hub"),
        "{err}"
    );
    logs::assert_no_leaks(mark);
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn run_serves_until_a_signal_and_healthcheck_tells_whether_it_is_ready() {
    let dir = TempDir::new().expect("a directory");
    let yaml = "log: { encoding: json }\nstateDir: \"@DIR@\"\nprobes: { listen: 127.0.0.1:0 }\n\
        inbound: [{ name: api, listen: 127.0.0.1:0, upstream: \"http://127.0.0.1:9\", \
        authorities: [a], audiences: any, rules: [{ paths: [/], access: public }] }]\n\
        authorities: { a: { issuer: \"http://127.0.0.1:9\" } }\n";
    let config = file(&dir, "run.yaml", yaml);
    let child = sidecar(&["run", "--config", &config])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut running = Running(child);
    let mut lines = BufReader::new(running.0.stderr.take().expect("piped")).lines();
    // JSON lines, one of which says where the probes are.
    let probes = loop {
        let line = lines
            .next()
            .expect("it says where it listens")
            .expect("UTF-8");
        let line: serde_json::Value = serde_json::from_str(&line).expect("a JSON line");
        if line["listener"] == "probes" {
            break line["address"].as_str().expect("an address").to_owned();
        }
    };
    let asking = |address: &str| {
        let asked = file(
            &dir,
            "asked.yaml",
            &yaml.replace(
                "probes: { listen: 127.0.0.1:0 }",
                &format!("probes: {{ listen: {address} }}"),
            ),
        );
        ended(&run(&["healthcheck", "--config", &asked]))
    };
    assert_eq!(asking(&probes), (Some(0), String::new(), String::new()));
    let signalled = Command::new("kill")
        .args(["-TERM", &running.0.id().to_string()])
        .status()
        .expect("kill");
    assert!(signalled.success());
    assert_eq!(running.0.wait().expect("ends").code(), Some(0));
    let (code, _, err) = asking(&probes);
    assert!(code == Some(1) && err.contains("no answer"), "{err}");
}

/// A signal of the default kind would end the process without a word.
#[test]
fn signals_that_are_not_for_the_end_leave_a_warning_and_quit_ends_in_order() {
    let dir = TempDir::new().expect("a directory");
    let yaml = "log: { encoding: json }\nstateDir: \"@DIR@\"\n\
        credentials: { hub: { tokenUrl: \"http://127.0.0.1:9/\", clientID: a, \
        clientSecretFile: \"@DIR@/secret\" } }\nprobes: { listen: 127.0.0.1:0 }\n";
    file(&dir, "secret", "a-secret-of-16-bytes");
    let config = file(&dir, "run.yaml", yaml);
    let child = sidecar(&["run", "--config", &config])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut running = Running(child);
    let mut lines = BufReader::new(running.0.stderr.take().expect("piped")).lines();
    let mut wait_for = |text: &str| loop {
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("it ended without {text}"))
            .expect("UTF-8");
        if line.contains(text) {
            return line;
        }
    };
    wait_for("\"started\"");
    let id = running.0.id().to_string();
    for signal in ["HUP", "USR1", "USR2", "HUP"] {
        assert!(
            Command::new("kill")
                .args([&format!("-{signal}"), &id])
                .status()
                .expect("kill")
                .success()
        );
        let line = wait_for(&format!("SIG{signal}"));
        assert!(
            line.contains("\"WARN\"") && line.contains("ignored"),
            "{line}"
        );
    }
    assert!(
        running.0.try_wait().expect("a child").is_none(),
        "it still runs"
    );
    assert!(
        Command::new("kill")
            .args(["-QUIT", &id])
            .status()
            .expect("kill")
            .success()
    );
    wait_for("\"ending\"");
    assert_eq!(running.0.wait().expect("ends").code(), Some(0));
}

#[test]
fn an_address_in_use_ends_run_with_1_and_a_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dir = TempDir::new().expect("a directory");
    let yaml = format!(
        "stateDir: \"@DIR@\"\nprobes: {{ listen: {} }}\n\
        inbound: [{{ name: api, listen: 127.0.0.1:0, upstream: \"http://127.0.0.1:9\", \
        authorities: [a], audiences: any, rules: [{{ paths: [/], access: public }}] }}]\n\
        authorities: {{ a: {{ issuer: \"http://127.0.0.1:9\" }} }}\n",
        taken.local_addr().expect("bound")
    );
    let config = file(&dir, "run.yaml", &yaml);
    let (code, out, err) = ended(&run(&["run", "--config", &config]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("probes") && err.contains("in use"), "{err}");
}

/// A shell runs each line that the demo prints.
#[test]
fn the_demo_shows_three_exchanges_and_its_lines_work_when_pasted() {
    let once = isolated(env!("CARGO_BIN_EXE_m2m-sidecar"))
        .args(["demo", "--once"])
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let (code, out, err) = ended(&once);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for part in [
        "1. ISSUE",
        "2. PROTECT",
        "3. INJECT",
        "\"access_token\":\"eyJ…\"",
        "   401 ",
        "\"x-m2m-client-id\":\"legacy\"",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert_eq!(out.matches("\n   200 ").count(), 3, "{out}");

    let _ports = lock(&FREE_PORTS);
    let child = sidecar(&["demo", "--port-base", &free_ports().to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut running = Running(child);
    let mut shown = Vec::new();
    for line in BufReader::new(running.0.stdout.take().expect("piped")).lines() {
        let line = line.expect("UTF-8");
        if line.starts_with("The demo keeps running") {
            break;
        }
        shown.push(line);
    }
    let commands: Vec<_> = shown
        .iter()
        .filter_map(|line| line.trim_start().strip_prefix("$ "))
        .collect();
    let script = commands.join(" || exit 1\necho\n");
    let pasted = Command::new("sh")
        .args(["-c", &script])
        .output()
        .expect("a shell");
    let answers = text(&pasted.stdout);
    assert_eq!(
        pasted.status.code(),
        Some(0),
        "{answers}\n{}",
        text(&pasted.stderr)
    );
    assert_eq!(answers.matches("\"identity\"").count(), 2, "{answers}");
    assert!(answers.contains("\"error\":\"unauthorized\""), "{answers}");
    let signalled = Command::new("kill")
        .args(["-INT", &running.0.id().to_string()])
        .status()
        .expect("kill");
    assert!(signalled.success());
    assert_eq!(running.0.wait().expect("ends").code(), Some(0));
}

/// Five ports in a row that are free at the moment.
fn free_ports() -> u16 {
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    (20_000..60_000)
        .step_by(5)
        .find(|base| (0..5).all(|offset| is_free(base + offset)))
        .expect("free ports")
}

#[test]
fn the_demo_takes_other_ports_and_names_the_one_that_is_taken() {
    let _ports = lock(&FREE_PORTS);
    let base = free_ports();
    let (code, out, err) = ended(&run(&["demo", "--once", "--port-base", &base.to_string()]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert_eq!(out.matches("\n   200 ").count(), 3, "{out}");
    let first = out.lines().next().unwrap_or_default();
    assert!(
        first.contains("conf/quickstart.yaml") && first.contains(&format!("issuer {base}")),
        "{first}"
    );
    assert!(
        !out.contains(":8080") && out.contains(&format!("http://127.0.0.1:{}/api", base + 1)),
        "{out}"
    );

    let taken = std::net::TcpListener::bind(("127.0.0.1", base + 2)).expect("free a moment ago");
    let (code, out, err) = ended(&run(&["demo", "--once", "--port-base", &base.to_string()]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let port = format!("127.0.0.1:{} (outbound)", base + 2);
    assert!(err.contains(&port) && err.contains("--port-base"), "{err}");
    drop(taken);
}

/// The start panicked, while `check` was content.
#[test]
fn certificates_that_cannot_be_used_are_said_by_check_and_at_start() {
    let dir = TempDir::new().expect("a directory");
    let write = |name: &str, content: &str| {
        std::fs::write(dir.path().join(name), content).expect("a file");
        dir.path().join(name)
    };
    let yaml = "probes: { listen: 127.0.0.1:0 }\n\
        issuer: { url: \"http://127.0.0.1\", listen: 127.0.0.1:0 }\n\
        store: { url: \"sqlite::memory:\" }\n";
    write("c.yaml", yaml);
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (file, message) in [
        (write("empty", ""), "contains no PEM certificate"),
        (write("broken", broken), "contains an invalid certificate"),
        (dir.path().join("missing"), "No such file"),
    ] {
        for command in ["check", "run"] {
            let mut command = sidecar(&[command, "--config", "c.yaml"]);
            let output = command
                .current_dir(dir.path())
                .env("SSL_CERT_FILE", &file)
                .output()
                .expect("it runs");
            let (code, _, errors) = ended(&output);
            assert_eq!(code, Some(1), "{errors}");
            assert!(
                errors.contains("SSL_CERT_FILE") && errors.contains(message),
                "{errors}"
            );
        }
    }
}
