//! Lines, functions and files stay short.

use std::collections::BTreeSet;

use super::edges::module_of;
use super::source::{Token, blank, closing, test_modules, tokens};
use super::{File, Hit, files, ratchet, sources};

const LINE: usize = 100;
/// Lines of a file of `src` without its tests, and of a file of `tests`.
const FILE: usize = 400;
const TEST_FILE: usize = 600;
const FUNCTION: usize = 60;
/// Nine of ten functions of `src` have at most so many lines.
const MOST_FUNCTIONS: usize = 29;

const ALLOWED_LINES: &[(&str, usize)] = &[("src", 74), ("tests", 77)];
const ALLOWED_FILES: &[(&str, usize)] = &[("src", 1), ("tests", 4)];
const ALLOWED_FUNCTIONS: &[(&str, usize)] = &[("src", 12)];

/// The files of `src` that are compiled only for tests: `#[cfg(test)] mod name;` and all below.
pub fn test_files(sources: &[File]) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for file in sources {
        let blanked = blank(&file.text);
        let mut words = tokens(&blanked).into_iter().map(|it| it.text).peekable();
        // Whether the item that follows is for tests.
        let mut is_for_tests = false;
        while let Some(word) = words.next() {
            match word {
                "test" => is_for_tests = true,
                "mod" if is_for_tests => {
                    let mut module = module_of(&file.path);
                    module.extend(words.next().map(str::to_owned));
                    modules.insert(module);
                    is_for_tests = false;
                }
                ";" | "{" | "fn" | "use" => is_for_tests = false,
                _ => {}
            }
        }
    }
    let is_test = |file: &&File| {
        let module = module_of(&file.path);
        file.path.ends_with("_tests.rs") || modules.iter().any(|it| module.starts_with(it))
    };
    let found = sources.iter().filter(is_test);
    found.map(|it| it.path.clone()).collect()
}

/// Name, line and length of every function.
fn functions<'a>(tokens: &[Token<'a>]) -> Vec<(&'a str, usize, usize)> {
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let is_name = pair[1]
            .text
            .starts_with(|c: char| c.is_alphabetic() || c == '_');
        if pair[0].text != "fn" || !is_name {
            continue;
        }
        // The body, past brackets of the signature; a declaration of a trait has none.
        let mut next = at + 2;
        while next < tokens.len() && !matches!(tokens[next].text, "{" | ";") {
            next = match tokens[next].text {
                "(" | "[" => closing(tokens, next) + 1,
                _ => next + 1,
            };
        }
        if tokens.get(next).is_some_and(|it| it.text == "{") {
            let end = tokens[closing(tokens, next)].line;
            found.push((pair[1].text, pair[0].line, end - pair[0].line + 1));
        }
    }
    found
}

#[test]
fn no_line_of_rust_is_too_long() {
    let mut hits = Vec::new();
    for top in ["src", "tests", "benches", "fuzz/fuzz_targets"] {
        for file in files(top, &["rs"]) {
            for (line, text) in file.text.lines().enumerate() {
                let length = text.chars().count();
                if length > LINE {
                    hits.push(Hit {
                        path: file.path.clone(),
                        line: line + 1,
                        what: format!("{length} characters; at most {LINE}"),
                    });
                }
            }
        }
    }
    ratchet("lines", &hits, ALLOWED_LINES);
}

#[test]
fn no_file_is_too_long() {
    let mut hits = Vec::new();
    let mut check = |path: String, lines: usize, most: usize| {
        if lines > most {
            let what = format!("{lines} lines; at most {most}");
            hits.push(Hit {
                path,
                line: 1,
                what,
            });
        }
    };
    let sources = sources();
    let test_files = test_files(&sources);
    for file in &sources {
        let blanked = blank(&file.text);
        let tokens = tokens(&blanked);
        let lines_of = |range: &std::ops::RangeInclusive<usize>| {
            tokens[*range.end()].line - tokens[*range.start()].line + 1
        };
        let tested: usize = test_modules(&tokens).iter().map(lines_of).sum();
        let (inside, most) = match test_files.contains(&file.path) {
            true => (0, TEST_FILE),
            false => (tested, FILE),
        };
        let lines = file.text.lines().count() - inside;
        check(format!("src/{}", file.path), lines, most);
    }
    for file in files("tests", &["rs"]) {
        check(file.path.clone(), file.text.lines().count(), TEST_FILE);
    }
    ratchet("files", &hits, ALLOWED_FILES);
}

#[test]
fn functions_are_short() {
    let (mut lengths, mut hits) = (Vec::new(), Vec::new());
    let sources = sources();
    let test_files = test_files(&sources);
    for file in sources.iter().filter(|it| !test_files.contains(&it.path)) {
        let blanked = blank(&file.text);
        let mut tokens = tokens(&blanked);
        for range in test_modules(&tokens).into_iter().rev() {
            tokens.drain(range);
        }
        for (name, line, length) in functions(&tokens) {
            lengths.push(length);
            if length > FUNCTION {
                hits.push(Hit {
                    path: format!("src/{}", file.path),
                    line,
                    what: format!("`{name}` has {length} lines; at most {FUNCTION}"),
                });
            }
        }
    }
    ratchet("functions", &hits, ALLOWED_FUNCTIONS);
    lengths.sort_unstable();
    let ninth = lengths[lengths.len() * 9 / 10];
    assert!(
        ninth <= MOST_FUNCTIONS,
        "one of ten functions has {ninth} lines or more"
    );
}

#[test]
fn functions_are_measured_from_signature_to_brace() {
    let source = "fn a(b: [u8; 3]) -> u8 {\n}\ntrait T { fn d(); }\nasync fn e()\n{\nfn f() {}\n}";
    let found = functions(&tokens(source));
    assert_eq!(found, [("a", 1, 2), ("e", 4, 4), ("f", 6, 1)]);
}

#[test]
fn test_files_are_those_declared_for_tests() {
    let file = |path: &str, text: &str| File {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let sources = [
        file(
            "a/mod.rs",
            "#[cfg(test)]\nmod tests;\nmod b;\n#[cfg(test)]\npub(crate) mod made;",
        ),
        file("a/tests.rs", ""),
        file("a/tests/more.rs", ""),
        file("a/b.rs", "#[cfg(test)] use c; mod d;"),
        file("a/made.rs", ""),
    ];
    let found: Vec<_> = test_files(&sources).into_iter().collect();
    assert_eq!(found, ["a/made.rs", "a/tests.rs", "a/tests/more.rs"]);
}
