//! `explain --from CLIENT --to LISTENER`: whether a client may call, and the lines that decide.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use crate::commands::{ended, run};

/// The issuer's configuration; its lines are named below.
const ISSUER: &str = r#"stateDir: "@DIR@/state"
store: { url: "sqlite:@DIR@/never-opened.db", mustExist: true }
issuer:
  url: https://issuer.example/m2m
  listen: 127.0.0.1:0
  clients:
    - id: reporting
      secretFile: "@DIR@/secret"
      allowedAudiences: [https://devices.example, https://other.example]
      allowedScopes: [devices:read]
      allowedNetworks: [10.0.0.0/8]
    - id: billing
      secretFile: "@DIR@/secret"
      allowedAudiences: [https://other.example]
      insertTokenClaims: { tenant: blue }
    - { id: gone, secretFile: "@DIR@/secret", disabled: true }
"#;

/// The callee's configuration.
const CALLEE: &str = r#"stateDir: "@DIR@/state"
authorities:
  ours: { issuer: https://issuer.example/m2m }
  theirs: { issuer: https://elsewhere.example }
inbound:
  - name: devices
    listen: 127.0.0.1:0
    upstream: http://127.0.0.1:9
    authorities: [ours, theirs]
    audiences: [https://devices.example]
    rules:
      - { paths: ["/devices/**"], methods: [GET], scopes: ["devices:read"] }
      - { paths: ["/devices/**"], scopes: ["devices:write"] }
  - name: foreign
    listen: 127.0.0.1:0
    upstream: http://127.0.0.1:9
    authorities: [theirs]
    audiences: any
    rules: [{ paths: ["/**"] }]
  - name: tenants
    listen: 127.0.0.1:0
    upstream: http://127.0.0.1:9
    authorities: [ours]
    audiences: any
    rules: [{ paths: ["/**"], claims: { tenant: [blue] } }]
"#;

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        let shown = dir.path().display().to_string();
        for (name, content) in [
            ("issuer.yaml", ISSUER),
            ("callee.yaml", CALLEE),
            ("secret", "0123456789abcdef-may-call\n"),
        ] {
            let file = dir.path().join(name);
            std::fs::write(&file, content.replace("@DIR@", &shown)).expect("a writable directory");
            std::fs::set_permissions(file, Permissions::from_mode(0o600)).expect("a file of ours");
        }
        Self(dir)
    }

    /// Exit code and output, in which the directory is left out.
    fn ask(&self, from: &str, to: &str, more: &[&str]) -> (Option<i32>, String) {
        let file = |name: &str| self.0.path().join(name).display().to_string();
        let (callee, issuer) = (file("callee.yaml"), file("issuer.yaml"));
        let mut arguments = vec!["explain", "--config", &callee, "--issuer-config", &issuer];
        arguments.extend(["--from", from, "--to", to]);
        arguments.extend(more);
        let (code, said, error) = ended(&run(&arguments));
        let shown = format!("{}/", self.0.path().display());
        (code, (said + &error).replace(&shown, ""))
    }
}

#[test]
fn both_ends_are_named_with_file_line_and_key() {
    let files = Files::new();
    let (code, said) = files.ask("reporting", "devices", &["--path", "/devices/7"]);
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "reporting, issuer.yaml:7: issuer.clients[0]",
        "issuer.yaml:9: issuer.clients[0].allowedAudiences",
        "scopes devices:read, issuer.yaml:10: issuer.clients[0].allowedScopes",
        "only from 10.0.0.0/8, issuer.yaml:11: issuer.clients[0].allowedNetworks",
        "https://issuer.example/m2m issues the token",
        "callee.yaml:6: inbound[0]",
        "trusts the issuer as `ours`, callee.yaml:9: inbound[0].authorities",
        "callee.yaml:10: inbound[0].audiences",
        "1 of 2, callee.yaml:12: /devices/**, GET",
        "ok: accepted: https://devices.example",
        "allow (",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    // Neither the store nor the state of the issuer was touched.
    assert!(!files.0.path().join("never-opened.db").exists());
    assert!(!files.0.path().join("state").exists());
    assert!(!said.contains("eyJ"), "{said}");
}

#[test]
fn the_nearest_reason_is_named_where_a_client_may_not_call() {
    let files = Files::new();
    for (from, to, more, words) in [
        (
            "reporting",
            "devices",
            &["--path", "/devices/7", "--method", "DELETE"][..],
            "deny (scope), 403",
        ),
        (
            "billing",
            "devices",
            &["--path", "/devices/7"],
            "deny (audience), 401",
        ),
        (
            "reporting",
            "foreign",
            &["--path", "/"],
            "trusts no authority with this issuer",
        ),
        (
            "reporting",
            "foreign",
            &["--path", "/"],
            "deny (unknown_issuer), 401",
        ),
        (
            "reporting",
            "tenants",
            &["--path", "/"],
            "deny (claim), 403",
        ),
        ("reporting", "devices", &["--path", "/x"], "nearest rule"),
        (
            "reporting",
            "devices",
            &["--path", "/devices/7", "--scope", "devices:write"],
            "REFUSED by the issuer",
        ),
        (
            "reporting",
            "devices",
            &[
                "--path",
                "/devices/7",
                "--audience",
                "https://other.example",
            ],
            "deny (audience), 401",
        ),
        (
            "gone",
            "devices",
            &["--path", "/devices/7"],
            "deny: the client gets no token",
        ),
        (
            "gone",
            "devices",
            &["--path", "/devices/7"],
            "disabled, issuer.yaml:16: issuer.clients[2].disabled",
        ),
    ] {
        let (code, said) = files.ask(from, to, more);
        assert_eq!(code, Some(1), "{from} {to} {more:?}\n{said}");
        assert!(
            said.contains(words),
            "{from} {to} {more:?}: {words}\n{said}"
        );
    }
    let (code, said) = files.ask("billing", "tenants", &["--path", "/"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn one_file_may_hold_both_ends_and_json_has_the_same_lines() {
    let files = Files::new();
    let both = files.0.path().join("both.yaml");
    let callee = CALLEE.replace("stateDir: \"@DIR@/state\"\n", "");
    let text = (ISSUER.to_owned() + &callee)
        .replace("@DIR@", &files.0.path().display().to_string())
        .replace(", mustExist: true", "");
    std::fs::write(&both, text).expect("a writable directory");
    let both = both.display().to_string();
    let arguments = [
        "explain",
        "--config",
        &both,
        "--from",
        "reporting",
        "--to",
        "devices",
    ];
    let arguments = [&arguments[..], &["--path", "/devices/7", "--json"]].concat();
    let (code, said, error) = ended(&run(&arguments));
    assert_eq!(code, Some(0), "{said}{error}");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["passes"], true);
    let lines = said["said"].as_array().expect("lines");
    let line = |what: &str| {
        let found = lines.iter().find(|line| line["what"] == what).expect(what);
        found["said"].as_str().expect("a text").to_owned()
    };
    assert!(line("client").contains("issuer.clients[0]"), "{said}");
    assert!(line("decision").starts_with("allow"), "{said}");
}

#[test]
fn wrong_usage_says_what_is_known() {
    let files = Files::new();
    for (from, to, words) in [
        ("unknown", "devices", "known are: reporting, billing, gone"),
        (
            "reporting",
            "nowhere",
            "known are: devices, foreign, tenants",
        ),
    ] {
        let (code, said) = files.ask(from, to, &["--path", "/"]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    }
    let callee = files.0.path().join("callee.yaml").display().to_string();
    for arguments in [
        &["--to", "devices"][..],
        &["--listener", "devices", "--from", "reporting"],
        &["--listener", "devices", "--issuer-config", "x"],
        &[
            "--listener",
            "devices",
            "--to",
            "devices",
            "--from",
            "reporting",
        ],
    ] {
        let all = [&["explain", "--config", &callee, "--path", "/"], arguments].concat();
        let (code, said, error) = ended(&run(&all));
        assert_eq!(code, Some(2), "{arguments:?}: {said}{error}");
    }
}
