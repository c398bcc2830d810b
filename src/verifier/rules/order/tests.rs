use super::*;
use crate::domain::scope::ScopeSet;
use crate::verifier::{ClaimNeed, EqualNeed, RequestPart};

fn rule(paths: &[&str], methods: &[&str], access: Access) -> RuleConfig {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    RuleConfig {
        paths: owned(paths),
        methods: owned(methods),
        access,
        ..RuleConfig::default()
    }
}

fn needs(scopes: &str, any: &str, claims: &[(&str, &[&str])]) -> Access {
    let set = |text| ScopeSet::parse(text).unwrap();
    let claim = |(name, values): &(&str, &[&str])| ClaimNeed {
        name: (*name).to_owned(),
        values: values.iter().map(ToString::to_string).collect(),
    };
    Access::Token(Needs {
        scopes: set(scopes),
        any_scope: set(any),
        claims: claims.iter().map(claim).collect(),
        ..Needs::default()
    })
}

#[test]
fn a_rule_that_earlier_ones_cover_is_found() {
    let token = |paths: &[&str], methods: &[&str]| rule(paths, methods, needs("", "", &[]));
    let rules = [
        token(&["/a/**"], &["GET"]),
        token(&["/b", "/c/*"], &[]),
        token(&["/a/x"], &["HEAD"]),
        token(&["/a/x"], &["GET", "POST"]),
        token(&["/a/x"], &[]),
        token(&["/b", "/c/d", "/a/y"], &["GET"]),
        token(&["/A/x"], &["GET"]),
        token(&["/**"], &[]),
        token(&["/new"], &["GET"]),
    ];
    assert_eq!(
        never_reached(&rules, Folding::None),
        [(2, vec![0]), (5, vec![0, 1]), (8, vec![7])]
    );
    let folded = [(2, vec![0]), (5, vec![0, 1]), (6, vec![0]), (8, vec![7])];
    assert_eq!(never_reached(&rules, Folding::Full), folded);
}

#[test]
fn a_strict_rule_before_a_wider_weaker_one_is_found() {
    let admin = || rule(&["/admin/**"], &[], needs("admin", "", &[]));
    let found = |strict: RuleConfig, later: RuleConfig| !weaker_later(&[strict, later]).is_empty();
    for (later, expected) in [
        (rule(&["/**"], &[], Access::Public), true),
        (rule(&["/**"], &["GET"], needs("read", "", &[])), true),
        (rule(&["/*/**"], &[], needs("", "admin read", &[])), true),
        (
            rule(&["/**"], &[], needs("read", "", &[("role", &["admin"])])),
            true,
        ),
        (rule(&["/**"], &[], needs("admin write", "", &[])), false),
        (rule(&["/admin/x/**"], &[], Access::Public), false),
        (rule(&["/admin/**"], &[], Access::Public), false),
        (rule(&["/other/**"], &[], Access::Public), false),
    ] {
        assert_eq!(found(admin(), later.clone()), expected, "{later:?}");
    }
    let get = |access| rule(&["/admin"], &["GET"], access);
    assert!(!found(
        get(needs("a", "", &[])),
        rule(&["/**"], &["POST"], Access::Public)
    ));
    assert!(found(
        get(needs("a", "", &[])),
        rule(&["/*"], &["HEAD"], Access::Public)
    ));
    assert!(!found(
        get(Access::Public),
        rule(&["/**"], &[], Access::Public)
    ));
    assert!(
        !found(
            rule(&["/1/*"], &[], needs("a", "", &[])),
            rule(&["/**"], &[], Access::Public)
        ),
        "no letter"
    );
    let tenant = |values: &'static [&'static str]| needs("", "", &[("tenant", values)]);
    let wide = |access| rule(&["/**"], &[], access);
    assert!(found(
        get(tenant(&["blue"])),
        wide(tenant(&["blue", "green"]))
    ));
    assert!(!found(
        get(tenant(&["blue", "green"])),
        wide(tenant(&["blue"]))
    ));
    assert!(found(
        get(needs("", "a b", &[])),
        wide(needs("", "a c", &[]))
    ));
    assert!(!found(
        get(needs("", "a b", &[])),
        wide(needs("", "b", &[]))
    ));
    assert!(!found(
        get(needs("", "a b", &[])),
        wide(needs("a", "", &[]))
    ));
}

fn only(hosts: &[&str], networks: &[&str], rule: RuleConfig) -> RuleConfig {
    RuleConfig {
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
    }
}

