use http::HeaderValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::path::NormalPath;
use crate::domain::query::Unclear;
use crate::verifier::Needs;
use crate::verifier::Sender;
use crate::verifier::token::tests::facts_comparing;

fn need(part: RequestPart) -> EqualNeed {
    EqualNeed {
        part,
        claim: "own".to_owned(),
    }
}

fn equals(paths: &[&str], part: RequestPart, case: PathCase) -> Equals {
    let config = RuleConfig {
        paths: paths.iter().map(ToString::to_string).collect(),
        access: Access::Token(Needs {
            equals: vec![need(part)],
            ..Needs::default()
        }),
        ..RuleConfig::default()
    };
    Equals::compile(&config, case, &mut |_| 0).unwrap().unwrap()
}

fn token(own: Value) -> TokenFacts {
    facts_comparing("own", &own)
}

fn check(
    equals: &Equals,
    target: &str,
    fields: &[(&'static str, &str)],
    token: &TokenFacts,
) -> Result<(), NotEqual> {
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(p, q)| (p, Some(q)));
    let path = NormalPath::parse(path).unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let request = Request {
        method: "GET",
        path: &path,
        query,
        headers: &headers,
        client: None,
        scopes: None,
        sender: Sender::default(),
    };
    equals.check(&request, token)
}

#[test]
fn the_named_segment_equals_the_claim_or_one_of_its_items() {
    let part = RequestPart::Segment("id".to_owned());
    let rule = equals(
        &["/devices/{id}/**", "/v1/devices/{id}"],
        part,
        PathCase::Unset,
    );
    for (path, own, expected) in [
        ("/devices/7", json!("7"), true),
        ("/devices/7/", json!("7"), true),
        ("/devices/7/x/8", json!("7"), true),
        ("/v1/devices/7", json!("7"), true),
        ("/devices/%37", json!("7"), true),
        ("/devices/7", json!(7), true),
        ("/devices/7", json!(["8", "7"]), true),
        ("/devices/a%20b", json!("a b"), true),
        ("/devices/8", json!("7"), false),
        ("/devices/77", json!("7"), false),
        ("/devices/A", json!("a"), false),
        ("/devices/7.json", json!("7"), false),
        ("/devices/7", json!(["8"]), false),
        ("/devices/7", json!([]), false),
        ("/devices/7", json!({ "7": "7" }), false),
        ("/devices/7", json!(null), false),
        ("/devices/null", json!(null), false),
    ] {
        let checked = check(&rule, path, &[], &token(own.clone()));
        let expected = expected.then_some(()).ok_or(NotEqual::Differs);
        assert_eq!(checked, expected, "{path} {own}");
    }
}

/// A path that two patterns of the rule match has two segments of that name.
#[test]
fn the_segment_is_equal_in_every_pattern_that_matches() {
    let part = || RequestPart::Segment("id".to_owned());
    let rule = equals(&["/{id}/x", "/x/{id}"], part(), PathCase::Sensitive);
    for (path, expected) in [
        ("/7/x", true),
        ("/x/7", true),
        ("/x/x", false),
        ("/8/x", false),
    ] {
        let checked = check(&rule, path, &[], &token(json!("7")));
        assert_eq!(checked.is_ok(), expected, "{path}");
    }
    assert_eq!(check(&rule, "/x/x", &[], &token(json!(["7", "x"]))), Ok(()));
    // A service that ignores letter case could see the second pattern.
    let rule = |case| equals(&["/a/{id}/*", "/A/*/{id}"], part(), case);
    let own = token(json!("7"));
    assert_eq!(
        check(&rule(PathCase::Sensitive), "/a/7/8", &[], &own),
        Ok(())
    );
    assert!(check(&rule(PathCase::Unset), "/a/7/8", &[], &own).is_err());
    assert!(check(&rule(PathCase::Insensitive), "/a/7/8", &[], &own).is_err());
}

#[test]
fn the_parameter_of_the_query_occurs_once_and_equals_the_claim() {
    let rule = equals(
        &["/**"],
        RequestPart::Query("tenant".to_owned()),
        PathCase::Unset,
    );
    let own = token(json!("blue"));
    for (target, expected) in [
        ("/?tenant=blue", Ok(())),
        ("/?a=1&tenant=b%6Cue", Ok(())),
        ("/", Err(NotEqual::Differs)),
        ("/?tenant", Err(NotEqual::Differs)),
        ("/?tenant=red", Err(NotEqual::Differs)),
        (
            "/?tenant=blue&tenant=blue",
            Err(NotEqual::Query(Unclear::Twice)),
        ),
        (
            "/?tenant=blue&TENANT=red",
            Err(NotEqual::Query(Unclear::Twice)),
        ),
        ("/?Tenant=blue", Err(NotEqual::Query(Unclear::Ambiguous))),
    ] {
        assert_eq!(check(&rule, target, &[], &own), expected, "{target}");
    }
    // An empty parameter equals neither an empty claim nor a missing one.
    for own in [json!(""), json!(null), json!([""])] {
        assert!(check(&rule, "/?tenant=", &[], &token(own)).is_err());
    }
}

#[test]
fn the_header_occurs_once_in_one_spelling_and_reaches_the_service() {
    let part = RequestPart::Header(HeaderName::from_static("x-owner"));
    let rule = equals(&["/**"], part, PathCase::Unset);
    let own = token(json!("blue"));
    let differs = Err(NotEqual::Differs);
    for (fields, expected) in [
        (&[("x-owner", "blue")][..], Ok(())),
        (&[("x-owner", "blue"), ("x-owners", "red")], Ok(())),
        (
            &[("x-owner", "blue"), ("connection", "keep-alive, x-other")],
            Ok(()),
        ),
        (&[], differs),
        (&[("x-owner", "red")], differs),
        (&[("x-owner", "")], differs),
        (&[("x-owner", "blue, red")], differs),
        (
            &[("x-owner", "blue"), ("x-owner", "blue")],
            Err(NotEqual::Header),
        ),
        (
            &[("x-owner", "blue"), ("x_owner", "red")],
            Err(NotEqual::Header),
        ),
        (
            &[("x-owner", "blue"), ("x.owner", "red")],
            Err(NotEqual::Header),
        ),
        (
            &[("x-owner", "blue"), ("grpc-metadata-x-owner", "red")],
            Err(NotEqual::Header),
        ),
        (
            &[("x-owner", "blue"), ("grpc_metadata-x_owner", "red")],
            Err(NotEqual::Header),
        ),
        (
            &[("x-owner", "blue"), ("connection", "close, X-Owner")],
            Err(NotEqual::Header),
        ),
        (&[("x_owner", "blue")], Err(NotEqual::Header)),
    ] {
        assert_eq!(check(&rule, "/", fields, &own), expected, "{fields:?}");
    }
}

proptest! {
    /// Only a path whose named segment is the claim passes, in whatever way it is written.
    #[test]
    fn no_spelling_of_a_path_passes_for_another_device(
        id in "[a-z0-9.~-]{1,6}",
        rest in "(/[a-z%0-9.]{0,4}){0,2}",
        own in "[a-z0-9.~-]{1,6}",
        encode: bool,
    ) {
        let written: String = if encode {
            id.bytes().map(|byte| format!("%{byte:02X}")).collect()
        } else {
            id.clone()
        };
        let target = format!("/devices/{written}{rest}");
        let Ok(path) = NormalPath::parse(&target) else { return Ok(()) };
        let rule = equals(
            &["/devices/{id}/**"], RequestPart::Segment("id".to_owned()), PathCase::Unset,
        );
        let segments: Vec<_> = path.segments().collect();
        let is_own = segments.first().is_some_and(|first| first == "devices")
            && segments.get(1).is_some_and(|second| *second == own);
        let checked = check(&rule, &target, &[], &token(json!(own)));
        prop_assert_eq!(checked.is_ok(), is_own);
    }
}
