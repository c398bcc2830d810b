//! `import-plgd`: imported configurations of plgd's m2m-oauth-server, and the messages about the
//! rest.
//!
//! `tests/it/import` contains plgd's configurations, each with the expected standard output
//! (`.out.yaml`) and standard error (`.err.txt`).

use std::path::Path;

use tempfile::TempDir;

use crate::commands::{ended, run, sidecar, text};
use crate::support::logs;

/// Secrets in files and inline values; none of them may be printed.
const SECRET: &str = "a-secret-of-the-import-tests";
const INLINE: &str = "do-not-print-me";

fn input(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/import")
        .join(name)
        .with_extension("yaml");
    std::fs::read_to_string(path).expect("an input")
}

/// A directory with the files of relative paths in the inputs.
fn world() -> TempDir {
    let dir = TempDir::new().expect("a directory");
    let write = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below the directory")).expect("a directory");
        std::fs::write(path, content).expect("a writable directory");
    };
    write("secrets/plain", SECRET);
    write("secrets/with-newline", &format!("{SECRET}\n"));
    write("secrets/empty", "");
    write("secrets/short", "too short");
    for (name, algorithm) in [("ec", "ES256"), ("ec384", "ES384"), ("rsa", "RS256")] {
        let pem = text(&run(&["keygen", "--algorithm", algorithm]).stdout);
        logs::remember_private_key(&pem);
        write(&format!("keys/{name}.pem"), &pem);
    }
    dir
}

/// Imports a text: exit code, standard output, standard error.
fn import(dir: &TempDir, plgds: &str) -> (Option<i32>, String, String) {
    std::fs::write(dir.path().join("m2m-oauth-server.yaml"), plgds).expect("a writable directory");
    let output = sidecar(&["import-plgd", "m2m-oauth-server.yaml"])
        .current_dir(dir.path())
        .output();
    let (code, out, err) = ended(&output.expect("the binary runs"));
    for hidden in [SECRET, INLINE] {
        assert!(
            !out.contains(hidden) && !err.contains(hidden),
            "{out}\n{err}"
        );
    }
    (code, out, err)
}

/// `make docs` runs the tests of this module to update the expected files.
mod golden {
    use super::*;
    use crate::golden::assert_golden;

    #[test]
    fn imported_configurations_and_messages() {
        let dir = world();
        for (name, expected) in [
            ("bundle", 0),
            ("shipped", 0),
            ("helm", 0),
            ("both-kinds-of-clients", 0),
            ("deprecated-authority", 0),
            ("minimal", 0),
            ("unknown-keys", 0),
            ("broken", 1),
            ("nothing-remains", 1),
            ("helm-values", 0),
            ("helm-global", 0),
            ("several-documents", 0),
            ("kubernetes", 0),
            ("two-configurations", 1),
        ] {
            let (code, out, err) = import(&dir, &input(name));
            assert_eq!(code, Some(expected), "{name}: {err}");
            assert_eq!(out.is_empty(), expected == 1, "{name}: {out}");
            assert_golden(&format!("tests/it/import/{name}.err.txt"), &err);
            if expected == 0 {
                assert_golden(&format!("tests/it/import/{name}.out.yaml"), &out);
            }
        }
    }
}

/// The file of a key, or a substitute if it does not exist in the test.
fn with_files_of(dir: &TempDir, yaml: &str) -> String {
    let line = |line: &str| {
        let (before, file) = match line.split_once("File: ") {
            Some((before, file)) if dir.path().join(file).starts_with(dir.path()) => (before, file),
            Some((before, _)) if before.ends_with("secret") => (before, "secrets/plain"),
            Some((before, _)) if before.ends_with("privateKey") => (
                before,
                if yaml.contains("algorithm: RS256") {
                    "keys/rsa.pem"
                } else {
                    "keys/ec.pem"
                },
            ),
            Some((before, _)) if before.ends_with("ca") => (before, "ca.pem"),
            _ => return format!("{line}\n"),
        };
        format!("{before}File: {}\n", dir.path().join(file).display())
    };
    yaml.lines().map(line).collect()
}

