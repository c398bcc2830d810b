//! Single keys, and the messages about them.

use std::path::Path;

use super::{Imported, ReadFile, import};
use crate::config::Problem;
use crate::domain::secret::SecretString;

const NO_FILES: ReadFile<'static> = &|_: &Path| None;

/// A server with one client, whose keys are given.
fn with_client(keys: &str) -> String {
    format!(
        "oauthSigner:\n  domain: hub.example\n  ownerClaim: sub\n  clients:\n    - {{ id: a, \
         {keys} }}\n"
    )
}

/// The imported YAML, and the settings that were not imported.
struct Made {
    yaml: String,
    lost: Vec<Problem>,
}

fn imported(plgds: &str, read: ReadFile<'_>) -> Made {
    let Imported { yaml, lost } = import(plgds, "f", read);
    Made {
        yaml: yaml.unwrap_or_else(|problems| panic!("{plgds}: {problems}")),
        lost,
    }
}

fn said(imported: &Made, key: &str) -> Vec<String> {
    imported
        .lost
        .iter()
        .filter(|lost| lost.key_path == key)
        .map(|lost| lost.message.clone())
        .collect()
}

fn refused(plgds: &str) -> String {
    import(plgds, "f", NO_FILES)
        .yaml
        .expect_err(plgds)
        .to_string()
}

#[test]
fn scalars_are_taken_as_plgds_parser_takes_them() {
    for (owner, expected) in [
        ("1", "\"1\""),
        ("007", "\"007\""),
        ("0x10", "\"0x10\""),
        ("1e3", "\"1e3\""),
        ("true", "\"true\""),
        ("!!str 5", "\"5\""),
        ("\"a\\\"b: ${HOME}\"", "\"a\\\"b: $${HOME}\""),
    ] {
        let out = imported(
            &with_client(&format!("secretFile: /s, owner: {owner}")),
            NO_FILES,
        );
        assert!(
            out.yaml.contains(&format!("owner: {expected}\n")),
            "{owner}: {}",
            out.yaml
        );
    }
    for (lifetime, expected) in [
        ("90m", "1h30m"),
        ("3600000000000", "1h"),
        ("300ms", "1s"),
        ("99999h", "8784h"),
    ] {
        let keys = format!("secretFile: /s, owner: x, accessTokenLifetime: {lifetime}");
        let out = imported(&with_client(&keys), NO_FILES);
        assert!(
            out.yaml
                .contains(&format!("accessTokenLifetime: {expected}\n")),
            "{lifetime}: {}",
            out.yaml
        );
    }
    for yes in ["true", "yes", "On", "y"] {
        let keys = format!(
            "jwtPrivateKey: {{ enabled: {yes}, authorization: {{ authority: https://users.example \
             }} }}"
        );
        let out = imported(&with_client(&keys), NO_FILES);
        assert!(
            out.yaml
                .contains("jwtPrivateKey: { authorities: [users.example] }"),
            "{yes}: {}",
            out.yaml
        );
    }
}

#[test]
fn values_that_plgd_refuses_are_errors() {
    for (keys, problem) in [
        (
            "secretFile: [a]",
            "f:5:16: oauthSigner.clients[0].secretFile: expected a text, found a list",
        ),
        (
            "secretFile: /s, accessTokenLifetime: -1h",
            "accessTokenLifetime: expected a duration",
        ),
        (
            "secretFile: /s, accessTokenLifetime: -1",
            "accessTokenLifetime: expected a duration",
        ),
        (
            "secretFile: /s, insertTokenClaims: [a]",
            "insertTokenClaims: expected a mapping",
        ),
        (
            "secretFile: /s, jwtPrivateKey: { enabled: \"yes\" }",
            "enabled: expected true or false",
        ),
        ("secretFile: /s, owner: a, owner: b", "the key is repeated"),
    ] {
        let message = refused(&with_client(keys));
        assert!(message.contains(problem), "{keys}: {message}");
    }
    for domain in [
        "",
        "https://hub.example",
        "hub.example/path",
        "a b",
        "hub.example?x",
    ] {
        let message = refused(
            &with_client("secretFile: /s").replace("hub.example", &format!("\"{domain}\"")),
        );
        assert!(
            message.contains("oauthSigner.domain: "),
            "{domain}: {message}"
        );
    }
}

