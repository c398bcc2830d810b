//! The modules of `src` form no circle of imports.
//!
//! Imports between a module and the modules below it do not count: a parent composes its children.

use std::collections::{BTreeMap, BTreeSet};

use super::edges::{edges, module_of};
use super::source::{blank, test_modules, tokens};
use super::{File, Hit, ratchet, sources};

/// Each module and the modules that it imports.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// How many circles are left.
const ALLOWED: &[(&str, usize)] = &[];

fn graph(sources: &[File]) -> Graph {
    let test_files = super::sizes::test_files(sources);
    let modules: BTreeSet<_> = sources.iter().map(|it| module_of(&it.path)).collect();
    let mut graph = Graph::new();
    for file in sources.iter().filter(|it| !test_files.contains(&it.path)) {
        let from = module_of(&file.path);
        let blanked = blank(&file.text);
        let all = tokens(&blanked);
        let tests = test_modules(&all);
        let in_tests = |line: usize| {
            let covers = |range: &std::ops::RangeInclusive<usize>| {
                (all[*range.start()].line..=all[*range.end()].line).contains(&line)
            };
            tests.iter().any(covers)
        };
        for edge in edges(&file.path, &all) {
            // The longest beginning of the path that is a module.
            let mut to = edge.to.as_slice();
            while !to.is_empty() && !modules.contains(to) {
                to = &to[..to.len() - 1];
            }
            let is_beside = !to.starts_with(&from) && !from.starts_with(to);
            if is_beside && !in_tests(edge.line) {
                let imports = graph.entry(from.join("/")).or_default();
                imports.insert(to.join("/"));
            }
        }
    }
    graph
}

/// The modules that reach each other, as sorted groups.
fn circles(graph: &Graph) -> BTreeSet<Vec<&str>> {
    let reach = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(next) = open.pop() {
            for to in graph.get(&next).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    open.push(to.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, _> = graph
        .keys()
        .map(|name| (name.as_str(), reach(name)))
        .collect();
    let mutual = |a: &str, b: &str| {
        reached[a].contains(b) && reached.get(b).is_some_and(|it| it.contains(a))
    };
    let names = || reached.keys().copied();
    names()
        .filter(|name| mutual(name, name))
        .map(|a| names().filter(|b| mutual(a, b)).collect())
        .collect()
}

#[test]
fn no_modules_form_a_circle() {
    let graph = graph(&sources());
    let mut hits = Vec::new();
    for circle in circles(&graph) {
        let arrows = circle.iter().flat_map(|from| {
            let inside = graph[*from]
                .iter()
                .filter(|to| circle.contains(&to.as_str()));
            inside.map(move |to| format!("{from} → {to}"))
        });
        hits.push(Hit {
            path: format!("src/{}", circle[0]),
            line: 1,
            what: format!("a circle: {}", arrows.collect::<Vec<_>>().join(", ")),
        });
    }
    ratchet("circles", &hits, ALLOWED);
}

#[test]
fn circles_are_found_through_other_modules() {
    let circles_in = |files: &[(&str, &str)]| {
        let sources: Vec<File> = files
            .iter()
            .map(|(path, text)| File {
                path: (*path).to_owned(),
                text: (*text).to_owned(),
            })
            .collect();
        circles(&graph(&sources)).len()
    };
    let back = ("r/b.rs", "use super::a::A;");
    assert_eq!(circles_in(&[("r/a.rs", "use super::b::B;"), back]), 1);
    let third = ("r/c.rs", "fn f() { super::b::b() }");
    assert_eq!(
        circles_in(&[("r/a.rs", "use super::c::C;"), back, third]),
        1
    );
    // A parent and its child, an item of the parent, a test.
    assert_eq!(
        circles_in(&[("r/mod.rs", "use self::b::B;"), ("r/b.rs", "use super::R;")]),
        0
    );
    assert_eq!(circles_in(&[("r/a.rs", "use super::Item;"), back]), 0);
    let tested = "#[cfg(test)]\nmod tests {\n    use super::super::b::B;\n}";
    assert_eq!(circles_in(&[("r/a.rs", tested), back]), 0);
}
