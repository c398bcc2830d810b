use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::domain::host_pattern::RequestHost;
use crate::domain::letter_case::Folding;
use crate::domain::path::NormalPath;
use crate::verifier::Conditions;
use crate::verifier::Sender;

fn rule(paths: &[&str], methods: &[&str], access: Access) -> RuleConfig {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    RuleConfig {
        paths: owned(paths),
        methods: owned(methods),
        access,
        ..RuleConfig::default()
    }
}

/// The position of the rule for a request without conditions.
fn position(rules: &Rules, path: &str, method: &str) -> Result<Option<usize>, TwoReadings> {
    position_from(rules, path, method, ("", None))
}

fn position_from(
    rules: &Rules,
    path: &str,
    method: &str,
    (host, client): (&str, Option<&str>),
) -> Result<Option<usize>, TwoReadings> {
    let (path, mut headers) = (NormalPath::parse(path).unwrap(), HeaderMap::new());
    if !host.is_empty() {
        headers.insert("host", HeaderValue::from_str(host).unwrap());
    }
    rules.position(&Request {
        method,
        path: &path,
        query: None,
        headers: &headers,
        client: client.map(|client| client.parse().unwrap()),
        scopes: None,
        sender: Sender::default(),
    })
}

fn compiled(rules: &[RuleConfig]) -> Rules {
    Rules::compile(rules, PathCase::Unset).unwrap()
}

fn token(paths: &[&str], methods: &[&str]) -> RuleConfig {
    rule(paths, methods, Access::Token(Needs::default()))
}

#[test]
fn the_first_match_wins_and_get_includes_head() {
    let rules = compiled(&[
        rule(&["/health"], &["GET"], Access::Public),
        token(&["/api/**"], &["POST", "PUT"]),
        token(&["/**"], &[]),
    ]);
    let find = |path, method| position(&rules, path, method).unwrap();
    for (path, method, expected) in [
        ("/health", "GET", 0),
        ("/health", "HEAD", 0),
        ("/health", "POST", 2),
        ("/health", "get", 2),
        ("/health", "PURGE", 2),
        ("/api/x", "POST", 1),
        ("/api/x", "GET", 2),
    ] {
        assert_eq!(find(path, method), Some(expected), "{method} {path}");
    }
    assert!(rules.rules[0].is_public() && !rules.rules[1].is_public());
    assert_eq!(position(&compiled(&[]), "/health", "GET"), Ok(None));
}

#[test]
fn an_earlier_wildcard_wins_over_a_later_name_and_the_other_way_round() {
    let rules =
        |first: &str, second: &str| compiled(&[token(&[first], &[]), token(&[second], &[])]);
    for (one, other) in [
        ("/a/*/c", "/a/b/c"),
        ("/*/b/**", "/a/b/c"),
        ("/**", "/a/b/c"),
        ("/a/**", "/*/*/*"),
    ] {
        assert_eq!(
            position(&rules(one, other), "/a/b/c", "GET"),
            Ok(Some(0)),
            "{one} {other}"
        );
        assert_eq!(
            position(&rules(other, one), "/a/b/c", "GET"),
            Ok(Some(0)),
            "{other} {one}"
        );
    }
    // A path may begin like one rule and end like another.
    assert_eq!(
        position(&rules("/a/b/x", "/*/*/c"), "/a/b/c", "GET"),
        Ok(Some(1))
    );
}

#[test]
fn more_methods_than_bits_are_refused_not_confused() {
    let named = |count: usize| {
        let methods: Vec<_> = (0..count).map(|n| format!("M{n}")).collect();
        Rules::compile(
            &[RuleConfig {
                methods,
                ..token(&["/"], &[])
            }],
            PathCase::Unset,
        )
    };
    assert!(named(61).is_ok());
    assert_eq!(named(62).err(), Some(InvalidRules::TooManyMethods));
}

#[test]
fn a_challenge_names_what_would_do() {
    let sufficient = |scopes: &str, any: &str| {
        let set = |text| ScopeSet::parse(text).unwrap();
        let needs = Needs {
            scopes: set(scopes),
            any_scope: set(any),
            ..Needs::default()
        };
        let rules = compiled(&[rule(&["/"], &[], Access::Token(needs))]);
        rules.rules[0].sufficient_scopes()
    };
    assert_eq!(sufficient("a b", "x y").unwrap().to_string(), "a b x");
    assert_eq!(sufficient("", "x y").unwrap().to_string(), "x");
    assert_eq!(sufficient("", ""), None);
}