#[test]
fn no_key_is_lost_without_a_word() {
    let plgds =
        with_client("secretFile: /s, owner: x, jwtPrivateKey: { enable: true }, tokenLifetime: 1h")
            + "more: 1\n";
    let out = imported(&plgds, NO_FILES);
    for key in [
        "more",
        "oauthSigner.clients[0].tokenLifetime",
        "oauthSigner.clients[0].jwtPrivateKey.enable",
    ] {
        assert!(
            said(&out, key)
                .iter()
                .any(|message| message.contains("does not use this key")),
            "{key}: {:?}",
            out.lost
        );
    }
    // Imported keys and keys without a value are not reported.
    let plgds = with_client(
        "secretFile: /s, owner: x, accessTokenLifetime: 1h, allowedScopes: , jwtPrivateKey: ",
    );
    let keys: Vec<_> = imported(&plgds, NO_FILES)
        .lost
        .into_iter()
        .map(|lost| lost.key_path)
        .collect();
    assert_eq!(
        keys,
        [
            "apis.http.address",
            "oauthSigner.privateKeyFile",
            "oauthSigner.clients[0].secretFile"
        ]
    );
}

#[test]
fn a_secret_file_is_looked_at_but_not_shown() {
    for (content, said_of, disabled) in [
        ("top-secret-of-24-bytes-x\n", "", false),
        ("top-secret-of-24-bytes-x\r\n", "", false),
        ("top-secret-of-24-bytes-x\n\n", "has several lines", true),
        ("top-secret-of-24-bytes-x", "", false),
        (
            "",
            "is empty (plgd accepts it without a secret). The client is therefore disabled",
            true,
        ),
        ("\n", "contains only a line break", true),
        ("\r\n", "contains only a line break", true),
        ("top-secret", "shorter than 16 bytes", true),
        ("top-secret\n", "shorter than 16 bytes", true),
        (
            "top-secret-of-24-bytes-x\ntop-secret",
            "has several lines",
            true,
        ),
        ("top-secret-of-24-bytes-\0x", "a secret cannot have", true),
    ] {
        let read = |path: &Path| (path == Path::new("/s")).then(|| SecretString::from(content));
        let out = imported(&with_client("secretFile: file:///s, owner: x"), &read);
        let said = said(&out, "oauthSigner.clients[0].secretFile");
        assert_eq!(said.is_empty(), said_of.is_empty(), "{content:?}: {said:?}");
        assert!(
            said.iter().all(|message| message.contains(said_of)),
            "{said:?}"
        );
        assert!(out.yaml.contains("secretFile: /s\n"), "{}", out.yaml);
        assert_eq!(
            out.yaml.contains("      disabled: true\n"),
            disabled,
            "{content:?}: {}",
            out.yaml
        );
        assert_eq!(
            out.yaml.contains("      # Disabled: its secret"),
            disabled,
            "{content:?}: {}",
            out.yaml
        );
        assert!(!format!("{:?}{}", out.lost, out.yaml).contains("top-secret"));
    }
    let out = imported(
        &with_client("secretFile: \"data:,top-secret\", owner: x"),
        NO_FILES,
    );
    assert!(
        out.yaml.contains("secretFile: /etc/m2m-sidecar/a-secret\n")
            && !format!("{:?}{}", out.lost, out.yaml).contains("top-secret")
    );
}

#[test]
fn a_client_of_assertions_keeps_neither_secret_nor_owner() {
    let keys = "secretFile: /s, owner: x, jwtPrivateKey: { enabled: true, authorization: { \
                endpoints: [{ authority: https://users.example/ }, { authority: \
                https://hub.example/m2m-oauth-server }] } }";
    let out = imported(&with_client(keys), NO_FILES);
    assert!(
        !out.yaml.contains("secretFile") && !out.yaml.contains("owner: "),
        "{}",
        out.yaml
    );
    for (key, message) in [
        ("secretFile", "does not use the secret"),
        ("owner", "does not authenticate"),
        ("jwtPrivateKey.authorization", "without end"),
    ] {
        let said = said(&out, &format!("oauthSigner.clients[0].{key}"));
        assert!(
            said.iter().any(|said| said.contains(message)),
            "{key}: {said:?}"
        );
    }
}

#[test]
fn merge_keys_and_anchors_are_followed() {
    let plgds = "x: &a { secretFile: /a, owner: a }\ny: &b { owner: b, accessTokenLifetime: 5m \
                 }\noauthSigner:\n  domain: hub.example\n  clients:\n    - { <<: [*a, *b], id: \
                 one }\n    - { <<: *b, id: two, secretFile: /two, owner: own }\n";
    let yaml = imported(plgds, NO_FILES).yaml;
    let clients = yaml.split("    - id: ").collect::<Vec<_>>();
    assert!(
        clients[1].starts_with(
            "one\n      secretFile: /a\n      owner: \"a\"\n      accessTokenLifetime: 5m\n"
        ),
        "{yaml}"
    );
    assert!(
        clients[2].starts_with(
            "two\n      secretFile: /two\n      owner: \"own\"\n      accessTokenLifetime: 5m\n"
        ),
        "{yaml}"
    );
}

