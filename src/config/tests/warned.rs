//! Configurations that are accepted with a warning.

use super::{Files, chmod, config, small, small_but, small_with, warnings};

#[test]
fn an_unreachable_rule_is_a_warning() {
    let rules = "      - { paths: [\"/a/**\"] }\n      - { paths: [/b] }\n      - { paths: [/b, \
        /a/c], methods: [GET] }\n";
    let found = warnings(&small_but("      - paths: [\"/**\"]\n", rules));
    let [warning] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert!(
        warning.contains("inbound[0].rules[2]")
            && warning.contains("match all its requests, inbound[0].rules[0], inbound[0].rules[1]"),
        "{warning}"
    );
}

#[test]
fn an_explicit_rotation_of_a_configured_key_is_a_warning() {
    let with = |rest: &str| {
        let lines = format!("  signing: {{ privateKeyFile: \"${{DIR}}/key.pem\"{rest} }}\n");
        warnings(&small_with("issuer", &lines))
    };
    assert!(with("").is_empty());
    assert!(with(", rotateEvery: 0s").is_empty());
    let warnings = with(", rotateEvery: 30d");
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("issuer.signing.rotateEvery: the key in `privateKeyFile`"),
        "{warnings:?}"
    );
}

#[test]
fn an_https_issuer_on_a_plain_listener_is_asked_for_its_proxy() {
    let https = |lines: &str| {
        let text = small_with("issuer", lines)
            .replace("url: http://127.0.0.1:8080", "url: https://a.example");
        let text = text.replace(
            "issuer: \"http://127.0.0.1:8080\"",
            "issuer: \"https://a.example\"",
        );
        warnings(&text)
            .into_iter()
            .filter(|it| it.contains("issuer.listen"))
            .collect::<Vec<_>>()
    };
    assert!(
        warnings(&small()).is_empty(),
        "callers come straight to a plain URL"
    );
    let found = https("");
    assert!(
        found.len() == 1 && found[0].contains("`trustedProxies`"),
        "{found:?}"
    );
    assert!(https("  trustedProxies: [127.0.0.1]\n").is_empty());
}

#[test]
fn a_disabled_client_needs_no_secret_and_an_enabled_one_does() {
    let with = |client: &str| {
        small_with(
            "issuer",
            &format!("  clients: [{{ id: a, secretFile: \"${{DIR}}/empty\"{client} }}]\n"),
        )
    };
    super::assert_problem(&with(""), "issuer.clients[0].secretFile", "empty");
    let found = warnings(&with(", disabled: true"));
    assert!(
        found.len() == 1
            && found[0].contains("issuer.clients[0].secretFile")
            && found[0].contains("is empty"),
        "{found:?}"
    );
    assert!(
        config(&with(", disabled: true"))
            .issuer
            .unwrap()
            .issuer
            .clients[0]
            .secrets
            .is_empty()
    );
}

#[test]
fn rules_over_issuer_endpoints_are_a_warning() {
    let answered = |pattern: &str| {
        let text = small_but("audiences: any", "audiences: any\n    issuer: true")
            .replace("\"/**\"", pattern);
        warnings(&text)
    };
    for pattern in [
        "\"/**\"",
        "/oauth/*",
        "/oauth/token/",
        "\"/.well-known/**\"",
        "/*/jwks.json",
        "\"/oauth/token/**\"",
    ] {
        let warnings = answered(pattern);
        assert_eq!(warnings.len(), 1, "{pattern}");
        assert!(
            warnings[0].contains("inbound[0].rules[0].paths[0]: the sidecar answers `/"),
            "{warnings:?}"
        );
    }
    for pattern in [
        "\"/api/**\"",
        "/",
        "/*",
        "/oauth",
        "/oauth/tokens",
        "/oauth/token/x",
    ] {
        assert!(answered(pattern).is_empty(), "{pattern}");
    }
    assert!(warnings(&small()).is_empty());
}

