//! The owners and networks of a client's requests, and the `aud` of its assertions.

use super::{assert_problem, config, small_with, warnings};
use crate::issuer::client::AssertionAudiences;

/// The lines of an issuer with one client; `more` are further keys of it.
fn client(issuer: &str, more: &str) -> String {
    let lines = format!(
        "{issuer}  clients:\n    - {{ id: meter, secretFile: \"${{DIR}}/secret\", {more} }}\n"
    );
    small_with("issuer", &lines)
}

const DEVICE: &str = "  deviceIDClaim: https://plgd.dev/deviceId\n";

#[test]
fn owners_devices_and_networks_are_resolved() {
    let more = "allowedOwners: [\"1\", \"t-*\"], allowDeviceId: true, \
                allowedNetworks: [10.0.0.0/8, 192.0.2.7]";
    let issuer = config(&client(DEVICE, more)).issuer.unwrap().issuer;
    let client = &issuer.clients[0];
    let owners = client.allowed_choices.owners.iter();
    assert_eq!(
        owners.map(ToString::to_string).collect::<Vec<_>>(),
        ["1", "t-*"]
    );
    assert!(client.allowed_choices.device_id);
    let networks = client.allowed_networks.iter();
    assert_eq!(
        networks.map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/8", "192.0.2.7/32"]
    );
    assert_eq!(client.assertion_audiences, AssertionAudiences::Issuer);
}

#[test]
fn an_owner_is_one_or_a_beginning() {
    for (owner, message) in [
        ("\"a*b\"", "`*` may only be at the end"),
        ("\"\"", "1 to 256 bytes"),
        ("\"a\\nb\"", "no control characters"),
    ] {
        let text = client("", &format!("allowedOwners: [ok, {owner}]"));
        assert_problem(&text, "issuer.clients[0].allowedOwners[1]", message);
    }
    let text = client("", "allowedNetworks: [10.0.0.1/8]");
    assert_problem(&text, "issuer.clients[0].allowedNetworks[0]", "mask");
    let found = warnings(&client("", "allowedOwners: [a, \"*\"]"));
    assert!(
        found[0].contains("the other entries have no effect"),
        "{found:?}"
    );
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_device_needs_a_claim() {
    let text = client("", "allowDeviceId: true");
    assert_problem(
        &text,
        "issuer.clients[0].allowDeviceId",
        "set `issuer.deviceIDClaim`",
    );
}

#[test]
fn the_users_of_an_exchange_choose_nothing() {
    let text = |more: &str| {
        let lines = format!(
            "{DEVICE}  clients:\n    - {{ id: portal, jwtPrivateKey: {{ authorities: [users] }}, \
             {more} }}\n"
        );
        small_with("issuer", &lines).replace(
            "authorities:\n  self:",
            "authorities:\n  users: { issuer: \"https://idp.example\" }\n  self:",
        )
    };
    for (key, value) in [("allowedOwners", "[\"1\"]"), ("allowDeviceId", "true")] {
        let path = format!("issuer.clients[0].{key}");
        assert_problem(&text(&format!("{key}: {value}")), &path, "`jwtPrivateKey`");
    }
}

#[test]
fn a_claim_with_the_name_of_a_parameter_is_refused() {
    for name in [
        "audience",
        "resource",
        "token_name",
        "clientSecret",
        "Expiration",
        "grant-type",
    ] {
        for key in ["ownerClaim", "deviceIDClaim"] {
            let text = small_with("issuer", &format!("  {key}: {name}\n"));
            assert_problem(&text, &format!("issuer.{key}"), "also that of a parameter");
        }
    }
    config(&small_with(
        "issuer",
        "  ownerClaim: https://plgd.dev/owner\n",
    ));
}

#[test]
fn an_owners_authority_needs_an_owner_to_choose() {
    let users = |more: &str| {
        client("", more).replace(
            "authorities:\n  self:",
            "authorities:\n  users: { issuer: \"https://idp.example\" }\n  self:",
        )
    };
    config(&users("ownerAuthority: users, allowedOwners: [\"*\"]"));
    let path = "issuer.clients[0].ownerAuthority";
    assert_problem(
        &users("ownerAuthority: users"),
        path,
        "`owner` or `allowedOwners`",
    );
}

#[test]
fn only_clients_with_keys_have_legacy_assertions() {
    let path = "issuer.clients[0].assertionAudiences";
    assert_problem(
        &client("", "assertionAudiences: legacy"),
        path,
        "`jwksFile` or `jwksUri`",
    );
    let with_keys = client("", "assertionAudiences: legacy").replace(
        "secretFile: \"${DIR}/secret\"",
        "jwksFile: \"${DIR}/keys.json\"",
    );
    let issuer = config(&with_keys).issuer.unwrap().issuer;
    assert_eq!(
        issuer.clients[0].assertion_audiences,
        AssertionAudiences::Legacy
    );
}

#[test]
fn assertions_for_a_bare_token_url_are_a_warning() {
    let credential = |more: &str| {
        let lines = format!(
            "  bank: {{ clientID: a, authMethod: private_key_jwt, privateKeyFile: \
             \"${{DIR}}/key.pem\", {more} }}\n"
        );
        let found = warnings(&small_with("credentials", &lines));
        found
            .into_iter()
            .filter(|it| it.contains("bank.tokenUrl"))
            .collect::<Vec<_>>()
    };
    let found = credential("tokenUrl: \"https://bank.example/token\"");
    assert!(
        found.len() == 1 && found[0].contains("RFC 7523bis"),
        "{found:?}"
    );
    for more in [
        "tokenUrl: \"https://bank.example/token\", assertionAudience: \"https://bank.example\"",
        "authority: \"https://bank.example\"",
    ] {
        assert!(credential(more).is_empty(), "{more}");
    }
}
