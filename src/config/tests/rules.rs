//! Rules: conditions, comparisons and access, accepted and refused.

use super::{assert_problem, config, small, small_but, small_with, warnings};
use crate::domain::settings::ErrorFormat;
use crate::verifier::{Access, Mode, TokenLocations};

fn rule(keys: &str) -> String {
    small_but("- paths: [\"/**\"]", &format!("- {{ {keys} }}"))
}

#[test]
fn the_keys_of_a_rule_are_resolved() {
    let text = rule(
        "paths: [\"/d/{id}/**\", \"/e/{id}\"], hosts: [API.Example, \"*.example:81\"], networks: \
         [10.0.0.0/8, \"::1\"], mode: shadow, authorities: [self], equals: { query.t: a.b, id: x, \
         header.X-Owner: sub }",
    );
    let inbound = config(&text).inbound.remove(0);
    let [rule] = inbound.verifier.rules.as_slice() else {
        panic!()
    };
    let hosts = rule.conditions.hosts.iter().map(ToString::to_string);
    assert_eq!(hosts.collect::<Vec<_>>(), ["api.example", "*.example:81"]);
    let networks = rule.conditions.networks.iter().map(ToString::to_string);
    assert_eq!(networks.collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
    assert_eq!(rule.mode, Some(Mode::Shadow));
    let Access::Token(needs) = &rule.access else {
        panic!()
    };
    assert_eq!(needs.authorities, ["self"]);
    let equals = needs
        .equals
        .iter()
        .map(|need| format!("{}={}", need.part, need.claim));
    assert_eq!(
        equals.collect::<Vec<_>>(),
        ["header.x-owner=sub", "{id}=x", "query.t=a.b"]
    );
    let optional = config(&self::rule("paths: [/a], access: optional"))
        .inbound
        .remove(0);
    assert_eq!(optional.verifier.rules[0].access, Access::Optional);
    assert_eq!(optional.verifier.rules[0].mode, None);
}

#[test]
#[rustfmt::skip]
fn keys_that_cannot_work_are_refused() {
    for (keys, path, message) in [
        ("paths: [/a], access: optional, scopes: [x]", "scopes", "remove this key, or `access: \
          optional`"),
        ("paths: [/a], access: optional, equals: { query.a: b }", "equals", "remove this key"),
        ("paths: [/a], access: public, authorities: [self]", "authorities", "remove this key"),
        ("paths: [/a], equals: { id: b }", "equals.id", "the pattern `/a` has no segment `{id}`"),
        ("paths: [\"/{id}\", \"/b/{ID}\"], equals: { id: b }", "equals.id",
         "the pattern `/b/{ID}` has no segment"),
        ("paths: [/a], equals: { header.x-m2m-subject: sub }", "equals.header.x-m2m-subject",
         "the sidecar removes this header"),
        ("paths: [/a], equals: { header.X-Forwarded-For: ip }", "equals.header.X-Forwarded-For",
         "the sidecar removes this header"),
        ("paths: [/a], equals: { header.remote-user: sub }", "equals.header.remote-user",
         "the sidecar removes this header"),
        ("paths: [/a], equals: { header.host: sub }", "equals.header.host", "uses this header"),
        ("paths: [/a], equals: { header.x_y: sub }", "equals.header.x_y", "confuse"),
        ("paths: [/a], equals: { header.cookie: sub }", "equals.header.cookie", "one value"),
        ("paths: [/a], equals: { query.: sub }", "equals.query.", "name of a parameter"),
        ("paths: [/a], equals: { \"query.a b\": sub }", "equals.query.a b", "name of a parameter"),
        ("paths: [/a], equals: { path.a: sub }", "equals.path.a", "the name of a segment"),
        ("paths: [/a], equals: { \"{id}\": sub }", "equals.{id}", "the name of a segment"),
        ("paths: [/a], hosts: []", "hosts", "must not be empty"),
        ("paths: [/a], hosts: [\"*\"]", "hosts[0]", "not a host"),
        ("paths: [/a], hosts: [\"http://a\"]", "hosts[0]", "not a host"),
        ("paths: [/a], networks: [10.0.0.1/8]", "networks[0]", "bits outside"),
        ("paths: [/a], networks: [\"::ffff:10.0.0.0/104\"]", "networks[0]", "the form of IPv4"),
        ("paths: [/a], authorities: [other]", "authorities[0]", "no authority is named `other`"),
        ("paths: [/a], mode: off", "mode", "`off` is not one of"),
        ("paths: [/a], access: maybe", "access", "is not one of"),
    ] {
        assert_problem(&rule(keys), &format!("inbound[0].rules[0].{path}"), message);
    }
    let other = small_with("authorities", "  other: { issuer: \"https://other.example\" }\n")
        .replace("- paths: [\"/**\"]", "- { paths: [/a], authorities: [other] }");
    assert_problem(&other, "inbound[0].rules[0].authorities[0]",
        "the listener does not trust `other`");
}

#[test]
fn rules_for_hosts_and_networks_are_warned_of_only_where_they_undo_something() {
    let warned = |rules: &[&str]| {
        let rules = rules.iter().map(|rule| format!("      - {{ {rule} }}\n"));
        let list = format!("    rules:\n{}", rules.collect::<String>());
        let with = format!("    pathCase: sensitive\n{list}");
        warnings(&small().replace("    rules:\n      - paths: [\"/**\"]\n", &with))
    };
    assert!(warned(&["paths: [\"/**\"], networks: [10.0.0.0/8]", "paths: [/a]"]).is_empty());
    let found = warned(&["paths: [\"/**\"]", "paths: [/a], networks: [10.0.0.0/8]"]);
    assert!(
        found.len() == 1 && found[0].contains("never used"),
        "{found:?}"
    );
    let admin = "paths: [\"/admin/**\"], hosts: [admin.example], scopes: [admin]";
    let found = warned(&[admin, "paths: [\"/**\"], scopes: [read]"]);
    assert!(
        found.len() == 1
            && found[0].contains("inbound[0].rules[0].hosts: a request that names another host")
            && found[0].contains("inbound[0].rules[1]"),
        "{found:?}"
    );
    assert!(warned(&[admin, "paths: [\"/**\"], scopes: [admin]"]).is_empty());
}

#[test]
fn the_keys_of_answers_and_token_locations_are_resolved() {
    let with = |lines: &str| {
        let text = small_but(
            "    audiences: any\n",
            &format!("    audiences: any\n{lines}"),
        );
        config(&text).inbound.remove(0)
    };
    let plain = with("");
    assert_eq!(plain.verifier.token_locations, TokenLocations::default());
    assert_eq!(plain.settings.error_format, ErrorFormat::Oauth);
    assert!(plain.settings.private_cache);
    let other = with(
        "    tokenLocations: [basic, authorization]\n    errorFormat: problem\n    privateCache: \
         false\n",
    );
    let both = TokenLocations {
        bearer: true,
        basic: true,
        ..TokenLocations::default()
    };
    assert_eq!(other.verifier.token_locations, both);
    assert_eq!(other.settings.error_format, ErrorFormat::Problem);
    assert!(!other.settings.private_cache);
    for (line, path, message) in [
        ("tokenLocations: []", "tokenLocations", "must not be empty"),
        (
            "tokenLocations: [cookie]",
            "tokenLocations[0]",
            "is not one of",
        ),
        (
            "tokenLocations: [websocketCookie]",
            "tokenLocations",
            "needs `allowedOrigins`",
        ),
        ("errorFormat: json", "errorFormat", "is not one of"),
    ] {
        let lines = format!("    audiences: any\n    {line}\n");
        let text = small_but("    audiences: any\n", &lines);
        assert_problem(&text, &format!("inbound[0].{path}"), message);
    }
}

/// Basic credentials are a third longer than their token.
#[test]
fn a_head_holds_the_longest_token_in_basic_credentials() {
    let max_head = |locations: &str| {
        let text = small_but(
            "    audiences: any\n",
            &format!("    audiences: any\n    tokenLocations: {locations}\n"),
        );
        config(&text.replace("self: { ", "self: { maxTokenSize: 48KiB, ")).inbound[0].max_head
    };
    assert_eq!(max_head("[authorization]"), (48 + 24) * 1024);
    assert_eq!(max_head("[authorization, basic]"), (64 + 24) * 1024);
}
