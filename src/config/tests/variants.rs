//! Accepted configurations that differ from the full and the minimal one in single keys.

use std::time::Duration;

use super::accepted::FULL;
use super::{
    Files, SMALL, assert_problem, config, problems, small, small_but, small_with, warnings,
};
use crate::issuer;
use crate::verifier::{KeySource, Profile};

#[test]
fn an_inbound_listener_can_answer_for_the_issuer() {
    let text = small_but("  listen: 127.0.0.1:8080\n", "")
        .replace("audiences: any", "audiences: any\n    issuer: true");
    assert_eq!(config(&text).issuer.unwrap().listen, None);
    let text =
        small_but("audiences: any", "audiences: any\n    issuer: true").replacen(SMALL[0].1, "", 1);
    assert_problem(
        &text,
        "inbound[0].issuer",
        "the section `issuer` is missing",
    );
}

#[test]
fn an_authority_without_own_issuer_is_discovered() {
    let config = config(&small().replacen(SMALL[0].1, "", 1));
    assert_eq!(config.authorities[0].keys, KeySource::Discovery);
}

#[test]
fn root_paths_follow_the_issuer_url() {
    for (url, extra, expected) in [
        ("http://a", "", true),
        ("http://a/", "", true),
        ("http://a/m2m", "", false),
        ("http://a/m2m", "  rootPaths: true\n", true),
        ("http://a", "  rootPaths: false\n", false),
    ] {
        let text = format!("issuer:\n  url: {url}\n  listen: 127.0.0.1:0\n{extra}");
        assert_eq!(
            config(&text).issuer.unwrap().issuer.root_paths,
            expected,
            "{url} {extra}"
        );
    }
}

#[test]
fn port_0_can_be_taken_by_many() {
    let text = small()
        .replace(":8081", ":0")
        .replace(":8082", ":0")
        .replace("listen: 127.0.0.1:8080", "listen: 127.0.0.1:0");
    assert!(problems(&text).is_empty());
}