#[test]
fn only_loopback_addresses_are_taken_as_they_are() {
    for (address, expected) in [
        ("127.0.0.1:9080", "127.0.0.1:9080"),
        ("localhost:9080", "127.0.0.1:9080"),
        ("[::1]:9080", "\"[::1]:9080\""),
        (":9080", "127.0.0.1:9080"),
        ("0.0.0.0:9080", "127.0.0.1:9080"),
        ("hub.internal:9080", "127.0.0.1:9080"),
    ] {
        let plgds = with_client("secretFile: /s, owner: x")
            + &format!("apis: {{ http: {{ address: \"{address}\" }} }}\n");
        let out = imported(&plgds, NO_FILES);
        assert!(
            out.yaml.contains(&format!("listen: {expected}\n")),
            "{address}: {}",
            out.yaml
        );
        let near =
            address.contains("::1") || address.contains("127") || address.contains("localhost");
        assert_eq!(
            said(&out, "apis.http.address").is_empty(),
            near,
            "{address}"
        );
    }
}

#[test]
fn authorities_have_names_of_their_own() {
    let endpoints = "[{ authority: https://a.example/x }, { authority: https://a.example/y }, { \
                     authority: https://a.example/x }, { authority: \"https://[::1]:8443\" }]";
    let plgds = with_client("secretFile: /s, owner: x")
        + &format!(
            "apis: {{ grpc: {{ authorization: {{ ownerClaim: sub, endpoints: {endpoints} }} }} }}\n"
        );
    let yaml = imported(&plgds, NO_FILES).yaml;
    assert!(
        yaml.contains("  authorities: [self, a.example, a.example-2, \"___1_\"]\n"),
        "{yaml}"
    );
    assert!(
        yaml.contains("  a.example-2:\n    issuer: https://a.example/y\n"),
        "{yaml}"
    );
}

#[test]
fn authorities_that_differ_by_slashes_are_one() {
    let endpoints = "[{ authority: https://a.example }, { authority: https://a.example/ }, { \
                     authority: \"https://a.example//\" }, { authority: \
                                  \"https://hub.example//m2m-oauth-server/\" }]";
    let plgds = with_client("secretFile: /s, owner: x")
        + &format!(
            "apis: {{ grpc: {{ authorization: {{ ownerClaim: sub, endpoints: {endpoints} }} }} }}\n"
        );
    let yaml = imported(&plgds, NO_FILES).yaml;
    assert!(
        yaml.contains("  authorities: [self, a.example]\n"),
        "{yaml}"
    );
    assert_eq!(yaml.matches("    issuer: ").count(), 2, "{yaml}");
}

#[test]
fn without_an_address_for_http_it_is_the_one_behind_grpcs() {
    for (apis, expected) in [
        ("", "127.0.0.1:9101"),
        (
            "apis: { grpc: { address: \"0.0.0.0:9100\" } }\n",
            "127.0.0.1:9101",
        ),
        (
            "apis: { grpc: { address: \"localhost:9079\" }, http: { address: \"\" } }\n",
            "127.0.0.1:9080",
        ),
        (
            "apis: { grpc: { address: \":0\" }, http: }\n",
            "127.0.0.1:9101",
        ),
        (
            "apis: { grpc: { address: \":65535\" } }\n",
            "127.0.0.1:9101",
        ),
    ] {
        let out = imported(&(with_client("secretFile: /s, owner: x") + apis), NO_FILES);
        assert!(
            out.yaml.contains(&format!("listen: {expected}\n")),
            "{apis}: {}",
            out.yaml
        );
        assert!(
            said(&out, "apis.http.address")
                .iter()
                .any(|it| it.contains(expected)),
            "{:?}",
            out.lost
        );
    }
}

