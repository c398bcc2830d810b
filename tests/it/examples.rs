//! Checks the configurations of `examples/` that no command of its README runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::certificates::CertificateAuthority;
use crate::support::workloads::TrustDomain;

fn example(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The text of a ConfigMap's key, written as a block (`key: |`).
fn block<'a>(manifest: &'a str, key: &str) -> Vec<&'a str> {
    let mut lines = manifest
        .lines()
        .skip_while(|line| line.trim() != format!("{key}: |"))
        .skip(1)
        .peekable();
    let first = lines.peek().expect("the block has lines");
    let indent = &first[..first.len() - first.trim_start().len()];
    lines
        .map_while(|line| {
            if line.is_empty() {
                Some("")
            } else {
                line.strip_prefix(indent)
            }
        })
        .collect()
}

/// A secret in a file that only its user can read: `check` warns of others.
fn secret_file(dir: &TempDir, name: &str) {
    let path = dir.path().join(name);
    fs::write(&path, "a-secret-of-16-bytes").expect("a writable directory");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
}

/// Runs `m2m-sidecar check` on a configuration, with `dir` as the directories of the environment.
fn check(dir: &TempDir, configuration: &str) {
    let file = dir.path().join("m2m-sidecar.yaml");
    fs::write(&file, configuration).expect("a writable directory");
    let output = Command::new(env!("CARGO_BIN_EXE_m2m-sidecar"))
        .args(["check", "--config"])
        .arg(&file)
        .env("CREDENTIALS_DIRECTORY", dir.path())
        .env("STATE_DIRECTORY", dir.path())
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.as_ref()), (Some(0), ""));
}

#[test]
fn the_configuration_beside_the_systemd_unit_passes_the_check() {
    let dir = TempDir::new().expect("a directory");
    let unit = example("systemd/m2m-sidecar.service");
    // The secret's name is the unit's.
    let loaded = unit
        .lines()
        .find_map(|line| line.strip_prefix("LoadCredential="))
        .expect("a credential");
    let (name, _) = loaded.split_once(':').expect("name:path");
    secret_file(&dir, name);
    check(&dir, &example("systemd/m2m-sidecar.yaml"));
}

#[test]
fn the_configuration_beside_the_verifiers_passes_the_check() {
    let dir = TempDir::new().expect("a directory");
    secret_file(&dir, "legacy-secret");
    let here = dir.path().display().to_string();
    check(
        &dir,
        &example("verifiers/issuer.yaml").replace("${DATA_DIR}", &here),
    );
}

#[test]
fn the_configuration_beside_the_proxies_passes_the_check() {
    let dir = TempDir::new().expect("a directory");
    secret_file(&dir, "legacy-secret");
    let here = dir.path().display().to_string();
    check(
        &dir,
        &example("decisions/m2m-sidecar.yaml").replace("${DATA_DIR}", &here),
    );
}

#[test]
fn the_configuration_in_the_kubernetes_manifest_passes_the_check() {
    let dir = TempDir::new().expect("a directory");
    secret_file(&dir, "hub-secret");
    let manifest = example("kubernetes/sidecar.yaml");
    let configuration = block(&manifest, "m2m-sidecar.yaml").join("\n");
    assert!(
        configuration.starts_with("log:") && configuration.contains("outbound:"),
        "{configuration}"
    );
    // Both volumes are mounted where the configuration looks for them.
    for path in ["/run/secrets/m2m-sidecar", "/var/lib/m2m-sidecar"] {
        assert!(
            configuration.contains(path) && manifest.contains(&format!("mountPath: {path}")),
            "{path}"
        );
    }
    let here = dir.path().display().to_string();
    check(
        &dir,
        &configuration
            .replace("/run/secrets/m2m-sidecar", &here)
            .replace("/var/lib/m2m-sidecar", &here),
    );
}

/// The ConfigMaps' configurations of the manifest without secrets: the issuer's, the program's.
fn without_secrets() -> [String; 2] {
    let manifest = example("kubernetes/without-secrets.yaml");
    let (issuer, rest) = manifest.split_once("\n---\n").expect("several documents");
    [issuer, rest].map(|part| block(part, "m2m-sidecar.yaml").join("\n"))
}

#[test]
fn the_configurations_without_secrets_in_the_manifest_pass_the_check() {
    let dir = TempDir::new().expect("a directory");
    secret_file(&dir, "token");
    let authority = CertificateAuthority::new("the cluster");
    fs::write(dir.path().join("ca.crt"), authority.pem).expect("a writable directory");
    jwt_file(&dir, "issuer");
    let here = dir.path().display().to_string();
    let [issuer, program] = without_secrets();
    assert!(issuer.contains("federated:") && program.contains("assertionFile:"));
    for configuration in [issuer, program] {
        let configuration = configuration
            .replace("/var/run/secrets/kubernetes.io/serviceaccount", &here)
            .replace("/var/run/secrets/tokens", &here)
            .replace("/var/lib/m2m-sidecar", &here);
        check(&dir, &configuration);
    }
}

#[test]
fn the_configurations_beside_spire_pass_the_check() {
    let dir = TempDir::new().expect("a directory");
    let domain = TrustDomain::named("example.org");
    let svid = domain.x509_svid("/issuer");
    let bundle = domain.helper_file().to_string();
    for (name, content) in [
        ("svid.pem", &svid.cert_pem),
        ("svid_key.pem", &svid.key_pem),
        ("svid_bundle.pem", &domain.authority.pem),
        ("jwt_bundle.json", &bundle),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("a writable directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
    }
    jwt_file(&dir, "jwt_svid.token");
    let here = dir.path().display().to_string();
    let helper = example("spiffe/spiffe-helper.conf");
    for name in ["issuer.yaml", "sidecar.yaml"] {
        let text = example(&format!("spiffe/{name}"));
        // Each file is one that spiffe-helper writes.
        for line in text
            .lines()
            .filter(|line| line.contains("File: ${DATA_DIR}/"))
        {
            let file = line
                .split("${DATA_DIR}/")
                .nth(1)
                .and_then(|it| it.split(' ').next());
            let file = file.expect("a file");
            assert!(helper.contains(&format!("\"{file}\"")), "{file}");
        }
        check(&dir, &text.replace("${DATA_DIR}", &here));
    }
}

fn jwt_file(dir: &TempDir, name: &str) {
    let path = dir.path().join(name);
    fs::write(&path, "e30.e30.c2ln").expect("a writable directory");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
}
