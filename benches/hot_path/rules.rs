//! Finding the rule for a request. The one that matches is the last.

use std::hint::black_box;

use criterion::Criterion;
use http::HeaderMap;
use m2m_sidecar::for_tests::domain::path::NormalPath;
use m2m_sidecar::for_tests::domain::scope::ScopeSet;
use m2m_sidecar::for_tests::verifier::rules::{PathCase, Rules};
use m2m_sidecar::for_tests::verifier::{Access, Needs, Request, RuleConfig, Sender};

fn rule(number: usize) -> RuleConfig {
    RuleConfig {
        paths: vec![format!("/api/v1/service-{number}/*/items/**")],
        methods: vec!["GET".to_owned()],
        access: Access::Token(Needs {
            scopes: ScopeSet::parse("items:read").expect("a scope"),
            ..Needs::default()
        }),
        line: number,
        ..RuleConfig::default()
    }
}

/// Whether a rule matches a `GET` of this path.
fn is_found(rules: &Rules, path: &str, headers: &HeaderMap) -> bool {
    let path = NormalPath::parse(path).expect("a path");
    let request = Request {
        method: "GET",
        path: &path,
        query: None,
        headers,
        client: None,
        scopes: None,
        sender: Sender::default(),
    };
    matches!(rules.find(&request), Ok(Some(_)))
}

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rules");
    for count in [10, 500] {
        let rules = Rules::compile(&(1..=count).map(rule).collect::<Vec<_>>(), PathCase::Unset)
            .expect("rules");
        let last = format!("/api/v1/service-{count}/7/items/8/parts");
        let headers = HeaderMap::new();
        assert!(is_found(&rules, &last, &headers));
        group.bench_function(format!("the last of {count}"), |b| {
            b.iter(|| is_found(&rules, black_box(&last), &headers));
        });
    }
    group.finish();
}
