//! Token exchange: of the issuer's clients, and of credentials.

use super::*;
use crate::issuer::token_exchange::{ExchangePolicy, ExchangedTokens};

const GRANT: &str = "\"urn:ietf:params:oauth:grant-type:token-exchange\"";

/// A client with these further keys, and a further authority.
fn with_client(keys: &str) -> String {
    let client = format!("  clients:\n    - id: a\n      secretFile: \"${{DIR}}/secret\"\n{keys}");
    small_with("issuer", &client)
}

fn exchanging(exchange: &str) -> String {
    with_client(&format!(
        "      allowedGrantTypes: [{GRANT}]\n      allowedAudiences: [x]\n      allowedScopes: \
         [s]\n      exchange: {exchange}\n"
    ))
}

#[test]
fn an_exchange_is_resolved() {
    let text = exchanging(
        "{ subjects: [{ authority: self, subject: \"a*\", audiences: [y], claims: { t: [b, 5], u: \
         true }, idTokens: true }], audiences: [x], addedScopes: [s], maxDepth: 3 }",
    );
    let config = config(&text);
    let exchange = config.issuer.unwrap().issuer.clients[0].exchange.clone();
    let texts = |texts: &[&str]| -> Vec<String> { texts.iter().map(|it| (*it).into()).collect() };
    let subject = ExchangedTokens {
        authority: "self".to_owned(),
        subject: Some("a*".to_owned()),
        audiences: texts(&["y"]),
        claims: [
            ("t".to_owned(), texts(&["b", "5"])),
            ("u".to_owned(), texts(&["true"])),
        ]
        .into(),
        id_tokens: true,
    };
    let expected = ExchangePolicy {
        subjects: vec![subject],
        actors: Vec::new(),
        audiences: texts(&["x"]),
        added_scopes: texts(&["s"]),
        max_depth: 3,
    };
    assert_eq!(exchange, Some(expected));
}

#[test]
fn an_exchange_that_cannot_work_is_refused() {
    let at = |key: &str| format!("issuer.clients[0].{key}");
    let of_self = "{ subjects: [{ authority: self }]";
    for (text, key, message) in [
        (
            with_client(&format!("      allowedGrantTypes: [{GRANT}]\n")),
            at("allowedGrantTypes"),
            "needs `exchange`",
        ),
        (
            with_client(&format!(
                "      allowedAudiences: [x]\n      exchange: {of_self} }}\n"
            )),
            at("exchange"),
            "to `allowedGrantTypes`",
        ),
        (
            with_client(&format!(
                "      allowedGrantTypes: [{GRANT}]\n      exchange: {of_self} }}\n"
            )),
            at("exchange"),
            "needs `allowedAudiences`",
        ),
        (
            exchanging(&format!("{of_self}, audiences: [z] }}")),
            at("exchange.audiences[0]"),
            "`allowedAudiences` does not contain",
        ),
        (
            exchanging(&format!("{of_self}, addedScopes: [z] }}")),
            at("exchange.addedScopes[0]"),
            "`allowedScopes` does not contain",
        ),
        (
            exchanging("{ subjects: [] }"),
            at("exchange.subjects"),
            "not be empty",
        ),
        (
            exchanging("{ subjects: [{ authority: users }] }"),
            at("exchange.subjects[0].authority"),
            "no authority is named `users`",
        ),
        (
            exchanging("{ subjects: [{ authority: self, subject: \"*\" }] }"),
            at("exchange.subjects[0].subject"),
            "only stand at the end",
        ),
        (
            exchanging("{ subjects: [{ authority: self, subject: \"a*b\" }] }"),
            at("exchange.subjects[0].subject"),
            "only stand at the end",
        ),
        (
            exchanging(&format!("{of_self}, maxDepth: 9 }}")),
            at("exchange.maxDepth"),
            "8",
        ),
    ] {
        assert_problem(&text, &key, message);
    }
}

#[test]
fn a_credential_of_token_exchange_has_no_token_of_its_own() {
    let credential = |lines: &str| {
        let text = format!("    grant: tokenExchange\n{lines}");
        small_with("credentials", &text)
    };
    for key in ["prefetch", "keepToken"] {
        let text = credential(&format!("    {key}: true\n"));
        let text = format!("store: {{ encryptionKeyFile: \"${{DIR}}/store-key\" }}\n{text}");
        assert_problem(
            &text,
            &format!("credentials.hub.{key}"),
            "before a caller sends its own",
        );
    }
    assert_problem(
        &credential("    extraParameters: { subject_token_type: x }\n"),
        "credentials.hub.extraParameters.subject_token_type",
        "sets this parameter itself",
    );
    for line in [
        "    header: X-Token",
        "    query: key",
        "    overwrite: false",
        "    upstreamAuthorization: { cookie: token }",
    ] {
        let text = credential("") + line + "\n";
        let key = line.trim().split(':').next().unwrap();
        assert_problem(
            &text,
            &format!("outbound[0].{key}"),
            "the new token replaces",
        );
    }
    let config = config(&credential(""));
    assert_eq!(
        config.credentials[0].grant,
        crate::token_source::CredentialGrant::TokenExchange
    );
}

#[test]
fn introspection_needs_authorities_and_audiences() {
    let api = "localApi: { listen: \"127.0.0.1:8083\", audiences: [x] }\n";
    let config = config(&(small() + api));
    let expected = crate::verifier::Audiences::OneOf(vec!["x".to_owned()]);
    assert_eq!(config.local_audiences, Some(expected));
    assert_problem(
        &(ISSUER.to_owned() + api),
        "localApi.audiences",
        "it needs `authorities`",
    );
}

#[test]
fn subjects_of_other_authorities_need_more_than_their_issuer() {
    let users = "authorities:\n  users: { issuer: \"https://users.example\" }\n";
    let warned = |subject: &str| {
        let text = exchanging(&format!("{{ subjects: [{subject}] }}"));
        let found = warnings(&text.replace("authorities:\n", users));
        let about = |it: &String| it.contains("issuer.clients[0].exchange.subjects");
        found.iter().any(about)
    };
    assert!(warned("{ authority: users }"));
    assert!(!warned("{ authority: users, subject: ann }"));
    assert!(!warned("{ authority: users, claims: { tenant: acme } }"));
    assert!(!warned("{ authority: self }"));
}
