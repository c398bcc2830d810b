//! Common first mistakes: `check` names the place and the remedy of each.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use crate::commands::{ended, sidecar};

const GOOD: &str = r#"issuer:
  url: http://127.0.0.1:8080
  listen: 127.0.0.1:8080
  accessTokenLifetime: 15m
  clients:
    - id: meter
      secretFile: secret
authorities:
  self: { issuer: "http://127.0.0.1:8080" }
inbound:
  - name: api
    listen: 127.0.0.1:8081
    upstream: http://127.0.0.1:9090
    authorities: [self]
    audiences: [https://api.example]
    rules:
      - paths: ["/**"]
credentials:
  hub: { authority: "http://127.0.0.1:8080", clientID: meter, clientSecretFile: secret }
outbound:
  - name: hub
    listen: 127.0.0.1:9000
    upstream: https://hub.example
    credential: hub
"#;

/// Standard error of `check` for a file of these bytes.
fn said(content: &[u8]) -> (Option<i32>, String) {
    let dir = TempDir::new().expect("a directory");
    std::fs::write(dir.path().join("secret"), "a-secret-of-16-bytes\n").expect("a file");
    std::fs::set_permissions(dir.path().join("secret"), Permissions::from_mode(0o600))
        .expect("a file of ours");
    std::fs::write(dir.path().join("c.yaml"), content).expect("a file");
    let mut command = sidecar(&["check", "--config", "c.yaml"]);
    let output = command
        .current_dir(dir.path())
        .env_remove("NOT_SET")
        .output()
        .expect("the binary runs");
    let (code, _, errors) = ended(&output);
    (code, errors)
}

/// The right text, the mistake, the place of the error, and its text.
#[rustfmt::skip]
const MISTAKES: &[(&str, &str, &str, &str)] = &[
    ("  url:", "\turl:", "c.yaml:2:2", "indent with spaces"),
    ("  listen: 127.0.0.1:8080", "   listen: 127.0.0.1:8080", "c.yaml:3:", "like its neighbours"),
    ("  listen: 127.0.0.1:8080", " listen: 127.0.0.1:8080", "c.yaml:3:",
     "exactly like its neighbours"),
    ("issuer:\n  url", "probes:\nissuer:\n  url", "c.yaml:1:1: probes",
     "indent the content below the key"),
    ("15m", "900", "c.yaml:4:3: issuer.accessTokenLifetime", "a duration such as `30s`"),
    ("15m", "15 minutes", "c.yaml:4:3: issuer.accessTokenLifetime", "each number needs a unit"),
    ("15m", "0s", "c.yaml:4:3: issuer.accessTokenLifetime", "tokens that never expire"),
    ("secretFile: secret", "secretFile: sekret", "issuer.clients[0].secretFile",
     "the file `sekret` cannot be read"),
    ("secretFile: secret", "secretFile: .", "issuer.clients[0].secretFile", "directory"),
    ("secretFile: secret", "secret: hunter2", "issuer.clients[0].secret",
     "put the secret into a file"),
    ("name: hub", "name: api", "outbound[0].name", "already used by `inbound[0].name`"),
    ("127.0.0.1:9000", "127.0.0.1:8081", "outbound[0].listen",
     "already used by `inbound[0].listen`"),
    ("127.0.0.1:9000", "0.0.0.0:9000", "outbound[0].listen", "allowRemote"),
    ("127.0.0.1:9000", "9000", "outbound[0].listen", "an address such as"),
    ("127.0.0.1:9000", "\":9000\"", "outbound[0].listen",
     "the IP address before the port is missing"),
    ("authorities: [self]", "authorities: [users]", "inbound[0].authorities[0]",
     "the only one is `self`"),
    ("authorities: [self]", "authorities: self", "inbound[0].authorities", "expected a list"),
    ("credential: hub", "credential: hup", "outbound[0].credential", "the only one is `hub`"),
    ("issuer: \"http://127.0.0.1:8080\"", "issuer: idp.example", "authorities.self.issuer",
     "begin with `http://`"),
    ("    rules:\n      - paths: [\"/**\"]\n", "    rules: []\n", "inbound[0].rules",
     "must not be empty"),
    ("[\"/**\"]", "[\"api/*\"]", "inbound[0].rules[0].paths[0]", "a pattern must begin with `/`"),
    ("[\"/**\"]", "[\"/api*\"]", "inbound[0].rules[0].paths[0]", "`*` matches a whole segment"),
    ("[\"/**\"]", "[*]", "c.yaml:17:", "into quotes"),
    ("http://127.0.0.1:9090", "127.0.0.1:9090", "inbound[0].upstream",
     "begin with `http://`, `https://`"),
    ("http://127.0.0.1:9090", "localhost:9090", "inbound[0].upstream",
     "begin with `http://`, `https://`"),
    ("http://127.0.0.1:9090", "ws://127.0.0.1:9090", "inbound[0].upstream",
     "begin with `http://`, `https://`"),
    ("http://127.0.0.1:9090", "unix:run/a.sock", "inbound[0].upstream",
     "the absolute path of a socket"),
    ("http://127.0.0.1:9090", "http://127.0.0.1:9090/api", "inbound[0].upstream",
     "remove path and query"),
    ("upstream: https", "upstream_url: https", "outbound[0].upstream_url",
     "the nearest known key is `upstream`"),
    ("id: meter", "id: 12345", "issuer.clients[0].id",
     "expected a client id, found a number: put it into quotes"),
    ("id: meter", "id: 007", "issuer.clients[0].id", "put it into quotes"),
    ("id: meter", "id: true", "issuer.clients[0].id", "found a boolean: put it into quotes"),
    ("clientID: meter", "clientID: 1e5", "credentials.hub.clientID", "put it into quotes"),
    ("id: meter", "id: ${NOT_SET}", "issuer.clients[0].id", "`NOT_SET` is not set"),
    ("clientID: meter", "clientID: ${NOT_SET}", "c.yaml:19:", "into quotes"),
    ("inbound:", "inbound: {", "c.yaml:", "close the bracket"),
    ("id: meter", "id: \"meter", "c.yaml:", "quote is not closed"),
];

#[test]
fn check_says_what_to_do_about_what_people_get_wrong() {
    assert_eq!(said(GOOD.as_bytes()), (Some(0), String::new()));
    for (right, wrong, place, message) in MISTAKES {
        assert!(GOOD.contains(right), "{right}");
        let (code, errors) = said(GOOD.replacen(right, wrong, 1).as_bytes());
        let found = errors
            .lines()
            .any(|line| line.contains(place) && line.contains(message));
        assert!(
            code == Some(1) && found,
            "{wrong}: wanted {place}: {message}, but\n{errors}"
        );
        assert!(!errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn a_file_that_is_none_is_said_to_be() {
    let (code, errors) = said(b"log: { level: \xff }\n");
    assert!(
        code == Some(1) && errors.contains("c.yaml:1:1: the file is not UTF-8 text"),
        "{errors}"
    );
    let (code, errors) = said(b"");
    assert!(
        code == Some(1) && errors.contains("nothing to run"),
        "{errors}"
    );
    for (path, message) in [("no/such/file.yaml", "No such file"), ("/", "directory")] {
        let (code, _, errors) = ended(
            &sidecar(&["check", "--config", path])
                .output()
                .expect("it runs"),
        );
        assert!(
            code == Some(1) && errors.contains(path) && errors.contains(message),
            "{errors}"
        );
    }
}

/// Good, but not what one would do where others can listen.
#[test]
fn plain_http_to_other_machines_is_a_warning() {
    for (right, wrong, place) in [
        (
            "issuer: \"http://127.0.0.1:8080\"",
            "issuer: \"http://idp.example\"",
            "authorities.self.issuer",
        ),
        (
            "authority: \"http://127.0.0.1:8080\"",
            "authority: \"http://idp.example\"",
            "credentials.hub",
        ),
        (
            "upstream: https://hub.example",
            "upstream: http://hub.example",
            "outbound[0].upstream",
        ),
    ] {
        let (code, errors) = said(GOOD.replacen(right, wrong, 1).as_bytes());
        assert_eq!(code, Some(0), "{errors}");
        let line = errors
            .lines()
            .find(|line| line.starts_with("warning: "))
            .unwrap_or_default();
        assert!(
            line.contains(place) && line.contains("plain http to another machine"),
            "{errors}"
        );
    }
}
