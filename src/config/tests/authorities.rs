//! The keys of an authority that bound or choose its tokens.

use std::time::Duration;

use super::{assert_problem, config, small_but, small_with, warnings};
use crate::verifier::ConfiguredClient;

/// The small configuration with further keys of its authority.
fn with(keys: &str) -> String {
    small_but("self: { ", &format!("self: {{ {keys}, "))
}

#[test]
fn a_lifetime_is_bounded_and_contradicts_endless_tokens() {
    let lifetime = |keys| config(&with(keys)).authorities[0].max_token_lifetime;
    let day = Duration::from_hours(24);
    assert_eq!(lifetime("maxTokenLifetime: 24h"), Some(day));
    assert_eq!(lifetime("maxTokenLifetime: 3650d"), Some(day * 3650));
    assert_eq!(lifetime("clockSkew: 1s"), None);
    for wrong in ["59s", "3651d", "0s"] {
        assert_problem(
            &with(&format!("maxTokenLifetime: {wrong}")),
            "authorities.self.maxTokenLifetime",
            "it must be from 1m to",
        );
    }
    assert_problem(
        &with("maxTokenLifetime: 1h, requireExpiry: false"),
        "authorities.self.maxTokenLifetime",
        "accepts tokens that never expire",
    );
}

/// An authority of a listener that introspects opaque tokens.
fn introspecting(keys: &str) -> String {
    let authorities = format!(
        "  users:\n    issuer: https://idp.example\n    introspection: {{ url: \
         \"https://idp.example/introspect\", {keys} }}\n"
    );
    small_with("authorities", &authorities).replace("[self]", "[self, users]")
}

#[test]
fn introspection_has_one_client_or_none() {
    let client = |keys: &str| {
        let config = config(&introspecting(keys));
        let authority = config.authorities.into_iter().find(|it| it.name == "users");
        authority.unwrap().introspection.unwrap().client
    };
    assert_eq!(client("cache: 1s"), ConfiguredClient::Anonymous);
    let credential = ConfiguredClient::Credential("hub".to_owned());
    assert_eq!(client("credential: hub"), credential);
    let own = client("clientId: me, secretFile: \"${DIR}/secret\"");
    assert!(
        matches!(&own, ConfiguredClient::Secret { client_id, .. } if client_id == "me"),
        "{own:?}"
    );
    let at = |key: &str| format!("authorities.users.introspection.{key}");
    for (keys, key, message) in [
        (
            "credential: hubb",
            "credential",
            "no credential is named `hubb`",
        ),
        (
            "credential: hub, clientId: me, secretFile: \"${DIR}/secret\"",
            "credential",
            "not both",
        ),
        ("clientId: me", "clientId", "set `secretFile` too"),
        (
            "secretFile: \"${DIR}/secret\"",
            "secretFile",
            "set `clientId` too",
        ),
        (
            "clientId: me, secretFile: \"${DIR}/empty\"",
            "secretFile",
            "is empty",
        ),
        ("cache: 0s", "cache", "it must be from 1s to 10m"),
        ("cache: 11m", "cache", "it must be from 1s to 10m"),
        ("prefix: eyJ", "prefix", "JWTs begin with `ey`"),
        ("prefix: e", "prefix", "JWTs begin with `ey`"),
        ("prefix: \"a b\"", "prefix", "letters, digits"),
    ] {
        assert_problem(&introspecting(keys), &at(key), message);
    }
}

#[test]
fn introspection_of_the_own_issuer_or_at_a_metadata_url_is_refused() {
    assert_problem(
        &with("introspection: { url: \"http://127.0.0.1:8080/oauth/introspect\" }"),
        "authorities.self.introspection",
        "issues no opaque access tokens",
    );
    let metadata = "https://idp.example/.well-known/openid-configuration";
    let text = introspecting("cache: 5s").replace("https://idp.example/introspect", metadata);
    assert_problem(
        &text,
        "authorities.users.introspection.url",
        "this is the URL of the metadata",
    );
    let open = introspecting("cache: 5s")
        .replace("https://idp.example/introspect", "http://idp.example/i");
    let found = warnings(&open);
    assert!(
        found
            .iter()
            .any(|it| it.contains("introspection.url: plain http to another machine")),
        "{found:?}"
    );
}

