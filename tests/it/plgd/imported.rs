//! What `import-plgd` makes of plgd's configurations, running: the bundle's users work, and clients
//! without a secret do not.

use super::*;
use crate::commands::{ended, sidecar as command};

/// What `import-plgd` makes of a configuration, with the paths of this test: a free port, and a
/// directory of its own.
fn imported(plgds: &str) -> String {
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = dir.path().join("m2m-oauth-server.yaml");
    std::fs::write(&file, plgds).expect("a writable directory");
    let output = command(&["import-plgd", &file.display().to_string()])
        .output()
        .expect("the binary runs");
    let (code, yaml, said) = ended(&output);
    assert_eq!(code, Some(0), "{said}");
    let line = |line: &str| match line.split_once(": ").map_or(line, |(key, _)| key).trim() {
        "listen" => "  listen: 127.0.0.1:0\n".to_owned(),
        "stateDir" => "stateDir: \"@DIR@\"\n".to_owned(),
        "store" => "store: { url: \"sqlite:@DIR@/m2m.db\" }\n".to_owned(),
        "privateKeyFile" => "    privateKeyFile: \"@DIR@/key.pem\"\n".to_owned(),
        "caFile" => String::new(),
        _ => format!("{line}\n"),
    };
    yaml.lines().map(line).collect()
}

fn example(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/import")
        .join(name);
    std::fs::read_to_string(path).expect("an input")
}

fn key_pem() -> String {
    let output = command(&["keygen", "--algorithm", "ES256"])
        .output()
        .expect("the binary runs");
    ended(&output).1
}

/// As the bundle's user IdP: its discovery document has no slash at the end of the issuer, its
/// tokens have one, and no `exp`.
#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_the_bundle_work_with_the_imported_configuration_as_it_is() {
    let users = Authority::start();
    let plgds = example("bundle.yaml").replace(
        "https://hub.example.com:8443\n",
        &format!("{}\n", users.issuer()),
    );
    let sidecar = Sidecar::builder()
        .key_file("key.pem", &key_pem())
        .start(&imported(&plgds))
        .await;
    users.wait_for_fetches(Endpoint::Jwks, 1).await;
    for issuer in [format!("{}/", users.issuer()), users.issuer()] {
        let user = users
            .token()
            .claim("iss", issuer)
            .claim("sub", "7")
            .without("exp")
            .sign();
        logs::remember_secret(&user);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "jwt-private-key"),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", user.as_str()),
        ];
        let address = sidecar.address("issuer");
        let answer = remember(post_form(address, TOKEN, &form, &[]).await);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let token = claims(answer.json()["access_token"].as_str().expect("a token"));
        assert_eq!((&token["sub"], token.get("exp")), (&json!("7"), None));
        let authorization = format!("Bearer {user}");
        let listed = request(
            "GET",
            address,
            TOKENS,
            &[("Authorization", &authorization)],
            b"",
        )
        .await;
        assert_eq!(listed.status, 200, "{}", listed.text());
        assert!(
            listed
                .text()
                .contains(token["jti"].as_str().expect("a jti")),
            "{}",
            listed.text()
        );
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_secret_file_is_empty_is_let_in_by_no_secret() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let good = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(good.path(), SECRET).expect("a writable file");
    let plgds = format!(
        "oauthSigner:\n  domain: hub.example\n  clients:\n    - {{ id: open, secretFile: \"{}\", \
         owner: \"1\", accessTokenLifetime: 1h }}\n    \
         - {{ id: good, secretFile: \"{}\", owner: \"1\", accessTokenLifetime: 1h }}\n",
        empty.path().display(),
        good.path().display()
    );
    let yaml = imported(&plgds);
    assert!(
        yaml.contains("# Disabled: its secret file is empty"),
        "{yaml}"
    );
    logs::remember_client_secret("good", SECRET);
    let sidecar = Sidecar::start(&yaml).await;
    let ask = async |sidecar: &Sidecar, id: &str, secret: &str| {
        let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        let form = [("grant_type", "client_credentials")];
        remember(
            post_form(
                sidecar.address("issuer"),
                TOKEN,
                &form,
                &[("Authorization", &basic)],
            )
            .await,
        )
        .status
    };
    for secret in ["", "\n", SECRET] {
        assert_eq!(ask(&sidecar, "open", secret).await, 401, "{secret:?}");
    }
    assert_eq!(ask(&sidecar, "good", SECRET).await, 200);
    // A secret in its file alone does not enable it.
    std::fs::write(empty.path(), SECRET).expect("a writable file");
    assert_eq!(ask(&sidecar, "open", SECRET).await, 401);
    sidecar.stop().await;
    let enabled: String = yaml
        .lines()
        .filter(|line| !line.contains("disabled: true"))
        .map(|it| format!("{it}\n"))
        .collect();
    let sidecar = Sidecar::start(&enabled).await;
    assert_eq!(ask(&sidecar, "open", SECRET).await, 200);
    sidecar.stop().await;
}
