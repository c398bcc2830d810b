//! Configuration: any text. It is read or refused without a panic, and no message contains a value
//! of the environment or of a secret file.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use m2m_sidecar::for_tests::config;

const FROM_ENVIRONMENT: &str = "K7-hush-hush-environment-91";
const FROM_FILE: &str = "Q4-hush-hush-secret-file-28";

fuzz_target!(|text: &str| {
    // Reading a device may never end. Texts with "hush" would match the secrets below.
    if ["/dev", "/proc", "hush"]
        .iter()
        .any(|part| text.contains(part))
    {
        return;
    }
    let environment = |name: &str| match name {
        "DIR" => Some(FILES.clone()),
        "HOST" => Some("127.0.0.1:8080".to_owned()),
        "NOT_SET" => None,
        _ => Some(FROM_ENVIRONMENT.to_owned()),
    };
    let said = match config::parse(text, "fuzz.yaml", &environment) {
        Ok(loaded) => {
            assert!(
                !format!("{:?}", loaded.config).contains(FROM_FILE),
                "a secret in the configuration's debug form"
            );
            loaded
                .warnings
                .iter()
                .map(|warning| format!("{warning}\n{warning:?}"))
                .collect::<String>()
        }
        Err(problems) => format!("{problems}\n{problems:?}"),
    };
    for secret in [FROM_ENVIRONMENT, FROM_FILE] {
        // Not a part of it either; messages may quote in capitals.
        assert!(
            !said
                .to_lowercase()
                .contains(&secret[3..secret.len() - 3].to_lowercase()),
            "a secret was shown: {said}"
        );
    }
});

/// The directory with the files that the corpus names.
static FILES: LazyLock<String> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join("m2m-sidecar-fuzz");
    std::fs::create_dir_all(&directory).expect("a directory");
    for (name, content) in [
        ("secret", FROM_FILE),
        ("keys.json", r#"{"keys":[]}"#),
        (
            "ca.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ),
        (
            "key.pem",
            &format!("-----BEGIN PRIVATE KEY-----\n{FROM_FILE}\n-----END PRIVATE KEY-----\n"),
        ),
    ] {
        std::fs::write(directory.join(name), content).expect("a file");
    }
    directory.to_str().expect("it is UTF-8").to_owned()
});