#[test]
fn imported_configurations_pass_check() {
    let dir = world();
    let key = rcgen::KeyPair::generate().expect("a key");
    let ca = rcgen::CertificateParams::new(["a.example".to_owned()])
        .expect("a name")
        .self_signed(&key);
    let ca = ca.expect("a certificate").pem();
    std::fs::create_dir_all(dir.path().join("certs")).expect("a directory");
    for file in ["ca.pem", "certs/ca.pem"] {
        std::fs::write(dir.path().join(file), &ca).expect("a writable directory");
    }
    for name in [
        "bundle",
        "shipped",
        "helm",
        "helm-values",
        "helm-global",
        "several-documents",
        "kubernetes",
        "both-kinds-of-clients",
        "deprecated-authority",
        "minimal",
        "unknown-keys",
    ] {
        let (_, out, _) = import(&dir, &input(name));
        let file = dir.path().join("imported.yaml");
        std::fs::write(&file, with_files_of(&dir, &out)).expect("a writable directory");
        let (code, _, err) = ended(&run(&["check", "--config", &file.display().to_string()]));
        let errors: Vec<_> = err
            .lines()
            .filter(|line| !line.starts_with("warning: "))
            .collect();
        assert!(errors.is_empty(), "{name}:\n{}\n{out}", errors.join("\n"));
        assert_eq!(code, Some(0), "{name}: {err}");
    }
}

#[test]
fn the_algorithm_follows_the_key() {
    let dir = world();
    for (key, algorithm) in [("ec", "ES256"), ("ec384", "ES384"), ("rsa", "RS256")] {
        let plgds = format!(
            "oauthSigner:\n  privateKeyFile: keys/{key}.pem{}",
            &input("minimal")["oauthSigner:".len()..]
        );
        let (code, out, err) = import(&dir, &plgds);
        assert_eq!(code, Some(0), "{err}");
        assert!(
            out.contains(&format!(
                "    algorithm: {algorithm}\n    privateKeyFile: keys/{key}.pem\n"
            )),
            "{out}"
        );
    }
    let plgds = format!(
        "oauthSigner:\n  privateKeyFile: secrets/plain{}",
        &input("minimal")["oauthSigner:".len()..]
    );
    let (_, out, err) = import(&dir, &plgds);
    assert!(
        !out.contains("privateKeyFile")
            && err
                .contains("oauthSigner.privateKeyFile: the file contains no supported signing key"),
        "{err}"
    );
}

#[test]
fn other_files_and_missing_arguments_are_refused() {
    let dir = world();
    for (plgds, why) in [
        ("a: [b\nc: d\n", "m2m-oauth-server.yaml:2:"),
        (
            "oauthSigner:\n  domain: {{ .Values.domain }}\n  {{- end }}\n",
            "looks like a Helm template",
        ),
        (
            "kind: ConfigMap\ndata: { service.yaml: \"\" }\n",
            "in its `data`",
        ),
        ("", "`oauthSigner` is missing"),
    ] {
        let (code, out, err) = import(&dir, plgds);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{plgds}");
        assert!(err.contains(why), "{plgds}: {err}");
    }
    let (code, out, err) = ended(&run(&["import-plgd", "/nowhere/at/all.yaml"]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("/nowhere/at/all.yaml"), "{err}");
    assert_eq!(ended(&run(&["import-plgd"])).0, Some(2));
}

#[test]
fn a_configuration_comes_from_standard_input_and_is_printed_as_json() {
    let dir = world();
    let (_, from_file, said) = import(&dir, &input("minimal"));
    let mut command = sidecar(&["import-plgd", "-"]);
    let stdin = std::fs::File::open(dir.path().join("m2m-oauth-server.yaml")).expect("a file");
    let (code, out, err) = ended(
        &command
            .current_dir(dir.path())
            .stdin(stdin)
            .output()
            .expect("it runs"),
    );
    assert_eq!((code, &out), (Some(0), &from_file));
    assert_eq!(err, said.replace("m2m-oauth-server.yaml", "standard input"));
    let mut command = sidecar(&["import-plgd", "m2m-oauth-server.yaml", "--json"]);
    let (code, out, err) = ended(&command.current_dir(dir.path()).output().expect("it runs"));
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, err.as_str(), json["yaml"].as_str()),
        (Some(0), "", Some(from_file.as_str()))
    );
    assert_eq!(
        json["lost"].as_array().map(Vec::len),
        Some(said.lines().count())
    );
}