#[test]
fn each_opaque_token_belongs_to_one_authority() {
    let two = |one: &str, other: &str| {
        let more = format!(
            "  vendor:\n    issuer: https://vendor.example\n    introspection: {{ url: \
             \"https://vendor.example/introspect\", {other} }}\n"
        );
        let text = introspecting(one).replace("[self, users]", "[self, users, vendor]");
        text.replace("inbound:\n", &format!("{more}inbound:\n"))
    };
    config(&two("prefix: ory_", "prefix: ory_at_"));
    config(&two("prefix: ory_", "cache: 1s"));
    for (keys, tokens) in [
        ("cache: 1s", "all opaque tokens"),
        ("prefix: ory_", "tokens that begin with `ory_`"),
    ] {
        assert_problem(&two(keys, keys), "inbound[0].authorities", tokens);
    }
}

/// An authority of a listener with tenants.
fn with_tenants(keys: &str) -> String {
    let issuer = "https://login.example/{tenant}/v2.0";
    let authorities = format!("  entra: {{ issuer: \"{issuer}\", {keys} }}\n");
    small_with("authorities", &authorities).replace("[self]", "[self, entra]")
}

#[test]
fn tenants_belong_to_a_pattern() {
    let accepted = config(&with_tenants("tenants: [blue, green]"));
    let authority = accepted.authorities.iter().find(|it| it.name == "entra");
    let issuers = authority.unwrap().issuers();
    assert_eq!(
        issuers,
        [
            "https://login.example/blue/v2.0",
            "https://login.example/green/v2.0"
        ]
    );
    assert!(
        authority
            .unwrap()
            .is_issuer("https://login.example/green/v2.0")
    );
    assert!(
        !authority
            .unwrap()
            .is_issuer("https://login.example/red/v2.0")
    );
    let at = |key: &str| format!("authorities.entra.{key}");
    for (keys, key, message) in [
        ("maxStale: 1h", "issuer", "set `tenants` too"),
        ("tenants: [a, b, a]", "tenants[2]", "`a` is listed twice"),
        ("tenants: [a/b]", "tenants[0]", "letters, digits"),
        ("tenants: []", "tenants", ""),
        (
            "tenants: [a], profile: plgd",
            "profile",
            "remove `profile: plgd`",
        ),
        (
            "tenants: [a], revocation: list",
            "revocation",
            "by `introspection` or not",
        ),
        (
            "tenants: [a], revocation: { kind: introspection, credential: hub }",
            "revocation",
            "set `endpoint`",
        ),
        (
            "tenants: [a], introspection: { url: \"https://login.example/i\" }",
            "introspection",
            "names no tenant",
        ),
    ] {
        assert_problem(&with_tenants(keys), &at(key), message);
    }
    let plain = with_tenants("tenants: [a]").replace("{tenant}", "a");
    assert_problem(
        &plain,
        &at("issuer"),
        "`{tenant}` must stand in `issuer` once",
    );
    let own = with_tenants("tenants: [a, \"8080\"]").replace(
        "https://login.example/{tenant}/v2.0",
        "http://127.0.0.1:{tenant}",
    );
    let found = super::problems(&own);
    assert!(
        found
            .iter()
            .any(|it| it.contains("tenants[1]: this is the sidecar's own issuer")),
        "{found:?}"
    );
}

#[test]
fn a_tenant_is_no_second_authority_of_a_listener() {
    let text = with_tenants("tenants: [blue]").replace(
        "  entra:",
        "  one: { issuer: \"https://login.example/blue/v2.0\" }\n  entra:",
    );
    assert_problem(
        &text.replace("[self, entra]", "[one, entra]"),
        "inbound[0].authorities[1]",
        "has the same issuer",
    );
    config(&text);
}
