//! Runs `check` on the files of `conf/`: unchanged, and with each commented-out setting enabled.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::commands::{ended, sidecar};
use crate::support::certificates::CertificateAuthority;

/// The files and variables that a configuration needs, derived from its text: every `…File` and
/// every `${VARIABLE}`.
struct Surroundings {
    dir: TempDir,
    certificate: String,
    key: String,
    revoked: String,
}

impl Surroundings {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters =
            rcgen::CertificateParams::new(["localhost".to_owned()]).expect("parameters");
        let certificate = parameters.self_signed(&key).expect("a certificate").pem();
        let authority = CertificateAuthority::new("an authority");
        Self {
            dir: TempDir::new().expect("a directory"),
            certificate,
            key: key.serialize_pem(),
            revoked: authority.revoked(&[], 3600),
        }
    }

    fn root(&self) -> &str {
        self.dir.path().to_str().expect("a temporary path is UTF-8")
    }

    fn content(&self, key: &str) -> &str {
        let key = key.to_lowercase();
        let is = |kind: &str| key.ends_with(kind);
        if is("encryptionkeyfile") {
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
        } else if is("assertionfile") {
            "e30.e30.c2ln\n"
        } else if is("keyfile") {
            &self.key
        } else if is("crlfile") {
            &self.revoked
        } else if is("cafile") || is("certfile") {
            &self.certificate
        } else if is("jwksfile") {
            // RFC 7515, appendix A.3.
            r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#
        } else {
            "a-secret-of-more-than-16-bytes\n"
        }
    }

    /// Creates the files of a configuration. Absolute paths are moved below our own directory, so
    /// the changed text is returned.
    fn place(&self, text: &str) -> String {
        let mut placed = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("File: ") {
            let (before, after) = rest.split_at(at + "File: ".len());
            let variable = if after.starts_with("${") {
                after.find('}').map_or(0, |end| end + 1)
            } else {
                0
            };
            let end = after[variable..]
                .find([',', ' ', '}', '\n'])
                .map_or(after.len(), |end| variable + end);
            let path = after[..end].trim_matches('"');
            let path = path.strip_prefix("${DATA_DIR}").unwrap_or(path);
            placed.push_str(before);
            if after.starts_with('/') {
                placed.push_str(self.root());
            }
            let key = before[..at + 4]
                .rsplit([' ', '{', '#', '\n'])
                .next()
                .unwrap_or_default();
            let file = self.dir.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(file.parent().expect("below the root")).expect("a directory");
            std::fs::write(&file, self.content(key)).expect("a file");
            std::fs::set_permissions(file, Permissions::from_mode(0o600)).expect("a file of ours");
            rest = after;
        }
        placed.push_str(rest);
        placed
    }

    /// Runs `check`: exit code and standard error.
    fn check(&self, text: &str) -> (Option<i32>, String) {
        let file = self.dir.path().join("checked.yaml");
        std::fs::write(&file, self.place(text)).expect("a file");
        let mut command = sidecar(&["check", "--config"]);
        command.arg(&file).current_dir(self.dir.path());
        for name in text
            .split("${")
            .skip(1)
            .filter_map(|after| after.split('}').next())
        {
            let value = if name.ends_with("_DIR") {
                self.root()
            } else {
                "example"
            };
            command.env(name, value);
        }
        let (code, _, errors) = ended(&command.output().expect("the binary runs"));
        (code, errors)
    }
}

fn files(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("conf/") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, out);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            out.push(path);
        }
    }
}

fn shipped() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("conf"),
        &mut paths,
    );
    paths.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read_to_string(path).expect("UTF-8"));
    paths.into_iter().map(read).collect()
}

/// The containers of a demonstration use plain http by their names, and keep working while the
/// issuer is down. `check` correctly warns of both.
fn is_of_the_demonstration(path: &Path, warning: &str) -> bool {
    let warnings = [
        "plain http to another machine",
        "revoked tokens pass while the issuer does not answer",
    ];
    path.iter().any(|part| part == "compose") && warnings.iter().any(|it| warning.contains(it))
}

fn assert_good(path: &Path, text: &str, what: &str) {
    let (code, errors) = Surroundings::new().check(text);
    let said: Vec<_> = errors
        .lines()
        .filter(|line| !is_of_the_demonstration(path, line))
        .collect();
    assert_eq!(
        (code, said.as_slice()),
        (Some(0), [].as_slice()),
        "{}{what}",
        path.display()
    );
}

#[test]
fn every_shipped_configuration_passes_the_check_without_a_warning() {
    let shipped = shipped();
    assert!(shipped.len() >= 6, "{shipped:?}");
    for (path, text) in shipped {
        assert_good(&path, &text, "");
    }
}

/// Parses `#key: …`: indentation, key, and the line without `#`.
fn setting(line: &str) -> Option<(usize, &str, String)> {
    let indent = line.len() - line.trim_start().len();
    let setting = line[indent..].strip_prefix('#')?;
    let (key, _) = setting.split_once(": ")?;
    let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric());
    is_key.then(|| (indent, key, format!("{}{setting}", &line[..indent])))
}

/// Enables the setting of a line and removes the setting that it replaces: the same key, or the key
/// named after "instead of", in the same mapping above.
fn uncommented(text: &str, at: usize) -> String {
    let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    let (indent, key, setting) = setting(&lines[at])
        .map(|(i, k, s)| (i, k.to_owned(), s))
        .expect("a setting");
    let replaced = setting
        .split("instead of `")
        .nth(1)
        .and_then(|rest| rest.split('`').next())
        .unwrap_or(&key);
    let beginning = format!("{}{replaced}: ", " ".repeat(indent));
    let in_mapping = |line: &&mut String| {
        line.trim().is_empty() || line[..indent.min(line.len())].trim().is_empty()
    };
    for line in lines[..at].iter_mut().rev().take_while(in_mapping) {
        if line.starts_with(&beginning) {
            line.insert(indent, '#');
            break;
        }
    }
    lines[at] = setting;
    lines.join("\n") + "\n"
}

#[test]
fn every_commented_out_setting_can_be_uncommented() {
    let mut tried = 0;
    for (path, text) in shipped() {
        for (at, line) in text.lines().enumerate() {
            if setting(line).is_some() {
                assert_good(
                    &path,
                    &uncommented(&text, at),
                    &format!(":{} uncommented", at + 1),
                );
                tried += 1;
            }
        }
    }
    assert!(tried >= 10, "{tried}");
}

#[test]
fn a_wrong_setting_is_noticed() {
    let (code, errors) = Surroundings::new().check(&uncommented(
        "credentials:\n  a:\n    authority: https://a\n    clientID: a\n    clientSecretFile: \
        /s\n    #tokenUrl: https://b\n",
        5,
    ));
    assert!(code == Some(1) && errors.contains("not both"), "{errors}");
    let right = "a:\n  b: 1   # x\n  c: 2\n  #d: 3   # instead of `b`\n";
    assert_eq!(
        uncommented(right, 3),
        "a:\n  #b: 1   # x\n  c: 2\n  d: 3   # instead of `b`\n"
    );
}