#[test]
fn a_strict_rule_before_a_weaker_one_is_a_warning_without_path_case() {
    let warned = |case: &str, rules: &str| {
        let text = small_but(
            "    rules:\n      - paths: [\"/**\"]\n",
            &format!("{case}    rules:\n{rules}"),
        );
        warnings(&text)
    };
    let rules = "      - { paths: [\"/admin/**\"], scopes: [admin] }\n      - { paths: [\"/**\"], \
        scopes: [read] }\n";
    let found = warned("", rules);
    let [warning] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert!(
        warning.contains("inbound[0].rules[0]: inbound[0].rules[1] matches more paths")
            && warning.contains("pathCase"),
        "{warning}"
    );
    for case in ["sensitive", "insensitive"] {
        assert!(
            warned(&format!("    pathCase: {case}\n"), rules).is_empty(),
            "{case}"
        );
    }
    let stricter =
        "      - { paths: [\"/info/**\"] }\n      - { paths: [\"/**\"], scopes: [read] }\n";
    assert!(warned("", stricter).is_empty());
    let two_cases = "      - { paths: [\"/a/**\"] }\n      - { paths: [/A/x] }\n";
    let found = warned("", two_cases);
    let [warning] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert!(
        warning.contains("rules[1]: this rule is never used")
            && warning.contains("pathCase: sensitive"),
        "{warning}"
    );
    assert!(warned("    pathCase: sensitive\n", two_cases).is_empty());
}

#[test]
fn a_service_that_is_called_by_a_name_is_advised_to_get_its_own_host() {
    let warned = |upstream: &str, more: &str| {
        let to = format!("upstream: {upstream}\n{more}    authorities: [self]");
        warnings(&small_but(
            "upstream: http://127.0.0.1:9\n    authorities: [self]",
            &to,
        ))
    };
    let found = warned("http://shared.internal:8080", "");
    let [warning] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert!(
        warning.contains("inbound[0].upstream") && warning.contains("preserveHost: false"),
        "{warning}"
    );
    for said in ["true", "false"] {
        assert!(
            warned(
                "http://shared.internal:8080",
                &format!("    preserveHost: {said}\n")
            )
            .is_empty()
        );
    }
    for upstream in ["http://localhost:9", "http://10.0.0.5:9", "http://[::1]:9"] {
        assert!(warned(upstream, "").is_empty(), "{upstream}");
    }
}

#[test]
#[rustfmt::skip]
fn probable_mistakes_are_warnings() {
    for (from, to, message) in [
        ("self: { ",
         "self: { jwksUri: \"http://127.0.0.1/k\", issuer: \
          \"https://a/protocol/openid-connect/certs\" } #", "looks like the URL of a key set"),
        ("audiences: any", "audiences: [\"https://*.example\"]", "`*` is not a wildcard"),
        ("- paths: [\"/**\"]", "- { paths: [/a], scopes: [\"devices:*\"] }",
         "`*` is not a wildcard"),
        ("- paths: [\"/**\"]", "- { paths: [/a], anyScope: [\"*\"] }", "`*` is not a wildcard"),
        ("- paths: [\"/**\"]", "- { paths: [/a], claims: { tenant: \"*\" } }",
         "`*` is not a wildcard"),
        ("- paths: [\"/**\"]", "- { paths: [/a], methods: [TRACE] }", "refuse TRACE with 405"),
        ("audiences: any", "audiences: any\n    identityHeaders: { sub: subject }",
         "may be swapped"),
        ("credential: hub", "credential: hub\n    prefix: Bearer", "without a space"),
    ] {
        let found = warnings(&small_but(from, to));
        assert!(found.iter().any(|warning| warning.contains(message)), "{message}: {found:?}");
    }
}

#[test]
fn ignored_claims_and_different_slashes_are_warnings() {
    let client = "  clients: [{ id: a, secretFile: \"${DIR}/secret\", insertTokenClaims: { sub: x, \
        ok: y } }]\n";
    assert!(warnings(&small_with("issuer", client))[0].contains("insertTokenClaims.sub"));
    let slash = small_but(
        "issuer: \"http://127.0.0.1:8080\"",
        "issuer: \"http://127.0.0.1:8080/\"",
    );
    assert!(warnings(&slash)[0].contains("authorities.self.issuer: it differs from `issuer.url`"));
}

#[test]
fn keys_that_come_over_plain_http_from_elsewhere_are_a_warning() {
    let with = |lines: &str| warnings(&small_with("authorities", lines));
    for lines in [
        "  far: { issuer: \"http://id.example\" }\n",
        "  far: { issuer: x, jwksUri: \"http://id.example/keys\" }\n",
    ] {
        let warnings = with(lines);
        assert_eq!(warnings.len(), 1, "{lines}");
        assert!(
            warnings[0].contains("authorities.far.") && warnings[0].contains("plain http"),
            "{warnings:?}"
        );
    }
    for lines in [
        "  near: { issuer: \"http://localhost:1\" }\n",
        "  far: { issuer: \"https://id.example\" }\n",
    ] {
        assert!(with(lines).is_empty(), "{lines}");
    }
}

