use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::domain::path::NormalPath;
use crate::verifier::Conditions;
use crate::verifier::Sender;

fn rule(paths: &[&str], methods: &[&str]) -> RuleConfig {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    RuleConfig {
        paths: owned(paths),
        methods: owned(methods),
        ..RuleConfig::default()
    }
}

fn found(rules: &[RuleConfig], method: &str, path: &str, case: PathCase) -> Option<Nearest> {
    let path = NormalPath::parse(path).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("api.example"));
    let request = Request {
        method,
        path: &path,
        query: None,
        headers: &headers,
        client: Some(IpAddr::from([192, 0, 2, 1])),
        scopes: None,
        sender: Sender::default(),
    };
    nearest(rules, &request, case)
}

fn said(rules: &[RuleConfig], method: &str, path: &str) -> (usize, String) {
    let found = found(rules, method, path, PathCase::Unset).unwrap();
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
    assert_eq!(found(&[], "GET", "/", PathCase::Unset), None);
    let found = found(&rules, "DELETE", "/Devices/7", PathCase::Insensitive).unwrap();
    assert_eq!(
        (found.rule, found.differences.len()),
        (1, 1),
        "the method only: {found:?}"
    );
}

#[test]
fn another_host_and_another_source_are_said() {
    let only = |hosts: &[&str], networks: &[&str], paths: &[&str]| RuleConfig {
        conditions: Conditions {
            hosts: hosts
                .iter()
                .map(|host| host.parse().ok().unwrap())
                .collect(),
            networks: networks
                .iter()
                .map(|network| network.parse().unwrap())
                .collect(),
        },
        ..rule(paths, &["GET"])
    };
    let rules = [
        only(&["*.other"], &[], &["/a"]),
        only(&["api.example"], &["10.0.0.0/8", "::1/128"], &["/b/**"]),
        only(&["b.example", "c.example:81"], &["10.0.0.0/8"], &["/c"]),
    ];
    for (method, path, nearest, difference) in [
        (
            "GET",
            "/a",
            0,
            "the host is api.example, the rule has *.other",
        ),
        (
            "GET",
            "/b/x",
            1,
            "the client is 192.0.2.1, the rule has 10.0.0.0/8 ::1/128",
        ),
        (
            "POST",
            "/c",
            2,
            "the method is POST, the rule has GET HEAD; the host is api.example, the rule has \
             b.example c.example:81; the client is 192.0.2.1, the rule has 10.0.0.0/8",
        ),
    ] {
        assert_eq!(said(&rules, method, path), (nearest, difference.to_owned()));
    }
}

proptest! {
    /// Whatever is asked, there is a nearest rule; and it differs exactly where no rule
    /// matches.
    #[test]
    fn a_rule_that_matches_does_not_differ(
        path in "(/[aAbc]{0,3}){1,40}",
        pattern in "(/([ab]{1,3}|\\*)){1,4}(/\\*\\*)?",
    ) {
        if NormalPath::parse(&path).is_err() { return Ok(()) };
        let rules = [rule(&[&pattern], &["GET"])];
        let found = found(&rules, "GET", &path, PathCase::Unset).unwrap();
        let path = NormalPath::parse(&path).unwrap();
        let matches = Pattern::parse(&pattern).unwrap().matches(&path);
        prop_assert_eq!(found.differences.is_empty(), matches, "{:?}", found);
    }
}
