//! Federated clients of the issuer, and the authorities of workloads.

use super::{ISSUER, assert_problem, config, warnings};
use crate::domain::claim_pattern::ClaimPattern;
use crate::issuer::client::{Authentication, CertificateName};
use crate::issuer::federation::{Federation, Trust};
use crate::verifier::KeySource;

const AUTHORITIES: &str = "authorities:\n  ci: { issuer: \"https://ci.example\" }\n  spire: { \
                           issuer: \"spiffe://example.org\", jwksUri: \
                           \"https://spire.example/bundle\" }\n  self: { issuer: \
                           \"http://127.0.0.1:8080\" }\n";

/// An issuer with a client that has these keys.
fn client(keys: &str) -> String {
    ISSUER.replace(" }\n", &format!(", clients: [{{ id: a, {keys} }}] }}\n")) + AUTHORITIES
}

/// An authority with these keys.
fn authority(keys: &str) -> String {
    format!("{ISSUER}authorities:\n  a: {{ {keys} }}\n")
}

fn federations(keys: &str) -> Vec<Federation> {
    let config = config(&client(keys));
    let client = config.issuer.unwrap().issuer.clients.remove(0);
    match client.authentication {
        Authentication::Federated(federations) => federations,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_part_of_an_entry_is_read() {
    let found = federations(
        "federated: [{ authority: ci, subject: \"repo:example/*\", audience: \"api://m2m\", \
         claims: { ref: [main, \"v*\"], run.attempt: 1 }, expiresAt: 2027-01-01T00:00:00Z }, \
         { authority: spire, subject: \"spiffe://example.org/ns/*/sa/a\" }]",
    );
    let pattern = |text| ClaimPattern::parse(text).unwrap();
    assert_eq!(found[0].subject, Some(pattern("repo:example/*")));
    assert_eq!(found[0].audience.as_deref(), Some("api://m2m"));
    let claims = vec![
        ("ref".to_owned(), vec![pattern("main"), pattern("v*")]),
        ("run.attempt".to_owned(), vec![pattern("1")]),
    ];
    assert_eq!(found[0].claims, claims);
    assert!(found[0].expires_at.is_some());
    assert_eq!(found[1].trust, Trust::Named("spire".to_owned()));
    assert_eq!((&found[1].audience, found[1].expires_at), (&None, None));
    let only_claims = federations("federated: [{ authority: ci, claims: { repository_id: 7 } }]");
    assert_eq!(only_claims[0].subject, None);
}

#[test]
fn an_entry_that_permits_too_much_or_nothing_is_refused() {
    let at = "issuer.clients[0]";
    for (entry, key, message) in [
        (
            "authority: cj, subject: a",
            ".federated[0].authority",
            "no authority is named",
        ),
        (
            "authority: self, subject: a",
            ".federated[0].authority",
            "the issuer itself",
        ),
        ("authority: ci", ".federated[0]", "every token of `ci`"),
        (
            "authority: ci, subject: \"*\"",
            ".federated[0].subject",
            "`*` alone permits",
        ),
        (
            "authority: ci, subject: \"a*b\"",
            ".federated[0].subject",
            "only be the last",
        ),
        (
            "authority: ci, claims: { a: \"*\" }",
            ".federated[0].claims.a",
            "`*` alone",
        ),
        (
            "authority: spire, subject: \"spiffe://example.com/x\"",
            ".federated[0].subject",
            "must be a SPIFFE ID of it",
        ),
        (
            "authority: spire, subject: \"x*\"",
            ".federated[0].subject",
            "must be a SPIFFE ID",
        ),
        (
            "authority: spire, subject: \"spiffe://example.org/x*\"",
            ".federated[0].subject",
            "not a SPIFFE ID with a path",
        ),
        (
            "authority: spire, subject: \"spiffe://*/x\"",
            ".federated[0].subject",
            "not a SPIFFE ID with a path",
        ),
    ] {
        let text = client(&format!("federated: [{{ {entry} }}]"));
        assert_problem(&text, &format!("{at}{key}"), message);
    }
    let entry = "federated: [{ authority: ci, subject: a }]";
    for (other, key) in [
        ("jwksFile: \"${DIR}/keys.json\"", ".jwksFile"),
        ("jwksUri: \"https://a.example/jwks\"", ".jwksUri"),
        ("tlsClientAuth: { sanDNS: a }", ".tlsClientAuth"),
        ("jwtPrivateKey: { authorities: [ci] }", ".jwtPrivateKey"),
        ("capToAssertion: true", ".capToAssertion"),
    ] {
        let text = client(&format!("{entry}, {other}"));
        assert_problem(&text, &format!("{at}{key}"), "remove this key");
    }
}

#[test]
fn a_beginning_without_a_separator_and_an_unused_secret_are_warned_of() {
    let text = client(
        "secretFile: \"${DIR}/secret\", federated: [{ authority: ci, subject: \"repo:example*\" }]",
    );
    let found = warnings(&text);
    assert!(
        found.iter().any(|it| it.contains("`repo:example-other`")),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|it| it.contains("without a secret")),
        "{found:#?}"
    );
    let text = client("federated: [{ authority: ci, subject: \"repo:example/*\" }]");
    assert_eq!(warnings(&text), Vec::<String>::new());
}

#[test]
fn the_uri_of_a_certificate_may_be_a_pattern_of_spiffe_ids() {
    let tls = "tls: { certFile: \"${DIR}/ca.pem\", keyFile: \"${DIR}/key.pem\", clientCertificate: \
               optional, clientCaFile: \"${DIR}/ca.pem\" }";
    let with = |uri: &str| {
        let client = format!("clients: [{{ id: a, tlsClientAuth: {{ sanURI: \"{uri}\" }} }}]");
        ISSUER.replace(" }\n", &format!(", {tls}, {client} }}\n"))
    };
    let config = config(&with("spiffe://example.org/ns/*/sa/a"));
    let client = &config.issuer.unwrap().issuer.clients[0];
    let Authentication::TlsClientAuth(CertificateName::Spiffe(pattern)) = &client.authentication
    else {
        panic!("{:?}", client.authentication)
    };
    assert_eq!(pattern.to_string(), "spiffe://example.org/ns/*/sa/a");
    let path = "issuer.clients[0].tlsClientAuth.sanURI";
    assert_problem(&with("spiffe://*/a"), path, "not a SPIFFE ID with a path");
}

#[test]
fn a_trust_domain_needs_the_place_of_its_bundle() {
    let keys = |text: &str| config(&authority(text)).authorities.remove(0).keys;
    let of = keys("issuer: \"spiffe://example.org\", jwksUri: \"https://spire.example/bundle\"");
    assert!(matches!(of, KeySource::Url(_)));
    for (text, message) in [
        ("issuer: \"spiffe://example.org\"", "has no metadata"),
        (
            "issuer: \"spiffe://example.org/\"",
            "is written `spiffe://example.org`",
        ),
        (
            "issuer: \"spiffe://Example.org\"",
            "is written `spiffe://example.org`",
        ),
    ] {
        assert_problem(&authority(text), "authorities.a.issuer", message);
    }
}

#[test]
fn the_token_for_keys_goes_only_over_an_encrypted_connection() {
    let token = "keyTokenFile: \"${DIR}/secret\"";
    for keys in [
        "issuer: \"https://a.example\"",
        "issuer: a, jwksUri: \"https://10.0.0.1:6443/openid/v1/jwks\"",
        "issuer: a, jwksUri: \"http://127.0.0.1:8001/openid/v1/jwks\"",
    ] {
        let config = config(&authority(&format!("{keys}, {token}")));
        assert!(config.authorities[0].key_token_file.is_some(), "{keys}");
    }
    let path = "authorities.a.keyTokenFile";
    for (keys, message) in [
        (
            "issuer: a, jwksUri: \"http://10.0.0.1/jwks\"",
            "over plain http",
        ),
        (
            "issuer: a, jwksFile: \"${DIR}/keys.json\"",
            "are not fetched",
        ),
    ] {
        assert_problem(&authority(&format!("{keys}, {token}")), path, message);
    }
    let missing = authority("issuer: \"https://a.example\", keyTokenFile: \"${DIR}/nothing\"");
    assert_problem(&missing, path, "cannot be read");
}
