//! Finding the rule for a request. The one that matches is the last.

use std::hint::black_box;

use criterion::Criterion;
use m2m_sidecar::for_tests::domain::path::NormalPath;
use m2m_sidecar::for_tests::domain::scope::ScopeSet;
use m2m_sidecar::for_tests::verifier::rules::{PathCase, Rules};
use m2m_sidecar::for_tests::verifier::{Access, Needs, RuleConfig};

fn rule(number: usize) -> RuleConfig {
    RuleConfig {
        paths: vec![format!("/api/v1/service-{number}/*/items/**")],
        methods: vec!["GET".to_owned()],
        access: Access::Token(Needs {
            scopes: ScopeSet::parse("items:read").expect("a scope"),
            ..Needs::default()
        }),
        timeout: None,
        line: number,
    }
}

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rules");
    for count in [10, 500] {
        let rules = Rules::compile(&(1..=count).map(rule).collect::<Vec<_>>(), PathCase::Unset)
            .expect("rules");
        let last = format!("/api/v1/service-{count}/7/items/8/parts");
        assert!(
            NormalPath::parse(&last)
                .is_ok_and(|path| matches!(rules.find(&path, "GET"), Ok(Some(_))))
        );
        group.bench_function(format!("the last of {count}"), |b| {
            b.iter(|| {
                let path = NormalPath::parse(black_box(&last)).expect("a path");
                matches!(rules.find(&path, "GET"), Ok(Some(_)))
            });
        });
    }
    group.finish();
}