#[test]
fn a_rule_with_conditions_hides_only_rules_with_narrower_ones() {
    let all = || rule(&["/**"], &[], needs("", "", &[]));
    let hidden = |earlier: RuleConfig, later: RuleConfig| {
        !never_reached(&[earlier, later], Folding::None).is_empty()
    };
    let (host, network) = (["*.example"], ["10.0.0.0/8"]);
    for (earlier, later, expected) in [
        (only(&host, &[], all()), all(), false),
        (only(&[], &network, all()), all(), false),
        (all(), only(&host, &network, all()), true),
        (
            only(&host, &[], all()),
            only(&["a.example"], &network, all()),
            true,
        ),
        (
            only(&host, &[], all()),
            only(&["a.example", "other"], &[], all()),
            false,
        ),
        (only(&host, &network, all()), only(&host, &[], all()), false),
        (
            only(&[], &network, all()),
            only(&[], &["10.1.0.0/16"], all()),
            true,
        ),
        (
            only(&[], &["10.1.0.0/16"], all()),
            only(&[], &network, all()),
            false,
        ),
        (
            only(&["a.example:80"], &[], all()),
            only(&["a.example"], &[], all()),
            false,
        ),
        (
            only(&["a.example"], &[], all()),
            only(&["a.example:80"], &[], all()),
            true,
        ),
    ] {
        let shown = format!("{:?} {:?}", earlier.conditions, later.conditions);
        assert_eq!(hidden(earlier, later), expected, "{shown}");
    }
}

#[test]
fn a_weaker_rule_for_other_requests_undoes_nothing() {
    let admin = || rule(&["/admin/**"], &[], needs("admin", "", &[]));
    let open = || rule(&["/**"], &[], Access::Public);
    let found = |strict: RuleConfig, later: RuleConfig| !weaker_later(&[strict, later]).is_empty();
    assert!(found(only(&["a.example"], &[], admin()), open()));
    assert!(found(
        only(&["a.example"], &[], admin()),
        only(&["*.example"], &[], open())
    ));
    assert!(!found(
        only(&["a.example"], &[], admin()),
        only(&["b.example"], &[], open())
    ));
    assert!(!found(
        only(&[], &["10.0.0.0/8"], admin()),
        only(&[], &["::1/128"], open())
    ));

    let elsewhere = |strict: RuleConfig, later: RuleConfig| {
        !weaker_for_other_hosts(&[strict, later]).is_empty()
    };
    assert!(elsewhere(only(&["a.example"], &[], admin()), open()));
    assert!(elsewhere(
        only(&["a.example"], &[], admin()),
        only(&["*.example"], &[], open())
    ));
    assert!(elsewhere(
        only(&["a.example"], &[], admin()),
        only(&["b.example"], &[], open())
    ));
    let inside = only(&["a.example"], &["10.0.0.0/8"], admin());
    assert!(!elsewhere(inside, only(&[], &["::1/128"], open())));
    let stricter = rule(&["/**"], &[], needs("admin root", "", &[]));
    assert!(!elsewhere(only(&["a.example"], &[], admin()), stricter));
    assert!(!elsewhere(admin(), open()));
}

#[test]
fn each_kind_of_access_is_ordered() {
    let wide = |access| rule(&["/**"], &[], access);
    let narrow = |access| rule(&["/admin"], &[], access);
    let found = |strict: RuleConfig, later: RuleConfig| !weaker_later(&[strict, later]).is_empty();
    let any_token = || needs("", "", &[]);
    assert!(found(narrow(any_token()), wide(Access::Optional)));
    assert!(found(narrow(Access::Optional), wide(Access::Public)));
    assert!(!found(narrow(Access::Optional), wide(any_token())));
    assert!(!found(narrow(Access::Public), wide(Access::Optional)));
    let in_mode = |mode, rule| RuleConfig {
        mode: Some(mode),
        ..rule
    };
    let shadow = || in_mode(Mode::Shadow, wide(any_token()));
    assert!(found(narrow(any_token()), shadow()));
    assert!(!found(in_mode(Mode::Shadow, narrow(any_token())), shadow()));
    assert!(!found(narrow(Access::Public), shadow()));

    let from = |authorities: &[&str]| {
        Access::Token(Needs {
            authorities: authorities.iter().map(ToString::to_string).collect(),
            ..Needs::default()
        })
    };
    assert!(found(narrow(from(&["a"])), wide(any_token())));
    assert!(found(narrow(from(&["a"])), wide(from(&["a", "b"]))));
    assert!(!found(narrow(from(&["a", "b"])), wide(from(&["a"]))));
    let own = || {
        Access::Token(Needs {
            equals: vec![EqualNeed {
                part: RequestPart::Query("tenant".to_owned()),
                claim: "tid".to_owned(),
            }],
            ..Needs::default()
        })
    };
    assert!(found(narrow(own()), wide(any_token())));
    assert!(!found(narrow(own()), wide(own())));
}
