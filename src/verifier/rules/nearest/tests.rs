use proptest::prelude::*;

use super::*;
use crate::verifier::{Access, Needs};

fn rule(paths: &[&str], methods: &[&str]) -> RuleConfig {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    let access = Access::Token(Needs::default());
    RuleConfig {
        paths: owned(paths),
        methods: owned(methods),
        access,
        timeout: None,
        line: 1,
    }
}

fn said(rules: &[RuleConfig], method: &str, path: &str) -> (usize, String) {
    let found = nearest(
        rules,
        &NormalPath::parse(path).unwrap(),
        method,
        PathCase::Unset,
    )
    .unwrap();
    let differences: Vec<_> = found.differences.iter().map(ToString::to_string).collect();
    (found.rule, differences.join("; "))
}

#[test]
fn the_nearest_rule_and_what_differs_is_said() {
    let rules = [
        rule(&["/healthz"], &["GET"]),
        rule(&["/devices/**"], &["GET", "PUT"]),
        rule(&["/users/*/roles"], &[]),
        rule(&["/"], &["GET"]),
    ];
    for (method, path, nearest, difference) in [
        (
            "POST",
            "/healthz",
            0,
            "the method is POST, the rule has GET HEAD",
        ),
        (
            "DELETE",
            "/devices/7",
            1,
            "the method is DELETE, the rule has GET PUT HEAD",
        ),
        (
            "GET",
            "/healtz",
            0,
            "segment 1 is `healtz`, the pattern has `healthz`",
        ),
        (
            "GET",
            "/Devices/7",
            1,
            "segment 1 is `Devices`, the pattern has `devices`: upper and lower case differ",
        ),
        (
            "GET",
            "/device/7/x/y",
            1,
            "segment 1 is `device`, the pattern has `devices`",
        ),
        ("GET", "/users/roles", 2, "the path has no `*` as segment 2"),
        ("GET", "/users/7", 2, "the path has no `roles` as segment 3"),
        (
            "GET",
            "/users/7/roles/admin",
            2,
            "segment 4, `admin`, is not in the pattern",
        ),
        (
            "GET",
            "/api/devices/7",
            1,
            "segment 1, `api`, is not in the pattern",
        ),
        (
            "POST",
            "/device/7",
            1,
            "segment 1 is `device`, the pattern has `devices`; the method is POST, the rule has \
             GET PUT HEAD",
        ),
        ("POST", "/", 3, "the method is POST, the rule has GET HEAD"),
    ] {
        assert_eq!(
            said(&rules, method, path),
            (nearest, difference.to_owned()),
            "{method} {path}"
        );
    }
    assert_eq!(
        nearest(
            &[],
            &NormalPath::parse("/").unwrap(),
            "GET",
            PathCase::Unset
        ),
        None
    );
    let path = NormalPath::parse("/Devices/7").unwrap();
    let found = nearest(&rules, &path, "DELETE", PathCase::Insensitive).unwrap();
    assert_eq!(
        (found.rule, found.differences.len()),
        (1, 1),
        "the method only: {found:?}"
    );
}

proptest! {
    /// Whatever is asked, there is a nearest rule; and it differs exactly where no rule
    /// matches.
    #[test]
    fn a_rule_that_matches_does_not_differ(
        path in "(/[aAbc]{0,3}){1,40}",
        pattern in "(/([ab]{1,3}|\\*)){1,4}(/\\*\\*)?",
    ) {
        let Ok(path) = NormalPath::parse(&path) else { return Ok(()) };
        let rules = [rule(&[&pattern], &["GET"])];
        let found = nearest(&rules, &path, "GET", PathCase::Unset).unwrap();
        let matches = Pattern::parse(&pattern).unwrap().matches(&path);
        prop_assert_eq!(found.differences.is_empty(), matches, "{:?}", found);
    }
}