#[test]
fn several_authorities_without_an_issuer_header_are_a_warning() {
    let others = "  other: { issuer: \"https://other.example\" }\n";
    let text = |headers: &str| {
        small_with("authorities", others).replace("[self]\n", &format!("[self, other]\n{headers}"))
    };
    let names = |text: &str| {
        let headers = config(text).inbound.remove(0).identity_headers;
        headers.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&small()),
        ["x-m2m-client-id", "x-m2m-scope", "x-m2m-subject"]
    );
    assert_eq!(
        names(&text("")),
        [
            "x-m2m-client-id",
            "x-m2m-issuer",
            "x-m2m-scope",
            "x-m2m-subject"
        ]
    );
    assert_eq!(warnings(&text("")), [""; 0]);
    assert_eq!(
        warnings(&text("    identityHeaders: { x-user: sub, x-from: iss }\n")),
        [""; 0]
    );
    for headers in ["{}", "{ x-user: sub }"] {
        let warnings = warnings(&text(&format!("    identityHeaders: {headers}\n")));
        assert!(
            warnings.len() == 1 && warnings[0].contains("x-m2m-issuer: iss"),
            "{warnings:?}"
        );
    }
}

#[test]
fn a_secret_that_others_can_read_is_warned_of_with_the_command_that_mends_it() {
    let files = Files::new();
    let text = small_with(
        "issuer",
        "  clients: [{ id: a, secretFile: \"${DIR}/secret\" }]\n",
    );
    let secret = files.0.path().join("secret");
    for (mode, count) in [(0o600, 0), (0o640, 0), (0o440, 0), (0o644, 2), (0o604, 2)] {
        chmod(&secret, mode);
        let warnings: Vec<_> = files
            .parse(&text)
            .unwrap()
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(warnings.len(), count, "{mode:o} {warnings:?}");
        assert!(
            warnings.iter().all(|it| it.contains("`chmod o-r ")),
            "{warnings:?}"
        );
    }
    // Like a Kubernetes mount: a link to a link. The mode of the target is checked.
    chmod(&secret, 0o440);
    std::fs::rename(&secret, files.0.path().join("data")).unwrap();
    std::os::unix::fs::symlink("data", &secret).unwrap();
    assert_eq!(files.parse(&text).unwrap().warnings.len(), 0);
}

#[test]
fn endless_tokens_without_a_revocation_check_are_accepted_with_a_warning() {
    for keys in [
        "issuer: \"https://idp.example\"",
        "issuer: x, jwksFile: \"${DIR}/keys.json\"",
    ] {
        let lines = format!("  users: {{ {keys}, requireExpiry: false, revocation: none }}\n");
        let found = warnings(&small_with("authorities", &lines));
        let [warning] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(
            warning.contains("authorities.users.requireExpiry: tokens without `exp` are accepted"),
            "{warning}"
        );
        let expiring = lines.replace("false", "true");
        assert!(warnings(&small_with("authorities", &expiring)).is_empty());
    }
}

#[test]
fn a_client_that_makes_tokens_without_end_of_users_tokens_is_warned_of() {
    let with = |issuer: &str, client: &str| {
        let lines = format!(
            "  profile: plgd\n{issuer}  clients: [{{ id: a, jwtPrivateKey: {{ authorities: [users] \
             }}{client} }}]\n"
        );
        let users = "authorities:\n  users: { issuer: \"https://idp.example\" }\n";
        warnings(&small_with("issuer", &lines).replace("authorities:\n", users))
    };
    for (issuer, client) in [
        ("", ", accessTokenLifetime: 0s"),
        ("  accessTokenLifetime: 0s\n", ""),
    ] {
        let found = with(issuer, client);
        let [warning] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(
            warning.contains("issuer.clients[0].accessTokenLifetime")
                && warning.contains("capToAssertion: true"),
            "{warning}"
        );
        assert!(with(issuer, &format!("{client}, capToAssertion: true")).is_empty());
    }
    assert!(with("  accessTokenLifetime: 0s\n", ", accessTokenLifetime: 1h").is_empty());
}
