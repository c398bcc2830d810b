use super::*;
use crate::domain::scope::ScopeSet;
use crate::verifier::ClaimNeed;

fn rule(paths: &[&str], methods: &[&str], access: Access) -> RuleConfig {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    RuleConfig {
        paths: owned(paths),
        methods: owned(methods),
        access,
        timeout: None,
        line: 1,
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