#[test]
fn a_path_that_a_server_could_take_for_an_earlier_rules_is_refused() {
    use TwoReadings::{Ending, LetterCase};
    let rules = [
        token(
            &[
                "/admin/**",
                "/Api/%C3%A9t%C3%A9",
                "/reports",
                "/files/*",
                "/v1.2",
            ],
            &[],
        ),
        token(&["/post"], &["POST"]),
        token(&["/logo.png"], &[]),
        token(&["/logo"], &[]),
        token(&["/**"], &[]),
    ];
    let found = |case| {
        let rules = Rules::compile(&rules, case).unwrap();
        move |path| position(&rules, path, "GET")
    };
    let unset = found(PathCase::Unset);
    let (sensitive, insensitive) = (found(PathCase::Sensitive), found(PathCase::Insensitive));
    for (path, exact, ignoring) in [
        ("/admin/users", 0, Ok(Some(0))),
        ("/ADMIN/users", 4, Ok(Some(0))),
        ("/%41dmin/users", 4, Ok(Some(0))),
        ("/admiN", 4, Ok(Some(0))),
        ("/Admin/", 4, Ok(Some(0))),
        ("/adm%C4%B1n/users", 4, Err(LetterCase)),
        ("/ADM%C4%B0N", 4, Err(LetterCase)),
        ("/api/%C3%89T%C3%A9", 4, Ok(Some(0))),
        ("/report%C5%BF", 4, Err(LetterCase)),
        ("/FILES/x", 4, Ok(Some(0))),
    ] {
        assert_eq!(sensitive(path), Ok(Some(exact)), "{path}");
        assert_eq!(
            unset(path),
            if exact == 0 {
                Ok(Some(0))
            } else {
                Err(LetterCase)
            },
            "{path}"
        );
        assert_eq!(insensitive(path), ignoring, "{path}");
    }
    for path in [
        "/reports.json",
        "/reports.a.json",
        "/admin.xml",
        "/v1.2.json",
        "/reports./",
        "/reports.1.2.3.4.5.6.7.8.9",
    ] {
        for find in [&unset as &dyn Fn(_) -> _, &sensitive, &insensitive] {
            assert_eq!(find(path), Err(Ending), "{path}");
        }
    }
    for (path, rule) in [
        ("/files/a.json", 0),
        ("/admin/x.json", 0),
        ("/logo.png", 2),
        ("/POST", 4),
        ("/x.json", 4),
        ("/.json", 4),
    ] {
        for find in [&unset as &dyn Fn(_) -> _, &sensitive, &insensitive] {
            assert_eq!(find(path), Ok(Some(rule)), "{path}");
        }
    }
    assert_eq!(unset("/REPORTS.json"), Err(Ending));
    assert_eq!(insensitive("/LOGO.PNG"), Ok(Some(2)));
}

/// A reading of the path concerns a request only if the other rule's conditions hold for it.
#[test]
fn a_rule_with_conditions_hides_no_later_one_and_its_readings_have_the_same_conditions() {
    let only = |hosts: &[&str], networks: &[&str], rule: RuleConfig| RuleConfig {
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
        ..rule
    };
    let rules = compiled(&[
        only(&["admin.example"], &[], token(&["/admin/**"], &[])),
        only(&[], &["10.0.0.0/8"], token(&["/inside/**"], &["GET"])),
        only(&["*.example"], &["10.0.0.0/8"], token(&["/**"], &[])),
        token(&["/**"], &[]),
    ]);
    let inside = Some("10.1.1.1");
    for (path, host, client, expected) in [
        ("/admin/x", "admin.example", None, Ok(Some(0))),
        ("/admin/x", "other.example", None, Ok(Some(3))),
        ("/admin/x", "other.example", inside, Ok(Some(2))),
        ("/admin/x", "", inside, Ok(Some(3))),
        ("/inside/x", "", inside, Ok(Some(1))),
        ("/inside/x", "", Some("192.0.2.1"), Ok(Some(3))),
        (
            "/inside/x",
            "a.example",
            Some("::ffff:a01:101"),
            Ok(Some(3)),
        ),
        (
            "/Admin/x",
            "admin.example",
            None,
            Err(TwoReadings::LetterCase),
        ),
        ("/Admin/x", "other.example", None, Ok(Some(3))),
        ("/INSIDE/x", "", inside, Err(TwoReadings::LetterCase)),
        ("/INSIDE/x", "", None, Ok(Some(3))),
        (
            "/admin.json",
            "ADMIN.example.:80",
            None,
            Err(TwoReadings::Ending),
        ),
        ("/admin.json", "other.example", None, Ok(Some(3))),
    ] {
        let found = position_from(&rules, path, "GET", (host, client));
        assert_eq!(found, expected, "{path} {host} {client:?}");
    }
}

