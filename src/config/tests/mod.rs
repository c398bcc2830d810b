//! Tests of the configuration as a whole: the texts that they start from.

mod accepted;
mod allowances;
mod authorities;
mod bound;
mod certificates;
mod contradictions;
mod credentials;
mod decisions;
mod egress;
mod exchange;
mod federated;
mod outbound;
mod refused;
mod rules;
mod schema;
mod shipped;
mod tls;
mod token_size;
mod variants;
mod warned;
mod websocket;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::{Config, Loaded, Problems, parse};
use crate::jose::Algorithm;
use crate::jose::sign::SigningKey;

/// A directory with the files that the texts below name through `${DIR}`.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["a".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        for (name, content) in [
            ("secret", "0123456789abcdef-secret\n"),
            ("short", "short-secret"),
            ("empty", "\n"),
            (
                "store-key",
                "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
            ),
            (
                "weak-key",
                "0000000000000000000000000000000000000000000000000000000000000000",
            ),
            ("key.pem", &key.serialize_pem()),
            (
                "other-key.pem",
                &rcgen::KeyPair::generate().unwrap().serialize_pem(),
            ),
            ("jwt", "e30.e30.c2ln\n"),
            ("ca.pem", &certificate.pem()),
            ("jwks.json", r#"{"keys":[]}"#),
            (
                "symmetric.json",
                r#"{"keys":[{"kty":"oct","kid":"s","k":"AA"}]}"#,
            ),
            ("bom.json", "\u{feff}{\"keys\":[]}"),
            ("page.html", "<!DOCTYPE html><html></html>"),
            ("twice.json", r#"{"keys":[],"keys":[]}"#),
            (
                "keys.json",
                &format!(
                    "{{\"keys\":[{}]}}",
                    SigningKey::generate(Algorithm::ES256).unwrap().public_jwk()
                ),
            ),
        ] {
            std::fs::write(dir.path().join(name), content).unwrap();
            chmod(&dir.path().join(name), 0o600);
        }
        Self(dir)
    }

    fn parse(&self, text: &str) -> Result<Loaded, Problems> {
        parse(text, "x.yaml", &|name| match name {
            "DIR" => Some(self.0.path().display().to_string()),
            "THREADS" => Some("3".to_owned()),
            "YES" => Some("true".to_owned()),
            "HUSH" => Some("hush-hush".to_owned()),
            _ => None,
        })
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn problems(text: &str) -> Vec<String> {
    match Files::new().parse(text) {
        Ok(_) => Vec::new(),
        Err(Problems(problems)) => problems.iter().map(ToString::to_string).collect(),
    }
}

fn config(text: &str) -> Config {
    Files::new()
        .parse(text)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = Files::new()
        .parse(text)
        .unwrap_or_else(|problems| panic!("{problems}"));
    loaded.warnings.iter().map(ToString::to_string).collect()
}

/// An issuer; the text goes on below it.
const ISSUER: &str = "issuer: { url: \"http://127.0.0.1:8080\", listen: \"127.0.0.1:8080\" }\n";

/// One of everything, short: (section, its text).
const SMALL: &[(&str, &str)] = &[
    (
        "issuer",
        "issuer:\n  url: http://127.0.0.1:8080\n  listen: 127.0.0.1:8080\n",
    ),
    (
        "authorities",
        "authorities:\n  self: { issuer: \"http://127.0.0.1:8080\" }\n",
    ),
    (
        "inbound",
        "inbound:\n  - name: in\n    listen: 127.0.0.1:8081\n    upstream: http://127.0.0.1:9\n    \
         authorities: [self]\n    \
         audiences: any\n    rules:\n      - paths: [\"/**\"]\n",
    ),
    (
        "credentials",
        "credentials:\n  hub:\n    tokenUrl: http://127.0.0.1:8080/oauth/token\n    clientID: \
         a\n    \
         clientSecretFile: ${DIR}/secret\n",
    ),
    (
        "outbound",
        "outbound:\n  - name: out\n    listen: 127.0.0.1:8082\n    upstream: \
         http://127.0.0.1:9\n    credential: hub\n",
    ),
];

fn small() -> String {
    SMALL.iter().map(|(_, text)| *text).collect()
}

/// The small configuration with lines added at the end of a section; its last block is the open
/// one.
fn small_with(section: &str, lines: &str) -> String {
    assert!(SMALL.iter().any(|(name, _)| *name == section), "{section}");
    let pieces = SMALL.iter().map(|(name, text)| {
        if *name == section {
            format!("{text}{lines}")
        } else {
            (*text).into()
        }
    });
    pieces.collect()
}

/// The small configuration with one text replaced.
fn small_but(from: &str, to: &str) -> String {
    let small = small();
    assert!(small.contains(from), "{from}");
    small.replacen(from, to, 1)
}

/// Asserts that a text has exactly one problem: at a key path, with a message that holds a text.
fn assert_problem(text: &str, key_path: &str, message: &str) {
    let Err(Problems(problems)) = Files::new().parse(text) else {
        panic!("accepted, wanted {key_path}: {message}")
    };
    let [problem] = problems.as_slice() else {
        panic!("wanted only {key_path}: {message}, found\n{problems:#?}")
    };
    assert_eq!(problem.key_path, key_path, "{problem}");
    assert!(
        problem.message.contains(message),
        "wanted {message:?} in\n{problem}"
    );
}