#[test]
fn claims_that_the_sidecar_sets_to_something_else_are_not_carried_over() {
    let with = |claims: &str| {
        with_client("secretFile: /s, owner: x").replace("  ownerClaim: sub\n", claims)
    };
    for claim in ["sub", "iss", "scope", "x"] {
        let out = imported(
            &with(&format!("  ownerClaim: x\n  deviceIDClaim: {claim}\n")),
            NO_FILES,
        );
        assert!(!out.yaml.contains("deviceIDClaim"), "{claim}: {}", out.yaml);
        assert!(
            said(&out, "oauthSigner.deviceIDClaim")
                .iter()
                .any(|it| it.contains("not imported")),
            "{claim}"
        );
    }
    let yaml = import(&with("  ownerClaim: scope\n"), "f", NO_FILES).yaml;
    let message = yaml
        .err()
        .map(|problems| problems.to_string())
        .unwrap_or_default();
    assert!(message.contains("oauthSigner.ownerClaim"), "{message}");
}

#[test]
fn of_two_cache_times_for_one_authority_the_shorter_is_taken() {
    let max_age = |api: &str, client: &str| {
        let trust = |age: &str| match age {
            "" => String::new(),
            age => format!("tokenTrustVerification: {{ cacheExpiration: {age} }}, "),
        };
        let endpoints = "endpoints: [{ authority: https://a.example/m2m-oauth-server/ }, { \
                         authority: https://a.example/x }]";
        let client = format!(
            "jwtPrivateKey: {{ enabled: true, authorization: {{ {}{endpoints} }} }}",
            trust(client)
        );
        let api = format!(
            "apis: {{ grpc: {{ authorization: {{ ownerClaim: sub, {}{endpoints} }} }} }}\n",
            trust(api)
        );
        let yaml = imported(&(with_client(&client) + &api), NO_FILES).yaml;
        // The users' authority has none, because it is not asked about tokens.
        assert_eq!(yaml.matches("    revocation: none\n").count(), 1, "{yaml}");
        let lines: Vec<_> = yaml
            .lines()
            .filter(|line| line.contains("maxAge"))
            .collect();
        assert!(lines.len() < 2, "{yaml}");
        (lines.first().map(|line| line.trim().to_owned()), yaml)
    };
    for (api, client, expected) in [
        ("30s", "10m", None),
        ("10m", "5s", Some("5s")),
        ("", "10m", None),
        ("10m", "10m", Some("10m")),
        ("5s", "", Some("5s")),
    ] {
        let (line, yaml) = max_age(api, client);
        let expected = expected.map(|age| format!("revocation: {{ kind: auto, maxAge: {age} }}"));
        assert_eq!(line, expected, "{api} {client}:\n{yaml}");
    }
}

#[test]
fn a_claim_that_switches_off_plgds_scope_check_is_left_out() {
    for value in ["null", "[]", "x"] {
        let keys = format!(
            "secretFile: /s, owner: x, insertTokenClaims: {{ a: 1, \"plgd:required:scope\": \
             {value} }}"
        );
        let out = imported(&with_client(&keys), NO_FILES);
        assert!(
            out.yaml.contains("        a: 1\n") && !out.yaml.contains("plgd:required"),
            "{}",
            out.yaml
        );
        let said = said(
            &out,
            "oauthSigner.clients[0].insertTokenClaims.plgd:required:scope",
        );
        assert!(
            said.len() == 1 && said[0].contains("passes the scope check"),
            "{said:?}"
        );
    }
}

mod properties {
    use proptest::prelude::*;

    use super::super::written;
    use crate::config::problem::Findings;
    use crate::config::{environment, tree, yaml};

    proptest! {
        #[test]
        fn every_text_is_read_back(text in "\\PC{0,20}|[-a-z0-9:#{}$\\[\\],&*!|>'\"%@` \
            .\\n\\t~]{0,12}|yes|null|0x1|1e3|\\$\\{HOME\\}") {
            let value = serde_json::json!({ "k": [text, { "in": text }] });
            let (scalar, json) = (written::scalar(&text), written::json(&value));
            let line = format!("a: {scalar}\nb: [{scalar}]\nc: {json}\n");
            let mut findings = Findings::default();
            let read = yaml::parse(&line, &mut findings);
            let mut read = read.ok_or_else(|| TestCaseError::fail(line.clone()))?;
            let root = tree::KeyPath::default();
            environment::interpolate(&mut read, &root, &|_| None, &mut findings);
            let (errors, _) = findings.locate("f", None);
            prop_assert!(errors.is_empty(), "{line}: {errors:?}");
            let expected = serde_json::json!({ "a": text, "b": [text], "c": value });
            prop_assert_eq!(read.to_json(), expected);
        }

        #[test]
        fn no_input_makes_it_panic(text in "\\PC{0,200}") {
            let _ = super::import(&text, "f", super::NO_FILES);
            let _ = super::import(&super::with_client(&text), "f", super::NO_FILES);
        }
    }
}
