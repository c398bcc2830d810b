//! Every `…File` key of the schema, and the test that changes its file while a sidecar runs.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// A key of the schema: the definition that has it, its name, and the test.
const HOT: &[(&str, &str, &str)] = &[
    (
        "Admin",
        "tokenFile",
        "a_new_admin_token_is_taken_and_the_old_one_counts_for_a_while",
    ),
    (
        "Authority",
        "caFile",
        "the_keys_of_an_authority_are_fetched_with_the_certificates_that_its_file_has_now",
    ),
    (
        "Authority",
        "jwksFile",
        "a_changed_jwks_file_takes_effect_however_it_is_changed",
    ),
    // It is read for each fetch of the keys.
    (
        "Authority",
        "keyTokenFile",
        "a_service_account_token_replaces_the_secret",
    ),
    (
        "BasicUpstream",
        "passwordFile",
        "a_changed_secret_is_used_at_once_and_a_broken_one_changes_nothing",
    ),
    (
        "CertificatePair",
        "certFile",
        "files_that_change_under_load_fail_no_request",
    ),
    (
        "CertificatePair",
        "keyFile",
        "files_that_change_under_load_fail_no_request",
    ),
    (
        "Client",
        "jwksFile",
        "a_set_is_kept_for_a_while_and_asked_for_again_when_a_key_is_missing",
    ),
    (
        "Client",
        "secretFile",
        "a_new_secret_is_right_at_once_and_the_old_one_for_the_grace_period",
    ),
    (
        "Credential",
        "assertionFile",
        "a_foreign_assertion_is_read_for_each_request",
    ),
    (
        "Credential",
        "caFile",
        "every_file_of_a_credential_is_watched",
    ),
    (
        "Credential",
        "certFile",
        "every_file_of_a_credential_is_watched",
    ),
    (
        "Credential",
        "clientSecretFile",
        "a_changed_secret_is_tried_at_once_and_the_old_token_used_until_then",
    ),
    (
        "Credential",
        "keyFile",
        "every_file_of_a_credential_is_watched",
    ),
    (
        "Credential",
        "tokenFile",
        "the_token_of_a_file_is_sent_and_a_new_one_takes_its_place",
    ),
    (
        "Credential",
        "privateKeyFile",
        "every_file_of_a_credential_is_watched",
    ),
    // It is read for each connection to the proxy.
    (
        "Proxy",
        "passwordFile",
        "keys_and_tokens_go_through_the_proxy_with_its_password",
    ),
    (
        "Introspection",
        "secretFile",
        "a_reload_keeps_the_answers_and_a_changed_secret_takes_effect",
    ),
    (
        "Issuer",
        "clientJwksCaFile",
        "the_keys_of_a_client_are_fetched_with_the_certificates_that_the_file_has_now",
    ),
    (
        "Placed",
        "bearerFile",
        "a_changed_secret_is_used_at_once_and_a_broken_one_changes_nothing",
    ),
    (
        "Placed",
        "valueFile",
        "a_changed_secret_is_used_at_once_and_a_broken_one_changes_nothing",
    ),
    // It is read for each renewal.
    (
        "RotateSecret",
        "adminTokenFile",
        "an_old_secret_is_replaced_and_no_request_fails_meanwhile",
    ),
    (
        "ServerTls",
        "certFile",
        "a_renewed_pair_takes_effect_for_new_connections_and_a_broken_one_does_not",
    ),
    (
        "ServerTls",
        "clientCaFile",
        "a_replaced_authority_takes_effect_for_new_connections",
    ),
    (
        "ServerTls",
        "clientCrlFile",
        "files_that_change_under_load_fail_no_request",
    ),
    (
        "ServerTls",
        "keyFile",
        "a_renewed_pair_takes_effect_for_new_connections_and_a_broken_one_does_not",
    ),
    (
        "Signing",
        "privateKeyFile",
        "another_signing_key_signs_at_once_and_an_unusable_file_changes_nothing",
    ),
    (
        "Store",
        "encryptionKeyFile",
        "another_encryption_key_encrypts_the_stored_keys_again",
    ),
    (
        "UpstreamTls",
        "caFile",
        "replaced_authorities_apply_to_new_connections_and_broken_ones_change_nothing",
    ),
    (
        "UpstreamTls",
        "certFile",
        "a_renewed_certificate_is_used_for_new_requests_and_a_broken_one_changes_nothing",
    ),
    (
        "UpstreamTls",
        "keyFile",
        "a_renewed_certificate_is_used_for_new_requests_and_a_broken_one_changes_nothing",
    ),
    (
        "ValueFile",
        "valueFile",
        "every_file_of_a_credential_is_watched",
    ),
];

/// The keys of a schema that end in `File`, by the definition that has them.
fn file_keys(schema: &Value, within: &str, found: &mut Vec<(String, String)>) {
    match schema {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("properties", Value::Object(properties)) => {
                        for (key, property) in properties {
                            if key.ends_with("File") {
                                found.push((within.to_owned(), key.clone()));
                            }
                            file_keys(property, within, found);
                        }
                    }
                    ("$defs", Value::Object(definitions)) => {
                        for (name, definition) in definitions {
                            file_keys(definition, name, found);
                        }
                    }
                    _ => file_keys(value, within, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| file_keys(item, within, found)),
        _ => {}
    }
}

/// Every line of the sources below a directory.
fn sources(directory: &Path, texts: &mut String) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push_str(&std::fs::read_to_string(path).expect("a source"));
        }
    }
}

#[test]
fn the_file_of_every_key_takes_effect_without_a_restart() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = std::fs::read(root.join("docs/m2m-sidecar.schema.json")).expect("the schema");
    let schema = serde_json::from_slice(&schema).expect("JSON");
    let mut keys = Vec::new();
    file_keys(&schema, "", &mut keys);
    keys.sort_unstable();
    keys.dedup();
    let tests: BTreeMap<_, _> = HOT
        .iter()
        .map(|(within, key, test)| (((*within).to_owned(), (*key).to_owned()), *test))
        .collect();
    let missing: Vec<_> = keys.iter().filter(|key| !tests.contains_key(key)).collect();
    assert!(
        missing.is_empty(),
        "make the files of these keys hot, test that, and name the test here: {missing:?}"
    );
    let mut texts = String::new();
    sources(&root.join("src"), &mut texts);
    sources(&root.join("tests/it"), &mut texts);
    for (key, test) in &tests {
        assert!(keys.contains(key), "the schema has no such key: {key:?}");
        assert!(
            texts.contains(&format!("fn {test}(")),
            "there is no test {test}"
        );
    }
}