#[test]
fn the_rotation_of_keys_can_be_changed_and_disabled() {
    let every = |lines: &str| {
        config(&small_with("issuer", lines))
            .issuer
            .unwrap()
            .issuer
            .rotate_every
    };
    assert_eq!(every(""), Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(
        every("  signing: { algorithm: ES384 }\n"),
        Some(Duration::from_secs(30 * 86_400))
    );
    assert_eq!(
        every("  signing: { rotateEvery: 1h }\n"),
        Some(Duration::from_secs(3600))
    );
    assert_eq!(every("  signing: { rotateEvery: 0s }\n"), None);
}

#[test]
fn a_secret_is_ignored_if_the_client_sends_jwts() {
    let text = small_with(
        "issuer",
        "  clients: [{ id: a, secretFile: \"${DIR}/secret\", jwksUri: \"https://a.example/jwks\" \
         }]\n",
    );
    let warnings = warnings(&text);
    assert!(
        warnings
            .iter()
            .any(|it| it.contains("clients[0].secretFile: ignored")),
        "{warnings:?}"
    );
    let issuer = config(&text).issuer.unwrap().issuer;
    assert!(issuer.clients[0].secrets.is_empty());
}

#[test]
fn values_from_the_environment_may_be_numbers_and_booleans() {
    let text = small_with("issuer", "threads: ${THREADS}\n")
        .replace("audiences: any", "audiences: any\n    preserveHost: ${YES}");
    let config = config(&text);
    assert_eq!(config.threads, 3);
    assert!(config.inbound[0].settings.preserve_host);
    assert_problem(
        &small_with("issuer", "threads: \"${THREADS}\"\n"),
        "threads",
        "expected a whole number, found a text",
    );
    assert_problem(
        &small_with("issuer", "threads: ${NOWHERE}\n"),
        "threads",
        "environment variable `NOWHERE` is not set",
    );
}

#[test]
fn a_dump_of_a_configuration_holds_no_secret() {
    let dump = format!("{:?}", Files::new().parse(FULL).unwrap());
    assert!(!dump.contains("0123456789abcdef"), "{dump}");
}

#[test]
fn endless_tokens_of_plgd_are_accepted_with_a_revocation_check() {
    let text = small_but("self: { ", "self: { requireExpiry: false, profile: plgd, ");
    let authority = &config(&text).authorities[0];
    assert!(!authority.require_expiry && authority.profile == Profile::Plgd);
}

#[test]
fn an_owner_belongs_to_an_authority() {
    let others =
        "  one: { issuer: \"https://one.example\" }\n  two: { issuer: \"https://two.example\" }\n";
    let text = |trusted: &str, owner: &str| {
        let client =
            format!("  clients: [{{ id: a, secretFile: \"${{DIR}}/secret\", {owner} }}]\n");
        let issuer = format!("  profile: plgd\n  authorities: [{trusted}]\n{client}");
        small_with("issuer", &issuer).replace("inbound:\n", &format!("{others}inbound:\n"))
    };
    let role = config(&text("self, one, two", "owner: \"1\", ownerAuthority: two"))
        .issuer
        .unwrap();
    assert_eq!(
        role.issuer.user_issuers,
        ["https://one.example", "https://two.example"]
    );
    assert_eq!(
        role.issuer.clients[0].owner_issuer.as_deref(),
        Some("https://two.example")
    );
    assert_eq!(
        warnings(&text("self, one, two", "owner: \"1\", ownerAuthority: two")),
        [""; 0]
    );
    assert_eq!(warnings(&text("self, one", "owner: \"1\"")), [""; 0]);
    let warned = warnings(&text("self, one, two", "owner: \"1\""));
    assert!(
        warned.len() == 1 && warned[0].contains("`ownerAuthority`"),
        "{warned:?}"
    );
    for (owner, message) in [
        ("ownerAuthority: two", "needs `owner`"),
        ("owner: x, ownerAuthority: tow", "`two`"),
    ] {
        assert_problem(
            &text("self", owner),
            "issuer.clients[0].ownerAuthority",
            message,
        );
    }
}

#[test]
fn the_plgd_profile_has_its_own_defaults() {
    let text = small_with(
        "issuer",
        "  profile: plgd\n  accessTokenLifetime: 0s\n  deviceIDClaim: device\n  authorities: \
         [self]\n",
    );
    let role = config(&text).issuer.unwrap();
    assert_eq!(
        (role.issuer.profile, role.issuer.owner_claim.as_str()),
        (issuer::Profile::Plgd, "sub")
    );
    assert_eq!(
        (
            role.issuer.access_token_lifetime,
            role.issuer.device_id_claim.as_str()
        ),
        (Duration::ZERO, "device")
    );
    assert_problem(
        &small_with("issuer", "  profile: plgd\n  authorities: [users]\n"),
        "issuer.authorities[0]",
        "no authority has this name",
    );
    assert_problem(
        &small_with("issuer", "  ownerClaim: sub\n"),
        "issuer.ownerClaim",
        "the issuer sets this claim itself",
    );
}

#[test]
fn slashes_do_not_matter_in_the_plgd_profile() {
    let authorities =
        "authorities:\n  users: { issuer: \"https://idp.example/\", profile: plgd }\n";
    let issuer = "  profile: plgd\n  authorities: [self, users]\n  clients: [{ id: a, secretFile: \
        \"${DIR}/secret\", owner: x, \
                  ownerAuthority: users }]\n";
    let text = small_with("issuer", issuer)
        .replace(
            "{ issuer: \"http://127.0.0.1:8080\" }",
            "{ issuer: \"http://127.0.0.1:8080/\", profile: plgd }",
        )
        .replace("authorities:\n", authorities);
    let config = config(&text);
    let own = config
        .authorities
        .iter()
        .find(|authority| authority.name == "self")
        .unwrap();
    assert_eq!(own.keys, KeySource::OwnIssuer);
    let role = config.issuer.unwrap();
    assert_eq!(
        role.issuer.user_issuers,
        ["https://idp.example"],
        "our own is none of them"
    );
    assert_eq!(
        role.issuer.clients[0].owner_issuer.as_deref(),
        Some("https://idp.example")
    );
}
