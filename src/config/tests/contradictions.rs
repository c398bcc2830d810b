//! Refused configurations whose sections contradict each other, and special files.

use std::path::Path;

use super::{ISSUER, assert_problem, problems, small_but, small_with};
use crate::config::load;

#[test]
fn something_must_run() {
    for text in [
        "",
        "# nothing\n",
        "log: {}\n",
        "inbound: []\noutbound: []\n",
        "{}",
    ] {
        assert_problem(text, "", "nothing to run");
    }
    assert!(problems(ISSUER).is_empty());
}

#[test]
fn two_authorities_of_a_listener_cannot_share_an_issuer() {
    let other = "  other: { issuer: \"http://127.0.0.1:8080\", jwksUri: \"http://a/keys\" }\n";
    let text = small_with("authorities", other)
        .replace("authorities: [self]", "authorities: [self, other]");
    assert_problem(&text, "inbound[0].authorities[1]", "same issuer");
}

#[test]
fn issuers_that_differ_by_slashes_only_are_refused_in_the_plgd_profile() {
    let with = |one: &str, other: &str| {
        let lines = format!(
            "  one: {{ issuer: \"https://idp.example\"{one} }}\n  other: {{ issuer: \
             \"https://idp.example/\"{other} }}\n"
        );
        small_with("authorities", &lines)
    };
    for (one, other) in [
        (", profile: plgd", ""),
        ("", ", profile: plgd"),
        (", profile: plgd", ", profile: plgd"),
    ] {
        assert_problem(
            &with(one, other),
            "authorities.other.issuer",
            "the issuer of the authority `one`",
        );
    }
    assert!(
        problems(&with("", "")).is_empty(),
        "compared exactly they are two"
    );
}

#[test]
fn own_tokens_are_not_exchanged_in_any_spelling() {
    let client = "issuer:\n  clients: [{ id: a, jwtPrivateKey: { authorities: [self] } }]\n";
    let text = small_but("issuer:\n", client).replace(
        "{ issuer: \"http://127.0.0.1:8080\" }",
        "{ issuer: \"http://127.0.0.1:8080/\", profile: plgd }",
    );
    assert_problem(
        &text,
        "issuer.clients[0].jwtPrivateKey.authorities[0]",
        "renew a token without end",
    );
}

#[test]
fn values_from_the_environment_are_never_shown() {
    for text in [
        small_but("issuer:\n", "log: { level: \"${HUSH}\" }\nissuer:\n"),
        small_but(
            "issuer:\n",
            "stateDir: \"${HUSH}\"\nthreads: ${HUSH}\nissuer:\n",
        ),
        small_but("credential: hub", "credential: ${HUSH}"),
        small_but("[self]", "[\"${HUSH}\"]"),
        small_but("audiences: any", "audiences: ${HUSH}"),
        small_but("upstream: http", "upstream: ${HUSH}http"),
        small_but(
            "clientSecretFile: ${DIR}/secret",
            "clientSecretFile: /${HUSH}",
        ),
        small_but("tokenUrl: http://", "tokenUrl: http://u:${HUSH}@"),
        small_but("issuer: \"http", "issuer: \"${HUSH}http"),
        small_but("clientID: a", "clientID: a\n    refreshAt: ${HUSH}"),
        small_but("url: http://", "url: http://x?${HUSH}"),
        small_but("name: in", "name: in${HUSH}!"),
    ] {
        let problems = problems(&text);
        assert!(!problems.is_empty(), "{text}");
        for problem in problems {
            assert!(!problem.contains("hush-hush"), "{problem}");
        }
    }
    let shown = problems(&small_but(
        "clientSecretFile: ${DIR}/secret",
        "clientSecretFile: /${HUSH}",
    ));
    assert!(
        shown[0].contains("the file `/${HUSH}` cannot be read"),
        "{shown:?}"
    );
}

#[test]
fn a_missing_file_is_a_problem_of_its_own() {
    let Err(problems) = load(Path::new("/nonexistent/c.yaml"), &|_| None) else {
        panic!()
    };
    assert!(
        problems
            .to_string()
            .starts_with("/nonexistent/c.yaml:1:1: the file cannot be read: "),
        "{problems}"
    );
}

#[test]
fn syntax_errors_have_a_line() {
    assert!(problems("a: 1\nb: [\n")[0].starts_with("x.yaml:"));
    assert!(
        problems(&format!("{ISSUER}log: {{}}\nlog: {{}}\n"))[0]
            .starts_with("x.yaml:3:1: log: the key is repeated")
    );
    assert!(problems("- a\n")[0].contains("expected a mapping, found a list"));
    assert!(problems("7")[0].contains("expected a mapping, found a number"));
}

#[test]
fn a_short_client_secret_is_refused() {
    let text = small_with(
        "issuer",
        "  clients: [{ id: a, secretFile: \"${DIR}/short\" }]\n",
    );
    let found = problems(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("x.yaml:4:"), "{found:?}");
    assert!(
        found[0].contains("issuer.clients[0].secretFile: the secret is shorter than 16 bytes"),
        "{found:?}"
    );
    assert!(!found[0].contains("short-secret"), "{found:?}");
}

#[test]
fn a_key_that_is_like_none_names_no_other() {
    for (text, path) in [
        ("colour: red\n", "colour"),
        ("shutdown: { timeout: 1s }\n", "shutdown.timeout"),
    ] {
        let found = problems(&format!("{ISSUER}{text}"));
        assert!(
            found
                .iter()
                .any(|it| it.ends_with(&format!("{path}: unknown key"))),
            "{found:?}"
        );
    }
    for (section, key) in [("issuer", "plans"), ("admin", "tokens")] {
        let found = problems(&format!("{section}: {{ {key}: [{{ name: a }}] }}\n"));
        let said = format!(" {section}.{key}: not supported yet");
        assert!(
            found.iter().any(|it| it.ends_with(&said)),
            "{section}: {found:?}"
        );
        assert!(
            !found.iter().any(|it| it.contains("unknown key")),
            "{section}: {found:?}"
        );
    }
}