fn segment() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["a", "A", "b", "c%20d", "%C3%A9", "%C3%89", "a.b"])
        .prop_map(str::to_owned)
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![3 => segment(), 2 => Just("*".to_owned())];
    (proptest::collection::vec(part, 0..4), any::<bool>()).prop_map(|(mut parts, any_rest)| {
        if any_rest {
            parts.push("**".to_owned());
        }
        format!("/{}", parts.join("/"))
    })
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let hosts = vec![
        "a.example",
        "*.example",
        "b.a.example:81",
        "*.a.example",
        "127.0.0.1",
    ];
    let networks = vec!["10.0.0.0/8", "10.1.0.0/16", "::/0", "192.0.2.1/32"];
    let some = |texts: Vec<&'static str>| {
        prop_oneof![
            2 => Just(Vec::new()),
            1 => proptest::sample::subsequence(texts.clone(), 1..texts.len()),
        ]
    };
    (some(hosts), some(networks)).prop_map(|(hosts, networks)| Conditions {
        hosts: hosts
            .iter()
            .map(|host| host.parse().ok().unwrap())
            .collect(),
        networks: networks
            .iter()
            .map(|network| network.parse().unwrap())
            .collect(),
    })
}

fn arbitrary_rule() -> impl Strategy<Value = RuleConfig> {
    let methods = proptest::sample::subsequence(vec!["GET", "HEAD", "POST", "PURGE"], 0..3);
    let paths = proptest::collection::vec(pattern(), 1..4);
    (paths, methods, conditions()).prop_map(|(paths, methods, conditions)| {
        let paths: Vec<_> = paths.iter().map(String::as_str).collect();
        RuleConfig {
            conditions,
            ..token(&paths, &methods)
        }
    })
}

/// The first rule that matches when all are tried; `loosely`: also without the ending of the
/// last segment.
fn naive(
    rules: &[RuleConfig],
    (path, method): (&str, &str),
    from: (&str, Option<&str>),
    folding: Folding,
    loosely: bool,
) -> Option<usize> {
    let mut readings = vec![path.to_owned()];
    let ending = path
        .rsplit_once('.')
        .filter(|(_, ending)| !ending.contains('/'));
    if let (true, Some((name, _))) = (loosely, ending) {
        readings.push(name.to_owned());
    }
    rules.iter().position(|rule| {
        let allowed = methods(rule);
        let (host, client) = (
            RequestHost::parse(from.0),
            from.1.map(|it| it.parse().unwrap()),
        );
        let Conditions { hosts, networks } = &rule.conditions;
        let has_host = |host| hosts.iter().any(|pattern| pattern.matches(host));
        let is_inside =
            |client: &std::net::IpAddr| networks.iter().any(|network| network.contains(client));
        (hosts.is_empty() || host.as_ref().is_some_and(has_host))
            && (networks.is_empty() || client.as_ref().is_some_and(is_inside))
            && (allowed.is_empty() || allowed.contains(&method))
            && patterns(rule).unwrap().iter().any(|pattern| {
                let pattern = pattern.folded(folding);
                readings.iter().any(|path| {
                    let path = NormalPath::parse(path).unwrap();
                    let folded: Vec<_> =
                        path.segments().map(|segment| folding.of(segment)).collect();
                    pattern.matches_segments(folded.into_iter())
                })
            })
    })
}

proptest! {
    /// The trees, and the loop over all rules that they stand for; and no rule that decides is
    /// said to be unreachable.
    #[test]
    fn the_compiled_matcher_decides_as_trying_each_rule_does(
        rules in proptest::collection::vec(arbitrary_rule(), 0..8),
        path in proptest::collection::vec(segment(), 0..5),
        method in proptest::sample::select(vec!["GET", "HEAD", "POST", "PURGE", "DELETE", "get"]),
        case in proptest::sample::select(vec![
            PathCase::Unset, PathCase::Sensitive, PathCase::Insensitive,
        ]),
        host in proptest::sample::select(vec![
            "", "a.example", "B.a.example.:81", "example", "x.a.example:443", "127.0.0.1:80",
        ]),
        client in proptest::sample::select(vec![
            None, Some("10.1.2.3"), Some("10.2.2.3"), Some("192.0.2.1"), Some("::1"),
        ]),
    ) {
        let path = format!("/{}", path.join("/"));
        let (request, from) = ((path.as_str(), method), (host, client));
        let exact = naive(&rules, request, from, case.folding(), false);
        let other = naive(&rules, request, from, case.widest(), true);
        let compiled = Rules::compile(&rules, case).unwrap();
        let found = position_from(&compiled, &path, method, from);
        let is_clear = exact.is_none_or(|exact| other.is_some_and(|other| other == exact));
        prop_assert_eq!(found.ok(), is_clear.then_some(exact));
        for (never, _) in never_reached(&rules, case.widest()) {
            prop_assert_ne!(found.ok().flatten(), Some(never));
        }
    }
}
